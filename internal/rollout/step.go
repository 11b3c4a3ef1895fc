package rollout

import (
	"fmt"
	"slices"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/mutant"
	"sluice.dev/sluice/internal/plan"
)

// New returns the state of a rollout that has been written but not submitted.
func New(p *plan.Plan, author string, at time.Time) State {
	return State{Name: p.Name, Env: p.Environment, Plan: p.Digest, Author: author, Phase: Draft, Stage: -1, Since: at.UTC()}
}

// Step applies one event. It returns the next state and the effects to carry out once the next state is durable, or a
// *Refusal and the unchanged state. An event that changes nothing (a repeated command, a late answer) is accepted
// silently: the state comes back with the same Version and no effects.
func Step(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	if s.Back() {
		return settle(s, e)(stepBack(p, s, e))
	}
	switch e.Kind {
	case Rollback:
		if mutant.Is(mutant.RollbackPutOff) && s.Sub == Arming {
			return s, nil, nil
		}
		return settle(s, e)(startRollback(s, e))
	case Cancel:
		return settle(s, e)(cancel(s, e))
	}
	switch s.Phase {
	case Draft:
		return settle(s, e)(fromDraft(s, e))
	case Scheduled:
		return settle(s, e)(fromScheduled(s, e))
	case Progressing, Paused:
		return settle(s, e)(stepForward(p, s, e))
	case Promoting:
		return settle(s, e)(fromPromoting(s, e))
	case Completed:
		return settle(s, e)(fromCompleted(s, e))
	}
	return settle(s, e)(ignore(s, e))
}

// settle stamps what every accepted event changes, and turns late engine events into silence.
func settle(before State, e Event) func(State, []Effect, error) (State, []Effect, error) {
	return func(next State, fx []Effect, err error) (State, []Effect, error) {
		if err != nil {
			return before, nil, err
		}
		if next == before && len(fx) == 0 {
			return before, nil, nil
		}
		next.Version = before.Version + 1
		if next.Phase != before.Phase || next.Sub != before.Sub {
			next.Since = e.At.UTC()
		}
		if next.Phase.Terminal() && !before.Phase.Terminal() {
			next.Ended = e.At.UTC()
		}
		return next, fx, nil
	}
}

func refuse(s State, e Event, code, text string, args ...any) error {
	return &Refusal{Code: code, Event: e.Kind, Phase: s.Phase, Text: fmt.Sprintf(text, args...)}
}

// ignore is the answer to an engine event that came too late to matter, and the refusal of a person's.
func ignore(s State, e Event) (State, []Effect, error) {
	switch e.Kind {
	case Submit, Promote, PauseIt, Resume, Rollback, Cancel, Undo:
		if s.Phase.Terminal() {
			return s, nil, refuse(s, e, "phase", "it is over")
		}
		return s, nil, refuse(s, e, "phase", "only %s can follow", expected(s))
	}
	return s, nil, nil
}

func expected(s State) string {
	switch s.Phase {
	case Draft:
		return "submit or cancel"
	case Scheduled:
		return "its opening, or cancel"
	case Paused:
		return "resume, promote or rollback"
	case Progressing:
		return "promote, pause or rollback"
	case Promoting:
		return "its completion"
	}
	return "the proof of its rollback"
}

func fromDraft(s State, e Event) (State, []Effect, error) {
	if e.Kind != Submit {
		return ignore(s, e)
	}
	// Lint ran before the submit; this version asks for no proofs and no approvals, so Validated, Proving and
	// AwaitingApproval are passed in one step.
	s.Phase = Scheduled
	return s, []Effect{{Kind: DoOpen}}, nil
}

func fromScheduled(s State, e Event) (State, []Effect, error) {
	if e.Kind != Open {
		return ignore(s, e)
	}
	s.Phase, s.Sub, s.Stage = Progressing, Arming, 0
	s.DigestBefore, s.Started = e.Digest, e.At.UTC()
	return s, []Effect{{Kind: DoArm, Stage: 0}}, nil
}

func cancel(s State, e Event) (State, []Effect, error) {
	switch {
	case s.Phase.Terminal():
		return s, nil, nil
	case s.Exposed():
		return startRollback(s, e)
	}
	opened := s.DigestBefore != ""
	s.Phase, s.Sub, s.Pause = Cancelled, "", ""
	if opened {
		return s, []Effect{{Kind: DoRestore}}, nil
	}
	return s, nil, nil
}

