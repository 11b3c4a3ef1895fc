package stat

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestCategoryTiltTwin: every bet over every value, one by one, against the class's sums over blocks.
func TestCategoryTiltTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const places = 4
		counts := rapid.SliceOfN(rapid.Uint64Range(0, 5), places, places)
		c := NewCategoryTilt(places, []uint64{3, 0, 2, 1})
		past := []float64{4, 1, 3, 2}
		wealth := make([]float64, 2*places*len(categoryFactors))
		for i := range wealth {
			wealth[i] = 1
		}
		for range rapid.IntRange(1, 6).Draw(t, "blocks") {
			exposed, base := counts.Draw(t, "exposed"), counts.Draw(t, "baseline")
			c.Step(exposed, base)
			nT, nC := sumOf(exposed), sumOf(base)
			total := past[0] + past[1] + past[2] + past[3]
			for bet := range wealth {
				place, f := bet/(2*len(categoryFactors)), categoryFactors[bet/2%len(categoryFactors)]
				if bet%2 == 1 {
					f = 1 / f
				}
				tilt := func(at int) float64 {
					z := 1 + past[place]/total*(f-1)
					if at == place {
						return f / z
					}
					return 1 / z
				}
				for at := range places {
					if nT == 0 || nC == 0 {
						break
					}
					mix := nT/(nT+nC)*tilt(at) + nC/(nT+nC)
					wealth[bet] *= math.Pow(tilt(at)/mix, float64(exposed[at])) * math.Pow(1/mix, float64(base[at]))
				}
			}
			for i, n := range base {
				past[i] += float64(n)
			}
		}
		mean := 0.0
		for _, w := range wealth {
			mean += w / float64(len(wealth))
		}
		if got := c.LogE(); math.Abs(got-math.Log(mean)) > 1e-9 {
			t.Errorf("ln e %v, want %v", got, math.Log(mean))
		}
	})
}

// TestCategoryTilt: without a difference it rarely alarms however often one looks; a category that doubles is found, and a
// new one.
func TestCategoryTilt(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	draw := func(shares []float64, n int) []uint64 {
		out := make([]uint64, len(shares))
		for range n {
			u, i := r.Float64(), 0
			for i < len(shares)-1 && u >= shares[i] {
				u -= shares[i]
				i++
			}
			out[i]++
		}
		return out
	}
	base := []float64{0.6, 0.25, 0.1, 0.05, 0}
	alarmAt := func(exposed []float64) int {
		c := NewCategoryTilt(len(base), nil)
		for block := range 200 {
			c.Step(draw(exposed, 10), draw(base, 90))
			if c.LogE() >= math.Log(100) {
				return block
			}
		}
		return -1
	}
	const runs = 200
	alarms := 0
	for range runs {
		if alarmAt(base) >= 0 {
			alarms++
		}
	}
	if alarms > 7 { // 2 allowed on average
		t.Errorf("%d of %d comparisons of the same law alarm at 1 %%", alarms, runs)
	}
	for name, shares := range map[string][]float64{
		"doubled": {0.55, 0.25, 0.1, 0.1, 0}, "gone": {0.85, 0, 0.1, 0.05, 0}, "new": {0.57, 0.25, 0.1, 0.05, 0.03},
	} {
		for range 20 {
			if at := alarmAt(shares); at < 0 {
				t.Errorf("%s: not found in 200 blocks of 10 exposed values", name)
			}
		}
	}
}

