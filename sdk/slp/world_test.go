package slp

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"sluice.dev/sdk/internal/mutant"
)

// The world of the property tests: a toy server that follows contract 2, members that run the real Client, and a network
// that delays, repeats, reorders and loses. One thread, one seed. Every clock runs at a rate of its own within Rho.

const (
	toyTTL   = 2 * time.Second
	toyW     = 300 * time.Millisecond
	toyScope = "r"
	// toyY is protocol L3 without the granules: the clocks here have none.
	toyY = toyTTL*101/99 + time.Millisecond
)

type world struct {
	rng   *rand.Rand
	real  time.Duration
	net   []packet
	srv   *toyServer
	procs []*proc
	n     int
	fault string // first violation
	trace []string
	calm  bool                     // no loss, no repetition, no delay beyond a little
	cut   map[string]time.Duration // process name -> end of its partition
	loss  float64
	busy  float64 // how often something happens beside the network
	churn float64 // how often a process is replaced by another
	seen  counters
	tape  *tape // records what the clients do, for other languages; nil: nothing is recorded
}

type counters struct{ proofs, byAck, byLapse, exposed, restarts, failovers int }

// packet is something that happens at or after a time, anywhere in the order.
type packet struct {
	due  time.Duration
	what string
	run  func()
	net  string // process at one end of the network: it may be lost or repeated; "" if it is not on the network
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), cut: map[string]time.Duration{}}
	w.loss, w.busy = []float64{0.02, 0.1, 0.5}[w.rng.IntN(3)], []float64{0.05, 0.15, 0.4}[w.rng.IntN(3)]
	w.churn = []float64{0.02, 0.3}[w.rng.IntN(2)]
	w.srv = newToyServer(w)
	for i := range 2 {
		w.procs = append(w.procs, &proc{w: w, name: fmt.Sprintf("i%d", i), class: []string{ClassReader, ClassWriter}[i]})
		w.procs[i].boot()
	}
	return w
}

func (w *world) logf(format string, args ...any) {
	if len(w.trace) < 20000 {
		w.trace = append(w.trace, fmt.Sprintf("%8.3f ", w.real.Seconds())+fmt.Sprintf(format, args...))
	}
}

func (w *world) violated(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf("at %.3f s: ", w.real.Seconds()) + fmt.Sprintf(format, args...)
	}
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

// send puts a message from or to a process on the network.
func (w *world) send(end, what string, run func()) {
	delay := w.upTo(40 * time.Millisecond)
	if !w.calm && w.chance(0.25) {
		delay = w.upTo(2 * toyTTL)
	}
	w.net = append(w.net, packet{due: w.real + delay, what: what, run: run, net: end})
}

// after runs something later, without the network's faults.
func (w *world) after(d time.Duration, what string, run func()) {
	w.net = append(w.net, packet{due: w.real + d, what: what, run: run})
}

// step advances the world to the next packet, or acts on its own.
func (w *world) step() {
	w.n++
	if !w.calm && w.chance(w.busy) {
		w.act()
	}
	if len(w.net) == 0 || !w.calm && w.chance(0.1) {
		w.real += w.upTo(200 * time.Millisecond)
	} else {
		i := w.next()
		p := w.net[i]
		w.real = max(w.real, p.due)
		repeat := p.net != "" && !w.calm && w.chance(0.2)
		if repeat {
			w.net[i].due = w.real + w.upTo(2*toyTTL)
		} else {
			w.net = slices.Delete(w.net, i, i+1)
		}
		if p.net == "" || w.calm || !w.chance(w.loss) && w.cut[p.net] <= w.real {
			w.logf("%s", p.what)
			p.run()
		}
	}
	w.srv.look()
	w.check()
}

func (w *world) next() int {
	first := 0
	for i := range w.net {
		if w.net[i].due < w.net[first].due {
			first = i
		}
	}
	return first
}

// act is what operators, crashes and requests do.
func (w *world) act() {
	p := w.procs[w.rng.IntN(len(w.procs))]
	switch x := w.rng.Float64(); {
	case w.chance(w.churn):
		p.restart()
	case x < 0.10:
		w.srv.commit()
	case x < 0.16:
		w.srv.revoke()
	case x < 0.18:
		w.srv.crash()
	case x < 0.22:
		p.suspend()
	case x < 0.26:
		w.cut[p.name] = w.real + w.upTo(3*toyTTL)
	case x < 0.85:
		p.begin()
	default:
		p.end()
	}
}

