package judge

import (
	"time"

	"sluice.dev/sdk/evidence"
)

// start is the first second of every test's world.
const start = int64(1_800_000_000)

func at(sec int64) time.Time { return time.Unix(sec, 0).UTC() }

func ptr[T any](v T) *T { return &v }

// errorBlock is one second of the error metric of one arm in the stratum (general, 7, 5 %).
func errorBlock(sec int64, arm string, n, bad uint64) evidence.Block {
	return evidence.Block{
		Second: sec, Rollout: "r", Cohort: "general", Revision: 7, Exposure: 5000, Lease: evidence.LeaseHeld,
		Assigned: arm, Served: arm, Metric: evidence.MetricError, N: n, Bad: bad,
		Cells: []evidence.Cell{{Dim: evidence.DimTotal, N: n, Bad: bad, Buckets: spread(n, bad)}},
	}
}

// spread lays n observations, bad ones first, over eight unit buckets.
func spread(n, bad uint64) []evidence.UnitBucket {
	var out []evidence.UnitBucket
	for k := range uint64(8) {
		u := evidence.UnitBucket{K: uint8(k), N: (n + 7 - k) / 8, Bad: (bad + 7 - k) / 8}
		if u.N > 0 {
			out = append(out, u)
		}
	}
	return out
}

// histOf is the histogram of values at scale 5.
func histOf(values ...float64) *evidence.Hist {
	h := evidence.NewHist(5)
	for _, v := range values {
		h.Add(v)
	}
	return h
}

func valueBlock(sec int64, arm string, values ...float64) evidence.Block {
	b := errorBlock(sec, arm, uint64(len(values)), 0)
	b.Metric, b.Hist = "latency", histOf(values...)
	return b
}

func closed(sec int64, blocks ...evidence.Block) evidence.Second {
	return evidence.Second{At: sec, Blocks: blocks, Through: 3, Members: 3}
}

func both(sec int64, nB, badB, nE, badE uint64) evidence.Second {
	return closed(sec, errorBlock(sec, evidence.ArmBaseline, nB, badB), errorBlock(sec, evidence.ArmExposed, nE, badE))
}

func segment(b evidence.Block, value string, n, bad uint64) evidence.Block {
	b.Cells = append(b.Cells, evidence.Cell{Dim: evidence.DimSegment, Value: value, N: n, Bad: bad, Buckets: spread(n, bad)})
	return b
}

var testMetrics = map[string]evidence.Metric{
	evidence.MetricError: {Kind: evidence.KindProportion},
	"latency":            {Kind: evidence.KindValue},
	"score":              {Kind: evidence.KindValue, BadBelow: ptr(0.2)},
}

// errorRail is the guardrail most tests judge: the error share may be 5 points worse than the baseline's.
func errorRail() Guardrail {
	return Guardrail{
		Name: "errors", Role: "guardrail", Metric: evidence.MetricError, Class: ClassE, Stat: statProportion, Test: Threshold,
		WorseBy: Margin{Absolute: 0.05}, OnBreach: ActRollback, OnNoData: ActPause, OnError: ActPause,
	}
}

func config(gs ...Guardrail) Config { return Config{Rollout: "r", Alpha: 0.01, Guardrails: gs} }

// judged is a state in the 5 % stage of the cohort general.
func judged(cfg Config) *State {
	s := New(cfg, testMetrics)
	Enter(s, 0, 5000, "general")
	return s
}

// run steps n seconds made by f and returns the last report; stop ends it early.
func run(cfg Config, s *State, from int64, n int, f func(sec int64) evidence.Second) Report {
	var rep Report
	for i := range int64(n) {
		rep = Step(cfg, s, f(from+i))
	}
	return rep
}

func verdictOf(rep Report, guardrail, dim, value string) Verdict {
	for _, v := range rep.Verdicts {
		if v.Lane == (Lane{guardrail, dim, value}) {
			return v
		}
	}
	return Verdict{}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
