package dst

import (
	"fmt"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
)

// compiled is a snapshot as members serve it; every member shares it.
type compiled struct {
	flags  *flag.Snapshot
	config flag.Config
	answer slp.Loaded
}

// compile compiles a snapshot once per world.
func (w *world) compile(s *slp.Snapshot) *compiled {
	if c := w.oracle.compiled[s.Head]; c != nil {
		return c
	}
	flags, cfg, err := s.Compile()
	c := &compiled{flags: flags, config: cfg, answer: slp.Loaded{Head: s.Head}}
	if err != nil {
		c.answer.Err = err.Error()
	}
	w.oracle.compiled[s.Head] = c
	return c
}

// request is one open request: it keeps the snapshot it began with, and what it decided.
type request struct {
	pinned  *compiled
	unit    string
	decided map[string]uint64 // scope -> revision of an exposed decision
	began   time.Time
	slots   []evidence.Slot
	bad     bool
}

// work begins requests for as long as the world stands.
func (p *proc) work() {
	w := p.w
	w.After(w.about(80*time.Millisecond), func() {
		p.serve()
		p.work()
	})
}

// serves: readers, routers and hosts evaluate.
func (p *proc) serves() bool { return p.class != slp.ClassStore && p.class != slp.ClassWriter }

// serve begins a request and ends it within the bound that the member has declared.
func (p *proc) serve() {
	w := p.w
	if p.gone || p.still() || p.view == nil || p.loaded == nil || !p.serves() || w.over() {
		return
	}
	r := &request{pinned: p.loaded, unit: fmt.Sprint("unit-", w.rng.IntN(4096)), decided: map[string]uint64{}, began: w.Now}
	p.open = append(p.open, r)
	p.evaluate(r)
	life, bound := p.life, w.mood.drain*9/10
	if w.chance(0.3) { // it asks again before it ends, of the snapshot it began with
		w.After(w.upTo(bound), func() {
			if life == p.life && !p.still() && slices.Contains(p.open, r) {
				p.evaluate(r)
			}
		})
	}
	w.After(w.upTo(bound), func() {
		if life == p.life {
			p.finish(r)
		}
	})
}

// evaluate decides each flag of the request. The lease is looked at with a fresh reading of the clock.
func (p *proc) evaluate(r *request) {
	ctx := flag.NewContext(r.unit, flag.Str("unit", r.unit))
	for _, key := range flagKeys {
		h := r.pinned.flags.Flag(key)
		if h == nil {
			continue
		}
		res := h.Eval(ctx, p.view.Held(h.Scope, h.Revision, p.mono()))
		p.w.oracle.evaluated(p, r, res)
		if res.Served == flag.ArmExposed {
			r.decided[res.Scope] = res.Revision
		}
		p.report.count(r, res, ctx)
	}
}

func (p *proc) finish(r *request) {
	if life := p.life; p.still() {
		p.w.After(p.held.Sub(p.w.Now), func() {
			if life == p.life {
				p.finish(r)
			}
		})
		return
	}
	for i := range r.slots {
		r.slots[i].End(r.bad)
	}
	p.open = slices.DeleteFunc(p.open, func(o *request) bool { return o == r })
	p.drain()
}

// drain tells the machine what no open request holds any more.
func (p *proc) drain() {
	if p.gone || p.still() || p.view == nil || p.view.Snapshot == nil {
		return
	}
	for _, scope := range sorted(p.view.Snapshot.Scopes) {
		meta := p.view.Snapshot.Scopes[scope]
		if p.drained[scope] >= meta.Rev || slices.ContainsFunc(p.open, func(r *request) bool {
			rev, ok := r.decided[scope]
			return ok && rev < meta.Rev
		}) {
			continue
		}
		p.drained[scope] = meta.Rev
		p.hear(p.life, slp.RequestsDrained{Scope: scope, Rev: meta.Rev})
	}
}

