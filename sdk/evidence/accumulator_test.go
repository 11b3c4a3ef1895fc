package evidence

import (
	"errors"
	"fmt"
	"math"
	"math/rand"
	"sync"
	"testing"
)

// told is what a naive collector would know of the same requests: one event per observation.
type told struct {
	key    BlockKey
	cells  []string
	bucket uint8
	value  float64
	bad    bool
	hist   bool
}

// TestFlushesAddUpToWhatWasObserved drives random requests through an Accumulator with flushes in between, and compares
// the sum of all increments with a naive count of every event.
func TestFlushesAddUpToWhatWasObserved(t *testing.T) {
	for seed := int64(1); seed <= 25; seed++ {
		rng := rand.New(rand.NewSource(seed))
		a := newTestAccumulator(t)
		latency, _ := a.Metric("latency")
		var events []told
		var sum []Block
		type live struct {
			slot Slot
			ev   told
		}
		var open []*live
		last := int64(-1)
		for now := int64(1000); now < 1012; now++ {
			for range rng.Intn(40) {
				arm := testArms[rng.Intn(2)]
				region, feed := fmt.Sprint("r", rng.Intn(3)), fmt.Sprint("f", rng.Intn(4))
				k := SlotKey{Cohort: "c", Revision: 4, Exposure: 5000, Lease: LeaseHeld, Assigned: arm, Served: arm}
				vals := Values{a.Value(0, region), 0, a.Value(2, feed)}
				bucket := uint8(rng.Intn(UnitBuckets))
				l := &live{a.Begin(now, a.Key(k), Unit{Bucket: bucket}, &vals), told{
					key:   BlockKey{now, "spend", "c", 4, 5000, "", arm, arm, LeaseHeld},
					cells: []string{"total ", "segment region=" + region, "source feed=" + feed}, bucket: bucket}}
				open = append(open, l)
			}
			for i := 0; i < len(open); i++ {
				l := open[i]
				if rng.Intn(3) == 0 {
					v := math.Exp(rng.NormFloat64() * 2)
					if rng.Intn(30) == 0 {
						v = math.NaN()
					}
					l.slot.Observe(latency, v)
					ev := l.ev
					ev.key.Metric, ev.value, ev.bad, ev.hist = "latency", v, v > 3 || math.IsNaN(v), true
					events = append(events, ev)
				}
				if rng.Intn(3) == 0 {
					failed := rng.Intn(5) == 0
					l.slot.End(failed)
					l.slot.End(!failed) // a second End changes nothing
					ev := l.ev
					ev.key.Metric, ev.bad = MetricError, failed
					events = append(events, ev)
					open = append(open[:i], open[i+1:]...)
					i--
				}
			}
			blocks, through := a.Flush(now)
			if err := CheckBlocks(blocks, now); err != nil {
				t.Fatalf("seed %d: flushed blocks are refused: %v", seed, err)
			}
			sum = AppendIncrements(sum, blocks)
			checkThrough(t, seed, now, through, last, openSeconds(open, func(l *live) int64 { return l.ev.key.Second }), blocks)
			last = through
		}
		compareWithEvents(t, seed, sum, events)
	}
}

func openSeconds[T any](open []T, second func(T) int64) map[int64]uint64 {
	m := map[int64]uint64{}
	for _, o := range open {
		m[second(o)]++
	}
	return m
}

func checkThrough(t *testing.T, seed, now, through, last int64, open map[int64]uint64, blocks []Block) {
	t.Helper()
	want := now - 1
	for second := range open {
		want = min(want, second-1)
	}
	if through != want || through < last {
		t.Fatalf("seed %d, second %d: through %d, want %d (before: %d)", seed, now, through, want, last)
	}
	for i := range blocks {
		if blocks[i].Second <= last {
			t.Fatalf("seed %d: a block of second %d after through %d", seed, blocks[i].Second, last)
		}
	}
}

