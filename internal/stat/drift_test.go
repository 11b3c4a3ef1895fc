package stat

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// batchLaw draws one value of a batch.
type batchLaw struct {
	name string
	draw func(r *rand.Rand) float64
}

func batchLaws() []batchLaw {
	return []batchLaw{
		{"normal", func(r *rand.Rand) float64 { return r.NormFloat64() }},
		{"log-normal", func(r *rand.Rand) float64 { return math.Exp(1.5 * r.NormFloat64()) }},
		{"Pareto 1.5", func(r *rand.Rand) float64 { return math.Pow(1-r.Float64(), -1/1.5) }},
		{"five values", func(r *rand.Rand) float64 { return math.Floor(5 * r.Float64() * r.Float64()) }},
		{"1 % ones", func(r *rand.Rand) float64 { return math.Floor(r.Float64() + 0.01) }},
		{"a third null", func(r *rand.Rand) float64 {
			if r.Float64() < 1.0/3 {
				return math.NaN()
			}
			return r.ExpFloat64()
		}},
		{"Zipf", func(r *rand.Rand) float64 { return math.Floor(math.Pow(1-r.Float64(), -1)) }},
	}
}

// measured runs every measure on a pair of batches, numbers binned as by default.
func measured(t *testing.T, ref, cur []float64, rule Rule) []Drift {
	t.Helper()
	bins, err := NewBins(ref, 10)
	if err != nil {
		t.Fatal(err)
	}
	a, b := bins.Count(ref), bins.Count(cur)
	var out []Drift
	for _, f := range []func([]uint64, []uint64, Rule) (Drift, error){PSI, JensenShannon, ChiSquare, LInfinity, KSBins} {
		d, err := f(a, b, rule)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	out[len(out)-1].Measure = "ks-bins"
	for _, f := range []func([]float64, []float64, Rule) (Drift, error){KS, Wasserstein} {
		d, err := f(ref, cur, rule)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// TestDriftFalseAlarms: on pairs of batches of one law the chance rule alone (any effect matters) exceeds its critical value
// no more often than stated, for every measure, law and size, and over all together.
func TestDriftFalseAlarms(t *testing.T) {
	const runs = 400
	all, pairs := map[string]int{}, 0
	for _, law := range batchLaws() {
		for _, size := range []int{100, 200, 1000} {
			alarms := falseAlarms(t, law, size, runs)
			pairs += runs
			for measure, n := range alarms {
				all[measure] += n
				if n > 12 { // 4 expected: more than 12 has probability 0.0003
					t.Errorf("%s: %d of %d batches of %d rows (%s) exceed the 1 %% point", measure, n, runs, size, law.name)
				}
			}
		}
	}
	for measure, n := range all {
		if limit := 0.01*float64(pairs) + 3*math.Sqrt(0.01*float64(pairs)); float64(n) > limit {
			t.Errorf("%s: %d of all %d batches exceed the 1 %% point", measure, n, pairs)
		}
	}
	t.Logf("%d pairs, beyond the 1 %% point: %v", pairs, all)
}

func falseAlarms(t *testing.T, law batchLaw, size, runs int) map[string]int {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(size), 7))
	alarms := map[string]int{}
	for range runs {
		for _, d := range measured(t, law.batch(r, size), law.batch(r, size), Rule{Effect: -1}) {
			if d.Drifted {
				alarms[d.Measure]++
			}
		}
	}
	return alarms
}

func (l batchLaw) batch(r *rand.Rand, size int) []float64 {
	x := make([]float64, size)
	for i := range x {
		x[i] = l.draw(r)
	}
	return x
}

// TestDriftNeedsBoth: a large shift of a small batch and a moderate one of a larger batch are drift; a tiny shift of a huge
// batch is not, though it is no chance; and one wild value is not.
func TestDriftNeedsBoth(t *testing.T) {
	shifted := func(by float64) batchLaw {
		return batchLaw{draw: func(r *rand.Rand) float64 { return by + r.NormFloat64() }}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, d := range measured(t, shifted(0).batch(r, 200), shifted(1).batch(r, 200), Rule{}) {
		if !d.Drifted {
			t.Errorf("one deviation, 200 rows: %+v is not drift", d)
		}
	}
	for _, d := range measured(t, shifted(0).batch(r, 100_000), shifted(0.04).batch(r, 100_000), Rule{}) {
		if d.Drifted || d.P > 1e-3 {
			t.Errorf("0.04 deviations, 100,000 rows: %+v; want no chance and no drift", d)
		}
	}
	ref, cur := shifted(0).batch(r, 10_000), shifted(0).batch(r, 10_000)
	cur[17] = 400_000
	for _, d := range measured(t, ref, cur, Rule{}) {
		if d.Drifted {
			t.Errorf("one wild value in 10,000: %+v is drift", d)
		}
	}
}

// TestDriftRefuses: nothing to compare is an error, not a verdict.
func TestDriftRefuses(t *testing.T) {
	for name, f := range map[string]func(a, b []uint64, r Rule) (Drift, error){
		"psi": PSI, "js": JensenShannon, "chi": ChiSquare, "linf": LInfinity, "ks": KSBins,
		"w1": func(a, b []uint64, r Rule) (Drift, error) { return WassersteinBins([]float64{1, 2}, a, b, r) },
	} {
		if _, err := f([]uint64{0, 0}, []uint64{1, 2}, Rule{}); err != ErrNoData {
			t.Errorf("%s: empty reference: %v, want ErrNoData", name, err)
		}
		if _, err := f([]uint64{1, 2}, []uint64{0, 0}, Rule{}); err != ErrNoData {
			t.Errorf("%s: empty current: %v, want ErrNoData", name, err)
		}
		if _, err := f([]uint64{1, 2}, []uint64{1}, Rule{}); err == nil {
			t.Errorf("%s: different bins are compared", name)
		}
		d, err := f([]uint64{500, 500}, []uint64{500, 500}, Rule{})
		if err != nil || d.Drifted || d.Value != 0 || d.P < 0.5 {
			t.Errorf("%s: equal counts: %+v, %v", name, d, err)
		}
	}
	nan := []float64{math.NaN()}
	for name, f := range map[string]func(a, b []float64, r Rule) (Drift, error){"ks": KS, "w1": Wasserstein} {
		if _, err := f(nan, []float64{1}, Rule{}); err != ErrNoData {
			t.Errorf("%s: only NaN: %v, want ErrNoData", name, err)
		}
		if d, err := f([]float64{3, 3}, []float64{3}, Rule{}); err != nil || d.Drifted || d.Value != 0 {
			t.Errorf("%s: constants: %+v, %v", name, d, err)
		}
	}
	if _, err := NewBins(nan, 10); err != ErrNoData {
		t.Errorf("bins of nothing: %v, want ErrNoData", err)
	}
}

// TestDriftTwins: every measure against its definition, written down naively.
func TestDriftTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bins := rapid.IntRange(2, 12).Draw(t, "bins")
		counts := rapid.SliceOfN(rapid.Uint64Range(1, 60), bins, bins)
		a, b := counts.Draw(t, "a"), counts.Draw(t, "b")
		n, m := sumOf(a), sumOf(b)
		var psi, js, most float64
		for i := range a {
			p, q := float64(a[i])/n, float64(b[i])/m
			psi += (q - p) * math.Log(q/p)
			js += p*math.Log2(2*p/(p+q))/2 + q*math.Log2(2*q/(p+q))/2
			most = max(most, math.Abs(p-q))
		}
		same := func(name string, f func(a, b []uint64, r Rule) (Drift, error), want float64) {
			d, err := f(a, b, Rule{})
			if err != nil || math.Abs(d.Value-want) > 1e-7 {
				t.Errorf("%s = %v (%v), want %v", name, d.Value, err, want)
			}
			if name != "l-infinity" && math.Abs(d.Value-d.Critical) > 1e-9 && d.Value < d.Critical && d.Drifted {
				t.Errorf("%s drifted below its critical value: %+v", name, d)
			}
		}
		same("psi", PSI, psi)
		same("jensen-shannon", JensenShannon, math.Sqrt(max(js, 0)))
		same("l-infinity", LInfinity, most)
	})
}

