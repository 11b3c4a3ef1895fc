package sluice

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sdk/slp"
)

// Client is one process's membership in the fleet. All methods may be called at the same time. Make one per process.
type Client struct {
	cfg     Config
	servers *servers
	http    clients
	boot    string
	origin  time.Time // of the monotonic clock

	current   atomic.Pointer[snapshot] // in force; empty before the first
	view      atomic.Pointer[slp.View]
	residents atomic.Pointer[[]*resident]
	flags     sync.Map // key -> *Flag
	cells     cells
	evidence  *evidenceBook
	counts    counts

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	done    chan struct{}
	wg      sync.WaitGroup
	inbox   chan message
	poke    chan struct{} // a hold may have become free
	closing sync.Once
	closed  error

	disk     *diskCache
	cacheBox chan *slp.Cache

	started startup
	loop    loop

	fixed           bool         // made by Fixed: nothing runs
	heardAt, lostAt atomic.Int64 // Mono: when the server was heard, and the watch stream lost, last
}

// message is an input for the loop; done is closed when its effects have been begun.
type message struct {
	in   slp.Input
	done chan struct{}
}

// startup is what New waits for.
type startup struct {
	ready  chan struct{} // a configuration is in force
	fresh  chan struct{} // it is the server's newest
	failed chan error    // refusals and failures of the Hello
	once   [2]sync.Once
}

// hooks replace what tests must control.
type hooks struct {
	clock      func() time.Duration // in place of continuousClock
	earlyLapse float64              // below 0: draw one
	patience   time.Duration
}

// patience is how long New waits for the server although there is a cache to start from.
const patience = 500 * time.Millisecond

// New joins the fleet and returns once flags can be evaluated: with the server's configuration, or, if Config.CacheDir
// holds one and the server does not answer within half a second, with the last one. It fails when the server refuses the
// component (token, name), or when ctx ends first; Config.Offline makes it start without anything instead. ctx bounds the
// start only; the client lives until Close.
func New(ctx context.Context, cfg Config) (*Client, error) {
	return newClient(ctx, cfg, hooks{clock: continuousClock, earlyLapse: -1, patience: patience})
}

func newClient(ctx context.Context, cfg Config, h hooks) (*Client, error) {
	base, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, servers: base, http: newClients(cfg.HTTPClient), boot: newBoot(), origin: time.Now().Add(-time.Second),
		done: make(chan struct{}), inbox: make(chan message, 64), poke: make(chan struct{}, 1), cacheBox: make(chan *slp.Cache, 1),
		started: startup{ready: make(chan struct{}), fresh: make(chan struct{}), failed: make(chan error, 1)},
		cells:   cells{byID: map[string]*cell{}},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.heard()
	c.lostAt.Store(int64(c.mono()))
	c.evidence = newEvidenceBook(c)
	c.current.Store(&snapshot{wire: &slp.Snapshot{}})
	c.view.Store(&slp.View{})
	c.residents.Store(new([]*resident))
	cached := c.openCache()
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	if h.earlyLapse < 0 {
		h.earlyLapse = 0.2 * rng.Float64()
	}
	c.loop.init(c, rng, h.earlyLapse)
	c.wg.Go(c.runLoop)
	c.wg.Go(func() { c.watchdog(h.clock) })
	phase := 20*time.Millisecond + time.Duration(rng.Int64N(int64(200*time.Millisecond)))
	c.wg.Go(func() { c.evidence.run(phase) })
	if c.disk != nil {
		c.wg.Go(c.cacheWriter)
	}
	c.post(slp.Start{Cache: cached})
	if err := c.wait(ctx, cached != nil && cached.Snapshot != nil, h.patience); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func newBoot() string {
	var b [16]byte
	_, _ = crand.Read(b[:]) // it never errs
	return hex.EncodeToString(b[:])
}

func (c *Client) openCache() *slp.Cache {
	if c.cfg.CacheDir == "" {
		return nil
	}
	var err error
	if c.disk, err = openCache(&c.cfg); err != nil {
		c.disk = nil
		c.failed("cache", err)
		return nil
	}
	cached, err := c.disk.read()
	if err != nil {
		c.failed("cache", err)
	}
	return cached
}

// wait blocks New until flags can be evaluated.
func (c *Client) wait(ctx context.Context, cached bool, patience time.Duration) error {
	s := &c.started
	var last error
	short := make(<-chan time.Time)
	if cached || c.cfg.Offline {
		t := time.NewTimer(patience)
		defer t.Stop()
		short = t.C
	}
	enough := s.ready
	if cached {
		enough = s.fresh
	}
	for {
		select {
		case <-enough:
			return nil
		case err := <-s.failed:
			last = err
			if cached || c.cfg.Offline {
				return c.waitReady(ctx, cached)
			}
			var f *failure
			if errors.As(err, &f) && final(f.Status) {
				return fmt.Errorf("sluice: join the fleet at %s: %w", c.servers.current().Redacted(), err)
			}
		case <-short:
			return c.waitReady(ctx, cached)
		case <-ctx.Done():
			return fmt.Errorf("sluice: join the fleet at %s: %w", c.servers.current().Redacted(), errors.Join(ctx.Err(), last))
		}
	}
}

// waitReady waits for the cached configuration to be compiled; a broken one does not hold the start up.
func (c *Client) waitReady(ctx context.Context, cached bool) error {
	if !cached {
		return nil
	}
	t := time.NewTimer(snapshotTimeout)
	defer t.Stop()
	select {
	case <-c.started.ready:
		return nil
	case <-t.C:
	case <-ctx.Done():
	}
	if c.cfg.Offline {
		return nil
	}
	return errors.New("sluice: the cached configuration cannot be loaded and the server does not answer")
}

// final are the refusals that repeating cannot mend.
func final(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadRequest:
		return true
	}
	return false
}

