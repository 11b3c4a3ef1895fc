package dst

import (
	"slices"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
)

// misfortunes are what happens beside the faults of messages and writes.
var misfortunes = []struct {
	name string
	do   func(w *world)
}{
	{"controller killed", func(w *world) { w.srv.stop() }},
	{"controller stopped", func(w *world) { w.srv.hold(w.upTo(10 * time.Second)) }},
	{"member killed", func(w *world) { w.one().end() }},
	{"member stopped", func(w *world) { w.one().hold(w.upTo(15 * time.Second)) }},
	{"member suspended", func(w *world) { w.one().suspend(w.upTo(15*time.Second), true) }},
	{"member clock stopped", func(w *world) { w.one().suspend(w.upTo(15*time.Second), false) }},
	{"partition", func(w *world) { w.one().link.cut(w.upTo(20 * time.Second)) }},
	{"controller cut off", func(w *world) {
		d := w.upTo(20 * time.Second)
		for _, p := range w.procs {
			p.link.cut(d)
		}
	}},
	{"stream ended", func(w *world) { w.srv.drop(w.one()) }},
	{"second process under one name", func(w *world) { w.twin() }},
	{"wall clock", nil},  // changed while the controller is down
	{"member disk", nil}, // fails in a write
}

// misfortune happens now and then, of the kinds that the mood allows.
func (w *world) misfortune() {
	if w.calm || w.over() {
		return
	}
	m := misfortunes[w.rng.IntN(len(misfortunes))]
	if m.do != nil && w.mood.kinds[m.name] {
		w.fault(m.name)
		w.logf("%s", m.name)
		m.do(w)
	}
	w.After(w.about(w.mood.every), w.misfortune)
}

func (w *world) one() *proc { return w.procs[w.rng.IntN(len(w.procs))] }

// cut cuts one direction of the link or both.
func (l *link) cut(d time.Duration) {
	end := l.w.Now.Add(d)
	if which := l.w.rng.IntN(3); which != 0 {
		l.up = end
		if which == 1 {
			return
		}
	}
	l.down = end
}

// suspend stops the process and its clock. If the watchdog notices, the machine hears of it before anything else runs.
func (p *proc) suspend(d time.Duration, noticed bool) {
	if p.gone || p.still() {
		return
	}
	w, life := p.w, p.life
	p.held = w.Now.Add(d)
	p.stood = p.held
	p.stopped = p.stopped || !noticed
	w.After(d, func() {
		if p.life != life {
			return
		}
		p.lag += d
		if noticed {
			p.held = time.Time{}
			p.hear(life, slp.ClockJumped{})
		}
		p.resume()
	})
}

// drop ends a member's stream.
func (s *server) drop(p *proc) {
	if i := slices.Index(s.watchers, p); i >= 0 {
		s.watchers = slices.Delete(s.watchers, i, i+1)
		p.lostStream(s.w.upTo(2 * time.Second))
	}
}

// twin starts a second process under the name of a member.
func (w *world) twin() {
	if len(w.procs) >= 10 {
		return
	}
	i := w.rng.IntN(w.mood.members)
	w.procs = append(w.procs, newProc(w, i))
}

// liar is a member that says what it likes, within what its token lets it: about boots of its own, or ones that do not exist.
type liar struct {
	w    *world
	boot string
	n    uint64
}

func newLiar(w *world) *liar {
	l := &liar{w: w, boot: w.bootID()}
	w.After(w.upTo(time.Second), l.speak)
	return l
}

func (l *liar) speak() {
	w, srv := l.w, l.w.srv
	if w.over() || w.calm {
		return
	}
	w.After(w.about(500*time.Millisecond), l.speak)
	w.fault("lie")
	srv.receive(func() {
		switch w.rng.IntN(5) {
		case 0:
			if w.chance(0.1) {
				l.boot = w.bootID()
			}
			srv.hello(slp.Hello{Instance: "liar", Boot: l.boot, Component: "liar", Class: slp.ClassReader, WMs: int64(w.rng.IntN(5000))}, func(*slp.HelloAnswer, slp.Failure) {})
		case 1:
			l.n += uint64(w.rng.IntN(3))
			srv.renew(slp.Renew{Instance: "liar", Boot: l.boot, N: l.n, Acks: l.acks(), Active: map[string]uint64{"base": w.rng.Uint64N(50)}})
		case 2:
			srv.hand(ackedOf(slp.AckRequest{Instance: "liar", Boot: l.boot, Acks: l.acks(), Prepared: l.prepared()}))
		case 3:
			srv.hand(ackedOf(slp.AckRequest{Instance: "nobody", Boot: w.bootID(), Acks: l.acks(), Bye: true}))
		default:
			q := slp.EvidenceRequest{Instance: "liar", Boot: l.boot, Seq: 1 + w.rng.Uint64N(100), Through: w.rng.Int64N(1 << 40)}
			srv.do(engine.Reported{Env: env, Request: q, Answer: &slp.EvidenceAnswer{}}, func(error) {})
		}
	})
}

func ackedOf(q slp.AckRequest) engine.Acked {
	return engine.Acked{Boot: q.Boot, Acks: q.Acks, Prepared: q.Prepared, Bye: q.Bye}
}

// acks are of any scope, often of a revision that does not exist yet.
func (l *liar) acks() []slp.Ack {
	var out []slp.Ack
	for _, scope := range append(sorted(l.w.oracle.head.Scopes), "nowhere") {
		for _, stage := range []string{slp.StageActivated, slp.StageDrained} {
			if l.w.chance(0.5) {
				out = append(out, slp.Ack{Scope: scope, Stage: stage, Rev: l.w.rng.Uint64N(l.w.oracle.head.Number + 3)})
			}
		}
	}
	return out
}

// prepared claims to hold what is being armed.
func (l *liar) prepared() []slp.Prepared {
	var out []slp.Prepared
	for _, p := range l.w.srv.view.Prepares {
		out = append(out, slp.Prepared{Scope: p.Scope, Digest: p.Digest})
	}
	return out
}
