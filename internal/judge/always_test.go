package judge

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// alwaysErrors judges the share of errors always-valid: a fifth more than the baseline is too much.
func alwaysErrors() Guardrail {
	g := errorRail()
	g.Test, g.WorseBy, g.Weight = AlwaysValid, Margin{Relative: 0.2}, 1
	return g
}

func alwaysConfig(gs ...Guardrail) Config {
	cfg := config(gs...)
	cfg.Bakes, cfg.Stages = 600, 3
	return cfg
}

// traffic makes seconds of requests with units: each unit has a bucket, an arm by exposure and a value of origin.
type traffic struct {
	rng      *rand.Rand
	perSec   int
	exposure uint32
	revision uint64
	values   int
	bad      func(sec int64, arm int, value int) float64 // share of bad ones
	latency  func(sec int64, arm int, value int) float64 // ln of the middle; nil for no latency
	unit     func() int                                  // of a request; nil: a new one each
}

func (w *traffic) second(sec int64) evidence.Second {
	type cellKey struct{ arm, value int }
	cells := map[cellKey]*evidence.Cell{}
	hists := map[cellKey]*evidence.Cell{}
	cell := func(m map[cellKey]*evidence.Cell, k cellKey, hist bool) *evidence.Cell {
		c := m[k]
		if c == nil {
			c = &evidence.Cell{Dim: evidence.DimSource, Value: fmt.Sprintf("origin=%c", 'A'+k.value)}
			if k.value < 0 {
				c = &evidence.Cell{Dim: evidence.DimTotal}
			}
			if hist {
				c.Hist = evidence.NewHist(5)
			}
			m[k] = c
		}
		return c
	}
	for range w.perSec {
		u := w.rng.IntN(1 << 30)
		if w.unit != nil {
			u = w.unit()
		}
		h := uint64(u) * 0x9E3779B97F4A7C15
		arm, bucket := 0, uint8(h>>58)
		if h>>20%evidence.MaxExposure < uint64(w.exposure) {
			arm = 1
		}
		value := 0
		if w.values > 1 {
			value = int(h >> 40 % uint64(w.values))
		}
		bad := w.rng.Float64() < w.bad(sec, arm, value)
		for _, v := range []int{-1, value} {
			if v >= 0 && w.values == 0 {
				continue
			}
			countUnit(cell(cells, cellKey{arm, v}, false), bucket, bad)
		}
		if w.latency == nil {
			continue
		}
		x := math.Exp(w.latency(sec, arm, value) + 0.5*w.rng.NormFloat64())
		for _, v := range []int{-1, value} {
			if v >= 0 && w.values == 0 {
				continue
			}
			c := cell(hists, cellKey{arm, v}, true)
			countUnit(c, bucket, false)
			c.Hist.Add(x)
			if arm == 0 {
				i := slices.IndexFunc(c.Buckets, func(u evidence.UnitBucket) bool { return u.K == bucket })
				c.Buckets[i].Sum += evidence.Score(5, evidence.Index(5, x))
			} else {
				addBin(c, bucket, evidence.Index(5, x))
			}
		}
	}
	out := closed(sec)
	for metric, m := range map[string]map[cellKey]*evidence.Cell{evidence.MetricError: cells, "latency": hists} {
		for arm, name := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
			total := m[cellKey{arm, -1}]
			if total == nil {
				continue
			}
			b := errorBlock(sec, name, total.N, total.Bad)
			b.Metric, b.Exposure, b.Revision, b.Cells = metric, w.exposure, 7+w.revision, nil
			for v := -1; v < max(w.values, 0); v++ {
				if c := m[cellKey{arm, v}]; c != nil {
					slices.SortFunc(c.Buckets, func(a, b evidence.UnitBucket) int { return int(a.K) - int(b.K) })
					slices.SortFunc(c.ExposedHistByBucket, func(a, b evidence.BucketBin) int {
						if a.K != b.K {
							return int(a.K) - int(b.K)
						}
						return int(a.Bin) - int(b.Bin)
					})
					own := *c
					if v < 0 {
						b.Hist, own.Hist = c.Hist, nil
					}
					b.Cells = append(b.Cells, own)
				}
			}
			out.Blocks = append(out.Blocks, b)
		}
	}
	evidence.SortBlocks(out.Blocks)
	return out
}

