package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
)

// Defaults of the judgement.
const (
	defaultAlpha     = 0.01
	defaultPowerFrom = 0.25
	defaultWindow    = 5 * time.Second
	defaultMinN      = 20
	defaultNoData    = 10 * time.Minute
	detectFactor     = 3
)

var defaultBlips = judge.Blips{Allow: 2, Of: 3}

// exactSources are the sources whose evidence is class E; laterSources are known to the language and not supported yet.
var (
	exactSources = []string{"sdk", "gateway", "event"}
	laterSources = []string{"batch", "otlp", "promql", "sql"}
)

// inherited is what guardrails take from analysisDefaults.
type inherited struct {
	onError, onNoData judge.Action
	after             time.Duration
}

func (c *compiler) guardrails(spec *value) {
	defaults, list := spec.get("analysisDefaults"), spec.get("guardrails")
	cfg := &c.plan.Judge
	cfg.Rollout, cfg.Alpha, cfg.PowerFrom = c.plan.Name, defaultAlpha, defaultPowerFrom
	if a := defaults.get("alpha"); a.ok {
		cfg.Alpha = a.num
	}
	c.plan.OnUnclear = textOr(defaults.get("onInconclusive"), "approve")
	in := inherited{onError: judge.ActPause, onNoData: judge.ActPause, after: defaultNoData}
	cfg.OnSRM = judge.Action(textOr(defaults.get("onSRM"), string(judge.ActPause)))
	in.onError = judge.Action(textOr(defaults.get("onError"), string(in.onError)))
	in.onNoData, in.after = c.noData(defaults.get("onNoData"), in)
	if list.ok && len(list.list) == 0 {
		c.fail(list, "guardrail.none", "there is no guardrail", "add at least one: a rollout that nothing can stop is not a rollout")
	}
	c.guards = map[string]bool{}
	c.distinct(list, "name")
	for _, v := range list.list {
		if !v.ok {
			continue
		}
		c.guards[v.get("name").text] = true
		cfg.Guardrails = append(cfg.Guardrails, c.guardrail(v, in))
	}
	if n := len(cfg.Guardrails); n > 0 && !slices.ContainsFunc(cfg.Guardrails, func(g judge.Guardrail) bool { return g.Role != "signal" }) {
		c.fail(list, "guardrail.none", fmt.Sprintf("all %d guardrails are signals: nothing could pass or take the rollout back", n), "give at least one the role guardrail")
	}
}

func textOr(v *value, fallback string) string {
	if v.ok {
		return v.text
	}
	return fallback
}

func (c *compiler) noData(v *value, in inherited) (judge.Action, time.Duration) {
	do, after := in.onNoData, in.after
	if v.ok && v.kind == kindObject {
		do = judge.Action(textOr(v.get("do"), string(do)))
		if a := v.get("after"); a.ok {
			c.seconds(a, 24*time.Hour)
			after = a.dur
		}
	} else if v.ok {
		do = judge.Action(v.text)
	}
	return do, after
}

func (c *compiler) guardrail(v *value, in inherited) judge.Guardrail {
	g := judge.Guardrail{
		Name: v.get("name").text, Role: textOr(v.get("role"), "guardrail"), Class: judge.ClassE, Weight: 1,
		OnError: judge.Action(textOr(v.get("onError"), string(in.onError))),
	}
	g.OnNoData, g.NoDataAfter = c.noData(v.get("onNoData"), in)
	if w := v.get("weight"); w.ok {
		g.Weight = w.num
	}
	c.breach(v, &g)
	c.segments(v, &g)
	metric, known := c.signal(v, &g)
	c.test(v, &g, metric, known)
	c.hard(v, &g, known)
	return g
}

// breach fills in what a breach does: a signal never takes a rollout back.
func (c *compiler) breach(v *value, g *judge.Guardrail) {
	on := v.get("onBreach")
	g.OnBreach = judge.Action(textOr(on, string(judge.ActRollback)))
	if g.Role != "signal" {
		return
	}
	if on.ok && g.OnBreach == judge.ActRollback {
		c.fail(on, "guardrail.role", "a signal pauses at most", "write onBreach: pause, or make its role guardrail")
	} else if on.blank() {
		g.OnBreach = judge.ActPause
	}
}

func (c *compiler) segments(v *value, g *judge.Guardrail) {
	per := v.get("perSegment")
	declared := len(c.plan.Segments)+len(c.plan.Sources) > 0
	g.Segments = declared && (per.blank() || per.yes)
	if per.ok && per.yes && !declared {
		c.at(per, SevWarning, "guardrail.segments", "no segments are declared, so there is nothing to judge one by one", "list attributes under spec.audience.segments")
	}
}

