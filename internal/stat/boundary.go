package stat

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// A Boundary bounds a sum S of centred observations at all times at once, as a function of V, the variance accumulated so
// far. It inverts a mixture m(S, V) that is at least the wealth of a bet against the null: P(ever ln m >= ln(1/level)) <= level.
// They are for intervals that are shown; decisions come from a Lane.
// Source: Howard, Ramdas, McAuliffe & Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Ann. Stat. 49
// (2021), and its code, confseq.
type Boundary struct {
	logM func(s, v float64) float64
	most func(v float64) float64 // largest possible S; nil: none
}

// LogM is ln m(s, v).
func (b Boundary) LogM(s, v float64) float64 { return b.logM(s, v) }

// Bound is the largest S that is still believed at V: ln m(S, V) = ln(1/level).
func (b Boundary) Bound(v, level float64) float64 {
	l := -ln(level)
	hi := max(v, 1)
	if b.most != nil {
		if hi = b.most(v); b.logM(hi, v) < l {
			return hi
		}
	} else {
		for range 200 {
			if b.logM(hi, v) > l {
				break
			}
			hi = float64(2 * hi)
		}
	}
	return edgeOf(0, hi, func(s float64) bool { return b.logM(s, v) < l })
}

// tuned is the rho of a normal mixture that is tightest at a variance v for a two-sided level.
func tuned(v, level float64) float64 {
	l := float64(-2 * ln(level))
	return v / (l + ln(1+l))
}

// Normal is the boundary for sub-Gaussian sums, tightest at the variance vOpt for the level. With a variance estimated from
// the data it is the asymptotic confidence sequence.
func Normal(vOpt, level float64, alt Alternative) Boundary {
	rho := tuned(vOpt, float64(level*2/alt.sides()))
	logM := func(s, v float64) float64 {
		return float64(ln(rho/(v+rho))/2) + float64(s*s)/float64(2*(v+rho))
	}
	if alt == TwoSided {
		return Boundary{logM: logM}
	}
	return Boundary{logM: func(s, v float64) float64 {
		return logM(s, v) + math.Ln2 + ln(normalTail(-s/math.Sqrt(v+rho)))
	}}
}

// GammaExponential is the one-sided boundary for sums of variables with a sub-exponential tail of scale c, as bounded ones
// have.
func GammaExponential(vOpt, c, level float64) Boundary {
	rho, c2 := tuned(vOpt, float64(level*2)), float64(c*c)
	r := rho / c2
	lead := float64(r*ln(r)) - lnGamma(r) - ln(mathext.GammaIncReg(r, r))
	return Boundary{logM: func(s, v float64) float64 {
		x, n := (float64(c*s)+v)/c2, (v+rho)/c2
		return lead + lnGamma(n) + ln(mathext.GammaIncReg(n, x+r)) - float64(n*ln(x+r)) + x
	}}
}

// GammaPoisson is the one-sided boundary for sums whose tail is that of a Poisson variable with jumps of c.
func GammaPoisson(vOpt, c, level float64) Boundary {
	rho, c2 := tuned(vOpt, float64(level*2)), float64(c*c)
	r := rho / c2
	lead := float64(r*ln(r)) - lnGamma(r) - ln(mathext.GammaIncRegComp(r, r))
	return Boundary{logM: func(s, v float64) float64 {
		n := (v + rho) / c2
		x := s/c + n
		return lead + lnGamma(x) + ln(mathext.GammaIncRegComp(x, n)) - float64(x*ln(n)) + v/c2
	}}
}

// BetaBinomial is the boundary for sums of variables between -g and h; for yes-or-no values with probability p, g is p and h
// is 1-p.
func BetaBinomial(vOpt, g, h, level float64, alt Alternative) Boundary {
	gh, w := float64(g*h), g+h
	r := max(tuned(vOpt, float64(level*2/alt.sides()))-gh, float64(1e-3*gh))
	x := 1.0
	if alt != TwoSided {
		x = h / w
	}
	at := func(a, b float64) float64 { return lnBeta(a, b) + lnIncBeta(x, a, b) }
	lead := at(r/float64(g*w), r/float64(h*w))
	lnG, lnH, lnW := ln(g), ln(h), ln(w)
	return Boundary{
		most: func(v float64) float64 { return v / g },
		logM: func(s, v float64) float64 {
			up, down := v+float64(h*s), v-float64(g*s)
			return float64(v/gh*lnW) - float64(up/float64(h*w)*lnG) - float64(down/float64(g*w)*lnH) +
				at((r+down)/float64(g*w), (r+up)/float64(h*w)) - lead
		},
	}
}

