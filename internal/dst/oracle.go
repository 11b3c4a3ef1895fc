package dst

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
)

// oracle knows everything, with real time: what is durable, what is in force at each member, and what must hold.
type oracle struct {
	w    *world
	seen Seen

	head      revision.Env
	digests   map[uint64]string // revision -> digest, of everything that was ever durable
	artifacts map[string][]byte
	lastAt    time.Time // of the records
	epoch     uint64
	leader    uint64 // epoch of the view that is shown
	runs      map[string]*lived
	safe      map[string]uint64 // scope -> floor below which exposure was proven off
	halted    map[string]bool   // scopes whose grants were stopped and not shown again
	turn      map[string]string // scope -> class that may unwind
	compiled  map[slp.Head]*compiled
}

// lived is what is known of one rollout.
type lived struct {
	plan      *plan.Plan
	state     rollout.State
	before    revision.Objects // of its scope when it opened
	committed time.Time        // real time of the last stage's commit
	peak      flag.Exposure    // highest exposure that was ever committed
	exposed   uint64           // observations of the exposed arm that arrived since then
	refused   map[string]*proc // contents that a member refused in this leadership, by digest
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, head: revision.New(env), digests: map[uint64]string{}, artifacts: map[string][]byte{}, runs: map[string]*lived{},
		safe: map[string]uint64{}, halted: map[string]bool{}, turn: map[string]string{}, compiled: map[slp.Head]*compiled{},
	}
}

// durable looks at a batch at the instant at which it cannot be lost any more.
func (o *oracle) durable(b store.Batch) {
	o.seen.Writes++
	if b.Epoch < o.epoch {
		o.w.violated("L6", "epoch %d writes after %d", b.Epoch, o.epoch)
	}
	o.epoch = b.Epoch
	for _, a := range b.Artifacts {
		o.artifacts[a.Digest] = a.Body
	}
	for _, r := range b.Records {
		o.record(r)
	}
	prev := o.head
	for _, r := range b.Revisions {
		o.revision(r)
	}
	if len(b.Revisions) > 0 {
		o.scopes(prev, b)
	}
}

func (o *oracle) record(r audit.Record) {
	o.seen.Records++
	o.w.logf("record %d %s %s rev %d", r.Seq, r.Kind, r.Rollout, r.Rev)
	if r.At.Before(o.lastAt) {
		o.w.violated("G5", "record %d is of %s, the one before of %s", r.Seq, r.At, o.lastAt)
	}
	o.lastAt = r.At
	if r.Rollout == "" || len(r.State) == 0 || string(r.State) == "null" {
		return
	}
	var next rollout.State
	if err := json.Unmarshal(r.State, &next); err != nil {
		o.w.violated("G6", "record %d: %v", r.Seq, err)
		return
	}
	l := o.runs[r.Rollout]
	if l == nil {
		l = &lived{plan: o.w.people.plans[r.Rollout], refused: map[string]*proc{}}
		l.state.Stage = -1
		o.runs[r.Rollout] = l
	}
	o.transition(l, r, next)
	l.state = next
}

// transition checks one step of a rollout's life against the one before.
func (o *oracle) transition(l *lived, r audit.Record, next rollout.State) {
	w, was := o.w, l.state
	kind := rollout.Kind(r.Kind[len("rollout."):])
	switch {
	case next.Version <= was.Version:
		w.violated("G4", "record %d of %s has version %d after %d", r.Seq, next.Name, next.Version, was.Version)
	case was.Phase.Terminal() && next.Phase != was.Phase:
		w.violated("G4", "%s was %s and becomes %s", next.Name, was.Phase, next.Phase)
	case !was.Decided.IsZero() && !goingBack(next.Phase):
		w.violated("I5", "%s was going back and becomes %s", next.Name, next.Phase)
	case next.Floor < was.Floor:
		w.violated("G5", "the floor of %s falls from %d to %d", next.Name, was.Floor, next.Floor)
	case next.Stage > was.Stage+1 && kind != rollout.Promote:
		w.violated("I18", "%s goes from stage %d to %d by %s", next.Name, was.Stage, next.Stage, kind)
	case next.Stage < was.Stage:
		w.violated("I18", "%s goes back to stage %d from %d", next.Name, next.Stage, was.Stage)
	}
	switch kind {
	case rollout.Judged:
		o.judged(l, next)
	case rollout.Armed:
		if p := l.refused[next.Armed]; p != nil && !p.gone && p.recent() {
			w.violated("P1", "%s commits a content that %s has refused", next.Name, p.name)
		}
	case rollout.Committed:
		o.seen.Commits++
		l.committed, l.exposed, l.peak = w.Now, 0, max(l.peak, next.Exposure)
		if limit := l.plan.Stages[next.Stage].Served(); next.Exposure > limit {
			w.violated("I1", "%s has exposure %d in stage %d, the limit is %d", next.Name, next.Exposure, next.Stage, limit)
		}
	case rollout.Proven:
		o.proven(l, next)
	case rollout.Overdue:
		o.seen.Incomplete++
	}
	o.ended(next)
}

