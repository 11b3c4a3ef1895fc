package judge

import (
	"math"
	"strings"
	"testing"

	"sluice.dev/sdk/evidence"
)

// ramp plays 60 seconds at each exposure; effect is what the exposed arm's share of errors and ln latency gain, by exposure.
func ramp(effect func(exposure float64) float64) (secs []evidence.Second) {
	at := int64(start)
	for i, exposure := range []uint32{5_000, 10_000, 25_000, 50_000} {
		gain := effect(float64(exposure) / evidence.MaxExposure)
		w := &traffic{rng: seeded(uint64(40 + i)), perSec: 300, exposure: exposure, revision: uint64(i),
			bad:     func(_ int64, arm, _ int) float64 { return 0.05 + float64(arm)*gain },
			latency: func(_ int64, arm, _ int) float64 { return 3 + float64(arm)*gain }}
		for range 60 {
			secs = append(secs, w.second(at))
			at++
		}
	}
	return secs
}

func doseConfig() Config {
	latency := alwaysErrors()
	latency.Name, latency.Metric, latency.Stat, latency.WorseBy = "latency", "latency", statDistribution, Margin{Relative: 0.1}
	return alwaysConfig(alwaysErrors(), latency, driftRail())
}

// TestHarmThatGrowsWithExposureIsForecast: load that grows with exposure shows as a slope, and the next stage's effect lies in
// the forecast's interval.
func TestHarmThatGrowsWithExposureIsForecast(t *testing.T) {
	effect := func(x float64) float64 { return 0.2 * x }
	list := Responses(doseConfig(), testMetrics, ramp(effect), "general", evidence.MaxExposure)
	if len(list) != 2 {
		t.Fatalf("%d responses, want errors and latency", len(list))
	}
	for i, want := range []float64{effect(1), math.Exp(effect(1)) - 1} {
		r := list[i]
		if len(r.Doses) != 4 || r.Doses[0].Exposure != 0.05 || r.Slope < 3*r.SlopeSE || r.Next == nil || !strings.Contains(r.Text, "worsens with exposure") {
			t.Fatalf("%+v", r)
		}
		if slack := 0.02; r.Next.Lower-slack > want || r.Next.Upper+slack < want || r.Next.Effect < want/2 {
			t.Errorf("%s: forecast %+v, true %g", r.Guardrail, *r.Next, want)
		}
	}
}

// TestSteadyEffectHasNoTrend: an effect that does not depend on exposure, and none at all, show no trend; one exposure says so.
func TestSteadyEffectHasNoTrend(t *testing.T) {
	for _, size := range []float64{0, 0.05} {
		secs := ramp(func(float64) float64 { return size })
		for _, r := range Responses(doseConfig(), testMetrics, secs, "general", 0) {
			if !strings.Contains(r.Text, "no trend") || r.Next != nil {
				t.Errorf("effect %g: %+v", size, r)
			}
		}
		for _, r := range Responses(doseConfig(), testMetrics, secs[:50], "general", 0) {
			if len(r.Doses) != 1 || !strings.Contains(r.Text, "one exposure shows no trend") {
				t.Errorf("one exposure: %+v", r)
			}
		}
	}
	if list := Responses(doseConfig(), testMetrics, ramp(func(float64) float64 { return 0 }), "other", 0); len(list) != 0 {
		t.Errorf("another cohort: %+v", list)
	}
}

// TestDiscover holds e-BH against its definition: the largest k whose k-th slice has E of at least K/(k q).
func TestDiscover(t *testing.T) {
	for _, tt := range []struct {
		e    []float64
		want int
	}{{nil, 0}, {[]float64{19}, 0}, {[]float64{21}, 1}, {[]float64{79, 1, 1, 1}, 0}, {[]float64{81, 1, 1, 1}, 1}, {[]float64{50, 45, 1, 1}, 2}, {[]float64{30, 28, 27, 1}, 3}, {[]float64{20, 20, 20, 20}, 4}} {
		var list []Slice
		for _, e := range tt.e {
			list = append(list, Slice{Verdict: Verdict{LogE: math.Log(e) + 1e-12}})
		}
		discover(list)
		n := 0
		for _, s := range list {
			if s.Discovered {
				n++
			}
		}
		if n != tt.want {
			t.Errorf("E %v: %d discovered, want %d", tt.e, n, tt.want)
		}
	}
}
