package judge

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// RuleLost is the rule and guardrail of "the candidate makes its processes hang or crash".
const RuleLost = "component-lost"

// Constants of the rule.
const (
	lostWithin = 60   // seconds after a commit in which losses trip by themselves
	lostShare  = 0.05 // of a component's instances
	lostLeast  = 2    // instances, where there are more than one
	lostMargin = 2.0  // times the rate of the hour before is tolerated
	pastBin    = 10   // seconds
	pastBins   = 360  // an hour of them
)

// BootNote is what one component's instances did in one second. Of the controller's own absence it says nothing: such
// seconds do not count.
type BootNote struct {
	At             int64  `json:"at"` // unix seconds, ascending per component
	Component      string `json:"component"`
	Instances      int    `json:"instances"`        // that should be alive
	Lapsed         int    `json:"lapsed,omitempty"` // lapsed, or were replaced, without Bye in this second
	Fresh          int    `json:"fresh,omitempty"`  // new boots of known instances in this second: processes started again
	SinceCommit    int64  `json:"sinceCommit"`      // seconds since the newest commit that moves the component; negative without one
	ControllerAway bool   `json:"away,omitempty"`   // the controller itself was away: nothing of this second counts
}

// bootsWatch looks after one component: losses shortly after a commit trip at once; a rate of losses and restarts per
// instance-second above twice that of the hour before the rollout trips by the evidence of stat.PastLogE.
type bootsWatch struct {
	Instances   int        `json:"instances"`
	SinceCommit int64      `json:"sinceCommit"`
	Lost        int        `json:"lost"`           // since the newest commit, within its first minute
	Past        []bootsBin `json:"past,omitempty"` // before the rollout, oldest first, the last may be filling
	Open        int64      `json:"open,omitempty"` // seconds in the last
	Now         bootsBin   `json:"now"`            // of the rollout
	Tripped     string     `json:"tripped,omitempty"`
	At          int64      `json:"at"`
}

// bootsBin are instance-seconds and the losses and restarts in them.
type bootsBin struct {
	N uint64 `json:"n"`
	Y uint64 `json:"y,omitempty"`
}

func (b *bootsBin) add(o bootsBin) { b.N, b.Y = b.N+o.N, b.Y+o.Y }

// NoteBoot takes one second of one component. Before the first Enter it teaches what is usual; later it is judged. The losses of
// one component are taken as independent of each other; where one cause takes many, the margin is all there is.
func NoteBoot(s *State, n BootNote) {
	w := s.watchOf(n.Component)
	if n.SinceCommit >= 0 && (w.SinceCommit < 0 || n.SinceCommit < w.SinceCommit) {
		w.Lost, w.Tripped = 0, ""
	}
	w.SinceCommit, w.Instances = n.SinceCommit, n.Instances
	if n.ControllerAway || n.Instances <= 0 {
		return
	}
	w.At = n.At
	second := bootsBin{uint64(n.Instances), uint64(max(n.Lapsed, 0) + max(n.Fresh, 0))}
	if s.Stage < 0 {
		w.teach(second)
		return
	}
	w.Now.add(second)
	w.trip(&n)
}

// PastNote is what one component's instances did before the rollout began.
type PastNote struct {
	Component string `json:"component"`
	Seconds   uint64 `json:"seconds"`          // that instances were alive
	Losses    uint64 `json:"losses,omitempty"` // lapses without Bye and boots of known instances
}

// NotePast teaches what is usual for a component. It changes nothing once a stage has been entered.
func NotePast(s *State, n PastNote) {
	if s.Stage >= 0 || n.Seconds == 0 {
		return
	}
	w := s.watchOf(n.Component)
	w.Past = append(w.Past, bootsBin{n.Seconds, n.Losses})
	w.Open = pastBin // the next second begins a bin of its own
}

// watchOf returns the watch of a component, made when it is new.
func (s *State) watchOf(component string) *bootsWatch {
	if s.Components == nil {
		s.Components = map[string]*bootsWatch{}
	}
	w := s.Components[component]
	if w == nil {
		w = &bootsWatch{SinceCommit: -1}
		s.Components[component] = w
	}
	return w
}

// teach keeps the last hour.
func (w *bootsWatch) teach(second bootsBin) {
	if w.Open == 0 || w.Open == pastBin {
		w.Past, w.Open = append(w.Past, bootsBin{}), 0
	}
	w.Open++
	w.Past[len(w.Past)-1].add(second)
	if extra := len(w.Past) - pastBins; extra > 0 {
		w.Past = slices.Delete(w.Past, 0, extra)
	}
}

// logE is the evidence that losses have become more than twice as frequent; 0 without a past.
func (w *bootsWatch) logE() float64 {
	var past bootsBin
	for _, b := range w.Past {
		past.add(b)
	}
	return stat.PastLogE(past.Y, float64(past.N), w.Now.Y, float64(w.Now.N), lostMargin)
}

// trip counts the instances lost in the first minute after a commit.
func (w *bootsWatch) trip(n *BootNote) {
	if n.SinceCommit < 0 || n.SinceCommit > lostWithin {
		return
	}
	w.Lost += max(n.Lapsed, 0)
	need := max(lostLeast, int(math.Ceil(lostShare*float64(n.Instances))))
	if n.Instances == 1 {
		need = 1
	}
	if w.Lost >= need && w.Tripped == "" {
		w.Tripped = fmt.Sprintf("%d of %d instances lost within %d s of the commit, %d are too many", w.Lost, n.Instances, lostWithin, need)
	}
}

// lostVerdicts are the verdicts of the components that are lost.
func (s *State) lostVerdicts() []Verdict {
	var out []Verdict
	for _, name := range slices.Sorted(maps.Keys(s.Components)) {
		w := s.Components[name]
		logE := w.logE()
		v := Verdict{
			Lane: Lane{Guardrail: RuleLost, Dim: evidence.DimTotal, Value: name}, Result: Fail, Rule: RuleLost, Action: ActRollback,
			Scale: scaleValue, From: max(w.At-lostWithin+1, 1), To: w.At,
		}
		switch {
		case w.Tripped != "":
			v.Exposed, v.NExposed, v.Detail = float64(w.Lost), uint64(w.Instances), w.Tripped
			v.Effect = v.Exposed
		case logE >= watchLevel:
			v.From, v.LogE, v.Level = s.Chain.From, logE, watchLevel
			v.Exposed, v.NExposed, v.Effect = float64(w.Now.Y), uint64(w.Instances), float64(w.Now.Y)
			v.Detail = fmt.Sprintf("%d losses and restarts since the rollout began, more than twice the rate of the hour before", w.Now.Y)
		default:
			continue
		}
		out = append(out, v)
	}
	return out
}
