// Package engine is the whole controller loop as a pure machine: one inbox event and the time go in; records to make
// durable, effects to carry out afterwards and the next moment to look come out. Package control drives it with real
// time, a store and goroutines; package sim drives it under virtual time. Both run this code.
//
// Everything an effect depends on is in the Output that carries it, and control appends before it acts. When an append
// does not succeed the engine must be thrown away and recovered from the store: it is ahead of what is durable.
package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/mutant"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// Engine is the controller's whole state. One goroutine owns it.
type Engine struct {
	version string // of the code that decides; stands in every record
	epoch   uint64
	seq     uint64    // of the last record
	now     time.Time // latest time seen; time never runs backwards here
	envs    map[string]*environment
	runs    map[string]*run
}

type environment struct {
	rev   revision.Env
	fleet *fleet.Fleet

	lost        *Lost               // a member has proven that this server forgot something; nil otherwise
	quarantined map[string]Unproven // instances that claim so without proof
	expiry      deadline            // of exceptions
}

// run is one rollout in the engine.
type run struct {
	plan    *plan.Plan
	state   rollout.State
	before  revision.Objects // content of the scope before the start
	intake  *judge.Intake
	judge   *judge.State
	report  judge.Report
	proof   *fleet.Proof // exposure off
	unwind  map[string]fleet.Proof
	undoing *fleet.Proof      // who has acknowledged the undo
	kept    []evidence.Second // judged seconds, at most KeptSeconds: what an alarm is computed again from
	events  []judge.Event     // reached the judge since the last second
	late    []judge.LateCount // what the judge was last told of
	boots   map[string]*boots // component -> what its instances did since the last second
	seen    map[string]int64  // arm -> last second with an observation
	second  int64             // last second judged
	marked  time.Time         // last checkpoint
}

// New returns an engine without environments, for a leadership of the epoch that begins at now.
func New(version string, epoch uint64, now time.Time) *Engine {
	return &Engine{version: version, epoch: epoch, now: now.UTC(), envs: map[string]*environment{}, runs: map[string]*run{}}
}

// Output is what one Step asks for.
type Output struct {
	Stop        []ScopeRef // scopes whose grants stop BEFORE the batch is appended (contract 2)
	Records     []audit.Record
	Revisions   []revision.Env
	Artifacts   []Artifact
	Evidence    []Evidence
	Checkpoints []Checkpoint
	Members     []MemberChange
	Effects     []Effect // carried out in order once the batch is durable
	Wake        time.Time
	Err         error // the event was refused; Records may still hold the refusal
}

// Empty reports whether there is nothing to make durable.
func (o *Output) Empty() bool {
	return len(o.Records) == 0 && len(o.Revisions) == 0 && len(o.Artifacts) == 0 && len(o.Evidence) == 0 &&
		len(o.Checkpoints) == 0 && len(o.Members) == 0
}

// ScopeRef names a scope of an environment.
type ScopeRef struct{ Env, Scope string }

// Artifact is immutable content under its digest.
type Artifact struct {
	Digest, Kind string
	Body         []byte
}

// Evidence is one closed second to be stored, with what reached the judge between it and the second before: together they
// are enough to judge it again.
type Evidence struct {
	Rollout string `json:"-"`
	evidence.Second
	Events []judge.Event `json:"events,omitempty"`
}

// Checkpoint is the state from which judging of a rollout can go on after the evidence of Second.
type Checkpoint struct {
	Rollout string
	Second  int64
	Body    []byte
}

// MemberChange is a boot that joined or is forgotten.
type MemberChange struct {
	Env    string
	Member *fleet.Member
	Gone   bool
}

// EffectKind names what control does after the append.
type EffectKind string

// Effects.
const (
	Broadcast EffectKind = "broadcast" // tell the environment's members: Event
	Horizon   EffectKind = "horizon"   // publish the view, read the clock, send Revoked back
	Reelect   EffectKind = "reelect"   // take leadership again until the epoch is above Epoch
)

// Effect is one thing to do.
type Effect struct {
	Kind    EffectKind
	Env     string
	Rollout string
	Epoch   uint64 // reelect
	Event   slp.Event
	Cause   *revision.Env // broadcast: the revision before, so that a delta can be made
}

// Sentinel errors of refused events.
var (
	ErrUnknownEnv     = errors.New("no such environment")
	ErrUnknownRollout = errors.New("no such rollout")
)

