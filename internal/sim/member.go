package sim

import (
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
)

// member is one boot of a component: the SDK's protocol machine, its view, and what it counts.
type member struct {
	srv    *server
	slp    *slp.Client
	boot   string
	name   string
	view   *slp.View
	flags  *flag.Snapshot
	acc    map[string]*evidence.Accumulator
	once   map[string]bool
	seq    uint64
	start  time.Time // origin of its monotonic clock
	skew   float64   // rate of its clock against the server's, e.g. 1.001
	frozen bool      // the process stands still: it hears and says nothing

	freezeAtRevoke bool
	timers         map[slp.Timer]uint64
}

func (s *server) join(component, class string, skew float64) *member {
	var b [16]byte
	for i := range b {
		b[i] = byte(s.rng.UintN(256))
	}
	m := &member{
		srv: s, name: component + "-1", boot: hex.EncodeToString(b[:]), acc: map[string]*evidence.Accumulator{}, once: map[string]bool{},
		start: s.Now, skew: skew, timers: map[slp.Timer]uint64{}, view: &slp.View{},
	}
	m.slp = slp.NewClient(slp.ClientConfig{
		Instance: m.name, Boot: m.boot, Component: component, Class: class, W: 250 * time.Millisecond,
		Rand: rand.New(rand.NewPCG(s.rng.Uint64(), 1)),
	})
	s.members = append(s.members, m)
	m.hear(slp.Start{})
	s.Every(time.Second, func() bool { m.report(); return false })
	return m
}

// mono is the member's own clock.
func (m *member) mono() slp.Mono { return slp.Mono(float64(m.srv.Now.Sub(m.start)) * m.skew) }

// second is the server's second as the member keeps it.
func (m *member) second() int64 { return m.view.Clock.Second(m.mono()) }

// hear gives the machine one input and carries out what it asks for. A frozen process hears nothing.
func (m *member) hear(in slp.Input) {
	if m.frozen {
		return
	}
	for _, e := range m.slp.Step(m.mono(), in) {
		m.act(e)
	}
}

// answer sends a reply of the server back to the member.
func (m *member) answer(in slp.Input) { m.srv.send(func() { m.hear(in) }) }

func (m *member) act(e slp.Effect) {
	s := m.srv
	switch e := e.(type) {
	case slp.SendHello:
		sent := m.mono()
		s.send(func() {
			s.must(engine.Join{Env: s.env, Hello: e.Hello})
			s.grants.Join(m.boot)
			m.answer(slp.HelloAnswered{Sent: sent, Answer: slp.HelloAnswer{Epoch: s.view.Epoch, Snapshot: engine.Snapshot(s.view.Config), ServerNow: s.Now.UnixMicro()}})
		})
	case slp.SendRenew:
		s.send(func() { m.renewed(e.Renew) })
	case slp.SendAck:
		s.send(func() { s.said(m.boot, e.Request.Acks, e.Request.Prepared, nil) })
	case slp.FetchSnapshot:
		s.send(func() { m.answer(slp.SnapshotFetched{Snapshot: engine.Snapshot(s.view.Config)}) })
	case slp.Load:
		m.hear(loaded(e.Snapshot))
	case slp.LoadShadow:
		_, _, err := e.Snapshot.Compile()
		p := slp.Prepared{Scope: e.Scope, Digest: e.Digest}
		if err != nil {
			p.Reject = &slp.Reject{Code: "prepare.compile", Got: err.Error()}
		}
		m.hear(slp.ShadowLoaded{Prepared: p})
	case slp.Swap:
		m.swap(e.View)
	case slp.RunUnwind:
		m.hear(slp.Unwound{Scope: e.Scope, Rev: e.Rev})
	case slp.Schedule:
		m.schedule(e)
	case slp.WriteCache:
		m.hear(slp.CacheWritten{Cache: e.Cache})
	case slp.OpenWatch:
		s.After(e.After, func() {
			state := s.view.Event
			state.Kind = slp.EventState
			m.answer(slp.WatchEvent{Event: state})
			for _, p := range s.view.Prepares {
				state.Kind, state.Prepare = slp.EventPrepare, p
				e := state
				m.answer(slp.WatchEvent{Event: e})
			}
		})
	}
}

func loaded(s *slp.Snapshot) slp.Loaded {
	l := slp.Loaded{Head: s.Head}
	if _, _, err := s.Compile(); err != nil {
		l.Err = err.Error()
	}
	return l
}

func (m *member) renewed(q slp.Renew) {
	s := m.srv
	g, ok := s.grants.Renew(q, s.Now)
	if !ok {
		m.answer(slp.RenewFailed{N: q.N, Failure: slp.Failure{Status: 410, Code: "boot_unknown"}})
		return
	}
	s.said(q.Boot, q.Acks, q.Prepared, q.Active)
	m.answer(slp.GrantReceived{Grant: g})
}

