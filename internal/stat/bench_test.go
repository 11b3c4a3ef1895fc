package stat

import (
	"math/rand/v2"
	"testing"
)

func benchBlocks(values bool) []Block {
	u := &units{rng: rand.New(rand.NewPCG(1, 1)), share: 0.1, perSec: 200, rateT: 0.01, rateC: 0.01, scale: 1}
	blocks := make([]Block, 64)
	for i := range blocks {
		blocks[i] = u.second(int64(i), values)
	}
	return blocks
}

// BenchmarkTwoByTwo is one step of the plain engine: goal 2 us.
func BenchmarkTwoByTwo(b *testing.B) {
	p := &TwoByTwo{Margin: Margin{Relative: 0.2}}
	blocks := benchBlocks(false)
	tables := make([]Table, len(blocks))
	for i := range blocks {
		s := &blocks[i].Strata[0]
		tables[i].Counts = Counts{s.Exposed.N, s.Exposed.Bad, s.Baseline.N, s.Baseline.Bad}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Step(tables[i&63])
	}
}

// BenchmarkTilt is one step of the plain engine for histograms, cutting the past included: goal 12 us.
func BenchmarkTilt(b *testing.B) {
	l := mustLane(b, LaneConfig{Kind: Distribution, Blocks: 3600})
	blocks := benchBlocks(true)
	for i := range blocks {
		l.Step(blocks[i])
	}
	var bets tilts
	out := make([]float64, tiltBets)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s := &blocks[i&63].Strata[0]
		past := newShape(l.past())
		var exposed, base [maxParts]float64
		past.count(s.Baseline.Parts[0].Hist, 0, 0, Up, &base)
		past.count(s.Exposed.Parts[0].Hist, 2, 0, Up, &exposed)
		bets.prepare(past, 1, 0.1)
		bets.add(&exposed, &base, out)
	}
}

// BenchmarkLane is a whole step: both directions, restarts, spread, shares; with a grid of 12 margins where said.
func BenchmarkLane(b *testing.B) {
	grid := []float64{-0.2, -0.1, 0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5}
	for _, bb := range []struct {
		name string
		cfg  LaneConfig
	}{
		{"proportion", LaneConfig{Kind: Proportion, Margin: Margin{Relative: 0.2}}},
		{"proportion-grid", LaneConfig{Kind: Proportion, Margin: Margin{Relative: 0.2}, Grid: grid}},
		{"absolute", LaneConfig{Kind: Proportion, Margin: Margin{Absolute: 0.002}}},
		{"distribution", LaneConfig{Kind: Distribution, Margin: Margin{Relative: 0.05}}},
		{"distribution-grid", LaneConfig{Kind: Distribution, Margin: Margin{Relative: 0.05}, Grid: grid}},
		{"p99", LaneConfig{Kind: P99, Margin: Margin{Relative: 0.05}}},
		{"count", LaneConfig{Kind: Count, Margin: Margin{Relative: 0.5}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			l := mustLane(b, bb.cfg)
			blocks := benchBlocks(bb.cfg.values())
			b.ReportAllocs()
			i := 0
			for ; b.Loop(); i++ {
				blk := blocks[i&63]
				blk.Second = int64(i)
				l.Step(blk)
			}
			b.ReportMetric(float64(len(mustJSON(b, l))), "state-bytes")
		})
	}
}
