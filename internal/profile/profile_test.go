package profile

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// batch is a table of rows made by make(i).
func batch(t testing.TB, columns []string, rows int, row func(i int) []Cell) Summary {
	t.Helper()
	tab := New()
	if err := tab.Grow(columns); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := tab.Add(columns, row(i)); err != nil {
			t.Fatal(err)
		}
	}
	return tab.Summary(noon)
}

func num(x float64) Cell { return Cell{Kind: Float, Num: x} }
func text(s string) Cell { return Cell{Kind: Text, Text: []byte(s)} }
func whole(i int) Cell   { return Cell{Kind: Int, Int: int64(i)} }

// ordinary is a batch as feature tables are: skewed and discrete numbers, few and many categories, times, nulls.
func ordinary(t testing.TB, rng *rand.Rand, rows int) Summary {
	return batch(t, ordinaryColumns, rows, func(i int) []Cell { return ordinaryRow(rng, i) })
}

var ordinaryColumns = []string{"id", "amount", "count", "share", "country", "user", "flag", "at", "tags"}

func ordinaryRow(rng *rand.Rand, i int) []Cell {
	row := []Cell{
		whole(rng.IntN(1 << 40)), num(math.Round(100*math.Exp(rng.NormFloat64())) / 100), whole(int(rng.ExpFloat64())), num(rng.Float64()),
		text([]string{"de", "fr", "us", "gb", "jp", "br", "in", "cn", "za", "li"}[min(9, int(rng.ExpFloat64()*2))]),
		text(fmt.Sprint("user-", rng.IntN(300))), {Kind: Bool, Int: int64(rng.IntN(2))},
		{Kind: Time, Num: float64(noon.Unix() - int64(rng.IntN(86400)))}, {Kind: List, Int: int64(rng.IntN(4))},
	}
	if rng.Float64() < 0.05 {
		row[1] = Cell{}
	}
	if rng.Float64() < 0.01 {
		row[3] = num(math.NaN())
	}
	return row
}

// TestEqualBatchesStayQuiet: between batches of one law a comparison warns or fails anywhere with at most the stated
// probability of 1 %. Of 200 pairs 2 are false on average, and more than 8 once in 4,000 such tests.
func TestEqualBatchesStayQuiet(t *testing.T) {
	for _, rows := range []int{100, 200, 1000} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(rows)))
			fired, inconclusive := 0, 0
			for range 200 {
				r := Compare(ordinary(t, rng, rows), ordinary(t, rng, rows), Config{})
				switch r.Verdict() {
				case Warn, Fail:
					fired++
					t.Logf("fired: %v", findings(r))
				case Inconclusive:
					inconclusive++
				}
			}
			if fired > 8 {
				t.Errorf("%d of 200 equal batches of %d rows warned or failed, stated is 1 %%", fired, rows)
			}
			if rows == 100 && inconclusive < 170 {
				t.Errorf("%d of 200 batches of 100 rows were inconclusive: so few rows prove no equality", inconclusive)
			}
			if rows == 1000 && inconclusive > 10 {
				t.Errorf("%d of 200 batches of 1,000 rows were inconclusive", inconclusive)
			}
		})
	}
}

func findings(r Report) (out []string) {
	for _, f := range r.Columns {
		if f.Verdict != Pass {
			out = append(out, fmt.Sprintf("%s %s: %s", f.Column, f.Verdict, strings.Join(f.Reasons, "; ")))
		}
	}
	return out
}

// TestUnequalSizesStayQuiet: a small batch against a large baseline, and the other way round.
func TestUnequalSizesStayQuiet(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	big := ordinary(t, rng, 20000)
	fired := 0
	for range 200 {
		small := ordinary(t, rng, 150)
		for _, r := range []Report{Compare(small, big, Config{}), Compare(big, small, Config{})} {
			if v := r.Verdict(); v == Warn || v == Fail {
				fired++
				t.Logf("fired: %v", findings(r))
			}
		}
	}
	if fired > 13 { // 4 on average
		t.Errorf("%d of 400 comparisons of equal laws warned or failed, stated is 1 %%", fired)
	}
}