// stepForward handles Progressing and Paused; time spent Paused is no bake time, but guardrails act in it.
func stepForward(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	switch e.Kind {
	case Armed:
		if s.Phase != Progressing || s.Sub != Arming {
			return s, nil, nil
		}
		s.Sub, s.Armed = Exposing, e.Digest
		return s, []Effect{{Kind: DoCommit, Stage: s.Stage}}, nil
	case Refused:
		if s.Phase != Progressing || s.Sub != Arming {
			return s, nil, nil
		}
		s.Phase, s.Pause = Paused, PauseRefused
		s.Cause = &Cause{Trigger: "refused", Sentence: fmt.Sprintf("%s cannot load stage %q: %s.", e.Member, p.Stages[s.Stage].Name, e.Code)}
		return s, nil, nil
	case Committed:
		return commit(p, s, e)
	case Activated:
		if s.Phase == Progressing && s.Sub == Exposing && s.Armed == "" {
			s.Sub = Baking
		}
		return s, nil, nil
	case Judged:
		return judged(p, s, e)
	case PauseIt:
		return pause(s, e)
	case Resume:
		return resume(p, s, e)
	case Promote:
		return promote(p, s, e)
	}
	return ignore(s, e)
}

func commit(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	// Also in a pause that came between the decision and the commit: what is published is exposed, whatever was asked since.
	if s.Sub != Exposing || s.Armed == "" || e.Revision <= s.Revision {
		return s, nil, nil
	}
	s.Revision, s.Exposure = e.Revision, p.Stages[s.Stage].Served()
	s.StageSince, s.Baked = e.At.UTC(), 0
	s.Result, s.Powered, s.Clean, s.Armed = "", false, false, ""
	return s, nil, nil
}

// judged is where evidence moves the rollout: back, to a pause, or on.
func judged(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	if !s.Judged() || e.Report == nil {
		return s, nil, nil
	}
	s.Result, s.Powered, s.Clean = e.Report.Result, e.Report.Powered, e.Report.Clean
	inForce := s.Sub == Baking || s.Sub == Deciding // while a stage is prepared, evidence is still of the one before
	if inForce && e.Report.Result == judge.Pass && e.Report.Powered {
		s.PowerIn = p.Stages[s.Stage].Cohort
	}
	switch action(p, e.Report) {
	case judge.ActRollback:
		e.Reason = trigger(e.Report)
		return startRollback(s, e)
	case judge.ActPause:
		if s.Phase == Progressing {
			s.Phase, s.Pause, s.Cause = Paused, pauseOf(e.Report), causeOf(e)
		}
		return s, nil, nil
	}
	if s.Phase != Progressing || (s.Sub != Baking && s.Sub != Deciding) {
		return s, nil, nil
	}
	s.Baked += e.Observed
	if s.Baked < p.Stages[s.Stage].Bake {
		return s, nil, nil
	}
	return decide(p, s, e)
}

// decide runs when the bake is over: pass goes on, inconclusive waits for a person, anything else keeps looking.
func decide(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	if passed(p, s) {
		return advance(p, s, s.Stage+1)
	}
	if s.Sub == Baking {
		s.Sub = Deciding
		return s, nil, nil
	}
	if s.Baked >= p.Stages[s.Stage].Bake+patience {
		s.Phase, s.Pause = Paused, PauseInconclusive
		s.Cause = &Cause{Trigger: "inconclusive", Sentence: fmt.Sprintf(
			"Stage %q baked %s without enough evidence to pass; a person decides.", p.Stages[s.Stage].Name, s.Baked)}
	}
	return s, nil, nil
}

// Triggers of a rollback, as spec.rollback.on names them.
const (
	onGuardrail = "guardrail:rollback"
	onLost      = "component-lost"
)

func trigger(r *judge.Report) string {
	if r.Decider != nil && r.Decider.Rule == judge.RuleLost {
		return onLost
	}
	return onGuardrail
}

// action is what the report asks for; a rollback whose trigger the plan does not name waits for a person instead.
func action(p *plan.Plan, r *judge.Report) judge.Action {
	if r.Action == judge.ActRollback && !slices.Contains(p.Rollback.On, trigger(r)) {
		return judge.ActPause
	}
	return r.Action
}

// passed: a stage that exposes nobody compares nothing, and its bake counts only seconds that had data. Below PowerFrom
// harm is capped by exposure, so the absence of a breach is enough; from there on, and to complete, it takes power. Power
// counts over the whole rollout of a cohort: once reached it stays. Without data, or with a provider that errs, nothing passes.
func passed(p *plan.Plan, s State) bool {
	stage := p.Stages[s.Stage]
	if stage.Exposure == 0 {
		return true
	}
	below := float64(stage.Exposure)/float64(flag.Full) < p.Judge.PowerFrom && s.Stage < len(p.Stages)-1
	enough := below || s.PowerIn == stage.Cohort || s.Result == judge.Pass && s.Powered
	return enough && (s.Result == judge.Pass || s.Result == judge.Inconclusive && s.Clean)
}

