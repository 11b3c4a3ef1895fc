package judge

import (
	"fmt"
	"math"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
)

// Defaults of a threshold guardrail.
const (
	defaultWindow = 5 * time.Second
	defaultMinN   = 20
	tailEvents    = 3 // observations that must lie beyond a judged tail quantile when no minN is given
)

// thresholdLane is the k-of-n rule: the observed time is cut into disjoint looks of the guardrail's window, each look
// compares the two arms, and the lane fails when more than Blips.Allow of the last Blips.Of looks breached. Looks do not
// overlap, because overlapping ones would count one bad second several times and make "3 of 3" worth little more than
// "1 of 1". A look in which an arm has fewer than minN observations is none: neither good nor bad.
//
// Nothing here bounds the probability of a false alarm; verdicts say so.
type thresholdLane struct {
	Seconds int64         `json:"seconds"` // judged seconds in the current look
	From    int64         `json:"from,omitempty"`
	Thin    bool          `json:"thin,omitempty"` // some second of the current look lacked members
	Strata  []stratumSums `json:"strata,omitempty"`
	Looks   []look        `json:"looks,omitempty"` // full looks of the stage, oldest first, at most Blips.Of
}

type stratumSums struct {
	stratum
	Baseline sums `json:"baseline"`
	Exposed  sums `json:"exposed"`
}

// look is one finished comparison. Estimates are standardised: each stratum's own, weighted with its exposed n, so that
// a baseline which moves while exposure grows looks the same in both arms.
type look struct {
	From     int64   `json:"from"`
	To       int64   `json:"to"`
	Clock    int64   `json:"clock"` // judged seconds when it ended
	Baseline float64 `json:"baseline"`
	Exposed  float64 `json:"exposed"`
	NB       uint64  `json:"nb"`
	NE       uint64  `json:"ne"`
	Alone    float64 `json:"alone"` // exposed arm over all strata, for the absolute limit
	NAlone   uint64  `json:"nAlone"`
	Worse    bool    `json:"worse,omitempty"` // breached worseBy
	Over     bool    `json:"over,omitempty"`  // breached max
	Thin     bool    `json:"thin,omitempty"`  // cannot support a pass
}

func (l *look) breach() bool { return l.Worse || l.Over }

func (t *thresholdLane) enter() { *t = thresholdLane{} }

func (t *thresholdLane) observe(g *Guardrail, m evidence.Metric, s *laneSecond) {
	if t.Seconds == 0 {
		t.From = s.At
	}
	t.Seconds++
	t.Thin = t.Thin || !s.Covered
	for i := range s.Strata {
		st := t.stratum(s.Strata[i].stratum)
		st.Baseline.add(&s.Strata[i].Arms[baseline], g.usesHist())
		st.Exposed.add(&s.Strata[i].Arms[exposed], g.usesHist())
	}
	if t.Seconds < g.windowSeconds() {
		return
	}
	if l, ok := compare(g, m, t.Strata); ok {
		l.From, l.To, l.Clock, l.Thin = t.From, s.At, s.Clock, t.Thin
		t.Looks = append(t.Looks, l)
		if extra := len(t.Looks) - g.Blips.of(); extra > 0 {
			t.Looks = slices.Delete(t.Looks, 0, extra)
		}
	}
	t.Seconds, t.From, t.Thin, t.Strata = 0, 0, false, nil
}

func (t *thresholdLane) stratum(st stratum) *stratumSums {
	i, ok := slices.BinarySearchFunc(t.Strata, st, func(e stratumSums, st stratum) int { return e.compare(st) })
	if !ok {
		t.Strata = slices.Insert(t.Strata, i, stratumSums{stratum: st})
	}
	return &t.Strata[i]
}

// compare makes one look of what was added up; false means that it says nothing.
func compare(g *Guardrail, m evidence.Metric, strata []stratumSums) (look, bool) {
	l := standardise(g, m, strata)
	l.Alone, l.NAlone = exposedAlone(g, m, strata)
	both := l.NB >= g.minN() && l.NE >= g.minN()
	alone := l.NAlone >= g.minN()
	l.Worse = g.comparing() && both && worse(g, m, l.Baseline, l.Exposed, l.NB) > g.limit()
	l.Over = g.Max != nil && alone && l.Alone > *g.Max
	if g.comparing() {
		return l, both || l.Over
	}
	return l, alone
}

// standardise returns the two arms' estimates over the strata that have both, each weighted with its exposed n.
func standardise(g *Guardrail, m evidence.Metric, strata []stratumSums) look {
	var l look
	weights := 0.0
	for i := range strata {
		b, nB := estimate(g, m, &strata[i].Baseline)
		e, nE := estimate(g, m, &strata[i].Exposed)
		if nB == 0 || nE == 0 {
			continue
		}
		w := float64(nE)
		l.Baseline += float64(w * b)
		l.Exposed += float64(w * e)
		weights += w
		l.NB, l.NE = l.NB+nB, l.NE+nE
	}
	if weights > 0 {
		l.Baseline, l.Exposed = l.Baseline/weights, l.Exposed/weights
	}
	return l
}

// exposedAlone returns the exposed arm's statistic over all strata: an absolute limit compares nothing.
func exposedAlone(g *Guardrail, m evidence.Metric, strata []stratumSums) (float64, uint64) {
	var all sums
	for i := range strata {
		all.addSums(&strata[i].Exposed)
	}
	return estimate(g, m, &all)
}

