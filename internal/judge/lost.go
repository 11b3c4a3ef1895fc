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
	lostMargin = 1.0  // rate: twice as many losses as in the hour before are tolerated
	pastBin    = 10   // seconds
	pastBins   = 360  // an hour
)

// BootNote is what one component's instances did in one second. Of the controller's own absence it says nothing: such
// seconds do not count.
type BootNote struct {
	At             int64 // unix seconds, ascending per component
	Component      string
	Instances      int   // that should be alive
	Lapsed         int   // lapsed, or were replaced, without Bye in this second
	Fresh          int   // new boots in this second
	SinceCommit    int64 // seconds since the newest commit that moves the component; negative without one
	ControllerAway bool  // the controller itself was away: nothing of this second counts
}

// bootsWatch looks after one component: losses shortly after a commit trip at once; a rate of losses and new boots per
// instance-second above twice that of the hour before the rollout trips by an e-process on counts.
type bootsWatch struct {
	Instances   int        `json:"instances"`
	SinceCommit int64      `json:"sinceCommit"`
	Lost        int        `json:"lost"`           // since the newest commit, within its first minute
	Past        []bootsBin `json:"past,omitempty"` // before the rollout, oldest first; taken from the end
	Bin         bootsBin   `json:"bin"`
	Open        int64      `json:"open"` // seconds in Bin
	Lane        *stat.Lane `json:"lane,omitempty"`
	Tripped     string     `json:"tripped,omitempty"`
	At          int64      `json:"at"`
	Take        int        `json:"take,omitempty"` // of Past for one stretch of the rollout
	Events      uint64     `json:"events,omitempty"`
}

// bootsBin are instance-seconds and the losses and new boots in them.
type bootsBin struct {
	N uint64 `json:"n"`
	Y uint64 `json:"y,omitempty"`
}

func (b *bootsBin) add(o bootsBin) { b.N, b.Y = b.N+o.N, b.Y+o.Y }

// NoteBoot takes one second of one component. Before the first Enter it teaches what is usual; later it is judged.
func NoteBoot(cfg Config, s *State, n BootNote) {
	if s.Components == nil {
		s.Components = map[string]*bootsWatch{}
	}
	w := s.Components[n.Component]
	if w == nil {
		w = &bootsWatch{SinceCommit: -1}
		s.Components[n.Component] = w
	}
	if n.SinceCommit >= 0 && (w.SinceCommit < 0 || n.SinceCommit < w.SinceCommit) {
		w.Lost, w.Tripped = 0, ""
	}
	w.SinceCommit, w.Instances = n.SinceCommit, n.Instances
	if n.ControllerAway || n.Instances <= 0 {
		return
	}
	w.Bin.add(bootsBin{uint64(n.Instances), uint64(max(n.Lapsed, 0) + max(n.Fresh, 0))})
	w.Open++
	if s.Stage < 0 {
		w.teach()
		return
	}
	w.At = n.At
	w.trip(&n)
	w.rate(cfg, s, n.At)
}

func (w *bootsWatch) teach() {
	if w.Open < pastBin {
		return
	}
	w.Past = append(w.Past, w.Bin)
	w.Bin, w.Open = bootsBin{}, 0
	if extra := len(w.Past) - pastBins; extra > 0 {
		w.Past = slices.Delete(w.Past, 0, extra)
	}
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

// rate compares stretches of the rollout with stretches of the hour before. Each of those is used once, and how many serve one
// stretch follows from the declared bakes, so that the hour lasts for all of them.
func (w *bootsWatch) rate(cfg Config, s *State, at int64) {
	bakes := int64(max(cfg.Bakes, 1))
	length := max(pastBin, (bakes+pastBins-1)/pastBins)
	if w.Open < length {
		return
	}
	now := w.Bin
	w.Bin, w.Open = bootsBin{}, 0
	if w.Lane == nil {
		if len(w.Past) == 0 {
			return
		}
		w.Lane = countLane(cfg, (bakes+length-1)/length)
		w.Take = int(max(1, int64(len(w.Past))*length/bakes))
	}
	take := min(len(w.Past), w.Take)
	if take == 0 {
		return // the rollout has lasted longer than declared: the hour is used up
	}
	var past bootsBin
	for _, b := range w.Past[len(w.Past)-take:] {
		past.add(b)
	}
	w.Past = w.Past[:len(w.Past)-take]
	w.Events += now.Y
	w.Lane.Step(stat.Block{Second: at, Stage: s.Stage, Strata: []stat.Stratum{{
		Exposed: stat.Arm{N: now.Y}, Baseline: stat.Arm{N: past.Y}, Share: float64(now.N) / float64(now.N+past.N),
	}}})
}

func countLane(cfg Config, blocks int64) *stat.Lane {
	l, err := stat.NewLane(stat.LaneConfig{
		Kind: stat.Count, Margin: stat.Margin{Relative: lostMargin}, Blocks: blocks, Stages: max(cfg.Stages, 0),
	})
	if err != nil {
		panic("judge: " + err.Error())
	}
	return l
}

// lostVerdicts are the verdicts of the components that are lost.
func (s *State) lostVerdicts() []Verdict {
	var out []Verdict
	for _, name := range slices.Sorted(maps.Keys(s.Components)) {
		w := s.Components[name]
		v := Verdict{
			Lane: Lane{Guardrail: RuleLost, Dim: evidence.DimTotal, Value: name}, Result: Fail, Rule: RuleLost, Action: ActRollback,
			Scale: scaleValue, From: max(w.At-lostWithin+1, 1), To: w.At,
		}
		switch {
		case w.Tripped != "":
			v.Exposed, v.NExposed, v.Detail = float64(w.Lost), uint64(w.Instances), w.Tripped
			v.Effect = v.Exposed
		case w.Lane != nil && w.Lane.LogE() >= watchLevel:
			v.From, v.LogE, v.Level = s.Chain.From, w.Lane.LogE(), watchLevel
			v.Exposed, v.NExposed, v.Effect = float64(w.Events), uint64(w.Instances), float64(w.Events)
			v.Detail = fmt.Sprintf("%d losses and new boots since the rollout began, more than twice the rate of the hour before", w.Events)
		default:
			continue
		}
		out = append(out, v)
	}
	return out
}