// Refusal is a refused event with a stable code.
type Refusal struct {
	Code string
	Text string
	Fix  string
}

func (r *Refusal) Error() string { return r.Text }

func refusal(code, fix, text string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(text, args...), Fix: fix}
}

// Step applies one event at the time now. Time never runs backwards: an earlier now counts as the latest one seen.
func (e *Engine) Step(now time.Time, ev Event) Output {
	if now = now.UTC(); now.After(e.now) {
		e.missed(e.now, now)
		e.now = now
	}
	var o Output
	o.Err = ev.apply(e, &o)
	o.Wake = e.wake()
	return o
}

// away is how long no step may happen before the controller counts as having been away: half of the shortest lease. It is given
// several steps a second.
const away = time.Second

// missed keeps the controller's own absence, a process that was stopped or a disk that hung, from being taken for the
// members': time in which nobody listened is no silence, and its seconds are a gap in the evidence.
func (e *Engine) missed(from, to time.Time) {
	if to.Sub(from) <= away || mutant.Is(mutant.AwayIsSilence) {
		return
	}
	for _, env := range e.envs {
		for _, m := range env.fleet.Members {
			if !m.Renewed.IsZero() {
				m.Renewed = m.Renewed.Add(to.Sub(from))
			}
		}
	}
	for _, r := range e.runs {
		if r.state.Revision != 0 && !r.state.Phase.Terminal() {
			r.intake.Gap(from.Unix(), to.Unix())
		}
	}
}

// Event is one message to the engine's inbox.
type Event interface {
	apply(e *Engine, o *Output) error
}

func (e *Engine) env(name string) (*environment, error) {
	env, ok := e.envs[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownEnv, name)
	}
	return env, nil
}

func (e *Engine) run(name string) (*run, error) {
	r, ok := e.runs[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownRollout, name)
	}
	return r, nil
}

// record appends a record to the output. event and state are stored as canonical-enough JSON: encoding/json of structs.
func (e *Engine) record(o *Output, r audit.Record, event, state any) {
	e.seq++
	r.Seq, r.At, r.Engine, r.Epoch = e.seq, e.now, e.version, e.epoch
	r.Event, r.State = mustJSON(event), mustJSON(state)
	o.Records = append(o.Records, r)
}

func mustJSON(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("engine: %T has no JSON: %v", v, err)) // our own types only
	}
	return b
}

// publish makes the next revision of an environment and hands out what must be stored and told.
func (e *Engine) publish(o *Output, env *environment, c revision.Change, kind string) error {
	next, err := env.rev.With(c, e.now)
	if err != nil {
		return err
	}
	if _, err := next.Compile(); err != nil {
		return refusal("config.invalid", "mend the object named", "revision %d of %s does not compile: %v", next.Number, next.Name, err)
	}
	for name := range c.Put {
		digest, body, err := next.Scopes[name].Blob()
		if err != nil {
			return err
		}
		o.Artifacts = append(o.Artifacts, Artifact{Digest: digest, Kind: "scope", Body: body})
	}
	prev := env.rev
	env.rev = next
	o.Revisions = append(o.Revisions, next)
	o.Effects = append(o.Effects, Effect{Kind: Broadcast, Env: next.Name, Event: slp.Event{Kind: kind}, Cause: &prev})
	return nil
}

// names returns the rollouts in a fixed order, so that two engines given the same events do the same.
func (e *Engine) names() []string { return slices.Sorted(maps.Keys(e.runs)) }

// wake is the next moment at which time alone changes something; ticks of evidence come from control.
func (e *Engine) wake() time.Time {
	var w time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (w.IsZero() || t.Before(w)) {
			w = t
		}
	}
	for _, r := range e.runs {
		s := r.state
		switch {
		case s.Phase == rollout.RollingBack && s.Sub == rollout.Revoking:
			sooner(s.Decided.Add(r.plan.Rollback.CompleteWithin))
			if r.proof != nil {
				sooner(r.proof.Next)
			}
		case s.Phase == rollout.RollingBack:
			sooner(s.Decided.Add(r.plan.Rollback.UnwindWithin))
		case s.Phase == rollout.RollbackIncomplete && r.proof != nil:
			sooner(r.proof.Next)
		}
	}
	return w
}
