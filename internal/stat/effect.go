package stat

import (
	"math"

	"sluice.dev/sdk/evidence"
)

// effectSums estimate the effect within strata and blocks, so that a moving baseline under a ramp does not show as one.
// Each comparison weighs nT*nC/n. Source: Mantel & Haenszel, J. Natl. Cancer Inst. 22 (1959).
type effectSums struct {
	Weight   float64 `json:"weight"`
	NT       uint64  `json:"nT"` // exposed requests of strata with both arms
	Exposed  float64 `json:"exposed"`
	Baseline float64 `json:"baseline"`
	Shift    float64 `json:"shift"` // values: weighted difference of the mean bins
}

func (e *effectSums) add(l *Lane, s *Stratum) {
	nT, nC := float64(s.Exposed.N), float64(s.Baseline.N)
	if nT == 0 || nC == 0 {
		return
	}
	n := nT + nC
	e.Weight += float64(nT*nC) / n
	e.NT += s.Exposed.N
	e.Exposed += float64(float64(s.Exposed.Bad)*nC) / n
	e.Baseline += float64(float64(s.Baseline.Bad)*nT) / n
	if l.cfg.values() {
		t, okT := l.meanBin(&s.Exposed)
		c, okC := l.meanBin(&s.Baseline)
		if okT && okC {
			e.Shift += float64(float64(nT*nC) / n * (t - c))
		}
	}
}

func (l *Lane) meanBin(a *Arm) (float64, bool) {
	h, _ := l.binsOf(a)
	n, sum := 0.0, 0.0
	for bin, c := range h.All() {
		if bin != evidence.ZeroBin {
			n += float64(c)
			sum += float64(float64(c) * float64(bin))
		}
	}
	return sum / n, n > 0
}

// Estimate is what to show beside a decision. Rates are standardised to the same strata, so their difference is the effect.
type Estimate struct {
	NT, NC            uint64
	Exposed, Baseline float64 // rates; for P99 the p99 of each arm over the whole life; for Distribution the medians
	Effect            float64 // on the scale of the margin: relative, absolute, or for values relative
	Known             bool    // there was something to compare
}

// Estimate returns the effect seen so far. For Distribution the effect is the ratio of geometric means within blocks.
func (l *Lane) Estimate() Estimate {
	s := &l.st
	out := Estimate{NT: s.Totals.NT, NC: s.Totals.NC, Known: s.Effect.Weight > 0}
	if !out.Known {
		return out
	}
	switch l.cfg.Kind {
	case Distribution:
		out.Exposed, _ = s.Exposed.Quantile(0.5)
		out.Baseline, _ = s.Baseline.Quantile(0.5)
		bins := s.Effect.Shift / s.Effect.Weight
		out.Effect = exp(math.Ldexp(float64(bins*math.Ln2), -s.Scale)) - 1
		return out
	case P99:
		q := 0.99
		if l.cfg.side() == Down {
			q = 0.01
		}
		out.Exposed, _ = s.Exposed.Quantile(q)
		out.Baseline, _ = s.Baseline.Quantile(q)
	default:
		out.Exposed, out.Baseline = s.Effect.Exposed/s.Effect.Weight, s.Effect.Baseline/s.Effect.Weight
	}
	switch {
	case l.cfg.Margin.Absolute != 0:
		out.Effect = out.Exposed - out.Baseline
	case out.Baseline > 0:
		out.Effect = out.Exposed/out.Baseline - 1
	default:
		out.Known = false
	}
	return out
}
