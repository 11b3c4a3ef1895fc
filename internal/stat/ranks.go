package stat

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// ranked is two samples in ascending order.
type ranked struct{ x, y []float64 }

func rankedOf(x, y []float64) ranked { return ranked{ascending(x), ascending(y)} }

// u is how many pairs have x-shift above y, ties counting half, and the sum of t^3-t over groups of t equal values.
func (r *ranked) u(shift float64) (u, ties float64) {
	i, j := 0, 0
	for i < len(r.x) || j < len(r.y) {
		at := math.Inf(1)
		if i < len(r.x) {
			at = r.x[i] - shift
		}
		if j < len(r.y) {
			at = min(at, r.y[j])
		}
		a, b := i, j
		for i < len(r.x) && r.x[i]-shift == at {
			i++
		}
		for j < len(r.y) && r.y[j] == at {
			j++
		}
		inX, inY := float64(i-a), float64(j-b)
		u += float64(inX * (float64(b) + float64(inY/2)))
		t := inX + inY
		ties += float64(t*float64(t*t)) - t
	}
	return u, ties
}

// z is the normal form of U at a shift, corrected for ties and by half a pair towards the middle (toward 0: -1 or +1 as the
// alternative asks, 0 for two-sided). It is 0 where all values are tied.
func (r *ranked) z(shift, toward float64) float64 {
	u, ties := r.u(shift)
	n, m := float64(len(r.x)), float64(len(r.y))
	d := u - float64(float64(n*m)/2)
	if toward == 0 {
		toward = float64(cmpZero(d))
	}
	sigma := math.Sqrt(float64(n*m) / 12 * (n + m + 1 - ties/float64((n+m)*(n+m-1))))
	if sigma == 0 || math.IsNaN(sigma) {
		return 0
	}
	return (d - float64(toward/2)) / sigma
}

func cmpZero(d float64) int {
	switch {
	case d > 0:
		return 1
	case d < 0:
		return -1
	}
	return 0
}

// MannWhitney returns U, the number of pairs in which the treatment's value is the larger one, and P by the normal law with
// corrections for ties and continuity; NaN is left out. The control is the first argument.
// Source: Mann & Whitney, Ann. Math. Stat. 18 (1947).
func MannWhitney(control, treatment []float64, alt Alternative) (u, p float64, err error) {
	r := rankedOf(treatment, control)
	if len(r.x) == 0 || len(r.y) == 0 {
		return 0, 0, ErrNoData
	}
	u, _ = r.u(0)
	switch alt {
	case Greater:
		return u, normalTail(r.z(0, 1)), nil
	case Less:
		return u, normalTail(-r.z(0, -1)), nil
	}
	return u, min(1, 2*normalTail(math.Abs(r.z(0, 0)))), nil
}

// MannWhitneyExact is MannWhitney with the exact law of U, which holds without ties; it takes time of the order of the product
// of the sizes times their sum.
func MannWhitneyExact(control, treatment []float64, alt Alternative) (u, p float64, err error) {
	r := rankedOf(treatment, control)
	n, m := len(r.x), len(r.y)
	if n == 0 || m == 0 {
		return 0, 0, ErrNoData
	}
	u, _ = r.u(0)
	law := rankSumLaw(n, m)
	above, below := 0.0, 0.0
	for k, share := range law {
		if float64(k) >= u {
			above += share
		}
		if float64(k) <= u {
			below += share
		}
	}
	switch alt {
	case Greater:
		return u, above, nil
	case Less:
		return u, below, nil
	}
	return u, min(1, 2*min(above, below)), nil
}

// rankSumLaw is the probability of each U from 0 to n m: the largest of all values is one of the n with probability n/(n+m),
// and then stands above all m.
func rankSumLaw(n, m int) []float64 {
	laws := make([][]float64, m+1)
	for i := range n + 1 {
		for j := range m + 1 {
			next := make([]float64, i*j+1)
			if i == 0 || j == 0 {
				next[0] = 1
				laws[j] = next
				continue
			}
			share := float64(i) / float64(i+j)
			for k, p := range laws[j] { // i-1 and j
				next[k+j] += float64(share * p)
			}
			for k, p := range laws[j-1] { // i and j-1
				next[k] += float64((1 - share) * p)
			}
			laws[j] = next
		}
	}
	return laws[m]
}

// Kayenta is the configuration of Kayenta's judge of one metric. The zero value has its documented defaults.
type Kayenta struct {
	Tolerance  float64     // the interval has to leave out this share of the estimate; 0 means 0.25
	Confidence float64     // of the interval; 0 means 0.98
	Direction  Alternative // which way counts: TwoSided either, Greater increase, Less decrease
	CLES       bool        // effect is the common language effect size, not the ratio of means
	Allowed    [2]float64  // effects up to which a decrease and an increase pass; 0 means the measure's neutral value
}

// Classification is what Kayenta says of a metric.
type Classification string

