package judge

import (
	"testing"

	"sluice.dev/sdk/evidence"
)

// assigned is a second in which bad of n exposed requests come from units whose hash gives the baseline.
func assigned(at int64, n, bad uint64) evidence.Second {
	block := func(metric, arm string, n, bad uint64) evidence.Block {
		return evidence.Block{
			Second: at, Rollout: "r", Cohort: "general", Revision: 5, Exposure: 10_000, Lease: evidence.LeaseHeld, Assigned: arm, Served: arm,
			Metric: metric, N: n, Bad: bad, Cells: []evidence.Cell{{Dim: evidence.DimTotal, N: n, Bad: bad}},
		}
	}
	s := evidence.Second{At: at, Through: 1, Members: 1, Blocks: []evidence.Block{
		block(evidence.MetricError, evidence.ArmBaseline, 9*n, 0), block(evidence.MetricError, evidence.ArmExposed, n, 0),
	}}
	if bad > 0 {
		s.Blocks = append(s.Blocks, block(evidence.MetricAssignment, evidence.ArmExposed, bad, bad))
	}
	evidence.SortBlocks(s.Blocks)
	return s
}

func TestUnitsOnTheWrongArm(t *testing.T) {
	for _, tt := range []struct {
		name    string
		on      Action
		seconds int64
		bad     uint64
		want    Action
	}{
		{"none", ActRollback, 60, 0, ""},
		{"nine are chance", "", 9, 1, ""},
		{"ten of a thousand pause", "", 10, 1, ActPause},
		{"what the plan asks for", ActRollback, 10, 1, ActRollback},
		{"hold", ActHold, 10, 5, ActHold},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Rollout: "r", Alpha: 0.01, OnSRM: tt.on}
			s := New(cfg, map[string]evidence.Metric{evidence.MetricError: {Kind: evidence.KindProportion}, evidence.MetricAssignment: {Kind: evidence.KindProportion}})
			Enter(s, 1, 10_000, "general")
			var r Report
			for at := int64(100); at < 100+tt.seconds; at++ {
				r = Step(cfg, s, assigned(at, 100, tt.bad))
			}
			if r.Action != tt.want {
				t.Errorf("got %q, want %q: %+v", r.Action, tt.want, r.Decider)
			}
			if tt.want != "" && (r.Decider == nil || r.Decider.Rule != RuleSRM || r.Result != Fail) {
				t.Errorf("decider %+v, result %s", r.Decider, r.Result)
			}
		})
	}
}

// TestRareMismatchesDoNotPause: a switch between stages may leave a few.
func TestRareMismatchesDoNotPause(t *testing.T) {
	cfg := Config{Rollout: "r", Alpha: 0.01}
	s := New(cfg, map[string]evidence.Metric{evidence.MetricError: {Kind: evidence.KindProportion}})
	Enter(s, 1, 10_000, "general")
	for at := int64(100); at < 130; at++ {
		if r := Step(cfg, s, assigned(at, 10_000, 1)); r.Action != "" {
			t.Fatalf("second %d: %+v", at, r.Decider)
		}
	}
}
