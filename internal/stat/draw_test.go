package stat

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// TestDrawTailIsExact holds the recurrence against binomial coefficients in whole numbers.
func TestDrawTailIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.Uint64Range(1, 400).Draw(t, "all")
		n, marked := rapid.Uint64Range(0, all).Draw(t, "n"), rapid.Uint64Range(0, all).Draw(t, "marked")
		k := rapid.Uint64Range(0, all).Draw(t, "k")
		got, want := DrawTail(k, n, marked, all), drawTwin(int64(k), int64(n), int64(marked), int64(all))
		if math.Abs(got-want) > 1e-9*want+1e-13 {
			t.Fatalf("DrawTail(%d, %d, %d, %d) = %g, want %g", k, n, marked, all, got, want)
		}
	})
}

func drawTwin(k, n, marked, all int64) float64 {
	sum := new(big.Int)
	for i := k; i <= min(n, marked); i++ {
		if n-i <= all-marked {
			sum.Add(sum, new(big.Int).Mul(new(big.Int).Binomial(marked, i), new(big.Int).Binomial(all-marked, n-i)))
		}
	}
	p, _ := new(big.Rat).SetFrac(sum, new(big.Int).Binomial(all, n)).Float64()
	return p
}

// TestDrawTailOfLargeBatches: far tails of large batches stay finite, ordered and quick.
func TestDrawTailOfLargeBatches(t *testing.T) {
	const n, all = 3_000_000, 6_000_000
	last := 1.0
	for k := uint64(0); k <= 2000; k += 100 {
		p := DrawTail(k, n, 2000, all)
		if math.IsNaN(p) || p > last || p < 0 {
			t.Fatalf("DrawTail(%d) = %g after %g", k, p, last)
		}
		last = p
	}
	if got, want := DrawTail(10, n, 10, all), math.Pow(0.5, 10); math.Abs(got/want-1) > 1e-4 {
		t.Errorf("all ten largest of one half: %g, want about %g", got, want)
	}
}
