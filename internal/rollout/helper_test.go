package rollout

import (
	"fmt"
	"strings"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testPlan has a stage of each kind: shadow, below PowerFrom, above it, and full with a holdback.
func testPlan() *plan.Plan {
	return &plan.Plan{
		Name: "spend7d-v15", Environment: "production", Digest: "sha256:plan",
		Flag:    plan.FlagChange{Key: "spend7d", Stable: "v14", Candidate: "v15"},
		Cohorts: []plan.Cohort{{Name: "general"}},
		Judge:   judge.Config{Rollout: "spend7d-v15", PowerFrom: 0.25},
		Stages: []plan.Stage{
			{Name: "shadow", Mode: "shadow", Cohort: "general", Exposure: 0, Bake: 5 * time.Second},
			{Name: "canary", Cohort: "general", Exposure: 5_000, Bake: 10 * time.Second},
			{Name: "half", Cohort: "general", Exposure: 50_000, Bake: 20 * time.Second},
			{Name: "full", Cohort: "general", Exposure: flag.Full, Holdback: 1_000, Bake: 20 * time.Second},
		},
		Rollback: plan.Rollback{On: []string{"guardrail:rollback", "component-lost", "operator"}, LeaseTTL: 10 * time.Second, CompleteWithin: 15 * time.Second, UnwindWithin: 10 * time.Minute},
	}
}

// verdict is a report with one deciding lane where action is set.
func verdict(result judge.Result, clean bool, action judge.Action) *judge.Report {
	r := &judge.Report{Result: result, Clean: clean, Action: action, Powered: result == judge.Pass}
	if action != "" {
		r.Decider = &judge.Verdict{
			Lane: judge.Lane{Guardrail: "errors", Dim: "total"}, Result: result, Rule: "threshold 3 of 3 looks", Action: action,
			Baseline: 0.01, Exposed: 0.2, Effect: 0.19, Limit: 0.05, Scale: "absolute", NBaseline: 900, NExposed: 100, Detail: "fewer than 20 observations",
		}
	}
	return r
}

// line prints where a state stands and what it asks for, as scenario files and the document show it.
func line(p *plan.Plan, s State, fx []Effect) string {
	var b strings.Builder
	b.WriteString(string(s.Phase))
	if s.Sub != "" {
		b.WriteString("/" + string(s.Sub))
	}
	if s.Pause != "" {
		b.WriteString(" (" + string(s.Pause) + ")")
	}
	if s.Stage >= 0 {
		fmt.Fprintf(&b, " stage=%s", p.Stages[s.Stage].Name)
	}
	fmt.Fprintf(&b, " exposed=%g%% rev=%d", float64(s.Exposure)/1000, s.Revision)
	if s.Floor != 0 {
		fmt.Fprintf(&b, " floor=%d", s.Floor)
	}
	if s.Baked != 0 {
		fmt.Fprintf(&b, " baked=%s", s.Baked)
	}
	for _, f := range fx {
		b.WriteString(" " + effect(p, f))
	}
	return b.String()
}

func effect(p *plan.Plan, f Effect) string {
	if f.Kind == DoArm || f.Kind == DoCommit {
		return fmt.Sprintf("%s(%s)", f.Kind, p.Stages[f.Stage].Name)
	}
	return string(f.Kind) + "()"
}

func flagExposure(n int) flag.Exposure { return flag.Exposure(n) }
