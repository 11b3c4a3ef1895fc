package profile

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// Summary is what a table says once all rows are in.
type Summary struct {
	Rows     uint64
	Repeated float64 // rows that are the same as an earlier one; an estimate beyond 131,072 different rows
	Columns  []Column
	repeats  []repeated
}

// Column is the summary of one column.
type Column struct {
	Name string
	Figures
	nums  []float64 // the sample, ascending
	texts []string  // the sample, sorted
}

// Figures are the numbers of a column as JSON has them. What does not apply is left out.
type Figures struct {
	Type     string  `json:"type"` // null, bool, int, float, time, text or list
	Rows     uint64  `json:"rows"`
	Nulls    uint64  `json:"nulls"`
	NullRate float64 `json:"nullRate"` // nulls, NaN and infinities among the rows
	NaN      uint64  `json:"nan,omitempty"`
	Inf      uint64  `json:"inf,omitempty"`
	Other    uint64  `json:"otherType,omitempty"` // values of a kind that is not the column's

	Distinct      uint64 `json:"distinct"`
	DistinctExact bool   `json:"distinctExact"`
	Duplicates    uint64 `json:"duplicates"`    // values that were there before
	DuplicateRows uint64 `json:"duplicateRows"` // of the whole file: rows that were there before

	Min       *float64   `json:"min,omitempty"` // of a list, its length
	Max       *float64   `json:"max,omitempty"`
	Mean      *float64   `json:"mean,omitempty"`
	SD        *float64   `json:"sd,omitempty"`
	Quantiles *Quantiles `json:"quantiles,omitempty"`
	Top       []Share    `json:"top,omitempty"` // the commonest texts, at most five

	Oldest     *time.Time `json:"oldest,omitempty"`
	Newest     *time.Time `json:"newest,omitempty"`
	AgeSeconds *float64   `json:"ageSeconds,omitempty"` // of the newest value that does not lie in the future
	Future     bool       `json:"future,omitempty"`     // the newest value lies in the future

	Drift *Drift `json:"drift,omitempty"` // against the baseline
}