// Close leaves the fleet: leases end at once, open requests are given until ctx ends or the drain bound has passed, the
// last evidence is sent, and the server is told that this process has stopped. Flags go on answering with settled values.
// Only the first call does something; the others wait for it. The error says what the server was not told.
func (c *Client) Close(ctx context.Context) error {
	if c.fixed {
		return nil
	}
	c.closing.Do(func() { c.closed = c.close(ctx) })
	return c.closed
}

func (c *Client) close(ctx context.Context) error {
	c.hand(slp.Leave{})
	c.awaitHolds(ctx)
	c.evidence.finish(ctx)
	bye := make(chan error, 1)
	c.loop.bye.Store(&bye)
	c.hand(slp.Bye{})
	var err error
	select {
	case err = <-bye:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.stop()
	if err != nil {
		return fmt.Errorf("sluice: say goodbye to %s: %w", c.servers.current().Redacted(), err)
	}
	return nil
}

// stop ends all goroutines and waits for them.
func (c *Client) stop() {
	c.cancel()
	close(c.done)
	c.wg.Wait()
	c.loop.stopTimers()
	c.http.close()
}

// awaitHolds waits for open requests that hold decisions made under a lease.
func (c *Client) awaitHolds(ctx context.Context) {
	bound := time.NewTimer(c.cfg.DrainBound)
	defer bound.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for c.cells.held() {
		select {
		case <-look.C:
		case <-bound.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// held reports whether any open request holds a decision.
func (c *cells) held() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.byID {
		x.mu.Lock()
		for _, h := range x.holds {
			if h.open.Load() > 0 {
				x.mu.Unlock()
				return true
			}
		}
		x.mu.Unlock()
	}
	return false
}

// mono reads the monotonic clock. It is never 0.
func (c *Client) mono() slp.Mono { return time.Since(c.origin) }

// second is the server's unix second at a reading of the clock, 0 while it is not known.
func (c *Client) second(at slp.Mono) int64 {
	v := c.view.Load()
	return v.Clock.Second(at)
}

// post hands an input to the loop without waiting for its effects. It must not be called by the loop.
func (c *Client) post(in slp.Input) {
	select {
	case c.inbox <- message{in: in}:
	case <-c.done:
	}
}

// hand hands an input to the loop and waits until its effects have been begun.
func (c *Client) hand(in slp.Input) {
	m := message{in: in, done: make(chan struct{})}
	select {
	case c.inbox <- m:
	case <-c.done:
		return
	}
	select {
	case <-m.done:
	case <-c.done:
	}
}

// sleep waits; false when the client ends first.
func (c *Client) sleep(d time.Duration) bool {
	if d <= 0 {
		return c.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.done:
		return false
	}
}