func goingBack(p rollout.Phase) bool {
	return p == rollout.RollingBack || p == rollout.RollbackIncomplete || p == rollout.RolledBack
}

// judged: evidence may lead on only after the stage's whole bake, with observations of both arms.
func (o *oracle) judged(l *lived, next rollout.State) {
	was := l.state
	on := next.Stage > was.Stage || next.Phase == rollout.Promoting && was.Phase != rollout.Promoting
	if !on || was.Stage < 0 {
		return
	}
	stage := l.plan.Stages[was.Stage]
	if lasted := o.w.Now.Sub(l.committed); float64(lasted) < float64(stage.Bake)*(1-2*fleet.Rho) {
		o.w.violated("I17", "%s leaves stage %q after %s, its bake is %s", next.Name, stage.Name, lasted, stage.Bake)
	}
	if was.Exposure > 0 && l.exposed == 0 {
		o.w.violated("G7", "%s leaves stage %q without an observation of the exposed arm", next.Name, stage.Name)
	}
}

// proven: from this instant on nobody may serve what was revoked.
func (o *oracle) proven(l *lived, next rollout.State) {
	o.seen.Proofs++
	o.safe[next.Name] = next.Floor
	var proof fleet.Proof
	if err := json.Unmarshal(o.artifacts[next.Proof], &proof); err != nil || !proof.Complete || proof.Floor != next.Floor {
		o.w.violated("I7", "the proof of %s is %+v (%v)", next.Name, proof, err)
	}
	o.seen.ByAck += proof.Counts.Acked
	o.seen.ByLapse += proof.Counts.Lapsed
	for _, p := range o.w.procs {
		if p.view != nil {
			o.serving(p, p.view)
		}
		o.draining(p, l.state.Name, next.Floor)
	}
}

// draining: requests that decided before are over too, where the process ran and its clock can be relied on.
func (o *oracle) draining(p *proc, scope string, floor uint64) {
	if p.stopped || p.still() || !p.serves() {
		return
	}
	for _, r := range p.open {
		if rev, ok := r.decided[scope]; ok && rev < floor && p.stood.Before(r.began) {
			o.w.violated("G1a", "%s has a request open that decided for revision %d of %s, proven gone below %d", p.name, rev, scope, floor)
		}
	}
}

func (o *oracle) ended(s rollout.State) {
	switch s.Phase {
	case rollout.RolledBack:
		o.seen.RolledBack++
		if s.DigestAfter != s.DigestBefore || s.DigestBefore == "" || s.Proof == "" {
			o.w.violated("I8", "%s is rolled back to %s, before the start it was %s", s.Name, s.DigestAfter, s.DigestBefore)
		}
	case rollout.Completed:
		o.seen.Completed++
	case rollout.Cancelled:
		o.seen.Cancelled++
		if l := o.runs[s.Name]; l.peak > 0 {
			o.w.violated("I7", "%s was exposed to %d and is cancelled without proof", s.Name, l.peak)
		}
	}
}

func (o *oracle) blob(digest string) ([]byte, error) {
	b, ok := o.artifacts[digest]
	if !ok {
		return nil, errors.New("no such artifact")
	}
	return b, nil
}

