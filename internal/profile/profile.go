// Package profile sums up the columns of a batch of rows and says, against the profile of a baseline batch, which of them
// are no longer what they were: nulls, types, ranges, categories, values, whole rows.
//
//	t := profile.New()
//	for each row { err = t.Add(columns, cells) }
//	report := profile.Compare(t.Summary(now), baseline.Summary(now), profile.Config{})
//
// A table takes any number of rows in bounded memory: counts are exact, quantiles and distributions come from a uniform
// sample of SampleSize values per column, distinct values and repeated rows from all of them up to a limit and then from a
// fixed share picked by hash. Equal rows in equal order give an equal profile.
//
// A verdict needs two things at once: a difference too large for chance, at one error rate shared by all the checks of a
// comparison, and an effect that matters. Too few rows to have seen one that matters is inconclusive, not a pass. The
// usual limits on a drift figure alone (PSI above 0.1) fire on 38 % of equal batches of 200 rows.
package profile

import (
	"fmt"
	"math"
)

// SampleSize is how many values of a column are kept for its quantiles and its distribution. A quantile's rank is off by
// at most 1.5 points once in a hundred.
const SampleSize = 8192

// MaxColumns is how many columns a table may have; Add refuses more.
const MaxColumns = 1024

// Kind is what one cell holds.
type Kind uint8

// Kinds of cells. Null is the zero value: a cell that is absent.
const (
	Null Kind = iota
	Bool
	Int
	Float
	Time
	Text
	List // of a list only the length is profiled
)

// Cell is one value of a row. Only the fields of its kind are read.
type Cell struct {
	Kind Kind
	Int  int64   // Bool (0 or 1), Int, List (its length)
	Num  float64 // Float; Time as unix seconds
	Text []byte  // Text; not kept
}

// Table is the profile in the making. It is not for concurrent use.
type Table struct {
	columns []*column
	names   map[string]int
	rows    uint64
	repeats *tally
	checks  []repeated
}

// repeated is how many of the first rows said a row again that was there before.
type repeated struct{ rows, again float64 }

// New returns an empty table.
func New() *Table {
	return &Table{names: map[string]int{}, repeats: newTally(maxRowHashes)}
}

// Add takes one row: cells[i] belongs to columns[i]. Columns may grow from call to call but never change their order; rows
// before a column appeared, and rows shorter than columns, have nulls there. Neither slice is kept. It refuses a column
// beyond MaxColumns and a name that is there already.
func (t *Table) Add(columns []string, cells []Cell) error {
	if err := t.Grow(columns); err != nil {
		return err
	}
	t.rows++
	var row uint64
	for i, c := range cells {
		if c.Kind != Null {
			h := c.hash()
			t.columns[i].add(c, h)
			row += mix(h + uint64(i)*golden) // a sum: a null adds nothing, whether its column is known yet or not
		}
	}
	t.repeats.add(mix(row))
	if t.rows&(t.rows-1) == 0 {
		t.checks = append(t.checks, t.again())
	}
	return nil
}

// Grow makes columns known, as Add does, before any row: a file with a header and no rows has columns.
func (t *Table) Grow(columns []string) error {
	for len(t.columns) < len(columns) {
		if err := t.grow(columns[len(t.columns)]); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) grow(name string) error {
	if len(t.columns) == MaxColumns {
		return fmt.Errorf("column %q is number %d: at most %d columns can be profiled; keep fewer", name, MaxColumns+1, MaxColumns)
	}
	if i, twice := t.names[name]; twice {
		return fmt.Errorf("columns %d and %d are both called %q: rename one", i+1, len(t.columns)+1, name)
	}
	t.names[name] = len(t.columns)
	t.columns = append(t.columns, &column{name: name, values: newTally(0)})
	for _, c := range t.columns {
		c.values.max = valueHashes(len(t.columns))
	}
	return nil
}

func (t *Table) again() repeated {
	seen, distinct := t.repeats.share()
	if seen == 0 {
		return repeated{}
	}
	return repeated{rows: float64(t.rows), again: float64(t.rows) * float64(seen-distinct) / float64(seen)}
}

const golden = 0x9e3779b97f4a7c15

// mix is the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of x moves every bit of the result.
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hash names a value: equal values have equal hashes, on every machine. A float without a fraction is the integer.
func (c Cell) hash() uint64 {
	switch c.Kind {
	case Float, Time:
		if i := int64(c.Num); float64(i) == c.Num && math.Abs(c.Num) < 1<<53 {
			return mix(uint64(i))
		}
		return mix(math.Float64bits(c.Num) ^ golden)
	case Text:
		h := uint64(0xcbf29ce484222325) // FNV-1a, 64 bits
		for _, b := range c.Text {
			h = (h ^ uint64(b)) * 0x100000001b3
		}
		return mix(h ^ uint64(Text)<<56)
	}
	return mix(uint64(c.Int))
}
