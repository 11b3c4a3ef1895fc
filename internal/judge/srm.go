package judge

import (
	"sluice.dev/sdk/evidence"
)

// The rule of sample ratio mismatch. Request shares prove nothing, because a hash splits units; so each assignment is
// computed again from the unit's hash where the evidence is made, and what does not match is counted. A few may come from a
// switch between stages; a client that draws for itself, or forges its arm, is wrong for a share of its units.
const (
	RuleSRM  = "srm"
	srmShare = 0.001 // of an arm's requests, over the whole rollout
	srmLeast = 10    // mismatches
)

// srmCount is one arm's requests and those whose unit does not belong there.
type srmCount struct {
	N   uint64 `json:"n"`
	Bad uint64 `json:"bad"`
}

func (s *State) watchAssignment(ix index) {
	for _, b := range ix[evidence.MetricError] {
		s.Srm[armOf(b.Assigned)].N += b.N
	}
	for _, b := range ix[evidence.MetricAssignment] {
		s.Srm[armOf(b.Assigned)].Bad += b.Bad
	}
}

func (c srmCount) share() float64 { return float64(c.Bad) / max(1, float64(c.N)) }

// srmVerdicts speaks once an arm holds units that do not belong there. It is a threshold and says so.
func (s *State) srmVerdicts(cfg Config) []Verdict {
	worst := max(s.Srm[baseline].Bad, s.Srm[exposed].Bad)
	if worst < srmLeast || max(s.Srm[baseline].share(), s.Srm[exposed].share()) <= srmShare {
		return nil
	}
	action := cfg.OnSRM
	if action == "" {
		action = ActPause
	}
	b, e := s.Srm[baseline], s.Srm[exposed]
	return []Verdict{{
		Lane: Lane{Guardrail: RuleSRM, Dim: evidence.DimTotal}, Result: Fail, Rule: RuleSRM, Action: action, Stat: statProportion,
		Baseline: b.share(), Exposed: e.share(), Effect: max(b.share(), e.share()), Limit: srmShare, Scale: scaleValue,
		NBaseline: b.N, NExposed: e.N, From: s.Chain.From, To: s.At, Detail: "units stand on an arm that their hash does not give",
	}}
}