// TestSampleTwins: D and the area by brute force over every place and every pair of quantiles.
func TestSampleTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-3, 3), 1, 12)
		x, y := values.Draw(t, "x"), values.Draw(t, "y")
		below := func(s []float64, at float64) float64 {
			n := 0
			for _, v := range s {
				if v <= at {
					n++
				}
			}
			return float64(n) / float64(len(s))
		}
		d := 0.0
		for _, at := range append(slices.Clone(x), y...) {
			d = max(d, math.Abs(below(x, at)-below(y, at)))
		}
		// Repeated to a common length, the k-th smallest of one sample goes to the k-th smallest of the other.
		w := 0.0
		sx, sy := slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))
		for k := range len(x) * len(y) {
			w += math.Abs(sx[k/len(y)]-sy[k/len(x)]) / float64(len(x)*len(y))
		}
		ks, _ := KS(x, y, Rule{})
		area, _ := WassersteinDistance(x, y)
		if math.Abs(ks.Value-d) > 1e-12 || math.Abs(area-w) > 1e-9 {
			t.Errorf("D %v, want %v; area %v, want %v", ks.Value, d, area, w)
		}
	})
}

// TestKSTailExact: the probability of D over all ways to place 4 of 9 values, counted one by one.
func TestKSTailExact(t *testing.T) {
	const n, m = 4, 5
	ways := map[int64]int{}
	all := 0
	for set := range 1 << (n + m) {
		if bits.OnesCount(uint(set)) != n {
			continue
		}
		var i, j, most int64
		for k := range n + m {
			if set>>k&1 == 1 {
				i++
			} else {
				j++
			}
			most = max(most, i*m-j*n, j*n-i*m)
		}
		ways[most]++
		all++
	}
	for least := range int64(n*m + 1) {
		count := 0
		for most, c := range ways {
			if most >= least {
				count += c
			}
		}
		if got, want := ksTail(n, m, least), float64(count)/float64(all); math.Abs(got-want) > 1e-12 {
			t.Errorf("P(D >= %d/20) = %v, want %v", least, got, want)
		}
	}
	// At the border of the exact computation the limit agrees.
	const size = 300
	for _, most := range []int64{20, 30, 40} {
		exact := ksTail(size, size, most*size)
		limit := kolmogorovTail(float64(most) / size * kolmogorovScale(size, size))
		if math.Abs(exact-limit) > 0.02*exact+1e-4 {
			t.Errorf("D = %d/300: exact %v, limit %v", most, exact, limit)
		}
	}
}

