package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/judge"
)

// pipeline is a rollout at 25 % from specification to verdict: a component reads a feature from two feeds and counts its
// readings; every second closes and is judged.
type pipeline struct {
	plan   *Plan
	acc    *evidence.Accumulator
	intake *judge.Intake
	state  *judge.State
	rng    *rand.Rand
	seq    uint64
	units  int
}

const qualityGuards = `
    - {name: nulls, signal: "sdk:spend-nulls", test: {kind: always-valid, worseBy: 1pp}}
    - {name: schema, signal: "sdk:spend-schema", test: {kind: always-valid, worseBy: 1pp}}
    - {name: range, signal: "sdk:spend", stat: proportion, test: {kind: always-valid, worseBy: 1pp}}
    - {name: stale, signal: "sdk:spend-age", stat: proportion, test: {kind: always-valid, worseBy: 1pp}}
    - {name: duplicates, signal: "sdk:spend-duplicates", test: {kind: always-valid, worseBy: 1pp}}
    - {name: drift, signal: "sdk:spend-drift", test: {kind: psi, max: 0.2}}
`

func newPipeline(t *testing.T, seed uint64) *pipeline {
	t.Helper()
	p, findings := withQuality(t, "    spend: {kind: feature, unit: usd, badAbove: 1000, maxAge: 60s}\n", qualityGuards)
	if p == nil {
		t.Fatalf("findings: %v", findings)
	}
	for i := range p.Judge.Guardrails { // by feed, as spec.audience.segments would ask for
		p.Judge.Guardrails[i].Segments = true
	}
	acc, err := evidence.NewAccumulator(evidence.AccumulatorConfig{Rollout: p.Name, Metrics: p.Metrics, Sources: []string{"feed"}})
	if err != nil {
		t.Fatal(err)
	}
	w := &pipeline{plan: p, acc: acc, intake: judge.NewIntake(time.Second), state: judge.New(p.Judge, p.Metrics), rng: rand.New(rand.NewPCG(seed, 9))}
	judge.Enter(w.state, 0, 25_000, "general")
	w.intake.Expect("boot", "one", 1000)
	return w
}

// second serves 200 requests and judges what has closed.
func (w *pipeline) second(at int64, reading func(exposed bool, feed int) evidence.Reading) (rep judge.Report) {
	for range 200 {
		w.units++
		unit := fmt.Sprint("account-", w.units)
		exposed := flag.Exposed(flag.Bucket(unit, "salt"), 25_000)
		key := evidence.SlotKey{Cohort: "general", Revision: 7, Exposure: 25_000, Lease: evidence.LeaseHeld, Assigned: evidence.ArmBaseline, Served: evidence.ArmBaseline}
		if exposed {
			key.Assigned, key.Served = evidence.ArmExposed, evidence.ArmExposed
		}
		feed := w.rng.IntN(2)
		values := evidence.Values{w.acc.Value(0, []string{"web", "app"}[feed])}
		slot := w.acc.Begin(at, w.acc.Key(key), evidence.Unit{Bucket: flag.UnitBucket(unit)}, &values)
		slot.ObserveFeature("spend", reading(exposed, feed))
		slot.End(false)
	}
	blocks, through := w.acc.Flush(at + 1)
	w.seq++
	w.intake.Add("one", "boot", w.seq, through, 0, blocks)
	for _, sec := range w.intake.Close(time.Unix(at+1, 0)) {
		rep = judge.Step(w.plan.Judge, w.state, sec)
	}
	return rep
}

// ordinaryReading has a little of everything that is wrong in any feed.
func (w *pipeline) ordinaryReading() evidence.Reading {
	return evidence.Reading{Value: 40 * w.rng.NormFloat64(), Null: w.rng.Float64() < 0.01, Invalid: w.rng.Float64() < 0.002,
		Duplicate: w.rng.Float64() < 0.005, AgeSeconds: 20 * w.rng.ExpFloat64()}
}

// TestBadDataIsCaughtAndNamed: bad data of one kind in one feed of the exposed arm are caught by the guardrail of that kind, which
// names the feed; equal data in both arms fail nothing.
func TestBadDataIsCaughtAndNamed(t *testing.T) {
	for _, tt := range []struct {
		guardrail string
		spoil     func(w *pipeline, r *evidence.Reading)
	}{
		{"", func(*pipeline, *evidence.Reading) {}},
		{"nulls", func(w *pipeline, r *evidence.Reading) { r.Null = r.Null || w.rng.Float64() < 0.3 }},
		{"schema", func(w *pipeline, r *evidence.Reading) { r.Invalid = r.Invalid || w.rng.Float64() < 0.3 }},
		{"range", func(w *pipeline, r *evidence.Reading) {
			if w.rng.Float64() < 0.2 {
				r.Value = 1001
			}
		}},
		{"stale", func(_ *pipeline, r *evidence.Reading) { r.AgeSeconds += 60 }},
		{"duplicates", func(w *pipeline, r *evidence.Reading) { r.Duplicate = r.Duplicate || w.rng.Float64() < 0.3 }},
		{"drift", func(_ *pipeline, r *evidence.Reading) { r.Value += 60 }},
	} {
		t.Run("spoiled "+tt.guardrail, func(t *testing.T) {
			w := newPipeline(t, 5)
			var rep judge.Report
			at := int64(1000)
			for ; at < 1150 && rep.Action == ""; at++ {
				rep = w.second(at, func(exposed bool, feed int) evidence.Reading {
					r := w.ordinaryReading()
					if exposed && feed == 1 && at >= 1040 {
						tt.spoil(w, &r)
					}
					return r
				})
			}
			if tt.guardrail == "" {
				if rep.Action != "" {
					t.Fatalf("equal data: %s", judge.Sentence(*rep.Decider))
				}
				return
			}
			if rep.Action != judge.ActRollback || at < 1040 {
				t.Fatalf("not caught after %d s", at-1040)
			}
			named := slices.ContainsFunc(rep.Verdicts, func(v judge.Verdict) bool {
				return v.Result == judge.Fail && strings.HasPrefix(judge.Sentence(v), tt.guardrail+" for feed=app: ")
			})
			if rep.Decider.Guardrail != tt.guardrail || !named {
				t.Errorf("after %d s: %s", at-1040, judge.Sentence(*rep.Decider))
			}
		})
	}
}
