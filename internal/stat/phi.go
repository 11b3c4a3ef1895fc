package stat

import (
	"math"

	"sluice.dev/sdk/evidence"
)

// spread collects one arm's observations by unit bucket. For rates Y is the number of bad ones; for values it is the sum of
// scores (exposed: the log-value in quarters of a deviation of the past baseline, clipped at 3; baseline: evidence.Score) and Q
// the sum of squared scores.
type spread struct {
	N []uint64 `json:"n,omitempty"` // per bucket
	Y []int64  `json:"y,omitempty"` // per bucket
	Q uint64   `json:"q,omitempty"`
}

func (s *spread) add(k uint8, n uint64, y int64, q uint64) {
	if s.N == nil {
		s.N, s.Y = make([]uint64, evidence.UnitBuckets), make([]int64, evidence.UnitBuckets)
	}
	s.N[k] += n
	s.Y[k] += y
	s.Q += q
}

// phiShrink takes off the noise of an estimate from 64 buckets: one and a quarter of its standard deviation, sqrt(2/63).
const phiShrink = 1 + 1.28*0.17817416127494959

// scoreQuarters clips the scores of values at 3 deviations.
const scoreQuarters = 12

// phiMinBad is how many bad observations (phiMinValues values) an arm needs before its spread says anything.
const (
	phiMinBad    = 16
	phiMinValues = 64
)

// phi is the over-dispersion of the buckets against independent observations of the arm's own rate,
//
//	sum over buckets (y - p n)^2 / sum n p (1-p) * B/(B-1),
//
// for scores with their variance in place of p(1-p); shrunk by phiShrink and at least 1. It is 1 while too little is known.
// Source: Pearson's dispersion estimate of quasi-likelihood (McCullagh & Nelder, Generalized Linear Models, 4.5).
func (s *spread) phi(values bool) float64 {
	var n, buckets uint64
	var y int64
	for k, c := range s.N {
		n += c
		y += s.Y[k]
		if c > 0 {
			buckets++
		}
	}
	if buckets < 2 || values && n < phiMinValues || !values && y < phiMinBad {
		return 1
	}
	mean := float64(y) / float64(n)
	variance := mean * (1 - mean)
	if values {
		variance = float64(s.Q)/float64(n) - float64(mean*mean)
	}
	if !(variance > 0) {
		return 1
	}
	sum := 0.0
	for k, c := range s.N {
		d := float64(s.Y[k]) - float64(mean*float64(c))
		sum += float64(d * d)
	}
	raw := sum / float64(float64(n)*variance) * (float64(buckets) / float64(buckets-1))
	return math.Max(1, raw/phiShrink)
}
