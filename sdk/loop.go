package sluice

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sdk/slp"
)

// loop owns the protocol machine and carries out its effects. Only its goroutine touches the fields without a lock.
type loop struct {
	machine *slp.Client
	since   map[string]slp.Mono // when a scope's revision came into force
	told    map[string]uint64   // revision told as drained, by scope
	recheck *time.Timer         // to look at holds again
	bye     atomic.Pointer[chan error]

	mu       sync.Mutex
	timers   map[slp.Timer]*time.Timer
	compiled map[*slp.Snapshot]*compiled
	shadows  map[string]*resident
}

// compiled is a snapshot that is ready, with the scopes of it that pinned requests may need.
type compiled struct {
	snap      *snapshot
	residents []*resident
}

func (l *loop) init(c *Client, rng *rand.Rand, earlyLapse float64) {
	cache := "none"
	if c.disk != nil {
		cache = "durable"
	}
	guard := slp.GuardLease
	if c.cfg.Fence != nil {
		guard = slp.GuardFence
	}
	l.machine = slp.NewClient(slp.ClientConfig{
		Instance: c.cfg.Instance, Boot: c.boot, Component: c.cfg.Component, Class: c.cfg.Class, W: c.cfg.DrainBound, EarlyLapse: earlyLapse, Rand: rng,
		Caps: slp.Caps{MaxBytes: c.cfg.MaxBytes, MaxObjects: c.cfg.MaxObjects, Impl: "go-sdk/" + Version, Cache: cache, Guard: guard},
	})
	l.since, l.told = map[string]slp.Mono{}, map[string]uint64{}
	l.timers, l.compiled, l.shadows = map[slp.Timer]*time.Timer{}, map[*slp.Snapshot]*compiled{}, map[string]*resident{}
}

func (l *loop) stopTimers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.timers {
		t.Stop()
	}
	if l.recheck != nil {
		l.recheck.Stop()
	}
}

func (c *Client) runLoop() {
	for {
		select {
		case <-c.done:
			return
		case m := <-c.inbox:
			c.step(m.in)
			if m.done != nil {
				close(m.done)
			}
		case <-c.poke:
			c.drained()
		}
	}
}

// step gives the machine an input and begins what it wants done.
func (c *Client) step(in slp.Input) {
	for _, e := range c.loop.machine.Step(c.mono(), in) {
		c.do(e)
	}
}

func (c *Client) do(e slp.Effect) {
	switch e := e.(type) {
	case slp.SendHello:
		c.wg.Go(func() { c.hello(e.Hello) })
	case slp.SendRenew:
		e.Renew.OldestInflight, e.Renew.Crashes = c.oldest(), c.counts.panics.Load()
		e.Renew.Pins = c.counts.pins()
		c.wg.Go(func() { c.renew(e.Renew) })
	case slp.SendAck:
		c.wg.Go(func() { c.ack(e.Request) })
	case slp.FetchSnapshot:
		c.wg.Go(c.fetch)
	case slp.Load:
		c.wg.Go(func() { c.load(e.Snapshot) })
	case slp.LoadShadow:
		c.wg.Go(func() { c.loadShadow(e) })
	case slp.Swap:
		c.swap(e.View)
	case slp.WriteCache:
		if c.disk != nil {
			c.writeCache(e.Cache)
		}
	case slp.OpenWatch:
		c.wg.Go(func() { c.watch(e.After) })
	case slp.Schedule:
		c.schedule(e.Timer, e.After)
	case slp.RunUnwind:
		c.wg.Go(func() { c.unwind(e.Scope, e.Rev) })
	case slp.Notice:
		c.failed(e.Code, fmt.Errorf("%s", e.Text))
	}
}

func (c *Client) schedule(t slp.Timer, after time.Duration) {
	l := &c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.timers[t]; old != nil {
		old.Stop()
	}
	l.timers[t] = time.AfterFunc(after, func() { c.post(slp.Tick{Timer: t}) })
}

func (c *Client) hello(h slp.Hello) {
	sent := c.mono()
	var a slp.HelloAnswer
	err := c.call(c.ctx, c.http.control, http.MethodPost, "/v1/hello", helloTimeout, h, &a)
	if err != nil {
		c.failed("hello", err)
		select {
		case c.started.failed <- err:
		default:
		}
		c.post(slp.HelloFailed{Failure: failureOf(err)})
		return
	}
	c.heard()
	c.post(slp.HelloAnswered{Sent: sent, Answer: a})
}

func (c *Client) renew(r slp.Renew) {
	var g slp.Grant
	err := c.call(c.ctx, c.http.control, http.MethodPost, "/v1/renew", renewTimeout, r, &g)
	if err == nil {
		err = g.Check()
	}
	if err != nil {
		c.failed("renew", err)
		c.post(slp.RenewFailed{N: r.N, Failure: failureOf(err)})
		return
	}
	c.heard()
	c.post(slp.GrantReceived{Grant: g})
}

