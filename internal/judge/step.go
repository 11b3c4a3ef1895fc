package judge

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
)

// minCoverage is the share of the expected members that must report a second for it to support a pass.
const minCoverage = 0.95

// Step judges one closed second: it changes s and reports every lane. Seconds come in ascending order; one at or before
// the last is not judged again, and a gap changes nothing but the time. The report depends on cfg, s and sec only, so a
// replay from a stored state finds the same bits.
func Step(cfg Config, s *State, sec evidence.Second) Report {
	s.mustFit(cfg)
	if sec.At > s.At {
		s.At = sec.At
		if !sec.Gap {
			s.judge(cfg, sec)
		}
	}
	return s.report(cfg)
}

// mustFit panics when the state is of another configuration: a plan's guardrails never change.
func (s *State) mustFit(cfg Config) {
	ok := len(s.Rails) == len(cfg.Guardrails)
	for i := 0; ok && i < len(s.Rails); i++ {
		ok = s.Rails[i].Name == cfg.Guardrails[i].Name
	}
	if !ok {
		panic("judge: the state belongs to other guardrails than the configuration")
	}
}

func (s *State) judge(cfg Config, sec evidence.Second) {
	s.Clock++
	s.Digests = append(s.Digests, secondDigest{sec.At, s.digest(&sec)})
	s.Chain.add(s.Digests[len(s.Digests)-1])
	ix := indexOf(sec.Blocks)
	s.Live = s.Live || s.begins(ix)
	covered := float64(sec.Through) >= minCoverage*float64(sec.Members)
	for i, r := range s.Rails {
		r.step(s, cfg, &cfg.Guardrails[i], ix, covered)
	}
	s.watch(cfg, ix)
	s.examine(cfg, sec)
	s.prune()
}

