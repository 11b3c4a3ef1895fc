package profile

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/stat"
)

// Drift is a column's difference from its baseline.
type Drift struct {
	BaselineType     string       `json:"baselineType"`
	BaselineRows     uint64       `json:"baselineRows"`
	BaselineNullRate float64      `json:"baselineNullRate"`
	Level            float64      `json:"level"`                // at which each check is made
	OutOfRange       float64      `json:"outOfRange,omitempty"` // share of the sample outside the baseline's range
	New              float64      `json:"newCategories,omitempty"`
	Moved            []Moved      `json:"moved,omitempty"` // what changed its share most, at most three
	Measures         []stat.Drift `json:"measures,omitempty"`
}

// Moved is a bin or category with its shares.
type Moved struct {
	Value    string  `json:"value"`
	Baseline float64 `json:"baseline"`
	Share    float64 `json:"share"`
}

const (
	parts      = 10 // bins of numbers: deciles of the baseline
	discrete   = 32 // numbers of no more different values are compared one by one
	categories = 50 // texts that are compared one by one: the commonest of both batches together, so that neither is favoured
)

// values compares the distributions: numbers in the deciles of the baseline and by their cumulative shares, what has few
// different values one by one.
func (c *comparison) values(f *Finding, now, base *Column) {
	switch class(now.Type) {
	case "float", "list":
		if len(now.nums) == 0 || len(base.nums) == 0 {
			return
		}
		c.outside(f, now, base)
		if labels, few := numerals(now.nums, base.nums); few {
			c.cells(f, labels[0], labels[1])
			return
		}
		c.numbers(f, now, base)
	case "text", "bool":
		c.fresh(f, now, base)
		c.cells(f, now.texts, base.texts)
	}
}

// numerals writes numbers as texts if both samples together have few different ones.
func numerals(a, b []float64) (out [2][]string, few bool) {
	names := map[float64]string{}
	for i, xs := range [2][]float64{a, b} {
		for _, x := range xs {
			if _, ok := names[x]; !ok {
				names[x] = fmt.Sprintf("%g", x)
			}
			if len(names) > discrete {
				return out, false
			}
			out[i] = append(out[i], names[x])
		}
	}
	return out, true
}

// outside tests how many values lie beyond all of the baseline's, at each end: of k such values, the k most extreme of both
// batches all belong to this one. One wild value is no drift.
func (c *comparison) outside(f *Finding, now, base *Column) {
	n, m := uint64(len(now.nums)), uint64(len(base.nums))
	low, _ := slices.BinarySearch(now.nums, base.nums[0])
	at, _ := slices.BinarySearch(now.nums, math.Nextafter(base.nums[m-1], math.Inf(1)))
	high := int(n) - at
	f.Figures.Drift.OutOfRange = float64(low+high) / float64(n)
	for _, end := range []struct {
		k    uint64
		word string
		edge float64
	}{{uint64(low), "below the baseline's smallest", base.nums[0]}, {uint64(high), "above the baseline's largest", base.nums[m-1]}} {
		v, by := c.differs(end.k, n, 0, m, limitRange)
		f.say(v, "%s of values are %s, %g", percent(by), end.word, end.edge)
	}
}

// fresh looks for categories that the baseline does not have, exactly and without assumptions. In columns whose values hardly
// repeat new ones are the rule, and a new value that comes often comes as one lump, so their number alone says nothing:
// the commonest new value must be too common for all of its places to lie in this batch by chance, or the values that come
// once in both batches together must lie in this one too often.
func (c *comparison) fresh(f *Finding, now, base *Column) {
	n, m := uint64(len(now.texts)), uint64(len(base.texts))
	if n == 0 || m == 0 {
		return
	}
	counts := map[string][2]uint64{}
	for i, texts := range [2][]string{base.texts, now.texts} {
		for _, s := range texts {
			k := counts[s]
			k[i]++
			counts[s] = k
		}
	}
	var fresh, most, here, there uint64
	commonest := ""
	for s, k := range counts {
		if k[0] == 0 {
			fresh += k[1]
			if k[1] > most || k[1] == most && s < commonest {
				most, commonest = k[1], s
			}
		}
		if k[0]+k[1] == 1 {
			here, there = here+k[1], there+k[0]
		}
	}
	share := float64(most) / float64(n)
	f.Figures.Drift.New = float64(fresh) / float64(n)
	if limitNew.of(share) != Pass && stat.DrawTail(most, n, most, n+m)*float64(len(counts)) < c.level {
		f.say(limitNew.of(share), "%s of values are %q, a category that the baseline does not have", percent(share), commonest)
	}
	v, by := c.differs(here, n, there, m, limitNew)
	f.say(v, "%s of values are categories that come nowhere else, %s in the baseline (+%.2g pp)", percent(float64(here)/float64(n)), percent(float64(there)/float64(m)), 100*by)
}

