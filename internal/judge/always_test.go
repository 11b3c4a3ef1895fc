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
	scored   bool
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
			if arm == 1 {
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