func countUnit(c *evidence.Cell, bucket uint8, bad bool) {
	i := slices.IndexFunc(c.Buckets, func(u evidence.UnitBucket) bool { return u.K == bucket })
	if i < 0 {
		i = len(c.Buckets)
		c.Buckets = append(c.Buckets, evidence.UnitBucket{K: bucket})
	}
	c.N++
	c.Buckets[i].N++
	if bad {
		c.Bad++
		c.Buckets[i].Bad++
	}
}

func addBin(c *evidence.Cell, bucket uint8, bin int32) {
	i := slices.IndexFunc(c.ExposedHistByBucket, func(u evidence.BucketBin) bool { return u.K == bucket && u.Bin == bin })
	if i < 0 {
		i = len(c.ExposedHistByBucket)
		c.ExposedHistByBucket = append(c.ExposedHistByBucket, evidence.BucketBin{K: bucket, Bin: bin})
	}
	c.ExposedHistByBucket[i].Count++
}

// kept is a store of seconds for Remember.
type kept struct{ secs []evidence.Second }

func (k *kept) between(from, to int64) iter.Seq[evidence.Second] {
	return func(yield func(evidence.Second) bool) {
		for _, sec := range k.secs {
			if from <= sec.At && sec.At <= to && !yield(sec) {
				return
			}
		}
	}
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// play steps n seconds of the world and stops at the first report that asks for an action.
func (k *kept) play(cfg Config, s *State, from int64, n int, w *traffic) (rep Report) {
	for i := range int64(n) {
		sec := w.second(from + i)
		rep = Step(cfg, s, sec)
		k.secs = append(k.secs, sec)
		if rep.Action != "" {
			return rep
		}
	}
	return rep
}

func TestHarmOfOneValueFailsTheRolloutInItsLane(t *testing.T) {
	g := alwaysErrors()
	g.Segments = true
	cfg := alwaysConfig(g)
	s, k := judged(cfg), &kept{}
	Remember(s, k.between)
	w := &traffic{rng: seeded(1), perSec: 200, exposure: 25_000, values: 10, bad: func(sec int64, arm, value int) float64 {
		if arm == exposed && value == 3 && sec >= start+60 {
			return 0.30
		}
		return 0.02
	}}
	Enter(s, 0, w.exposure, "general")
	rep := k.play(cfg, s, start, 300, w)
	if rep.Result != Fail || rep.Action != ActRollback {
		t.Fatalf("got %s, action %q", rep.Result, rep.Action)
	}
	d := rep.Decider
	if d.Value != "origin=D" || !d.Bounded || d.Rule != string(AlwaysValid) {
		t.Errorf("decider %+v", d)
	}
	if d.Lower == nil || *d.Lower < 0.2 || d.Baseline > 0.03 || d.Exposed < 0.05 {
		t.Errorf("numbers: %+v", d)
	}
	if d.Evidence != ChainDigest(k.secs, d.To) {
		t.Error("the evidence digest is not that of all seconds")
	}
	if !s.Alarm.Exact || s.At < start+60 || s.At > start+90 {
		t.Errorf("alarm %+v at %d", s.Alarm, s.At-start)
	}
	text := Sentence(*d)
	for _, want := range []string{"errors for origin=D: ", "worse by at least +", "always-valid, false-alarm bound 1 % per rollout; n "} {
		if !strings.Contains(text, want) {
			t.Errorf("sentence %q lacks %q", text, want)
		}
	}
}

func harmless(sec int64, _, value int) float64 { return 0.01 + 0.01*float64(value%3) }

// rich is a rollout with every statistic, values and stage changes.
func rich() (Config, *traffic) {
	rate, shape, tail := alwaysErrors(), alwaysErrors(), alwaysErrors()
	rate.Segments, shape.Segments = true, true
	shape.Name, shape.Metric, shape.Stat, shape.WorseBy = "latency", "latency", statDistribution, Margin{Relative: 0.1}
	tail.Name, tail.Metric, tail.Stat, tail.WorseBy = "tail", "latency", "p99", Margin{Relative: 0.1}
	tail.Values, tail.Segments = []Value{{evidence.DimSource, "origin=A"}}, true
	w := &traffic{rng: seeded(3), perSec: 150, values: 4, bad: harmless, latency: func(int64, int, int) float64 { return 3 }}
	return alwaysConfig(rate, shape, tail), w
}

func TestAlwaysValidReplaysBitForBit(t *testing.T) {
	cfg, w := rich()
	stages := []uint32{0, 5_000, 25_000}
	s, twin, k := New(cfg, testMetrics), New(cfg, testMetrics), &kept{}
	Remember(s, k.between)
	Remember(twin, k.between)
	var events []Event
	for i := range int64(90) {
		if i%30 == 0 {
			w.exposure, w.revision = stages[i/30], w.revision+1
			enter := func(s *State) { Enter(s, int(i/30), w.exposure, "general") }
			enter(s)
			enter(twin)
			events = append(events, Event{After: s.At, Enter: &Entered{int(i / 30), w.exposure, "general"}})
		}
		if i == 70 {
			w.bad = func(_ int64, arm, _ int) float64 { return []float64{0.02, 0.4}[arm] }
		}
		sec := w.second(start + i)
		a := Step(cfg, s, sec)
		if i%7 == 3 { // a restart: the state is read back
			stored, err := UnmarshalState(must(MarshalState(twin)))
			if err != nil {
				t.Fatal(err)
			}
			twin = stored
			Remember(twin, k.between)
		}
		b := Step(cfg, twin, sec)
		k.secs = append(k.secs, sec)
		if x, y := fmt.Sprintf("%+v %s", reportText(a), s.Digest()), fmt.Sprintf("%+v %s", reportText(b), twin.Digest()); x != y {
			t.Fatalf("second %d differs after a restart:\n%s\n%s", i, x, y)
		}
	}
	if s.Alarm == nil || !s.Alarm.Exact {
		t.Fatalf("no exact alarm: %+v", s.Alarm)
	}
	reports, end := Replay(cfg, testMetrics, k.secs, events)
	if end.Digest() != s.Digest() || len(reports) != len(k.secs) {
		t.Errorf("a replay ends elsewhere")
	}
}

// reportText is a report without pointers.
func reportText(rep Report) string {
	return string(must(json.Marshal(rep)))
}

func TestALaneComputedAgainIsTheLane(t *testing.T) {
	cfg, w := rich()
	s, k := New(cfg, testMetrics), &kept{}
	for i := range int64(60) {
		if i%20 == 0 {
			w.exposure, w.revision = uint32(5_000+500*i), w.revision+1
			Enter(s, int(i/20), w.exposure, "general")
		}
		sec := w.second(start + i)
		sec.Gap = i == 33
		Step(cfg, s, sec)
		k.secs = append(k.secs, sec)
	}
	Remember(s, k.between)
	last := k.secs[len(k.secs)-1]
	n := 0
	for _, c := range s.contenders(cfg) {
		blocks, ok := s.blocksOf(cfg, &c, last)
		if !ok {
			t.Fatalf("%v: no blocks", c.Lane)
		}
		again := must1(stat.NewLane(c.Weighted.Lane.Config()))
		for _, b := range blocks {
			again.Step(b)
		}
		if string(must(again.MarshalJSON())) != string(must(c.Weighted.Lane.MarshalJSON())) {
			t.Errorf("%v differs when computed again", c.Lane)
		}
		n++
	}
	if n != 3+4+4+1 {
		t.Errorf("%d lanes take part", n)
	}
	sum := 0.0
	for _, c := range s.contenders(cfg) {
		sum += c.Weight
	}
	if sum > 1+1e-12 {
		t.Errorf("weights add up to %v", sum)
	}
}

func TestAlwaysValidNeverPassesWithoutData(t *testing.T) {
	good := func() *traffic {
		return &traffic{rng: seeded(11), perSec: 400, exposure: 50_000, bad: func(int64, int, int) float64 { return 0.02 }}
	}
	for _, tt := range []struct {
		name string
		make func(w *traffic, sec int64) evidence.Second
		pass bool
	}{
		{"data", func(w *traffic, sec int64) evidence.Second { return w.second(sec) }, true},
		{"nothing", func(_ *traffic, sec int64) evidence.Second { return closed(sec) }, false},
		{"little", func(w *traffic, sec int64) evidence.Second { w.perSec = 2; return w.second(sec) }, false},
		{"one arm", func(w *traffic, sec int64) evidence.Second { w.exposure = evidence.MaxExposure; return w.second(sec) }, false},
		{"half of the members", func(w *traffic, sec int64) evidence.Second { s := w.second(sec); s.Through = 1; return s }, false},
		{"gaps", func(w *traffic, sec int64) evidence.Second { s := w.second(sec); s.Gap = true; return s }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := alwaysConfig(alwaysErrors())
			s, w := judged(cfg), good()
			Enter(s, 0, 50_000, "general")
			passed := false
			for i := range int64(200) {
				rep := Step(cfg, s, tt.make(w, start+i))
				passed = passed || rep.Result == Pass
				if rep.Result == Pass && !rep.Powered {
					t.Fatal("passed without power")
				}
			}
			if passed != tt.pass {
				t.Errorf("passed %v: %+v", passed, s.report(cfg).Verdicts[0])
			}
		})
	}
}

