package judge

import (
	"cmp"
	"slices"

	"sluice.dev/sdk/evidence"
)

// Arms in the order in which their counts are kept.
const (
	baseline = iota
	exposed
)

func armOf(name string) int {
	if name == evidence.ArmExposed {
		return exposed
	}
	return baseline
}

// stratum is what two arms must share to be compared.
type stratum struct {
	Cohort   string `json:"cohort"`
	Revision uint64 `json:"revision"`
	Exposure uint32 `json:"exposure"`
}

func (s stratum) compare(o stratum) int {
	return cmp.Or(cmp.Compare(s.Cohort, o.Cohort), cmp.Compare(s.Revision, o.Revision), cmp.Compare(s.Exposure, o.Exposure))
}

// armSecond is what one arm did in one cell, stratum and second. Requests open at close that count as bad are in N, Bad
// and Open, in the total only: they have no unit bucket and no value.
type armSecond struct {
	N, Bad, Open uint64
	Parts        []part
}

// part is one merged cell (there is one per served arm) with the histogram whose scale its bins have. Either may be nil;
// both belong to the evidence and are not changed.
type part struct {
	Cell *evidence.Cell
	Hist *evidence.Hist
}

// both reports whether some stratum has both arms.
func (l *laneSecond) both() bool {
	return slices.ContainsFunc(l.Strata, func(s stratumSecond) bool { return s.Arms[baseline].N > 0 && s.Arms[exposed].N > 0 })
}

type stratumSecond struct {
	stratum
	Arms [2]armSecond
}

// laneSecond is the evidence of one lane in one judged second: strata in ascending order, each with both arms (one may
// be empty).
type laneSecond struct {
	At      int64
	Clock   int64 // judged seconds so far
	Stage   int
	Covered bool // at least 95 % of the expected members reported the second complete
	Strata  []stratumSecond
}

// arm returns the place for the counts of one stratum and arm.
func (l *laneSecond) arm(st stratum, arm int) *armSecond {
	i, ok := slices.BinarySearchFunc(l.Strata, st, func(e stratumSecond, st stratum) int { return e.compare(st) })
	if !ok {
		l.Strata = slices.Insert(l.Strata, i, stratumSecond{stratum: st})
	}
	return &l.Strata[i].Arms[arm]
}

// rule is the engine of one lane. A rule keeps its whole memory in exported fields of a type that lane has a field for,
// so that it is part of the state's digest.
type rule interface {
	// enter begins a stage: looks at earlier evidence end, what was learned of the baseline stays.
	enter()
	// observe takes one judged second of the stage, also an empty one. It is called once per second, in order.
	observe(g *Guardrail, m evidence.Metric, s *laneSecond)
	// verdict fills in everything but the lane and the action. clock is the number of judged seconds so far.
	verdict(g *Guardrail, m evidence.Metric, clock int64, v *Verdict)
}

// lane is the memory of one cell of a guardrail.
type lane struct {
	Dim       string         `json:"dim"`
	Value     string         `json:"value,omitempty"`
	Since     int64          `json:"since"` // second in which it was first seen
	Threshold *thresholdLane `json:"threshold,omitempty"`
	Always    *alwaysLane    `json:"always,omitempty"`

	now laneSecond // of the second being judged, not part of the state
}

func newLane(g *Guardrail, dim, value string, at int64) *lane {
	l := &lane{Dim: dim, Value: value, Since: at}
	switch g.Test {
	case Threshold, "":
		l.Threshold = &thresholdLane{}
	case AlwaysValid:
		l.Always = &alwaysLane{}
	}
	return l
}

// rule returns the lane's engine, nil when this version has none for the guardrail's test: such a lane never passes.
func (l *lane) rule() rule {
	switch {
	case l.Threshold != nil:
		return l.Threshold
	case l.Always != nil:
		return l.Always
	}
	return nil
}

// judged is false for a lane that nothing can judge.
func (l *lane) judged() bool { return l.Always == nil || l.Always.Fault == "" }

func (l *lane) compare(dim, value string) int {
	return cmp.Or(cmp.Compare(dimRank(l.Dim), dimRank(dim)), cmp.Compare(l.Value, value))
}

// dimRank orders the dimensions that have lanes: total, segment, source.
func dimRank(dim string) int {
	return slices.Index([]string{evidence.DimTotal, evidence.DimSegment, evidence.DimSource}, dim)
}
