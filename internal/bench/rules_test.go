package bench

import (
	"math"
	"math/rand/v2"
	"testing"

	"sluice.dev/sdk/evidence"
)

// shareTick is a second of n requests per arm with given bad ones.
func shareTick(n, badBase, badExposed float64) *cellTick {
	return &cellTick{base: {n: n, bad: badBase}, exposed: {n: n, bad: badExposed}}
}

// TestThresholdCountsMinutes: one look a minute, each failed one counts, an empty arm is no look.
func TestThresholdCountsMinutes(t *testing.T) {
	r := &threshold{}
	for at := range 240 {
		bad, n := 3.0, 100.0
		switch at / 60 {
		case 1:
			bad = 1
		case 2:
			n, bad = 0, 0
		}
		got := r.look(at, &cellTick{base: {n: 100, bad: 1}, exposed: {n: n, bad: bad}})
		want := map[bool]float64{true: 1}[at >= 59]
		if at == 239 {
			want = 2
		}
		if got != want {
			t.Fatalf("second %d: %g looks have failed, want %g", at, got, want)
		}
	}
}

// TestKayentaNeedsFiveMinutes: it says nothing before, is sure of a plain difference afterwards and passes equal series.
func TestKayentaNeedsFiveMinutes(t *testing.T) {
	worse, equal := &kayenta{}, &kayenta{last: never}
	rng := rand.New(rand.NewPCG(1, 2))
	for at := range 300 {
		noise := rng.Float64()
		w, e := worse.look(at, shareTick(100, 1+noise, 5+noise)), equal.look(at, shareTick(100, 2, 2))
		if at < 299 && w > 0 {
			t.Fatalf("second %d: it speaks before the fifth minute: %g", at, w)
		}
		if e != never {
			t.Fatalf("second %d: equal series are not a pass: %g", at, e)
		}
		if at == 299 && w < -math.Log(1-kayentaConfidence) {
			t.Errorf("after five minutes a fivefold share is not High: %g", w)
		}
	}
}

// TestPeekedWaitsForItsSample: no opinion below 100 observations of each arm; then both forms see a threefold share, the sequential
// one later.
func TestPeekedWaitsForItsSample(t *testing.T) {
	z, g := &peeked{every: 10, judge: fixedSample, last: never}, &peeked{every: 1, judge: sequential, last: never}
	var zAt, gAt int
	for at := range 600 {
		c := shareTick(5, 0.05, 0.15)
		if x := z.look(at, c); zAt == 0 && x >= -math.Log(peekLevel) {
			zAt = at + 1
		}
		if x := g.look(at, c); gAt == 0 && x >= -math.Log(growthBookLevel) {
			gAt = at + 1
		}
		if at < 19 && (zAt > 0 || gAt > 0) {
			t.Fatalf("second %d: an opinion on fewer than 100 observations", at)
		}
	}
	if zAt == 0 || gAt == 0 || zAt%10 != 0 || gAt <= zAt {
		t.Errorf("z after %d s, sequential after %d s", zAt, gAt)
	}
}

// TestPartsOfABlockAddUp: what ends at once and what ends later are together what was made.
func TestPartsOfABlockAddUp(t *testing.T) {
	w := newWorld(rates("x", 0.3), 7, 60)
	sec := w.tick(0).made
	for _, b := range sec.Blocks {
		bad, good := split(b, true), split(b, false)
		sum := evidence.MergeBlocks([]evidence.Block{bad}, []evidence.Block{good})
		if len(sum) != 1 || sum[0].N != b.N || sum[0].Bad != b.Bad || bad.N != b.Bad || good.Bad != 0 {
			t.Fatalf("%d of %d bad became %d of %d and %d of %d", b.Bad, b.N, bad.Bad, bad.N, good.Bad, good.N)
		}
		got, want := sum[0].Cell(evidence.DimTotal, ""), b.Cell(evidence.DimTotal, "")
		for i, u := range want.Buckets {
			if got.Buckets[i] != u {
				t.Fatalf("bucket %d: %+v, want %+v", u.K, got.Buckets[i], u)
			}
		}
	}
}

// TestBounds: known ends of Clopper-Pearson intervals, and the sides of nothing and everything.
func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		k, n   int
		lo, hi float64 // R: binom.test(k, n)$conf.int
	}{{0, 200, 0, 0.018275}, {3, 200, 0.003102, 0.043212}, {200, 200, 0.981725, 1}, {10, 1000, 0.004805, 0.018314}} {
		lo, hi := lowerBound(tt.k, tt.n, 0.025), upperBound(tt.k, tt.n, 0.025)
		if math.Abs(lo-tt.lo) > 2e-5 || math.Abs(hi-tt.hi) > 2e-5 {
			t.Errorf("%d of %d: %.6f to %.6f, want %.6f to %.6f", tt.k, tt.n, lo, hi, tt.lo, tt.hi)
		}
	}
}

// TestDrawsFollowTheirLaws: the mean and share of what is drawn, within five standard errors.
func TestDrawsFollowTheirLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	const n = 20_000
	for _, shape := range []float64{0.04, 0.5, 3} {
		sum := 0.0
		for range n {
			sum += gamma(rng, shape)
		}
		if d := sum/n - shape; math.Abs(d) > 5*math.Sqrt(shape/n) {
			t.Errorf("gamma of shape %g: mean off by %g", shape, d)
		}
	}
	table := newAlias([]float64{5, 1, 3, 1})
	var hits [4]float64
	for range n {
		hits[table.draw(rng)]++
	}
	for i, p := range []float64{0.5, 0.1, 0.3, 0.1} {
		if d := hits[i]/n - p; math.Abs(d) > 5*math.Sqrt(p/n) {
			t.Errorf("weight %d: share off by %g", i, d)
		}
	}
	l := lognormal(0.8)
	for name, h := range map[string]*harm{"slower": slower(1.3), "some": some(0.1, 5), "tail": tail(l, 1.5)} {
		cdf := h.cdf(l)
		for _, q := range []float64{0.2, 0.9, 0.97, 0.995} {
			x, below := l.quantile(q), 0.0
			for range n {
				if h.move(rng, l.draw(rng)) <= x {
					below++
				}
			}
			if p := cdf(x); math.Abs(below/n-p) > 5*math.Sqrt(p*(1-p)/n) {
				t.Errorf("%s: a share of %.4f lies below the p%g, its law says %.4f", name, below/n, 100*q, p)
			}
		}
	}
}
