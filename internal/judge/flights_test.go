package judge

import (
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/demo/flights"
)

// flightStage is a stage of the demonstration as its rollout runs it: by wall time, not by rows.
type flightStage struct {
	exposure flag.Exposure
	seconds  float64
}

var flightStages = []flightStage{{0, 3}, {5_000, 3}, {10_000, 3}, {25_000, 19}, {95_000, 4}}

// flightWorld is what does not depend on the split.
type flightWorld struct {
	rows     []flights.Row
	outcomes []flights.Outcome
}

func newFlightWorld(f flights.Fault) *flightWorld {
	rows := flights.Load()
	return &flightWorld{rows, flights.Replay(rows, f)}
}

// flightSetting is what the study varies.
type flightSetting struct {
	rate, shape float64 // relative margins
	listed      bool    // the ten busiest origins are listed, else the list is open
	weights     [2]float64
}

func (f flightSetting) config() (Config, map[string]evidence.Metric) {
	g := Guardrail{Role: "guardrail", Metric: "abs-error", Class: ClassE, Test: AlwaysValid, Segments: true, OnBreach: ActRollback, NoDataAfter: 30 * time.Second}
	rate, shape := g, g
	rate.Name, rate.Stat, rate.WorseBy, rate.Weight = "off-by-30", statProportion, Margin{Relative: f.rate}, f.weights[0]
	shape.Name, shape.Stat, shape.WorseBy, shape.Weight = "abs-error", statDistribution, Margin{Relative: f.shape}, f.weights[1]
	if f.listed {
		for _, o := range flights.BusiestOrigins(flights.Load(), 10) {
			rate.Values = append(rate.Values, Value{evidence.DimSource, "origin=" + o})
		}
		shape.Values = rate.Values
	}
	// Two further guardrails of the demonstration take their part of alpha and see nothing.
	errors, reads := g, g
	errors.Name, errors.Metric, errors.Stat, errors.WorseBy, errors.Segments, errors.Weight = "errors", evidence.MetricError, statProportion, Margin{Absolute: 0.02}, false, 1
	reads.Name, reads.Metric, reads.Stat, reads.WorseBy, reads.Segments, reads.Weight = "read-time", "read-time", statDistribution, Margin{Relative: 0.2}, false, 1
	metrics := map[string]evidence.Metric{
		evidence.MetricError: {Kind: evidence.KindProportion},
		"abs-error":          {Kind: evidence.KindValue, BadAbove: ptr(30.0), Once: true},
		"read-time":          {Kind: evidence.KindValue},
	}
	cfg := Config{Rollout: "r", Alpha: 0.01, Guardrails: []Guardrail{rate, shape, errors, reads}, PowerFrom: 0.25, Bakes: 32, Stages: 5}
	return cfg, metrics
}

// flightRun is how one split of the demonstration ended.
type flightRun struct {
	decider Verdict
	seconds float64 // from the fault to the end of the second that decided
	report  Report  // the last
	end     *State
}

// fly runs the demonstration of one seed through accumulator, intake and judge until something acts.
func (w *flightWorld) fly(t testing.TB, set flightSetting, seed int64) (out flightRun) {
	cfg, metrics := set.config()
	own := map[string]evidence.Metric{"abs-error": metrics["abs-error"], "read-time": metrics["read-time"]}
	acc := must1(evidence.NewAccumulator(evidence.AccumulatorConfig{Rollout: "r", Metrics: own, Sources: []string{"origin"}}))
	metric, _ := acc.Metric("abs-error")
	s, in, k := New(cfg, metrics), NewIntake(time.Second), &kept{}
	Remember(s, k.between)
	in.Expect("b", "consumer", start)
	phase := float64(seed%10) / 10
	stage, stageEnd, row := -1, phase, 0
	for sec := range int64(40) {
		for ; row < len(w.rows); row++ {
			at := phase + flights.Offset(row).Seconds()
			for at >= stageEnd && stage < len(flightStages)-1 {
				stage++
				stageEnd += flightStages[stage].seconds
				Enter(s, stage, uint32(flightStages[stage].exposure), "general")
			}
			if at >= float64(sec+1) || at >= stageEnd {
				break
			}
			if o := w.outcomes[row]; o.Scored {
				w.request(acc, metric, o, start+sec, seed, stage)
			}
		}
		blocks, through := acc.Flush(start + sec + 1)
		in.Add("consumer", "b", uint64(sec+1), through, 0, blocks)
		for _, closed := range in.Close(at(start + sec + 1)) {
			out.report, out.end = Step(cfg, s, closed), s
			k.secs = append(k.secs, closed)
			if d := out.report.Decider; d != nil && d.Action == ActRollback {
				out.decider, out.seconds = *d, float64(sec+1)-phase-flights.Offset(flights.FaultRow).Seconds()
				return out
			}
		}
		if row >= len(w.rows) || stage == len(flightStages)-1 && float64(sec+1) > stageEnd {
			break
		}
	}
	return out
}

func (w *flightWorld) request(acc *evidence.Accumulator, metric evidence.MetricID, o flights.Outcome, sec, seed int64, stage int) {
	unit, exposure := flights.UnitID(seed, o.Row), flightStages[stage].exposure
	arm, score := evidence.ArmBaseline, o.V11
	if flag.Exposed(flag.Bucket(unit, "origin-delay"), exposure) {
		arm, score = evidence.ArmExposed, o.V12
	}
	key := acc.Key(evidence.SlotKey{Cohort: "general", Revision: uint64(7 + stage), Exposure: uint32(exposure), Lease: evidence.LeaseHeld, Assigned: arm, Served: arm})
	var values evidence.Values
	values[0] = acc.Value(0, w.rows[o.Row].Origin)
	slot := acc.Begin(sec, key, evidence.Unit{Hash: uint64(o.Row), Bucket: flag.UnitBucket(unit)}, &values)
	slot.Observe(metric, score.Error)
	slot.End(false)
}

var demoSetting = flightSetting{rate: 0.2, shape: 0.1, listed: true, weights: [2]float64{1, 1}}

// TestFlights judges the demonstration end to end: whatever the split, the faulty feed is found by its own lane and nothing
// happens without a fault, be the origins listed or found.
func TestFlights(t *testing.T) {
	faulty, clean := newFlightWorld(flights.FaultFeed), newFlightWorld(flights.FaultNone)
	open := demoSetting
	open.listed = false
	for _, tt := range []struct {
		set   flightSetting
		seeds int64
	}{{demoSetting, 40}, {open, 10}} {
		if raceEnabled {
			tt.seeds = 2
		}
		for seed := int64(1); seed <= tt.seeds; seed++ {
			r := faulty.fly(t, tt.set, seed)
			if d := r.decider; d.Value != "origin="+flights.FaultFeedOrigin || d.Result != Fail || r.seconds <= 0 {
				t.Errorf("seed %d, listed %v: %s after %.1f s: %s", seed, tt.set.listed, d.Result, r.seconds, Sentence(d))
			}
			if d := r.decider; seed == 1 && (d.Lower == nil || *d.Lower < d.Limit || !d.Bounded || r.seconds > 8) {
				t.Errorf("seed 1 after %.1f s: %s", r.seconds, Sentence(d))
			}
			if r := clean.fly(t, tt.set, seed); r.decider.Result == Fail || r.report.Result == Fail {
				t.Errorf("seed %d, listed %v, without a fault: %s", seed, tt.set.listed, Sentence(r.decider))
			}
		}
	}
}
