// Package control runs the engine: it gives it real time, makes its records durable, and only then carries out its
// effects. It is the one writer of the store. Nothing here decides about statistics, policy or phases.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/mutant"
	"sluice.dev/sluice/internal/store"
)

// Grants is what control needs of the grant path (package push).
type Grants interface {
	// Stop ends granting of the scope at once. It returns only when no answer under way can still grant it.
	Stop(env, scope string)
	// Publish shows a new view; it also undoes Stop for the scopes that the view grants.
	Publish(v engine.View)
	// Broadcast tells every member of the environment. It never blocks on a slow one.
	Broadcast(env string, e slp.Event)
	// Seen returns what is known of each boot, by environment.
	Seen() map[string][]engine.Seen
}

// Config says what to run. Store, Grants and Version are required.
type Config struct {
	Store   store.Store
	Grants  Grants
	Version string        // of this binary; stands in every record
	Tick    time.Duration // how often evidence, leases and deadlines are looked at; 0 means 200 ms
	Log     *slog.Logger  // nil discards

	Clock *Clock // the one that the grant path reads too; nil means one of its own
	// Lead returns the epoch to lead with, a new one each time it is called; nil means Store.Lead. Servers that share a store
	// give the one of their election, which answers store.ErrFenced when another one leads.
	Lead func(context.Context) (uint64, error)
}

// ErrStopped is the answer of a controller that has stopped or has not started.
var ErrStopped = errors.New("controller is stopped")

// Controller is an engine with its clock, store and grant path.
type Controller struct {
	cfg   Config
	inbox chan request
	done  chan struct{}
	wg    sync.WaitGroup

	eng   *engine.Engine // owned by loop
	ahead bool           // eng holds what is not durable, because recovering after a failed append has failed too

	starved bool // the store was full at the last tick
}

type request struct {
	event engine.Event
	read  func(*engine.Engine)
	reply chan error
}

// inboxSize bounds what waits for the engine; a full inbox makes callers wait, it drops nothing.
const inboxSize = 1024

// Start recovers the engine from the store and runs it until Stop. The caller still owns the store.
func Start(ctx context.Context, cfg Config) (*Controller, error) {
	c, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.wg.Go(c.loop)
	return c, nil
}