func (c *Client) ack(r slp.AckRequest) {
	err := c.call(c.ctx, c.http.ack, http.MethodPost, "/v1/ack", renewTimeout, r, nil)
	if r.Bye {
		if bye := c.loop.bye.Load(); bye != nil {
			*bye <- err
		}
		return
	}
	if err != nil {
		c.failed("ack", err)
		c.post(slp.AckFailed{Failure: failureOf(err)})
	}
}

func (c *Client) fetch() {
	var s slp.Snapshot
	if err := c.call(c.ctx, c.http.control, http.MethodGet, "/v1/snapshot", snapshotTimeout, nil, &s); err != nil {
		c.failed("snapshot", err)
		c.post(slp.FetchFailed{Failure: failureOf(err)})
		return
	}
	c.post(slp.SnapshotFetched{Snapshot: s})
}

// load compiles a snapshot so that the swap itself is a store of pointers.
func (c *Client) load(wire *slp.Snapshot) {
	s, err := c.compile(wire)
	if err != nil {
		c.post(slp.Loaded{Head: wire.Head, Err: err.Error()})
		return
	}
	ready := &compiled{snap: s, residents: c.newResidents(wire, *c.residents.Load())}
	c.loop.mu.Lock()
	c.loop.compiled[wire] = ready
	c.loop.mu.Unlock()
	c.post(slp.Loaded{Head: wire.Head})
}

// rehearsalTimeout bounds how long a prepared content may take to compile and evaluate.
const rehearsalTimeout = 10 * time.Second

func (c *Client) loadShadow(e slp.LoadShadow) {
	p := slp.Prepared{Scope: e.Scope, Digest: e.Digest}
	begun := c.mono()
	shadow, err := c.rehearse(e.Snapshot, e.Scope)
	took := c.mono() - begun
	switch {
	case err != nil:
		p.Reject = &slp.Reject{Code: "prepare.compile", Got: err.Error()}
	case took > rehearsalTimeout:
		p.Reject = &slp.Reject{Code: "prepare.slow", Limit: rehearsalTimeout.String(), Got: took.String()}
	default:
		c.loop.mu.Lock()
		c.loop.shadows[e.Scope] = &resident{scope: e.Scope, digest8: slp.Digest8(e.Digest), snap: shadow}
		c.publishResidents(nil)
		c.loop.mu.Unlock()
	}
	c.post(slp.ShadowLoaded{Prepared: p})
}

// publishResidents shows pinned requests what is resident: prepared contents, then the ring, newest first. ring nil keeps
// the ring as it is. The loop's lock is held.
func (c *Client) publishResidents(ring []*resident) {
	if ring == nil {
		ring = slices.DeleteFunc(slices.Clone(*c.residents.Load()), func(r *resident) bool { return r.rev == 0 })
	}
	list := make([]*resident, 0, len(ring)+len(c.loop.shadows))
	for _, scope := range slices.Sorted(maps.Keys(c.loop.shadows)) {
		list = append(list, c.loop.shadows[scope])
	}
	list = append(list, ring...)
	c.residents.Store(&list)
}

// unwind runs the component's hook. A panic in it counts as an error.
func (c *Client) unwind(scope string, rev uint64) {
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic in OnUnwind: %v", p)
			}
		}()
		if c.cfg.OnUnwind == nil {
			return nil
		}
		return c.cfg.OnUnwind(c.ctx, scope)
	}()
	if err != nil {
		c.failed("unwind "+scope, err)
	} else {
		c.counts.unwinds.Add(1)
	}
	c.post(slp.Unwound{Scope: scope, Rev: rev, Failed: err != nil})
}

// swap puts a view in force. Floors and leases come first, then the configuration: no evaluation can see a newer
// configuration with older floors, and once swap returns none that starts sees the older one.
func (c *Client) swap(v *slp.View) {
	c.raise(v.Floors)
	c.setLeases(v)
	if v.Snapshot != nil && v.Snapshot != c.current.Load().wire {
		c.setSnapshot(v.Snapshot)
	}
	c.view.Store(v)
	if v.Snapshot != nil {
		c.started.once[0].Do(func() { close(c.started.ready) })
		if v.Epoch > 0 && v.Snapshot.Head.Rev >= v.Want.Rev {
			c.started.once[1].Do(func() { close(c.started.fresh) })
		}
	}
	c.look() // what nobody holds is drained already
}

// raise raises the floors of the resource that this process guards. What follows in the loop, acknowledgements above all,
// waits for it: a fence that is down must not look as if it stood.
func (c *Client) raise(floors map[string]uint64) {
	if c.cfg.Fence == nil || len(floors) == 0 {
		return
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := c.cfg.Fence.Raise(floors)
		if err == nil {
			return
		}
		c.failed("fence", err)
		if !c.sleep(wait) {
			return
		}
	}
}

func (c *Client) setLeases(v *slp.View) {
	set := func(scope string) {
		x := c.cells.get(scope)
		next := leaseState{floor: v.Floors[scope], end: v.LeaseEnd[scope]}
		if old := x.lease.Load(); old == nil || *old != next {
			x.lease.Store(&next)
		}
	}
	for scope := range v.Floors {
		set(scope)
	}
	for scope := range v.LeaseEnd {
		set(scope)
	}
	for _, scope := range c.cells.names() {
		set(scope) // leases that the view does not have any more
	}
}

