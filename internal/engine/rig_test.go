package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	prod = "production"
	name = "spend7d-v15"
	from = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	to   = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// disk is the smallest store that is one: what an Output makes durable, checked on the way in.
type disk struct {
	records     []audit.Record
	revisions   map[string][][]byte // environment -> manifests
	artifacts   map[string][]byte
	evidence    map[string][]Evidence
	checkpoints map[string]Checkpoint
	members     map[string]map[string][]byte // environment -> boot -> stored form
}

func newDisk() *disk {
	return &disk{
		revisions: map[string][][]byte{}, artifacts: map[string][]byte{}, evidence: map[string][]Evidence{},
		checkpoints: map[string]Checkpoint{}, members: map[string]map[string][]byte{},
	}
}

// write appends what the output makes durable and refuses what a store would refuse.
func (d *disk) write(o Output) error {
	for _, r := range o.Records {
		if r.Seq != uint64(len(d.records)+1) {
			return fmt.Errorf("record %d follows %d", r.Seq, len(d.records))
		}
		if n := len(d.records); n > 0 && r.At.Before(d.records[n-1].At) {
			return fmt.Errorf("record %d is earlier than the one before", r.Seq)
		}
		d.records = append(d.records, r)
	}
	for _, a := range o.Artifacts {
		if got := flag.ContentDigest(a.Body); got != a.Digest {
			return fmt.Errorf("artifact %s %s has digest %s", a.Kind, a.Digest, got)
		}
		d.artifacts[a.Digest] = a.Body
	}
	for _, r := range o.Revisions {
		if want := uint64(len(d.revisions[r.Name]) + 1); r.Number != want {
			return fmt.Errorf("revision %d of %s, want %d", r.Number, r.Name, want)
		}
		m, err := r.Manifest()
		if err != nil {
			return err
		}
		if _, err := revision.Load(m, d.blob); err != nil {
			return fmt.Errorf("what is stored of revision %d cannot be loaded: %w", r.Number, err)
		}
		d.revisions[r.Name] = append(d.revisions[r.Name], m)
	}
	for _, e := range o.Evidence {
		list := d.evidence[e.Rollout]
		if n := len(list); n > 0 && e.Second.At <= list[n-1].At {
			return fmt.Errorf("evidence of second %d after %d", e.Second.At, list[n-1].At)
		}
		d.evidence[e.Rollout] = append(list, e)
	}
	for _, c := range o.Checkpoints {
		if c.Second < d.checkpoints[c.Rollout].Second {
			return fmt.Errorf("checkpoint after second %d follows %d", c.Second, d.checkpoints[c.Rollout].Second)
		}
		d.checkpoints[c.Rollout] = c
	}
	for _, m := range o.Members {
		if d.members[m.Env] == nil {
			d.members[m.Env] = map[string][]byte{}
		}
		if m.Gone {
			delete(d.members[m.Env], m.Member.Boot)
			continue
		}
		d.members[m.Env][m.Member.Boot] = mustJSON(m.Member)
	}
	return nil
}

func (d *disk) blob(digest string) ([]byte, error) {
	b, ok := d.artifacts[digest]
	if !ok {
		return nil, errors.New("no such artifact")
	}
	return b, nil
}

