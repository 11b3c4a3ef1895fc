package stat

import "math"

// DrawTail is the probability of at least k marked ones among n drawn without replacement from all, of which marked are
// marked: the upper tail of the hypergeometric law. n and marked are at most all.
//
// It makes exact tests of two batches without any assumption about their law. Of two shares: marked are the bad rows of
// both batches together, n the rows of one (Fisher, J. R. Stat. Soc. 98 (1935)). Of a range: with marked = k, it is the
// probability that the k largest values of both batches all come from the one of n values.
func DrawTail(k, n, marked, all uint64) float64 {
	low := uint64(0)
	if n+marked > all {
		low = n + marked - all
	}
	if k <= low {
		return 1
	}
	high := min(n, marked)
	if k > high {
		return 0
	}
	if mean := float64(n) * float64(marked) / float64(all); float64(k) <= mean {
		return max(0, 1-drawSum(low, k-1, n, marked, all))
	}
	return min(1, drawSum(k, high, n, marked, all))
}

// drawSum adds the probabilities of from to end, beginning at the larger end and stopping where the rest is negligible.
func drawSum(from, end, n, marked, all uint64) float64 {
	at, step := from, int64(1)
	if mean := float64(n) * float64(marked) / float64(all); float64(end) < mean {
		at, step = end, -1
	}
	term := math.Exp(lnChoose(marked, at) + lnChoose(all-marked, n-at) - lnChoose(all, n))
	sum := 0.0
	for ; ; at = uint64(int64(at) + step) {
		sum += term
		if term <= 1e-17*sum || step > 0 && at == end || step < 0 && at == from {
			return sum
		}
		// Neighbouring terms differ by a simple factor.
		if step > 0 {
			term *= float64(marked-at) * float64(n-at) / (float64(at+1) * float64(all-marked-n+at+1))
		} else {
			term *= float64(at) * float64(all-marked-n+at) / (float64(marked-at+1) * float64(n-at+1))
		}
	}
}

// lnChoose is the logarithm of n over k.
func lnChoose(n, k uint64) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}