func (o *oracle) revision(r store.Revision) {
	next, err := revision.Load(r.Body, o.blob)
	if err != nil {
		o.w.violated("G6", "revision %d cannot be loaded: %v", r.Number, err)
		return
	}
	if next.Number != o.head.Number+1 {
		o.w.violated("G5", "revision %d follows %d", next.Number, o.head.Number)
	}
	for scope, f := range o.head.Floors {
		if _, open := next.Scopes[scope]; open && next.Floors[scope] < f {
			o.w.violated("G5", "revision %d lowers the floor of %s from %d to %d", next.Number, scope, f, next.Floors[scope])
		}
	}
	o.head, o.digests[next.Number] = next, next.Digest
}

// scopes: a batch changes only the scopes that its records are about, and a scope that goes back is what it was.
func (o *oracle) scopes(prev revision.Env, b store.Batch) {
	may := map[string]bool{}
	for _, r := range b.Records {
		switch rollout.Kind(r.Kind) {
		case "config.edit", "env.create":
			may[revision.Base], may[revision.Overlay] = true, true
		case "rollout.submit", "rollout.open":
			may[revision.Base], may[r.Rollout] = true, true
			if l := o.runs[r.Rollout]; l.before == nil {
				l.before = o.head.Scopes[r.Rollout].Objects
			}
		case "rollout.verified", "rollout.cancel", "rollout.rollback", "rollout.unwound", "rollout.proven":
			may[revision.Base], may[r.Rollout] = true, true
		case "rollout.closed", "rollout.judged", "rollout.promote":
			may[revision.Base], may[revision.Overlay], may[r.Rollout] = true, true, true
		default:
			may[r.Rollout] = true
		}
	}
	for scope := range o.head.Scopes {
		if old, had := prev.Scopes[scope]; (!had || old.Full != o.head.Scopes[scope].Full) && !may[scope] {
			o.w.violated("I8", "revision %d changes scope %s, its records are of %v", o.head.Number, scope, sorted(may))
		}
	}
	for scope := range prev.Scopes {
		if _, open := o.head.Scopes[scope]; !open && !may[scope] {
			o.w.violated("I8", "revision %d ends scope %s, its records are of %v", o.head.Number, scope, sorted(may))
		}
	}
	o.restored(prev, b)
}

// restored: what a rollback takes back is byte for byte what it was, and nothing else of the environment moves with it.
func (o *oracle) restored(prev revision.Env, b store.Batch) {
	for scope, f := range o.head.Floors {
		if prev.Floors[scope] != f && !same(o.head.Scopes[scope].Objects, o.runs[scope].before) {
			o.w.violated("I8", "revision %d revokes %s to something else than it was", o.head.Number, scope)
		}
	}
	if len(b.Revisions) != 1 {
		return
	}
	for scope := range prev.Scopes {
		l := o.runs[scope]
		if _, open := o.head.Scopes[scope]; open || l == nil || l.state.Phase != rollout.RolledBack && l.state.Phase != rollout.Cancelled {
			continue
		}
		want := prev.Scopes[revision.Base].Objects.Clone()
		for path, raw := range l.before {
			want[path] = raw
		}
		if !same(o.head.Scopes[revision.Base].Objects, want) {
			o.w.violated("I8", "the end of %s changes more than its own objects", scope)
		}
	}
}

func same(a, b revision.Objects) bool {
	if len(a) != len(b) {
		return false
	}
	for path, raw := range a {
		if string(b[path]) != string(raw) {
			return false
		}
	}
	return true
}

// stopped: no lease of the scope may be granted until a view is shown again.
func (o *oracle) stopped(scope string) { o.halted[scope] = true }

// shown: only what is durable is shown to members.
func (o *oracle) shown(v engine.View) {
	clear(o.halted)
	if v.Epoch != o.leader {
		o.leader = v.Epoch
		for _, l := range o.runs {
			clear(l.refused)
		}
	}
	o.known("G4", "the grant path", v.Head)
	o.turns(v.Event.Unwind)
}