func compareWithEvents(t *testing.T, seed int64, sum []Block, events []told) {
	t.Helper()
	type cellKey struct {
		key  BlockKey
		cell string
	}
	type count struct {
		n, bad  uint64
		buckets [UnitBuckets]UnitBucket
		values  []float64
	}
	want := map[cellKey]*count{}
	for _, ev := range events {
		for _, cell := range ev.cells {
			c := want[cellKey{ev.key, cell}]
			if c == nil {
				c = &count{}
				want[cellKey{ev.key, cell}] = c
			}
			c.n++
			c.buckets[ev.bucket].N++
			if ev.bad {
				c.bad++
				c.buckets[ev.bucket].Bad++
			}
			if ev.hist && !math.IsNaN(ev.value) {
				c.values = append(c.values, ev.value)
				if ev.key.Assigned == ArmBaseline {
					c.buckets[ev.bucket].Sum += Score(MinScale, Index(MinScale, ev.value))
				}
			}
		}
	}
	cells := 0
	for i := range sum {
		b := &sum[i]
		for j := range b.Cells {
			c := &b.Cells[j]
			cells++
			w := want[cellKey{b.Key(), c.Dim + " " + c.Value}]
			if w == nil || w.n != c.N || w.bad != c.Bad {
				t.Fatalf("seed %d: cell %s %s of %v: n %d, bad %d, want %+v", seed, c.Dim, c.Value, b.Key(), c.N, c.Bad, w)
			}
			for _, u := range c.Buckets {
				if w.buckets[u.K].N != u.N || w.buckets[u.K].Bad != u.Bad || w.buckets[u.K].Sum != u.Sum {
					t.Fatalf("seed %d: bucket %d: got %+v, want %+v", seed, u.K, u, w.buckets[u.K])
				}
			}
			if h := b.HistOf(c); b.Metric == "latency" && !sameBins(h, naive(h.Scale, w.values)) {
				t.Fatalf("seed %d: cell %s %s: got %v", seed, c.Dim, c.Value, h)
			}
		}
	}
	if cells != len(want) {
		t.Fatalf("seed %d: %d cells, want %d", seed, cells, len(want))
	}
}

func TestSteadyPathAllocatesNothing(t *testing.T) {
	a := newTestAccumulator(t)
	latency, _ := a.Metric("latency")
	arm := SlotKey{Cohort: "c", Revision: 4, Exposure: 5000, Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmExposed}
	i := 0
	request := func() {
		i++
		vals := Values{a.Value(0, "eu"), a.Value(1, "gold"), a.Value(2, "LAX")}
		s := a.Begin(1000, a.Key(arm), Unit{Hash: uint64(i), Bucket: uint8(i)}, &vals)
		s.Observe(latency, float64(1+i%50))
		s.End(i%7 == 0)
	}
	for range 20_000 {
		request()
	}
	if n := testing.AllocsPerRun(2000, request); n != 0 {
		t.Errorf("%g allocations a request, want 0", n)
	}
}

// TestSecondsReuseMemory: after some seconds, a second of traffic needs no more memory than its flush.
func TestSecondsReuseMemory(t *testing.T) {
	a := newTestAccumulator(t)
	rng := rand.New(rand.NewSource(1))
	for now := int64(1000); now < 1200; now++ {
		for range 50 {
			s := beginRandom(a, rng, now)
			s.End(false)
		}
		a.Flush(now)
	}
	held := 0
	for i := range a.shards {
		held += len(a.shards[i].entries) + len(a.shards[i].free)
	}
	if held > shardCount*4*3 {
		t.Errorf("%d entries are held for 4 keys in %d shards", held, shardCount)
	}
}

func TestBeginInAClosedSecondCountsInTheNext(t *testing.T) {
	a := newTestAccumulator(t)
	if _, through := a.Flush(1001); through != 1000 {
		t.Fatalf("through %d, want 1000", through)
	}
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmBaseline})
	s := a.Begin(1000, key, Unit{}, new(Values)) // its clock was read before the flush
	s.End(false)
	blocks, _ := a.Flush(1002)
	if len(blocks) != 1 || blocks[0].Second != 1001 {
		t.Errorf("got %+v, want one block of second 1001", blocks)
	}
}

func TestOpenRequestsHoldThroughAndAreReportedOnce(t *testing.T) {
	a := newTestAccumulator(t)
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmExposed})
	s := a.Begin(1000, key, Unit{Bucket: 9}, new(Values))
	step := func(now int64, wantBlocks int, wantOpen uint64, wantThrough int64) {
		t.Helper()
		blocks, through := a.Flush(now)
		if len(blocks) != wantBlocks || through != wantThrough || wantBlocks > 0 && blocks[0].Open != wantOpen {
			t.Fatalf("second %d: %d blocks %+v, through %d; want %d with open %d, through %d", now, len(blocks), blocks, through, wantBlocks, wantOpen, wantThrough)
		}
	}
	step(1001, 1, 1, 999)
	step(1002, 0, 0, 999)
	s.End(true)
	step(1003, 1, 0, 1002)
	step(1004, 0, 0, 1003)
}

