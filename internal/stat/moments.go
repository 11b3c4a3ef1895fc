package stat

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Alternative is the direction in which a test of two means looks: how the treatment may differ from the control.
type Alternative int

// Alternatives.
const (
	TwoSided Alternative = iota
	Greater              // the treatment's mean is above
	Less                 // the treatment's mean is below
)

// Moments summarise a sample for tests of its mean.
type Moments struct{ N, Mean, Variance float64 }

// MomentsOf takes a count, the sum of the values and the sum of their squares; the variance is the unbiased one.
func MomentsOf(n, sum, sumSquares float64) Moments {
	return Moments{n, sum / n, (sumSquares - float64(sum*sum)/n) / (n - 1)}
}

// ShareMoments are those of n yes-or-no values of which some are yes: variance p(1-p).
func ShareMoments(n, yes float64) Moments {
	p := yes / n
	return Moments{n, p, float64(p * (1 - p))}
}

// Difference is an estimated effect of a treatment against a control.
type Difference struct {
	Value float64 // treatment minus control, absolute or relative to the control's mean
	SE    float64 // its standard error
	DF    float64 // Welch's degrees of freedom
	N     float64 // values on both sides
}

// AbsoluteDifference is mean(treatment) - mean(control).
func AbsoluteDifference(control, treatment Moments) Difference {
	d := Difference{Value: treatment.Mean - control.Mean, N: control.N + treatment.N}
	c, t := control.Variance/control.N, treatment.Variance/treatment.N
	d.SE = math.Sqrt(c + t)
	d.DF = float64((c+t)*(c+t)) / (float64(c*c)/(control.N-1) + float64(t*t)/(treatment.N-1))
	return d
}

// RelativeDifference is AbsoluteDifference over |mean(control)|, its error by the delta method.
func RelativeDifference(control, treatment Moments) Difference {
	d := AbsoluteDifference(control, treatment)
	m := math.Abs(control.Mean)
	r := treatment.Mean / m
	d.Value /= m
	d.SE = math.Sqrt(treatment.Variance/treatment.N+float64(float64(r*r)*control.Variance)/control.N) / m
	return d
}

// Interval is a confidence interval, one end infinite where the alternative has one side, and the P of "no difference".
type Interval struct{ Lo, Hi, P float64 }

// around puts an interval of a half width around the difference.
func (d Difference) around(half float64, alt Alternative) Interval {
	half = float64(half) // where it is a product, it is rounded first
	i := Interval{Lo: d.Value - half, Hi: d.Value + half}
	switch alt {
	case Greater:
		i.Hi = math.Inf(1)
	case Less:
		i.Lo = math.Inf(-1)
	}
	return i
}

// towards is the statistic in standard errors, positive in the direction of the alternative.
func (d Difference) towards(alt Alternative) float64 {
	switch z := d.Value / d.SE; alt {
	case Greater:
		return z
	case Less:
		return -z
	default:
		return math.Abs(z)
	}
}

// sides is how many tails share the level.
func (a Alternative) sides() float64 {
	if a == TwoSided {
		return 2
	}
	return 1
}

// ZTest is the test by the normal law, for one look at a size fixed in advance.
func (d Difference) ZTest(level float64, alt Alternative) Interval {
	i := d.around(float64(mathext.NormalQuantile(1-level/alt.sides())*d.SE), alt)
	i.P = min(1, alt.sides()*normalTail(d.towards(alt)))
	return i
}

// Welch is the t-test for unequal variances, for one look at a size fixed in advance. Source: Welch, Biometrika 34 (1947).
func (d Difference) Welch(level float64, alt Alternative) Interval {
	i := d.around(float64(studentQuantile(level/alt.sides(), d.DF)*d.SE), alt)
	i.P = min(1, alt.sides()*studentTail(d.towards(alt), d.DF))
	return i
}

// studentTail is the probability that Student's t with df degrees of freedom exceeds t.
func studentTail(t, df float64) float64 {
	tail := float64(mathext.RegIncBeta(df/2, 0.5, df/(df+float64(t*t))) / 2)
	if t < 0 {
		return 1 - tail
	}
	return tail
}

// studentQuantile is exceeded with probability tail, at most 1/2.
func studentQuantile(tail, df float64) float64 {
	x := mathext.InvRegIncBeta(df/2, 0.5, 2*tail)
	return math.Sqrt(df * (1 - x) / x)
}

// GrowthBook is the asymptotic confidence sequence as GrowthBook computes it, one that may be looked at often: a normal
// mixture tuned to be tightest at tuning values on both sides together (their default is 5000). It is about totals, so it
// takes a baseline that moves while exposure ramps for an effect. P is the level at which the interval of the same mixture
// would begin to leave out 0.
// Sources: GrowthBook, gbstats/frequentist/tests.py; Waudby-Smith et al., "Time-uniform central limit theory and asymptotic
// confidence sequences", 2021.
func (d Difference) GrowthBook(level, tuning float64, alt Alternative) Interval {
	a := float64(level * 2 / alt.sides())
	rho2 := (float64(-2*ln(a)) + ln(float64(-2*ln(a))+1)) / tuning
	nr := float64(d.N*rho2) + 1
	wide := float64(2*nr) / float64(d.N*rho2)
	width := func(l float64) float64 { return math.Sqrt(wide*l) * d.SE }
	// log e of the difference under the mixture, but for the root of nr
	x := d.towards(alt)
	q := float64(x*x) / wide
	var i Interval
	if alt == TwoSided {
		i = d.around(width(ln(math.Sqrt(nr)/level)), alt)
		i.P = min(1, math.Sqrt(nr)*exp(-q))
		return i
	}
	i = d.around(width(ln(1+math.Sqrt(nr)/(2*level))), alt)
	i.P = 1
	if x > 0 {
		i.P = min(1, math.Sqrt(nr)/(2*math.Expm1(q)))
	}
	return i
}

// Eppo is GrowthBook's interval in the form and with the tuning of Eppo (their default is 10000): the multiplier of the
// standard error at n values for a two-sided level. Source: Eppo, statistical nitty-gritty.
func Eppo(n, level, tuning float64) float64 {
	l := float64(-2 * ln(level))
	rho := tuning / (ln(1+l) + l)
	return math.Sqrt((n + rho) / n * (ln((n+rho)/rho) + l))
}

// Statsig is the multiplier of the standard error at which Statsig's sequential test rejects, for the two arms' shares of
// all values and equal variances. Its tuning uses the present number of values, so that it does not depend on it at all: a
// constant, which is crossed eventually. Source: Statsig, sequential testing.
func Statsig(level, share float64, alt Alternative) float64 {
	z := mathext.NormalQuantile(1 - level/alt.sides())
	// V/tau, tau being z^2 (vT+vC)/(NT+NC) and V vT/NT+vC/NC
	v := 1 / float64(float64(z*z)*float64(2*float64(share*(1-share))))
	return math.Sqrt((v + 1) * (float64(-2*ln(level/alt.sides())) - ln(v/(v+1))))
}

// MSPRT is the log of the mixture likelihood ratio of a difference against 0, with effects drawn from a normal law of
// variance tau2: reject where it reaches ln(1/level), however often one looks. As all tests on totals it needs rates that
// stay. Source: Johari, Koomen, Pekelis & Walsh, "Always valid inference", Operations Research 70 (2022).
func (d Difference) MSPRT(tau2 float64) float64 {
	v := float64(d.SE * d.SE)
	return float64(ln(v/(v+tau2))/2) + float64(float64(d.Value*d.Value)*tau2)/float64(2*float64(v*(v+tau2)))
}
