package dst

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/fleet"
)

// proc is one member process after another under one instance name: the SDK's machine with its clock, disk and requests.
type proc struct {
	w                *world
	name             string
	component, class string
	link             *link
	durable          bool // it has a disk for its cache
	picky            bool // it refuses some of what it is to load

	life   int // changes with each process
	gone   bool
	boot   string
	born   time.Time
	joined time.Time // its Hello was stored; zero before
	held   time.Time // it stands still until then
	stood  time.Time // it stood still until then at the latest
	heard  time.Time // the controller last heard from it
	wait   []slp.Input

	rate    float64
	origin  time.Time     // of the monotonic clock
	lag     time.Duration // time that it did not count
	stopped bool          // its clock stood still and nobody noticed: leases say nothing any more

	c       *slp.Client
	view    *slp.View
	loaded  *compiled
	timers  map[slp.Timer]int
	disk    *slp.Cache
	open    []*request
	drained map[string]uint64
	unwound map[string]uint64
	report  *reporter
}

// cast says what the members are; the first four are always there.
var cast = []struct{ component, class string }{
	{"checkout", slp.ClassReader}, {"checkout", slp.ClassReader}, {"online", slp.ClassStore}, {"agg", slp.ClassWriter},
	{"fraud", slp.ClassHost}, {"edge", slp.ClassRouter}, {"checkout", slp.ClassReader},
}

func newProc(w *world, i int) *proc {
	c := cast[i]
	p := &proc{
		w: w, name: fmt.Sprintf("%s-%d", c.component, i), component: c.component, class: c.class, link: &link{w: w},
		durable: w.rng.IntN(2) == 0, picky: w.rng.IntN(12) == 0,
	}
	p.begin()
	w.After(w.upTo(time.Second), p.report.send)
	p.work()
	return p
}

// mono is the process's own clock.
func (p *proc) mono() slp.Mono {
	return time.Duration(float64(p.w.Now.Sub(p.origin)-p.lag) * p.rate)
}

// begin is a new boot: nothing of the last one is left but its disk.
func (p *proc) begin() {
	w := p.w
	p.life++
	p.boot = w.bootID()
	p.rate, p.lag, p.stopped = 1+fleet.Rho*(2*w.rng.Float64()-1), 0, false
	p.origin, p.born, p.joined, p.held, p.wait = w.Now.Add(-w.upTo(time.Hour)), w.Now, time.Time{}, time.Time{}, nil
	p.view, p.loaded, p.open, p.timers = nil, nil, nil, map[slp.Timer]int{}
	p.drained, p.unwound = map[string]uint64{}, map[string]uint64{}
	p.report = newReporter(p)
	caps := slp.Caps{Impl: "dst", Cache: "none"}
	if p.durable {
		caps.Cache = "durable"
	}
	p.c = slp.NewClient(slp.ClientConfig{
		Instance: p.name, Boot: p.boot, Component: p.component, Class: p.class, W: w.mood.drain, Caps: caps,
		EarlyLapse: 0.2 * w.rng.Float64() * float64(w.rng.IntN(2)), Rand: rand.New(rand.NewPCG(w.rng.Uint64(), 1)),
	})
	w.oracle.seen.Boots++
	w.logf("%s boots as %s", p.name, p.boot[:6])
	p.hear(p.life, slp.Start{Cache: p.cache()})
}

// bootID draws 128 bits.
func (w *world) bootID() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(w.rng.UintN(256))
	}
	return hex.EncodeToString(b[:])
}

// cache is what the disk gives back, through its stored form.
func (p *proc) cache() *slp.Cache {
	if p.disk == nil {
		return nil
	}
	b, err := p.disk.Encode()
	if err != nil {
		p.w.violated("cache", "%s: %v", p.name, err)
		return nil
	}
	c, err := slp.DecodeCache(b)
	if err != nil {
		p.w.violated("cache", "%s: %v", p.name, err)
	}
	return c
}