// Stitched is the polynomial stitching bound: sums with variance v from vMin on, jumps of scale c; s and eta are how it
// divides the level over time (1.4 and 2 in the source).
func Stitched(v, level, vMin, c, s, eta float64) float64 {
	v = max(v, vMin)
	l := float64(s*ln(ln(eta*v/vMin))) + ln(mathext.Zeta(s, 1)/math.Pow(ln(eta), s)) - ln(level)
	return stitch(v, l, c, eta)
}

func stitch(v, l, c, eta float64) float64 {
	k1 := (math.Pow(eta, 0.25) + math.Pow(eta, -0.25)) / math.Sqrt2
	k2 := float64((math.Sqrt(eta) + 1) / 2)
	jump := float64(k2 * float64(c*l))
	return math.Sqrt(float64(float64(k1*k1)*float64(v*l))+float64(jump*jump)) + jump
}

// QuantileCountBound bounds how far the number of values below the p-quantile is from p t, for all quantiles and times at
// once. Source: Howard & Ramdas, "Sequential estimation of quantiles", Bernoulli 28 (2022), theorem 4.
func QuantileCountBound(p, t, level, tOpt, delta, s, eta float64) float64 {
	m := max(t, tOpt)
	logit := ln(p / (1 - p))
	r := p
	if p < 0.5 {
		r = min(0.5, 1/(1+exp(-(logit+float64(2*float64(delta*math.Sqrt(tOpt*eta/m)))))))
	}
	variance := float64(r * (1 - r))
	j := math.Sqrt(m/tOpt)*math.Abs(logit)/float64(2*delta) + 1
	z := mathext.Zeta(s, 1)
	l := float64(s*ln(ln(eta*m/tOpt))) + float64(s*ln(j)) + ln(float64(float64(2*z)*(float64(2*z)+1))/float64(level*math.Pow(ln(eta), s)))
	return float64(delta*math.Sqrt(eta*m*variance/tOpt)) + stitch(float64(variance*m), l, (1-float64(2*p))/3, eta)
}

// AllQuantiles is how far a sample's cumulative share may be from the law's, at every place and all times from tMin values on:
// A sqrt((ln(1+ln(t/tMin))+C)/t), C by the level; infinite before. A is 0.85 in the source (as QuantileCountBound), above
// 1/sqrt(2).
func AllQuantiles(t, level, tMin, a float64) float64 {
	if t < tMin {
		return math.Inf(1)
	}
	lo, hi := 1.0, 1.0
	for allQuantilesError(hi, a) > level {
		lo, hi = hi, float64(2*hi)
	}
	c := edgeOf(lo, hi, func(c float64) bool { return allQuantilesError(c, a) > level })
	return float64(a * math.Sqrt((ln(1+ln(t/tMin))+c)/t))
}

// allQuantilesError is the smallest bound over eta on the probability of ever leaving the band.
func allQuantilesError(c, a float64) float64 {
	best := math.Inf(1)
	top := float64(2 * float64(a*a))
	const steps = 4000
	for i := 1; i < steps; i++ {
		eta := 1 + float64((top-1)*float64(i)/steps)
		room := a - math.Sqrt(float64(2*(eta-1))/c)
		g := float64(2 / eta * float64(room*room))
		if room <= 0 || g <= 1 {
			continue
		}
		tails := 1 + 1/float64((g-1)*ln(eta))
		best = min(best, float64(float64(4*exp(-float64(g*c)))*tails))
	}
	return best
}

// Range is an interval that is shown.
type Range struct{ Lo, Hi float64 }