// load is what a new leadership reads.
func (d *disk) load() (Stored, error) {
	st := Stored{Members: map[string][]*fleet.Member{}}
	if n := len(d.records); n > 0 {
		st.Seq, st.At = d.records[n-1].Seq, d.records[n-1].At
	}
	for _, env := range slices.Sorted(maps.Keys(d.revisions)) {
		list := d.revisions[env]
		rev, err := revision.Load(list[len(list)-1], d.blob)
		if err != nil {
			return st, err
		}
		st.Envs = append(st.Envs, rev)
		for _, boot := range slices.Sorted(maps.Keys(d.members[env])) {
			m := &fleet.Member{}
			if err := json.Unmarshal(d.members[env][boot], m); err != nil {
				return st, err
			}
			st.Members[env] = append(st.Members[env], m)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(d.checkpoints)) {
		r, err := d.loadRun(n)
		if err != nil {
			return st, fmt.Errorf("rollout %s: %w", n, err)
		}
		st.Runs = append(st.Runs, r)
	}
	return st, nil
}

func (d *disk) loadRun(n string) (StoredRun, error) {
	cp := d.checkpoints[n]
	state, err := CheckpointState(cp.Body)
	if err != nil {
		return StoredRun{}, err
	}
	r := StoredRun{Checkpoint: cp.Body}
	if r.Plan, err = plan.Load(state.Plan, d.artifacts[state.Plan]); err != nil {
		return r, err
	}
	if state.DigestBefore != "" {
		if err := json.Unmarshal(d.artifacts[state.DigestBefore], &r.Before); err != nil {
			return r, err
		}
	}
	r.Evidence = slices.Clone(d.evidence[n])
	return r, nil
}

// rig is an engine with a disk, a grant path and a fleet, in one goroutine.
type rig struct {
	t      testing.TB
	now    time.Time
	epoch  uint64
	e      *Engine
	disk   *disk
	grants *fleet.Grants
	fleet  []*fake
	bad    map[string]float64 // arm -> share of bad requests
	steps  int                // engine steps so far
	crash  int                // at this step the engine is lost, before its effects; 0 never
	lose   bool               // it is lost before the append, and whoever asked asks again
	mute   bool               // the horizon is not answered: control hangs
	outs   []Output           // when keep is set
	keep   bool

	lenient bool // refused acks are expected
}

// newRig has the environment, a flag, a neighbour flag and the pins of the bundle.
func newRig(t testing.TB) *rig {
	r := &rig{t: t, now: t0, epoch: 1, disk: newDisk(), grants: fleet.NewGrants(), bad: map[string]float64{}}
	r.e = New("test", r.epoch, r.now)
	r.must(CreateEnv{Name: prod, Actor: "token:ann"})
	seed, err := Seed(prod, "token:ann", boolFlag("spend7d"), boolFlag("other"))
	if err != nil {
		t.Fatal(err)
	}
	r.must(seed)
	return r
}

func boolFlag(key string) flag.Flag {
	return flag.Flag{
		Key: key, Type: flag.Bool, Default: "v14",
		Variants: map[string]json.RawMessage{"v14": json.RawMessage("false"), "v15": json.RawMessage("true")},
	}
}

// shortPlan has a stage without exposure, a small one and full exposure with a holdback. A look is 2 s and decides alone.
func shortPlan(t testing.TB, edit func(*plan.Plan)) *plan.Plan {
	p := &plan.Plan{
		Name: name, Environment: prod, Owner: "user:ann", Unit: "account", Salt: "spend7d",
		Flag:    plan.FlagChange{Key: "spend7d", Stable: "v14", Candidate: "v15"},
		Bundle:  []plan.Member{{Component: "checkout", Artifact: "flags:spend7d", From: from, To: to}},
		Cohorts: []plan.Cohort{{Name: "general"}},
		Metrics: map[string]evidence.Metric{evidence.MetricError: {Kind: evidence.KindProportion}},
		Stages: []plan.Stage{
			{Name: "shadow", Mode: "shadow", Cohort: "general", Exposure: 0, Bake: 2 * time.Second},
			{Name: "canary", Cohort: "general", Exposure: 5_000, Bake: 3 * time.Second},
			{Name: "full", Cohort: "general", Exposure: flag.Full, Holdback: 1_000, Bake: 3 * time.Second},
		},
		Judge: judge.Config{Rollout: name, Alpha: 0.01, PowerFrom: 0.25, Guardrails: []judge.Guardrail{{
			Name: "errors", Role: "guardrail", Metric: evidence.MetricError, Class: judge.ClassE, Stat: "proportion", Test: judge.Threshold,
			WorseBy: judge.Margin{Absolute: 0.05}, Window: 2 * time.Second, MinN: 10, Blips: judge.Blips{Allow: 0, Of: 1},
			OnBreach: judge.ActRollback, OnNoData: judge.ActPause, OnError: judge.ActPause, NoDataAfter: 60 * time.Second,
		}}},
		Rollback: plan.Rollback{On: []string{"guardrail:rollback", "component-lost", "operator"}, LeaseTTL: 5 * time.Second, CompleteWithin: 15 * time.Second, UnwindWithin: time.Minute},
	}
	if edit != nil {
		edit(p)
	}
	body, err := p.Body()
	if err != nil {
		t.Fatal(err)
	}
	p.Digest = flag.ContentDigest(body)
	return p
}

// do applies an event as control does: grants stop, the append, the effects. It returns the refusal.
func (r *rig) do(ev Event) error {
	r.t.Helper()
	o := r.e.Step(r.now, ev)
	r.steps++
	if r.keep {
		r.outs = append(r.outs, o)
	}
	for _, s := range o.Stop {
		r.grants.Stop(s.Scope)
	}
	if r.lose && r.steps == r.crash {
		r.recover(time.Second)
		return r.do(ev)
	}
	if err := r.disk.write(o); err != nil {
		r.t.Fatalf("step %d, %T: %v", r.steps, ev, err)
	}
	if r.steps == r.crash {
		r.recover(time.Second)
		return o.Err
	}
	r.act(o)
	return o.Err
}

func (r *rig) act(o Output) {
	r.t.Helper()
	if len(o.Revisions) > 0 {
		r.show()
	}
	for _, f := range o.Effects {
		r.show()
		switch f.Kind {
		case Broadcast:
			v := r.view()
			for _, m := range r.fleet {
				m.hear(r, v.Event, f.Event.Prepare)
			}
		case Horizon:
			if !r.mute {
				r.must(Revoked{Rollout: f.Rollout, Seen: r.grants.Seen()})
			}
		}
	}
}

func (r *rig) must(ev Event) {
	r.t.Helper()
	if err := r.do(ev); err != nil {
		r.t.Fatalf("step %d, %T at %s: %v", r.steps, ev, r.now.Sub(t0), err)
	}
}

func (r *rig) view() View {
	v, err := r.e.View(prod)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) show() { r.grants.Show(r.view().GrantView) }

// recover loses the engine and the grant path and builds them again from the disk, after the downtime.
func (r *rig) recover(down time.Duration) {
	r.t.Helper()
	r.now = r.now.Add(down)
	r.epoch++
	st, err := r.disk.load()
	if err != nil {
		r.t.Fatalf("load after step %d: %v", r.steps, err)
	}
	e, o, err := Recover("test", r.epoch, r.now, st)
	if err != nil {
		r.t.Fatalf("recover after step %d: %v", r.steps, err)
	}
	r.e, r.grants = e, fleet.NewGrants()
	if err := r.disk.write(o); err != nil {
		r.t.Fatalf("append after recovery: %v", err)
	}
	if len(e.Envs()) > 0 {
		r.show()
	}
	for _, s := range o.Stop {
		r.grants.Stop(s.Scope)
	}
	r.act(o)
}

// advance lets d pass: twice a second a tick, once a second renewals and evidence.
func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(500 * time.Millisecond)
		if r.now.Nanosecond() == 0 {
			for _, m := range r.fleet {
				m.second(r)
			}
		}
		r.must(Tick{Seen: map[string][]Seen{prod: r.grants.Seen()}})
	}
}

