package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
)

// Parse reads a rollout specification. file only names the text in findings. It returns every mistake it can see at once,
// ordered by place; the plan is nil when one of them is an error. Fields this version does not act on are errors, never
// ignored. Equal text gives an equal plan, digest and list of findings. src is neither kept nor changed.
func Parse(file string, src []byte) (*Plan, []Finding) {
	root, findings := readYAML(src)
	c := compiler{plan: &Plan{}}
	c.findings = findings
	if root != nil {
		c.root = c.read(specification(), root, "", nil)
		c.root.line, c.root.col = 1, 1
		if c.root.kind == kindObject {
			c.compile()
		}
	}
	for i := range c.findings {
		c.findings[i].File = file
		if c.findings[i].Severity == "" {
			c.findings[i].Severity = SevError
		}
	}
	sortFindings(c.findings)
	if root == nil || HasErrors(c.findings) {
		return nil, c.findings
	}
	return c.plan, c.findings
}

// compiler turns the values of a specification into a plan, one section after the other, and checks what the table cannot:
// everything that needs two fields.
type compiler struct {
	reader
	root   *value
	plan   *Plan
	guards map[string]bool // names of guardrails, refused ones included
	bakes  []*value        // where the bake of each stage of the plan stands
}

func (c *compiler) compile() {
	spec := c.root.get("spec")
	c.identity(spec)
	c.documents(spec)
	c.change(spec.get("change"))
	c.audience(spec.get("audience"))
	c.metrics(spec.get("metrics"))
	c.guardrails(spec)
	c.stages(spec)
	c.rollback(spec)
	c.references(spec)
	if HasErrors(c.findings) {
		return
	}
	c.seal()
}

// seal computes the digest over everything else.
func (c *compiler) seal() {
	body, err := c.plan.Body()
	if err != nil {
		c.fail(c.root, "plan.digest", "the plan has no canonical form: "+err.Error(), "report this text; it should have been refused before")
		return
	}
	c.plan.Digest = flag.ContentDigest(body)
}

func (c *compiler) identity(spec *value) {
	p, meta, owner := c.plan, c.root.get("metadata"), spec.get("ownership")
	p.Name, p.Namespace = meta.get("name").text, meta.get("namespace").text
	if reserved := []string{"base", "overlay"}; slices.Contains(reserved, p.Name) {
		c.fail(meta.get("name"), "name.reserved", quote(p.Name)+" is the name of a scope that every environment has", "choose another name")
	}
	p.Labels, p.Teams = texts(meta.get("labels")), texts(owner.get("teams"))
	p.Environment = spec.get("environment").text
	p.Owner = owner.get("owner").text
	p.Deputies = c.distinct(owner.get("deputies"), "")
	p.Decides = c.distinct(owner.get("decides"), "")
}

func texts(v *value) map[string]string {
	if len(v.names) == 0 {
		return nil
	}
	m := make(map[string]string, len(v.names))
	for _, name := range v.names {
		m[name] = v.members[name].text
	}
	return m
}

// distinct returns the texts of a list of values, or of one member of each, and refuses the second of two equal ones.
func (c *compiler) distinct(v *value, member string) []string {
	first := map[string]int{}
	var out []string
	for _, item := range v.list {
		if member != "" {
			item = item.get(member)
		}
		if !item.given {
			continue
		}
		if line, again := first[item.text]; again {
			c.fail(item, "name.duplicate", fmt.Sprintf("%s stands twice: lines %d and %d", quote(item.text), line, item.line), "keep one, or rename it")
			continue
		}
		first[item.text] = item.line
		out = append(out, item.text)
	}
	return out
}

