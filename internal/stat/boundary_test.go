package stat

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRangesHoldAtAllTimes: a confidence sequence that is looked at after every value leaves the truth out in at most the
// stated share of runs, and is not idle: at the end it is no wider than three times the interval for one look.
func TestRangesHoldAtAllTimes(t *testing.T) {
	const runs, size, level = 150, 400, 0.1
	r := rand.New(rand.NewPCG(21, 22))
	missed, width := map[string]int{}, map[string]float64{}
	see := func(out map[string]bool, name string, got Range, truth float64, n int) {
		if got.Lo > truth || got.Hi < truth {
			out[name] = true
		}
		if n == size {
			width[name] += (got.Hi - got.Lo) / runs
		}
	}
	for range runs {
		out := map[string]bool{}
		b := Bernstein{Level: level}
		yes, sum, squares := 0.0, 0.0, 0.0
		var sorted []float64
		for n := 1; n <= size; n++ {
			z := r.NormFloat64()
			sum, squares = sum+z, squares+z*z
			at, _ := slices.BinarySearch(sorted, z)
			sorted = slices.Insert(sorted, at, z)
			if z > 0.8416 {
				yes++
			}
			x := (r.Float64() + r.Float64() + r.Float64()) / 3
			see(out, "Bernstein", b.Step(x), 0.5, n)
			if n%20 == 0 {
				see(out, "proportion", ProportionRange(yes, float64(n), level, 100), 0.2, n)
				see(out, "median", QuantileRange(sorted, 0.5, level, 100), 0, n)
				if n >= 100 {
					see(out, "mean", MeanRange(MomentsOf(float64(n), sum, squares), level, 100), 0, n)
				}
			}
		}
		for name := range out {
			missed[name]++
		}
	}
	for name, n := range missed {
		if n > 27 { // 15 allowed on average
			t.Errorf("%s: the truth was left out in %d of %d runs at %v", name, n, runs, level)
		}
	}
	z := 2 * 1.645 / math.Sqrt(size)
	for name, once := range map[string]float64{"Bernstein": z * 0.167, "proportion": z * 0.4, "median": z * 1.253, "mean": z} {
		if w := width[name]; w > 3*once || w < once {
			t.Errorf("%s: %v wide after %d values, an interval for one look is %v", name, w, size, once)
		}
	}
}

// TestBoundInvertsLogM: at the bound the evidence is just that of the level.
func TestBoundInvertsLogM(t *testing.T) {
	for name, b := range map[string]Boundary{
		"normal": Normal(50, 0.05, TwoSided), "one-sided": Normal(50, 0.05, Greater), "exponential": GammaExponential(50, 0.5, 0.05),
		"Poisson": GammaPoisson(50, 0.5, 0.05), "beta-binomial": BetaBinomial(50, 0.3, 0.7, 0.05, Greater),
	} {
		before := 0.0
		for _, v := range []float64{10, 40, 160} {
			s := b.Bound(v, 0.01)
			if got := b.LogM(s, v); math.Abs(got-math.Log(100)) > 1e-6 {
				t.Errorf("%s at %v: ln m(%v) = %v, want %v", name, v, s, got, math.Log(100))
			}
			if s <= before {
				t.Errorf("%s: the bound falls from %v to %v at %v", name, before, s, v)
			}
			before = s
		}
	}
	if !math.IsInf(AllQuantiles(5, 0.05, 10, 0.85), 1) {
		t.Error("before tMin nothing is known")
	}
	if p := QuantilesDiffer(nil, []float64{1}, 0.5, 0.05, 100); p != 1 {
		t.Errorf("no values: p %v", p)
	}
	// An empty sample's range is everything.
	if q := QuantileRange(nil, 0.5, 0.05, 100); !math.IsInf(q.Lo, -1) || !math.IsInf(q.Hi, 1) {
		t.Errorf("quantile of nothing: %+v", q)
	}
}

// TestMultinomial: the evidence of a split that is as the null says stays small, and one that is not grows.
func TestMultinomial(t *testing.T) {
	fair, skewed := NewMultinomial([]float64{0.5, 0.5}, nil), NewMultinomial([]float64{0.5, 0.5}, nil)
	for range 200 {
		fair.Step([]uint64{50, 50})
		skewed.Step([]uint64{55, 45})
	}
	if fair.LogE() > 0 || skewed.LogE() < math.Log(1000) {
		t.Errorf("ln e %v for an even split and %v for 55:45", fair.LogE(), skewed.LogE())
	}
}