// until advances until the rollout's phase (and sub-phase, if given) is reached.
func (r *rig) until(phase rollout.Phase, sub rollout.Sub, limit time.Duration) rollout.State {
	r.t.Helper()
	for end := r.now.Add(limit); ; {
		s := r.state()
		if s.Phase == phase && (sub == "" || s.Sub == sub) {
			return s
		}
		if !r.now.Before(end) {
			r.t.Fatalf("not %s/%s after %s but %s/%s, stage %d, baked %s, result %q: %+v", phase, sub, limit, s.Phase, s.Sub, s.Stage, s.Baked, s.Result, s.Cause)
		}
		r.advance(500 * time.Millisecond)
	}
}

func (r *rig) state() rollout.State {
	r.t.Helper()
	st, err := r.e.Rollout(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return st.State
}

func (r *rig) env() revision.Env {
	r.t.Helper()
	env, err := r.e.Environment(prod)
	if err != nil {
		r.t.Fatal(err)
	}
	return env
}

// firstWith returns the first stored revision that has the scope.
func (r *rig) firstWith(scope string) revision.Env {
	r.t.Helper()
	for _, m := range r.disk.revisions[prod] {
		env, err := revision.Load(m, r.disk.blob)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, ok := env.Scopes[scope]; ok {
			return env
		}
	}
	r.t.Fatalf("no revision has scope %s", scope)
	return revision.Env{}
}

// kinds lists the kinds of the rollout's records.
func (r *rig) kinds() []string {
	var out []string
	for _, rec := range r.disk.records {
		if rec.Rollout == name {
			out = append(out, rec.Kind)
		}
	}
	return out
}

func silent(m *fake) { m.silent = true }

func frozen(m *fake) { m.frozen = true }

// fake is a member that answers at once what a good client would, and reports evidence each second.
type fake struct {
	hello  slp.Hello
	n, seq uint64
	frozen bool        // says and hears nothing
	reject *slp.Reject // what it answers to a prepare
	lags   bool        // loads what it is asked to, and does not switch
	silent bool        // renews, but answers nothing else
	stale  uint64      // revision that it stays on, when set
	acked  map[string]uint64
	ready  *slp.Prepared
}

// join lets a member say hello; as changes it before.
func (r *rig) join(component, class string, as ...func(*fake)) *fake {
	r.t.Helper()
	n := len(r.fleet)
	m := &fake{
		hello: slp.Hello{Instance: fmt.Sprint(component, "-", n), Boot: fmt.Sprint("boot", n), Component: component, Class: class, WMs: 500},
		acked: map[string]uint64{},
	}
	for _, f := range as {
		f(m)
	}
	r.fleet = append(r.fleet, m)
	m.knock(r)
	return m
}

func (m *fake) knock(r *rig) {
	r.t.Helper()
	r.must(Join{Env: prod, Hello: m.hello})
	r.grants.Join(m.hello.Boot)
}

// hear takes the level-triggered part of an event and a prepare.
func (m *fake) hear(r *rig, ev slp.Event, prepare *slp.Prepare) {
	if m.frozen || m.silent {
		return
	}
	a := Acked{Boot: m.hello.Boot}
	if prepare != nil {
		m.ready = &slp.Prepared{Scope: prepare.Scope, Digest: prepare.Digest, Reject: m.reject}
	}
	if m.ready != nil {
		a.Prepared = []slp.Prepared{*m.ready}
	}
	for _, scope := range slices.Sorted(maps.Keys(ev.Committed)) {
		if m.lags {
			break
		}
		rev := ev.Committed[scope]
		a.Acks = append(a.Acks, slp.Ack{Scope: scope, Rev: rev, Stage: slp.StageActivated})
		unwinds := slices.Contains(fleet.UnwindOrder, m.hello.Class)
		if !unwinds || ev.Unwind[scope] == m.hello.Class {
			a.Acks = append(a.Acks, slp.Ack{Scope: scope, Rev: rev, Stage: slp.StageDrained})
		}
	}
	if err := r.do(Acks{Env: prod, List: []Acked{a}}); err != nil && !r.lenient {
		r.t.Fatalf("acks of %s: %v", m.hello.Boot, err)
	}
}

// second renews, repeats what it has to say and reports the evidence of the second that ended.
func (m *fake) second(r *rig) {
	if m.frozen {
		return
	}
	m.n++
	if _, ok := r.grants.Renew(slp.Renew{Boot: m.hello.Boot, N: m.n}, r.now); !ok {
		m.knock(r)
		return
	}
	m.hear(r, r.view().Event, nil)
	m.seq++
	q := slp.EvidenceRequest{Instance: m.hello.Instance, Boot: m.hello.Boot, Seq: m.seq, Through: r.now.Unix() - 1}
	if m.hello.Class == slp.ClassReader {
		q.Blocks = m.blocks(r)
	}
	r.must(Reported{Env: prod, Request: q, Answer: &slp.EvidenceAnswer{}})
}

// blocks are 100 requests per arm of each open rollout in the second that ended, under what the snapshot says.
func (m *fake) blocks(r *rig) []evidence.Block {
	var out []evidence.Block
	env := r.env()
	for _, scope := range slices.Sorted(maps.Keys(env.Scopes)) {
		for path, raw := range env.Scopes[scope].Objects {
			var f flag.Flag
			if json.Unmarshal(raw, &f) != nil || f.Rollout == nil || path != "flag/"+f.Key {
				continue
			}
			for _, c := range f.Rollout.Cohorts {
				for _, arm := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
					if c.Closed || arm == evidence.ArmExposed && c.Exposure == 0 {
						continue
					}
					out = append(out, m.block(r, scope, env.Scopes[scope].Rev, c, arm))
				}
			}
		}
	}
	return out
}

