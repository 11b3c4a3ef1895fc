package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// Stored is everything a new leadership starts from.
type Stored struct {
	Seq     uint64 // of the last record
	At      time.Time
	Envs    []revision.Env
	Members map[string][]*fleet.Member // environment -> boots
	Runs    []StoredRun
}

// StoredRun is one rollout as it was stored.
type StoredRun struct {
	Plan       *plan.Plan
	Before     revision.Objects // content under State.DigestBefore; nil before it opened
	Checkpoint []byte
	Barrier    []byte     // content under State.Proof; nil before exposure was proven off
	Evidence   []Evidence // of the rollout, ascending: the newest KeptSeconds, and all after the checkpoint
}

// Recover builds the engine of a new leadership. It steps the stored seconds after each checkpoint again, which can
// decide nothing new: a decision is stored together with the checkpoint after it. The Output re-arms what was under way:
// preparing, the horizon of a revoke. Time that passed without a leader is a gap: no verdict comes from it.
func Recover(version string, epoch uint64, now time.Time, st Stored) (*Engine, Output, error) {
	e := New(version, epoch, now)
	e.seq = st.Seq
	if st.At.After(e.now) {
		e.now = st.At
	}
	for _, env := range st.Envs {
		f := fleet.New(e.now)
		for _, m := range st.Members[env.Name] {
			f.Add(m)
		}
		e.envs[env.Name] = &environment{rev: env, fleet: f}
	}
	var o Output
	for _, sr := range st.Runs {
		if err := e.restore(&o, sr); err != nil {
			return nil, Output{}, fmt.Errorf("recover rollout %s: %w", sr.Plan.Name, err)
		}
	}
	o.Wake = e.wake()
	return e, o, nil
}

func (e *Engine) restore(o *Output, sr StoredRun) error {
	s, err := unseal(sr.Checkpoint)
	if err != nil {
		return err
	}
	r := e.newRun(sr.Plan, s.State)
	if err := json.Unmarshal(s.Judge, r.judge); err != nil {
		return fmt.Errorf("checkpoint of the judge: %w", err)
	}
	if err := json.Unmarshal(s.Intake, r.intake); err != nil {
		return fmt.Errorf("checkpoint of the intake: %w", err)
	}
	if sr.Barrier != nil {
		r.proof = &fleet.Proof{}
		if err := json.Unmarshal(sr.Barrier, r.proof); err != nil {
			return fmt.Errorf("proof %s: %w", s.State.Proof, err)
		}
	}
	r.remember()
	r.before, r.second, r.marked, r.events = sr.Before, s.Second, e.now, s.Events
	if s.Seen != nil {
		r.seen = s.Seen
	}
	e.runs[sr.Plan.Name] = r
	var replay Output
	for _, ev := range sr.Evidence {
		if ev.At <= s.Second {
			r.keep(ev.Second)
			continue
		}
		for _, n := range ev.Events[min(len(s.Events), len(ev.Events)):] { // the checkpoint holds the first of them
			n.Apply(r.judge)
		}
		s.Events, r.events = nil, nil
		if err := e.apply(&replay, r, ev.Second); err != nil {
			return err
		}
	}
	if len(replay.Records) != 0 {
		return fmt.Errorf("the stored evidence after second %d decides %q, the log does not: the store is damaged or was written by another version",
			s.Second, replay.Records[0].Kind)
	}
	if s.State.Phase.Terminal() {
		return nil
	}
	r.intake.Resume(r.second)
	if r.second != 0 {
		r.intake.Gap(r.second+1, e.now.Unix())
	}
	return e.resume(o, r)
}

// resume does again what may have been cut off between a commit and its effects; each effect is idempotent.
func (e *Engine) resume(o *Output, r *run) error {
	env, err := e.env(r.plan.Environment)
	if err != nil {
		return err
	}
	for _, m := range env.fleet.Members {
		if m.Bye.IsZero() {
			r.intake.Expect(m.Boot, m.Instance, e.now.Unix())
		}
	}
	switch s := r.state; {
	case s.Phase == rollout.Progressing && s.Sub == rollout.Arming:
		return e.arm(o, env, r)
	case s.Sub == rollout.Revoking && s.Floor == 0:
		o.Stop = append(o.Stop, ScopeRef{Env: env.rev.Name, Scope: r.plan.Name})
		o.Effects = append(o.Effects, Effect{Kind: Horizon, Env: env.rev.Name, Rollout: r.plan.Name})
	}
	return nil
}

// CheckpointState returns the rollout's state in a stored checkpoint.
func CheckpointState(body []byte) (rollout.State, error) {
	s, err := unseal(body)
	return s.State, err
}

// Epoch is the leadership's fencing number.
func (e *Engine) Epoch() uint64 { return e.epoch }

// CheckpointJudge returns the judge's state in a stored checkpoint and the last second it had judged. late is what had
// reached it beside evidence after that second: the state has it, no stored second does yet.
func CheckpointJudge(body []byte) (second int64, state *judge.State, late []judge.Event, err error) {
	s, err := unseal(body)
	if err != nil {
		return 0, nil, nil, err
	}
	state, err = judge.UnmarshalState(s.Judge)
	return s.Second, state, s.Events, err
}