// TestBins: every value has one bin, the reference leaves the bins outside of it empty, and its bins hold about the same.
func TestBins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := rapid.SliceOfN(rapid.Float64Range(-5, 5), 1, 200).Draw(t, "reference")
		parts := rapid.IntRange(1, 12).Draw(t, "parts")
		b, err := NewBins(ref, parts)
		if err != nil {
			t.Fatal(err)
		}
		counts := b.Count(append(slices.Clone(ref), math.NaN(), math.Inf(1), math.Inf(-1)))
		if sumOf(counts) != float64(len(ref)+3) || counts[0] != 1 || counts[len(counts)-2] != 1 || counts[len(counts)-1] != 1 {
			t.Errorf("%v: want every value once, one below, one above, one null", counts)
		}
		if len(b.Cuts) > parts || !slices.IsSorted(b.Cuts) {
			t.Errorf("cuts %v for %d parts", b.Cuts, parts)
		}
		if at := b.Index(b.Low); at != 1 || b.Index(b.Cuts[len(b.Cuts)-1]) != b.Len()-3 {
			t.Errorf("the smallest value is in bin %d of %+v", at, b)
		}
	})
	even := make([]float64, 1000)
	for i := range even {
		even[i] = float64(i)
	}
	b, _ := NewBins(even, 10)
	if got := b.Count(even); !slices.Equal(got, []uint64{0, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 0, 0}) {
		t.Errorf("deciles of 0..999: %v", got)
	}
}

// TestTopK: against exact counts. Counts are never too low, and too high by at most Over and n/capacity.
func TestTopK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"})).Draw(t, "values")
		capacity := rapid.IntRange(1, 9).Draw(t, "capacity")
		top, exact := NewTopK(capacity), map[string]uint64{}
		for _, v := range values {
			top.Add(v, 1)
			exact[v]++
		}
		list := top.Top(capacity)
		for i, f := range list {
			if f.N < exact[f.Value] || f.N-f.Over > exact[f.Value] || f.Over*uint64(capacity) > top.N() {
				t.Errorf("%+v: exactly %d of %d", f, exact[f.Value], top.N())
			}
			if i > 0 && f.N > list[i-1].N {
				t.Errorf("%v is not in order", list)
			}
		}
		for v, n := range exact {
			if n*uint64(capacity) > top.N() && !slices.ContainsFunc(list, func(f Frequent) bool { return f.Value == v }) {
				t.Errorf("%s makes up %d of %d and is not in %v", v, n, top.N(), list)
			}
		}
	})
	c := func() *Categories {
		top := NewTopK(3)
		top.Add("b", 5)
		top.Add("a", 7)
		return top.Categories(2)
	}()
	if c.Len() != 4 || c.Index("a") != 0 || c.Index("b") != 1 || c.Index("z") != 2 || c.Null() != 3 {
		t.Errorf("places of %v", c.Values)
	}
}
