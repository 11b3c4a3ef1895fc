package judge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// Limits of what an alarm is computed again from.
const (
	maxExact     = 7200 // blocks of a lane's life
	exactBuckets = 4
	exactLanes   = 4 // the heaviest; what others add is left out, which only makes an alarm harder
)

// alarm is the evidence with which always-valid lanes fail the rollout: the weighted mean of all lanes' e-values has
// reached 1/alpha, and would have without any single unit bucket too.
type alarm struct {
	At      int64     `json:"at"`
	LogE    float64   `json:"logE"`
	Without float64   `json:"without"` // lowest log evidence with one unit bucket left out
	Bucket  int       `json:"bucket"`  // that bucket
	Exact   bool      `json:"exact"`   // Without is computed again from the stored seconds, else from additive shares
	Lanes   []alarmed `json:"lanes"`   // that fail, the heaviest first
}

type alarmed struct {
	Lane
	Lower *float64 `json:"lower,omitempty"`
	Upper *float64 `json:"upper,omitempty"`
	Fine  bool     `json:"fine,omitempty"` // the interval comes from the fine grid
}

// contender is a lane that takes part in the rollout's evidence.
type contender struct {
	stat.Weighted
	Lane
	rail, at int // indices of the guardrail and the lane
	action   Action
}

// weighed is ln(weight * E).
func (c *contender) weighed() float64 { return math.Log(c.Weight) + c.Weighted.Lane.LogE() }

// Stored yields the judged seconds from..to of the rollout as they were stored, in ascending order; gaps may be among them.
type Stored func(from, to int64) iter.Seq[evidence.Second]

// Remember lets s read the rollout's stored seconds. It must be called again for a state that was read back. With it an
// alarm is checked exactly, without the heaviest unit buckets, and shows a fine interval; without it, or for a rollout of
// more than two hours, the buckets' additive shares decide and the verdict says so.
func Remember(s *State, f Stored) { s.stored = f }

// examine decides whether the evidence so far fails the rollout, and which lanes fail with it: the heaviest of all, the
// heaviest of each breach action whose lanes would have been enough alone, and each lane that is enough by itself. All of
// them imply that the evidence of all lanes has reached 1/alpha, so together they are as rare.
func (s *State) examine(cfg Config, sec evidence.Second) {
	before := s.Alarm
	s.Alarm = nil
	all := s.contenders(cfg)
	level := math.Log(1 / cfg.alpha())
	if len(all) == 0 || mixOf(all) < level || s.Clock < s.Recheck {
		return
	}
	slices.SortStableFunc(all, func(a, b contender) int { return cmp.Compare(b.weighed(), a.weighed()) })
	bucket, without := mixWithout(all)
	if without < level {
		return
	}
	now := &alarm{At: s.At, LogE: mixOf(all), Without: without, Bucket: bucket}
	if before != nil && before.Exact {
		now.Exact, now.Without, now.Bucket = true, before.Without, before.Bucket
	} else if !s.exact(cfg, sec, all, bucket, level, now) {
		return
	}
	for _, c := range failing(all, level) {
		now.Lanes = append(now.Lanes, s.interval(cfg, sec, c, before))
	}
	s.Alarm = now
}

// Evidence returns the log of the rollout's evidence over all always-valid lanes, and the lowest with the additive share of any
// one unit bucket left out: both have to reach ln(1/alpha) before Step examines an alarm. Below least the second is not computed
// and equals the first.
func Evidence(cfg Config, s *State, least float64) (logE, without float64) {
	all := s.contenders(cfg)
	logE = mixOf(all)
	if logE < least {
		return logE, logE
	}
	_, without = mixWithout(all)
	return logE, without
}

