package dst

import (
	"context"
	"errors"
	"reflect"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fleet"
)

// server is the controller's process: control on its disk, and the grant path in front of it, as package push runs it but
// for goroutines and HTTP. It implements control.Grants.
type server struct {
	w      *world
	rate   float64       // of its clock
	shift  time.Duration // of its wall clock, changed while it is down
	life   int
	up     bool
	held   time.Time // the whole process stands still until then
	busy   bool      // the engine's goroutine is in a step
	doomed bool      // it dies at the next place where it can

	ctl      *control.Controller
	clock    *control.Clock
	grants   *fleet.Grants
	view     engine.View
	said     map[string]engine.Acked
	queue    []job
	waiting  []func() // messages that wait for a process that stands still
	watchers []*proc
	snapshot *slp.Snapshot // of view
}

type job struct {
	event engine.Event
	done  func(error)
}

var errDown = errors.New("the controller is down")

func newServer(w *world) *server {
	s := &server{w: w, rate: 1 + fleet.Rho*(2*w.rng.Float64()-1)}
	w.Every(200*time.Millisecond, func() bool { s.tick(); return false })
	w.Every(time.Second, func() bool { s.ping(); return false })
	return s
}

// wall is the clock of the controller's machine. While a process lives it only runs, at its own rate.
func (s *server) wall() time.Time {
	return genesis.Add(s.shift + time.Duration(float64(s.w.since())*s.rate))
}

// start begins a life of the process; it may die in its recovery and is started again.
func (s *server) start() {
	w := s.w
	s.life++
	s.up, s.doomed, s.busy = true, false, true
	s.clock = control.NewClock(s.wall)
	s.grants, s.view, s.said, s.snapshot = fleet.NewGrants(), engine.View{}, map[string]engine.Acked{}, nil
	w.logf("controller starts, life %d", s.life)
	w.oracle.seen.Recoveries++
	err := s.guard(func() (err error) {
		s.ctl, err = control.Open(context.Background(), control.Config{Store: w.disk, Grants: s, Version: "dst", Clock: s.clock})
		return err
	})
	s.busy = false
	if err == nil {
		w.oracle.recovered()
		s.pump()
		return
	}
	if s.up {
		if !errors.Is(err, errDisk) {
			w.violated("G6", "the controller cannot recover: %v", err)
		}
		s.die()
	}
}

// guard runs a part of the process; a crash in it ends the process.
func (s *server) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crashed); !ok {
				panic(r)
			}
			s.die()
			err = errDown
		}
	}()
	return f()
}

// die loses everything that is not on the disk. The clock may be wrong when the process comes back.
func (s *server) die() {
	w := s.w
	s.up, s.ctl, s.doomed, s.busy, s.held, s.waiting = false, nil, false, false, time.Time{}, nil
	w.logf("controller dies")
	for _, j := range s.queue {
		j.done(errDown)
	}
	s.queue = nil
	for _, p := range s.watchers {
		p.lostStream(w.upTo(time.Second))
	}
	s.watchers = nil
	down := w.about(2 * time.Second)
	if w.calm {
		down = time.Second
	} else if w.mood.kinds["wall clock"] && w.chance(0.3) {
		w.fault("wall clock")
		s.shift += w.upTo(2*time.Minute) - time.Minute
	}
	w.After(down, func() {
		if !s.up {
			s.start()
		}
	})
}

// mayDie is a place where the process can end.
func (s *server) mayDie(kind string) {
	w := s.w
	if s.doomed || !w.calm && w.chance(w.mood.crashWrite) {
		w.fault(kind)
		panic(crashed{})
	}
}

// pass lets time go by within a step of the engine, while the grant path answers.
func (s *server) pass(d time.Duration) {
	s.w.Pass(d)
	if s.doomed {
		panic(crashed{})
	}
}

// stop ends the process: at once if it is idle, else where it can.
func (s *server) stop() {
	switch {
	case !s.up:
	case s.busy:
		s.doomed = true
	default:
		s.die()
	}
}

// hold stops the process for a while, as SIGSTOP does.
func (s *server) hold(d time.Duration) {
	w, life := s.w, s.life
	s.held = w.Now.Add(d)
	w.After(d, func() {
		if s.life == life && s.up && !w.Now.Before(s.held) {
			s.resume()
		}
	})
}

func (s *server) resume() {
	list := s.waiting
	s.waiting = nil
	for _, run := range list {
		run()
	}
	s.pump()
}

func (s *server) heal() {
	s.held = time.Time{}
	if s.up {
		s.resume()
	}
}

func (s *server) still() bool { return s.w.Now.Before(s.held) }

// receive hands a message to the process if there is one that can take it.
func (s *server) receive(run func()) {
	switch {
	case !s.up:
	case s.still():
		s.waiting = append(s.waiting, run)
	default:
		run()
	}
}

// do gives the engine an event; done is called once, when it is durable, refused, or the process has died.
func (s *server) do(ev engine.Event, done func(error)) {
	if !s.up {
		done(errDown)
		return
	}
	s.queue = append(s.queue, job{ev, done})
	s.pump()
}