// check is G1a: once the proof is complete, no evaluation returns a revoked revision's exposed arm, whatever snapshot the
// request was pinned to.
func (w *world) check() {
	for _, p := range w.procs {
		if p.view == nil {
			continue
		}
		pinned := []*Snapshot{p.view.Snapshot}
		for _, r := range p.open {
			pinned = append(pinned, r.pinned)
		}
		for _, s := range pinned {
			if !exposes(s) || !p.view.Held(toyScope, s.Scopes[toyScope].Rev, p.mono()) {
				continue
			}
			w.seen.exposed++
			if rev := s.Scopes[toyScope].Rev; rev < w.srv.proven {
				w.violated("%s serves revision %d, proven gone below %d", p.id, rev, w.srv.proven)
			}
		}
		for _, r := range p.open {
			if r.rev != 0 && r.rev < w.srv.drainedBelow[p.id] {
				w.violated("%s has an open request with revision %d after drained %d", p.id, r.rev, w.srv.drainedBelow[p.id])
			}
		}
	}
}

// exposes: the toy's content says whether an exposed arm exists.
func exposes(s *Snapshot) bool {
	return s != nil && string(s.Objects[toyScope+"/flag/f"]) == `{"exposed":true}`
}

func toySnapshot(rev, scopeRev uint64, exposed bool) Snapshot {
	objects := map[string]json.RawMessage{"flag/f": fmt.Appendf(nil, `{"exposed":%t}`, exposed)}
	d, err := ScopeDigest(objects)
	if err != nil {
		panic(err)
	}
	empty, err := ScopeDigest(nil)
	if err != nil {
		panic(err)
	}
	s := Snapshot{Env: "toy", Head: Head{Rev: rev}, Scopes: map[string]ScopeMeta{
		"base":   {Rev: 1, Digest: empty},
		toyScope: {Rev: scopeRev, Digest: d, Leased: true, TTLMs: toyTTL.Milliseconds()},
	}, Objects: map[string]json.RawMessage{toyScope + "/flag/f": objects["flag/f"]}}
	if s.Head.Digest, err = EnvDigest(s.Scopes); err != nil {
		panic(err)
	}
	return s
}

// toyServer

type toyServer struct {
	w    *world
	rate float64
	up   bool

	// durable
	epoch   uint64
	snap    Snapshot
	floor   uint64
	members map[string]time.Duration // boot -> joined
	revoked bool                     // a revoke is waiting for its proof
	at      time.Duration            // horizon's start
	proven  uint64

	// of this leadership
	started  time.Duration
	granting bool
	known    map[string]bool
	granted  map[string]time.Duration
	acked    map[string]map[string]toyAck // boot -> stage
	bye      map[string]bool
	watchers map[*proc]int // life of the process that watches

	drainedBelow map[string]uint64 // boots proven by a drained ack
}

type toyAck struct {
	rev uint64
	at  time.Duration
}

func newToyServer(w *world) *toyServer {
	s := &toyServer{w: w, rate: 1 + Rho*(2*w.rng.Float64()-1), members: map[string]time.Duration{}, drainedBelow: map[string]uint64{}}
	s.snap = toySnapshot(1, 1, false)
	s.lead()
	return s
}

func (s *toyServer) now() time.Duration { return time.Duration(float64(s.w.real) * s.rate) }

func (s *toyServer) lead() {
	if s.epoch == 0 {
		s.w.after(0, "ping", s.ping)
	}
	s.up, s.started = true, s.now()
	s.epoch++
	s.known, s.granted = map[string]bool{}, map[string]time.Duration{}
	s.acked, s.bye, s.watchers = map[string]map[string]toyAck{}, map[string]bool{}, map[*proc]int{}
}

// ping repeats the level to every watcher.
func (s *toyServer) ping() {
	if s.up {
		s.broadcast(EventPing, nil)
	}
	s.w.after(toyTTL/3, "ping", s.ping)
}

