package judge

import (
	"math"

	"sluice.dev/sdk/evidence"
)

// Statistics of Guardrail.Stat.
const (
	statProportion   = "proportion"
	statMean         = "mean"
	statDistribution = "distribution" // judged by its median in the threshold test
)

// maxEffect caps a relative effect: from a baseline of nothing every rise is endless, and JSON knows no infinity.
const maxEffect = 1e6

// sums are the counts of one arm, added up over seconds.
type sums struct {
	N    uint64         `json:"n"`
	Bad  uint64         `json:"bad,omitempty"`
	Hist *evidence.Hist `json:"hist,omitempty"`
}

func (s *sums) add(a *armSecond, hist bool) {
	s.N += a.N
	s.Bad += a.Bad
	if hist {
		for _, p := range a.Parts {
			s.addHist(p.Hist)
		}
	}
}

func (s *sums) addHist(h *evidence.Hist) {
	if s.Hist == nil {
		s.Hist = h.Clone()
		return
	}
	s.Hist.Merge(h)
}

func (s *sums) addSums(o *sums) {
	s.N += o.N
	s.Bad += o.Bad
	s.addHist(o.Hist)
}

// mean returns the mean with every value at the middle of its bin, at most half a bin (1.1 % at scale 5) off, and whether
// there was a value.
func mean(h *evidence.Hist) (float64, bool) {
	if h == nil || h.Count() == 0 {
		return 0, false
	}
	sum := 0.0
	for bin, c := range h.All() {
		sum += float64(evidence.Middle(h.Scale, bin) * float64(c))
	}
	return sum / float64(h.Count()), true
}

// usesHist reports whether the guardrail's statistic is computed from histograms.
func (g *Guardrail) usesHist() bool {
	return g.Stat != statProportion && g.Stat != statFlips && g.Stat != ""
}

// quantile returns which quantile the statistic is, false for the others.
func (g *Guardrail) quantile() (float64, bool) {
	switch g.Stat {
	case statDistribution, statDrift, "p50", "median":
		return 0.50, true
	case "p90":
		return 0.90, true
	case "p95":
		return 0.95, true
	case "p99":
		return 0.99, true
	}
	return 0, false
}

// lowerIsWorse reports whether a fall of the statistic is the harm: the metric declares only badBelow. A proportion is
// always a share of bad observations.
func lowerIsWorse(g *Guardrail, m evidence.Metric) bool {
	return g.usesHist() && m.BadBelow != nil && m.BadAbove == nil
}

// estimate returns the statistic of one arm and the number of observations behind it, 0 when it is not defined.
func estimate(g *Guardrail, m evidence.Metric, s *sums) (value float64, n uint64) {
	if !g.usesHist() {
		if s.N == 0 {
			return 0, 0
		}
		return float64(s.Bad) / float64(s.N), s.N
	}
	if s.Hist == nil {
		return 0, 0
	}
	var ok bool
	if p, is := g.quantile(); is {
		if lowerIsWorse(g, m) {
			p = 1 - p
		}
		value, ok = s.Hist.Quantile(p)
	} else {
		value, ok = mean(s.Hist)
	}
	if !ok || math.IsNaN(value) || math.IsInf(value, 0) {
		return 0, 0
	}
	return value, s.Hist.Count()
}

// worse returns how much worse the exposed value is than the baseline's on the scale of the guardrail's margin; positive
// is worse, whichever direction that is. A baseline of zero counts as half an event in its nB observations for shares.
func worse(g *Guardrail, m evidence.Metric, base, exp float64, nB uint64) float64 {
	d := exp - base
	if lowerIsWorse(g, m) {
		d = -d
	}
	if g.WorseBy.Relative == 0 {
		return d
	}
	if base <= 0 && !g.usesHist() && nB > 0 {
		base = 0.5 / float64(nB)
		d = exp - base
		if exp == 0 {
			return 0
		}
	}
	if base <= 0 {
		if d <= 0 {
			return 0
		}
		return maxEffect
	}
	return min(d/base, maxEffect)
}
