//go:build study

package judge

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"sluice.dev/sluice/internal/demo/flights"
)

// TestStudyFlights prints how soon the fault of the demonstration is found for margins and weights, and how often a rollout
// without a fault is taken back:
//
//	go test -tags study -run TestStudyFlights -v ./internal/judge
//
// Seeds are those after the demonstration's own. Seconds are from the fault to the end of the second that decided: median,
// 90th percentile, worst. The 25 % stage lasts 17.2 s after the fault. STUDY_SEEDS sets the number of splits, 200 by default.
func TestStudyFlights(t *testing.T) {
	seeds := int64(200)
	if n, err := strconv.ParseInt(os.Getenv("STUDY_SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	faulty, clean := newFlightWorld(flights.FaultFeed), newFlightWorld(flights.FaultNone)
	for _, set := range []flightSetting{
		{rate: 0.2, shape: 0.1, listed: true, weights: [2]float64{1, 1}},
		{rate: 0.2, shape: 0.1, listed: true, weights: [2]float64{3, 1}},
		{rate: 0.2, shape: 0.1, weights: [2]float64{1, 1}},
		{rate: 0.5, shape: 0.2, listed: true, weights: [2]float64{1, 1}},
		{rate: 0.5, shape: 0.2, weights: [2]float64{3, 1}},
		{rate: 0.2, shape: 10, listed: true, weights: [2]float64{1, 1}},
	} {
		var with, without flightTable
		for seed := int64(1001); seed <= 1000+seeds; seed++ {
			with.add(faulty.fly(t, set, seed))
			without.add(clean.fly(t, set, seed))
		}
		t.Logf("%+v\n  fault: %v\n  none:  false %d of %d", set, &with, without.caught, seeds)
	}
}

// flightTable sums up seeds.
type flightTable struct {
	caught, lax, rate, missed, early int
	seconds                          []float64
}

func (tb *flightTable) add(r flightRun) {
	switch {
	case r.decider.Result != Fail:
		tb.missed++
		return
	case r.seconds <= 0:
		tb.early++
	}
	tb.caught++
	tb.seconds = append(tb.seconds, r.seconds)
	if r.decider.Value == "origin="+flights.FaultFeedOrigin {
		tb.lax++
	}
	if r.decider.Guardrail == "off-by-30" {
		tb.rate++
	}
}

func (tb *flightTable) String() string {
	slices.Sort(tb.seconds)
	times := "-"
	if n := len(tb.seconds); n > 0 {
		times = fmt.Sprintf("%.1f/%.1f/%.1f", tb.seconds[n/2], tb.seconds[n*9/10], tb.seconds[n-1])
	}
	return fmt.Sprintf("caught %d (by LAX %d, off-by-30 %d, before the fault %d), missed %d, seconds %s", tb.caught, tb.lax, tb.rate, tb.early, tb.missed, times)
}