func (s *toyServer) crash() {
	if !s.up {
		return
	}
	s.w.logf("server crashes")
	s.w.seen.failovers++
	s.up = false
	for p, life := range s.watching() {
		s.w.after(s.w.upTo(time.Second), p.id+" loses its stream", func() { p.input(life, WatchLost{}) })
	}
	s.w.after(s.w.upTo(2*time.Second), "server leads", func() {
		if !s.up {
			s.lead()
		}
	})
}

// commit exposes the candidate, or exposes it again under another number.
func (s *toyServer) commit() {
	if !s.up || s.revoked {
		return
	}
	rev := s.snap.Head.Rev + 1
	prev := s.snap
	s.snap = toySnapshot(rev, rev, true)
	s.granting = true
	s.w.logf("server commits %d", rev)
	s.broadcast(EventCommit, &prev)
}

// revoke stops granting, raises the floor and reads the horizon's start after that.
func (s *toyServer) revoke() {
	if !s.up || s.revoked || !exposes(&s.snap) {
		return
	}
	s.granting = false
	rev := s.snap.Head.Rev + 1
	prev := s.snap
	s.snap, s.floor = toySnapshot(rev, rev, false), rev
	s.revoked, s.at = true, s.now()
	s.w.logf("server revokes below %d", rev)
	s.broadcast(EventRevoke, &prev)
}

// watching lists the processes with a stream, in a fixed order.
func (s *toyServer) watching() iter.Seq2[*proc, int] {
	return func(yield func(*proc, int) bool) {
		for _, p := range s.w.procs {
			if life, ok := s.watchers[p]; ok && !yield(p, life) {
				return
			}
		}
	}
}

func (s *toyServer) event(kind string) Event {
	e := Event{Kind: kind, Epoch: s.epoch, Head: s.snap.Head, Committed: map[string]uint64{toyScope: s.snap.Scopes[toyScope].Rev}}
	if s.floor > 0 {
		e.Floors = map[string]uint64{toyScope: s.floor}
	}
	if s.proven == s.floor && s.floor > 0 {
		e.Unwind = map[string]string{toyScope: ClassWriter}
	}
	return e
}

func (s *toyServer) broadcast(kind string, prev *Snapshot) {
	e := s.event(kind)
	if prev != nil && s.w.chance(0.5) {
		e.Delta = &Delta{Base: prev.Head.Digest, Scopes: s.snap.Scopes, Upsert: s.snap.Objects}
	}
	for p, life := range s.watching() {
		s.w.send(p.name, "event "+kind+" to "+p.id, func() { p.input(life, WatchEvent{Event: e}) })
	}
}

// look completes the proof when every member that could hold the revoked value is accounted for (contract 2).
func (s *toyServer) look() {
	if !s.up || !s.revoked {
		return
	}
	at := max(s.at, s.started) // L5
	horizon := at + toyY
	byAck, lapsed := map[string]bool{}, 0
	for boot, joined := range s.members {
		if joined > s.at || s.bye[boot] {
			continue
		}
		activated, drained := s.acked[boot][StageActivated], s.acked[boot][StageDrained]
		if activated.rev >= s.floor && drained.rev >= s.floor {
			byAck[boot] = true
			continue
		}
		if activated.rev >= s.floor && s.now() >= activated.at+toyW*11/10 {
			continue
		}
		lapse := horizon
		if g, ok := s.granted[boot]; ok {
			lapse = min(lapse, g+toyY)
		}
		if s.now() < lapse+toyW*11/10 {
			return
		}
		lapsed++
	}
	s.w.seen.byLapse += lapsed
	for boot := range byAck {
		s.w.seen.byAck++
		s.drainedBelow[boot] = s.floor
	}
	s.revoked, s.proven = false, s.floor
	s.w.seen.proofs++
	s.w.logf("server: proven below %d", s.floor)
	s.broadcast(EventState, nil)
}

func (s *toyServer) hello(h Hello) (HelloAnswer, *Failure) {
	switch {
	case !s.up:
		return HelloAnswer{}, &Failure{Status: 503}
	case h.Seen.Rev > s.snap.Head.Rev:
		return HelloAnswer{}, &Failure{Status: 409}
	}
	if _, ok := s.members[h.Boot]; !ok {
		s.members[h.Boot] = s.now()
	}
	s.known[h.Boot] = true
	return HelloAnswer{Epoch: s.epoch, Snapshot: s.snap, ServerNow: s.now().Microseconds() + 1e12}, nil
}

