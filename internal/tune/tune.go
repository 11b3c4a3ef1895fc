// Package tune judges recorded rollouts again with other margins, detectable effects and bake times, and proposes those that
// would have served better. It changes nothing: a proposal becomes a reviewed edit of the specification.
//
// Whether a recorded rollout did harm is known from how it ended, unless a person says otherwise. That label is mostly the
// work of the guardrails themselves, so a back-test is evidence about thresholds, not proof; the false alarms that people
// point out are its most valuable input.
package tune

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
)

// Recorded is a rollout as it was stored.
type Recorded struct {
	Name    string
	Plan    *plan.Plan
	Seconds []evidence.Second
	Events  []judge.Event
	Harm    bool // it did harm; otherwise it did none
}

// Outcome is what a guardrail would have done to the recorded rollouts.
type Outcome struct {
	Harmless    int     `json:"harmless"`    // rollouts without harm
	FalseAlarms int     `json:"falseAlarms"` // of them, failed
	Harmful     int     `json:"harmful"`     // rollouts with harm
	Misses      int     `json:"misses"`      // of them, not failed
	MeanDelay   float64 `json:"meanSeconds"` // of those failed, from the first exposed observation
}

// less orders outcomes, the better one first: fewer misses, then fewer false alarms, then a shorter delay by a tenth or more.
func (o Outcome) less(p Outcome) bool {
	switch {
	case o.Misses != p.Misses:
		return o.Misses < p.Misses
	case o.FalseAlarms != p.FalseAlarms:
		return o.FalseAlarms < p.FalseAlarms
	}
	return o.Harmful > o.Misses && o.MeanDelay < 0.9*p.MeanDelay
}

// Trial is one value of a field with its outcome.
type Trial struct {
	Value   string  `json:"value"`
	Outcome Outcome `json:"outcome"`
}

// Fields that proposals change.
const (
	FieldWorseBy = "worseBy"
	FieldMax     = "max"
	FieldDetect  = "detect"
	FieldBake    = "bake"
)

// Proposal is a change of one field of a guardrail or stage. Trials are in the order of their values; the present one is
// among them. To equals From where nothing better was found.
type Proposal struct {
	Guardrail string   `json:"guardrail,omitempty"`
	Stage     string   `json:"stage,omitempty"`
	Field     string   `json:"field"`
	From      string   `json:"from"`
	To        string   `json:"to"`
	Why       string   `json:"why"`
	Before    *Outcome `json:"before,omitempty"`
	After     *Outcome `json:"after,omitempty"`
	Trials    []Trial  `json:"trials,omitempty"`
}

// Changes reports whether there is anything to change.
func (p Proposal) Changes() bool { return p.From != p.To }

// factors by which limits are tried, the present one in the middle.
var factors = []float64{0.5, 0.75, 1, 1.5, 2, 3}

// Propose tries other values for every guardrail and stage of p that the recorded rollouts say something about: rollouts count
// for a guardrail when they measured its metric.
func Propose(p *plan.Plan, recorded []Recorded) []Proposal {
	out := []Proposal{}
	for i := range p.Judge.Guardrails {
		g := &p.Judge.Guardrails[i]
		about := slices.DeleteFunc(slices.Clone(recorded), func(r Recorded) bool { return r.Plan.Metrics[g.Metric].Kind == "" })
		if len(about) == 0 {
			continue
		}
		if limit, ok := limitOf(p, g, about); ok {
			out = append(out, limit)
		}
		if detect, ok := detectOf(p, g, about); ok {
			out = append(out, detect)
		}
	}
	return append(out, bakes(p, recorded)...)
}

