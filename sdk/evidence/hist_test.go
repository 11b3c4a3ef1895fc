package evidence

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand"
	"slices"
	"testing"
)

// exactBin is the naive twin of Index: it raises v to the power 2^scale with 4,000-bit arithmetic and counts octaves.
func exactBin(scale int, v float64) int32 {
	x := new(big.Float).SetPrec(4000).SetFloat64(v)
	for range scale {
		x.Mul(x, x)
	}
	mant := new(big.Float)
	exp := x.MantExp(mant) // x = mant * 2^exp, mant in [0.5, 1)
	if mant.Cmp(big.NewFloat(0.5)) == 0 {
		return int32(exp - 2) // an exact power of two belongs to the bin below
	}
	return int32(exp - 1)
}

func TestIndexIsExactAtBoundaries(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for scale := MinScale; scale <= MaxScale; scale++ {
		for range 300 {
			bin := minBin(scale) + 1 + rng.Int31n(maxBin(scale)-minBin(scale)-1)
			low := LowerBound(scale, bin)
			for _, v := range []float64{low, math.Nextafter(low, 0), math.Nextafter(low, math.Inf(1)), low * (1 + rng.Float64())} {
				if got, want := Index(scale, v), exactBin(scale, v); v <= 1<<MaxExp && got != want {
					t.Fatalf("Index(%d, %b) = %d, want %d", scale, v, got, want)
				}
			}
		}
	}
}

func TestIndexAtTheEnds(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		want int32
	}{
		{0, ZeroBin}, {-1, ZeroBin}, {1e-300, ZeroBin}, {0x1p-30, ZeroBin}, {math.Nextafter(0x1p-30, 1), -960},
		{0x1p34, 1087}, {math.Nextafter(0x1p34, 1e300), 1087}, {math.MaxFloat64, 1087}, {1, -1}, {math.Nextafter(1, 2), 0}, {2, 31},
	} {
		if got := Index(5, tt.v); got != tt.want {
			t.Errorf("Index(5, %g) = %d, want %d", tt.v, got, tt.want)
		}
	}
}

func TestMiddleLiesInItsBin(t *testing.T) {
	for scale := MinScale; scale <= MaxScale; scale++ {
		for _, bin := range []int32{minBin(scale), -77, -1, 0, 1, 500, maxBin(scale)} {
			if got := Index(scale, Middle(scale, bin)); got != bin {
				t.Errorf("scale %d: middle of bin %d lies in bin %d", scale, bin, got)
			}
		}
	}
}

func TestShiftOfRoundsUp(t *testing.T) {
	for _, tt := range []struct {
		scale  int
		factor float64
		want   int32
	}{{5, 1.1, 5}, {5, 1.05, 3}, {5, 1, 0}, {5, 2, 32}, {10, 1.1, 141}, {5, 0.5, -32}, {5, 0.51, -31}} {
		bins, eff := ShiftOf(tt.scale, tt.factor)
		if bins != tt.want {
			t.Errorf("ShiftOf(%d, %g) = %d bins, want %d", tt.scale, tt.factor, bins, tt.want)
		}
		if want := math.Pow(2, float64(tt.want)/float64(int(1)<<tt.scale)) - 1; math.Abs(eff-want) > 1e-12 {
			t.Errorf("ShiftOf(%d, %g) acts as %g, want %g", tt.scale, tt.factor, eff, want)
		}
	}
}

// randomValues are log-normal with a few zeros and outliers.
func randomValues(rng *rand.Rand, n int, spread float64) []float64 {
	vs := make([]float64, n)
	for i := range vs {
		switch rng.Intn(20) {
		case 0:
			vs[i] = 0
		case 1:
			vs[i] = math.Exp(rng.NormFloat64() * 6)
		default:
			vs[i] = math.Exp(rng.NormFloat64() * spread)
		}
	}
	return vs
}

// naive counts values in a map at the scale.
func naive(scale int, vs []float64) map[int32]uint64 {
	m := map[int32]uint64{}
	for _, v := range vs {
		m[Index(scale, v)]++
	}
	return m
}

func sameBins(h *Hist, m map[int32]uint64) bool {
	n := 0
	for bin, c := range h.All() {
		n++
		if m[bin] != c {
			return false
		}
	}
	return n == len(m)
}

func TestHistCountsLikeAMapAndKeepsItsLimits(t *testing.T) {
	for seed := int64(1); seed <= 60; seed++ {
		rng := rand.New(rand.NewSource(seed))
		vs := randomValues(rng, 1+rng.Intn(400), 0.2+rng.Float64()*3)
		h := NewHist(MinScale + rng.Intn(6))
		for _, v := range vs {
			h.Add(v)
		}
		if !sameBins(h, naive(h.Scale, vs)) {
			t.Fatalf("seed %d: got %v, want %v", seed, h, naive(h.Scale, vs))
		}
		if len(h.Counts) > MaxBins || h.Check() != nil {
			t.Fatalf("seed %d: %d bins at scale %d: %v", seed, len(h.Counts), h.Scale, h.Check())
		}
	}
}

func TestMergeIsAddingAll(t *testing.T) {
	for seed := int64(1); seed <= 60; seed++ {
		rng := rand.New(rand.NewSource(seed))
		a, b := NewHist(MinScale+rng.Intn(6)), NewHist(MinScale+rng.Intn(6))
		va, vb := randomValues(rng, rng.Intn(200), 1), randomValues(rng, rng.Intn(200), 2)
		for _, v := range va {
			a.Add(v)
		}
		for _, v := range vb {
			b.Add(v)
		}
		ab, ba, before := a.Clone(), b.Clone(), b.Clone()
		ab.Merge(b)
		ba.Merge(a)
		if !ab.Equal(ba) || !sameBins(ab, naive(ab.Scale, append(va, vb...))) {
			t.Fatalf("seed %d: a+b %v, b+a %v", seed, ab, ba)
		}
		if !b.Equal(before) {
			t.Fatalf("seed %d: the merged one changed", seed)
		}
	}
}