func (s *toyServer) renew(r Renew) (Grant, *Failure) {
	if !s.up {
		return Grant{}, &Failure{Status: 503, RetryAfter: 100 * time.Millisecond}
	}
	if !s.known[r.Boot] {
		return Grant{}, &Failure{Status: 410}
	}
	g := Grant{Boot: r.Boot, N: r.N, Epoch: s.epoch, Head: s.snap.Head, ServerNow: s.now().Microseconds() + 1e12}
	if s.floor > 0 {
		g.Floors = map[string]uint64{toyScope: s.floor}
	}
	if s.granting {
		s.granted[r.Boot] = s.now()
		g.Leases = map[string]int64{toyScope: toyTTL.Milliseconds()}
	}
	s.acks(AckRequest{Boot: r.Boot, Acks: r.Acks})
	return g, nil
}

func (s *toyServer) acks(r AckRequest) *Failure {
	if !s.up {
		return &Failure{Status: 503}
	}
	if s.acked[r.Boot] == nil {
		s.acked[r.Boot] = map[string]toyAck{}
	}
	for _, a := range r.Acks {
		if a.Scope == toyScope && a.Rev > s.acked[r.Boot][a.Stage].rev {
			s.acked[r.Boot][a.Stage] = toyAck{a.Rev, s.now()}
		}
	}
	if r.Bye {
		s.bye[r.Boot] = true
	}
	return nil
}

// proc is one member process after another under one name.
type proc struct {
	w      *world
	name   string
	class  string
	id     string // boot
	life   int
	rate   float64
	origin time.Duration // of the monotonic clock
	lag    time.Duration // time it did not count
	c      *Client
	view   *View
	open   []*toyRequest
	timers map[Timer]int
	disk   *Cache
	boots  int
	unwind []uint64
}

type toyRequest struct {
	pinned *Snapshot
	rev    uint64 // revision of an exposed decision, 0 if there is none
	id     int
}

func (p *proc) mono() Mono {
	return time.Duration(float64(p.w.real-p.origin-p.lag) * p.rate)
}

func (p *proc) boot() {
	p.boots++
	p.life++
	p.id = fmt.Sprintf("%s.%d", p.name, p.boots)
	p.rate, p.origin, p.lag = 1+Rho*(2*p.w.rng.Float64()-1), p.w.real-p.w.upTo(time.Hour), 0
	p.view, p.open, p.timers = nil, nil, map[Timer]int{}
	p.c = NewClient(ClientConfig{
		Instance: p.name, Boot: p.id, Component: p.name, Class: p.class, W: toyW, Rand: p.w.rng,
		Caps: Caps{Cache: []string{"durable", "none"}[p.w.rng.IntN(2)]}, EarlyLapse: 0.2 * p.w.rng.Float64() * float64(p.w.rng.IntN(2)),
	})
	if p.w.tape != nil {
		p.w.tape.boot(p)
	}
	var cache *Cache
	if p.disk != nil {
		b, err := p.disk.Encode()
		if err == nil {
			cache, err = DecodeCache(b)
		}
		if err != nil {
			panic(err)
		}
	}
	p.input(p.life, Start{Cache: cache})
}

func (p *proc) restart() {
	p.w.logf("%s dies", p.id)
	p.w.seen.restarts++
	if p.w.chance(0.3) { // an orderly end
		p.input(p.life, Leave{})
		p.open = nil
		p.input(p.life, Bye{})
	}
	if p.w.chance(0.3) {
		p.disk = nil
	}
	p.boot()
}

// suspend stops the machine: time passes that its clock does not count, and the watchdog sees it before anything runs.
func (p *proc) suspend() {
	d := p.w.upTo(2 * toyTTL)
	p.w.logf("%s sleeps %s", p.id, d)
	p.w.real += d
	p.lag += d
	p.open = nil
	p.input(p.life, ClockJumped{})
	for _, other := range p.w.procs { // they slept through the others' requests too: those are over their bound
		other.open = nil
		other.drained()
	}
}

// input hands something to the client if the process that it was meant for still lives.
func (p *proc) input(life int, in Input) {
	if life != p.life {
		return
	}
	p.step(in)
	p.drained()
}

// step hands the client an input and does what it wants done.
func (p *proc) step(in Input) {
	now := p.mono()
	effects := p.c.Step(now, in)
	if p.w.tape != nil {
		p.w.tape.add(p, now, in, effects)
	}
	for _, e := range effects {
		p.do(e)
	}
}