// TestPlantedChanges: each change is found in the column where it was made, and nowhere else.
func TestPlantedChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		column string
		want   Verdict
		reason string
		plant  func(rng *rand.Rand, row []Cell)
	}{
		{"5 pp more nulls", "share", Fail, "null, NaN or infinite", func(rng *rand.Rand, row []Cell) {
			if rng.Float64() < 0.05 {
				row[3] = Cell{}
			}
		}},
		{"NaN instead of nulls", "amount", Fail, "null, NaN or infinite", func(rng *rand.Rand, row []Cell) {
			if rng.Float64() < 0.06 {
				row[1] = num(math.NaN())
			}
		}},
		{"numbers become texts", "count", Fail, "the type is text, int in the baseline", func(_ *rand.Rand, row []Cell) {
			row[2] = text(fmt.Sprint(row[2].Int, " pcs"))
		}},
		{"some numbers become texts", "share", Fail, "are not of type float", func(rng *rand.Rand, row []Cell) {
			if rng.Float64() < 0.03 {
				row[3] = text("n/a")
			}
		}},
		{"values move half a deviation", "share", Fail, "stability index", func(_ *rand.Rand, row []Cell) { row[3].Num = row[3].Num*0.8 + 0.2 }},
		{"values leave the range", "share", Fail, "above the baseline's largest", func(rng *rand.Rand, row []Cell) {
			if rng.Float64() < 0.08 {
				row[3] = num(7 + rng.Float64())
			}
		}},
		{"a new category", "country", Fail, "a category that the baseline does not have", func(rng *rand.Rand, row []Cell) {
			if rng.Float64() < 0.08 {
				row[4] = text("xx")
			}
		}},
		{"values that come once", "user", Fail, "come nowhere else", func(rng *rand.Rand, row []Cell) {
			if rng.Float64() < 0.1 {
				row[5] = text(fmt.Sprint("user-", rng.Uint64()))
			}
		}},
		{"categories in other shares", "country", Fail, "stability index", func(rng *rand.Rand, row []Cell) {
			if rng.Float64() < 0.3 {
				row[4] = text("jp")
			}
		}},
		{"lists grow", "tags", Fail, "stability index", func(rng *rand.Rand, row []Cell) { row[8].Int += int64(rng.IntN(3)) }},
		{"every value null", "user", Fail, "null", func(_ *rand.Rand, row []Cell) { row[5] = Cell{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(9, 9))
			base := ordinary(t, rng, 5000)
			now := batch(t, ordinaryColumns, 5000, func(i int) []Cell {
				row := ordinaryRow(rng, i)
				tt.plant(rng, row)
				return row
			})
			for _, f := range Compare(now, base, Config{}).Columns {
				switch {
				case f.Column == tt.column && (f.Verdict != tt.want || !strings.Contains(strings.Join(f.Reasons, "\n"), tt.reason)):
					t.Errorf("%s is %s %q, want %s with %q", f.Column, f.Verdict, f.Reasons, tt.want, tt.reason)
				case f.Column != tt.column && (f.Verdict == Warn || f.Verdict == Fail):
					t.Errorf("%s is %s %q: nothing was planted there", f.Column, f.Verdict, f.Reasons)
				}
			}
		})
	}
}

// TestColumnsThatComeAndGo: a column that is gone fails, a further one and another order warn.
func TestColumnsThatComeAndGo(t *testing.T) {
	base := batch(t, []string{"a", "b", "c"}, 600, func(i int) []Cell { return []Cell{whole(i), whole(i), whole(i)} })
	now := batch(t, []string{"c", "a", "d"}, 600, func(i int) []Cell { return []Cell{whole(i), whole(i), whole(i)} })
	got := map[string]Verdict{}
	for _, f := range Compare(now, base, Config{}).Columns {
		got[f.Column] = f.Verdict
	}
	for column, want := range map[string]Verdict{"a": Pass, "b": Fail, "c": Pass, "d": Warn, WholeRows: Warn} {
		if got[column] != want {
			t.Errorf("column %s is %q, want %s", column, got[column], want)
		}
	}
}

