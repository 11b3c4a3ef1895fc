package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/mutant"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// Tick lets time act: seconds of evidence close and are judged, barriers and deadlines are looked at, members that
// stopped renewing lapse. Control sends one several times a second; Seen is what the grant path knows.
type Tick struct {
	Seen    map[string][]Seen // environment -> boots
	Starved bool              // the store has no room for evidence: seconds stay open, and only leases and deadlines count
}

func (t Tick) apply(e *Engine, o *Output) error {
	for name, seen := range t.Seen {
		if env, ok := e.envs[name]; ok {
			env.note(seen)
		}
	}
	var errs []error
	for _, name := range e.names() {
		r := e.runs[name]
		if r.state.Phase.Terminal() {
			errs = append(errs, e.undone(o, r))
			continue
		}
		e.lapse(e.envs[r.plan.Environment], r)
		if e.envs[r.plan.Environment].lost != nil && !r.state.Back() {
			continue // nothing advances on what may be forgotten
		}
		// One rollout that cannot go on must not keep another from going back.
		if !t.Starved {
			errs = append(errs, e.evidence(o, r))
		}
		errs = append(errs, e.barriers(o, r))
	}
	if !t.Starved {
		e.forget(o)
		e.expire(o)
	}
	return errors.Join(errs...)
}

// lapse tells the intake of boots that have stopped renewing: their seconds close without them from there on.
func (e *Engine) lapse(env *environment, r *run) {
	for _, m := range env.fleet.Members {
		if r.lost(m, e.now) {
			r.count(m.Component).lapsed++
		}
		if m.Live(r.plan.Rollback.LeaseTTL, e.now) {
			r.intake.Expect(m.Boot, m.Instance, e.now.Unix()) // again, when it had lapsed and is back
		} else if m.Bye.IsZero() {
			last := m.Renewed
			if last.IsZero() {
				last = env.fleet.Started
			}
			r.intake.Lapsed(m.Boot, last.Add(r.plan.Rollback.LeaseTTL).Unix())
		}
	}
}

// forget removes members that ended long ago. A new leadership has heard of none yet: it counts from its own beginning,
// or it would drop boots that still hold leases of the one before.
func (e *Engine) forget(o *Output) {
	for _, name := range e.Envs() {
		env := e.envs[name]
		for _, m := range env.fleet.Sorted() {
			last := slices.MaxFunc([]time.Time{m.Joined, m.Renewed, m.Bye, env.fleet.Started}, time.Time.Compare)
			if e.now.Sub(last) > fleet.Forget || mutant.Is(mutant.ForgetEarly) && e.now.Sub(last) > time.Second {
				delete(env.fleet.Members, m.Boot)
				o.Members = append(o.Members, MemberChange{Env: name, Member: m, Gone: true})
			}
		}
	}
}

// checkpointEvery is how often the judge's state is stored when nothing is decided.
const checkpointEvery = 60 * time.Second

// evidence closes what can be closed, judges it second by second and feeds the reports.
func (e *Engine) evidence(o *Output, r *run) error {
	if r.state.Revision == 0 {
		return nil
	}
	var errs []error
	for _, sec := range r.intake.Close(e.now) {
		errs = append(errs, e.judge(o, r, sec))
		if r.state.Phase.Terminal() {
			return errors.Join(errs...)
		}
	}
	if e.now.Sub(r.marked) >= checkpointEvery {
		e.checkpoint(o, r)
	}
	return errors.Join(append(errs, e.hard(o, r))...)
}

// hard looks at what has not closed yet, for the limits that need no comparison.
func (e *Engine) hard(o *Output, r *run) error {
	open := r.intake.OpenBlocks()
	hard := judge.Open(r.plan.Judge, r.judge, open, e.now)
	if hard.Action == "" || !r.state.Judged() {
		return nil
	}
	r.report = hard
	before := r.state.Phase
	err := e.feed(o, r, rollout.Event{Kind: rollout.Judged, Actor: "engine", Report: &hard})
	if r.state.Phase != before { // what a decision rests on is stored with it (I15); a limit that stays passed stores nothing more
		sec := evidence.Second{Blocks: open}
		o.Artifacts = append(o.Artifacts, Artifact{Digest: evidence.SecondDigest(&sec), Kind: "open-evidence", Body: evidence.AppendCanonical(nil, &sec)})
	}
	return err
}