func (p *proc) do(e Effect) {
	w, life := p.w, p.life
	switch e := e.(type) {
	case SendHello:
		p.exchange("hello", func() Input {
			sent := p.mono()
			a, f := w.srv.hello(e.Hello)
			if f != nil {
				return HelloFailed{*f}
			}
			return HelloAnswered{Sent: sent, Answer: a}
		}, HelloFailed{})
	case SendRenew:
		p.exchange(fmt.Sprintf("renew %d", e.Renew.N), func() Input {
			g, f := w.srv.renew(e.Renew)
			if f != nil {
				return RenewFailed{e.Renew.N, *f}
			}
			return GrantReceived{g}
		}, RenewFailed{N: e.Renew.N})
	case SendAck:
		p.checkAcks(e.Request)
		p.exchange("ack", func() Input {
			if f := w.srv.acks(e.Request); f != nil {
				return AckFailed{*f}
			}
			return nil
		}, AckFailed{})
	case FetchSnapshot:
		p.exchange("fetch", func() Input {
			if !w.srv.up {
				return FetchFailed{Failure{Status: 503}}
			}
			return SnapshotFetched{w.srv.snap}
		}, FetchFailed{})
	case Load:
		w.after(w.upTo(100*time.Millisecond), p.id+" has loaded", func() { p.input(life, Loaded{Head: e.Snapshot.Head}) })
	case LoadShadow:
		w.after(w.upTo(100*time.Millisecond), p.id+" has prepared", func() {
			p.input(life, ShadowLoaded{Prepared{Scope: e.Scope, Digest: e.Digest}})
		})
	case Swap:
		p.swap(e.View)
	case WriteCache:
		w.after(w.upTo(100*time.Millisecond), p.id+" has written", func() {
			if life == p.life {
				p.disk = e.Cache
				p.input(life, CacheWritten{Cache: e.Cache})
			}
		})
	case OpenWatch:
		w.after(e.After, p.id+" opens its stream", func() { p.watch(life) })
	case Schedule:
		p.timers[e.Timer]++
		n := p.timers[e.Timer]
		w.after(time.Duration(float64(e.After)/p.rate), p.id+" timer "+string(e.Timer), func() {
			if life == p.life && p.timers[e.Timer] == n {
				p.input(life, Tick{Timer: e.Timer})
			}
		})
	case RunUnwind:
		w.after(w.upTo(50*time.Millisecond), p.id+" unwinds", func() {
			if life == p.life {
				p.unwind = append(p.unwind, e.Rev)
			}
			p.input(life, Unwound{Scope: e.Scope, Rev: e.Rev, Failed: !w.calm && w.chance(0.3)})
		})
	}
}

func (p *proc) watch(life int) {
	w := p.w
	if life != p.life {
		return
	}
	if !w.srv.up {
		w.after(10*time.Millisecond, p.id+" is refused a stream", func() { p.input(life, WatchLost{}) })
		return
	}
	w.srv.watchers[p] = life
	e := w.srv.event(EventState)
	w.send(p.name, "first event to "+p.id, func() { p.input(life, WatchEvent{Event: e}) })
	if !w.calm {
		w.after(time.Second+w.upTo(5*time.Second), p.id+" loses its stream", func() { p.input(life, WatchLost{}) })
	}
}

// exchange sends a request and its answer over the network. The sender gives up within a second; a late answer still
// arrives.
func (p *proc) exchange(what string, serve func() Input, lost Input) {
	w, life, answered := p.w, p.life, false
	w.send(p.name, p.id+" "+what, func() {
		in := serve()
		if in == nil {
			answered = true
			return
		}
		w.send(p.name, what+" answered to "+p.id, func() {
			answered = true
			p.answerTo(life, in)
		})
	})
	w.after(50*time.Millisecond+w.upTo(time.Second), p.id+" gives "+what+" up", func() {
		if !answered {
			p.input(life, lost)
		}
	})
}

// answerTo delivers an answer. A Grant reaches whatever process has the instance's address now: the boot in it protects.
func (p *proc) answerTo(life int, in Input) {
	if _, ok := in.(GrantReceived); ok {
		life = p.life
	}
	p.input(life, in)
}