// signal resolves what a guardrail looks at. known is false when later checks would only repeat the mistake.
func (c *compiler) signal(v *value, g *judge.Guardrail) (m evidence.Metric, known bool) {
	s := v.get("signal")
	if !s.ok {
		return m, false
	}
	name, source := metricOf(s.text)
	if slices.Contains(laterSources, source) {
		g.Class = judge.ClassH
		c.fail(s, "signal.unsupported", fmt.Sprintf("signals of %s: are not supported yet", source), "use sdk:NAME, gateway:NAME or event:NAME")
		return m, false
	}
	if !slices.Contains(exactSources, source) || name == "" {
		c.fail(s, "signal.syntax", quote(s.text)+" is not a signal", "write sdk:NAME, gateway:NAME or event:NAME with the name of a metric")
		return m, false
	}
	g.Metric = name
	if m, known = c.plan.Metrics[name]; !known {
		fix := "declare it under spec.metrics"
		if n := nearest(name, slices.Sorted(maps.Keys(c.plan.Metrics))); n != "" {
			fix = "did you mean " + source + ":" + n + "?"
		}
		c.fail(s, "ref.unknown", "there is no metric "+quote(name), fix)
		return m, false
	}
	return m, m.Kind != ""
}

// Which stat a test can judge, and what it takes by default.
var (
	thresholdStats = []string{"proportion", "mean", "p50", "p90", "p95", "p99"}
	alwaysStats    = []string{"proportion", "distribution", "p99"}
)

func (c *compiler) test(v *value, g *judge.Guardrail, m evidence.Metric, known bool) {
	t := v.get("test")
	kind := t.get("kind")
	if !kind.ok {
		return
	}
	g.Test = judge.TestKind(kind.text)
	switch {
	case kind.text == kindPSI:
		c.drift(v, t, g, m, known)
		return
	case v.get("stat").text == statFlips:
		c.flips(v, t, g, m, known)
		return
	}
	if g.Test == judge.AlwaysValid {
		if g.Class != judge.ClassE {
			c.fail(v.get("signal"), "guardrail.class", "an always-valid test needs exact evidence (class E)", "use a signal of sdk:, gateway: or event:, or kind: threshold")
		}
	}
	c.looks(v, t, g)
	c.comparison(v, t, g)
	if known && c.stat(v, g, m) {
		c.margins(t, g, m)
	}
}

// leastN is how many observations a look needs by default. A tail quantile needs three of them beyond it: the p99 of
// twenty is their maximum and says nothing.
func leastN(stat string) uint64 {
	switch stat {
	case "p90":
		return 30
	case "p95":
		return 60
	case "p99":
		return 300
	}
	return defaultMinN
}

// looks reads what belongs to thresholds alone.
func (c *compiler) looks(v, t *value, g *judge.Guardrail) {
	window, minN, blips := t.get("window"), t.get("minN"), v.get("blips")
	if g.Test == judge.AlwaysValid {
		for _, f := range []*value{window, minN, blips} {
			if f.given {
				c.fail(f, "test.field", "an always-valid test looks at every second and has no looks to set", "remove it, or write kind: threshold")
			}
		}
		return
	}
	g.Window, g.MinN, g.Blips = defaultWindow, leastN(v.get("stat").text), defaultBlips
	if window.ok {
		c.seconds(window, time.Hour)
		g.Window = window.dur
	}
	if minN.ok {
		g.MinN = minN.whole
	}
	if allow, of := blips.get("allow"), blips.get("of"); allow.ok && of.ok {
		g.Blips = judge.Blips{Allow: int(allow.whole), Of: int(of.whole)}
		if allow.whole >= of.whole {
			c.fail(allow, "guardrail.blips", fmt.Sprintf("%d of %d bad looks are tolerated: it could never fail", allow.whole, of.whole), "tolerate fewer than the looks that are counted")
		}
	}
	if d := t.get("detect"); d.given {
		c.fail(d, "test.field", "a threshold has no detectable effect of its own", "remove detect, or write kind: always-valid")
	}
}

// comparison checks that exactly one limit is set and that compare fits it.
func (c *compiler) comparison(v, t *value, g *judge.Guardrail) {
	worse, limit, compare := t.get("worseBy"), t.get("max"), v.get("compare")
	switch {
	case worse.given && limit.given:
		c.fail(limit, "test.limit", "worseBy and max are both set", "keep one; write a second guardrail for the other")
	case worse.blank() && limit.blank():
		c.fail(t, "test.limit", "the test has no limit", "add worseBy (against the baseline arm) or max (of the exposed arm)")
	case limit.given && g.Test == judge.AlwaysValid:
		c.fail(limit, "guardrail.class", "an always-valid test compares with the concurrent baseline arm", "write worseBy, or kind: threshold")
	case limit.given && compare.ok:
		c.fail(compare, "guardrail.compare", "max compares with nothing", "remove compare, or write worseBy")
	}
}

