package stat

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// heavyLife has one exposed unit in bucket 7 that makes a tenth of the requests and fails often; everybody else is fine.
func heavyLife(values bool) []Block {
	u := &units{rng: rand.New(rand.NewPCG(41, 41)), share: 0.2, perSec: 100, rateT: 0.02, rateC: 0.02, scale: 1}
	var blocks []Block
	for i := range int64(120) {
		b := u.second(i, values)
		heavy := armBuilder{}
		if values {
			heavy.hist, heavy.byUnit = histOf(5), true
		}
		for range 10 {
			heavy.add(7, u.rng.IntN(4) == 0, 20*math.Exp(1.5+0.3*u.rng.NormFloat64()))
		}
		a := heavy.build()
		e := &b.Strata[0].Exposed
		e.N, e.Bad, e.Parts = e.N+a.N, e.Bad+a.Bad, append(e.Parts, a.Parts...)
		blocks = append(blocks, b)
	}
	return blocks
}

func TestLeavingOutTheHeavyUnitLeavesNothing(t *testing.T) {
	for _, cfg := range []LaneConfig{{Kind: Proportion, Blocks: 300}, {Kind: Distribution, Blocks: 300}, {Kind: P99, Blocks: 300}} {
		blocks := heavyLife(cfg.values())
		l := mustLane(t, cfg)
		for _, b := range blocks {
			l.Step(b)
		}
		if l.LogM() < 20 {
			t.Fatalf("%s: log M %g: the heavy unit is no trap", cfg.Kind, l.LogM())
		}
		if got := l.HeaviestBuckets(1); !slices.Equal(got, []int{7}) {
			t.Errorf("%s: heaviest bucket %v, want 7", cfg.Kind, got)
		}
		if e := l.LogEWithout(7); e > 3 {
			t.Errorf("%s: log e %g without bucket 7, by its share", cfg.Kind, e)
		}
		out, err := LeaveOut(cfg, []int{7, 8}, slices.Values(blocks))
		if err != nil {
			t.Fatal(err)
		}
		if out[0].LogM() > 3 || out[1].LogM() < 15 {
			t.Errorf("%s: log M %g without bucket 7, %g without bucket 8", cfg.Kind, out[0].LogM(), out[1].LogM())
		}
	}
}

// TestLeavingOutIsNotHavingHad: a lane that never saw the bucket's requests says exactly the same.
func TestLeavingOutIsNotHavingHad(t *testing.T) {
	cfg := LaneConfig{Kind: Proportion, Blocks: 300}
	blocks := heavyLife(false)
	before := mustJSON(t, blocks)
	plain := mustLane(t, cfg)
	for i, b := range blocks {
		c := armBuilder{}
		d := armBuilder{}
		for arm, a := range []Arm{b.Strata[0].Exposed, b.Strata[0].Baseline} {
			to := []*armBuilder{&c, &d}[arm]
			for _, p := range a.Parts {
				for _, u := range p.Buckets {
					for n := range u.N {
						if u.K != 7 {
							to.add(int(u.K), n < u.Bad, 0)
						}
					}
				}
			}
		}
		plain.Step(Block{Second: int64(i), Strata: []Stratum{{Exposed: c.build(), Baseline: d.build()}}})
	}
	out, err := LeaveOut(cfg, []int{7}, slices.Values(blocks))
	if err != nil {
		t.Fatal(err)
	}
	near(t, "log M", out[0].LogM(), plain.LogM(), 1e-9)
	if !bytes.Equal(before, mustJSON(t, blocks)) {
		t.Error("leaving out changed the blocks")
	}
}

// TestSharesAddUpToTheEvidence: with one bet ahead, the additive shares of all buckets are close to ln M.
func TestSharesAddUpToTheEvidence(t *testing.T) {
	for _, cfg := range []LaneConfig{{Kind: Proportion, Blocks: 300}, {Kind: Distribution, Blocks: 300}} {
		u := &units{rng: rand.New(rand.NewPCG(42, 42)), share: 0.3, perSec: 200, rateT: 0.06, rateC: 0.02, scale: 1.3}
		l := mustLane(t, cfg)
		for i := range int64(150) {
			l.Step(u.second(i, cfg.values()))
		}
		sum := 0.0
		for _, s := range l.st.Shares {
			sum += s
		}
		if l.LogM() < 30 || math.Abs(sum-l.LogM()) > 0.15*l.LogM() {
			t.Errorf("%s: shares add up to %g, log M is %g", cfg.Kind, sum, l.LogM())
		}
	}
}