func (s *State) contenders(cfg Config) []contender {
	var out []contender
	for i, r := range s.Rails {
		g := &cfg.Guardrails[i]
		if r.Always == nil || s.unreliable(g.Metric) != "" {
			continue
		}
		for j, l := range r.Lanes {
			if a := l.Always; a.Lane != nil && a.Weight > 0 && a.large(g) {
				out = append(out, contender{stat.Weighted{Weight: a.Weight, Lane: a.Lane}, Lane{g.Name, l.Dim, l.Value}, i, j, g.action(Fail)})
			}
		}
	}
	return out
}

func weighted(list []contender) []stat.Weighted {
	out := make([]stat.Weighted, len(list))
	for i := range list {
		out[i] = list[i].Weighted
	}
	return out
}

func mixOf(list []contender) float64 { return stat.Mix(weighted(list)) }

func mixWithout(list []contender) (int, float64) { return stat.MixWithout(weighted(list)) }

// failing picks the lanes that fail; all is sorted by weighed evidence.
func failing(all []contender, level float64) []contender {
	out := []contender{all[0]}
	for _, action := range []Action{ActRollback, ActPause, ActHold} {
		group := slices.DeleteFunc(slices.Clone(all), func(c contender) bool { return c.action != action })
		if len(group) == 0 || mixOf(group) < level {
			continue
		}
		if _, e := mixWithout(group); e < level {
			continue
		}
		for i, c := range group {
			own := group[i : i+1]
			if i > 0 && mixOf(own) < level {
				continue
			}
			if _, e := mixWithout(own); i > 0 && e < level {
				continue
			}
			if !slices.ContainsFunc(out, func(o contender) bool { return o.Lane == c.Lane }) {
				out = append(out, c)
			}
		}
	}
	return out
}

// exact computes the alarm again without each of the heaviest unit buckets and reports whether it stands. Where that is not
// possible the shares have decided.
func (s *State) exact(cfg Config, sec evidence.Second, all []contender, bucket int, level float64, into *alarm) bool {
	heavy := all[:min(len(all), exactLanes)]
	buckets := []int{bucket}
	for _, k := range heavy[0].Weighted.Lane.HeaviestBuckets(exactBuckets) {
		if k != bucket && len(buckets) < exactBuckets {
			buckets = append(buckets, k)
		}
	}
	again := make([][]stat.Weighted, len(buckets))
	for i := range heavy {
		blocks, ok := s.blocksOf(cfg, &heavy[i], sec)
		if !ok {
			return true
		}
		config := heavy[i].Weighted.Lane.Config()
		config.Grid = nil // the decision needs no picture
		lanes, err := stat.LeaveOut(config, buckets, slices.Values(blocks))
		if err != nil {
			return true
		}
		for k, l := range lanes {
			again[k] = append(again[k], stat.Weighted{Weight: heavy[i].Weight, Lane: l})
		}
	}
	into.Exact = true
	for k := range again {
		if e := stat.Mix(again[k]); k == 0 || e < into.Without {
			into.Without, into.Bucket = e, buckets[k]
		}
	}
	if into.Without < level {
		s.Recheck = s.Clock + max(1, heavy[0].Weighted.Lane.Blocks()/100)
		return false
	}
	return true
}

// interval is the failing lane with the interval of its own level, from the fine grid where the stored seconds are there. It is
// computed once per alarm.
func (s *State) interval(cfg Config, sec evidence.Second, c contender, before *alarm) alarmed {
	if before != nil {
		if i := slices.IndexFunc(before.Lanes, func(o alarmed) bool { return o.Lane == c.Lane && o.Fine }); i >= 0 {
			return before.Lanes[i]
		}
	}
	out := alarmed{Lane: c.Lane}
	lane, a := c.Weighted.Lane, s.Rails[c.rail].Lanes[c.at].Always
	if g := &cfg.Guardrails[c.rail]; g.drift() || g.flips() {
		return out // without a margin there is none to be surer of
	}
	if blocks, ok := s.blocksOf(cfg, &c, sec); ok {
		config := lane.Config()
		g := &cfg.Guardrails[c.rail]
		config.Grid = fineGrid(g, s.Metrics[g.Metric])
		if fine, err := stat.NewLane(config); err == nil {
			for _, b := range blocks {
				fine.Step(b)
			}
			lane, out.Fine = fine, true
		}
	}
	out.Lower, out.Upper = bounds(lane, a.Level)
	return out
}