// TestRepeatedRows: rows sent twice are found; a larger batch of a table whose rows repeat by nature is not blamed for it.
func TestRepeatedRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	base := ordinary(t, rng, 3000)
	var last []Cell
	twice := batch(t, ordinaryColumns, 3000, func(i int) []Cell {
		if last == nil || i%20 != 0 {
			last = ordinaryRow(rng, i)
		}
		return last
	})
	r := Compare(twice, base, Config{})
	if f := r.Columns[len(r.Columns)-1]; f.Column != WholeRows || f.Verdict != Fail {
		t.Errorf("5 %% repeated rows: %s is %s %q", f.Column, f.Verdict, f.Reasons)
	}
	few := func(rows int) Summary {
		return batch(t, []string{"a", "b"}, rows, func(int) []Cell { return []Cell{whole(rng.IntN(9)), whole(rng.IntN(9))} })
	}
	if r := Compare(few(4000), few(600), Config{}); r.Verdict() != Pass {
		t.Errorf("a larger batch of few different rows: %q", findings(r))
	}
}

// TestSummaryCounts: the figures of a small table, counted by hand.
func TestSummaryCounts(t *testing.T) {
	s := batch(t, []string{"x", "at", "created_at", "word"}, 4, func(i int) []Cell {
		return [][]Cell{
			{num(1), {Kind: Time, Num: 1.7e9}, {Kind: Int, Int: 1.7e12}, text("a")},
			{num(2.5), {Kind: Time, Num: 1.7e9 + 60}, {Kind: Int, Int: 1.7e12 + 500}, text("b")},
			{num(math.Inf(1)), {}, {}, text("a")},
			{text("x"), {Kind: Time, Num: 4e9}, {}, {}},
		}[i]
	})
	x, at, made, word := s.Columns[0], s.Columns[1], s.Columns[2], s.Columns[3]
	if x.Type != "float" || x.Inf != 1 || x.Other != 1 || x.Nulls != 0 || *x.Max != 2.5 || *x.Mean != 1.75 || x.Distinct != 3 || x.NullRate != 0.25 {
		t.Errorf("x: %+v", x.Figures)
	}
	if at.Type != "time" || !at.Future || at.Newest.Unix() != 4e9 || *at.AgeSeconds != noon.Sub(time.Unix(1.7e9+60, 0)).Seconds() {
		t.Errorf("at: %+v", at.Figures)
	}
	if made.Type != "time" || made.Newest.UnixMilli() != 1.7e12+500 || made.Nulls != 2 {
		t.Errorf("created_at: %+v", made.Figures)
	}
	if word.Type != "text" || word.Distinct != 2 || word.Duplicates != 1 || word.Top[0] != (Share{"a", 2.0 / 3}) {
		t.Errorf("word: %+v", word.Figures)
	}
	if s.Repeated != 0 {
		t.Errorf("%g rows repeat, want none", s.Repeated)
	}
}

// TestMaxAge: stale and future times fail on request only.
func TestMaxAge(t *testing.T) {
	at := func(x float64) Summary {
		return batch(t, []string{"at"}, 100, func(int) []Cell { return []Cell{{Kind: Time, Num: x}} })
	}
	old, ahead := at(float64(noon.Unix()-7200)), at(float64(noon.Unix()+7200))
	for _, tt := range []struct {
		s    Summary
		max  time.Duration
		want Verdict
	}{{old, 0, Pass}, {old, 3 * time.Hour, Pass}, {old, time.Hour, Fail}, {ahead, 0, Pass}, {ahead, time.Hour, Fail}} {
		if got := Check(tt.s, Config{MaxAge: tt.max}).Verdict(); got != tt.want {
			t.Errorf("newest %s, at most %s: %s, want %s", tt.s.Columns[0].Newest, tt.max, got, tt.want)
		}
	}
}