// A pass is powered by what was seen of the present cohort; the evidence against it goes on.
func TestAnotherCohortNeedsPowerOfItsOwn(t *testing.T) {
	cfg := alwaysConfig(alwaysErrors())
	s := New(cfg, testMetrics)
	Enter(s, 0, 50_000, "staff")
	w := &traffic{rng: seeded(12), perSec: 400, exposure: 50_000, bad: func(int64, int, int) float64 { return 0.02 }}
	cohort := func(name string, sec evidence.Second) evidence.Second {
		for i := range sec.Blocks {
			sec.Blocks[i].Cohort = name
		}
		return sec
	}
	var rep Report
	for i := range int64(200) {
		rep = Step(cfg, s, cohort("staff", w.second(start+i)))
	}
	if rep.Result != Pass || rep.Verdicts[0].Detectable == nil {
		t.Fatalf("the first cohort: %s", Sentence(rep.Verdicts[0]))
	}
	before := s.Rails[0].Lanes[0].Always.Lane.Blocks()
	Enter(s, 1, 50_000, "staff") // another stage of the same cohort keeps it
	if rep = Step(cfg, s, cohort("staff", w.second(start+200))); rep.Result != Pass {
		t.Errorf("another stage: %s", Sentence(rep.Verdicts[0]))
	}
	Enter(s, 2, 50_000, "general")
	if rep = Step(cfg, s, cohort("general", w.second(start+201))); rep.Result != Inconclusive || !rep.Clean && rep.Verdicts[0].NExposed == 0 {
		t.Errorf("another cohort: %s", Sentence(rep.Verdicts[0]))
	}
	for i := range int64(200) {
		rep = Step(cfg, s, cohort("general", w.second(start+202+i)))
	}
	if rep.Result != Pass {
		t.Errorf("another cohort, later: %s", Sentence(rep.Verdicts[0]))
	}
	if after := s.Rails[0].Lanes[0].Always.Lane.Blocks(); after != before+202 {
		t.Errorf("the lane went from %d to %d blocks", before, after)
	}
}