func (c *compiler) documents(spec *value) {
	h := spec.get("hypothesis")
	c.plan.Hypothesis = Hypothesis{Statement: h.get("statement").text, FalsifiedBy: h.get("falsifiedBy").text}
	for _, e := range h.get("expect").list {
		c.plan.Hypothesis.Expect = append(c.plan.Hypothesis.Expect,
			Expectation{Metric: e.get("metric").text, Change: e.get("change").text, Within: e.get("within").text})
	}
	docs, d := spec.get("docs"), &c.plan.Docs
	for _, v := range docs.get("assumptions").list {
		d.Assumptions = append(d.Assumptions, v.text)
	}
	for _, v := range docs.get("dataDependencies").list {
		d.DataDependencies = append(d.DataDependencies,
			Dependency{Dataset: v.get("dataset").text, Freshness: v.get("freshness").text, Schema: v.get("schema").text})
	}
	for _, v := range docs.get("criticalPaths").list {
		d.CriticalPaths = append(d.CriticalPaths, v.text)
	}
	c.distinct(docs.get("failureModes"), "id")
	for _, v := range docs.get("failureModes").list {
		mode := FailureMode{ID: v.get("id").text, Text: v.get("text").text, Guards: c.distinct(v.get("guards"), "")}
		d.FailureModes = append(d.FailureModes, mode)
	}
}

func (c *compiler) change(change *value) {
	f := change.get("flag")
	c.plan.Flag = FlagChange{Key: f.get("key").text, Stable: f.get("stable").text, Candidate: f.get("candidate").text}
	if v := f.get("candidate"); v.ok && v.text == c.plan.Flag.Stable {
		c.fail(v, "plan.rollback_target", fmt.Sprintf("candidate and stable are both %s: a rollback would lead to what it leaves", quote(v.text)),
			"name the variant that is rolled out")
	}
	c.distinct(change.get("bundle"), "component")
	for _, v := range change.get("bundle").list {
		from, to := v.get("from"), v.get("to")
		c.plan.Bundle = append(c.plan.Bundle, Member{Component: v.get("component").text, Artifact: v.get("artifact").text, From: from.text, To: to.text})
		if from.ok && to.ok && from.text == to.text {
			c.at(to, SevWarning, "bundle.unchanged", "from and to are the same artifact", "leave the component out if it does not change")
		}
		for _, d := range []*value{from, to} {
			if d.ok && len(d.text) != len("sha256:")+64 {
				c.at(d, SevWarning, "bundle.digest", quote(d.text)+" is shortened and identifies no content", "write all 64 hex digits")
			}
		}
	}
}

// everybody is the cohort that exists without being declared.
const everybody = "general"

func (c *compiler) audience(a *value) {
	p := c.plan
	p.Unit = a.get("unit").text
	p.Salt = a.get("bucketing", "salt").text
	if a.get("bucketing", "salt").blank() {
		p.Salt = p.Flag.Key
	}
	if nested := a.get("bucketing", "nested"); nested.ok && !nested.yes {
		c.fail(nested, "value.unsupported", "stages that do not nest are not supported", "write true, or leave it out: a unit once exposed stays exposed")
	}
	for _, v := range a.get("segments").list {
		if v.kind == kindObject {
			p.Sources = append(p.Sources, v.get("source").text)
		} else {
			p.Segments = append(p.Segments, v.text)
		}
	}
	c.distinctSegments(a.get("segments"))
}

func (c *compiler) distinctSegments(v *value) {
	flat := &value{}
	for _, item := range v.list {
		if item.kind == kindObject {
			item = item.get("source")
		}
		flat.list = append(flat.list, item)
	}
	c.distinct(flat, "")
}

// Defaults of metrics.
const (
	defaultScale  = 5
	defaultSettle = 3 * time.Second
)

// builtIn are the names under which signals reach the metric that every rollout has.
var builtIn = []string{evidence.MetricError, "errors"}

