package bench

import (
	"math"

	"sluice.dev/sluice/internal/stat"
)

// peeked looks at the totals of both arms again and again; it returns ln(1/P).
type peeked struct {
	values bool
	every  int // seconds between two looks
	judge  func(p *peeked, d stat.Difference) float64
	sum    cellTick
	last   float64
}

const peekLeast = 100 // observations of each arm before the first look

func (p *peeked) look(at int, c *cellTick) float64 {
	for arm := range arms {
		a, sum := &c[arm], &p.sum[arm]
		sum.n, sum.bad, sum.sum, sum.squares = sum.n+a.n, sum.bad+a.bad, sum.sum+a.sum, sum.squares+a.squares
	}
	if (at+1)%p.every == 0 && p.sum[exposed].n >= peekLeast && p.sum[base].n >= peekLeast {
		d := stat.AbsoluteDifference(p.moments(base), p.moments(exposed))
		if p.last = never; d.SE > 0 {
			p.last = -math.Log(p.judge(p, d))
		}
	}
	return p.last
}

func (p *peeked) moments(arm int) stat.Moments {
	a := &p.sum[arm]
	if p.values {
		return stat.MomentsOf(a.n, a.sum, a.squares)
	}
	return stat.ShareMoments(a.n, a.bad)
}

const peekLevel = 0.01

// fixedSample is the z test, of means Welch's t, as if this were the only look.
func fixedSample(p *peeked, d stat.Difference) float64 {
	if p.values {
		return d.Welch(peekLevel, stat.Greater).P
	}
	return d.ZTest(peekLevel, stat.Greater).P
}

// GrowthBook's defaults.
const (
	growthBookTuning = 5000
	growthBookLevel  = 0.05
)

// sequential is GrowthBook's one-sided confidence sequence.
func sequential(_ *peeked, d stat.Difference) float64 {
	return d.GrowthBook(growthBookLevel, growthBookTuning, stat.Greater).P
}
