package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/mutant"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// Apply submits a rollout. Repeating it with the same plan changes nothing; another plan under the name of a rollout
// that is not over is refused.
type Apply struct {
	Plan   *plan.Plan
	Actor  string
	Reason string
}

func (a Apply) apply(e *Engine, o *Output) error {
	env, err := e.env(a.Plan.Environment)
	if err != nil {
		return err
	}
	if err := env.held(); err != nil {
		return err
	}
	if old, ok := e.runs[a.Plan.Name]; ok {
		if old.state.Plan == a.Plan.Digest && !old.state.Phase.Terminal() {
			return nil
		}
		if !old.state.Phase.Terminal() {
			return refusal("rollout.exists", "roll it back or wait for its end, or give the new one another name",
				"rollout %q is %s with another plan", a.Plan.Name, old.state.Phase)
		}
		return refusal("rollout.name_used", "give it a new name, e.g. with a counter: the name is its identity in the audit log",
			"rollout %q has already run and is %s", a.Plan.Name, old.state.Phase)
	}
	if err := e.admissible(env, a.Plan); err != nil {
		return err
	}
	body, err := a.Plan.Body()
	if err != nil {
		return fmt.Errorf("plan %s: %w", a.Plan.Name, err)
	}
	r := e.newRun(a.Plan, rollout.New(a.Plan, a.Actor, e.now))
	e.runs[a.Plan.Name] = r
	if err := e.feed(o, r, rollout.Event{Kind: rollout.Submit, Actor: a.Actor, Reason: a.Reason}); err != nil {
		delete(e.runs, a.Plan.Name)
		return err
	}
	o.Artifacts = append(o.Artifacts, Artifact{Digest: a.Plan.Digest, Kind: "plan", Body: body})
	return nil
}

// Check reports why a plan could not be applied now, changing nothing (dry run).
func (e *Engine) Check(p *plan.Plan) error {
	env, err := e.env(p.Environment)
	if err != nil {
		return err
	}
	return e.admissible(env, p)
}

func (e *Engine) admissible(env *environment, p *plan.Plan) error {
	for _, name := range e.names() {
		other := e.runs[name]
		if other.state.Phase.Terminal() || other.plan.Environment != p.Environment {
			continue
		}
		if other.plan.Flag.Key == p.Flag.Key {
			return refusal("rollout.flag_busy", "wait for it to end or roll it back", "flag %q belongs to the open rollout %q", p.Flag.Key, name)
		}
		for _, m := range p.Bundle {
			if slices.ContainsFunc(other.plan.Bundle, func(b plan.Member) bool { return b.Component == m.Component }) {
				return refusal("rollout.component_busy", "wait for it to end: one rollout at a time may change a component",
					"component %q belongs to the open rollout %q", m.Component, name)
			}
		}
	}
	if p.Name == revision.Base || p.Name == revision.Overlay {
		return refusal("name.reserved", "choose another name", "rollout name %q is reserved", p.Name)
	}
	raw, ok := env.rev.Scopes[revision.Base].Objects["flag/"+p.Flag.Key]
	if !ok {
		return refusal("ref.unknown", "create it first, e.g. sluice apply -f flag.yaml", "flag %q does not exist in environment %q", p.Flag.Key, p.Environment)
	}
	var f flag.Flag
	if err := json.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("flag %s: %w", p.Flag.Key, err)
	}
	for _, v := range []string{p.Flag.Stable, p.Flag.Candidate} {
		if _, ok := f.Variants[v]; !ok {
			return refusal("ref.unknown", "add the variant to the flag", "flag %q has no variant %q", p.Flag.Key, v)
		}
	}
	if f.Default != p.Flag.Stable {
		return refusal("flag.stable", "set change.flag.stable to what the flag serves today", "flag %q serves %q, the spec says stable is %q", p.Flag.Key, f.Default, p.Flag.Stable)
	}
	return nil
}

