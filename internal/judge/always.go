package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// Constants of the always-valid rule.
const (
	maxAdopted   = 20  // values of an open list that are there at the first comparison and share its weight equally
	priorWeight  = 100 // observations for which the overall baseline counts in the lane of a value
	ratesKnown   = 200 // observations of the overall baseline from which it is a prior
	valuesKnown  = 500 // values of it, for histograms
	powerEvery   = 5   // judged seconds between two looks at the power of a lane
	thinFor      = 5   // judged seconds for which missing members suspend a pass
	detectFactor = 3   // times the margin, where Detect says nothing
)

// notWorseLevel is the log evidence that proves the exposed arm not worse than the margin: error probability 5 %.
var notWorseLevel = math.Log(20)

// alwaysLane is the always-valid rule: one e-process of package stat over all seconds of the rollout. Its evidence counts
// with its weight in the rollout's, and fails it only there (see State.examine); a stage begins a process, but ends none.
type alwaysLane struct {
	Weight     float64    `json:"weight,omitempty"` // of all evidence; 0 for a value that has none yet
	Level      float64    `json:"level,omitempty"`  // ln(1/(weight*alpha))
	Alpha      float64    `json:"alpha,omitempty"`
	From       int64      `json:"from,omitempty"` // second of the first block
	Seen       uint64     `json:"seen,omitempty"` // observations of the baseline, also before the first block
	Thin       int64      `json:"thin,omitempty"` // clock of the last second that lacked members
	Powered    bool       `json:"powered,omitempty"`
	Proved     bool       `json:"proved,omitempty"`     // powered because it is proved not to be worse
	Detectable *float64   `json:"detectable,omitempty"` // total only, as of the last look
	Fault      string     `json:"fault,omitempty"`      // why there is no e-process
	Lane       *stat.Lane `json:"lane,omitempty"`
	Cohort     *stat.Lane `json:"cohort,omitempty"` // total only, of the present cohort alone, when there was one before

	block stat.Block
}

// alwaysRail is what the lanes of one always-valid guardrail share.
type alwaysRail struct {
	Weight  float64 `json:"weight"` // of the guardrail in the rollout
	Alpha   float64 `json:"alpha"`
	Adopted bool    `json:"adopted,omitempty"` // the open list has been given its weights
	Late    int     `json:"late,omitempty"`    // values that came after that
	Past    sums    `json:"past"`              // of the baseline over all values, what the lanes of values start from
}

// begin gives the guardrail and the lanes known from the plan their weights: half to the total, half to the values.
func (r *rail) begin(cfg Config, g *Guardrail) {
	a := r.Always
	a.Weight, a.Alpha = weightOf(cfg, g), cfg.alpha()
	overall, each := a.Weight, 0.0
	if g.Segments {
		overall, each, _ = stat.SplitWeight(a.Weight, max(1, len(g.Values)), len(g.Values) == 0)
	}
	r.Lanes[0].Always.weigh(overall, a.Alpha)
	if !g.Segments {
		return
	}
	for _, v := range g.Values {
		if l := r.lane(g, v.Dim, v.Value, 0); l != nil && dimRank(v.Dim) > 0 {
			l.Always.weigh(each, a.Alpha)
		}
	}
	a.Adopted = len(g.Values) > 0
}

// weightOf is the guardrail's share of the evidence: weights are normalised over the always-valid ones.
func weightOf(cfg Config, g *Guardrail) float64 {
	sum := 0.0
	for i := range cfg.Guardrails {
		if o := &cfg.Guardrails[i]; o.Test == AlwaysValid {
			sum += o.weight()
		}
	}
	return g.weight() / sum
}

func (g *Guardrail) weight() float64 {
	if g.Weight > 0 {
		return g.Weight
	}
	return 1
}

// alpha is the bound on false rollbacks; a plan always sets it.
func (c *Config) alpha() float64 {
	if c.Alpha > 0 {
		return c.Alpha
	}
	return 0.01
}

func (a *alwaysLane) weigh(w, alpha float64) {
	a.Weight, a.Alpha = w, alpha
	if w > 0 {
		a.Level = math.Log(1 / float64(w*alpha))
	}
}

