package plan

import (
	"fmt"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
)

// kindPSI is the test for drift of values. It is judged as an always-valid one, two-sided, with a limit on the size.
const kindPSI = "psi"

// Limits of the index in a specification. Below the smallest every two versions differ; beyond the largest none do.
var driftIndex = span{lo: 0.02, hi: 10}

const defaultDrift = 0.25

// drift compiles a test of kind psi: always-valid, of a metric's values, with the index as its limit.
func (c *compiler) drift(v, t *value, g *judge.Guardrail, m evidence.Metric, known bool) {
	g.Test, g.Stat = judge.AlwaysValid, "drift"
	for _, f := range []*value{t.get("worseBy"), t.get("window"), t.get("minN"), v.get("blips"), v.get("hard")} {
		if f.given {
			c.fail(f, "test.field", "drift has one limit, its index, and looks at every second", "remove it; max is the largest tolerated index")
		}
	}
	if s := v.get("stat"); s.given {
		c.fail(s, "guardrail.stat", "a psi test compares all values, no statistic of them", "remove stat")
	}
	if known && m.Kind != evidence.KindValue {
		c.fail(v.get("signal"), "guardrail.stat", fmt.Sprintf("metric %s is a proportion and has no values that could drift", quote(g.Metric)), "write kind: always-valid, or make the metric's kind value")
	}
	limit := c.index(t.get("max"), defaultDrift)
	detect := c.index(t.get("detect"), detectFactor*limit)
	if detect <= limit {
		c.fail(t.get("detect"), "margin.range", fmt.Sprintf("%g is not larger than max, %g: such a drift is tolerated", detect, limit), "write a larger one, or leave detect out for three times max")
	}
	g.Max, g.Detect = &limit, judge.Margin{Absolute: detect}
}

// statFlips is the share of pairs of answers to one input that differ, judged always-valid against a limit.
const statFlips = "flips"

const defaultFlips = 0.01

// flips compiles a guardrail over paired answers.
func (c *compiler) flips(v, t *value, g *judge.Guardrail, m evidence.Metric, known bool) {
	g.Stat = statFlips
	if g.Test != judge.AlwaysValid {
		c.fail(t.get("kind"), "guardrail.stat", "flips are judged always-valid", "write kind: always-valid")
	}
	for _, f := range []*value{t.get("worseBy"), t.get("window"), t.get("minN"), v.get("blips"), v.get("hard"), v.get("compare")} {
		if f.given {
			c.fail(f, "test.field", "flips compare two answers to one input, no arms, and look at every second", "remove it; max is the largest tolerated share")
		}
	}
	if known && m.Kind != evidence.KindProportion {
		c.fail(v.get("signal"), "guardrail.stat", fmt.Sprintf("metric %s is no proportion of flips", quote(g.Metric)), "make the metric's kind proportion; the SDK's Flip observes it")
	}
	limit, detect := c.share(t.get("max"), defaultFlips), 0.0
	if detect = c.share(t.get("detect"), min(detectFactor*limit, (1+limit)/2)); detect <= limit {
		c.fail(t.get("detect"), "margin.range", fmt.Sprintf("%g %% is not larger than max, %g %%: so many are tolerated", 100*detect, 100*limit), "write a larger one, or leave detect out for three times max")
	}
	g.Max, g.Detect = &limit, judge.Margin{Absolute: detect}
}

// share reads a share above 0.
func (c *compiler) share(v *value, fallback float64) float64 {
	if !v.ok {
		return fallback
	}
	x, ok := c.limit(v, true, "")
	if ok && x <= 0 {
		c.fail(v, "limit.range", "no share is smaller than 0%: one flip would be too many", "write a limit above 0%, such as 1%")
	}
	if !ok || x <= 0 {
		return fallback
	}
	return x
}

// index reads a population stability index.
func (c *compiler) index(v *value, fallback float64) float64 {
	if !v.ok {
		return fallback
	}
	x, p := parseValue(v.text, "")
	switch {
	case p != nil:
		c.fail(v, "margin.unit", quote(v.text)+" is not a population stability index", "write a plain number such as 0.1 (noticeable) or 0.25 (large)")
	case x < driftIndex.lo || x > driftIndex.hi:
		c.fail(v, "margin.range", fmt.Sprintf("%g is not between %g and %g", x, driftIndex.lo, driftIndex.hi), "write an index such as 0.1 (noticeable) or 0.25 (large)")
	default:
		return x
	}
	return fallback
}