func (t *thresholdLane) verdict(g *Guardrail, m evidence.Metric, clock int64, v *Verdict) {
	breached := 0
	for i := range t.Looks {
		if t.Looks[i].breach() {
			breached++
		}
	}
	full := len(t.Looks) == g.Blips.of()
	v.Window, v.Breached, v.Looks, v.Of = g.window(), breached, len(t.Looks), g.Blips.of()
	v.Rule = fmt.Sprintf("threshold %d of %d looks", breached, len(t.Looks))
	v.Powered = full && t.fresh(g, clock)
	switch {
	case breached > g.Blips.allow():
		v.Result = Fail
		v.Powered = false
	case v.Powered && breached == 0 && g.limited():
		v.Result = Pass
	default:
		v.Result = Inconclusive
		v.Detail = t.why(g, clock, breached)
	}
	t.numbers(g, m, v)
}

// fresh reports whether every look ended recently enough, and with enough members, to support a pass.
func (t *thresholdLane) fresh(g *Guardrail, clock int64) bool {
	reach := 2 * int64(g.Blips.of()) * g.windowSeconds()
	return !slices.ContainsFunc(t.Looks, func(l look) bool { return l.Thin || clock-l.Clock >= reach })
}

func (t *thresholdLane) why(g *Guardrail, clock int64, breached int) string {
	of := g.Blips.of()
	switch {
	case !g.limited():
		return "no limit is set: nothing to judge"
	case len(t.Looks) < of:
		return fmt.Sprintf("collecting: %d of %d looks with %d observations in each arm", len(t.Looks), of, g.minN())
	case slices.ContainsFunc(t.Looks, func(l look) bool { return l.Thin }):
		return "fewer than 95 % of the members reported"
	case !t.fresh(g, clock):
		return "the last looks are too old"
	}
	return fmt.Sprintf("%d of %d looks breached; more than %d fail", breached, of, g.Blips.allow())
}

// numbers fills in the estimates over the looks: of a failing lane those that breached the limit shown, else all of them;
// before the first look, what has been counted so far.
func (t *thresholdLane) numbers(g *Guardrail, m evidence.Metric, v *Verdict) {
	over := t.overLimit(g)
	var sel []look
	for _, l := range t.Looks {
		if v.Result != Fail || (over && l.Over) || (!over && l.Worse) {
			sel = append(sel, l)
		}
	}
	if len(t.Looks) > 0 {
		v.From, v.To = t.Looks[0].From, t.Looks[len(t.Looks)-1].To
		pool(sel, over || !g.comparing(), v)
	} else {
		for i := range t.Strata {
			v.NBaseline += t.Strata[i].Baseline.N
			v.NExposed += t.Strata[i].Exposed.N
		}
	}
	switch {
	case over:
		v.Scale, v.Effect, v.Limit = scaleValue, v.Exposed, *g.Max
	case g.WorseBy.Relative != 0:
		v.Scale, v.Limit = scaleRelative, g.limit()
	default:
		v.Scale, v.Limit = scaleAbsolute, g.limit()
	}
	if !over && g.comparing() && v.NBaseline > 0 && len(sel) > 0 {
		v.Effect = worse(g, m, v.Baseline, v.Exposed, v.NBaseline)
	}
}

// pool averages the looks' estimates, weighted with their exposed n.
func pool(sel []look, alone bool, v *Verdict) {
	wB, wE := 0.0, 0.0
	for _, l := range sel {
		e, n := l.Exposed, l.NE
		if alone {
			e, n = l.Alone, l.NAlone
		}
		v.Baseline += float64(float64(l.NE) * l.Baseline)
		v.Exposed += float64(float64(n) * e)
		wB, wE = wB+float64(l.NE), wE+float64(n)
		v.NBaseline, v.NExposed = v.NBaseline+l.NB, v.NExposed+n
	}
	if wB > 0 {
		v.Baseline /= wB
	}
	if wE > 0 {
		v.Exposed /= wE
	}
}

// overLimit reports whether the absolute limit is the one to show: it is the only one, or it breached more often.
func (t *thresholdLane) overLimit(g *Guardrail) bool {
	if !g.comparing() {
		return g.Max != nil
	}
	worse, over := 0, 0
	for _, l := range t.Looks {
		if l.Worse {
			worse++
		}
		if l.Over {
			over++
		}
	}
	return over > worse
}

// windowSeconds is the length of a look in judged seconds.
func (g *Guardrail) windowSeconds() int64 { return max(1, int64(math.Ceil(g.window().Seconds()))) }

func (g *Guardrail) window() time.Duration {
	if g.Window <= 0 {
		return defaultWindow
	}
	return g.Window
}

// minN is how many observations each arm needs in a look. Where none is given a tail quantile needs enough of them that
// three lie beyond it: the p99 of twenty observations is their maximum and says nothing.
func (g *Guardrail) minN() uint64 {
	if g.MinN > 0 {
		return g.MinN
	}
	if p, ok := g.quantile(); ok && p > 0.5 {
		return uint64(math.Ceil(tailEvents/(1-p) - 1e-9))
	}
	return defaultMinN
}

// comparing reports whether the guardrail has a limit against the baseline arm.
func (g *Guardrail) comparing() bool { return g.WorseBy != Margin{} }

// limited reports whether there is any limit at all: without one nothing can be passed.
func (g *Guardrail) limited() bool {
	return g.comparing() || g.Max != nil || g.Hard != nil || g.drift() || g.flips()
}

// limit is the margin against the baseline on its own scale; a relative one wins where both are set.
func (g *Guardrail) limit() float64 {
	if g.WorseBy.Relative != 0 {
		return g.WorseBy.Relative
	}
	return g.WorseBy.Absolute
}

// of and allow resolve the defaults: fail when all three of the last three looks breached.
func (b Blips) of() int {
	if b.Of <= 0 {
		return 3
	}
	return min(b.Of, 1000)
}

func (b Blips) allow() int {
	if b.Of <= 0 {
		return 2
	}
	return min(max(b.Allow, 0), b.of()-1)
}