// blocksOf returns all blocks of a lane's life, the second being judged included; false when they are not to be had.
func (s *State) blocksOf(cfg Config, c *contender, sec evidence.Second) ([]stat.Block, bool) {
	l := s.Rails[c.rail].Lanes[c.at]
	n := l.Always.Lane.Blocks()
	if s.stored == nil || n > maxExact || len(s.Entries) >= maxEntries {
		return nil, false
	}
	g := &cfg.Guardrails[c.rail]
	m := s.Metrics[g.Metric]
	var out []stat.Block
	for past := range s.stored(l.Always.From, s.At-1) {
		if past.Gap || past.At < l.Always.From || past.At >= s.At {
			continue
		}
		out = append(out, s.scopeAt(past.At).block(g, m, l, &past))
	}
	out = append(out, s.scope.block(g, m, l, &sec))
	return out, int64(len(out)) == n
}

// scopeAt returns what was compared in a second.
func (s *State) scopeAt(at int64) scope {
	for _, e := range slices.Backward(s.Entries) {
		if e.After < at {
			return e.scope
		}
	}
	return scope{Stage: -1}
}

// block picks one lane's evidence out of a second, as rail.gather does for all lanes.
func (c scope) block(g *Guardrail, m evidence.Metric, l *lane, sec *evidence.Second) stat.Block {
	now := laneSecond{At: sec.At, Stage: c.Stage}
	for i := range sec.Blocks {
		b := &sec.Blocks[i]
		if b.Metric != g.Metric || b.Lease == evidence.LeaseLapsed || !c.compares(b) {
			continue
		}
		st, arm := stratum{b.Cohort, b.Revision, b.Exposure}, armOf(b.Assigned)
		if l.Dim == evidence.DimTotal {
			now.arm(st, arm).add(b, openOf(g, m, b))
		} else if cell := b.Cell(l.Dim, l.Value); cell != nil {
			now.arm(st, arm).addCell(cell)
		}
	}
	var out stat.Block
	now.blockFor(g, &out)
	return out
}

// apply lets the alarm fail the verdict of its lanes.
func (a *alarm) apply(v *Verdict) {
	i := slices.IndexFunc(a.Lanes, func(l alarmed) bool { return l.Lane == v.Lane })
	if i < 0 {
		return
	}
	l := &a.Lanes[i]
	v.Result, v.Powered, v.Detail = Fail, false, ""
	if l.Lower != nil {
		v.Lower = l.Lower
	}
	if l.Upper != nil {
		v.Upper = l.Upper
	}
	if !a.Exact {
		v.Detail = fmt.Sprintf("holds without any one of %d groups of units by their additive shares, not computed again", evidence.UnitBuckets)
	}
}

// chain identifies all judged seconds so far by one digest.
type chain struct {
	From   int64  `json:"from"`
	Digest string `json:"digest"`
}

func (c *chain) add(d secondDigest) {
	if c.From == 0 {
		c.From = d.At
	}
	h := sha256.New()
	fmt.Fprintf(h, "sluice-chain-v1\x00%s\n%d %s\n", c.Digest, d.At, d.Digest)
	c.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// ChainDigest identifies the evidence of all judged seconds up to and including to: what Verdict.Evidence holds for an
// always-valid verdict, which rests on all of them. secs are the rollout's, from its first; gaps are left out.
func ChainDigest(secs []evidence.Second, to int64) string {
	var c chain
	for i := range secs {
		if sec := &secs[i]; !sec.Gap && sec.At <= to {
			c.add(secondDigest{sec.At, evidence.SecondDigest(sec)})
		}
	}
	return c.Digest
}