// stepAlways takes the second into every lane that has begun, then decides what begins with the next one: what a lane
// starts with, and its weight, are thus fixed before the first block it sees.
func (r *rail) stepAlways(cfg Config, g *Guardrail, m evidence.Metric) {
	for _, l := range r.Lanes {
		a := l.Always
		if a.Lane == nil && a.Fault == "" && a.Weight > 0 && r.ready(g, l) {
			a.create(cfg, g, m, l, &r.Always.Past)
		}
		if a.Lane != nil {
			a.observe(g, m, &l.now)
			// Only the total has power of its own to show, and it takes time to compute.
			if l.Dim == evidence.DimTotal && l.now.Clock%powerEvery == 0 {
				a.lookAtPower(g)
			}
		}
		if !r.Always.Adopted || a.Weight == 0 {
			for i := range l.now.Strata {
				a.Seen += l.now.Strata[i].Arms[baseline].N
			}
		}
	}
	total := &r.Lanes[0].now
	for i := range total.Strata {
		r.Always.Past.add(&total.Strata[i].Arms[baseline], g.usesHist())
	}
	if g.Segments {
		r.adopt(total.both())
	}
}

// ready reports whether a lane begins with this second: the total at once; a value when there is a baseline to start from,
// at the latest with its first comparison where that needs none.
func (r *rail) ready(g *Guardrail, l *lane) bool {
	past := &r.Always.Past
	switch {
	case l.Dim == evidence.DimTotal:
		return true
	case g.usesHist():
		return past.Hist != nil && past.Hist.Count() >= valuesKnown
	}
	return past.N >= ratesKnown || l.now.both()
}

// adopt gives weights to values of an open list. Those that are known at the end of the first second with a comparison
// count as listed, the busiest first and at most maxAdopted; all others are late, in the order in which they are seen.
func (r *rail) adopt(compared bool) {
	a := r.Always
	if !a.Adopted && !compared {
		return
	}
	var fresh []*lane
	for _, l := range r.Lanes[1:] {
		if l.Always.Weight == 0 {
			fresh = append(fresh, l)
		}
	}
	if len(fresh) == 0 && a.Adopted {
		return
	}
	slices.SortStableFunc(fresh, func(x, y *lane) int { return cmp.Compare(y.Always.Seen, x.Always.Seen) })
	listed := 0
	if !a.Adopted {
		listed = min(len(fresh), maxAdopted)
		a.Adopted = true
	}
	_, each, late := stat.SplitWeight(a.Weight, max(1, listed), true)
	for i, l := range fresh {
		w := each
		if i >= listed {
			w = stat.LateWeight(late, a.Late)
			a.Late++
		}
		l.Always.weigh(w, a.Alpha)
	}
}

// create begins the e-process.
func (a *alwaysLane) create(cfg Config, g *Guardrail, m evidence.Metric, l *lane, past *sums) {
	c := laneConfig(cfg, g, m)
	if l.Dim == evidence.DimTotal {
		c.Grid = coarseGrid(g, m) // none for drift, which has no margin
	} else {
		c.Prior = priorOf(g, past)
	}
	lane, err := stat.NewLane(c)
	if err != nil {
		a.Fault = err.Error()
		return
	}
	a.Lane = lane
}

func laneConfig(cfg Config, g *Guardrail, m evidence.Metric) stat.LaneConfig {
	c := stat.LaneConfig{
		Kind: stat.Proportion, Margin: stat.Margin(g.WorseBy), ScoredOnce: m.Once,
		Blocks: int64(max(cfg.Bakes, 0)), Stages: max(cfg.Stages, 0), Scale: m.Scale,
	}
	switch g.Stat {
	case statProportion, "":
		return c
	case statDistribution:
		c.Kind = stat.Distribution
	case statDrift:
		c.Kind, c.Side, c.Margin = stat.Distribution, stat.Both, stat.Margin{}
		return c
	case statFlips:
		c.Kind, c.Margin = stat.Count, stat.Margin{}
		return c
	case "p99":
		c.Kind = stat.P99
	default:
		c.Kind = stat.Kind(g.Stat) // refused by name
	}
	if lowerIsWorse(g, m) {
		c.Side = stat.Down
	}
	return c
}