func (m *fake) block(r *rig, scope string, rev uint64, c flag.CohortExposure, arm string) evidence.Block {
	const n = 128
	bad := uint64(n * r.bad[arm])
	if m.stale != 0 {
		rev = m.stale
	}
	total := evidence.Cell{Dim: evidence.DimTotal, N: n, Bad: bad}
	for k := range uint8(evidence.UnitBuckets) {
		b := evidence.UnitBucket{K: k, N: n / evidence.UnitBuckets}
		b.Bad = min(b.N, bad)
		bad -= b.Bad
		total.Buckets = append(total.Buckets, b)
	}
	return evidence.Block{
		Second: r.now.Unix() - 1, Rollout: scope, Cohort: c.Cohort, Revision: rev, Exposure: uint32(c.Exposure), Lease: evidence.LeaseHeld,
		Assigned: arm, Served: arm, Metric: evidence.MetricError, N: n, Bad: total.Bad, Cells: []evidence.Cell{total},
	}
}

// started is a rig with two readers of the bundle's component, a store and a writer, and the rollout applied.
func started(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	r.join("checkout", slp.ClassReader)
	r.join("checkout", slp.ClassReader)
	r.join("online", slp.ClassStore)
	r.join("agg", slp.ClassWriter)
	r.advance(time.Second)
	r.must(Apply{Plan: shortPlan(t, nil), Actor: "token:ann", Reason: "ship it"})
	return r
}

// exposed is started, with the canary stage baking.
func exposed(t testing.TB) *rig {
	t.Helper()
	r := started(t)
	for r.state().Stage < 1 || r.state().Sub != rollout.Baking {
		r.advance(500 * time.Millisecond)
		if r.now.Sub(t0) > time.Minute {
			t.Fatalf("the canary stage does not bake: %+v", r.state())
		}
	}
	return r
}

func code(err error) string {
	var r *Refusal
	var s *rollout.Refusal
	switch {
	case errors.As(err, &r):
		return r.Code
	case errors.As(err, &s):
		return s.Code
	case err == nil:
		return ""
	}
	return err.Error()
}
