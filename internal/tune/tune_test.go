package tune

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
)

// planOf is a plan of one guardrail over the share of errors and one stage that needs power.
func planOf(g judge.Guardrail, bake time.Duration) *plan.Plan {
	g.Name, g.Metric, g.Class, g.Stat, g.Weight, g.Role = "errors", evidence.MetricError, judge.ClassE, "proportion", 1, "guardrail"
	return &plan.Plan{
		Metrics: map[string]evidence.Metric{evidence.MetricError: {Kind: evidence.KindProportion}},
		Stages:  []plan.Stage{{Name: "half", Cohort: "general", Exposure: 50_000, Bake: bake}},
		Judge:   judge.Config{Rollout: "r", Alpha: 0.01, PowerFrom: 0.25, Bakes: 300, Stages: 1, Guardrails: []judge.Guardrail{g}},
	}
}

// record plays so many seconds of 100 requests each, half of them exposed, with the given shares of errors.
func record(p *plan.Plan, name string, seed uint64, seconds int, base, exposed float64, harm bool) Recorded {
	rng := rand.New(rand.NewPCG(seed, 3))
	r := Recorded{Name: name, Plan: p, Harm: harm, Events: []judge.Event{{Enter: &judge.Entered{Exposure: 50_000, Cohort: "general"}}}}
	for i := range int64(seconds) {
		sec := evidence.Second{At: 1000 + i, Members: 1, Through: 1}
		for arm, share := range map[string]float64{evidence.ArmBaseline: base, evidence.ArmExposed: exposed} {
			sec.Blocks = append(sec.Blocks, block(rng, sec.At, arm, share))
		}
		evidence.SortBlocks(sec.Blocks)
		r.Seconds = append(r.Seconds, sec)
	}
	return r
}

func block(rng *rand.Rand, at int64, arm string, share float64) evidence.Block {
	buckets := make([]evidence.UnitBucket, evidence.UnitBuckets)
	b := evidence.Block{Second: at, Rollout: "r", Cohort: "general", Revision: 7, Exposure: 50_000, Lease: evidence.LeaseHeld, Assigned: arm, Served: arm, Metric: evidence.MetricError}
	for range 50 {
		u := &buckets[rng.IntN(len(buckets))]
		u.N++
		b.N++
		if rng.Float64() < share {
			u.Bad++
			b.Bad++
		}
	}
	cell := evidence.Cell{Dim: evidence.DimTotal, N: b.N, Bad: b.Bad}
	for k, u := range buckets {
		if u.N > 0 {
			u.K = uint8(k)
			cell.Buckets = append(cell.Buckets, u)
		}
	}
	b.Cells = []evidence.Cell{cell}
	return b
}

func proposal(t *testing.T, list []Proposal, field string) Proposal {
	t.Helper()
	i := slices.IndexFunc(list, func(p Proposal) bool { return p.Field == field })
	if i < 0 {
		t.Fatalf("no proposal for %s in %+v", field, list)
	}
	return list[i]
}

// TestTooTightALimitIsLoosened: a limit that failed harmless rollouts, and would catch the harmful ones when wider too, is
// widened; every trial says what it would have done.
func TestTooTightALimitIsLoosened(t *testing.T) {
	p := planOf(judge.Guardrail{Test: judge.AlwaysValid, WorseBy: judge.Margin{Absolute: 0.01}, Detect: judge.Margin{Absolute: 0.03}}, time.Minute)
	var recorded []Recorded
	for i := range uint64(3) {
		recorded = append(recorded,
			record(p, fmt.Sprint("ok-", i), i, 300, 0.05, 0.078, false), // 2.8 pp more that nobody minds
			record(p, fmt.Sprint("bad-", i), 10+i, 120, 0.05, 0.30, true))
	}
	got := proposal(t, Propose(p, recorded), FieldWorseBy)
	if got.From != "1pp" || (got.To != "2pp" && got.To != "3pp") || got.After.Misses != 0 || got.After.FalseAlarms >= got.Before.FalseAlarms {
		t.Errorf("%s to %s, %+v to %+v", got.From, got.To, *got.Before, *got.After)
	}
	if len(got.Trials) != len(factors) || got.Before.Harmless != 3 || got.Before.Harmful != 3 {
		t.Errorf("%+v", got)
	}
}

// TestTooWideALimitIsTightened: harm that the present limit lets pass is caught by a tighter one without false alarms.
func TestTooWideALimitIsTightened(t *testing.T) {
	p := planOf(judge.Guardrail{Test: judge.AlwaysValid, WorseBy: judge.Margin{Absolute: 0.1}, Detect: judge.Margin{Absolute: 0.3}}, time.Minute)
	recorded := []Recorded{record(p, "ok", 1, 200, 0.05, 0.05, false), record(p, "bad", 2, 200, 0.05, 0.14, true)}
	got := proposal(t, Propose(p, recorded), FieldWorseBy)
	if got.To != "5pp" && got.To != "7.5pp" || got.Before.Misses != 1 || got.After.Misses != 0 || got.After.FalseAlarms != 0 || got.After.MeanDelay <= 0 {
		t.Errorf("%s to %s, %+v to %+v", got.From, got.To, *got.Before, *got.After)
	}
}

// TestGoodLimitsStay: where nothing tried does better the present value stays, and a bake too short for power is lengthened.
func TestGoodLimitsStay(t *testing.T) {
	p := planOf(judge.Guardrail{Test: judge.Threshold, WorseBy: judge.Margin{Relative: 1}, Window: 5 * time.Second, MinN: 20, Blips: judge.Blips{Allow: 2, Of: 3}}, 5*time.Second)
	recorded := []Recorded{record(p, "ok", 1, 120, 0.1, 0.1, false), record(p, "bad", 2, 60, 0.1, 0.6, true)}
	list := Propose(p, recorded)
	if got := proposal(t, list, FieldWorseBy); got.Changes() || got.From != "100%" || got.Before.Misses+got.Before.FalseAlarms != 0 {
		t.Errorf("%+v", got)
	}
	if got := proposal(t, list, FieldBake); got.Stage != "half" || got.From != "5s" || got.To != "20s" {
		t.Errorf("%+v", got)
	}
}

// TestDetectFollowsTheData: harmless rollouts that could see far less than asked for allow a smaller detect.
func TestDetectFollowsTheData(t *testing.T) {
	p := planOf(judge.Guardrail{Test: judge.AlwaysValid, WorseBy: judge.Margin{Absolute: 0.02}, Detect: judge.Margin{Absolute: 0.5}}, time.Minute)
	got := proposal(t, Propose(p, []Recorded{record(p, "ok", 1, 300, 0.05, 0.05, false)}), FieldDetect)
	if got.From != "50pp" || got.To == got.From || len(got.To) > 5 || got.Why == "" {
		t.Errorf("%+v", got)
	}
}

// TestOtherMetricsSayNothing: rollouts that did not measure a guardrail's metric are no evidence about it.
func TestOtherMetricsSayNothing(t *testing.T) {
	p := planOf(judge.Guardrail{Test: judge.AlwaysValid, WorseBy: judge.Margin{Absolute: 0.02}}, time.Minute)
	other := planOf(judge.Guardrail{Test: judge.AlwaysValid, WorseBy: judge.Margin{Absolute: 0.02}}, time.Minute)
	other.Metrics = map[string]evidence.Metric{}
	if list := Propose(p, []Recorded{record(other, "ok", 1, 10, 0.05, 0.05, false)}); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}