// Weights are given before a lane sees anything, and never add up to more than all.
func TestWeights(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []Value
		rates  func(value int) int // second in which a value is first seen
		want   map[string]float64
	}{
		{"listed", []Value{{evidence.DimSource, "origin=A"}, {evidence.DimSource, "origin=B"}}, func(int) int { return 0 },
			map[string]float64{"": 0.5, "origin=A": 0.25, "origin=B": 0.25}},
		{"open, all at once", nil, func(int) int { return 0 },
			map[string]float64{"": 0.5, "origin=A": 0.15, "origin=B": 0.15, "origin=C": 0.15}},
		{"open, one later", nil, func(v int) int { return v / 2 * 5 },
			map[string]float64{"": 0.5, "origin=A": 0.225, "origin=B": 0.225, "origin=C": 0.025}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := alwaysErrors()
			g.Segments, g.Values = true, tt.values
			cfg := alwaysConfig(g)
			s := judged(cfg)
			for i := range 12 {
				base, exp := errorBlock(start+int64(i), evidence.ArmBaseline, 90, 1), errorBlock(start+int64(i), evidence.ArmExposed, 30, 1)
				for v := range 3 {
					if i >= tt.rates(v) {
						name := fmt.Sprintf("origin=%c", 'A'+v)
						base.Cells = append(base.Cells, evidence.Cell{Dim: evidence.DimSource, Value: name, N: 30, Buckets: spread(30, 0)})
						exp.Cells = append(exp.Cells, evidence.Cell{Dim: evidence.DimSource, Value: name, N: 10, Buckets: spread(10, 0)})
					}
				}
				Step(cfg, s, closed(start+int64(i), base, exp))
			}
			got := map[string]float64{}
			for _, c := range s.contenders(cfg) {
				got[c.Value] = math.Round(c.Weight*1e9) / 1e9
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			for _, l := range s.Rails[0].Lanes[1:] {
				if a := l.Always; tt.values == nil && a.From != l.Since+1 {
					t.Errorf("%s was seen in second %d and begins with %d", l.Value, l.Since-start, a.From-start)
				}
			}
		})
	}
}