// Open recovers the engine from the store and leaves it to the caller to drive it: Step and Engine are for one goroutine,
// nothing runs beside them and no time passes unless the caller says so. Simulations run a controller in this way.
func Open(ctx context.Context, cfg Config) (*Controller, error) {
	if cfg.Tick == 0 {
		cfg.Tick = 200 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = NewClock(nil)
	}
	if cfg.Lead == nil {
		cfg.Lead = cfg.Store.Lead
	}
	c := &Controller{cfg: cfg, inbox: make(chan request, inboxSize), done: make(chan struct{})}
	if err := c.recover(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Step applies one event of a controller that was opened, not started, and returns once it is durable and acted on, or
// its refusal.
func (c *Controller) Step(ev engine.Event) error { return c.step(ev) }

// Engine returns the engine of a controller that was opened, not started; it is another one after an append that failed.
func (c *Controller) Engine() *engine.Engine { return c.eng }

// Stop ends the loop and waits for it. Leases that were granted run out by themselves.
func (c *Controller) Stop() {
	close(c.done)
	c.wg.Wait()
}

// Do applies one event and returns once it is durable, or its refusal.
func (c *Controller) Do(ctx context.Context, ev engine.Event) error {
	return c.send(ctx, request{event: ev, reply: make(chan error, 1)})
}

// Read runs f on the engine between two steps. f must not keep what it gets beyond values and immutable data.
func (c *Controller) Read(ctx context.Context, f func(*engine.Engine)) error {
	return c.send(ctx, request{read: f, reply: make(chan error, 1)})
}

func (c *Controller) send(ctx context.Context, r request) error {
	select {
	case c.inbox <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return ErrStopped
	}
	select {
	case err := <-r.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return ErrStopped
	}
}

func (c *Controller) loop() {
	ticker := time.NewTicker(c.cfg.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-c.done:
			return
		case r := <-c.inbox:
			r.reply <- c.handle(r)
		case <-ticker.C:
			if err := c.tick(); err != nil {
				c.cfg.Log.Error("tick", "err", err)
			}
		}
	}
}

func (c *Controller) handle(r request) error {
	if err := c.catchUp(); err != nil {
		return err
	}
	if r.read != nil {
		r.read(c.eng)
		return nil
	}
	return c.step(r.event)
}

// tick lets time act. While the store is full, evidence waits and a rollback under way goes on: what it writes is kept room
// for, and an engine that was recovered at each failed append would begin to wait for leases each time.
func (c *Controller) tick() error {
	if err := c.catchUp(); err != nil {
		return err
	}
	if c.starved {
		ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
		defer cancel()
		c.starved = errors.Is(c.cfg.Store.OutboxDone(ctx, ""), store.ErrFull) // a write like others that changes nothing
	}
	err := c.step(engine.Tick{Seen: c.cfg.Grants.Seen(), Starved: c.starved})
	c.starved = c.starved || errors.Is(err, store.ErrFull)
	return err
}

// catchUp recovers an engine that is ahead of the store: nobody may read from it, and nothing may be decided on it.
func (c *Controller) catchUp() error {
	if !c.ahead {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	if err := c.recover(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return nil
}

// step: decide, append, act. When the append does not succeed the engine is ahead of what is durable, so it is thrown
// away and recovered: better a second of silence than an effect that the log does not know.
func (c *Controller) step(ev engine.Event) error {
	fail.At(fail.StepBegun)
	out := c.eng.Step(c.cfg.Clock.Now(), ev)
	fail.At(fail.StepDecided)
	for _, s := range out.Stop {
		c.cfg.Grants.Stop(s.Env, s.Scope)
	}
	fail.At(fail.StepStopped)
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	if mutant.Is(mutant.ActFirst) {
		c.act(out)
	}
	if err := c.append(ctx, out); err != nil {
		c.cfg.Log.Error("append", "err", err)
		c.ahead = true
		if rerr := c.recover(ctx); rerr != nil {
			return fmt.Errorf("%w; recovering after it: %w", err, rerr)
		}
		return err
	}
	fail.At(fail.StepStored)
	c.act(out)
	fail.At(fail.StepDone)
	return out.Err
}

// appendTimeout bounds one transaction; a disk that is slower than this is treated as one that refused.
const appendTimeout = 30 * time.Second

func (c *Controller) append(ctx context.Context, out engine.Output) error {
	if out.Empty() {
		return nil
	}
	b, err := c.batch(out)
	if err != nil {
		return err
	}
	fail.At(fail.StepBatched)
	_, err = c.cfg.Store.Append(ctx, b)
	return err
}

// act carries out the effects of a durable output. Views come first: whoever is told must be able to ask.
func (c *Controller) act(out engine.Output) {
	for _, rev := range out.Revisions {
		c.publish(rev.Name)
		fail.At(fail.StepPublished)
	}
	for _, f := range out.Effects {
		switch f.Kind {
		case engine.Broadcast:
			c.broadcast(f)
		case engine.Horizon:
			c.horizon(f)
		case engine.Reelect:
			c.reelect(f.Epoch)
		}
	}
	for _, r := range out.Records {
		c.cfg.Log.Info("record", "seq", r.Seq, "kind", r.Kind, "rollout", r.Rollout, "revision", r.Rev, "actor", r.Actor)
	}
}

func (c *Controller) publish(env string) engine.View {
	v, err := c.eng.View(env)
	if err != nil {
		panic("control: " + err.Error()) // the engine named the environment itself
	}
	c.cfg.Grants.Publish(v)
	return v
}

func (c *Controller) broadcast(f engine.Effect) {
	v := c.publish(f.Env)
	e := v.Event
	e.Kind, e.Prepare = f.Event.Kind, f.Event.Prepare
	if f.Cause != nil {
		if env, err := c.eng.Environment(f.Env); err == nil {
			e.Delta = engine.Delta(*f.Cause, env)
		}
	}
	c.cfg.Grants.Broadcast(f.Env, e)
	fail.At(fail.StepBroadcast)
}

// horizon: the floor is durable and shown; from this clock reading on no lease under the old floor can begin.
func (c *Controller) horizon(f engine.Effect) {
	c.publish(f.Env)
	fail.At(fail.HorizonBegun)
	seen := c.cfg.Grants.Seen()[f.Env]
	fail.At(fail.HorizonRead)
	if err := c.step(engine.Revoked{Rollout: f.Rollout, Seen: seen}); err != nil {
		c.cfg.Log.Error("horizon", "rollout", f.Rollout, "err", err)
	}
}

// reelect takes leadership again until the epoch is above one that members have seen of a store that is lost.
func (c *Controller) reelect(above uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	for last := uint64(0); c.eng.Epoch() <= above && c.eng.Epoch() != last; {
		last = c.eng.Epoch()
		if err := c.recover(ctx); err != nil {
			c.cfg.Log.Error("reelect", "err", err)
			c.ahead = true
			return
		}
	}
}
