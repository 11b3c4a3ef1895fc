package evidence

import (
	"bytes"
	"encoding/json"
	"math/rand"
	"reflect"
	"testing"
)

// randomBlocks are what one boot might send in one request: made by an Accumulator from random requests.
func randomBlocks(t *testing.T, seed int64, second int64) []Block {
	t.Helper()
	rng := rand.New(rand.NewSource(seed))
	a := newTestAccumulator(t)
	for range rng.Intn(60) {
		s := beginRandom(a, rng, second+int64(rng.Intn(2)))
		m, _ := a.Metric("latency")
		for range rng.Intn(3) {
			s.Observe(m, randomValues(rng, 1, 2)[0])
		}
		if rng.Intn(5) > 0 {
			s.End(rng.Intn(4) == 0)
		}
	}
	blocks, _ := a.Flush(second + 1)
	return blocks
}

func newTestAccumulator(t testing.TB) *Accumulator {
	t.Helper()
	return newTestAccumulatorWith(t, 0)
}

func newTestAccumulatorWith(t testing.TB, maxOpen int64) *Accumulator {
	t.Helper()
	slow := 3.0
	a, err := NewAccumulator(AccumulatorConfig{
		Rollout:  "spend",
		Metrics:  map[string]Metric{"latency": {Kind: KindValue, Scale: 8, BadAbove: &slow}, "stale": {Kind: KindProportion}},
		Segments: []string{"region", "tier"},
		Sources:  []string{"feed"},
		MaxOpen:  maxOpen,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var testArms = []string{ArmBaseline, ArmExposed}

func beginRandom(a *Accumulator, rng *rand.Rand, second int64) Slot {
	arm := testArms[rng.Intn(2)]
	key := a.Key(SlotKey{Cohort: "general", Revision: uint64(3 + rng.Intn(2)), Exposure: 5000, Lease: LeaseHeld, Assigned: arm, Served: arm})
	vals := Values{a.Value(0, []string{"eu", "us"}[rng.Intn(2)]), 0, a.Value(2, []string{"LAX", "SFO", "JFK"}[rng.Intn(3)])}
	return a.Begin(second, key, Unit{Hash: rng.Uint64(), Bucket: uint8(rng.Intn(UnitBuckets))}, &vals)
}

func TestMergeBlocksInAnyOrder(t *testing.T) {
	for seed := int64(1); seed <= 40; seed++ {
		a, b, c := randomBlocks(t, 3*seed, 1000), randomBlocks(t, 3*seed+1, 1000), randomBlocks(t, 3*seed+2, 1001)
		one := MergeBlocks(MergeBlocks(MergeBlocks(nil, a), b), c)
		two := MergeBlocks(MergeBlocks(MergeBlocks(nil, c), a), b)
		three := MergeBlocks(MergeBlocks(nil, c), MergeBlocks(MergeBlocks(nil, b), a))
		for _, other := range [][]Block{two, three} {
			x, y := Second{Blocks: one}, Second{Blocks: other}
			if SecondDigest(&x) != SecondDigest(&y) {
				t.Fatalf("seed %d: the order of merging changes the result", seed)
			}
		}
		if err := CheckBlocks(one, 0); err != nil {
			t.Fatalf("seed %d: the sum is refused: %v", seed, err)
		}
	}
}

func TestMergeBlocksKeepsNothingOfTheSource(t *testing.T) {
	src := randomBlocks(t, 5, 1000)
	before, _ := json.Marshal(src)
	sum := MergeBlocks(nil, src)
	sum = MergeBlocks(sum, randomBlocks(t, 6, 1000))
	for i := range sum {
		sum[i].N = 0
		for j := range sum[i].Cells {
			clear(sum[i].Cells[j].Buckets)
			clear(sum[i].Cells[j].ExposedHistByBucket)
		}
	}
	if after, _ := json.Marshal(src); !bytes.Equal(before, after) {
		t.Error("merging, or changing the sum, changed the source")
	}
}

func TestOpenAddsUpOverBootsAndIsReplacedWithinOne(t *testing.T) {
	a, b := goodBlock(), goodBlock()
	a.Open, b.Open = 2, 5
	if got := MergeBlocks([]Block{a.Clone()}, []Block{b})[0]; got.Open != 7 || got.N != 6 {
		t.Errorf("two boots: open %d, n %d, want 7, 6", got.Open, got.N)
	}
	if got := AppendIncrements([]Block{a.Clone()}, []Block{b})[0]; got.Open != 5 || got.N != 6 {
		t.Errorf("one boot: open %d, n %d, want 5, 6", got.Open, got.N)
	}
}

func TestSecondKeepsTheSplitByInstance(t *testing.T) {
	a, b := randomBlocks(t, 11, 1000), randomBlocks(t, 12, 1000)
	s := Second{At: 1000}
	s.Add("i-2", b)
	s.Add("i-1", a)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for i := range s.Blocks {
		k := &s.Blocks[i]
		var n, open uint64
		for _, src := range [][]Block{a, b} {
			for j := range src {
				if src[j].Key() == k.Key() {
					n += src[j].N
					open += src[j].Open
				}
			}
		}
		var split uint64
		for _, c := range k.Cells {
			if c.Dim == DimInstance {
				split += c.N
			}
		}
		if k.N != n || k.Open != open || split != n {
			t.Errorf("block %d: n %d, open %d, instances %d; want %d, %d, %d", i, k.N, k.Open, split, n, open, n)
		}
		if k.Second != 1000 {
			t.Errorf("block of second %d", k.Second)
		}
	}
}

// TestCanonicalHoldsWhatJSONHolds: sorting the members of json.Marshal's output gives the canonical bytes.
func TestCanonicalHoldsWhatJSONHolds(t *testing.T) {
	s := Second{At: 1000, Through: 3, Members: 4, Gap: true, OffHead: []string{"i-\"9\"\n\u2028\x01"}}
	s.Add("i-1", randomBlocks(t, 21, 1000))
	plain, err := json.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.UseNumber()
	var any map[string]any
	if err := dec.Decode(&any); err != nil {
		t.Fatal(err)
	}
	var sorted bytes.Buffer
	enc := json.NewEncoder(&sorted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(any); err != nil {
		t.Fatal(err)
	}
	// encoding/json escapes U+2028; RFC 8785 does not.
	want := bytes.TrimSpace(bytes.ReplaceAll(sorted.Bytes(), []byte(`\u2028`), []byte("\u2028")))
	if got := AppendCanonical(nil, &s); !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back Second
	if err := json.Unmarshal(AppendCanonical(nil, &s), &back); err != nil || SecondDigest(&back) != SecondDigest(&s) {
		t.Errorf("the canonical form does not come back: %v", err)
	}
}

func TestDigestSeesEveryField(t *testing.T) {
	base := Second{At: 5, Blocks: []Block{goodBlock()}, Through: 1, Members: 2}
	seen := map[string]string{SecondDigest(&base): "nothing"}
	for name, change := range map[string]func(*Second){
		"at": func(s *Second) { s.At++ }, "gap": func(s *Second) { s.Gap = true }, "through": func(s *Second) { s.Through++ },
		"members": func(s *Second) { s.Members++ }, "offHead": func(s *Second) { s.OffHead = []string{"x"} },
		"open": func(s *Second) { s.Blocks[0].Open++ }, "n": func(s *Second) { s.Blocks[0].N++ },
		"hist":   func(s *Second) { s.Blocks[0].Hist.Zero++ },
		"bucket": func(s *Second) { s.Blocks[0].Cells[0].Buckets[0].K++ },
		"bin":    func(s *Second) { s.Blocks[0].Cells[0].ExposedHistByBucket[0].Bin++ },
		"lease":  func(s *Second) { s.Blocks[0].Lease = LeaseLapsed },
	} {
		s := base
		s.Blocks = []Block{base.Blocks[0].Clone()}
		change(&s)
		d := SecondDigest(&s)
		if other, ok := seen[d]; ok {
			t.Errorf("changing %s gives the digest of changing %s", name, other)
		}
		seen[d] = name
	}
}

func TestSortBlocksIsStableAgainstShuffling(t *testing.T) {
	blocks := randomBlocks(t, 31, 1000)
	want := make([]Block, len(blocks))
	copy(want, blocks)
	rand.New(rand.NewSource(2)).Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	SortBlocks(blocks)
	if !reflect.DeepEqual(blocks, want) {
		t.Error("sorting a shuffled list gives another order")
	}
}