// limitOf tries other limits of a guardrail.
func limitOf(p *plan.Plan, g *judge.Guardrail, about []Recorded) (Proposal, bool) {
	out := Proposal{Guardrail: g.Name, Field: FieldWorseBy}
	if g.WorseBy == (judge.Margin{}) {
		if out.Field = FieldMax; g.Max == nil {
			return out, false
		}
	}
	best := -1
	for i, f := range factors {
		v := *g
		v.WorseBy = judge.Margin{Relative: round(f * g.WorseBy.Relative), Absolute: round(f * g.WorseBy.Absolute)}
		if g.Max != nil {
			most := round(f * *g.Max)
			v.Max = &most
		}
		t := Trial{Value: valueOf(&v, out.Field), Outcome: backTest(p, &v, about)}
		if f == 1 {
			out.From, out.Before = t.Value, &t.Outcome
		}
		out.Trials = append(out.Trials, t)
		if best < 0 || t.Outcome.less(out.Trials[best].Outcome) {
			best = i
		}
	}
	out.To, out.After = out.From, out.Before
	if chosen := out.Trials[best]; chosen.Outcome.less(*out.Before) {
		out.To, out.After = chosen.Value, &chosen.Outcome
	}
	out.Why = out.reason()
	return out, true
}

func (p *Proposal) reason() string {
	b, a := p.Before, p.After
	if !p.Changes() {
		return fmt.Sprintf("nothing tried does better: %s", b.words())
	}
	return fmt.Sprintf("%s instead of %s", a.words(), b.words())
}

func (o *Outcome) words() string {
	text := fmt.Sprintf("%d of %d harmful rollouts missed, %d of %d harmless failed", o.Misses, o.Harmful, o.FalseAlarms, o.Harmless)
	if o.Harmful > o.Misses {
		text += fmt.Sprintf(", %.0f s on average", o.MeanDelay)
	}
	return text
}

// valueOf writes a limit as specifications have it.
func valueOf(g *judge.Guardrail, field string) string {
	m := g.WorseBy
	if field == FieldMax {
		m = judge.Margin{Absolute: *g.Max}
	}
	return marginText(g, m, field == FieldMax)
}

func marginText(g *judge.Guardrail, m judge.Margin, level bool) string {
	share := g.Stat == "proportion" || g.Stat == "flips" || g.Stat == ""
	number := func(x float64) string { return strconv.FormatFloat(math.Round(x*1e9)/1e9, 'f', -1, 64) }
	switch {
	case m.Relative != 0:
		return number(100*m.Relative) + "%"
	case share && level:
		return number(100*m.Absolute) + "%"
	case share:
		return number(100*m.Absolute) + "pp"
	}
	return number(m.Absolute)
}

// round keeps two digits.
func round(x float64) float64 {
	if x == 0 {
		return 0
	}
	digit := math.Pow(10, math.Floor(math.Log10(math.Abs(x)))-1)
	return math.Round(x/digit) * digit
}

// backTest lets one guardrail alone judge the rollouts, with the share of alpha that it has in the plan.
func backTest(p *plan.Plan, g *judge.Guardrail, about []Recorded) Outcome {
	var out Outcome
	var sum float64
	for _, r := range about {
		delay, failed := judged(alone(p, g, r.Plan.Judge), r)
		switch {
		case r.Harm && failed:
			out.Harmful++
			sum += delay
		case r.Harm:
			out.Harmful++
			out.Misses++
		default:
			out.Harmless++
			if failed {
				out.FalseAlarms++
			}
		}
	}
	if caught := out.Harmful - out.Misses; caught > 0 {
		out.MeanDelay = sum / float64(caught)
	}
	return out
}

// alone is the configuration of one guardrail: it keeps its share of alpha, and the recorded rollout's stages.
func alone(p *plan.Plan, g *judge.Guardrail, of judge.Config) judge.Config {
	weights := 0.0
	for i := range p.Judge.Guardrails {
		if o := &p.Judge.Guardrails[i]; o.Test == judge.AlwaysValid {
			weights += max(o.Weight, 0)
		}
	}
	of.Guardrails = []judge.Guardrail{*g}
	if of.Alpha = p.Judge.Alpha; weights > 0 && g.Test == judge.AlwaysValid {
		of.Alpha *= g.Weight / weights
	}
	return of
}

// judged plays a rollout until the guardrail fails it: how many seconds after the first exposed observation.
func judged(cfg judge.Config, r Recorded) (delay float64, failed bool) {
	first := int64(0)
	play(cfg, r, func(sec *evidence.Second, rep judge.Report) bool {
		if first == 0 && slices.ContainsFunc(sec.Blocks, func(b evidence.Block) bool { return b.Assigned == evidence.ArmExposed && b.N > 0 }) {
			first = sec.At
		}
		failed = slices.ContainsFunc(rep.Verdicts, func(v judge.Verdict) bool {
			return v.Result == judge.Fail && v.Guardrail == cfg.Guardrails[0].Name
		})
		delay = float64(sec.At - first)
		return !failed
	})
	return delay, failed
}

