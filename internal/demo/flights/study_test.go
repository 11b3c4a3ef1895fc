//go:build study

package flights

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
)

// The studies choose the rule of the demonstration's guardrail. They print tables and fail nothing:
//
//	go test -tags study -run TestStudy -v ./internal/demo/flights
//
// Columns: seeds in which a rule fires without a fault, over all origins and over the ten busiest; seeds in which the
// fault is missed in the 25 % stage; seeds in which, with the fault, something else than LAX fires; and seconds from the
// fault to the end of the deciding look: median, 90th percentile, worst. The stage lasts 19.8 s after the fault.

// tally counts what one rule does over seeds.
type tally struct {
	anywhere, busiest, missed, elsewhere int
	seconds                              []float64
}

func (t *tally) add(v verdicts) {
	count := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	count(&t.anywhere, v.anywhere)
	count(&t.busiest, v.busiest)
	count(&t.missed, !v.caught)
	count(&t.elsewhere, v.elsewhere)
	if v.caught {
		t.seconds = append(t.seconds, v.seconds)
	}
}

func (t *tally) String() string {
	slices.Sort(t.seconds)
	times := "-"
	if n := len(t.seconds); n > 0 {
		times = fmt.Sprintf("%.1f/%.1f/%.1f", t.seconds[n/2], t.seconds[n*9/10], t.seconds[n-1])
	}
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%s", t.anywhere, t.busiest, t.missed, t.elsewhere, times)
}

// study runs all rules over seeds 1 to n and returns their tallies in the order of the rules.
func study(n int64, set setting, rules []rule) []*tally {
	clean, faulty := newWorld(FaultNone, set.rate), newWorld(FaultFeed, set.rate)
	out := make([]*tally, len(rules))
	for i := range out {
		out[i] = &tally{}
	}
	for seed := int64(1); seed <= n; seed++ {
		s := set.split(clean, faulty, seed)
		for i, r := range rules {
			out[i].add(r.judge(s))
		}
	}
	return out
}

func show(title string, rules []rule, tallies []*tally) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%s\nrule\tfalse\tfalse of 10\tmissed\telsewhere\tseconds\n", title)
	for i, r := range rules {
		fmt.Fprintf(w, "%v\t%v\n", r, tallies[i])
	}
	w.Flush()
}

// TestStudyGrid tries what a specification might say.
func TestStudyGrid(t *testing.T) {
	var rules []rule
	for _, kd := range []kind{disjoint, filled, growing} {
		for _, window := range []int{2, 3, 4, 5, 6, 8} {
			for _, minN := range []int{5, 10, 15, 20, 30} {
				for _, margin := range []float64{.10, .20, .25, .30, .35} {
					for _, of := range [][2]int{{1, 1}, {2, 2}, {2, 3}, {3, 3}, {3, 4}, {3, 5}} {
						rules = append(rules, rule{kd, window, minN, margin, of[0], of[1]})
					}
				}
			}
		}
	}
	show("500 seeds", rules, study(500, setting{rate: RowsPerSecond}, rules))
}

// TestStudyCandidates repeats the rules that were clean with more seeds, and bends what the demonstration cannot hold
// exactly: the speed, and the row at which the controller enters the stage.
func TestStudyCandidates(t *testing.T) {
	rules := []rule{
		{disjoint, 3, 8, .25, 4, 6}, {disjoint, 5, 20, .30, 2, 3}, {disjoint, 6, 15, .30, 2, 3}, {disjoint, 6, 16, .30, 2, 3}, {disjoint, 6, 17, .30, 2, 3},
		{disjoint, 6, 18, .30, 2, 3}, {disjoint, 6, 20, .25, 2, 3}, {disjoint, 6, 20, .28, 2, 3}, {disjoint, 6, 20, .30, 2, 3}, {disjoint, 6, 20, .35, 2, 3},
		{disjoint, 7, 20, .30, 2, 3}, {disjoint, 8, 30, .35, 1, 1},
		{filled, 2, 10, .35, 3, 5}, {filled, 5, 20, .30, 2, 3}, {filled, 6, 18, .30, 2, 3}, {filled, 6, 20, .25, 2, 3}, {filled, 6, 20, .30, 2, 3}, {filled, 6, 20, .35, 2, 3},
		{growing, 1, 30, .30, 2, 3}, {growing, 1, 30, .35, 2, 3},
	}
	show("10,000 seeds", rules, study(10_000, setting{rate: RowsPerSecond}, rules))
	for _, set := range []setting{{450, 0}, {650, 0}, {RowsPerSecond, -800}, {RowsPerSecond, 500}, {RowsPerSecond, 1_000}} {
		show(fmt.Sprintf("2,000 seeds, %+v", set), rules, study(2_000, set, rules))
	}
}
