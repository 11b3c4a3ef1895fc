package stat

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestIndexIsThatOfTheShift: of log-normal values moved by d deviations the index is about d squared, and without a move it is
// about zero, while the baseline itself moves and the share of exposed requests grows.
func TestIndexIsThatOfTheShift(t *testing.T) {
	for _, d := range []float64{0, 0.3, 0.5, -0.5} {
		u := &units{rng: rand.New(rand.NewPCG(5, 5)), share: 0.1, perSec: 300, scale: math.Exp(0.8 * d)}
		l := mustLane(t, LaneConfig{Kind: Distribution, Side: Both, Blocks: 600})
		for i := range int64(120) {
			u.share = 0.1 + 0.004*float64(i)
			l.Step(u.second(i, true))
		}
		psi, se, ok := l.Index()
		if want := d * d; !ok || math.Abs(psi-want) > 0.15*want+4*se {
			t.Errorf("moved by %g: index %g (standard error %g), want about %g", d, psi, se, want)
		}
		if least, ok := l.DetectableIndex(math.Log(100)); !ok || least < 0.003 || least > 0.02 {
			t.Errorf("detectable %g after 36,000 requests", least)
		}
	}
}

// TestDetectableShareIsDetected: samples with the share that a lane says it could see do raise it to the level, in about four
// of five cases; at the tolerated share hardly any does.
func TestDetectableShareIsDetected(t *testing.T) {
	const tolerated, perBlock, blocks, runs = 0.01, 100, 60, 100
	level := math.Log(100)
	play := func(share float64, seed uint64) (l *Lane, peak float64) {
		rng := rand.New(rand.NewPCG(seed, 6))
		l = mustLane(t, LaneConfig{Kind: Count, Blocks: 600})
		for i := range int64(blocks) {
			var flips uint64
			for range perBlock {
				if rng.Float64() < share {
					flips++
				}
			}
			l.Step(Block{Second: i, Strata: []Stratum{{Exposed: Arm{N: flips}, Baseline: Arm{N: perBlock - flips}, Share: tolerated}}})
		}
		return l, l.PeakLogE()
	}
	l, _ := play(tolerated, 1)
	least, ok := l.DetectableShare(tolerated, level)
	if !ok || least < 0.012 || least > 0.04 {
		t.Fatalf("detectable %g of %d pairs", least, perBlock*blocks)
	}
	seen, harmless := 0, 0
	for seed := range uint64(runs) {
		if _, peak := play(least, 100+seed); peak >= level {
			seen++
		}
		if _, peak := play(tolerated, 1000+seed); peak >= level {
			harmless++
		}
	}
	if seen < 65 || harmless > 4 {
		t.Errorf("%d of %d seen at %g, want about 80; %d at the tolerated share, want about 1", seen, runs, least, harmless)
	}
}