func (e *Engine) newRun(p *plan.Plan, s rollout.State) *run {
	r := &run{
		plan: p, state: s, seen: map[string]int64{}, unwind: map[string]fleet.Proof{}, boots: map[string]*boots{},
		intake: judge.NewIntake(settle(p)), judge: judge.New(p.Judge, p.Metrics),
	}
	r.remember()
	return r
}

func settle(p *plan.Plan) time.Duration {
	d := 3 * time.Second
	for _, m := range p.Metrics {
		d = max(d, time.Duration(m.SettleMs)*time.Millisecond)
	}
	return d
}

// Command is a person's act on a rollout: promote, pause, resume, rollback, cancel or undo.
type Command struct {
	Rollout string
	Kind    rollout.Kind
	Full    bool
	Actor   string
	Reason  string
}

func (c Command) apply(e *Engine, o *Output) error {
	r, err := e.run(c.Rollout)
	if err != nil {
		return err
	}
	switch c.Kind {
	case rollout.Promote, rollout.PauseIt, rollout.Resume, rollout.Rollback, rollout.Cancel, rollout.Undo:
	default:
		return refusal("command.unknown", "use promote, pause, resume, rollback, cancel or undo", "%q is no command", c.Kind)
	}
	if env := e.envs[r.plan.Environment]; env != nil && c.Kind != rollout.Rollback {
		if err := env.held(); err != nil {
			return err
		}
	}
	return e.feed(o, r, rollout.Event{Kind: c.Kind, Actor: c.Actor, Reason: c.Reason, Full: c.Full})
}

// Denied puts a refused act into the log.
type Denied struct {
	Rollout, Action, Actor, Reason string
}

func (d Denied) apply(e *Engine, o *Output) error {
	rec := audit.Record{Kind: "denied", Actor: d.Actor, Reason: d.Reason}
	if r, ok := e.runs[d.Rollout]; ok {
		rec.Rollout, rec.Env = d.Rollout, r.plan.Environment
	}
	e.record(o, rec, map[string]string{"action": d.Action, "subject": d.Rollout}, nil)
	return nil
}

// Note puts a fact of administration into the log: a token made or revoked. It holds no secret.
type Note struct {
	Kind, Env, Actor string
	Facts            map[string]string
}

func (n Note) apply(e *Engine, o *Output) error {
	e.record(o, audit.Record{Kind: n.Kind, Env: n.Env, Actor: n.Actor}, n.Facts, nil)
	return nil
}

// Revoked comes back from control after a revoke is durable and the grant path shows the floor: its time is the horizon's
// start. It is an event of its own because the `now` of the decision is too early (contract 2).
type Revoked struct {
	Rollout string
	Seen    []Seen
}

func (v Revoked) apply(e *Engine, o *Output) error {
	r, err := e.run(v.Rollout)
	if err != nil {
		return err
	}
	env, err := e.env(r.plan.Environment)
	if err != nil {
		return err
	}
	env.note(v.Seen)
	floor := env.rev.Floors[r.plan.Name]
	if err := e.feed(o, r, rollout.Event{Kind: rollout.Revoked, Actor: "engine", Revision: floor}); err != nil {
		return err
	}
	return e.barriers(o, r)
}

// feed applies one rollout event, its record and its effects, until nothing follows.
func (e *Engine) feed(o *Output, r *run, ev rollout.Event) error {
	ev.At = e.now
	before := r.state
	next, fx, err := rollout.Step(r.plan, before, ev)
	if err != nil {
		return err
	}
	m := e.mark(o, r)
	if next == before && len(fx) == 0 {
		return nil
	}
	r.state = next
	quiet := ev.Kind == rollout.Judged && next.Phase == before.Phase && next.Sub == before.Sub && next.Stage == before.Stage && next.Pause == before.Pause
	if !quiet {
		e.record(o, audit.Record{Kind: "rollout." + string(ev.Kind), Env: next.Env, Rollout: next.Name, Actor: ev.Actor, Reason: ev.Reason, Rev: ev.Revision}, trim(ev), next)
	}
	for _, f := range fx {
		if err := e.do(o, r, f); err != nil {
			m.undo(e, o, r)
			return err
		}
	}
	if !quiet && !mutant.Is(mutant.NoCheckpoint) {
		e.checkpoint(o, r)
	}
	return nil
}