// TestNoRows: nothing is proven by nothing.
func TestNoRows(t *testing.T) {
	full := batch(t, []string{"a"}, 100, func(i int) []Cell { return []Cell{whole(i)} })
	for rows := range 2 {
		few := batch(t, []string{"a"}, rows, func(i int) []Cell { return []Cell{whole(i)} })
		for _, r := range []Report{Compare(few, full, Config{}), Compare(full, few, Config{}), Compare(few, few, Config{})} {
			if r.Verdict() != Inconclusive {
				t.Errorf("%d rows: %v", rows, r.Columns)
			}
		}
	}
}

// TestTallyIsUnbiased holds the sampled counts against exact ones.
func TestTallyIsUnbiased(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		tl, exact := newTally(4096), map[uint64]int{}
		n := rapid.IntRange(1, 60000).Draw(t, "n")
		pool := rapid.IntRange(1, 100000).Draw(t, "pool")
		for range n {
			v := uint64(rng.IntN(pool))
			tl.add(mix(v))
			exact[v]++
		}
		got, sure := tl.distinct()
		if sure != (len(exact) <= 4096) {
			t.Fatalf("%d different values: exact is %v", len(exact), sure)
		}
		if off := math.Abs(float64(got)/float64(len(exact)) - 1); off > 0.1 || sure && off > 0 {
			t.Fatalf("%d different values, estimated %d", len(exact), got)
		}
		seen, fresh := tl.share()
		want := float64(n-len(exact)) / float64(n)
		if got := float64(seen-fresh) / float64(seen); math.Abs(got-want) > 0.06 {
			t.Fatalf("%.3f of values repeat, estimated %.3f", want, got)
		}
	})
}

// TestSampleIsUniform: early and late values are kept with equal chance.
func TestSampleIsUniform(t *testing.T) {
	var s sample[int]
	const n = 20 * SampleSize
	for i := range n {
		if at := s.take(); at != nil {
			*at = i
		}
	}
	quarter := make([]int, 4)
	for _, i := range s.kept {
		quarter[4*i/n]++
	}
	for i, k := range quarter {
		if math.Abs(float64(k)-SampleSize/4) > 5*math.Sqrt(SampleSize/4) {
			t.Errorf("quarter %d has %d of the %d kept values", i, k, SampleSize)
		}
	}
}

// TestEqualStreamsEqualSummaries: a profile depends on nothing but its rows.
func TestEqualStreamsEqualSummaries(t *testing.T) {
	a, b := ordinary(t, rand.New(rand.NewPCG(1, 2)), 20000), ordinary(t, rand.New(rand.NewPCG(1, 2)), 20000)
	for i := range a.Columns {
		if fmt.Sprintf("%+v", Check(a, Config{}).Columns[i].Verdict) == "" || !slices.Equal(a.Columns[i].nums, b.Columns[i].nums) || !slices.Equal(a.Columns[i].texts, b.Columns[i].texts) {
			t.Errorf("column %s differs", a.Columns[i].Name)
		}
	}
}

// TestTooManyColumns: the limit is an error with a remedy, not memory.
func TestTooManyColumns(t *testing.T) {
	names := make([]string, MaxColumns+1)
	for i := range names {
		names[i] = fmt.Sprint("c", i)
	}
	if err := New().Add(names, nil); err == nil || !strings.Contains(err.Error(), "at most 1024 columns") {
		t.Errorf("got %v", err)
	}
	if err := New().Add([]string{"a", "b", "a"}, nil); err == nil || !strings.Contains(err.Error(), `columns 1 and 3 are both called "a"`) {
		t.Errorf("got %v", err)
	}
}
