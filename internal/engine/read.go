package engine

import (
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// Rollout returns the status of one rollout.
func (e *Engine) Rollout(name string) (rollout.Status, error) {
	r, err := e.run(name)
	if err != nil {
		return rollout.Status{}, err
	}
	st := rollout.Status{State: r.state, Plan: r.plan, Report: r.report, Barrier: r.proof, Unwind: maps.Clone(r.unwind), Undoing: r.undoing, Second: r.second}
	if env, err := e.env(r.plan.Environment); err == nil && r.state.Phase == rollout.Progressing && r.state.Sub == rollout.Arming {
		if a, _, err := e.arming(env, r); err == nil {
			st.Arming = &a
		}
	}
	return st, nil
}

// Responses fits each guardrail's effect against the exposures of the rollout's present cohort and forecasts the next stage, over
// the seconds that are kept. An unknown rollout has none. The work is in the function that is returned: it may run while the
// engine goes on, since kept seconds never change.
func (e *Engine) Responses(name string) func() []judge.Response {
	r, ok := e.runs[name]
	if !ok || r.state.Stage < 0 || r.state.Stage >= len(r.plan.Stages) {
		return func() []judge.Response { return []judge.Response{} }
	}
	next := uint32(0)
	cohort := r.plan.Stages[r.state.Stage].Cohort
	if i := r.state.Stage + 1; i < len(r.plan.Stages) && r.plan.Stages[i].Cohort == cohort {
		next = uint32(r.plan.Stages[i].Served())
	}
	p, kept := r.plan, r.kept
	return func() []judge.Response { return judge.Responses(p.Judge, p.Metrics, kept, cohort, next) }
}

// Slices ranks the segment and source values of a rollout by their evidence of harm, strongest first.
func (e *Engine) Slices(name string) ([]judge.Slice, error) {
	r, err := e.run(name)
	if err != nil {
		return nil, err
	}
	return judge.Slices(r.plan.Judge, r.judge), nil
}

// Rollouts returns the states of all rollouts, by name.
func (e *Engine) Rollouts() []rollout.State {
	out := make([]rollout.State, 0, len(e.runs))
	for _, name := range e.names() {
		out = append(out, e.runs[name].state)
	}
	return out
}

// Envs lists the environments, by name.
func (e *Engine) Envs() []string { return slices.Sorted(maps.Keys(e.envs)) }

// Environment returns an environment's configuration.
func (e *Engine) Environment(name string) (revision.Env, error) {
	env, err := e.env(name)
	if err != nil {
		return revision.Env{}, err
	}
	return env.rev, nil
}

// Component is one boot as people see it.
type Component struct {
	Component string            `json:"component"`
	Instance  string            `json:"instance"`
	Boot      string            `json:"boot"`
	Class     string            `json:"class"`
	Status    string            `json:"status"` // live, silent, gone, quarantined
	Impl      string            `json:"impl,omitempty"`
	Joined    time.Time         `json:"joined"`
	Renewed   time.Time         `json:"renewed"`
	Acked     map[string]uint64 `json:"acked,omitempty"`  // scope -> revision acknowledged as activated
	Leases    []string          `json:"leases,omitempty"` // scopes whose lease may still run
	Pins      slp.PinCounts     `json:"pins"`             // pins of requests that it could not hold, since its boot
	Oldest    map[string]uint64 `json:"oldest,omitempty"` // scope -> oldest revision that an open request holds
	Crashes   uint64            `json:"crashes,omitempty"`

	AckedAt map[string]map[string]time.Time `json:"ackedAt,omitempty"` // scope -> stage of the acknowledgement -> when the last one arrived
}

// Components lists the members of an environment.
func (e *Engine) Components(name string) ([]Component, error) {
	env, err := e.env(name)
	if err != nil {
		return nil, err
	}
	out := []Component{}
	for _, m := range env.fleet.Sorted() {
		c := Component{
			Component: m.Component, Instance: m.Instance, Boot: m.Boot, Class: m.Class, Impl: m.Caps.Impl,
			Joined: m.Joined, Renewed: m.Renewed.UTC(), Acked: map[string]uint64{}, Status: "silent",
			Pins: m.Told.Pins, Oldest: m.Told.Oldest, Crashes: m.Told.Crashes,
		}
		for scope, stages := range m.Acked {
			c.Acked[scope] = stages[slp.StageActivated].Rev
			if c.AckedAt == nil {
				c.AckedAt = map[string]map[string]time.Time{}
			}
			c.AckedAt[scope] = map[string]time.Time{}
			for stage, a := range stages {
				c.AckedAt[scope][stage] = a.At.UTC()
			}
		}
		for scope, at := range m.Granted {
			if s, ok := env.rev.Scopes[scope]; ok && e.now.Sub(at) < fleet.Y(s.TTL) {
				c.Leases = append(c.Leases, scope)
			}
		}
		slices.Sort(c.Leases)
		switch {
		case !m.Bye.IsZero():
			c.Status = "gone"
		case m.Live(10*time.Second, e.now):
			c.Status = "live"
		}
		out = append(out, c)
	}
	return append(out, env.keptOut()...), nil
}

// Now is the latest time the engine has seen.
func (e *Engine) Now() time.Time { return e.now }

// Seq is the sequence of the last record.
func (e *Engine) Seq() uint64 { return e.seq }