func (c *compiler) metrics(v *value) {
	c.plan.Metrics = map[string]evidence.Metric{
		evidence.MetricError:      {Kind: evidence.KindProportion, SettleMs: defaultSettle.Milliseconds()},
		evidence.MetricAssignment: {Kind: evidence.KindProportion, SettleMs: defaultSettle.Milliseconds()},
	}
	for _, name := range v.names {
		m := v.members[name]
		if name == "errors" {
			c.fail(m, "name.reserved", `"errors" is how signals name the built-in metric error`, "choose another name, or set settle under the name error")
			continue
		}
		if name == evidence.MetricAssignment {
			c.fail(m, "name.reserved", `"assignment" is the built-in metric of units on the wrong arm`, "choose another name")
			continue
		}
		if _, taken := c.plan.Metrics[name]; taken && name != evidence.MetricError {
			c.fail(m, "name.reserved", quote(name)+" is what a feature of this specification measures", "rename one of them")
			continue
		}
		if m.get("kind").text == evidence.KindFeature {
			c.feature(name, m)
		} else {
			c.plan.Metrics[name] = c.metric(name, m)
		}
		if age := m.get("maxAge"); age.given && m.get("kind").text != evidence.KindFeature {
			c.fail(age, "metric.age", "only a feature has an age", "make the kind feature, or remove maxAge")
		}
		if unit := m.get("unit"); unit.ok {
			if c.plan.Units == nil {
				c.plan.Units = map[string]string{}
			}
			c.plan.Units[name] = unit.text
		}
	}
}

func (c *compiler) metric(name string, m *value) evidence.Metric {
	out := evidence.Metric{Kind: m.get("kind").text, Once: m.get("scoredOnce").yes, SettleMs: defaultSettle.Milliseconds()}
	if s := m.get("settle"); s.ok {
		out.SettleMs = s.dur.Milliseconds()
		c.within(s, 100*time.Millisecond, 10*time.Minute)
	}
	above, below, scale := m.get("badAbove"), m.get("badBelow"), m.get("scale")
	// One that was refused is set too, so that guardrails do not miss it a second time.
	if above.given {
		out.BadAbove = &above.num
	}
	if below.given {
		out.BadBelow = &below.num
	}
	if above.ok && below.ok && below.num > above.num {
		c.fail(below, "metric.bad", fmt.Sprintf("badBelow %g is above badAbove %g: every observation would be bad", below.num, above.num), "write a smaller number")
	}
	if out.Kind == evidence.KindValue {
		out.Scale = defaultScale
		if scale.ok {
			out.Scale = int(scale.whole)
		}
	} else if scale.given && out.Kind != evidence.KindFeature {
		c.fail(scale, "metric.scale", "a proportion has no histogram", "remove scale, or make the kind value")
	}
	if name == evidence.MetricError && (out.Kind == evidence.KindValue || above.given || below.given || out.Once || m.get("unit").given) {
		c.fail(m, "metric.builtin", "the built-in metric error is a proportion of failed requests; only its settle may be set", "choose another name")
		return c.plan.Metrics[name]
	}
	return out
}

// within refuses a duration outside the limits.
func (c *compiler) within(v *value, lo, hi time.Duration) bool {
	if !v.ok || v.dur >= lo && v.dur <= hi {
		return true
	}
	c.fail(v, "duration.range", fmt.Sprintf("%s is not between %s and %s", quote(v.text), formatDuration(lo), formatDuration(hi)),
		fmt.Sprintf("write a duration from %s to %s", formatDuration(lo), formatDuration(hi)))
	return false
}

// seconds refuses a duration that is not a whole number of seconds: evidence comes in seconds.
func (c *compiler) seconds(v *value, hi time.Duration) {
	if c.within(v, time.Second, hi) && v.ok && v.dur%time.Second != 0 {
		c.fail(v, "duration.precision", quote(v.text)+" is not a whole number of seconds", "evidence comes in seconds; write whole ones")
	}
}

// metricOf resolves a signal to a metric's name, and reports whether its evidence is exact.
func metricOf(signal string) (name, source string) {
	source, name, found := strings.Cut(signal, ":")
	if !found {
		return "", ""
	}
	if slices.Contains(builtIn, name) {
		name = evidence.MetricError
	}
	return name, source
}