func (o *oracle) known(rule, who string, h slp.Head) {
	if h.Rev > 0 && o.digests[h.Rev] != h.Digest {
		o.w.violated(rule, "%s has revision %d as %.20s, the log has %.20s", who, h.Rev, h.Digest, o.digests[h.Rev])
	}
}

// granted: a lease is given only under every floor that is durable, and never between a stop and the next view.
func (o *oracle) granted(g slp.Grant) {
	o.seen.Grants++
	if len(g.Leases) > 0 {
		o.w.logf("grant %.6s %d of %s", g.Boot, g.N, sorted(g.Leases))
	}
	for scope := range g.Leases {
		if f := o.head.Floors[scope]; g.Floors[scope] < f {
			o.w.violated("L3", "a lease of %s is granted under floor %d, the log has %d", scope, g.Floors[scope], f)
		}
		if o.halted[scope] {
			o.w.violated("L3", "a lease of %s is granted after its grants were stopped", scope)
		}
	}
}

// stepped looks at the deadlines after a tick.
func (o *oracle) stepped(ev engine.Event, err error) {
	if _, tick := ev.(engine.Tick); !tick || err != nil {
		return
	}
	now := o.w.srv.ctl.Engine().Now()
	for _, name := range sorted(o.runs) {
		s, p := o.runs[name].state, o.runs[name].plan
		if s.Phase == rollout.RollingBack && s.Sub == rollout.Revoking && now.Sub(s.Decided) >= p.Rollback.CompleteWithin {
			o.w.violated("I32", "%s is not proven %s after its decision, and nobody was told", name, now.Sub(s.Decided))
		}
	}
}

// recovered: a new leadership knows exactly what the log says.
func (o *oracle) recovered() {
	e := o.w.srv.ctl.Engine()
	for _, name := range sorted(o.runs) {
		st, err := e.Rollout(name)
		want := o.runs[name].state
		if err != nil {
			o.w.violated("G6", "after recovery: %v", err)
			return
		}
		got := st.State
		if got.Phase != want.Phase || got.Sub != want.Sub || got.Stage != want.Stage || got.Floor != want.Floor || got.Revision != want.Revision || got.Pause != want.Pause {
			o.w.violated("I19", "after recovery %s is %s/%s in stage %d at %d, the log says %s/%s in stage %d at %d",
				name, got.Phase, got.Sub, got.Stage, got.Revision, want.Phase, want.Sub, want.Stage, want.Revision)
		}
	}
	if rev, err := e.Environment(env); o.head.Number > 0 && (err != nil || rev.Digest != o.head.Digest || rev.Number != o.head.Number) {
		o.w.violated("G6", "after recovery revision %d %s (%v), the log has %d %s", rev.Number, rev.Digest, err, o.head.Number, o.head.Digest)
	}
}

// swapped: at a member nothing falls, what it serves is in the log, and nothing that was proven gone comes back.
func (o *oracle) swapped(p *proc, v *slp.View) {
	if v.Snapshot != nil {
		o.known("append before act", p.name, v.Snapshot.Head)
	}
	if old := p.view; old != nil {
		for scope, f := range old.Floors {
			if v.Floors[scope] < f {
				o.w.violated("L1", "%s lowers its floor of %s from %d to %d", p.name, scope, f, v.Floors[scope])
			}
		}
		if v.Epoch < old.Epoch {
			o.w.violated("L1", "%s goes from epoch %d to %d", p.name, old.Epoch, v.Epoch)
		}
		if old.Snapshot != nil && v.Snapshot.Head.Rev < old.Snapshot.Head.Rev {
			o.w.violated("I6", "%s goes from revision %d to %d", p.name, old.Snapshot.Head.Rev, v.Snapshot.Head.Rev)
		}
	} else if p.disk != nil {
		for scope, f := range p.disk.Floors {
			if v.Floors[scope] < f {
				o.w.violated("contract 2", "%s comes back with floor %d of %s, its disk has %d", p.name, v.Floors[scope], scope, f)
			}
		}
	}
	o.serving(p, v)
}