func (e *Engine) judge(o *Output, r *run, sec evidence.Second) error {
	e.noteBoots(r, sec)
	if late := r.intake.Late(); !slices.Equal(late, r.late) {
		r.late = late
		r.note(judge.Event{Late: late})
	}
	ev := Evidence{Rollout: r.plan.Name, Second: sec, Events: r.events}
	r.events = nil
	if !mutant.Is(mutant.NoEvidence) {
		o.Evidence = append(o.Evidence, ev)
	}
	return e.apply(o, r, sec)
}

// note lets something act on the judge that is no evidence; it is stored with the next second, so that replays know it.
func (r *run) note(ev judge.Event) {
	ev.After = r.second
	ev.Apply(r.judge)
	r.events = append(r.events, ev)
}

// KeptSeconds bounds what is held of a rollout's evidence, and what recovery reads of it: a longer rollout is judged by additive shares (judge.Remember).
const KeptSeconds = 7200

func (r *run) keep(sec evidence.Second) {
	if len(r.kept) >= KeptSeconds {
		r.kept = append(r.kept[:0:0], r.kept[KeptSeconds/10:]...)
	}
	r.kept = append(r.kept, sec)
}

// remember connects the judge with the seconds that are kept.
func (r *run) remember() {
	judge.Remember(r.judge, func(from, to int64) iter.Seq[evidence.Second] { return judge.Kept(r.kept)(from, to) })
}

// apply judges one stored second; recovery calls it again for seconds after the checkpoint, with the same result.
func (e *Engine) apply(o *Output, r *run, sec evidence.Second) error {
	r.second = sec.At
	r.report = judge.Step(r.plan.Judge, r.judge, sec)
	r.keep(sec)
	return e.feed(o, r, rollout.Event{Kind: rollout.Judged, Actor: "engine", Report: &r.report, Second: sec.At, Observed: r.observed(sec)})
}

// fresh bounds the age of an arm's last observation for a second to count as observed.
const fresh = 60

// observed is how much bake time a second is worth: one second when the members that should report it did and every arm
// that should have data is fresh, else nothing; the second in which the stage was committed is not a whole one. Clock
// jumps, gaps and downtime thus never shorten a bake.
func (r *run) observed(sec evidence.Second) time.Duration {
	for _, b := range sec.Blocks {
		if b.N > 0 && b.Revision == r.state.Revision {
			r.seen[b.Assigned] = sec.At
		}
	}
	if sec.Gap || sec.At <= r.state.StageSince.Unix() || float64(sec.Through) < 0.95*float64(sec.Members) {
		return 0
	}
	arms := []string{evidence.ArmBaseline}
	if r.state.Exposure > 0 {
		arms = append(arms, evidence.ArmExposed)
	}
	for _, arm := range arms {
		if at, ok := r.seen[arm]; !ok || sec.At-at > fresh || at < r.state.StageSince.Unix() {
			return 0
		}
	}
	return time.Second
}

// saved is the stored form of a run's derived state.
type saved struct {
	State  rollout.State    `json:"state"`
	Judge  json.RawMessage  `json:"judge"`
	Intake json.RawMessage  `json:"intake"`
	Events []judge.Event    `json:"events,omitempty"` // applied already, not yet stored with a second
	Seen   map[string]int64 `json:"seen"`
	Second int64            `json:"second"`
}

func (e *Engine) checkpoint(o *Output, r *run) {
	body := mustJSON(saved{State: r.state, Judge: mustJSON(r.judge), Intake: mustJSON(r.intake), Events: r.events, Seen: r.seen, Second: r.second})
	r.marked = e.now
	o.Checkpoints = append(o.Checkpoints, Checkpoint{Rollout: r.plan.Name, Second: r.second, Body: mustJSON(sealed{Body: body, Sum: flag.ContentDigest(body)})})
}

// sealed is a checkpoint as it is stored: one flipped digit in it could end a bake early or lower a floor unseen.
type sealed struct {
	Body json.RawMessage `json:"body"`
	Sum  string          `json:"sum"` // of Body
}

