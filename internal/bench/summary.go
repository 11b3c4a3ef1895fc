package bench

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// Result is everything that was measured.
type Result struct {
	Nulls []Null `json:"nulls"`
	Harms []Harm `json:"harms"`

	Knobs    []Knob  `json:"-"`
	Goals    []Goal  `json:"-"`
	Frontier []Curve `json:"-"`
}

// Null is how often a contender took back rollouts of a family without harm.
type Null struct {
	Family         string     `json:"family"`
	Contender      string     `json:"contender"`
	Tuned          bool       `json:"tuned"`
	Runs           int        `json:"runs"`
	FalseRollbacks int        `json:"falseRollbacks"`
	Rate           float64    `json:"rate"`
	CI95           [2]float64 `json:"ci95"` // Clopper-Pearson, two-sided
}

// Harm is how soon a contender took back harmful rollouts of a family. Seconds are from the onset to the rollback's decision, over
// the rollouts that were taken back after it; all others are missed, those taken back before the onset among them. RatioToOracle
// is MeanSeconds over OracleSeconds, the least mean that any rule with the same margin, number of tests and alpha can have.
type Harm struct {
	Family        string  `json:"family"`
	Contender     string  `json:"contender"`
	Tuned         bool    `json:"tuned"`
	Margin        float64 `json:"margin"` // relative, as it acts
	Tests         int     `json:"tests"`
	Runs          int     `json:"runs"`
	MeanSeconds   float64 `json:"meanSeconds"`
	MedianSeconds float64 `json:"medianSeconds"`
	Missed        int     `json:"missed"`
	OracleSeconds float64 `json:"oracleSeconds"`
	RatioToOracle float64 `json:"ratioToOracle"`
}

// Knob is how a contender was tuned on a kind of metric.
type Knob struct {
	Contender, Name, Family string
	Setting                 float64
	False, Runs             int
}

// Curve is a contender's frontier over the settings of its knob: false rollbacks of plain streams against mean delay.
type Curve struct {
	Contender string
	Points    []Point
}

// Point is one setting. Missed harm counts with the whole time.
type Point struct {
	Setting, FalseRate, Seconds float64
	Default                     bool
}

// gathered are the runs of one family.
type gathered struct {
	family  *family
	purpose purpose
	seconds int
	runs    []run
}

// Summarise adds up the outcomes of all jobs of Jobs, in any order.
func Summarise(o Options, outcomes []Outcome) *Result {
	list := slices.Clone(outcomes)
	slices.SortStableFunc(list, func(a, b Outcome) int { return a.job.from - b.job.from })
	s := &summary{options: o}
	for _, f := range tuningFamilies() {
		s.tuning = append(s.tuning, gather(list, forTuning, f))
	}
	for _, f := range o.nulls() {
		s.nulls = addSome(s.nulls, gather(list, forNull, f))
	}
	for _, f := range o.harms() {
		s.harms = addSome(s.harms, gather(list, forHarm, f))
	}
	s.tune()
	return s.result()
}

// gather finds the runs of a family; families are told apart by name and by whether they are the product's.
func gather(list []Outcome, p purpose, f *family) gathered {
	g := gathered{family: f, purpose: p}
	for i := range list {
		if j := &list[i].job; j.purpose == p && j.family.name == f.name && j.family.product == f.product {
			g.seconds = j.seconds
			g.runs = append(g.runs, list[i].runs...)
		}
	}
	return g
}

// addSome leaves out families that were not run.
func addSome(list []gathered, g gathered) []gathered {
	if len(g.runs) == 0 {
		return list
	}
	return append(list, g)
}

type summary struct {
	options              Options
	tuning, nulls, harms []gathered
	tuned                [2][len(contenders)]int // level of each contender for rates and for values
	knobs                []Knob
}

// tunable reports whether a contender has a knob.
func (c *contender) tunable() bool { return c.knob != "" }

// tune sets each knob to the fastest level with at most Alpha false rollbacks on the tuning streams.
func (s *summary) tune() {
	for kind, g := range s.tuning {
		for c := range contenders {
			if !contenders[c].tunable() || len(g.runs) == 0 {
				continue
			}
			best := len(contenders[c].levels) - 1
			for best > 0 && float64(g.fired(c, best-1)) <= Alpha*float64(len(g.runs)) {
				best--
			}
			s.tuned[kind][c] = best
			s.knobs = append(s.knobs, Knob{
				Contender: contenders[c].name, Name: contenders[c].knob, Family: g.family.name,
				Setting: contenders[c].shown(contenders[c].levels[best]), False: g.fired(c, best), Runs: len(g.runs),
			})
		}
	}
}

// fired counts the runs in which a level was crossed at any time.
func (g *gathered) fired(c, level int) (n int) {
	for i := range g.runs {
		if g.runs[i].crossed[c][level] > 0 {
			n++
		}
	}
	return n
}

// variant is a row: a contender at one level.
type variant struct {
	contender, level int
	name             string
	tuned            bool
}