// end kills the process, or lets it leave in order. It may not come back, and its disk may be lost.
func (p *proc) end() {
	w := p.w
	if w.chance(0.3) && !p.still() {
		p.hear(p.life, slp.Leave{})
		p.open = nil
		p.hear(p.life, slp.Bye{})
	}
	w.logf("%s ends", p.name)
	p.life++
	p.gone, p.view, p.open = true, nil, nil
	w.srv.watchers = slices.DeleteFunc(w.srv.watchers, func(o *proc) bool { return o == p })
	if w.chance(0.3) {
		w.fault("member disk lost")
		p.disk = nil
	}
	w.After(w.about(2*time.Second), func() {
		if p.gone {
			p.gone = false
			p.begin()
		}
	})
}

// hold stops the process for a while: its clock runs, nothing else does.
func (p *proc) hold(d time.Duration) {
	w, life := p.w, p.life
	p.held = w.Now.Add(d)
	p.stood = p.held
	w.After(d, func() {
		if p.life == life && !w.Now.Before(p.held) {
			p.resume()
		}
	})
}

func (p *proc) still() bool { return p.w.Now.Before(p.held) }

// resume: a request that was about to be evaluated comes before anything that was received meanwhile.
func (p *proc) resume() {
	if p.gone {
		return
	}
	p.serve()
	list := p.wait
	p.wait = nil
	for _, in := range list {
		p.hear(p.life, in)
	}
}

func (p *proc) heal() {
	p.held = time.Time{}
	p.link.up, p.link.down = time.Time{}, time.Time{}
	p.resume()
}

// hear gives the machine an input if the process that it was meant for still lives.
func (p *proc) hear(life int, in slp.Input) {
	switch {
	case life != p.life || p.gone || p.w.over():
	case p.still():
		p.wait = append(p.wait, in)
	default:
		for _, e := range p.c.Step(p.mono(), in) {
			p.do(e)
		}
		p.drain()
	}
}

func (p *proc) do(e slp.Effect) {
	w, life := p.w, p.life
	switch e := e.(type) {
	case slp.SendHello:
		p.hello(e.Hello)
	case slp.SendRenew:
		p.renew(e.Renew)
	case slp.SendAck:
		p.ack(e.Request)
	case slp.FetchSnapshot:
		p.fetch()
	case slp.OpenWatch:
		w.After(e.After, func() { p.watch(life) })
	case slp.Load:
		w.After(w.upTo(50*time.Millisecond), func() { p.hear(life, w.compile(e.Snapshot).answer) })
	case slp.LoadShadow:
		w.After(w.upTo(50*time.Millisecond), func() { p.hear(life, slp.ShadowLoaded{Prepared: p.shadow(e)}) })
	case slp.Swap:
		p.swap(e.View)
	case slp.WriteCache:
		w.After(w.upTo(50*time.Millisecond), func() { p.write(life, e.Cache) })
	case slp.Schedule:
		p.schedule(e)
	case slp.RunUnwind:
		p.unwind(e)
	case slp.Notice:
		w.logf("%s notices %s", p.name, e.Code)
	}
}

func (p *proc) hello(q slp.Hello) {
	life, sent, srv := p.life, p.mono(), p.w.srv
	p.link.exchange(func(answer func(func())) {
		srv.receive(func() {
			srv.hello(q, func(a *slp.HelloAnswer, f slp.Failure) {
				if a != nil && life == p.life && p.joined.IsZero() {
					p.joined = p.w.Now
				}
				answer(func() {
					if a == nil {
						p.hear(life, slp.HelloFailed{Failure: f})
						return
					}
					p.hear(life, slp.HelloAnswered{Sent: sent, Answer: *a})
				})
			})
		})
	}, func() { p.hear(life, slp.HelloFailed{}) })
}

// renew: a Grant reaches whatever process has the instance's address now; the boot in it protects.
func (p *proc) renew(q slp.Renew) {
	life, srv := p.life, p.w.srv
	p.w.oracle.acking(p, q.Acks)
	p.link.exchange(func(answer func(func())) {
		srv.receive(func() {
			g, f := srv.renew(q)
			if f.Status == 0 && q.Boot == p.boot {
				p.heard = p.w.Now
			}
			answer(func() {
				if f.Status != 0 {
					p.hear(life, slp.RenewFailed{N: q.N, Failure: f})
					return
				}
				p.hear(p.life, slp.GrantReceived{Grant: g})
			})
		})
	}, func() { p.hear(life, slp.RenewFailed{N: q.N}) })
}

