package stat

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sluice.dev/sdk/evidence"
)

// units makes the blocks of tests: requests of units with their own rates, hashed into arms and buckets.
type units struct {
	rng    *rand.Rand
	share  float64 // of requests that are exposed
	perSec float64
	rateT  float64
	rateC  float64
	scale  float64 // factor on the exposed arm's values
}

// poisson draws a Poisson number by counting exponential gaps.
func poisson(rng *rand.Rand, mean float64) int {
	n := 0
	for t := rng.ExpFloat64(); t < mean; t += rng.ExpFloat64() {
		n++
	}
	return n
}

type armBuilder struct {
	arm     Arm
	buckets [unitBuckets]evidence.UnitBucket
	hist    *evidence.Hist
	bins    []evidence.BucketBin
	byUnit  bool
}

func (a *armBuilder) add(k int, bad bool, value float64) {
	a.arm.N++
	a.buckets[k].N++
	if bad {
		a.arm.Bad++
		a.buckets[k].Bad++
	}
	if a.hist != nil {
		a.hist.Add(value)
		if !a.byUnit {
			a.buckets[k].Sum += evidence.Score(evidence.MinScale, evidence.Index(evidence.MinScale, value))
		} else {
			a.bins = append(a.bins, evidence.BucketBin{K: uint8(k), Bin: evidence.Index(a.hist.Scale, value), Count: 1})
		}
	}
}

func (a *armBuilder) build() Arm {
	p := Part{Hist: a.hist}
	for k, u := range a.buckets {
		if u.N > 0 {
			u.K = uint8(k)
			p.Buckets = append(p.Buckets, u)
		}
	}
	slices.SortFunc(a.bins, func(x, y evidence.BucketBin) int {
		if x.K != y.K {
			return int(x.K) - int(y.K)
		}
		return int(x.Bin) - int(y.Bin)
	})
	p.Bins = a.bins
	a.arm.Parts = []Part{p}
	return a.arm
}

// second draws one block of independent units. With values it has histograms of log-normal values with deviation 0.8.
func (u *units) second(at int64, values bool) Block {
	var t, c armBuilder
	if values {
		t.hist, t.byUnit, c.hist = evidence.NewHist(5), true, evidence.NewHist(5)
	}
	for range poisson(u.rng, u.perSec) {
		k := u.rng.IntN(unitBuckets)
		v := 20 * math.Exp(0.8*u.rng.NormFloat64())
		if u.rng.Float64() < u.share {
			t.add(k, u.rng.Float64() < u.rateT, v*u.scale)
		} else {
			c.add(k, u.rng.Float64() < u.rateC, v)
		}
	}
	return Block{Second: at, Strata: []Stratum{{Exposed: t.build(), Baseline: c.build(), Share: u.share}}}
}

// kinds are one lane of each engine, with everything switched on.
func kinds() []LaneConfig {
	return []LaneConfig{
		{Kind: Proportion, Margin: Margin{Relative: 0.2}, Blocks: 600, Stages: 3, Grid: []float64{-0.2, 0, 0.2, 0.5, 1, 2}},
		{Kind: Proportion, Margin: Margin{Absolute: 0.005}, Blocks: 600, ScoredOnce: true, Grid: []float64{0, 0.005, 0.01, 0.02}},
		{Kind: Distribution, Margin: Margin{Relative: 0.05}, Blocks: 600, Grid: []float64{0, 0.05, 0.1, 0.2}},
		{Kind: Distribution, Side: Both, Blocks: 600},
		{Kind: Distribution, Side: Down, Margin: Margin{Relative: 0.1}, Blocks: 600},
		{Kind: P99, Margin: Margin{Relative: 0.1}, Blocks: 600, Grid: []float64{0, 0.1, 0.5, 1}},
		{Kind: P99, Side: Down, Margin: Margin{Relative: 0.1}, Blocks: 600},
		{Kind: Count, Margin: Margin{Relative: 0.5}, Blocks: 600},
	}
}

func name(c LaneConfig) string {
	s := string(c.Kind) + " " + string(c.side())
	if c.ScoredOnce {
		s += " once"
	}
	return s
}