// mark is where an event began, so that one whose effects cannot be done leaves nothing half-written.
type mark struct {
	out    Output
	seq    uint64
	state  rollout.State
	before revision.Objects
	env    revision.Env
}

func (e *Engine) mark(o *Output, r *run) mark {
	m := mark{out: *o, seq: e.seq, state: r.state, before: r.before}
	if env, ok := e.envs[r.plan.Environment]; ok {
		m.env = env.rev
	}
	return m
}

// undo goes back to the mark. The slices of the output only grew since, so their old headers are what they were.
func (m mark) undo(e *Engine, o *Output, r *run) {
	*o, e.seq, r.state, r.before = m.out, m.seq, m.state, m.before
	if env, ok := e.envs[r.plan.Environment]; ok {
		env.rev = m.env
	}
}

// trim keeps the report out of the stored event but for what decided.
func trim(ev rollout.Event) rollout.Event {
	if ev.Report != nil {
		r := *ev.Report
		r.Verdicts = nil
		ev.Report = &r
	}
	return ev
}

// do carries out an effect that is part of the same transaction, or leaves it to control.
func (e *Engine) do(o *Output, r *run, f rollout.Effect) error {
	env, err := e.env(r.plan.Environment)
	if err != nil {
		return err
	}
	switch f.Kind {
	case rollout.DoOpen:
		return e.open(o, env, r)
	case rollout.DoArm:
		return e.arm(o, env, r)
	case rollout.DoCommit:
		return e.commit(o, env, r)
	case rollout.DoRevoke:
		return e.revoke(o, env, r)
	case rollout.DoUnwind:
		o.Effects = append(o.Effects, Effect{Kind: Broadcast, Env: env.rev.Name, Event: slp.Event{Kind: slp.EventState}})
		return e.barriers(o, r)
	case rollout.DoVerify:
		return e.feed(o, r, rollout.Event{Kind: rollout.Verified, Actor: "engine", Digest: env.rev.Scopes[r.plan.Name].Full})
	case rollout.DoRestore:
		return e.close(o, env, r, false)
	case rollout.DoUndo:
		return e.undo(o, env, r)
	case rollout.DoFinish:
		if err := e.close(o, env, r, true); err != nil {
			return err
		}
		return e.feed(o, r, rollout.Event{Kind: rollout.Closed, Actor: "engine", Digest: env.rev.Scopes[revision.Base].Full, Revision: env.rev.Number})
	}
	return errors.New("unknown effect " + string(f.Kind))
}

// open moves the flag, its exceptions and the bundle's pins into a scope of the rollout's own. Its digest after that is
// digestBefore.
func (e *Engine) open(o *Output, env *environment, r *run) error {
	base, scope, err := split(env.rev.Scopes[revision.Base].Objects, r.plan)
	if err != nil {
		return err
	}
	err = e.publish(o, env, revision.Change{Put: map[string]revision.ScopeContent{
		revision.Base: {Objects: base},
		r.plan.Name:   {Objects: scope, Leased: true, TTL: r.plan.Rollback.LeaseTTL},
	}}, slp.EventCommit)
	if err != nil {
		return err
	}
	r.before = scope
	for _, m := range env.fleet.Members {
		if m.Bye.IsZero() {
			r.intake.Expect(m.Boot, m.Instance, e.now.Unix())
		}
	}
	e.notePast(env, r)
	return e.feed(o, r, rollout.Event{Kind: rollout.Open, Actor: "engine", Revision: env.rev.Number, Digest: env.rev.Scopes[r.plan.Name].Full})
}