// play judges the stored seconds in order until visit says enough.
func play(cfg judge.Config, r Recorded, visit func(*evidence.Second, judge.Report) bool) {
	s := judge.New(cfg, r.Plan.Metrics)
	judge.Remember(s, judge.Kept(r.Seconds))
	events := r.Events
	for i := range r.Seconds {
		for len(events) > 0 && events[0].After < r.Seconds[i].At {
			events[0].Apply(s)
			events = events[1:]
		}
		if !visit(&r.Seconds[i], judge.Step(cfg, s, r.Seconds[i])) {
			return
		}
	}
}

// detectOf proposes the effect that harmless rollouts could have seen by their end, where that is far from the one asked for.
func detectOf(p *plan.Plan, g *judge.Guardrail, about []Recorded) (Proposal, bool) {
	out := Proposal{Guardrail: g.Name, Field: FieldDetect, From: marginText(g, g.Detect, false)}
	if g.Test != judge.AlwaysValid || g.Stat == "drift" || g.Stat == "flips" || g.Detect == (judge.Margin{}) {
		return out, false
	}
	asked, worst, n := g.Detect.Relative+g.Detect.Absolute, 0.0, 0
	for _, r := range about {
		if r.Harm {
			continue
		}
		last := math.Inf(1)
		play(alone(p, g, r.Plan.Judge), r, func(_ *evidence.Second, rep judge.Report) bool {
			if d := rep.Verdicts[0].Detectable; d != nil {
				last = *d
			}
			return true
		})
		worst, n = max(worst, last), n+1
	}
	limit := g.WorseBy.Relative + g.WorseBy.Absolute
	if n == 0 || math.IsInf(worst, 1) || worst >= asked/2 && worst <= asked {
		return out, false
	}
	to := round(max(1.1*worst, 1.5*limit))
	out.To = marginText(g, judge.Margin{Relative: to}, false)
	if g.Detect.Absolute > 0 {
		out.To = marginText(g, judge.Margin{Absolute: to}, false)
	}
	out.Why = fmt.Sprintf("the %d harmless rollouts could see %s or less by their end", n, out.To)
	return out, out.Changes()
}

// bakes proposes bake times for the stages that need power: long enough for the slowest harmless rollout to have shown it.
func bakes(p *plan.Plan, recorded []Recorded) []Proposal {
	need, n := 0, 0
	for _, r := range recorded {
		if r.Harm {
			continue
		}
		if s, ok := untilPower(p, r); ok {
			need, n = max(need, s), n+1
		}
	}
	if n == 0 {
		return nil
	}
	to := (time.Duration(math.Ceil(1.2*float64(need)/10)) * 10 * time.Second)
	var out []Proposal
	for _, st := range p.Stages {
		short := st.Bake < time.Duration(need)*time.Second
		if float64(st.Served())/evidence.MaxExposure < p.Judge.PowerFrom || !short && st.Bake <= 4*to {
			continue
		}
		why := fmt.Sprintf("the slowest of %d harmless rollouts had power after %d s", n, need)
		out = append(out, Proposal{Stage: st.Name, Field: FieldBake, From: st.Bake.String(), To: to.String(), Why: why})
	}
	return out
}

// untilPower is how many judged seconds a rollout took to a powered pass under the plan's guardrails; false if it had none.
func untilPower(p *plan.Plan, r Recorded) (seconds int, ok bool) {
	cfg := r.Plan.Judge
	cfg.Guardrails, cfg.Alpha = slices.Clone(p.Judge.Guardrails), p.Judge.Alpha
	cfg.Guardrails = slices.DeleteFunc(cfg.Guardrails, func(g judge.Guardrail) bool { return r.Plan.Metrics[g.Metric].Kind == "" })
	if len(cfg.Guardrails) == 0 {
		return 0, false
	}
	play(cfg, r, func(sec *evidence.Second, rep judge.Report) bool {
		if !sec.Gap {
			seconds++
		}
		ok = rep.Powered
		return !ok
	})
	return seconds, ok
}
