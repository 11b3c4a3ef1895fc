package bench

import (
	"fmt"
	"slices"
)

// Goal is something this product promises of its own judge, and what was measured.
type Goal struct {
	Name     string
	Margin   string // tolerated, of the harmed metric
	Tests    int
	Measured string
	Limit    string
	Met      bool
	Unsafe   bool // about false rollbacks, not about speed
}

// ours is the row of the product as it is.
const oursName = "sluice"

// nullGoals: in each family the lower 95 % bound of the false rollbacks is at most alpha, and so is the rate of all together.
func (s *summary) nullGoals(r *Result) (out []Goal) {
	runs, wrong := 0, 0
	for _, n := range r.Nulls {
		if n.Contender != oursName || n.Tuned {
			continue
		}
		i := slices.IndexFunc(s.nulls, func(g gathered) bool { return g.family.name == n.Family })
		f := s.nulls[i].family
		low := lowerBound(n.FalseRollbacks, n.Runs, 0.05)
		out = append(out, Goal{
			Name: "false rollbacks: " + n.Family, Margin: f.marginOf(), Tests: f.tests(),
			Measured: fmt.Sprintf("%d of %d, lower bound %.2f %%", n.FalseRollbacks, n.Runs, 100*low), Limit: "lower 95 % bound <= 1 %", Met: low <= Alpha, Unsafe: true,
		})
		runs, wrong = runs+n.Runs, wrong+n.FalseRollbacks
	}
	if runs > 0 {
		rate := float64(wrong) / float64(runs)
		out = append(out, Goal{
			Name: "false rollbacks: all families", Margin: "as above", Measured: fmt.Sprintf("%d of %d, %.2f %%", wrong, runs, 100*rate),
			Limit: "<= 1 %", Met: rate <= Alpha, Unsafe: true,
		})
	}
	return out
}

func (f *family) marginOf() string {
	if f.harm == nil {
		return "none"
	}
	return f.marginText()
}

// slack is the time added to the goals of quick harm in values, which the first values of the baseline are needed for.
const slack = 5

// harmGoals: the mean delay against the oracle's time, and against other contenders.
func (s *summary) harmGoals(r *Result) (out []Goal) {
	for i := range s.harms {
		f := s.harms[i].family
		h := r.find(f, oursName)
		limit := f.harm.goal * h.OracleSeconds
		text := fmt.Sprintf("<= %.3g x %.3g s", f.harm.goal, h.OracleSeconds)
		if f.harm.move != nil && f.harm.goal == 2 && !f.harm.late {
			limit, text = limit+slack, text+fmt.Sprintf(" + %d s", slack)
		}
		out = append(out, Goal{
			Name: "delay: " + f.name, Margin: f.marginText(), Tests: f.tests(), Limit: text,
			Measured: fmt.Sprintf("%.4g s, ratio %.2f, missed %d of %d", h.MeanSeconds, h.RatioToOracle, h.Missed, h.Runs),
			Met:      h.MeanSeconds <= limit && h.Missed*100 <= h.Runs,
		})
	}
	for _, name := range []string{frontierFamily, "latency x1.1"} {
		for _, rival := range []string{"argo limit 3", "kayenta"} {
			if i := slices.IndexFunc(s.harms, func(g gathered) bool { return g.family.name == name && !g.family.product }); i >= 0 {
				out = append(out, r.faster(s.harms[i].family, rival))
			}
		}
	}
	return out
}

const fasterBy = 5

// faster is the goal of being at least five times as fast as a rival on average.
func (r *Result) faster(f *family, rival string) Goal {
	a, b := r.find(f, oursName), r.find(f, rival)
	ratio := b.MeanSeconds / a.MeanSeconds
	return Goal{
		Name: fmt.Sprintf("faster than %s: %s", rival, f.name), Margin: f.marginText(), Tests: f.tests(), Limit: fmt.Sprintf(">= %d x", fasterBy),
		Measured: fmt.Sprintf("%.3g s against %.3g s (%d of %d missed), %.1f x", a.MeanSeconds, b.MeanSeconds, b.Missed, b.Runs, ratio),
		Met:      ratio >= fasterBy || b.Missed == b.Runs,
	}
}

// find returns the row of a contender at its default; the product's families are told apart by their number of tests.
func (r *Result) find(f *family, name string) Harm {
	for _, h := range r.Harms {
		if h.Family == f.name && h.Contender == name && !h.Tuned && h.Tests == f.tests() {
			return h
		}
	}
	return Harm{}
}
