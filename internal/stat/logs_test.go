package stat

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s = %.12g, want %.12g (within %g)", what, got, want, tolerance)
	}
}

func TestLogAndExpAgreeWithPackageMath(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200_000 {
		x := math.Exp(rng.NormFloat64() * 40)
		if got, want := ln(x), math.Log(x); math.Abs(got-want) > 2.3e-16*math.Abs(want)+1e-300 {
			t.Fatalf("ln(%g) = %.17g, want %.17g", x, got, want)
		}
		y := rng.NormFloat64() * 60
		if got, want := exp(y), math.Exp(y); math.Abs(got-want) > 4.5e-16*want {
			t.Fatalf("exp(%g) = %.17g, want %.17g", y, got, want)
		}
	}
	for _, x := range []float64{0, math.Inf(1), 1, math.MaxFloat64} {
		if got, want := ln(x), math.Log(x); got != want && math.Abs(got-want) > 1e-13 {
			t.Errorf("ln(%g) = %g, want %g", x, got, want)
		}
	}
	near(t, "ln of the smallest number", ln(5e-324), -744.4400719213812, 1e-12)
	if exp(-1e15) != 0 || exp(1e15) != math.Inf(1) || exp(0) != 1 || !math.IsNaN(ln(-1)) || !math.IsNaN(exp(math.NaN())) {
		t.Error("exp or ln at the ends")
	}
}

func TestLogSums(t *testing.T) {
	near(t, "lnAdd(0, 0)", lnAdd(0, 0), math.Ln2, 1e-15)
	near(t, "lnAdd(-3, lnZero)", lnAdd(-3, lnZero), -3, 0)
	near(t, "lnSum", lnSum([]float64{0.5, 0.25, 0}, []float64{1000, 1001, 5000}), 1000+math.Log(0.5+0.25*math.E), 1e-12)
}

// exactTail is I_x(a, b) for integer a and b, as the binomial tail P(Bin(a+b-1, x) >= a) in 400-bit arithmetic; its log.
func exactTail(x float64, a, b int) float64 {
	n := a + b - 1
	p := new(big.Float).SetPrec(400).SetFloat64(x)
	q := new(big.Float).SetPrec(400).Sub(big.NewFloat(1).SetPrec(400), p)
	pow := func(f *big.Float, k int) *big.Float {
		r := big.NewFloat(1).SetPrec(400)
		for range k {
			r.Mul(r, f)
		}
		return r
	}
	sum := new(big.Float).SetPrec(400)
	for k := a; k <= n; k++ {
		c := new(big.Float).SetPrec(400).SetInt(new(big.Int).Binomial(int64(n), int64(k)))
		sum.Add(sum, c.Mul(c, new(big.Float).SetPrec(400).Mul(pow(p, k), pow(q, n-k))))
	}
	mant := new(big.Float)
	e := sum.MantExp(mant)
	f, _ := mant.Float64()
	return math.Log(f) + float64(e)*math.Ln2
}

func TestIncompleteBetaAlsoWhereItUnderflows(t *testing.T) {
	for _, tt := range []struct {
		x    float64
		a, b int
	}{
		{0.5, 1, 1}, {0.1, 2, 30}, {0.9, 2, 30}, {0.3, 100, 40}, {0.01, 200, 3}, {0.001, 150, 150}, {0.02, 400, 20}, {0.7, 50, 50}, {0.5, 300, 310},
	} {
		got, want := lnIncBeta(tt.x, float64(tt.a), float64(tt.b)), exactTail(tt.x, tt.a, tt.b)
		if math.Abs(got-want) > 1e-10*math.Max(1, math.Abs(want)) {
			t.Errorf("lnIncBeta(%g, %d, %d) = %.12g, want %.12g", tt.x, tt.a, tt.b, got, want)
		}
	}
	if got := lnIncBeta(0.01, 400, 3); got > -1700 {
		t.Errorf("ln of a number below the smallest float64 is %g", got)
	}
}

func TestLnGamma(t *testing.T) {
	for x := 0.01; x < 1e7; x *= 1.37 {
		want, _ := math.Lgamma(x)
		near(t, "lnGamma", lnGamma(x), want, 1e-14*math.Abs(want)+1e-14)
	}
}
