package sluice

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// ErrCodePanic is the error code of a Result whose evaluation panicked. It is OpenFeature's.
const ErrCodePanic = "GENERAL"

// Flag is a handle of one flag. It follows every change of the configuration and may be used by any number of goroutines.
// Get it once with Client.Flag and keep it.
//
// The typed methods take the request's context (Client.Begin) and a default. They return the default when there is no such
// flag, no value of that type, or no configuration yet. With a context that carries no request of the client, the flag is
// evaluated without unit and attributes: settled values are right, rollouts answer with their baseline.
type Flag struct {
	client *Client
	key    string
	bound  atomic.Pointer[resolved]
}

// resolved is a flag as it stands in the snapshot in force.
type resolved struct {
	*boundFlag
	snap *snapshot
}

func (f *Flag) resolve(s *snapshot) { f.bound.Store(&resolved{boundFlag: s.find(f.key), snap: s}) }

// Flag returns the handle of a flag. The flag need not exist (yet). The same key gives the same handle.
func (c *Client) Flag(key string) *Flag {
	if f, ok := c.flags.Load(key); ok {
		return f.(*Flag)
	}
	f, known := c.flags.LoadOrStore(key, &Flag{client: c, key: key})
	if !known {
		for s := c.current.Load(); ; s = c.current.Load() {
			f.(*Flag).resolve(s)
			if c.current.Load() == s { // else a swap went by and may have missed the new handle
				break
			}
		}
	}
	return f.(*Flag)
}

// Key returns the flag's key.
func (f *Flag) Key() string { return f.key }

// Bool returns the flag's boolean value for the request in ctx.
func (f *Flag) Bool(ctx context.Context, def bool) bool {
	if v := f.value(ctx); v != nil && v.Type == flag.Bool {
		return v.Bool
	}
	return def
}

// String returns the flag's text for the request in ctx.
func (f *Flag) String(ctx context.Context, def string) string {
	if v := f.value(ctx); v != nil && v.Type == flag.String {
		return v.String
	}
	return def
}

// Int returns the flag's integer for the request in ctx.
func (f *Flag) Int(ctx context.Context, def int64) int64 {
	if v := f.value(ctx); v != nil && v.Type == flag.Int {
		return v.Int
	}
	return def
}

// Float returns the flag's number for the request in ctx.
func (f *Flag) Float(ctx context.Context, def float64) float64 {
	if v := f.value(ctx); v != nil && v.Type == flag.Float {
		return v.Float
	}
	return def
}

// Raw returns the flag's value as canonical JSON, whatever its type. It must not be changed.
func (f *Flag) Raw(ctx context.Context, def json.RawMessage) json.RawMessage {
	if v := f.value(ctx); v != nil {
		return v.Raw
	}
	return def
}

// Detail returns the whole answer: value, reason, rule, cohort, arm, revision.
func (f *Flag) Detail(ctx context.Context) (r flag.Result) {
	if f.client.cfg.Hook != nil {
		return f.Evaluate(ctx).Result
	}
	f.eval(ctx, &r)
	return r
}

// value returns the flag's value. Where nothing but the default can decide it was found when the snapshot was compiled.
func (f *Flag) value(ctx context.Context) *flag.Variant {
	if f.client.cfg.Hook != nil {
		return f.Evaluate(ctx).Variant
	}
	q := f.client.requestOf(ctx)
	var b *boundFlag
	if q != nil {
		b = f.in(q.snap)
	} else {
		b = f.now()
	}
	if b.settled != nil && (q == nil || q.pins == nil) {
		return b.settled
	}
	var r flag.Result
	if q != nil {
		q.eval(f, &r)
	} else {
		f.loose(&r, &noUnit)
	}
	return r.Variant
}

func (f *Flag) eval(ctx context.Context, r *flag.Result) {
	if q := f.client.requestOf(ctx); q != nil {
		q.eval(f, r)
		return
	}
	f.loose(r, &noUnit)
}

var noUnit flag.Context

// in returns the flag as it stands in a snapshot.
func (f *Flag) in(s *snapshot) *boundFlag {
	if r := f.bound.Load(); r != nil && r.snap == s {
		return r.boundFlag
	}
	return s.find(f.key)
}

// now returns the flag as it stands in the snapshot in force.
func (f *Flag) now() *boundFlag {
	if r := f.bound.Load(); r != nil {
		return r.boundFlag
	}
	return f.client.current.Load().find(f.key) // another goroutine is just making the handle
}

// loose evaluates outside a request. Nobody will say when its result is no longer used, so it is noted before the lease is
// looked at: a revoke that comes in between either is seen here or sees the note, and then waits for the drain bound.
func (f *Flag) loose(r *flag.Result, ctx *flag.Context) {
	b := f.now()
	leased := false
	if b.cell != nil {
		now := f.client.mono()
		b.hold.loose.Store(int64(now))
		leased = b.cell.held(b.handle.Revision, now)
	}
	f.client.run(b.handle, ctx, nil, leased, r)
}

// run evaluates and turns a panic into the default, counted.
func (c *Client) run(h *flag.Handle, ctx *flag.Context, pin *pinned, leased bool, r *flag.Result) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(h, p)
			*r = flag.Result{Reason: flag.ReasonError, ErrCode: ErrCodePanic}
		}
	}()
	if pin == nil {
		*r = h.Eval(ctx, leased)
		return
	}
	arm := flag.ArmNone
	switch pin.Arm {
	case slp.PinBaseline:
		arm = flag.ArmBaseline
	case slp.PinExposed, slp.PinLapsed:
		arm = flag.ArmExposed
	}
	*r = h.EvalPinned(ctx, arm, leased && pin.Arm != slp.PinLapsed)
	r.Revision = pin.Rev
}

func (c *Client) panicked(h *flag.Handle, p any) {
	if c.counts.panics.Add(1) == 1 {
		c.cfg.Logf("sluice: panic while evaluating flag %s, its default is served: %v", h.Key, p)
	}
}