// priorOf makes the overall baseline so far what a value's lane believes at its start.
func priorOf(g *Guardrail, past *sums) stat.Prior {
	switch {
	case g.usesHist() && past.Hist != nil && past.Hist.Count() > 0:
		return stat.Prior{Weight: priorWeight, Hist: past.Hist.Clone()}
	case !g.usesHist() && past.N >= ratesKnown:
		return stat.Prior{Weight: priorWeight, Rate: (float64(past.Bad) + 0.5) / (float64(past.N) + 1)}
	}
	return stat.Prior{}
}

func (a *alwaysLane) enter() {}

// changeCohort lets power be shown anew for the next cohort, by the evidence of that cohort alone.
func (r *rail) changeCohort() {
	if r.Always == nil {
		return
	}
	a := r.Lanes[0].Always
	a.Powered, a.Proved, a.Detectable, a.Cohort = false, false, nil, nil
	if a.Lane == nil {
		return
	}
	c := a.Lane.Config()
	c.Grid = nil
	a.Cohort, _ = stat.NewLane(c) // the configuration has been accepted before
}

func (a *alwaysLane) observe(g *Guardrail, m evidence.Metric, s *laneSecond) {
	if a.From == 0 {
		a.From = s.At
	}
	if !s.Covered {
		a.Thin = s.Clock
	}
	s.blockFor(g, &a.block)
	a.Lane.Step(a.block)
	if a.Cohort != nil {
		a.Cohort.Step(a.block)
	}
}

// fill makes a block of the second. The block's memory is used again.
func (l *laneSecond) fill(b *stat.Block) {
	b.Second, b.Stage, b.Strata = l.At, l.Stage, b.Strata[:0]
	for i := range l.Strata {
		s := &l.Strata[i]
		b.Strata = append(b.Strata, stat.Stratum{
			Exposed: s.Arms[exposed].stat(), Baseline: s.Arms[baseline].stat(),
			Share: float64(s.Exposure) / evidence.MaxExposure,
		})
	}
}

func (a *armSecond) stat() stat.Arm {
	out := stat.Arm{N: a.N, Bad: a.Bad, Parts: make([]stat.Part, len(a.Parts))}
	for i, p := range a.Parts {
		out.Parts[i].Hist = p.Hist
		if p.Cell != nil {
			out.Parts[i].Buckets, out.Parts[i].Bins = p.Cell.Buckets, p.Cell.ExposedHistByBucket
		}
	}
	return out
}

// lookAtPower: once reached, power stays.
func (a *alwaysLane) lookAtPower(g *Guardrail) {
	l := a.Lane
	if a.Cohort != nil {
		l = a.Cohort
	}
	a.Detectable = nil
	if g.flips() {
		a.lookAtFlips(g, l)
		return
	}
	if g.drift() {
		if d, ok := l.DetectableIndex(a.Level); ok {
			a.Detectable, a.Powered = &d, a.Powered || d <= g.detect()
		}
		return
	}
	if d, ok := l.Detectable(a.Level); ok {
		a.Detectable = &d
	}
	if a.Powered || !g.comparing() {
		return
	}
	a.Proved = l.LogENotWorse() >= notWorseLevel
	a.Powered = a.Proved || l.Sees(g.detect(), a.Level)
}

// detect is the smallest harm that a powered pass must be able to see, on the scale of the margin.
func (g *Guardrail) detect() float64 {
	switch {
	case g.Detect.Relative > 0:
		return g.Detect.Relative
	case g.Detect.Absolute > 0:
		return g.Detect.Absolute
	case g.flips():
		return detectFactor * g.flipLimit()
	case g.drift():
		return detectFactor * g.driftLimit()
	}
	return detectFactor * g.limit()
}