func TestARequestThatNeverEndsIsGivenUp(t *testing.T) {
	a := newTestAccumulator(t)
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmExposed})
	lost := a.Begin(1000, key, Unit{}, new(Values))
	a.Flush(1001)
	blocks, through := a.Flush(2000)
	if len(blocks) != 1 || blocks[0].Open != 0 || blocks[0].N != 0 || through != 1999 || a.Stats().Abandoned != 1 {
		t.Fatalf("blocks %+v, through %d, stats %+v", blocks, through, a.Stats())
	}
	other := a.Begin(2000, key, Unit{}, new(Values)) // takes over the memory
	lost.Observe(ErrorMetric, 1)
	lost.End(true)
	other.End(false)
	blocks, _ = a.Flush(2001)
	if len(blocks) != 1 || blocks[0].N != 1 || blocks[0].Bad != 0 {
		t.Errorf("the lost request still counted: %+v", blocks)
	}
}

func TestValuesBeyondTheLimitCountAsOther(t *testing.T) {
	a := newTestAccumulator(t)
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmExposed})
	for i := range MaxValues + 40 {
		s := a.Begin(1000, key, Unit{Bucket: uint8(i)}, &Values{a.Value(0, fmt.Sprint("v", i)), 0, a.Value(2, "")})
		s.End(i%2 == 0)
	}
	blocks, _ := a.Flush(1001)
	if err := CheckBlocks(blocks, 1001); err != nil {
		t.Fatal(err)
	}
	b := &blocks[0]
	if got := b.Cell(DimSegment, "region=other"); got == nil || got.N != 40 || got.Bad != 20 {
		t.Errorf("region=other: %+v, want n 40, bad 20", got)
	}
	if got := b.Cell(DimSource, "feed=other"); got == nil || got.N != MaxValues+40 {
		t.Errorf("feed=other: %+v: an empty value has no cell of its own", got)
	}
	if len(b.Cells) != 1+MaxValues+2 || a.Stats().Overflow != 2*40+MaxValues {
		t.Errorf("%d cells, overflow %d", len(b.Cells), a.Stats().Overflow)
	}
}

func TestCellsBeyondTheLimitAreAddedToOther(t *testing.T) {
	a := newTestAccumulator(t)
	latency, _ := a.Metric("latency")
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmExposed})
	const n = 4 * MaxValues
	for i := range n {
		id := fmt.Sprint("v", i%MaxValues)
		s := a.Begin(1000, key, Unit{Bucket: uint8(i / 5)}, &Values{a.Value(0, id), a.Value(1, id), a.Value(2, id)})
		s.Observe(latency, float64(i))
		s.End(i%2 == 0)
	}
	blocks, _ := a.Flush(1001)
	if err := CheckBlocks(blocks, 1001); err != nil {
		t.Fatal(err)
	}
	for i := range blocks {
		sums := map[string]uint64{}
		for _, c := range blocks[i].Cells {
			sums[c.Dim]++
		}
		if len(blocks[i].Cells) > MaxCells || len(blocks[i].Cells) < MaxCells-MaxDims {
			t.Errorf("%d cells", len(blocks[i].Cells))
		}
		var feeds uint64
		for _, c := range blocks[i].Cells {
			if c.Dim == DimSource {
				feeds += c.N
			}
		}
		if feeds != n {
			t.Errorf("%s: %d observations by feed, want %d", blocks[i].Metric, feeds, n)
		}
	}
}

func TestOnceCountsAUnitOnce(t *testing.T) {
	a, err := NewAccumulator(AccumulatorConfig{Rollout: "r", Metrics: map[string]Metric{
		"a": {Kind: KindValue, Once: true}, "b": {Kind: KindProportion, Once: true}}})
	if err != nil {
		t.Fatal(err)
	}
	ma, _ := a.Metric("a")
	mb, _ := a.Metric("b")
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmExposed})
	for i := range 30 {
		s := a.Begin(int64(1000+i/15), key, Unit{Hash: uint64(i % 10), Bucket: uint8(i % 10)}, new(Values))
		s.Observe(ma, 1)
		s.Observe(mb, 0)
		s.End(false)
	}
	blocks, _ := a.Flush(1003)
	n := map[string]uint64{}
	for i := range blocks {
		n[blocks[i].Metric] += blocks[i].N
	}
	if n["a"] != 10 || n["b"] != 10 || n[MetricError] != 30 || a.Stats().Once != 40 {
		t.Errorf("got %v, stats %+v; want a 10, b 10, error 30, once 40", n, a.Stats())
	}
}

func TestAComponentDoesNotAnswerForMetricsItNeverMeasures(t *testing.T) {
	a := newTestAccumulator(t)
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmExposed, Served: ArmExposed})
	s := a.Begin(1000, key, Unit{}, new(Values))
	if blocks, _ := a.Flush(1001); len(blocks) != 1 || blocks[0].Metric != MetricError {
		t.Errorf("got %+v, want the error metric alone", blocks)
	}
	latency, _ := a.Metric("latency")
	s.Observe(latency, 2)
	if blocks, _ := a.Flush(1002); len(blocks) != 1 || blocks[0].Metric != "latency" || blocks[0].Open != 1 {
		t.Errorf("got %+v, want latency with one open", blocks)
	}
}

