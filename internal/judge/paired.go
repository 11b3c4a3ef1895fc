package judge

import (
	"fmt"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// statFlips judges how often two versions disagree about the same input, in whatever arm the request was: a share against an
// absolute limit, always-valid. It compares no arms, so it judges a candidate in shadow too.
const statFlips = "flips"

// defaultFlips is the tolerated share where the guardrail says nothing.
const defaultFlips = 0.01

func (g *Guardrail) flips() bool { return g.Stat == statFlips }

func (g *Guardrail) flipLimit() float64 {
	if g.Max != nil {
		return *g.Max
	}
	return defaultFlips
}

// blockFor makes a block of the second as the guardrail's statistic wants it.
func (l *laneSecond) blockFor(g *Guardrail, b *stat.Block) {
	if g.flips() {
		l.fillPairs(g.flipLimit(), b)
		return
	}
	l.fill(b)
}

// fillPairs makes a block of the second for a lane of flips: of both arms together, those that flipped and the others.
func (l *laneSecond) fillPairs(limit float64, b *stat.Block) {
	b.Second, b.Stage, b.Strata = l.At, l.Stage, b.Strata[:0]
	for i := range l.Strata {
		var s stat.Stratum
		s.Share = limit
		for arm := range l.Strata[i].Arms {
			l.Strata[i].Arms[arm].pairs(&s)
		}
		b.Strata = append(b.Strata, s)
	}
}

// pairs adds an arm's observations, each with its unit bucket where there is one.
func (a *armSecond) pairs(s *stat.Stratum) {
	s.Exposed.N += a.Bad
	s.Baseline.N += a.N - a.Bad
	for _, p := range a.Parts {
		if p.Cell == nil {
			continue
		}
		var flipped, same []evidence.UnitBucket
		for _, u := range p.Cell.Buckets {
			if u.Bad > 0 {
				flipped = append(flipped, evidence.UnitBucket{K: u.K, N: u.Bad})
			}
			if u.N > u.Bad {
				same = append(same, evidence.UnitBucket{K: u.K, N: u.N - u.Bad})
			}
		}
		s.Exposed.Parts = append(s.Exposed.Parts, stat.Part{Buckets: flipped})
		s.Baseline.Parts = append(s.Baseline.Parts, stat.Part{Buckets: same})
	}
}

// lookAtFlips: power is shown by a share proved to be within the limit, or by having been able to see a harmful one.
func (a *alwaysLane) lookAtFlips(g *Guardrail, l *stat.Lane) {
	if d, ok := l.DetectableShare(g.flipLimit(), a.Level); ok {
		a.Detectable = &d
	}
	if !a.Powered {
		a.Proved = l.LogENotWorse() >= notWorseLevel
		a.Powered = a.Proved || a.Detectable != nil && *a.Detectable <= g.detect()
	}
}

func (a *alwaysLane) flipsVerdict(g *Guardrail, v *Verdict) {
	c := a.Lane.Totals()
	n := c.NT + c.NC
	v.Scale, v.Limit, v.NExposed, v.NBaseline, v.Baseline = scaleValue, g.flipLimit(), n, 0, 0
	if n > 0 {
		v.Exposed = float64(c.NT) / float64(n)
		v.Effect = v.Exposed
	}
}

func (v Verdict) flipsSaid() string {
	if v.NExposed == 0 {
		return "collecting (no pair so far)"
	}
	return fmt.Sprintf("%s of pairs differ, limit %s", v.amount(v.Exposed), v.amount(v.Limit))
}