func (c *comparison) numbers(f *Finding, now, base *Column) {
	bins, err := stat.NewBins(base.nums, parts)
	if err != nil {
		return // no values: said already
	}
	p, q := inside(bins.Count(base.nums)), inside(bins.Count(now.nums))
	labels := make([]string, len(bins.Cuts))
	for i, cut := range bins.Cuts {
		labels[i] = fmt.Sprintf("up to %g", cut)
	}
	labels[len(labels)-1] = "more"
	c.judge(f, labels, p, q)
	ks, err := stat.KS(base.nums, now.nums, c.rule(limitKS))
	if err == nil {
		f.Figures.Drift.Measures = append(f.Figures.Drift.Measures, ks)
		c.drifted(f, ks, limitKS, "the largest difference of cumulative shares (KS)")
	}
	if w, err := stat.Wasserstein(base.nums, now.nums, c.rule(limitKS)); err == nil {
		f.Figures.Drift.Measures = append(f.Figures.Drift.Measures, w) // shown, never judged: one wild value moves it
	}
}

// inside adds what lies beyond the reference to its outermost bins, and leaves the nulls out: both are tested by themselves.
func inside(counts []uint64) []uint64 {
	n := len(counts)
	out := slices.Clone(counts[1 : n-2])
	out[0] += counts[0]
	out[len(out)-1] += counts[n-2]
	return out
}

// cells compares texts one by one, the rare ones together.
func (c *comparison) cells(f *Finding, now, base []string) {
	if len(now) == 0 || len(base) == 0 {
		return
	}
	both := slices.Concat(now, base)
	slices.Sort(both)
	top := commonest(both, categories)
	labels := make([]string, len(top))
	for i, s := range top {
		labels[i] = s.Value
	}
	places := stat.NewCategories(labels)
	count := func(values []string) []uint64 {
		out := make([]uint64, len(labels)+1)
		for _, v := range values {
			out[places.Index(v)]++
		}
		return out
	}
	c.judge(f, append(labels, "other"), count(base), count(now))
}

func (c *comparison) rule(l limit) stat.Rule { return stat.Rule{Alpha: c.level, Effect: l.warnAt} }

// judge compares counts of the baseline p with counts q of the batch over the same cells.
func (c *comparison) judge(f *Finding, labels []string, p, q []uint64) {
	d := f.Figures.Drift
	psi, err := stat.PSI(p, q, c.rule(limitPSI))
	if err != nil {
		return // no values: said already
	}
	chi, _ := stat.ChiSquare(p, q, c.rule(limitPSI))
	js, _ := stat.JensenShannon(p, q, c.rule(limitPSI))
	top, _ := stat.LInfinity(p, q, c.rule(limitPSI))
	d.Measures = append(d.Measures, psi, chi, js, top)
	d.Moved = moved(labels, p, q)
	c.drifted(f, psi, limitPSI, "the population stability index (PSI)")
	if psi.Critical > limitPSI.failAt && f.Verdict == Pass {
		f.say(Inconclusive, "%d values against %d show a PSI from %.2g on: that is more than %.2g, so equal is not proven", sum(q), sum(p), psi.Critical, limitPSI.failAt)
	}
}

func (c *comparison) drifted(f *Finding, d stat.Drift, l limit, what string) {
	if d.P >= c.level || d.Value <= d.Critical || l.of(d.Value) == Pass {
		return
	}
	text := ""
	if m := f.Figures.Drift.Moved; len(m) > 0 {
		var parts []string
		for _, x := range m[:min(2, len(m))] {
			parts = append(parts, fmt.Sprintf("%s: %s, was %s", x.Value, percent(x.Share), percent(x.Baseline)))
		}
		text = "; " + strings.Join(parts, "; ")
	}
	f.say(l.of(d.Value), "%s is %.3g, chance gives %.3g at most%s", what, d.Value, d.Critical, text)
}

// moved lists the cells whose shares changed most.
func moved(labels []string, p, q []uint64) []Moved {
	n, m := float64(sum(p)), float64(sum(q))
	out := make([]Moved, len(labels))
	for i := range labels {
		out[i] = Moved{Value: labels[i], Baseline: float64(p[i]) / n, Share: float64(q[i]) / m}
	}
	by := func(x Moved) float64 { return math.Abs(x.Share - x.Baseline) }
	slices.SortStableFunc(out, func(a, b Moved) int {
		switch {
		case by(a) > by(b):
			return -1
		case by(a) < by(b):
			return 1
		}
		return 0
	})
	out = slices.DeleteFunc(out, func(x Moved) bool { return by(x) == 0 })
	return slices.Clip(out[:min(3, len(out))])
}

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}