// TestFlips: the beta-binomial mixture as a product of predictive probabilities, pair by pair; false alarms however often
// one looks; and what it finds with few flips.
func TestFlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		flips := rapid.SliceOfN(rapid.Bool(), 0, 60).Draw(t, "to bad")
		var f Flips
		want, a, b := 0.0, 1.0, 1.0
		for _, bad := range flips {
			if bad {
				f.Add(3, 1, 0)
				want += math.Log(a / (a + b) / 0.5)
				a++
				continue
			}
			f.Add(2, 0, 1)
			want += math.Log(b / (a + b) / 0.5)
			b++
		}
		if got := f.LogE(true); math.Abs(got-want) > 1e-9 {
			t.Errorf("ln e %v, want %v", got, want)
		}
		if n := len(flips); n > 0 && math.Abs(f.Share()-float64(n)/float64(f.Pairs)) > 1e-12 {
			t.Errorf("share %v of %d pairs", f.Share(), f.Pairs)
		}
	})
	r := rand.New(rand.NewPCG(13, 14))
	ever := func(share float64, flips int) bool {
		var f Flips
		for range flips {
			bad := uint64(0)
			if r.Float64() < share {
				bad = 1
			}
			f.Add(1, bad, 1-bad)
			if f.LogE(false) >= math.Log(100) {
				return true
			}
		}
		return false
	}
	alarms := 0
	for range 1000 {
		if ever(0.5, 300) {
			alarms++
		}
	}
	if alarms > 19 { // 10 allowed on average
		t.Errorf("%d of 1000 even flips alarm at 1 %%", alarms)
	}
	for range 50 {
		if !ever(0.85, 100) {
			t.Error("85 of 100 flips to bad are not found")
		}
	}
	if (&Flips{}).Share() != 0 || (&Flips{}).LogE(false) != 0 {
		t.Error("no pairs say something")
	}
	// A tolerance: three of four flips may be to bad.
	if (&Flips{ToBad: 75, ToGood: 25, Tolerated: 0.75}).LogE(false) > 1 || (&Flips{ToBad: 98, ToGood: 2, Tolerated: 0.75}).LogE(false) < 5 {
		t.Error("the tolerance is not where the evidence turns")
	}
}

// TestCategoryFactorIsAnEValue adds up e over every outcome of two exposed and three baseline values in three places, under
// laws that have nothing to do with the past.
func TestCategoryFactorIsAnEValue(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	const nT, nC, places = 2, 3, 3
	for range 10 {
		law := randomLaw(rng, places)
		mean := make([]float64, len(NewCategoryTilt(places, nil).logBets))
		outcome := make([]int, nT+nC)
		for more := true; more; more = next(outcome, places) {
			p := 1.0
			var exposed, base [places]uint64
			for i, o := range outcome {
				p *= law[o]
				if i < nT {
					exposed[o]++
				} else {
					base[o]++
				}
			}
			c := NewCategoryTilt(places, []uint64{50, 3, 0})
			c.Step(exposed[:], base[:])
			for k, e := range c.logBets {
				mean[k] += p * math.Exp(e)
			}
		}
		for k, m := range mean {
			if m > 1+1e-10 {
				t.Fatalf("bet %d: expectation %.12g under %v", k, m, law)
			}
		}
	}
}

// TestTwoSidedTilt: a lane for drift finds values that grow and values that shrink, and no difference where there is none,
// looked at every second. A lane for harm upwards does not see them shrink.
func TestTwoSidedTilt(t *testing.T) {
	ever := func(side Side, scale float64, seed uint64) bool {
		u := &units{rng: rand.New(rand.NewPCG(17, seed)), share: 0.3, perSec: 100, scale: scale}
		l := mustLane(t, LaneConfig{Kind: Distribution, Side: side, Blocks: 60})
		for i := range int64(60) {
			l.Step(u.second(i, true))
			if l.LogE() >= math.Log(100) {
				return true
			}
		}
		return false
	}
	alarms := 0
	for seed := range uint64(60) {
		if ever(Both, 1, seed) {
			alarms++
		}
	}
	if alarms > 3 { // 0.6 allowed on average
		t.Errorf("%d of 60 comparisons of the same law alarm at 1 %%", alarms)
	}
	for seed := range uint64(5) {
		if !ever(Both, 1.4, seed) || !ever(Both, 0.7, seed) || ever(Up, 0.7, seed) {
			t.Errorf("seed %d: growing found %v, shrinking found %v, shrinking taken for harm %v", seed, ever(Both, 1.4, seed), ever(Both, 0.7, seed), ever(Up, 0.7, seed))
		}
	}
}