func TestNewAccumulatorRefuses(t *testing.T) {
	for name, cfg := range map[string]AccumulatorConfig{
		"no rollout":  {},
		"kind":        {Rollout: "r", Metrics: map[string]Metric{"m": {Kind: "mean"}}},
		"scale":       {Rollout: "r", Metrics: map[string]Metric{"m": {Kind: KindValue, Scale: 4}}},
		"metric name": {Rollout: "r", Metrics: map[string]Metric{"": {Kind: KindValue}}},
		"attribute":   {Rollout: "r", Segments: []string{"a=b"}},
		"dimensions":  {Rollout: "r", Segments: make([]string, MaxDims+1)},
	} {
		t.Run(name, func(t *testing.T) {
			var e *Error
			if _, err := NewAccumulator(cfg); !errors.As(err, &e) {
				t.Errorf("accepted: %v", err)
			}
		})
	}
}

// TestManyGoroutines: nothing is lost or counted twice while requests, new values and flushes run at the same time.
func TestManyGoroutines(t *testing.T) {
	// A flush is a second here, so thousands may pass while one goroutine waits for its processor: none is given up.
	a := newTestAccumulatorWith(t, math.MaxInt32)
	latency, _ := a.Metric("latency")
	const workers, each = 8, 2000
	var now sync.Map
	now.Store("now", int64(1000))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewSource(int64(w)))
			for i := range each {
				at, _ := now.Load("now")
				s := beginRandom(a, rng, at.(int64))
				a.Value(1, fmt.Sprint(w, " ", i%40))
				s.Observe(latency, 1)
				s.End(false)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var sum []Block
	last := int64(0)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		at, _ := now.Load("now")
		next := at.(int64) + 1
		now.Store("now", next)
		blocks, through := a.Flush(next)
		if through < last {
			t.Fatalf("through fell from %d to %d", last, through)
		}
		for i := range blocks {
			if blocks[i].Second <= last {
				t.Fatalf("a block of second %d after through %d", blocks[i].Second, last)
			}
		}
		last = through
		sum = AppendIncrements(sum, blocks)
	}
	n := map[string]uint64{}
	for i := range sum {
		n[sum[i].Metric] += sum[i].N
		if sum[i].Open != 0 {
			t.Errorf("second %d: open %d at the end", sum[i].Second, sum[i].Open)
		}
	}
	if n["latency"] != workers*each || n[MetricError] != workers*each {
		t.Errorf("got %v, want %d each; %+v", n, workers*each, a.Stats())
	}
}

func BenchmarkRequest(b *testing.B) {
	a := newTestAccumulator(b)
	latency, _ := a.Metric("latency")
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmBaseline, Served: ArmBaseline})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		vals := Values{a.Value(0, "eu"), 0, a.Value(2, "LAX")}
		s := a.Begin(1000, key, Unit{Bucket: uint8(i)}, &vals)
		s.Observe(latency, float64(1+i%50))
		s.End(false)
	}
}

// BenchmarkObserve counts observations of requests under way into the blocks of a second: a value with its histogram, in total and
// for a segment and a source. Each operation is one observation.
func BenchmarkObserve(b *testing.B) {
	for _, tt := range []struct {
		name string
		cfg  AccumulatorConfig
	}{
		{"share", AccumulatorConfig{Rollout: "r", Metrics: map[string]Metric{"m": {Kind: KindProportion}}}},
		{"value", AccumulatorConfig{Rollout: "r", Metrics: map[string]Metric{"m": {Kind: KindValue}}}},
		{"value x 2 dimensions", AccumulatorConfig{Rollout: "r", Metrics: map[string]Metric{"m": {Kind: KindValue}}, Segments: []string{"region"}, Sources: []string{"feed"}}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			a, err := NewAccumulator(tt.cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			benchObserve(b, a)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mobs/s")
		})
	}
}

// benchObserve observes through 1,000 open requests of all unit buckets.
func benchObserve(b *testing.B, a *Accumulator) {
	m, _ := a.Metric("m")
	key := a.Key(SlotKey{Cohort: "c", Lease: LeaseHeld, Assigned: ArmBaseline, Served: ArmBaseline})
	var vals Values
	for i := range a.Dims() {
		vals[i] = a.Value(i, "x")
	}
	slots := make([]Slot, 1000)
	for i := range slots {
		slots[i] = a.Begin(1000, key, Unit{Bucket: uint8(i % UnitBuckets)}, &vals)
	}
	for i := 0; b.Loop(); i++ {
		slots[i%len(slots)].Observe(m, float64(1+i%50))
	}
}