func TestDownscaleIsCountingAnew(t *testing.T) {
	rng := rand.New(rand.NewSource(7))
	vs := randomValues(rng, 500, 0.1)
	for from := MinScale; from <= MaxScale; from++ {
		for to := MinScale; to <= from; to++ {
			h := NewHist(from)
			for _, v := range vs {
				h.Add(v)
			}
			h.Downscale(to)
			if !sameBins(h, naive(h.Scale, vs)) {
				t.Fatalf("%d to %d: got %v", from, to, h)
			}
		}
	}
}

func TestQuantileIsWithinHalfABin(t *testing.T) {
	for seed := int64(1); seed <= 20; seed++ {
		rng := rand.New(rand.NewSource(seed))
		vs := randomValues(rng, 1+rng.Intn(300), 1)
		h := NewHist(5)
		for _, v := range vs {
			h.Add(v)
		}
		slices.Sort(vs)
		for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 1} {
			rank := max(int(math.Ceil(q*float64(len(vs)))), 1)
			exact := vs[rank-1]
			got, ok := h.Quantile(q)
			if !ok || exact > 0x1p-30 && math.Abs(math.Log2(got/exact)) > 1.0/64+1e-9 {
				t.Fatalf("seed %d: quantile %g = %g, exact %g", seed, q, got, exact)
			}
			bin, _ := h.QuantileBin(q)
			if above := h.CountAbove(bin); above > uint64(len(vs)-rank) {
				t.Fatalf("seed %d: %d values above the bin of quantile %g, at most %d can be", seed, above, q, len(vs)-rank)
			}
		}
	}
	if _, ok := NewHist(5).Quantile(0.5); ok {
		t.Error("an empty histogram has a median")
	}
}

func TestShiftMovesValuesUpByAtLeastTheMargin(t *testing.T) {
	h := NewHist(7)
	h.Add(0)
	h.Add(3)
	eff := h.Shift(0.05)
	if eff < 0.05 || eff > 0.056 {
		t.Errorf("a margin of 0.05 acts as %g", eff)
	}
	if h.Zero != 1 || h.Bin(Index(7, 3)+10) != 1 {
		t.Errorf("got %v", h)
	}
}

func TestAddRefusesWhatIsNoNumber(t *testing.T) {
	h := NewHist(5)
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if h.Add(v) {
			t.Errorf("%g was counted", v)
		}
	}
	if h.Count() != 0 {
		t.Errorf("count %d, want 0", h.Count())
	}
}

func TestHistJSONIsSparse(t *testing.T) {
	h := NewHist(5)
	for _, v := range []float64{0, 1, 1, 1.03, 1000} {
		h.Add(v)
	}
	got, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"scale":5,"offset":-1,"counts":[2,0,1,-316,1],"zero":1}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back Hist
	if err := json.Unmarshal(got, &back); err != nil || !back.Equal(h) {
		t.Errorf("back: %v, %v", &back, err)
	}
}

func TestHistJSONRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"unknown member":  `{"scale":5,"sum":3}`,
		"scale too low":   `{"scale":4}`,
		"scale too high":  `{"scale":2147483647}`,
		"too many bins":   `{"scale":5,"counts":[-2048,1]}`,
		"run of 2^62":     `{"scale":5,"counts":[-4611686018427387904]}`,
		"run of -2^63":    `{"scale":5,"counts":[-9223372036854775808]}`,
		"offset too low":  `{"scale":5,"offset":-961,"counts":[1]}`,
		"offset too high": `{"scale":5,"offset":1087,"counts":[1,1]}`,
		"count of 2^53":   `{"scale":5,"counts":[9007199254740992]}`,
		"sum of 2^53":     `{"scale":5,"counts":[9007199254740991,1]}`,
		"fraction":        `{"scale":5,"counts":[0.5]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var h Hist
			if err := json.Unmarshal([]byte(in), &h); err == nil {
				t.Errorf("%s was read as %v", in, &h)
			}
		})
	}
}

func FuzzHist(f *testing.F) {
	f.Add([]byte(`{"scale":5,"offset":-1,"counts":[2,0,1,-316,1],"zero":1}`))
	f.Add([]byte(`{"scale":10,"counts":[-2048]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h Hist
		if json.Unmarshal(data, &h) != nil {
			return
		}
		out, err := json.Marshal(&h)
		if err != nil {
			t.Fatal(err)
		}
		var back Hist
		if err := json.Unmarshal(out, &back); err != nil || !back.Equal(&h) {
			t.Fatalf("%s does not come back: %v", out, err)
		}
		n := h.Count()
		for scale := h.Scale; scale >= MinScale; scale-- {
			h.Downscale(scale)
			if h.Count() != n || h.Check() != nil {
				t.Fatalf("scale %d: count %d, want %d (%v)", scale, h.Count(), n, h.Check())
			}
		}
	})
}

func BenchmarkHistAdd(b *testing.B) {
	rng := rand.New(rand.NewSource(1))
	vs := make([]float64, 1024)
	for i := range vs {
		vs[i] = math.Exp(rng.NormFloat64())
	}
	h := NewHist(5)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Add(vs[i&1023])
	}
}
