package stat

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestRankTwins: U pair by pair, and the exact law by placing values one by one.
func TestRankTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float64 { return float64(rapid.IntRange(0, 9).Draw(t, "v")) }), 1, 12)
		x, y := values.Draw(t, "x"), values.Draw(t, "y")
		want := 0.0
		for _, a := range x {
			for _, b := range y {
				if a > b {
					want++
				} else if a == b {
					want += 0.5
				}
			}
		}
		u, p, err := MannWhitney(y, x, TwoSided)
		if err != nil || u != want || p < 0 || p > 1 {
			t.Errorf("U %v, want %v; p %v (%v)", u, want, p, err)
		}
		_, greater, _ := MannWhitney(y, x, Greater)
		_, less, _ := MannWhitney(x, y, Less)
		if math.Abs(greater-less) > 1e-12 {
			t.Errorf("greater %v, less with the samples swapped %v", greater, less)
		}
	})
	law := rankSumLaw(2, 3)
	for k, ways := range []float64{1, 1, 2, 2, 2, 1, 1} { // of the 10 ways to place 2 among 5
		if math.Abs(law[k]-ways/10) > 1e-12 {
			t.Errorf("P(U = %d) = %v, want %v", k, law[k], ways/10)
		}
	}
	if _, _, err := MannWhitney(nil, []float64{1}, TwoSided); err != ErrNoData {
		t.Errorf("no control: %v, want ErrNoData", err)
	}
	if _, err := Shift([]float64{1}, nil, 0.95); err != ErrNoData {
		t.Errorf("no treatment: %v, want ErrNoData", err)
	}
}

// TestShiftInverts: the rank sum test does not reject a shift inside the interval, and rejects beyond it.
func TestShiftInverts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x, y := make([]float64, 25), make([]float64, 30)
	for i := range x {
		x[i] = 1 + r.NormFloat64()
	}
	for i := range y {
		y[i] = r.NormFloat64()
	}
	s, err := Shift(y, x, 0.95)
	if err != nil || !(s.Lo < s.Estimate && s.Estimate < s.Hi) {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, at := range []float64{s.Lo - 0.01, s.Lo + 0.01, s.Hi - 0.01, s.Hi + 0.01} {
		moved := make([]float64, len(x))
		for i, v := range x {
			moved[i] = v - at
		}
		_, p, _ := MannWhitney(y, moved, TwoSided)
		if inside := at > s.Lo && at < s.Hi; inside != (p > 0.05) {
			t.Errorf("shift %v of [%v, %v]: p %v", at, s.Lo, s.Hi, p)
		}
	}
}

// TestIntervalsAgreeWithP: an interval leaves out 0 exactly where its P is below the level.
func TestIntervalsAgreeWithP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Difference{Value: rapid.Float64Range(-1, 1).Draw(t, "d"), SE: rapid.Float64Range(0.01, 1).Draw(t, "se"), DF: 30, N: 5000}
		for name, test := range map[string]func(float64, Alternative) Interval{
			"z": d.ZTest, "welch": d.Welch, "growthbook": func(l float64, a Alternative) Interval { return d.GrowthBook(l, 5000, a) },
		} {
			for _, alt := range []Alternative{TwoSided, Greater, Less} {
				i := test(0.05, alt)
				if name == "growthbook" && alt != TwoSided && i.P > 0.3 {
					continue
				}
				out := i.Lo > 0 || i.Hi < 0
				if math.Abs(i.P-0.05) > 1e-9 && out != (i.P < 0.05) {
					t.Errorf("%s, alternative %d: %+v", name, alt, i)
				}
			}
		}
	})
}

// TestMSPRT: against the likelihood ratio integrated over effects step by step.
func TestMSPRT(t *testing.T) {
	const tau = 0.3
	d := Difference{Value: 0.5, SE: 0.2}
	sum := 0.0
	const steps = 40_000
	for i := range steps {
		effect := -4 + 8*(float64(i)+0.5)/steps
		ratio := math.Exp((d.Value*d.Value - (d.Value-effect)*(d.Value-effect)) / (2 * d.SE * d.SE))
		sum += ratio * math.Exp(-effect*effect/(2*tau*tau)) / (tau * math.Sqrt(2*math.Pi)) * 8 / steps
	}
	if got := d.MSPRT(tau * tau); math.Abs(got-math.Log(sum)) > 1e-6 {
		t.Errorf("log ratio %v, integrated %v", got, math.Log(sum))
	}
}

// TestSpendingBounds: simulated paths cross with the level spent at the horizon, and not more before.
func TestSpendingBounds(t *testing.T) {
	looks := []float64{0.2, 0.4, 0.6, 0.8, 1}
	const level, paths = 0.05, 20_000
	bounds := SpendingBounds(looks, level)
	r := rand.New(rand.NewPCG(5, 6))
	crossed := make([]float64, len(looks))
	for range paths {
		s, before := 0.0, 0.0
		for i, at := range looks {
			s += r.NormFloat64() * math.Sqrt(at-before)
			if before = at; s/math.Sqrt(at) > bounds[i] {
				for j := i; j < len(looks); j++ {
					crossed[j]++
				}
				break
			}
		}
	}
	for i, at := range looks {
		want := level * at * at
		if sd := math.Sqrt(want / paths); math.Abs(crossed[i]/paths-want) > 4*sd {
			t.Errorf("by %v: %v crossed, want %v", at, crossed[i]/paths, want)
		}
	}
}