func (p *proc) swap(v *View) {
	if p.view != nil {
		for scope, f := range p.view.Floors {
			if v.Floors[scope] < f {
				p.w.violated("%s: floor of %s fell from %d to %d", p.id, scope, f, v.Floors[scope])
			}
		}
		if p.view.Snapshot != nil && v.Snapshot.Head.Rev < p.view.Snapshot.Head.Rev {
			p.w.violated("%s: head fell from %d to %d", p.id, p.view.Snapshot.Head.Rev, v.Snapshot.Head.Rev)
		}
	}
	p.view = v
}

// checkAcks: what is acknowledged as drained for a revoked scope on a writer was unwound before.
func (p *proc) checkAcks(r AckRequest) {
	for _, a := range r.Acks {
		if p.class == ClassWriter && a.Stage == StageDrained && a.Scope == toyScope && a.Rev == p.view.Floors[toyScope] &&
			!slices.Contains(p.unwind, a.Rev) && !mutant.Is(mutant.AckEarly) {
			p.w.violated("%s acknowledges %d as drained, it was not unwound", p.id, a.Rev)
		}
	}
}

func (p *proc) begin() {
	if p.view == nil || p.view.Snapshot == nil {
		return
	}
	p.w.n++
	r := &toyRequest{pinned: p.view.Snapshot, id: p.w.n}
	p.open = append(p.open, r)
	if p.w.chance(0.8) {
		p.evaluate(r)
	}
	life := p.life
	p.w.after(time.Duration(float64(p.w.upTo(toyW))/p.rate), p.id+" ends a request", func() {
		if life == p.life {
			p.open = slices.DeleteFunc(p.open, func(o *toyRequest) bool { return o == r })
			p.drained()
		}
	})
}

func (p *proc) evaluate(r *toyRequest) {
	rev := r.pinned.Scopes[toyScope].Rev
	if exposes(r.pinned) && p.view.Held(toyScope, rev, p.mono()) {
		r.rev = rev
		if rev < p.w.srv.proven {
			p.w.violated("%s serves revision %d, proven gone below %d", p.id, rev, p.w.srv.proven)
		}
	}
}

func (p *proc) end() {
	if len(p.open) > 0 {
		p.open = p.open[1:]
		p.drained()
	}
}

// drained tells the client what no open request holds any more.
func (p *proc) drained() {
	if p.view == nil || p.view.Snapshot == nil {
		return
	}
	for _, scope := range []string{"base", toyScope} {
		meta := p.view.Snapshot.Scopes[scope]
		if scope == toyScope && slices.ContainsFunc(p.open, func(r *toyRequest) bool { return r.rev != 0 && r.rev < meta.Rev }) {
			continue
		}
		if p.c.drained[scope] >= meta.Rev {
			continue
		}
		p.step(RequestsDrained{Scope: scope, Rev: meta.Rev})
	}
}

// settle lets the world go on without faults for a while.
func (w *world) settle(d time.Duration) {
	w.calm = true
	if !w.srv.up {
		w.srv.lead()
	}
	for end := w.real + d; w.real < end && w.fault == ""; {
		w.step()
	}
}

// converged reports what a calm world has not reached.
func (w *world) converged() error {
	for _, p := range w.procs {
		if p.view == nil || p.view.Snapshot == nil || p.view.Snapshot.Head != w.srv.snap.Head {
			return fmt.Errorf("%s is not at head %d", p.id, w.srv.snap.Head.Rev)
		}
		acks := w.srv.acked[p.id]
		if acks[StageActivated].rev != w.srv.snap.Scopes[toyScope].Rev {
			return fmt.Errorf("%s acknowledged %v, the scope is at %d", p.id, maps.Collect(maps.All(acks)), w.srv.snap.Scopes[toyScope].Rev)
		}
		if w.srv.granting && !p.view.Held(toyScope, w.srv.snap.Scopes[toyScope].Rev, p.mono()) {
			return fmt.Errorf("%s holds no lease", p.id)
		}
		if !w.srv.granting && w.srv.floor > 0 && acks[StageDrained].rev != w.srv.floor {
			return fmt.Errorf("%s has not drained: %+v", p.id, acks)
		}
	}
	if w.srv.revoked {
		return fmt.Errorf("the proof is not complete")
	}
	return nil
}
