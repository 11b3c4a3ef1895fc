package judge

import (
	"errors"
	"fmt"
	"math"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// Rules and names of what every rollout is watched for, whatever its guardrails.
const (
	ruleSilence = "silence"
)

// watchLevel is the log evidence from which a watch speaks: a false alarm in one of a thousand rollouts, outside alpha.
var watchLevel = math.Log(1000)

// silenceMargin is what the share of lost requests may differ by: half as many again, and 0.2 points.
var silenceMargin = stat.Margin{Relative: 0.5, Absolute: 0.002}

// silenceWatch compares, exposed against baseline, the requests that began and had no outcome when their second closed. Both
// arms' units are drawn from the same requests, so what is lost must be equal; shares of traffic prove nothing.
type silenceWatch struct {
	Lane *stat.Lane `json:"lane"`
}

func (w *silenceWatch) check() error {
	if w != nil && w.Lane == nil {
		return errors.New("the watch for silence has no lane")
	}
	return nil
}

// watch takes a second into the watches that belong to no guardrail.
func (s *State) watch(cfg Config, ix index) {
	s.watchSilence(cfg, ix)
	s.watchAssignment(ix)
	s.watchLate(cfg, ix)
}

func (s *State) watchSilence(cfg Config, ix index) {
	if s.Silence == nil {
		s.Silence = &silenceWatch{Lane: watchLane(cfg, silenceMargin)}
	}
	var now laneSecond
	for _, b := range ix[evidence.MetricError] {
		if s.compares(b) {
			a := now.arm(stratum{b.Cohort, b.Revision, b.Exposure}, armOf(b.Assigned))
			a.N, a.Bad = a.N+b.N+b.Open, a.Bad+b.Open
		}
	}
	now.At, now.Stage = s.At, s.Stage
	var b stat.Block
	now.fill(&b)
	s.Silence.Lane.Step(b)
}

// watchLane is an e-process on shares; the margins of the watches are constants that a lane accepts.
func watchLane(cfg Config, m stat.Margin) *stat.Lane {
	l, err := stat.NewLane(stat.LaneConfig{
		Kind: stat.Proportion, Margin: m, Blocks: int64(max(cfg.Bakes, 0)), Stages: max(cfg.Stages, 0),
	})
	if err != nil {
		panic("judge: " + err.Error())
	}
	return l
}

// watched returns the verdicts of the watches that speak.
func (s *State) watched(cfg Config) []Verdict {
	var out []Verdict
	if s.Silence != nil && s.Silence.Lane.LogE() >= watchLevel {
		e := s.Silence.Lane.Estimate()
		out = append(out, Verdict{
			Lane: Lane{Guardrail: "silence", Dim: evidence.DimTotal}, Result: Fail, Rule: ruleSilence, Action: ActPause, Stat: statProportion,
			Baseline: e.Baseline, Exposed: e.Exposed, Effect: e.Exposed - e.Baseline, Limit: silenceMargin.Absolute, Scale: scaleAbsolute,
			NBaseline: e.NC, NExposed: e.NT, From: s.Chain.From, To: s.At, LogE: s.Silence.Lane.LogE(), Level: watchLevel, Phi: s.Silence.Lane.Phi(),
			Detail: "requests of the exposed arm begin and have no outcome",
		})
	}
	return append(append(out, s.srmVerdicts(cfg)...), s.lostVerdicts()...)
}

// lateMargin is what the share of late observations may differ by: twice as many, and one point.
var lateMargin = stat.Margin{Relative: 1, Absolute: 0.01}

// lateWatch compares the shares of a metric's observations that came after their second had closed, in both directions: what
// is late is missing in the counts, and where it is missing in one arm alone the counts no longer compare.
type lateWatch struct {
	Told  [2]uint64     `json:"told"`           // late observations by arm, of the intake's life
	Fresh [2]uint64     `json:"fresh"`          // of them, not in a block yet
	Lanes [2]*stat.Lane `json:"lanes"`          // exposed later than baseline, baseline later than exposed
	Since int64         `json:"since"`          // clock of the first told; it is judged from the next second on
	Loud  bool          `json:"loud,omitempty"` // a difference is proved; it stays
}

// NoteLate tells what Intake.Late returns, before the next Step. A metric whose late observations differ between the arms is
// inconclusive from then on; hard trips stay.
func NoteLate(s *State, late []LateCount) {
	for _, c := range late {
		w := s.Late[c.Metric]
		if w == nil {
			if c.N == 0 {
				continue
			}
			if s.Late == nil {
				s.Late = map[string]*lateWatch{}
			}
			w = &lateWatch{Since: s.Clock}
			s.Late[c.Metric] = w
		}
		arm := armOf(c.Arm)
		if c.N > w.Told[arm] {
			w.Fresh[arm] += c.N - w.Told[arm]
		}
		w.Told[arm] = c.N
	}
}

func (s *State) watchLate(cfg Config, ix index) {
	for metric, w := range s.Late {
		fresh := w.Fresh
		w.Fresh = [2]uint64{}
		if w.Lanes[0] == nil { // the first late observations only begin the watch
			w.Lanes = [2]*stat.Lane{watchLane(cfg, lateMargin), watchLane(cfg, lateMargin)}
			continue
		}
		n := fresh
		for _, b := range ix[metric] {
			if s.compares(b) {
				n[armOf(b.Assigned)] += b.N
			}
		}
		arms := [2]stat.Arm{{N: n[0], Bad: fresh[0]}, {N: n[1], Bad: fresh[1]}}
		for i, l := range w.Lanes {
			l.Step(stat.Block{Second: s.At, Stage: s.Stage, Strata: []stat.Stratum{{Exposed: arms[1-i], Baseline: arms[i]}}})
			w.Loud = w.Loud || l.LogE() >= watchLevel
		}
	}
}

// unreliable says why the metric's arms no longer compare, "" when they do.
func (s *State) unreliable(metric string) string {
	w := s.Late[metric]
	if w == nil || !w.Loud {
		return ""
	}
	return fmt.Sprintf("observations come late in one arm more than in the other: %d of the exposed arm, %d of the baseline; the arms no longer compare",
		w.Told[exposed], w.Told[baseline])
}
