package judge

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"sluice.dev/sdk/evidence"
)

// driftRail judges the values of "latency" for drift beyond a PSI of 0.2, also by feed.
func driftRail() Guardrail {
	g := alwaysErrors()
	g.Name, g.Metric, g.Stat, g.WorseBy, g.Max, g.Segments = "value-drift", "latency", statDrift, Margin{}, ptr(0.2), true
	return g
}

// drifting is a rollout at 25 % whose values are log-normal with deviation 0.5; moved says by how many deviations a value of
// the exposed arm lies off, by source.
func drifting(seed uint64, moved func(sec int64, value int) float64) *traffic {
	return &traffic{rng: seeded(seed), perSec: 60, exposure: 25_000, values: 3, bad: harmless, latency: func(sec int64, arm, value int) float64 {
		base := 3 + 0.2*math.Sin(float64(sec)/40) // a baseline that moves
		if arm == exposed {
			base += 0.5 * moved(sec, value)
		}
		return base
	}}
}

func playDrift(w *traffic, seconds int) (Report, *State, Config) {
	cfg := alwaysConfig(driftRail())
	s, k := judged(cfg), &kept{}
	Remember(s, k.between)
	Enter(s, 0, w.exposure, "general")
	return k.play(cfg, s, start, seconds, w), s, cfg
}

// TestDriftIsFoundEitherWayAndNamed: values that move up or down in every feed, or in one of three feeds only, are found
// where they moved, with their index in the sentence.
func TestDriftIsFoundEitherWayAndNamed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		moved func(sec int64, value int) float64
		lane  string
	}{
		{"up", func(int64, int) float64 { return 0.8 }, "value-drift: "},
		{"down", func(int64, int) float64 { return -0.8 }, "value-drift: "},
		{"one feed", func(sec int64, value int) float64 {
			if value == 1 && sec > start+30 {
				return -1.5
			}
			return 0
		}, "value-drift for origin=B: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep, s, _ := playDrift(drifting(1, tt.moved), 400)
			if rep.Result != Fail || rep.Action != ActRollback {
				t.Fatalf("got %s after %d s: %s", rep.Result, s.At-start, Sentence(rep.Verdicts[0]))
			}
			text := Sentence(*rep.Decider)
			if !strings.HasPrefix(text, tt.lane+"values have drifted by PSI ") || !strings.Contains(text, "limit 0.200), always-valid, false-alarm bound 1 % per rollout") {
				t.Errorf("sentence: %s", text)
			}
			if d := rep.Decider; d.Lower == nil || *d.Lower <= d.Limit || d.Effect < *d.Lower || !d.Bounded {
				t.Errorf("numbers: %+v", d)
			}
		})
	}
}

// TestSmallDriftIsTolerated: a difference that is certain, but below the limit, passes, and the verdict shows its size.
func TestSmallDriftIsTolerated(t *testing.T) {
	rep, s, _ := playDrift(drifting(2, func(int64, int) float64 { return 0.25 }), 900)
	v := rep.Verdicts[0]
	if rep.Result != Pass || !rep.Powered {
		t.Fatalf("got %s, powered %v: %s", rep.Result, rep.Powered, Sentence(v))
	}
	if l := s.Rails[0].Lanes[0].Always.Lane; l.LogE() < v.Level {
		t.Errorf("log e is %g, below %g: the difference is not certain and proves nothing about tolerance", l.LogE(), v.Level)
	}
	if v.Effect < 0.03 || v.Effect > 0.12 { // a shift of d deviations has an index of about d^2
		t.Errorf("index %g of a quarter of a deviation", v.Effect)
	}
}

// TestEqualValuesDoNotDrift: rollouts of equal arms over a baseline that moves are not taken back for drift: with alpha 1 %,
// more than two of 40 once in 60 such tests at the very bound; and they reach power.
func TestEqualValuesDoNotDrift(t *testing.T) {
	failed, powered := 0, 0
	for seed := range uint64(40) {
		rep, _, _ := playDrift(drifting(100+seed, func(int64, int) float64 { return 0 }), 240)
		if rep.Result == Fail {
			failed++
		}
		if rep.Powered {
			powered++
		}
	}
	if failed > 2 {
		t.Errorf("%d of 40 harmless rollouts failed", failed)
	}
	if powered < 36 {
		t.Errorf("%d of 40 had power after 240 s", powered)
	}
}

// TestDriftPowerIsHonest: when a lane says that it could have seen a drift of some size, rollouts with drift of that size
// have been failed by then, nearly as often as said (0.8).
func TestDriftPowerIsHonest(t *testing.T) {
	caught, runs := 0, 30
	for seed := range uint64(runs) {
		const d = 0.95 // an index of about 0.9; the limit of 0.2 and two standard errors lie below
		w := drifting(200+seed, func(int64, int) float64 { return d })
		w.values = 0
		cfg := alwaysConfig(driftRail())
		s, k := judged(cfg), &kept{}
		Remember(s, k.between)
		Enter(s, 0, w.exposure, "general")
		for i := range int64(300) {
			sec := w.second(start + i)
			rep := Step(cfg, s, sec)
			k.secs = append(k.secs, sec)
			if rep.Result == Fail {
				caught++
				break
			}
			if x := rep.Verdicts[0].Detectable; x != nil && *x < d*d {
				break // it said that it would have seen this
			}
		}
	}
	if caught < runs*6/10 {
		t.Errorf("%d of %d rollouts were failed by the time the lane said it could have seen such a drift", caught, runs)
	}
}

// TestDriftStateReadsBack: a state with drift lanes is the same bytes after a round trip, and goes on alike.
func TestDriftStateReadsBack(t *testing.T) {
	w := drifting(3, func(int64, int) float64 { return 0 })
	rep, s, cfg := playDrift(w, 60)
	b := must1(MarshalState(s))
	back := must1(UnmarshalState(b))
	sec := w.second(start + 60)
	if got, want := reportText(Step(cfg, back, sec)), reportText(Step(cfg, s, sec)); got != want || back.Digest() != s.Digest() {
		t.Errorf("read back goes another way:\n%s\n%s", got, want)
	}
	if v := rep.Verdicts[0]; v.NExposed == 0 || v.Effect < 0 || fmt.Sprint(v.Scale) != scaleValue || v.Dim != evidence.DimTotal {
		t.Errorf("%+v", v)
	}
}