func (c *cells) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.byID))
}

func (c *Client) setSnapshot(wire *slp.Snapshot) {
	l, now := &c.loop, c.mono()
	l.mu.Lock()
	ready := l.compiled[wire] // the machine swaps only what was loaded
	clear(l.compiled)
	old := c.current.Load()
	for scope := range l.shadows {
		if meta, ok := wire.Scopes[scope]; !ok || slp.Digest8(meta.Digest) == l.shadows[scope].digest8 {
			delete(l.shadows, scope)
		}
	}
	c.publishResidents(c.ring(ready.residents, wire, now))
	l.mu.Unlock()

	c.current.Store(ready.snap)
	c.flags.Range(func(_, f any) bool {
		f.(*Flag).resolve(ready.snap)
		return true
	})
	if c.cfg.OnSwap != nil {
		c.cfg.OnSwap(wire)
	}
	c.evidence.keep(ready.snap, *c.residents.Load())
	for scope, meta := range wire.Scopes {
		if was, ok := old.wire.Scopes[scope]; !ok || was.Rev != meta.Rev {
			l.since[scope] = now
			if x := c.cells.peek(scope); x != nil {
				x.activate(meta.Rev)
			}
		}
	}
	c.counts.swaps.Add(1)
}

// ring returns the resident contents after a swap: what is new, then what may still be pinned by requests under way.
func (c *Client) ring(fresh []*resident, wire *slp.Snapshot, now slp.Mono) []*resident {
	keep := c.cfg.DrainBound + c.quietTime()
	out := fresh
	for _, r := range *c.residents.Load() {
		if r.rev == 0 || len(out) >= maxResidents {
			continue
		}
		if meta, ok := wire.Scopes[r.scope]; (!ok || meta.Rev != r.rev) && r.retired == 0 {
			aged := *r
			aged.retired = now
			r = &aged
		}
		if r.retired == 0 || now-r.retired <= keep {
			out = append(out, r)
		}
	}
	if out == nil {
		out = []*resident{}
	}
	return out
}

// drained tells the machine of which scopes no older decision is in use any more. For settled scopes, whose evaluations
// are not counted, that is the drain bound after their revision came into force.
func (c *Client) drained() {
	l := &c.loop
	s, now := c.current.Load(), c.mono()
	next := time.Duration(0)
	for _, scope := range slices.Sorted(maps.Keys(s.wire.Scopes)) {
		meta := s.wire.Scopes[scope]
		if l.told[scope] >= meta.Rev {
			continue
		}
		wait, free := c.free(scope, meta, now)
		if !free {
			continue // End pokes
		}
		if wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		l.told[scope] = meta.Rev
		c.step(slp.RequestsDrained{Scope: scope, Rev: meta.Rev})
	}
	if next > 0 {
		c.recheck(next)
	}
	maps.DeleteFunc(l.told, func(scope string, _ uint64) bool { _, ok := s.wire.Scopes[scope]; return !ok })
	maps.DeleteFunc(l.since, func(scope string, _ slp.Mono) bool { _, ok := s.wire.Scopes[scope]; return !ok })
	if v := c.view.Load(); v.Snapshot != nil {
		list := *c.residents.Load()
		c.cells.prune(v, func(scope string) bool {
			return slices.ContainsFunc(list, func(r *resident) bool { return r.scope == scope })
		}, now)
	}
}

// free reports whether no open request holds a decision of the scope older than its revision in force, and how long to
// wait for decisions outside requests.
func (c *Client) free(scope string, meta slp.ScopeMeta, now slp.Mono) (wait time.Duration, free bool) {
	if !meta.Leased {
		return c.loop.since[scope] + c.cfg.DrainBound - now, true
	}
	x := c.cells.peek(scope)
	if x == nil {
		return 0, true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for rev, h := range x.holds {
		if rev >= meta.Rev {
			continue
		}
		if h.open.Load() > 0 {
			return 0, false
		}
		if at := slp.Mono(h.loose.Load()); at > 0 {
			wait = max(wait, at+c.cfg.DrainBound-now)
		}
	}
	return wait, true
}

func (c *Client) recheck(after time.Duration) {
	l := &c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recheck != nil {
		l.recheck.Stop()
	}
	l.recheck = time.AfterFunc(after, c.look)
}

// oldest returns the oldest revision that an open request holds, by scope.
func (c *Client) oldest() map[string]uint64 {
	out := map[string]uint64{}
	for _, scope := range c.cells.names() {
		x := c.cells.peek(scope)
		if x == nil {
			continue
		}
		x.mu.Lock()
		for rev, h := range x.holds {
			if old, ok := out[scope]; h.open.Load() > 0 && (!ok || rev < old) {
				out[scope] = rev
			}
		}
		x.mu.Unlock()
	}
	return out
}