func (a *alwaysLane) verdict(g *Guardrail, m evidence.Metric, clock int64, v *Verdict) {
	v.Rule, v.Bounded, v.Alpha, v.Level = string(AlwaysValid), true, a.Alpha, a.Level
	v.Scale, v.Limit = scaleAbsolute, g.limit()
	if g.WorseBy.Relative != 0 || g.usesHist() {
		v.Scale = scaleRelative
	}
	if a.Lane == nil {
		v.Detail = a.notBegun(v.Dim)
		return
	}
	e := a.Lane.Estimate()
	v.NBaseline, v.NExposed = e.NC, e.NT
	if e.Known {
		v.Baseline, v.Exposed, v.Effect = e.Baseline, e.Exposed, min(e.Effect, maxEffect)
		if lowerIsWorse(g, m) {
			v.Effect = -v.Effect
		}
	}
	v.LogE, v.Phi, v.Detectable = a.Lane.LogE(), a.Lane.Phi(), a.Detectable
	v.From, v.To = a.From, a.block.Second
	v.Lower, v.Upper = bounds(a.Lane, a.Level)
	switch {
	case g.drift():
		a.driftVerdict(g, v)
	case g.flips():
		a.flipsVerdict(g, v)
	}
	switch {
	case !a.Powered:
		v.Detail = a.collecting(g, v)
	case a.Thin > 0 && clock-a.Thin < thinFor:
		v.Detail = "fewer than 95 % of the members reported"
	default:
		v.Result, v.Powered = Pass, true
		if a.Proved {
			v.Detail = "proved not to be worse than the limit"
		}
	}
}

func (a *alwaysLane) notBegun(dim string) string {
	switch {
	case a.Fault != "":
		return "cannot be judged: " + a.Fault
	case dim == evidence.DimTotal:
		return "collecting: nothing has been judged"
	}
	return "collecting: judged from the next second on that has a baseline to start from"
}

func (a *alwaysLane) collecting(g *Guardrail, v *Verdict) string {
	switch {
	case v.Dim != evidence.DimTotal:
		return "no breach" // a value needs no power of its own, and most verdicts are these
	case !g.limited():
		return "no limit is set: nothing to judge"
	case v.NExposed == 0 || v.NBaseline == 0 && !g.flips():
		return "collecting: both arms are needed"
	case a.Detectable == nil:
		return "no breach; too little data to see any harm"
	}
	return fmt.Sprintf("no breach; could have seen %s, has to see %s", v.atLeast(*a.Detectable), v.atLeast(g.detect()))
}

// bounds are the ends of the interval at a level.
func bounds(l *stat.Lane, level float64) (lower, upper *float64) {
	if x, ok := l.Lower(level); ok {
		lower = &x
	}
	if x, ok := l.Upper(level); ok {
		upper = &x
	}
	return lower, upper
}

// coarseGrid are the margins of which a lane knows at any time whether they are rejected. Each costs as much as the test
// itself, so there are few; an alarm is computed again with a fine grid.
func coarseGrid(g *Guardrail, m evidence.Metric) []float64 {
	switch {
	case g.drift(), g.flips():
		return nil
	case g.usesHist() && lowerIsWorse(g, m):
		return withMargin(g.limit(), -1, -0.5, -0.2, 0, 0.2, 0.5)
	case g.usesHist():
		return withMargin(g.limit(), -0.2, 0, 0.2, 0.5, 1)
	case g.WorseBy.Relative != 0 || g.WorseBy.Absolute == 0:
		return withMargin(g.limit(), -0.5, -0.2, 0, 0.2, 0.5, 1, 2, 5)
	}
	return withMargin(g.limit(), 0, 0.005, 0.02, 0.1, 0.3)
}

// fineGrid serves the interval shown beside an alarm, which lies above no difference.
func fineGrid(g *Guardrail, m evidence.Metric) []float64 {
	var list []float64
	switch {
	case g.usesHist() && lowerIsWorse(g, m), !g.usesHist() && g.WorseBy.Relative == 0:
		for i := range 38 {
			list = append(list, 0.025*float64(i))
		}
	case g.usesHist():
		for f := 1.0; f < 8; f *= 1.08 {
			list = append(list, f-1)
		}
	default:
		for f := 1.0; f < 50; f *= 1.08 {
			list = append(list, f-1)
		}
	}
	return withMargin(g.limit(), list...)
}

func withMargin(margin float64, grid ...float64) []float64 {
	grid = append(grid, margin)
	slices.Sort(grid)
	return slices.Compact(grid)
}