// TestLaneReadBackContinuesBitForBit cuts a life in the middle, through JSON.
func TestLaneReadBackContinuesBitForBit(t *testing.T) {
	for _, cfg := range kinds() {
		t.Run(name(cfg), func(t *testing.T) {
			u := &units{rng: rand.New(rand.NewPCG(7, 7)), share: 0.2, perSec: 200, rateT: 0.04, rateC: 0.01, scale: 1.4}
			l := mustLane(t, cfg)
			for i := range int64(40) {
				l.Step(u.second(i, cfg.values()))
				if i%7 == 3 {
					data := mustJSON(t, l)
					back := new(Lane)
					if err := json.Unmarshal(data, back); err != nil {
						t.Fatal(err)
					}
					if back.LogE() != l.LogE() || !bytes.Equal(mustJSON(t, back), data) {
						t.Fatalf("block %d: log e %v, read back %v", i, l.LogE(), back.LogE())
					}
					b := u.second(i, cfg.values())
					l.Step(b)
					back.Step(b)
					if !bytes.Equal(mustJSON(t, back), mustJSON(t, l)) {
						t.Fatalf("block %d: the lane read back goes another way", i)
					}
					l = back
				}
			}
			if !(l.LogE() > 0) && cfg.Kind != Count && cfg.side() == Up {
				t.Errorf("log e %g for evident harm", l.LogE())
			}
		})
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestWealthAgreesWithSeparateProcesses runs every process of the mixture on its own and adds them up at the end.
func TestWealthAgreesWithSeparateProcesses(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	const n, stages, blocks = 7, 3, 40
	weights := []float64{0.5, 0.3, 0.2}
	w := newWealth(len(weights))
	l := &Lane{cfg: LaneConfig{Blocks: n, Stages: stages}}
	l.st.Stage = -1
	type process struct {
		bet    int
		weight float64
		logE   float64
	}
	var all []process
	for j := range blocks {
		stage := j / 15
		before := l.st.Begun
		l.schedule(stage)
		if l.st.Begun > before {
			for k, wk := range weights {
				all = append(all, process{k, wk / 2 / stages, 0})
			}
		}
		for k, wk := range weights {
			all = append(all, process{k, wk / 2 / math.Pow(2, float64(j/n)) / (2 * n), 0})
		}
		e := []float64{rng.NormFloat64(), rng.NormFloat64() * 0.3, 0}
		for i := range all {
			all[i].logE += e[all[i].bet]
		}
		w.step(&l.plan, e)
		l.st.Blocks++
		started, want := 0.0, 0.0
		for _, p := range all {
			started += p.weight
			want += p.weight * math.Exp(p.logE)
		}
		if started > 1+1e-12 {
			t.Fatalf("block %d: weights add up to %g", j, started)
		}
		near(t, "log M", w.logM(weights, &l.plan), math.Log(want+1-started), 1e-9)
	}
}

func TestRestartWeights(t *testing.T) {
	sum := 0.0
	for j := range int64(5000) {
		g, left := restartAt(j, 100)
		sum += g
		near(t, "what is left", left, 1-sum, 1e-12)
		if g <= 0 && j < 1000 || left < 0 {
			t.Fatalf("block %d: g %g, left %g", j, g, left)
		}
	}
	if g, _ := restartAt(99, 100); g != 1.0/200 {
		t.Errorf("g of block 99 is %g, want 1/200", g)
	}
	if g, _ := restartAt(100, 100); g != 1.0/400 {
		t.Errorf("g of block 100 is %g, want 1/400", g)
	}
}

func TestSpreadAgreesWithItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	var s spread
	n, y := make([]float64, unitBuckets), make([]float64, unitBuckets)
	var sumN, sumY float64
	for range 5000 {
		k := rng.IntN(unitBuckets)
		bad := rng.Float64() < 0.02*(1+float64(k%4))
		s.add(uint8(k), 1, int64(len(bytes.Repeat([]byte{1}, map[bool]int{true: 1}[bad]))), 0)
		n[k]++
		sumN++
		if bad {
			y[k]++
			sumY++
		}
	}
	p, chi := sumY/sumN, 0.0
	for k := range n {
		chi += (y[k] - p*n[k]) * (y[k] - p*n[k]) / (sumN * p * (1 - p))
	}
	near(t, "phi", s.phi(false), chi*64/63/(1+1.28*math.Sqrt(2.0/63)), 1e-12)
	if s.phi(false) < 1.1 {
		t.Errorf("phi %g: buckets with rates from 2 to 8 %% are over-dispersed", s.phi(false))
	}
	few := spread{}
	for range phiMinBad - 1 {
		few.add(3, 5, 1, 0)
		few.add(4, 5, 0, 0)
	}
	if few.phi(false) != 1 {
		t.Errorf("phi %g of %d bad observations, want 1", few.phi(false), phiMinBad-1)
	}
}

// TestPhiIsNearOneForIndependentUnits and far from it for units that differ.
func TestPhiSeparatesIndependentFromClustered(t *testing.T) {
	for _, values := range []bool{false, true} {
		cfg := LaneConfig{Kind: Proportion, Blocks: 600}
		if values {
			cfg.Kind = Distribution
		}
		l := mustLane(t, cfg)
		u := &units{rng: rand.New(rand.NewPCG(10, 10)), share: 0.5, perSec: 300, rateT: 0.02, rateC: 0.02, scale: 1}
		for i := range int64(200) {
			l.Step(u.second(i, values))
		}
		if l.Phi() > 1.6 {
			t.Errorf("%s: phi %g for independent requests", cfg.Kind, l.Phi())
		}
		c := newClusters(rand.New(rand.NewPCG(11, 11)), clusterConfig{units: 400, share: 0.5, perSec: 300, icc: 0.2, rate: 0.05, values: values})
		l = mustLane(t, cfg)
		for i := range int64(200) {
			l.Step(c.second(i))
		}
		if l.Phi() < 3 {
			t.Errorf("%s: phi %g for clustered requests", cfg.Kind, l.Phi())
		}
	}
}

// TestMovedScale: a coarse histogram in the middle makes the lane coarser, and nothing else goes wrong.
func TestMovedScale(t *testing.T) {
	for _, kind := range []Kind{Distribution, P99} {
		l := mustLane(t, LaneConfig{Kind: kind, Scale: 9, Margin: Margin{Relative: 0.05}, Blocks: 100, Grid: []float64{0, 0.05, 0.2}})
		u := &units{rng: rand.New(rand.NewPCG(12, 12)), share: 0.3, perSec: 300, scale: 1.6}
		for i := range int64(60) {
			b := u.second(i, true) // scale 5
			if i < 20 {
				for _, a := range []*Arm{&b.Strata[0].Exposed, &b.Strata[0].Baseline} {
					h := evidence.NewHist(9)
					for range a.Parts[0].Hist.Count() {
						h.Add(20 * math.Exp(0.8*u.rng.NormFloat64()))
					}
					a.Parts[0].Hist, a.Parts[0].Bins = h, nil
				}
			}
			if i == 30 {
				h := b.Strata[0].Exposed.Parts[0].Hist
				h.Add(1e-9)
				h.Add(1e10)
				b.Strata[0].Exposed.N += 2
			}
			l.Step(b)
		}
		if l.st.Scale != 5 || l.st.Baseline.Scale != 5 || l.st.Exposed.Scale != 5 {
			t.Errorf("%s: scales %d, %d, %d, want 5", kind, l.st.Scale, l.st.Baseline.Scale, l.st.Exposed.Scale)
		}
		if kind == Distribution && l.LogE() < 5 || math.IsNaN(l.LogE()) {
			t.Errorf("%s: log e %g for values 1.6 times as large", kind, l.LogE())
		}
	}
}

// TestScaleFallsWithTheRangeOfAllValues: no single histogram is coarse, all together are.
func TestScaleFallsWithTheRangeOfAllValues(t *testing.T) {
	l := mustLane(t, LaneConfig{Kind: Distribution, Scale: 10, Blocks: 100, Prior: Prior{Hist: histOf(10, 1, 1.1, 1.2)}})
	for i, v := range []float64{1, 1000, 1e-3, 1e6} {
		a := func() Arm { return Arm{N: 1, Parts: []Part{{Hist: histOf(10, v)}}} }
		l.Step(Block{Second: int64(i), Strata: []Stratum{{Exposed: a(), Baseline: a()}}})
		if l.st.Baseline.Scale != l.st.Scale || len(l.st.Baseline.Counts) > evidence.MaxBins {
			t.Fatalf("value %g: lane at scale %d, histogram at %d", v, l.st.Scale, l.st.Baseline.Scale)
		}
	}
	if l.st.Scale >= 10 {
		t.Errorf("scale %d for values from 1e-3 to 1e6", l.st.Scale)
	}
}

func histOf(scale int, vs ...float64) *evidence.Hist {
	h := evidence.NewHist(scale)
	for _, v := range vs {
		h.Add(v)
	}
	return h
}

func TestRequestsThatNeverEndedCountAsWorst(t *testing.T) {
	for _, kind := range []Kind{Distribution, P99} {
		l := mustLane(t, LaneConfig{Kind: kind, Blocks: 100})
		u := &units{rng: rand.New(rand.NewPCG(13, 13)), share: 0.3, perSec: 200, scale: 1}
		for i := range int64(60) {
			b := u.second(i, true)
			if i > 10 {
				b.Strata[0].Exposed.N += 6 // open at close: in N, in no histogram
				b.Strata[0].Exposed.Bad += 6
			}
			l.Step(b)
		}
		if l.LogE() < 7 {
			t.Errorf("%s: log e %g, although a tenth of the exposed requests never ended", kind, l.LogE())
		}
	}
}

func TestOneArmAloneSaysNothing(t *testing.T) {
	for _, cfg := range kinds() {
		if cfg.Kind == Count {
			continue
		}
		l := mustLane(t, cfg)
		u := &units{rng: rand.New(rand.NewPCG(14, 14)), share: 0.5, perSec: 200, rateT: 0.9, rateC: 0.1, scale: 5}
		for i := range int64(30) {
			b := u.second(i, cfg.values())
			if i%2 == 0 {
				b.Strata[0].Exposed = Arm{}
			} else {
				b.Strata[0].Baseline = Arm{}
			}
			l.Step(b)
		}
		near(t, name(cfg), l.LogE(), 0, 1e-9)
	}
}

func TestNewLaneRefuses(t *testing.T) {
	for what, cfg := range map[string]LaneConfig{
		"kind":                    {Kind: "mean"},
		"side":                    {Kind: Distribution, Side: "left"},
		"NaN":                     {Kind: Proportion, Margin: Margin{Relative: math.NaN()}},
		"absolute value margin":   {Kind: Distribution, Margin: Margin{Absolute: 3}},
		"margin of -100 %":        {Kind: Proportion, Margin: Margin{Relative: -1}},
		"drift with a margin":     {Kind: Distribution, Side: Both, Margin: Margin{Relative: 0.1}},
		"two-sided proportion":    {Kind: Proportion, Side: Both},
		"all values lower":        {Kind: Distribution, Side: Down, Margin: Margin{Relative: 1}},
		"scale":                   {Kind: Distribution, Scale: 4},
		"negative blocks":         {Kind: Proportion, Blocks: -1},
		"grid out of order":       {Kind: Proportion, Grid: []float64{1, 0}},
		"impossible grid margin":  {Kind: Proportion, Grid: []float64{-1, 0}},
		"prior rate above 1":      {Kind: Proportion, Prior: Prior{Rate: 2, Weight: 1}},
		"empty prior histogram":   {Kind: Distribution, Prior: Prior{Hist: evidence.NewHist(5)}},
		"broken prior histogram":  {Kind: Distribution, Prior: Prior{Hist: &evidence.Hist{Scale: 99}}},
		"grid of 65 margins":      {Kind: Proportion, Grid: make([]float64, 65)},
		"grid with both sides":    {Kind: Distribution, Side: Both, Grid: []float64{0}},
		"prior weight below zero": {Kind: Proportion, Prior: Prior{Weight: -1}},
	} {
		if _, err := NewLane(cfg); err == nil {
			t.Errorf("%s: accepted %+v", what, cfg)
		}
	}
}

func TestLaneJSONRefusesWhatDoesNotFit(t *testing.T) {
	l := mustLane(t, LaneConfig{Kind: Distribution, Blocks: 10, Grid: []float64{0.1}})
	good := string(mustJSON(t, l))
	for what, change := range map[string][2]string{
		"unknown member": {`"config":{`, `"config":{"alpha":1,`},
		"other kind":     {`"kind":"distribution"`, `"kind":"proportion"`},
		"more tests":     {`"grid":[0.1]`, `"grid":[0.1,0.2]`},
		"phi":            {`"phi":1`, `"phi":0.5`},
		"scale":          {`"scale":5,"tests"`, `"scale":6,"tests"`},
	} {
		bad := bytes.Replace([]byte(good), []byte(change[0]), []byte(change[1]), 1)
		if string(bad) == good {
			t.Fatalf("%s: nothing to replace", what)
		}
		if json.Unmarshal(bad, new(Lane)) == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func FuzzLaneJSON(f *testing.F) {
	for _, cfg := range kinds() {
		f.Add([]byte(mustJSON(f, mustLane(f, cfg))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := new(Lane)
		if json.Unmarshal(data, l) != nil {
			return
		}
		if out, err := json.Marshal(l); err != nil || json.Unmarshal(out, new(Lane)) != nil {
			t.Fatalf("%s does not come back: %v", out, err)
		}
	})
}

func TestMixWeighsLanes(t *testing.T) {
	a, b := mustLane(t, LaneConfig{Kind: Proportion}), mustLane(t, LaneConfig{Kind: Proportion})
	a.logM[mainTest], b.logM[mainTest] = 10, -3
	a.st.Phi = 2
	near(t, "mix", Mix([]Weighted{{0.25, a}, {0.25, b}}), math.Log(0.25*math.Exp(5)+0.25*math.Exp(-3)+0.5), 1e-12)
	a.st.Shares[17], b.st.Shares[17] = 6, 1
	k, e := MixWithout([]Weighted{{0.25, a}, {0.25, b}})
	near(t, "mix without", e, math.Log(0.25*math.Exp(2)+0.25*math.Exp(-4)+0.5), 1e-12)
	if k != 17 {
		t.Errorf("bucket %d, want 17", k)
	}
	if got := a.HeaviestBuckets(3); !slices.Equal(got, []int{17}) {
		t.Errorf("heaviest buckets %v", got)
	}
}

func TestWeightsAddUp(t *testing.T) {
	for _, tt := range []struct {
		listed int
		open   bool
	}{{0, false}, {0, true}, {1, false}, {10, true}, {10, false}} {
		overall, each, late := SplitWeight(0.3, tt.listed, tt.open)
		near(t, "sum", overall+each*float64(tt.listed)+late, 0.3, 1e-15)
		sum := 0.0
		for i := range 100_000 {
			sum += LateWeight(late, i)
		}
		if sum > late+1e-12 || sum < late*0.9999 {
			t.Errorf("late weights add up to %g of %g", sum, late)
		}
	}
}

// TestEstimateIsNotFooledByARamp: the baseline rises while exposure does; pooled totals would show harm.
func TestEstimateIsNotFooledByARamp(t *testing.T) {
	l := mustLane(t, LaneConfig{Kind: Proportion, Margin: Margin{Relative: 0.2}, Blocks: 400})
	u := &units{rng: rand.New(rand.NewPCG(15, 15)), perSec: 400, scale: 1}
	for i := range int64(400) {
		u.share = 0.01
		u.rateC = 0.02
		if i >= 200 {
			u.share, u.rateC = 0.5, 0.2
		}
		u.rateT = u.rateC * 1.5
		l.Step(u.second(i, false))
	}
	e := l.Estimate()
	if !e.Known || math.Abs(e.Effect-0.5) > 0.06 {
		t.Errorf("got %+v, want an effect of 0.5", e)
	}
	if pooled := (float64(l.Totals().YT) / float64(l.Totals().NT)) / (float64(l.Totals().YC) / float64(l.Totals().NC)); pooled < 2 {
		t.Errorf("the pooled ratio %g is no trap: the test tests nothing", pooled)
	}
	v := mustLane(t, LaneConfig{Kind: Distribution, Blocks: 400})
	u = &units{rng: rand.New(rand.NewPCG(16, 16)), perSec: 400, share: 0.3, scale: 1.25}
	for i := range int64(200) {
		v.Step(u.second(i, true))
	}
	if e := v.Estimate(); math.Abs(e.Effect-0.25) > 0.03 || math.Abs(e.Baseline-20) > 1 {
		t.Errorf("got %+v, want values 1.25 times 20", e)
	}
}