func unseal(checkpoint []byte) (saved, error) {
	var (
		b sealed
		s saved
	)
	if err := json.Unmarshal(checkpoint, &b); err != nil {
		return s, fmt.Errorf("checkpoint: %w", err)
	}
	if got := flag.ContentDigest(b.Body); got != b.Sum {
		return s, fmt.Errorf("checkpoint has digest %s, it says %s: the store is damaged", got, b.Sum)
	}
	if err := json.Unmarshal(b.Body, &s); err != nil {
		return s, fmt.Errorf("checkpoint: %w", err)
	}
	return s, nil
}

// artifactOf names a value by the SHA-256 of its canonical JSON.
func artifactOf(kind string, v any) Artifact {
	b, err := flag.Canonical(v)
	if err != nil {
		panic("engine: " + kind + " has no canonical JSON: " + err.Error())
	}
	return Artifact{Digest: flag.ContentDigest(b), Kind: kind, Body: b}
}

// blocksOf picks one rollout's blocks.
func blocksOf(q slp.EvidenceRequest, rollout string) []evidence.Block {
	var out []evidence.Block
	for _, b := range q.Blocks {
		if b.Rollout == rollout {
			out = append(out, b)
		}
	}
	return out
}

// View is what the fleet is answered from: immutable, published by control after each commit.
type View struct {
	Env string
	fleet.GrantView
	Event    slp.Event      // the level-triggered part of every watch event
	Prepares []*slp.Prepare // contents being armed: whoever begins to watch is told of them
	Config   revision.Env   // what Head names
}

// View returns the grant view of an environment.
func (e *Engine) View(name string) (View, error) {
	env, err := e.env(name)
	if err != nil {
		return View{}, err
	}
	v := View{Env: name, Config: env.rev, GrantView: fleet.GrantView{
		Epoch: e.epoch, Head: slp.Head{Rev: env.rev.Number, Digest: env.rev.Digest},
		Floors: map[string]uint64{}, Leases: map[string]time.Duration{},
	}}
	ev := slp.Event{Epoch: e.epoch, Head: v.Head, Committed: map[string]uint64{}, Floors: v.Floors, Unwind: map[string]string{}}
	for _, scope := range slices.Sorted(maps.Keys(env.rev.Scopes)) {
		s := env.rev.Scopes[scope]
		if !s.Leased {
			continue
		}
		ev.Committed[scope] = s.Rev
		if f := env.rev.Floors[scope]; f != 0 {
			v.Floors[scope] = f
		}
		if r, ok := e.runs[scope]; ok {
			if r.state.Exposed() && !r.state.Back() && env.lost == nil {
				v.Leases[scope] = s.TTL
			}
			if r.state.Phase == rollout.Progressing && r.state.Sub == rollout.Arming {
				if p, err := e.prepare(env, r); err == nil { // its own barrier reports the error; others go on
					v.Prepares = append(v.Prepares, p)
				}
			}
			if class := r.unwindClass(); class != "" {
				ev.Unwind[scope] = class
			}
		}
	}
	v.Event = ev
	return v, nil
}

// Snapshot returns an environment's configuration as members load it.
func Snapshot(env revision.Env) slp.Snapshot {
	s := slp.Snapshot{
		Env: env.Name, Head: slp.Head{Rev: env.Number, Digest: env.Digest},
		Scopes: map[string]slp.ScopeMeta{}, Objects: env.Objects(),
	}
	for name, sc := range env.Scopes {
		s.Scopes[name] = slp.ScopeMeta{Rev: sc.Rev, Digest: sc.Digest, Leased: sc.Leased, TTLMs: sc.TTL.Milliseconds()}
	}
	return s
}

// Delta returns the change from one revision to the next.
func Delta(from, to revision.Env) *slp.Delta {
	d := &slp.Delta{Base: from.Digest, Scopes: Snapshot(to).Scopes, Upsert: map[string]json.RawMessage{}}
	for _, line := range revision.Diff(from, to) {
		path := line.Scope + "/" + line.Path
		if line.New == nil {
			d.Delete = append(d.Delete, path)
		} else {
			d.Upsert[path] = line.New
		}
	}
	return d
}