// Classifications.
const (
	KayentaPass   Classification = "Pass"
	KayentaHigh   Classification = "High"
	KayentaLow    Classification = "Low"
	KayentaNoData Classification = "Nodata"
)

// RankInterval is the confidence interval of the shift between two samples by which the rank sum test would just not reject,
// and the Hodges-Lehmann estimate. Source: R, wilcox.test (asymptotic, corrected).
type RankInterval struct{ Lo, Hi, Estimate float64 }

// Shift computes the interval as Kayenta does, but for the error of its root finder (up to 1e-4, on which its verdicts about
// metrics of mostly equal values depend).
func Shift(control, treatment []float64, confidence float64) (RankInterval, error) {
	r := rankedOf(treatment, control)
	if len(r.x) == 0 || len(r.y) == 0 {
		return RankInterval{}, ErrNoData
	}
	if !(confidence > 0 && confidence < 1) {
		return RankInterval{}, fmt.Errorf("confidence %v: it must be above 0 and below 1", confidence)
	}
	z := mathext.NormalQuantile((1 + confidence) / 2)
	return RankInterval{Lo: r.root(z), Hi: r.root(-z), Estimate: r.root(0)}, nil
}

// root is the shift at which z falls through a level; z falls from shift to shift.
func (r *ranked) root(level float64) float64 {
	lo, hi := r.x[0]-r.y[len(r.y)-1], r.x[len(r.x)-1]-r.y[0]
	if r.z(lo, 0) <= level {
		return lo
	}
	if r.z(hi, 0) >= level {
		return hi
	}
	// z is a step function: half way between where it is still above and where it is below, or on a step that is on the level.
	left := edgeOf(lo, hi, func(s float64) bool { return r.z(s, 0) > level })
	right := edgeOf(lo, hi, func(s float64) bool { return r.z(s, 0) >= level })
	return (left + right) / 2
}

// edgeOf is where a condition that holds at lo and not at hi ends.
func edgeOf(lo, hi float64, holds func(float64) bool) float64 {
	for range 60 {
		if mid := (lo + hi) / 2; holds(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// Classify compares two series of points (usually one a minute) the way Kayenta's NetflixACAJudge does: High where the
// interval of the shift lies above the tolerance and the effect is at least the allowed increase, Low likewise. It looks at
// points, not at requests, and its error rate holds for one look. It returns the effect too.
// Source: Kayenta, kayenta-judge, MannWhitneyClassifier.
func (k Kayenta) Classify(control, treatment []float64) (Classification, float64) {
	r := rankedOf(treatment, control)
	if len(r.x) == 0 || len(r.y) == 0 {
		return KayentaNoData, math.NaN()
	}
	effect, neutral := MeanRatio(control, treatment), 1.0
	if k.CLES {
		effect, neutral = CLES(control, treatment), 0.5
	}
	if slices.Equal(r.x, r.y) || r.x[0] == r.x[len(r.x)-1] && r.y[0] == r.y[len(r.y)-1] && r.x[0] == r.y[0] {
		return KayentaPass, effect
	}
	orElse := func(v, standard float64) float64 {
		if v == 0 {
			return standard
		}
		return v
	}
	shift, err := Shift(control, treatment, orElse(k.Confidence, 0.98))
	if err != nil {
		return KayentaNoData, effect
	}
	bound := float64(orElse(k.Tolerance, 0.25) * math.Abs(shift.Estimate))
	down, up := orElse(k.Allowed[0], neutral), orElse(k.Allowed[1], neutral)
	switch {
	case k.Direction != Less && shift.Lo > bound && !(effect < up):
		return KayentaHigh, effect
	case k.Direction != Greater && shift.Hi < -bound && !(effect > down):
		return KayentaLow, effect
	}
	return KayentaPass, effect
}

// MeanRatio is mean(treatment)/mean(control), NaN where either is 0.
func MeanRatio(control, treatment []float64) float64 {
	c, t := meanOf(control), meanOf(treatment)
	if c == 0 || t == 0 {
		return math.NaN()
	}
	return t / c
}

// CLES is the common language effect size: the probability that a value of the treatment is above one of the control, ties
// counting half. Source: McGraw & Wong, Psychol. Bull. 111 (1992).
func CLES(control, treatment []float64) float64 {
	r := rankedOf(treatment, control)
	u, _ := r.u(0)
	return u / float64(len(r.x)*len(r.y))
}

// CohenD is the absolute difference of the means in pooled standard deviations.
func CohenD(control, treatment []float64) float64 {
	ss := func(x []float64) (sum float64) {
		m := meanOf(x)
		for _, v := range x {
			sum += float64((v - m) * (v - m))
		}
		return sum
	}
	pooled := (ss(control) + ss(treatment)) / float64(len(control)+len(treatment)-2)
	return math.Abs(meanOf(treatment)-meanOf(control)) / math.Sqrt(pooled)
}

func meanOf(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}