// variants are the rows of a family.
func (s *summary) variants(f *family) (out []variant) {
	kind := 0
	if f.metrics[len(f.metrics)-1].values && (f.harm == nil || f.harm.move != nil) {
		kind = 1
	}
	for c := range contenders {
		if f.product && contenders[c].cell != nil || c == oracleRule && f.harm == nil {
			continue
		}
		for _, d := range contenders[c].defaults {
			out = append(out, variant{c, d.level, d.name, false})
		}
		if contenders[c].tunable() {
			out = append(out, variant{c, s.tuned[kind][c], contenders[c].name, true})
		}
	}
	return out
}

func (s *summary) result() *Result {
	r := &Result{Nulls: []Null{}, Harms: []Harm{}, Knobs: s.knobs}
	for i := range s.nulls {
		for _, v := range s.variants(s.nulls[i].family) {
			if v.contender != oracleRule {
				r.Nulls = append(r.Nulls, s.nulls[i].null(v))
			}
		}
	}
	for i := range s.harms {
		for _, v := range s.variants(s.harms[i].family) {
			r.Harms = append(r.Harms, s.harms[i].harm(v))
		}
	}
	r.Goals = append(s.nullGoals(r), s.harmGoals(r)...)
	r.Frontier = s.frontier()
	return r
}

func (g *gathered) null(v variant) Null {
	n := Null{Family: g.family.name, Contender: v.name, Tuned: v.tuned, Runs: len(g.runs), FalseRollbacks: g.fired(v.contender, v.level)}
	n.Rate = float64(n.FalseRollbacks) / float64(max(n.Runs, 1))
	n.CI95 = [2]float64{lowerBound(n.FalseRollbacks, n.Runs, 0.025), upperBound(n.FalseRollbacks, n.Runs, 0.025)}
	return n
}

func (g *gathered) harm(v variant) Harm {
	f := g.family
	h := Harm{
		Family: f.name, Contender: v.name, Tuned: v.tuned, Margin: f.harmed().effectiveMargin(), Tests: f.tests(), Runs: len(g.runs),
		OracleSeconds: f.oracleSeconds(g.seconds),
	}
	delays := g.delays(v)
	h.Missed = h.Runs - len(delays)
	if len(delays) == 0 {
		return h
	}
	for _, d := range delays {
		h.MeanSeconds += d / float64(len(delays))
	}
	n := len(delays)
	h.MedianSeconds = (delays[(n-1)/2] + delays[n/2]) / 2
	h.RatioToOracle = h.MeanSeconds / h.OracleSeconds
	return h
}

// delays are the seconds from the onset to the rollback, ascending, of the runs taken back after it.
func (g *gathered) delays(v variant) (out []float64) {
	for i := range g.runs {
		r := &g.runs[i]
		if at := int(r.crossed[v.contender][v.level]); at > r.onset {
			out = append(out, float64(at-r.onset))
		}
	}
	slices.Sort(out)
	return out
}

// lowerBound and upperBound are the ends of the interval of Clopper & Pearson (Biometrika 26, 1934) for k of n, each with the error
// probability tail.
func lowerBound(k, n int, tail float64) float64 {
	if k == 0 {
		return 0
	}
	return mathext.InvRegIncBeta(float64(k), float64(n-k+1), tail)
}

func upperBound(k, n int, tail float64) float64 {
	if k == n {
		return 1
	}
	return mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-tail)
}

// span are the 1st and 99th hundredth of values.
func span(values []float64) (lo, hi float64) {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/100], s[len(s)-1-len(s)/100]
}

// frontier takes errors of 1 to 3 %: false rollbacks of its tuning streams, seconds of its harm.
func (s *summary) frontier() (out []Curve) {
	i := slices.IndexFunc(s.harms, func(g gathered) bool { return g.family.name == frontierFamily && !g.family.product })
	if i < 0 || len(s.tuning[0].runs) == 0 || len(s.harms[i].runs) == 0 {
		return nil
	}
	null, harm := &s.tuning[0], &s.harms[i]
	for c := range contenders {
		if !contenders[c].tunable() {
			continue
		}
		curve := Curve{Contender: contenders[c].name}
		for l, level := range contenders[c].levels {
			curve.Points = append(curve.Points, Point{
				Setting: contenders[c].shown(level), FalseRate: float64(null.fired(c, l)) / float64(len(null.runs)),
				Seconds: harm.meanWithMissed(c, l), Default: contenders[c].isDefault(l),
			})
		}
		out = append(out, curve)
	}
	return out
}

const frontierFamily = "errors +2 pp (1 to 3 %)"

func (c *contender) isDefault(level int) bool {
	if len(c.defaults) == 0 {
		return c.levels[level] == math.Log(1/Alpha)
	}
	return slices.ContainsFunc(c.defaults, func(d preset) bool { return d.level == level })
}

func (g *gathered) meanWithMissed(c, level int) float64 {
	delays := g.delays(variant{contender: c, level: level})
	sum := float64((len(g.runs) - len(delays)) * g.seconds)
	for _, d := range delays {
		sum += d
	}
	return sum / float64(len(g.runs))
}