// serving is G1a for every evaluation that could start now, with the view's snapshot or one that an open request began
// with. Between two swaps a lease only runs out, so it is enough to look at swaps and at the proof.
func (o *oracle) serving(p *proc, v *slp.View) {
	if p.stopped || !p.serves() || v.Snapshot == nil || len(o.safe) == 0 {
		return
	}
	pinned := []*compiled{o.w.compile(v.Snapshot)}
	for _, r := range p.open {
		pinned = append(pinned, r.pinned)
	}
	for _, c := range pinned {
		for _, key := range flagKeys {
			if h := c.flags.Flag(key); h != nil && h.RolloutID != "" && h.Revision < o.safe[h.Scope] && v.Held(h.Scope, h.Revision, p.mono()) {
				o.w.violated("G1a", "%s (%.6s) would serve revision %d of %s for %s, proven gone below %d", p.name, p.boot, h.Revision, h.Scope, v.Remaining(h.Scope, p.mono()), o.safe[h.Scope])
			}
		}
	}
}

// evaluated: G1a for an evaluation that happened, and G3: nobody is exposed to more than was ever committed.
func (o *oracle) evaluated(p *proc, r *request, res flag.Result) {
	o.seen.Evaluations++
	if res.Served != flag.ArmExposed {
		return
	}
	o.seen.Exposed++
	if res.Revision < o.safe[res.Scope] && !p.stopped {
		o.w.violated("G1a", "%s serves revision %d of %s, proven gone below %d", p.name, res.Revision, res.Scope, o.safe[res.Scope])
	}
	if l := o.runs[res.Rollout]; l == nil || res.Exposure > l.peak {
		o.w.violated("G3", "%s exposes %d of %s, which was never committed", p.name, res.Exposure, res.Rollout)
	}
	for _, x := range r.pinned.config.Exclusions {
		if f := r.pinned.flags.Rollout(res.Rollout); f != nil && x.Flag == f.Key && x.Match.Attr != nil && string(x.Match.Attr.Value) == strconv.Quote(r.unit) {
			o.w.violated("I11", "%s serves the candidate of %s to %s, which is excluded", p.name, f.Key, r.unit)
		}
	}
}

// acking: a member acknowledges only what is in force, drained only what no request holds, unwound only what is.
func (o *oracle) acking(p *proc, acks []slp.Ack) {
	for _, a := range acks {
		if p.view == nil || p.view.Snapshot == nil {
			continue
		}
		meta, open := p.view.Snapshot.Scopes[a.Scope]
		if open && meta.Rev < a.Rev {
			o.w.violated("L4", "%s acknowledges revision %d of %s, %d is in force", p.name, a.Rev, a.Scope, meta.Rev)
		}
		if a.Stage != slp.StageDrained {
			continue
		}
		for _, r := range p.open {
			if rev, ok := r.decided[a.Scope]; ok && rev < a.Rev {
				o.w.violated("L4", "%s acknowledges %d of %s as drained, a request holds %d", p.name, a.Rev, a.Scope, rev)
			}
		}
		if f := p.view.Floors[a.Scope]; !p.serves() && f != 0 && a.Rev >= f && p.unwound[a.Scope] < f && p.born.Before(o.revokedAt(a.Scope)) {
			o.w.violated("P3", "%s acknowledges %d of %s as drained and has not unwound", p.name, a.Rev, a.Scope)
		}
	}
}

func (o *oracle) revokedAt(scope string) time.Time {
	if l := o.runs[scope]; l != nil {
		return l.committed
	}
	return time.Time{}
}

// unwinding: nothing is taken back before exposure is proven off.
func (o *oracle) unwinding(p *proc, e slp.RunUnwind) {
	if _, open := o.head.Scopes[e.Scope]; !open {
		return
	}
	if o.safe[e.Scope] < e.Rev {
		o.w.violated("P3", "%s unwinds %s below %d, exposure is proven off below %d", p.name, e.Scope, e.Rev, o.safe[e.Scope])
	}
}