// ProportionRange is the confidence sequence of a probability after n values of which k were yes, tightest at tOpt values. It
// holds at all n together.
func ProportionRange(k, n, level, tOpt float64) Range {
	believed := func(p float64) bool {
		b := BetaBinomial(float64(tOpt*float64(p*(1-p))), p, 1-p, level, TwoSided)
		return b.logM(k-float64(n*p), float64(n*float64(p*(1-p)))) < -ln(level)
	}
	const edge = 1e-9
	mid := min(max(k/n, edge), 1-edge)
	out := Range{0, 1}
	if !believed(edge) {
		out.Lo = edgeOf(mid, edge, believed)
	}
	if !believed(1 - edge) {
		out.Hi = edgeOf(mid, 1-edge, believed)
	}
	return out
}

// MeanRange is the asymptotic confidence sequence of a mean, tightest at tOpt values: it holds at all sizes together once
// there are enough values for their variance to be known.
func MeanRange(m Moments, level, tOpt float64) Range {
	half := float64(math.Sqrt(m.Variance) * Normal(tOpt, level, TwoSided).Bound(m.N, level) / m.N)
	return Range{m.Mean - half, m.Mean + half}
}

// QuantileRange is the confidence sequence of the p-quantile from an ascending sample, tightest at tOpt values; its ends may
// be infinite. It holds at all sizes together.
func QuantileRange(sorted []float64, p, level, tOpt float64) Range {
	n := len(sorted)
	pq := float64(p * (1 - p))
	b := BetaBinomial(float64(tOpt*pq), p, 1-p, level, TwoSided)
	v := float64(float64(n) * pq)
	believed := func(k int) bool { return b.logM(float64(k)-float64(float64(n)*p), v) < -ln(level) }
	mid := int(float64(float64(n)*p) + 0.5)
	lo, hi := mid, mid
	for lo > 0 && believed(lo-1) {
		lo--
	}
	for hi < n && believed(hi+1) {
		hi++
	}
	out := Range{math.Inf(-1), math.Inf(1)}
	if lo > 0 {
		out.Lo = sorted[lo-1]
	}
	if hi < n {
		out.Hi = sorted[hi]
	}
	return out
}

// QuantilesDiffer is the always-valid P of "the two laws have the same p-quantile", from ascending samples, tuned to tOpt
// values a side. Source: as QuantileCountBound, section 5.
func QuantilesDiffer(a, b []float64, p, level, tOpt float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	pq := float64(p * (1 - p))
	m := BetaBinomial(float64(tOpt*pq), p, 1-p, level, TwoSided)
	x, y := quantileArm{a, p, m, 0}, quantileArm{b, p, m, 0}
	x.free()
	y.free()
	least := math.Inf(1)
	for _, at := range append(slices.Clone(a), b...) {
		least = min(least, x.evidence(at)+y.evidence(at))
	}
	return min(1, exp(-least))
}

// quantileArm is one sample in QuantilesDiffer; best is the share below the quantile against which there is least evidence.
type quantileArm struct {
	sorted []float64
	p      float64
	m      Boundary
	best   float64
}

func (q *quantileArm) at(share float64) float64 {
	n := float64(len(q.sorted))
	return q.m.logM(float64((share-q.p)*n), float64(n*float64(q.p*(1-q.p))))
}

// free finds best by a golden section search; the evidence is convex in the share.
func (q *quantileArm) free() {
	const golden = 0.61803398874989484820
	lo, hi := 1e-9, 1-1e-9
	for range 60 {
		l, r := hi-float64(golden*(hi-lo)), lo+float64(golden*(hi-lo))
		if q.at(l) < q.at(r) {
			hi = r
		} else {
			lo = l
		}
	}
	q.best = float64((lo + hi) / 2)
}

// evidence against x being the quantile.
func (q *quantileArm) evidence(x float64) float64 {
	n := float64(len(q.sorted))
	below, _ := slices.BinarySearch(q.sorted, x)
	upTo, _ := slices.BinarySearch(q.sorted, math.Nextafter(x, math.Inf(1)))
	switch least := float64(q.best * n); {
	case float64(upTo) < least:
		return q.at(float64(upTo) / n)
	case float64(below) > least:
		return q.at(float64(below) / n)
	}
	return q.at(q.best)
}
