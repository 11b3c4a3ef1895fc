package httpapi

import (
	"testing"

	"pgregory.net/rapid"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
)

// TestTrafficIsBoundedAndLosesNothing: however long a rollout runs, the points stay bounded, in order, and their sums are
// those of the seconds.
func TestTrafficIsBoundedAndLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newReplay(&plan.Plan{})
		n := rapid.IntRange(1, 3*maxPoints).Draw(t, "seconds")
		gap := rapid.Int64Range(1, 3).Draw(t, "distance")
		var base, exp uint64
		for i := range n {
			b, e := uint64(i%7), uint64(i%3)
			base, exp = base+b, exp+e
			r.count(evidence.Second{At: 1000 + int64(i)*gap, Blocks: []evidence.Block{
				{Metric: evidence.MetricError, Assigned: evidence.ArmBaseline, N: b},
				{Metric: evidence.MetricError, Assigned: evidence.ArmExposed, N: e},
				{Metric: "other", Assigned: evidence.ArmExposed, N: 99},
			}})
		}
		var gotBase, gotExp uint64
		for i, p := range r.traffic {
			gotBase, gotExp = gotBase+p.Baseline, gotExp+p.Exposed
			if i > 0 && p.At < r.traffic[i-1].At+int64(r.stride) {
				t.Fatalf("points %d and %d are closer than the stride %d", i-1, i, r.stride)
			}
		}
		if gotBase != base || gotExp != exp || len(r.traffic) > maxPoints {
			t.Fatalf("got %d/%d in %d points, want %d/%d in at most %d", gotBase, gotExp, len(r.traffic), base, exp, maxPoints)
		}
	})
}

// TestLanesKeepEveryChangeOfVerdict: thinning may drop numbers, never the moment at which a verdict or a stage changed.
func TestLanesKeepEveryChangeOfVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		results := []judge.Result{judge.Pass, judge.Fail, judge.Inconclusive, judge.NoData}
		r := newReplay(&plan.Plan{})
		n := rapid.IntRange(1, 2*maxPoints).Draw(t, "seconds")
		flip := rapid.IntRange(50, 400).Draw(t, "seconds per verdict")
		var want []int64
		last := judge.Result("")
		for i := range n {
			r.through = int64(i + 1)
			v := judge.Verdict{Lane: judge.Lane{Guardrail: "g", Dim: "total"}, Result: results[i/flip%len(results)], Scale: "relative", Effect: float64(i)}
			if v.Result != last {
				want = append(want, r.through)
				last = v.Result
			}
			r.note(&v)
		}
		points := r.lanes[judge.Lane{Guardrail: "g", Dim: "total"}].Points
		if len(points) > maxPoints {
			t.Fatalf("%d points, at most %d are allowed", len(points), maxPoints)
		}
		at := map[int64]bool{}
		for _, p := range points {
			at[p.At] = true
		}
		for _, w := range want {
			if !at[w] {
				t.Fatalf("the change at second %d is lost; %d points are kept", w, len(points))
			}
		}
	})
}

func TestAPointIsWrittenWhenSomethingChanges(t *testing.T) {
	r := newReplay(&plan.Plan{})
	lower := 0.1
	same := 0.1
	for i, v := range []judge.Verdict{
		{Result: judge.Pass, Effect: 1}, {Result: judge.Pass, Effect: 1}, {Result: judge.Pass, Effect: 2},
		{Result: judge.Pass, Effect: 2, Lower: &lower}, {Result: judge.Pass, Effect: 2, Lower: &same}, {Result: judge.Fail, Effect: 2, Lower: &same},
	} {
		r.through = int64(i)
		r.note(&v)
	}
	var got []int64
	for _, p := range r.lanes[judge.Lane{}].Points {
		got = append(got, p.At)
	}
	if want := []int64{0, 2, 3, 5}; len(got) != 4 || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("points at %v, want %v", got, want)
	}
}