// turns: writers may unwind when every store that is heard of has done so.
func (o *oracle) turns(unwind map[string]string) {
	for scope, class := range unwind {
		if was := o.turn[scope]; class == was || class != slp.ClassWriter {
			continue
		}
		o.turn[scope] = class
		for _, s := range o.w.procs {
			if s.class == slp.ClassStore && !s.gone && s.recent() && !s.joined.IsZero() && s.joined.Before(o.revokedAt(scope)) && s.unwound[scope] < o.head.Floors[scope] {
				o.w.violated("P3", "writers may unwind %s before the store %s (%.6s) has", scope, s.name, s.boot)
			}
		}
	}
}

// reported counts the observations of the exposed arm that have reached the controller.
func (o *oracle) reported(blocks []evidence.Block) {
	for _, b := range blocks {
		if l := o.runs[b.Rollout]; l != nil && b.Assigned == evidence.ArmExposed && b.Revision == l.state.Revision {
			l.exposed += b.N
		}
	}
}

// told notes what members answered to a prepare, as the engine hears it.
func (o *oracle) told(a engine.Acked) {
	from := slices.IndexFunc(o.w.procs, func(p *proc) bool { return p.boot == a.Boot })
	for _, p := range a.Prepared {
		if l := o.runs[p.Scope]; l != nil && p.Reject != nil && from >= 0 {
			l.refused[p.Digest] = o.w.procs[from]
		}
	}
}

// applied: a plan that was accepted is in the log.
func (o *oracle) applied(p *plan.Plan, err error) {
	if err == nil && o.runs[p.Name] == nil {
		o.w.violated("G6", "%s was accepted and is not in the log", p.Name)
	}
}

// commanded: a rollback is accepted wherever something may be exposed.
func (o *oracle) commanded(c engine.Command, err error) {
	if c.Kind != rollout.Rollback {
		return
	}
	s := o.runs[c.Rollout].state
	if err != nil && s.Phase != rollout.Completed {
		o.w.violated("I4", "the rollback of %s in %s/%s is refused: %v", c.Rollout, s.Phase, s.Sub, err)
	}
	if err == nil && !goingBack(s.Phase) && s.Phase != rollout.Cancelled {
		o.w.violated("I4", "the rollback of %s is accepted and it is %s/%s", c.Rollout, s.Phase, s.Sub)
	}
}

// end looks at a world that has come to rest.
func (o *oracle) end() {
	ctx := context.Background()
	if _, err := store.Verify(ctx, o.w.disk); err != nil {
		o.w.violated("I25", "the log does not verify: %v", err)
	}
	for n := uint64(1); n <= o.head.Number; n++ {
		if rev, err := control.LoadEnv(ctx, o.w.disk, env, n); err != nil || rev.Digest != o.digests[n] {
			o.w.violated("I27", "revision %d: %v", n, err)
		}
	}
	for _, name := range sorted(o.runs) {
		o.finally(ctx, name)
	}
	for _, p := range o.w.procs {
		if p.view == nil || p.view.Snapshot == nil || p.view.Snapshot.Head.Rev != o.head.Number {
			o.w.violated("liveness", "%s is not at head %d after %s of calm", p.name, o.head.Number, rest)
		}
	}
	o.recovered()
}

func (o *oracle) finally(ctx context.Context, name string) {
	s := o.runs[name].state
	if !s.Phase.Terminal() || !s.Decided.IsZero() && s.Phase != rollout.RolledBack {
		o.w.violated("I5", "%s ends as %s", name, s.Phase)
	}
	again, err := control.Replay(ctx, o.w.disk, name)
	if err != nil || !again.Same() {
		o.w.violated("G8", "%s judged again: %+v %v", name, again, err)
	}
	o.seen.Replayed += again.Seconds
}

// defaultOf is what the flag serves without a rollout.
func (o *oracle) defaultOf(key string) string {
	_, raw, _ := o.head.Find("flag/" + key)
	var f flag.Flag
	if err := json.Unmarshal(raw, &f); err != nil {
		return "off"
	}
	return f.Default
}

// pinned is the artifact that the component uses.
func (o *oracle) pinned(component string) string {
	_, raw, ok := o.head.Find("pin/" + component)
	var pin engine.Pin
	if !ok || json.Unmarshal(raw, &pin) != nil {
		return flag.ContentDigest([]byte("first"))
	}
	return pin.Digest
}