// stat decides what of the metric is judged, and reports whether the test can judge it.
func (c *compiler) stat(v *value, g *judge.Guardrail, m evidence.Metric) bool {
	allowed := thresholdStats
	if g.Test == judge.AlwaysValid {
		allowed = alwaysStats
	}
	s := v.get("stat")
	switch {
	case s.ok:
		g.Stat = s.text
	case s.given:
		return false
	case m.Kind == evidence.KindProportion:
		g.Stat = "proportion"
	default:
		g.Stat = allowed[1]
	}
	switch {
	case !slices.Contains(allowed, g.Stat):
		c.fail(s, "guardrail.stat", fmt.Sprintf("a %s test cannot judge %s", g.Test, quote(g.Stat)), "write "+strings.Join(allowed, ", "))
	case g.Stat == "proportion" && m.Kind == evidence.KindValue && m.BadAbove == nil && m.BadBelow == nil:
		c.fail(s, "guardrail.stat", fmt.Sprintf("metric %s does not say which values are bad", quote(g.Metric)), "set badAbove or badBelow of the metric")
	case g.Stat != "proportion" && m.Kind == evidence.KindProportion:
		c.fail(s, "guardrail.stat", fmt.Sprintf("metric %s is a proportion and has no %s", quote(g.Metric), g.Stat), "write stat: proportion")
	default:
		return true
	}
	g.Stat = ""
	return false
}

func (c *compiler) margins(t *value, g *judge.Guardrail, m evidence.Metric) {
	unit := c.plan.Units[g.Metric]
	share := g.Stat == "proportion"
	worse, limit, detect := t.get("worseBy"), t.get("max"), t.get("detect")
	if limit.ok {
		if x, ok := c.limit(limit, share, unit); ok {
			g.Max = &x
		}
	}
	if !worse.ok {
		return
	}
	margin, ok := c.margin(worse, share, unit)
	if !ok {
		return
	}
	g.WorseBy = margin
	c.effective(worse, g, m)
	if g.Test != judge.AlwaysValid {
		return
	}
	g.Detect = judge.Margin{Relative: detectFactor * margin.Relative, Absolute: detectFactor * margin.Absolute}
	if detect.ok {
		if d, ok := c.margin(detect, share, unit); ok {
			g.Detect = d
			c.detectable(detect, margin, d)
		}
	}
}

func (c *compiler) detectable(v *value, margin, d judge.Margin) {
	switch {
	case (margin.Relative > 0) != (d.Relative > 0):
		c.fail(v, "margin.unit", "detect and worseBy are on different scales", "write both as %, or both as pp or in the metric's unit")
	case d.Relative+d.Absolute <= margin.Relative+margin.Absolute:
		c.fail(v, "margin.range", quote(v.text)+" is not larger than worseBy: such a harm is tolerated", "write a larger one, or leave detect out for three times worseBy")
	}
}

// effective says what a margin on a histogram acts as: limits move by whole buckets, rounded up (tilted histograms), and
// a mean or quantile is read from buckets.
func (c *compiler) effective(v *value, g *judge.Guardrail, m evidence.Metric) {
	if m.Kind != evidence.KindValue || g.Stat == "proportion" || m.Scale == 0 {
		return
	}
	step := math.Exp2(math.Exp2(-float64(m.Scale)))
	text := fmt.Sprintf("values are kept in buckets %.2g%% wide (scale %d): the %s is read within %.2g%%", 100*(step-1), m.Scale, g.Stat, 100*(step-1)/(step+1))
	if g.Stat == "distribution" && g.WorseBy.Relative > 0 {
		// The margin shifts the baseline by whole buckets; the tiny allowance keeps an exact multiple from rounding up.
		buckets := math.Ceil(math.Log(1+g.WorseBy.Relative)/math.Log(step) - 1e-9)
		text = fmt.Sprintf("worseBy %s acts as %.3g%%: %g buckets of %.2g%% (scale %d)", v.text, 100*(math.Pow(step, buckets)-1), buckets, 100*(step-1), m.Scale)
	}
	c.at(v, SevNote, "margin.effective", text, "raise the metric's scale for finer steps")
}

func (c *compiler) hard(v *value, g *judge.Guardrail, known bool) {
	h := v.get("hard")
	if !h.ok {
		return
	}
	hold := h.get("for")
	c.seconds(hold, time.Hour)
	if !known || g.Stat == "" {
		return
	}
	if above := h.get("above"); above.ok && hold.ok {
		if x, ok := c.limit(above, g.Stat == "proportion", c.plan.Units[g.Metric]); ok {
			g.Hard = &judge.Hard{Above: x, For: hold.dur}
		}
	}
}