func (s *server) said(boot string, acks []slp.Ack, prepared []slp.Prepared, active map[string]uint64) {
	s.must(engine.Acks{Env: s.env, List: []engine.Acked{{Boot: boot, Acks: acks, Prepared: prepared, Active: active}}})
}

func (m *member) schedule(e slp.Schedule) {
	m.timers[e.Timer]++
	n := m.timers[e.Timer]
	m.srv.After(time.Duration(float64(e.After)/m.skew), func() {
		if m.timers[e.Timer] == n { // setting one that runs replaces it
			m.hear(slp.Tick{Timer: e.Timer})
		}
	})
}

// swap puts a view in force. Requests of this world begin and end in one instant, so nothing older is ever open.
func (m *member) swap(v *slp.View) {
	before := m.view
	m.view = v
	if v.Snapshot == nil || (before.Snapshot != nil && before.Snapshot.Head == v.Snapshot.Head) {
		return
	}
	flags, cfg, err := v.Snapshot.Compile()
	if err != nil {
		m.srv.err = err
		return
	}
	m.flags = flags
	for id, j := range cfg.Judged {
		if m.acc[id] == nil {
			m.acc[id], m.once[id] = accumulator(j, &m.srv.err)
		}
	}
	for scope, meta := range v.Snapshot.Scopes {
		if meta.Leased {
			m.srv.After(0, func() { m.hear(slp.RequestsDrained{Scope: scope, Rev: meta.Rev}) })
		}
	}
}

func accumulator(j flag.Judged, fault *error) (*evidence.Accumulator, bool) {
	metrics := map[string]evidence.Metric{}
	if err := json.Unmarshal(j.Metrics, &metrics); err != nil {
		*fault = err
	}
	delete(metrics, evidence.MetricError)
	once := false
	for _, x := range metrics {
		once = once || x.Once
	}
	acc, err := evidence.NewAccumulator(evidence.AccumulatorConfig{Rollout: j.Rollout, Metrics: metrics, Segments: j.Segments, Sources: j.Sources})
	if err != nil {
		*fault = err
	}
	return acc, once
}

// report sends a second's evidence, also when it is empty.
func (m *member) report() {
	if m.frozen || len(m.acc) == 0 || m.second() == 0 {
		return
	}
	q := slp.EvidenceRequest{Instance: m.name, Boot: m.boot, Through: m.second() - 1}
	for _, acc := range m.acc {
		blocks, through := acc.Flush(m.second())
		q.Blocks, q.Through = append(q.Blocks, blocks...), min(q.Through, through)
	}
	m.seq++
	q.Seq = m.seq
	m.srv.send(func() {
		m.srv.must(engine.Reported{Env: m.srv.env, Request: q, Answer: &slp.EvidenceAnswer{}})
	})
}

// request is one unit of work: evaluate, observe, end.
func (m *member) request(key, unit string, attrs []flag.Attr, observe func(variant string, seen func(metric string, value float64))) {
	if m.flags == nil || m.frozen {
		return
	}
	h := m.flags.Flag(key)
	if h == nil {
		return
	}
	ctx := flag.NewContext(unit, attrs...)
	res := h.Eval(ctx, m.view.Held(h.Scope, h.Revision, m.mono()))
	acc := m.acc[res.Rollout]
	if acc == nil || res.Assigned == flag.ArmNone || res.Closed {
		observe(res.String(""), func(string, float64) {})
		return
	}
	slot := acc.Begin(m.second(), acc.Key(keyOf(res)), m.unit(res, ctx), values(acc, ctx))
	observe(res.String(""), func(metric string, v float64) {
		if id, ok := acc.Metric(metric); ok {
			slot.Observe(id, v)
		}
	})
	slot.End(false)
}

func (m *member) unit(res flag.Result, ctx *flag.Context) evidence.Unit {
	key := ctx.TargetingKey()
	return evidence.Unit{Bucket: res.UnitBucket, Hash: uint64(flag.Bucket(key, "once-high"))<<32 | uint64(flag.Bucket(key, "once-low"))}
}

func keyOf(r flag.Result) evidence.SlotKey {
	k := evidence.SlotKey{
		Cohort: r.Cohort, Revision: r.Revision, Exposure: uint32(r.Exposure),
		Lease: evidence.LeaseHeld, Assigned: evidence.ArmBaseline, Served: evidence.ArmBaseline,
	}
	if r.Assigned == flag.ArmExposed {
		k.Assigned = evidence.ArmExposed
	}
	if r.Served == flag.ArmExposed {
		k.Served = evidence.ArmExposed
	} else if r.Assigned == flag.ArmExposed {
		k.Lease = evidence.LeaseLapsed
	}
	return k
}

func values(acc *evidence.Accumulator, ctx *flag.Context) *evidence.Values {
	var v evidence.Values
	for i, name := range acc.Dims() {
		if a, ok := ctx.Attr(name); ok {
			v[i] = acc.Value(i, a.Text())
		}
	}
	return &v
}