// patience is how much observed time beyond the bake a stage waits for its verdict before it asks a person. It is
// observed time, not wall time, so that replaying the stored evidence decides the same.
const patience = 30 * time.Second

func advance(p *plan.Plan, s State, to int) (State, []Effect, error) {
	s.Pause, s.Cause = "", nil
	if to >= len(p.Stages) {
		s.Phase, s.Sub = Promoting, ""
		return s, []Effect{{Kind: DoFinish}}, nil
	}
	s.Phase, s.Sub, s.Stage = Progressing, Arming, to
	s.Baked, s.Result, s.Powered, s.Clean = 0, "", false, false
	return s, []Effect{{Kind: DoArm, Stage: to}}, nil
}

func pause(s State, e Event) (State, []Effect, error) {
	if s.Phase == Paused {
		return s, nil, nil
	}
	s.Phase, s.Pause = Paused, PauseOperator
	s.Cause = &Cause{Trigger: "operator", Sentence: asked(e)}
	return s, nil, nil
}

// resume continues where the pause began. Bake time is kept; a breach needs a reason, because it overrides a guardrail. A
// stage that waited for its verdict in vain waits as long again.
func resume(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	if s.Phase != Paused {
		return s, nil, nil
	}
	if s.Pause == PauseBreach && e.Reason == "" {
		return s, nil, refuse(s, e, "reason.required", "a guardrail is breached; say with --reason why it may go on")
	}
	refused := s.Pause == PauseRefused
	if s.Pause == PauseInconclusive {
		s.Baked = min(s.Baked, p.Stages[s.Stage].Bake)
	}
	s.Phase, s.Pause, s.Cause = Progressing, "", nil
	if refused || s.Sub == Arming {
		s.Sub = Arming
		return s, []Effect{{Kind: DoArm, Stage: s.Stage}}, nil
	}
	if s.Sub == Exposing && s.Armed != "" {
		return s, []Effect{{Kind: DoCommit, Stage: s.Stage}}, nil
	}
	return s, nil, nil
}

// promote ends the current stage early by a person's decision, which needs a reason; it never skips a failing guardrail.
func promote(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	switch {
	case s.Sub == Arming || s.Sub == Exposing:
		return s, nil, refuse(s, e, "phase", "stage %q is not in force yet", p.Stages[s.Stage].Name)
	case s.Pause == PauseBreach || s.Result == judge.Fail:
		return s, nil, refuse(s, e, "breach", "a guardrail is breached; roll back, or resume with a reason first")
	case s.Pause == PauseInconclusive && p.OnUnclear == "hold":
		return s, nil, refuse(s, e, "inconclusive.hold", "the plan holds an inconclusive stage; resume to collect more evidence, or roll back")
	case e.Reason == "":
		return s, nil, refuse(s, e, "reason.required", "promoting without a pass needs --reason")
	}
	to := s.Stage + 1
	if e.Full && to < len(p.Stages) {
		to = len(p.Stages) - 1
	}
	return advance(p, s, to)
}

func fromPromoting(s State, e Event) (State, []Effect, error) {
	if e.Kind != Closed {
		return ignore(s, e)
	}
	s.Phase, s.Exposure = Completed, 0
	s.DigestAfter = e.Digest
	return s, nil, nil
}

func pauseOf(r *judge.Report) Pause {
	if r.Decider != nil {
		switch r.Decider.Result {
		case judge.NoData:
			return PauseNoData
		case judge.Error:
			return PauseProviderError
		}
		if r.Decider.Rule == judge.RuleLost {
			return PauseComponentLost
		}
	}
	return PauseBreach
}

func causeOf(e Event) *Cause {
	c := &Cause{Trigger: e.Reason, Sentence: orNone(e.Reason)}
	if e.Report != nil && e.Report.Decider != nil {
		v := *e.Report.Decider
		c.Verdict, c.Sentence = &v, judge.Sentence(v)
		for i := range e.Report.Verdicts {
			if o := e.Report.Verdicts[i]; o.Guardrail == v.Guardrail && o.Value == "" && v.Value != "" {
				c.Overall = &o
			}
		}
		if c.Trigger == "" {
			c.Trigger = "guardrail:" + string(v.Action)
		}
	}
	return c
}

// asked is the cause of what a person did, to be read after "Paused:" and "Rolled back:" alike.
func asked(e Event) string { return fmt.Sprintf("%s asked for it: %s.", e.Actor, orNone(e.Reason)) }

func orNone(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	return reason
}