// digest is evidence.SecondDigest in memory that is used again for every second.
func (s *State) digest(sec *evidence.Second) string {
	s.canonical = evidence.AppendCanonical(s.canonical[:0], sec)
	sum := sha256.Sum256(s.canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// index holds a second's blocks by metric; those without a lease have left both arms and are not in it.
type index map[string][]*evidence.Block

func indexOf(blocks []evidence.Block) index {
	ix := index{}
	for i := range blocks {
		if b := &blocks[i]; b.Lease != evidence.LeaseLapsed {
			ix[b.Metric] = append(ix[b.Metric], b)
		}
	}
	return ix
}

// begins reports whether the second holds evidence of the stage's own exposure.
func (s *State) begins(ix index) bool {
	if s.Stage < 0 {
		return len(ix) > 0
	}
	for _, list := range ix {
		for _, b := range list {
			if s.compares(b) && b.Exposure == s.Exposure && b.N+b.Open > 0 {
				return true
			}
		}
	}
	return false
}

// compares reports whether a block takes part in the stage's comparison: earlier cohorts stay exposed and are left out.
func (s *scope) compares(b *evidence.Block) bool {
	return s.Stage < 0 || (b.Cohort == s.Cohort && b.Exposure <= s.Exposure)
}

func (r *rail) step(s *State, cfg Config, g *Guardrail, ix index, covered bool) {
	m := s.Metrics[g.Metric]
	all := r.gather(s, g, m, ix)
	total := &r.Lanes[0].now
	r.watch(total)
	if r.Hard != nil {
		r.Hard.observe(g, s.At, &all)
	}
	for _, l := range r.Lanes {
		l.now.At, l.now.Clock, l.now.Stage, l.now.Covered = s.At, s.Clock, s.Stage, covered
	}
	switch {
	case r.Always != nil:
		r.stepAlways(cfg, g, m)
	case s.Live:
		for _, l := range r.Lanes {
			if e := l.rule(); e != nil {
				e.observe(g, m, &l.now)
			}
		}
	}
}

// gather sorts the second's counts into the lanes and returns the exposed arm's over all cohorts, for the hard trip.
func (r *rail) gather(s *State, g *Guardrail, m evidence.Metric, ix index) (all armSecond) {
	for _, l := range r.Lanes {
		l.now.Strata = l.now.Strata[:0]
	}
	for _, b := range ix[g.Metric] {
		open := openOf(g, m, b)
		if b.Assigned == evidence.ArmExposed {
			all.add(b, open)
		}
		if !s.compares(b) {
			continue
		}
		st := stratum{b.Cohort, b.Revision, b.Exposure}
		r.Lanes[0].now.arm(st, armOf(b.Assigned)).add(b, open)
		if !g.Segments {
			continue
		}
		for i := range b.Cells {
			cell := &b.Cells[i]
			if cell.Dim != evidence.DimSegment && cell.Dim != evidence.DimSource {
				continue
			}
			if l := r.lane(g, cell.Dim, cell.Value, s.At); l != nil {
				l.now.arm(st, armOf(b.Assigned)).addCell(cell)
			}
		}
	}
	return all
}

// openOf returns how many of a block's requests that were open at close count as bad observations of the guardrail: one
// that never ended is an error, and it misses every limit above which a value is bad. Other metrics have no observation
// of it.
func openOf(g *Guardrail, m evidence.Metric, b *evidence.Block) uint64 {
	if g.Metric == evidence.MetricError || m.BadAbove != nil {
		return b.Open
	}
	return 0
}

// add adds a whole block with the open requests that count as bad.
func (a *armSecond) add(b *evidence.Block, open uint64) {
	a.N += b.N + open
	a.Bad += b.Bad + open
	a.Open += open
	a.Parts = append(a.Parts, part{b.Cell(evidence.DimTotal, ""), b.Hist})
}

func (a *armSecond) addCell(c *evidence.Cell) {
	a.N += c.N
	a.Bad += c.Bad
	a.Parts = append(a.Parts, part{c, c.Hist})
}

// lane returns the lane of a cell, made when its value is new; nil when there are too many, which is counted.
func (r *rail) lane(g *Guardrail, dim, value string, at int64) *lane {
	i, ok := slices.BinarySearchFunc(r.Lanes, 0, func(l *lane, _ int) int { return l.compare(dim, value) })
	if ok {
		return r.Lanes[i]
	}
	if len(g.Values) > 0 && at > 0 {
		return nil // a closed list
	}
	if len(r.Lanes) >= maxLanes {
		r.Overflow++
		return nil
	}
	l := newLane(g, dim, value, at)
	r.Lanes = slices.Insert(r.Lanes, i, l)
	return l
}

// watch lets the arms' silence be noticed: of the stage's cohort, over all strata.
func (r *rail) watch(total *laneSecond) {
	for arm := range r.Arms {
		var p armPulse
		for i := range total.Strata {
			a := &total.Strata[i].Arms[arm]
			p.N += a.N
			for _, part := range a.Parts {
				p.Mask |= unitMask(part.Cell)
			}
		}
		r.Arms[arm].observe(p)
	}
}

// unitMask has a bit for every unit bucket that observed.
func unitMask(c *evidence.Cell) (mask uint64) {
	if c == nil {
		return 0
	}
	for _, u := range c.Buckets {
		mask |= 1 << (u.K % evidence.UnitBuckets)
	}
	return mask
}

// prune forgets digests of seconds that no verdict can name any more; the last minute stays for silences.
func (s *State) prune() {
	first := int64(math.MaxInt64)
	for _, r := range s.Rails {
		for _, l := range r.Lanes {
			if l.Threshold != nil {
				first = min(first, l.Threshold.first(s.At))
			}
		}
		if r.Hard != nil && len(r.Hard.Spans) > 0 {
			first = min(first, r.Hard.Spans[0].At)
		}
	}
	drop := max(0, len(s.Digests)-maxDigests)
	for drop < len(s.Digests)-pastSeconds && s.Digests[drop].At < first {
		drop++
	}
	if drop > 0 {
		s.Pruned = s.Digests[drop-1].At
		s.Digests = slices.Delete(s.Digests, 0, drop)
	}
}

// first returns the first second the lane may still name.
func (t *thresholdLane) first(now int64) int64 {
	switch {
	case len(t.Looks) > 0:
		return t.Looks[0].From
	case t.Seconds > 0:
		return t.From
	}
	return now + 1
}
