package bench

import (
	"math"
	"math/rand/v2"
)

// ar1 is an autoregressive sequence of stationary deviation sd that forgets half of a deviation in about a minute.
type ar1 struct {
	x     float64
	begun bool
}

const arKeep = 0.99

func (a *ar1) next(rng *rand.Rand, sd float64) float64 {
	if !a.begun {
		a.x, a.begun = sd*rng.NormFloat64(), true
		return a.x
	}
	a.x = arKeep*a.x + sd*math.Sqrt(1-arKeep*arKeep)*rng.NormFloat64()
	return a.x
}

// aliasTable draws from given weights in constant time. Source: Walker 1977, in the form of Vose, IEEE Trans. Softw. Eng. 17 (1991).
type aliasTable struct {
	stay  []float64
	other []int32
}

func newAlias(weights []float64) aliasTable {
	n := len(weights)
	t := aliasTable{make([]float64, n), make([]int32, n)}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	var small, large []int32
	for i, w := range weights {
		t.stay[i] = w / sum * float64(n)
		if t.stay[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		t.other[s] = l
		if t.stay[l] -= 1 - t.stay[s]; t.stay[l] < 1 {
			large, small = large[:len(large)-1], append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		t.stay[i] = 1
	}
	return t
}

func (t *aliasTable) draw(rng *rand.Rand) int {
	x := rng.Float64() * float64(len(t.stay))
	i := int(x)
	if x-float64(i) < t.stay[i] {
		return i
	}
	return int(t.other[i])
}

// gamma draws from the law with the given shape and scale 1. Source: Marsaglia & Tsang, ACM Trans. Math. Softw. 26 (2000).
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(rng.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// ownRate is a unit's own share of bad ones as a factor on the mean, for which two requests of one unit correlate by icc.
func ownRate(rng *rand.Rand, mean, icc float64) float64 {
	if icc == 0 {
		return 1
	}
	a, b := mean*(1/icc-1), (1-mean)*(1/icc-1)
	x, y := gamma(rng, a), gamma(rng, b)
	if x+y == 0 {
		return 0
	}
	return x / (x + y) / mean
}

// law is the law of a value, of whose logarithm everything here speaks.
type law struct {
	draw func(rng *rand.Rand) float64
	cdf  func(x float64) float64
}

const lnTypical = 2.995732273553991 // ln 20: milliseconds

func lognormal(sigma float64) law {
	return law{
		draw: func(rng *rand.Rand) float64 { return lnTypical + sigma*rng.NormFloat64() },
		cdf:  func(x float64) float64 { return normalCDF((x - lnTypical) / sigma) },
	}
}

func pareto(shape float64) law {
	const least = lnTypical - 0.5
	return law{
		draw: func(rng *rand.Rand) float64 { return least + rng.ExpFloat64()/shape },
		cdf:  func(x float64) float64 { return 1 - math.Exp(-shape*max(x-least, 0)) },
	}
}

func normalCDF(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// quantile inverts the law by bisection.
func (l *law) quantile(q float64) float64 {
	lo, hi := lnTypical-40, lnTypical+40
	for range 80 {
		if mid := (lo + hi) / 2; l.cdf(mid) < q {
			lo = mid
		} else {
			hi = mid
		}
	}
	return (lo + hi) / 2
}

// shares are the probabilities of the bins -lawBins..lawBins of a histogram, for values times e^shift.
func shares(cdf func(float64) float64, shift float64) []float64 {
	out := make([]float64, 2*lawBins+1)
	below := 0.0
	for i := range out {
		upTo := cdf(float64(i-lawBins+1)/binsPerUnit - shift)
		if i == len(out)-1 {
			upTo = 1
		}
		if p := upTo - below; p > leastShare {
			out[i] = p
		}
		below = upTo
	}
	return out
}

const (
	lawBins    = 1024
	leastShare = 1e-15 // less is rounding
)
