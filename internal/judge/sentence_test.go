package judge

import (
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
)

func TestSentence(t *testing.T) {
	lax := Lane{"off-by-30", evidence.DimSource, "origin=LAX"}
	for _, tt := range []struct {
		v    Verdict
		want string
	}{
		{
			Verdict{Lane: lax, Result: Fail, Stat: statProportion, Baseline: 0.14, Exposed: 25.0 / 43, Effect: 25.0/43 - 0.14, Limit: 0.25, Scale: scaleAbsolute,
				NBaseline: 210, NExposed: 43, Window: 8 * time.Second, Breached: 3, Looks: 3, Of: 3},
			"off-by-30 for origin=LAX: 58.1 % exposed against 14.0 % baseline, +44.1 pp, limit +25 pp, 3 of 3 looks of 8 s (n 43/210); threshold, not error-bounded",
		},
		{
			Verdict{Lane: Lane{"read", "total", ""}, Result: Pass, Stat: "p99", Baseline: 12.5, Exposed: 12, Effect: -0.04, Limit: 0.05, Scale: scaleRelative,
				NBaseline: 9000, NExposed: 1000, Window: 90 * time.Second, Looks: 3, Of: 3},
			"read: 12 exposed against 12.5 baseline, -4.0 %, limit +5 %, 0 of 3 looks of 1m30s (n 1000/9000); threshold, not error-bounded",
		},
		{
			Verdict{Lane: Lane{"lag", "total", ""}, Result: Fail, Stat: "p95", Exposed: 61, Effect: 61, Limit: 60, Scale: scaleValue,
				NExposed: 1000, Window: 5 * time.Second, Breached: 3, Looks: 12, Of: 12},
			"lag: 61 exposed, limit 60, 3 of 12 looks of 5 s (n 1000/0); threshold, not error-bounded",
		},
		{
			Verdict{Lane: Lane{"errors", "total", ""}, Result: Inconclusive, Window: 5 * time.Second, NExposed: 3, NBaseline: 40, Of: 3,
				Detail: "collecting: 0 of 3 looks with 20 observations in each arm"},
			"errors: collecting: 0 of 3 looks with 20 observations in each arm (n 3/40 so far); threshold, not error-bounded",
		},
		{
			Verdict{Lane: Lane{"nulls", "total", ""}, Result: Inconclusive, Stat: statProportion, Baseline: 0.001, Exposed: 0.002, Effect: 0.001, Limit: 0.002, Scale: scaleAbsolute,
				NExposed: 30, NBaseline: 300, Window: 5 * time.Second, Breached: 0, Looks: 1, Of: 3},
			"nulls: 0.2 % exposed against 0.1 % baseline, +0.1 pp, limit +0.2 pp, 0 of 1 looks (3 needed) of 5 s (n 30/300); threshold, not error-bounded",
		},
		{
			Verdict{Lane: Lane{"score", "total", ""}, Result: Fail, Stat: statMean, Baseline: 4, Exposed: 3, Effect: 0.25, Limit: 0.1, Scale: scaleRelative,
				NExposed: 30, NBaseline: 300, Window: 5 * time.Second, Breached: 3, Looks: 3, Of: 3},
			"score: 3 exposed against 4 baseline, -25.0 %, limit -10 %, 3 of 3 looks of 5 s (n 30/300); threshold, not error-bounded",
		},
		{
			Verdict{Lane: Lane{"errors", "total", ""}, Result: Error, Detail: "query timed out"},
			"errors: the provider answered with an error: query timed out",
		},
		{
			Verdict{Lane: lax, Result: Fail, Rule: string(AlwaysValid), Stat: statProportion, Baseline: 0.121, Exposed: 0.59, Effect: 3.88, Lower: ptr(1.5), Limit: 0.2,
				Scale: scaleRelative, NBaseline: 210, NExposed: 33, Alpha: 0.01},
			"off-by-30 for origin=LAX: 59.0 % exposed against 12.1 % baseline (worse by at least +150 %, limit +20 %), always-valid, false-alarm bound 1 % per rollout; n 33/210",
		},
		{
			Verdict{Lane: Lane{"read", "total", ""}, Result: Pass, Rule: string(AlwaysValid), Stat: "p99", Baseline: 12.5, Exposed: 12, Effect: -0.04, Upper: ptr(0.2), Limit: 0.05,
				Scale: scaleRelative, NBaseline: 9000, NExposed: 1000, Alpha: 0.005, Detail: "proved not to be worse than the limit"},
			"read: 12 exposed against 12.5 baseline (worse by less than +20 %, limit +5 %), proved not to be worse than the limit, always-valid, false-alarm bound 0.5 % per rollout; n 1000/9000",
		},
		{
			Verdict{Lane: Lane{"score", "total", ""}, Result: Fail, Rule: string(AlwaysValid), Stat: statDistribution, Baseline: 4, Exposed: 3, Effect: 0.25, Lower: ptr(0.15), Limit: 0.1,
				Scale: scaleRelative, NExposed: 300, NBaseline: 300, Alpha: 0.01},
			"score: 3 at median exposed against 4 baseline (worse by at least -15 %, limit -10 %), always-valid, false-alarm bound 1 % per rollout; n 300/300",
		},
		{
			Verdict{Lane: Lane{"errors", "total", ""}, Result: Inconclusive, Rule: string(AlwaysValid), NExposed: 0, NBaseline: 40, Alpha: 0.01, Detail: "collecting: both arms are needed"},
			"errors: collecting: both arms are needed (n 0/40 so far)",
		},
		{
			Verdict{Lane: Lane{RuleLost, "total", "host"}, Result: Fail, Rule: RuleLost, Detail: "6 of 100 instances lost within 60 s of the commit, 5 are too many"},
			"component-lost host: 6 of 100 instances lost within 60 s of the commit, 5 are too many; a count, not error-bounded by the rollout's alpha",
		},
	} {
		if got := Sentence(tt.v); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