// Quantiles of a column's numbers, nearest rank.
type Quantiles struct {
	P01 float64 `json:"p01"`
	P05 float64 `json:"p05"`
	P25 float64 `json:"p25"`
	P50 float64 `json:"p50"`
	P75 float64 `json:"p75"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// Share is a value and its share of the column's texts.
type Share struct {
	Value string  `json:"value"`
	Share float64 `json:"share"`
}

// Summary sums the rows up. now is what ages are counted to. The table may take further rows afterwards.
func (t *Table) Summary(now time.Time) Summary {
	last := t.again()
	s := Summary{Rows: t.rows, Repeated: last.again, repeats: append(slices.Clone(t.checks), last)}
	for _, c := range t.columns {
		col := c.summary(t.rows, now)
		col.DuplicateRows = uint64(math.Round(last.again))
		s.Columns = append(s.Columns, col)
	}
	return s
}

func (c *column) summary(rows uint64, now time.Time) Column {
	out := Column{Name: c.name, nums: slices.Clone(c.nums.kept), texts: slices.Clone(c.texts.kept)}
	slices.Sort(out.nums)
	slices.Sort(out.texts)
	f := &out.Figures
	f.Type, f.Other = c.typed()
	f.Rows, f.NaN, f.Inf = rows, c.nan, c.inf
	var values uint64
	for k := Bool; k <= List; k++ {
		values += c.kinds[k]
	}
	f.Nulls = rows - values
	if rows > 0 {
		f.NullRate = float64(f.Nulls+f.NaN+f.Inf) / float64(rows)
	}
	f.Distinct, f.DistinctExact = c.values.distinct()
	f.Distinct = min(f.Distinct, values-f.NaN-f.Inf)
	f.Duplicates = values - f.NaN - f.Inf - f.Distinct
	c.describe(f, out, now)
	return out
}

// describe fills in what depends on the type.
func (c *column) describe(f *Figures, out Column, now time.Time) {
	switch f.Type {
	case "int", "float", "list":
		f.Min, f.Max, f.Mean, f.SD = number(c.number.least), number(c.number.highest), number(c.number.mean), number(c.number.sd())
		f.Quantiles = quantiles(out.nums)
	case "time":
		f.span(out, c, now)
	case "text", "bool":
		f.Top = commonest(out.texts, 5)
	}
}

// typed is the column's type: the commonest class of its values, numbers being float as soon as one of them is. others
// counts the values of further classes.
func (c *column) typed() (name string, others uint64) {
	classes := []struct {
		name string
		n    uint64
	}{
		{"float", c.kinds[Int] + c.kinds[Float]}, {"bool", c.kinds[Bool]}, {"time", c.kinds[Time]}, {"text", c.kinds[Text]}, {"list", c.kinds[List]},
	}
	var all uint64
	best := classes[0]
	for _, k := range classes {
		all += k.n
		if k.n > best.n {
			best = k
		}
	}
	switch {
	case all == 0:
		return "null", 0
	case best.name == "float" && c.kinds[Float] == 0 && c.epoch() > 0:
		best.name = "time"
	case best.name == "float" && c.kinds[Float] == 0:
		best.name = "int"
	}
	return best.name, all - best.n
}

// plausible is the span of unix seconds that integers in a column named like a time are taken for: 2001 to 2100.
var plausible = [2]float64{1e9, 4.1e9}

// epoch is how many of its units make a second, when the column holds unix times as integers; 0 when it does not.
func (c *column) epoch() float64 {
	name := strings.ToLower(c.name)
	named := strings.Contains(name, "time") || strings.Contains(name, "date") || name == "ts" ||
		slices.ContainsFunc([]string{"_at", "_ts"}, func(end string) bool { return strings.HasSuffix(name, end) })
	if !named || c.number.n == 0 {
		return 0
	}
	for _, unit := range []float64{1, 1e3, 1e6, 1e9} {
		if c.number.least >= plausible[0]*unit && c.number.highest <= plausible[1]*unit {
			return unit
		}
	}
	return 0
}

// ahead is how far in the future a time may lie before it counts as such: clocks differ.
const ahead = 2 * time.Minute

func (f *Figures) span(out Column, c *column, now time.Time) {
	unit := cmp.Or(c.epoch(), 1)
	if c.kinds[Time] > 0 {
		unit = 1
	}
	oldest, newest := moment(c.number.least/unit), moment(c.number.highest/unit)
	f.Oldest, f.Newest = &oldest, &newest
	if !newest.After(now.Add(ahead)) {
		f.AgeSeconds = number(now.Sub(newest).Seconds())
		return
	}
	f.Future = true
	for _, x := range slices.Backward(out.nums) {
		if at := moment(x / unit); !at.After(now.Add(ahead)) {
			f.AgeSeconds = number(now.Sub(at).Seconds())
			return
		}
	}
}

func moment(seconds float64) time.Time {
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)).UTC().Round(time.Microsecond)
}

// number is x, or nothing where JSON has no word for it.
func number(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func quantiles(sorted []float64) *Quantiles {
	if len(sorted) == 0 {
		return nil
	}
	at := func(p float64) float64 { return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)] }
	return &Quantiles{P01: at(.01), P05: at(.05), P25: at(.25), P50: at(.5), P75: at(.75), P95: at(.95), P99: at(.99)}
}

// commonest lists the n commonest of sorted texts, commonest first, equals by name.
func commonest(sorted []string, n int) []Share {
	var out []Share
	for i := 0; i < len(sorted); {
		end := i
		for end < len(sorted) && sorted[end] == sorted[i] {
			end++
		}
		out = append(out, Share{Value: sorted[i], Share: float64(end-i) / float64(len(sorted))})
		i = end
	}
	slices.SortStableFunc(out, func(a, b Share) int { return cmp.Compare(b.Share, a.Share) })
	return slices.Clip(out[:min(n, len(out))])
}