func (p *proc) ack(q slp.AckRequest) {
	life, srv := p.life, p.w.srv
	p.w.oracle.acking(p, q.Acks)
	p.link.exchange(func(answer func(func())) {
		srv.receive(func() {
			srv.hand(ackedOf(q))
			answer(func() {})
		})
	}, func() { p.hear(life, slp.AckFailed{}) })
}

func (p *proc) fetch() {
	life, srv := p.life, p.w.srv
	p.link.exchange(func(answer func(func())) {
		srv.receive(func() {
			if srv.snapshot == nil {
				return
			}
			s := *srv.snapshot
			answer(func() { p.hear(life, slp.SnapshotFetched{Snapshot: s}) })
		})
	}, func() { p.hear(life, slp.FetchFailed{}) })
}

func (p *proc) watch(life int) {
	srv := p.w.srv
	if life != p.life {
		return
	}
	if !srv.up || srv.snapshot == nil {
		p.lostStream(10 * time.Millisecond)
		return
	}
	if !slices.Contains(srv.watchers, p) {
		srv.watchers = append(srv.watchers, p)
	}
	srv.receive(func() { srv.watch(p) })
}

// lostStream tells the process after a while that its stream has ended.
func (p *proc) lostStream(after time.Duration) {
	life := p.life
	p.w.After(after, func() { p.hear(life, slp.WatchLost{}) })
}

func (p *proc) schedule(e slp.Schedule) {
	life := p.life
	p.timers[e.Timer]++
	n := p.timers[e.Timer]
	p.w.After(time.Duration(float64(e.After)/p.rate), func() {
		if life == p.life && p.timers[e.Timer] == n {
			p.hear(life, slp.Tick{Timer: e.Timer})
		}
	})
}

func (p *proc) write(life int, c *slp.Cache) {
	if life != p.life || p.gone {
		return
	}
	if !p.w.calm && p.w.mood.kinds["member disk"] && p.w.chance(0.05) {
		p.w.fault("member disk refuses")
		p.hear(life, slp.CacheWritten{Cache: c, Failed: true})
		return
	}
	p.disk = c
	p.hear(life, slp.CacheWritten{Cache: c})
}

// swap puts a view in force.
func (p *proc) swap(v *slp.View) {
	p.w.oracle.swapped(p, v)
	p.view = v
	if v.Snapshot != nil {
		p.loaded = p.w.compile(v.Snapshot)
		p.report.measure(p.loaded)
	}
}

func (p *proc) unwind(e slp.RunUnwind) {
	w, life := p.w, p.life
	w.oracle.unwinding(p, e)
	w.logf("%s (%.6s) unwinds %s below %d", p.name, p.boot, e.Scope, e.Rev)
	w.After(w.upTo(100*time.Millisecond), func() {
		failed := !w.calm && w.chance(0.2)
		if life == p.life && !p.gone && !failed {
			p.unwound[e.Scope] = max(p.unwound[e.Scope], e.Rev)
		}
		p.hear(life, slp.Unwound{Scope: e.Scope, Rev: e.Rev, Failed: failed})
	})
}

// shadow tries a prepared content out; a picky member refuses some contents, always the same.
func (p *proc) shadow(e slp.LoadShadow) slp.Prepared {
	out := slp.Prepared{Scope: e.Scope, Digest: e.Digest}
	if _, _, err := e.Snapshot.Compile(); err != nil {
		out.Reject = &slp.Reject{Code: "prepare.compile", Got: err.Error()}
	} else if p.picky && e.Digest[len(e.Digest)-1] < '4' {
		p.w.fault("content refused")
		out.Reject = &slp.Reject{Code: "prepare.impl", Limit: "known", Got: "unknown"}
	}
	return out
}

// recent: the controller has heard from it a moment ago.
func (p *proc) recent() bool { return p.w.Now.Sub(p.heard) < time.Second }