func TestAnAlarmNamesEachActionsOwnLane(t *testing.T) {
	bad, signal := alwaysErrors(), alwaysErrors()
	signal.Name, signal.Role, signal.OnBreach = "signal", "signal", ActPause
	signal.Metric, bad.Metric = "x", "y"
	cfg := alwaysConfig(signal, bad)
	metrics := map[string]evidence.Metric{"x": {Kind: evidence.KindProportion}, "y": {Kind: evidence.KindProportion}}
	s := New(cfg, metrics)
	Enter(s, 0, 25_000, "general")
	rates := map[string]float64{"x": 0.02, "y": 0.02}
	rng := seeded(13)
	var rep Report
	for i := range int64(300) {
		if i == 60 {
			rates["x"] = 0.5 // pauses
		}
		if i == 120 {
			rates["y"] = 0.5 // rolls back, although the signal has more evidence
		}
		var sec evidence.Second
		for _, m := range []string{"x", "y"} {
			w := &traffic{rng: rng, perSec: 50, exposure: 25_000, bad: func(_ int64, arm, _ int) float64 {
				if arm == exposed {
					return rates[m]
				}
				return 0.02
			}}
			one := w.second(start + i)
			for j := range one.Blocks {
				one.Blocks[j].Metric = m
			}
			sec.Blocks = append(sec.Blocks, one.Blocks...)
		}
		sec.At, sec.Through, sec.Members = start+i, 1, 1
		evidence.SortBlocks(sec.Blocks)
		rep = Step(cfg, s, sec)
		switch {
		case i < 60 && rep.Action != "", i >= 60 && i < 120 && rep.Action == ActRollback:
			t.Fatalf("second %d: %s", i, rep.Action)
		case i == 119 && (rep.Action != ActPause || rep.Decider.Guardrail != "signal"):
			t.Fatalf("second %d: %q", i, rep.Action)
		case rep.Action == ActRollback:
			if rep.Decider.Guardrail != "errors" || i > 160 {
				t.Fatalf("second %d: %s", i, Sentence(*rep.Decider))
			}
			return
		}
	}
	t.Error("the guardrail did not roll back")
}