// reporter counts the requests of one boot and sends the counts, as the SDK does.
type reporter struct {
	p       *proc
	life    int
	acc     map[string]*evidence.Accumulator
	seq     uint64
	pending []slp.EvidenceRequest // not yet accepted
}

func newReporter(p *proc) *reporter {
	return &reporter{p: p, life: p.life, acc: map[string]*evidence.Accumulator{}}
}

// measure opens an accumulator for each rollout that is measured.
func (r *reporter) measure(c *compiled) {
	for id := range c.config.Judged {
		if r.acc[id] != nil {
			continue
		}
		acc, err := evidence.NewAccumulator(evidence.AccumulatorConfig{Rollout: id})
		if err != nil {
			r.p.w.violated("evidence", "%v", err)
			return
		}
		r.acc[id] = acc
	}
}

func (r *reporter) second() int64 { return r.p.view.Clock.Second(r.p.mono()) }

// count opens a slot for a request's decision about a rollout. A harmful candidate fails half of its requests.
func (r *reporter) count(q *request, res flag.Result, ctx *flag.Context) {
	acc := r.acc[res.Rollout]
	if acc == nil || res.Assigned == flag.ArmNone || res.Closed || r.second() == 0 || len(q.slots) > 0 {
		return
	}
	q.bad = res.Served == flag.ArmExposed && r.p.w.people.harmful(res.Rollout) && r.p.w.chance(0.5)
	q.slots = append(q.slots, acc.Begin(r.second(), acc.Key(slotKey(res)), evidence.Unit{Bucket: res.UnitBucket, Hash: uint64(flag.Bucket(ctx.TargetingKey(), "once"))}, &evidence.Values{}))
}

func slotKey(res flag.Result) evidence.SlotKey {
	k := evidence.SlotKey{
		Cohort: res.Cohort, Revision: res.Revision, Exposure: uint32(res.Exposure),
		Lease: evidence.LeaseHeld, Assigned: evidence.ArmBaseline, Served: evidence.ArmBaseline,
	}
	if res.Assigned == flag.ArmExposed {
		k.Assigned = evidence.ArmExposed
	}
	if res.Served == flag.ArmExposed {
		k.Served = evidence.ArmExposed
	} else if res.Assigned == flag.ArmExposed {
		k.Lease = evidence.LeaseLapsed
	}
	return k
}

// send reports every second, also when nothing was counted, and repeats what was not accepted.
func (r *reporter) send() {
	p := r.p
	p.w.After(time.Second, func() { p.report.send() })
	if p.gone || p.still() || r.life != p.life || p.view == nil || r.second() == 0 || len(r.acc) == 0 {
		return
	}
	r.flush()
	for _, q := range r.pending {
		r.post(q)
	}
}

func (r *reporter) flush() {
	q := slp.EvidenceRequest{Instance: r.p.name, Boot: r.p.boot, Through: r.second() - 1}
	for _, id := range sorted(r.acc) {
		blocks, through := r.acc[id].Flush(r.second())
		q.Blocks, q.Through = append(q.Blocks, blocks...), min(q.Through, through)
	}
	r.seq++
	q.Seq = r.seq
	r.pending = append(r.pending, q)
	if len(r.pending) > 60 {
		r.pending = r.pending[1:]
	}
}

func (r *reporter) post(q slp.EvidenceRequest) {
	srv := r.p.w.srv
	r.p.link.exchange(func(answer func(func())) {
		srv.receive(func() {
			a := &slp.EvidenceAnswer{}
			srv.do(engine.Reported{Env: env, Request: q, Answer: a}, func(err error) {
				if err == nil {
					r.p.w.oracle.reported(q.Blocks)
					answer(func() { r.accepted(a.Accepted) })
				}
			})
		})
	}, func() {})
}

func (r *reporter) accepted(seq uint64) {
	r.pending = slices.DeleteFunc(r.pending, func(q slp.EvidenceRequest) bool { return q.Seq <= seq })
}