func (s *server) pump() {
	for s.up && !s.busy && !s.still() && len(s.queue) > 0 && !s.w.over() {
		j := s.queue[0]
		s.queue = s.queue[1:]
		j.done(s.step(j.event))
	}
}

func (s *server) step(ev engine.Event) error {
	s.busy = true
	err := s.guard(func() error { return s.ctl.Step(ev) })
	s.busy = false
	if s.up {
		s.w.oracle.stepped(ev, err)
		if s.doomed {
			s.die()
			return errDown
		}
	}
	return err
}

func (s *server) tick() {
	if s.up && !s.busy && !s.still() && len(s.queue) == 0 {
		s.do(engine.Tick{Seen: s.Seen()}, s.mustNot)
	}
}

// mustNot takes the answer of an event that only the disk can refuse.
func (s *server) mustNot(err error) {
	if err != nil && !errors.Is(err, errDown) && !errors.Is(err, errDisk) {
		s.w.violated("engine", "%v", err)
	}
}

// Stop implements control.Grants. The thread may be held up before it reaches the lock.
func (s *server) Stop(_, scope string) {
	w := s.w
	if !w.calm && w.chance(w.mood.lag) {
		w.fault("thread held up")
		s.pass(w.upTo(3 * time.Second))
	}
	s.grants.Stop(scope)
	w.oracle.stopped(scope)
}

// Publish implements control.Grants.
func (s *server) Publish(v engine.View) {
	s.mayDie("crash before an effect")
	if v.Epoch != s.view.Epoch {
		clear(s.said) // a recovered engine has heard nothing yet
	}
	if v.Head != s.view.Head || s.snapshot == nil {
		snap := engine.Snapshot(v.Config)
		s.snapshot = &snap
	}
	s.view = v
	s.grants.Show(v.GrantView)
	s.w.oracle.shown(v)
}

// Broadcast implements control.Grants.
func (s *server) Broadcast(_ string, e slp.Event) {
	s.mayDie("crash before an effect")
	s.w.logf("controller tells %s %d", e.Kind, e.Head.Rev)
	for _, p := range s.watchers {
		s.tell(p, e)
	}
}

// Seen implements control.Grants.
func (s *server) Seen() map[string][]engine.Seen {
	s.grants.Forget(s.clock.Now().Add(-fleet.Forget))
	return map[string][]engine.Seen{env: s.grants.Seen()}
}

func (s *server) tell(p *proc, e slp.Event) {
	life := p.life
	p.link.from(func() { p.hear(life, slp.WatchEvent{Event: e}) })
}

func (s *server) ping() {
	if !s.up || s.still() {
		return
	}
	e := s.view.Event
	e.Kind = slp.EventPing
	for _, p := range s.watchers {
		s.tell(p, e)
	}
}

// watch begins a stream: the state first, and what is being armed.
func (s *server) watch(p *proc) {
	e := s.view.Event
	e.Kind = slp.EventState
	s.tell(p, e)
	for _, prepare := range s.view.Prepares {
		e.Kind, e.Prepare = slp.EventPrepare, prepare
		s.tell(p, e)
	}
}

// hello stores the boot before it can get a lease. A member that has seen more than this controller knows is refused.
func (s *server) hello(q slp.Hello, answer func(*slp.HelloAnswer, slp.Failure)) {
	if q.Seen.Rev > s.view.Head.Rev {
		answer(nil, slp.Failure{Status: 409, Code: "amnesia"})
		return
	}
	s.do(engine.Join{Env: env, Hello: q}, func(err error) {
		if err != nil {
			answer(nil, slp.Failure{Status: 503})
			return
		}
		s.grants.Join(q.Boot)
		answer(&slp.HelloAnswer{Epoch: s.view.Epoch, Snapshot: *s.snapshot, ServerNow: s.clock.Now().UnixMicro()}, slp.Failure{})
	})
}

func (s *server) renew(q slp.Renew) (slp.Grant, slp.Failure) {
	g, ok := s.grants.Renew(q, s.clock.Now())
	if !ok {
		return g, slp.Failure{Status: 410, Code: "boot_unknown"}
	}
	s.w.oracle.granted(g)
	s.hand(engine.Acked{Boot: q.Boot, Acks: q.Acks, Prepared: q.Prepared, Active: q.Active})
	return g, slp.Failure{}
}

// hand gives the engine what a boot says when it is new, as push does.
func (s *server) hand(a engine.Acked) {
	if len(a.Acks) == 0 && len(a.Prepared) == 0 && !a.Bye || !s.grants.Known(a.Boot) || reflect.DeepEqual(s.said[a.Boot], a) {
		return
	}
	s.said[a.Boot] = a
	s.do(engine.Acks{Env: env, List: []engine.Acked{a}}, func(err error) {
		var r *engine.Refusal
		switch {
		case err == nil:
			s.w.oracle.told(a)
		case !errors.As(err, &r):
			s.mustNot(err)
		}
	})
}

// readable reports whether somebody can ask this process something and get an answer.
func (s *server) readable() bool { return s.up && !s.busy && s.ctl != nil }