// arm asks every member to load the stage's content in shadow.
func (e *Engine) arm(o *Output, env *environment, r *run) error {
	p, err := e.prepare(env, r)
	if err != nil {
		return err
	}
	o.Effects = append(o.Effects, Effect{Kind: Broadcast, Env: env.rev.Name, Event: slp.Event{Kind: slp.EventPrepare, Prepare: p}})
	return nil
}

func (e *Engine) prepare(env *environment, r *run) (*slp.Prepare, error) {
	objs, err := stageContent(r.before, r.plan, r.state.Stage)
	if err != nil {
		return nil, err
	}
	serving, _, err := objs.Digests()
	if err != nil {
		return nil, err
	}
	return &slp.Prepare{Scope: r.plan.Name, Digest: serving, Objects: objs}, nil
}

func (e *Engine) commit(o *Output, env *environment, r *run) error {
	objs, err := stageContent(r.before, r.plan, r.state.Stage)
	if err != nil {
		return err
	}
	err = e.publish(o, env, revision.Change{Put: map[string]revision.ScopeContent{
		r.plan.Name: {Objects: objs, Leased: true, TTL: r.plan.Rollback.LeaseTTL},
	}}, slp.EventCommit)
	if err != nil {
		return err
	}
	r.intake.Head(env.rev.Number, e.now.Unix())
	stage := r.plan.Stages[r.state.Stage]
	r.note(judge.Event{Enter: &judge.Entered{Stage: r.state.Stage, Exposure: uint32(stage.Served()), Cohort: stage.Cohort}})
	return e.feed(o, r, rollout.Event{Kind: rollout.Committed, Actor: "engine", Revision: env.rev.Number})
}

// revoke publishes the scope exactly as it was before the start, under a new number that is also its floor.
func (e *Engine) revoke(o *Output, env *environment, r *run) error {
	o.Stop = append(o.Stop, ScopeRef{Env: env.rev.Name, Scope: r.plan.Name})
	change := revision.Change{
		Put:   map[string]revision.ScopeContent{r.plan.Name: {Objects: r.before, Leased: true, TTL: r.plan.Rollback.LeaseTTL}},
		Floor: []string{r.plan.Name},
	}
	if mutant.Is(mutant.RestoreAll) {
		change.Put[revision.Overlay] = revision.ScopeContent{}
	}
	if mutant.Is(mutant.RestoreOther) {
		change.Put[r.plan.Name] = revision.ScopeContent{Objects: env.rev.Scopes[r.plan.Name].Objects, Leased: true, TTL: r.plan.Rollback.LeaseTTL}
	}
	err := e.publish(o, env, change, slp.EventRevoke)
	if err != nil {
		return err
	}
	r.intake.Head(env.rev.Number, e.now.Unix())
	o.Effects = append(o.Effects, Effect{Kind: Horizon, Env: env.rev.Name, Rollout: r.plan.Name})
	return nil
}

// close merges the scope back into base: as it was, or with the candidate as the flag's default.
func (e *Engine) close(o *Output, env *environment, r *run, finish bool) error {
	merged := r.before
	if finish {
		var err error
		if merged, err = finished(r.before, r.plan); err != nil {
			return err
		}
	}
	base := env.rev.Scopes[revision.Base].Objects.Clone()
	for path, raw := range merged {
		base[path] = raw
	}
	change := revision.Change{
		Put:    map[string]revision.ScopeContent{revision.Base: {Objects: base}},
		Remove: []string{r.plan.Name},
	}
	if finish {
		overlay, err := keepExcluded(env.rev.Scopes[revision.Overlay].Objects, r.plan)
		if err != nil {
			return err
		}
		change.Put[revision.Overlay] = revision.ScopeContent{Objects: overlay}
	}
	return e.publish(o, env, change, slp.EventCommit)
}