func TestEveryStatisticFindsItsHarm(t *testing.T) {
	for _, tt := range []struct {
		name, metric, stat string
		margin             Margin
		values             [2]float64 // middle of the values by arm
		share              [2]float64 // of bad requests by arm
		want               Result
	}{
		{"share, relative", evidence.MetricError, statProportion, Margin{Relative: 0.5}, [2]float64{1, 1}, [2]float64{0.02, 0.2}, Fail},
		{"share, absolute", evidence.MetricError, statProportion, Margin{Absolute: 0.05}, [2]float64{1, 1}, [2]float64{0.02, 0.2}, Fail},
		{"share, within the margin", evidence.MetricError, statProportion, Margin{Absolute: 0.05}, [2]float64{1, 1}, [2]float64{0.02, 0.06}, Pass},
		{"slower", "latency", statDistribution, Margin{Relative: 0.1}, [2]float64{20, 40}, [2]float64{}, Fail},
		{"faster is no harm", "latency", statDistribution, Margin{Relative: 0.1}, [2]float64{20, 10}, [2]float64{}, Pass},
		{"slower at the tail", "latency", "p99", Margin{Relative: 0.1}, [2]float64{20, 60}, [2]float64{}, Fail},
		{"a lower score", "score", statDistribution, Margin{Relative: 0.1}, [2]float64{0.8, 0.4}, [2]float64{}, Fail},
		{"a higher score is no harm", "score", statDistribution, Margin{Relative: 0.1}, [2]float64{0.4, 0.8}, [2]float64{}, Pass},
		{"a lower score, low end", "score", "p99", Margin{Relative: 0.1}, [2]float64{0.8, 0.2}, [2]float64{}, Fail},
		{"nothing that can be judged", "latency", "p50", Margin{Relative: 0.1}, [2]float64{20, 40}, [2]float64{}, Inconclusive},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := alwaysErrors()
			g.Metric, g.Stat, g.WorseBy = tt.metric, tt.stat, tt.margin
			cfg := alwaysConfig(g)
			s, k := judged(cfg), &kept{}
			Remember(s, k.between)
			Enter(s, 0, 25_000, "general")
			w := &traffic{rng: seeded(14), perSec: 100, exposure: 25_000, bad: func(_ int64, arm, _ int) float64 { return tt.share[arm] },
				latency: func(_ int64, arm, _ int) float64 { return math.Log(tt.values[arm]) }}
			var rep Report
			for i := range int64(60) {
				sec := w.second(start + i)
				for j := range sec.Blocks {
					if b := &sec.Blocks[j]; b.Metric == "latency" {
						b.Metric = tt.metric
					}
				}
				if tt.metric == evidence.MetricError {
					sec.Blocks = slices.DeleteFunc(sec.Blocks, func(b evidence.Block) bool { return b.Hist != nil })
				}
				rep = Step(cfg, s, sec)
				k.secs = append(k.secs, sec)
				if rep.Result == Fail {
					break
				}
			}
			v := rep.Verdicts[0]
			if rep.Result != tt.want {
				t.Fatalf("got %s: %s", rep.Result, Sentence(v))
			}
			if rep.Result == Fail && (v.Lower == nil || *v.Lower < g.limit()-1e-9 || v.Effect < *v.Lower) {
				t.Errorf("effect %v, lower %v: %s", v.Effect, v.Lower, Sentence(v))
			}
			if tt.stat == "p50" && (rep.Clean || !strings.Contains(v.Detail, "cannot be judged")) {
				t.Errorf("%s", Sentence(v))
			}
		})
	}
}
