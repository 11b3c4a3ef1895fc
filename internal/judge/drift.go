package judge

import (
	"fmt"
	"strconv"
)

// statDrift judges whether the values of a metric are still those of the baseline, whichever way they moved: a two-sided
// tilted histogram says with bounded error that they are not, and the population stability index says how much. Both are
// needed: any two versions of an ML feature differ a little, and enough traffic finds every difference.
const statDrift = "drift"

// defaultDrift is the index from which values count as drifted where the guardrail says nothing.
const defaultDrift = 0.25

// sureDrift is by how many standard errors the index must lie above its limit before the difference counts.
const sureDrift = 2

// drift reports whether the guardrail looks for drift, either way.
func (g *Guardrail) drift() bool { return g.Stat == statDrift }

// driftLimit is the largest tolerated index.
func (g *Guardrail) driftLimit() float64 {
	if g.Max != nil {
		return *g.Max
	}
	return defaultDrift
}

// large reports whether the lane's difference is one that matters. Evidence below that is left out of the rollout's: less
// evidence only makes an alarm rarer.
func (a *alwaysLane) large(g *Guardrail) bool {
	if !g.drift() {
		return true
	}
	psi, se, ok := a.Lane.Index()
	return ok && psi-float64(sureDrift*se) > g.driftLimit()
}

// driftVerdict fills in the numbers of a drift lane: its index is the effect.
func (a *alwaysLane) driftVerdict(g *Guardrail, v *Verdict) {
	v.Scale, v.Limit = scaleValue, g.driftLimit()
	psi, se, ok := a.Lane.Index()
	if !ok {
		return
	}
	v.Effect = psi
	lower, upper := max(0, psi-float64(sureDrift*se)), psi+float64(sureDrift*se)
	v.Lower, v.Upper = &lower, &upper
}

// driftSaid is the sentence's part about what was seen.
func (v Verdict) driftSaid() string {
	seen := fmt.Sprintf("values have drifted by PSI %s", psiText(v.Effect))
	if v.Result != Fail {
		seen = fmt.Sprintf("values differ by PSI %s", psiText(v.Effect))
	}
	if v.Lower != nil && v.Upper != nil {
		seen += fmt.Sprintf(" (%s to %s, limit %s)", psiText(*v.Lower), psiText(*v.Upper), psiText(v.Limit))
	}
	return seen
}

func psiText(x float64) string { return strconv.FormatFloat(x, 'f', 3, 64) }
