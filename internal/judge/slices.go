package judge

import (
	"cmp"
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
)

// Slice is what the always-valid guardrails know of one value of a segment or source, or of the total, in one line. Values
// with the same counts are one slice: of two attributes that split the requests alike neither is more to blame.
type Slice struct {
	Verdict
	Same   []Value `json:"same,omitempty"` // further values with the very same evidence
	Weight float64 `json:"weight"`         // of the slice in the rollout's evidence
	Share  float64 `json:"share"`          // of the rollout's evidence that rests on it, 0..1

	// Discovered: of all slices marked so at most one in twenty is on average a false discovery, however they depend on each
	// other. It ranks what to look at and decides nothing.
	Discovered bool `json:"discovered"`
}

// falseDiscoveries is the rate to which discovered slices are held.
const falseDiscoveries = 0.05

// discover marks slices by e-BH: of K slices the k with the most evidence, for the largest k whose k-th E is at least K/(k q).
// E-values need no assumption about how slices overlap. list is sorted by LogE, strongest first.
// Source: Wang & Ramdas, "False discovery rate control with e-values", J. R. Stat. Soc. B 84 (2022).
func discover(list []Slice) {
	n := len(list)
	for k := n; k > 0; k-- {
		if list[k-1].LogE >= math.Log(float64(n)/(falseDiscoveries*float64(k))) {
			for i := range list[:k] {
				list[i].Discovered = true
			}
			return
		}
	}
}

// Slices ranks the totals and all values by their evidence of harm, strongest first: by LogE, not by a distance in standard
// deviations, which favours small slices. Threshold lanes have no evidence of that kind and are left out.
func Slices(cfg Config, s *State) []Slice {
	s.mustFit(cfg)
	var out []Slice
	shares := s.shares(cfg)
	for i, r := range s.Rails {
		g := &cfg.Guardrails[i]
		for _, l := range r.Lanes {
			if l.Always == nil || l.Always.Lane == nil {
				continue
			}
			v := r.verdict(s, g, l)
			out = addSlice(out, Slice{Verdict: v, Weight: l.Always.Weight, Share: shares[v.Lane]})
		}
	}
	slices.SortStableFunc(out, func(a, b Slice) int {
		return cmp.Or(cmp.Compare(b.LogE, a.LogE), cmp.Compare(b.Effect, a.Effect))
	})
	discover(out)
	return out
}

// shares are the lanes' parts of the weighted evidence.
func (s *State) shares(cfg Config) map[Lane]float64 {
	all := s.contenders(cfg)
	whole := mixOf(all)
	out := make(map[Lane]float64, len(all))
	for i := range all {
		out[all[i].Lane] = min(1, math.Exp(all[i].weighed()-whole))
	}
	return out
}

// addSlice joins a slice with one of the same guardrail and counts. The total stays by itself.
func addSlice(list []Slice, x Slice) []Slice {
	if x.Dim != evidence.DimTotal {
		for i := range list {
			o := &list[i]
			if o.Dim != evidence.DimTotal && o.sameCounts(&x) {
				o.Same = append(o.Same, Value{x.Dim, x.Value})
				o.Weight, o.Share = o.Weight+x.Weight, min(1, o.Share+x.Share)
				return list
			}
		}
	}
	return append(list, x)
}

func (s *Slice) sameCounts(o *Slice) bool {
	return s.Guardrail == o.Guardrail && s.NExposed == o.NExposed && s.NBaseline == o.NBaseline &&
		s.Exposed == o.Exposed && s.Baseline == o.Baseline && s.Effect == o.Effect
}
