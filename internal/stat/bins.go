package stat

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// Bins are fixed from a reference and never from what is compared with it: quantiles of the reference, one bin for values
// below all of it, one for values above, and one for nulls.
type Bins struct {
	Low  float64   // smallest value of the reference
	Cuts []float64 // ascending; bin i+1 holds values in (Cuts[i-1], Cuts[i]], the first one from Low on
}

// NewBins makes at most parts bins of about equal content (10: deciles), fewer where values repeat. NaN is null and sets no
// cut. It returns ErrNoData for a reference without a value.
func NewBins(reference []float64, parts int) (Bins, error) {
	x := ascending(reference)
	if len(x) == 0 || parts < 1 {
		return Bins{}, ErrNoData
	}
	b := Bins{Low: x[0]}
	for i := range parts {
		cut := x[((i+1)*len(x)+parts-1)/parts-1]
		if len(b.Cuts) == 0 || cut > b.Cuts[len(b.Cuts)-1] {
			b.Cuts = append(b.Cuts, cut)
		}
	}
	return b, nil
}

// Len is the number of bins: below, the quantiles, above, null.
func (b *Bins) Len() int { return len(b.Cuts) + 3 }

// Index is the bin of a value: 0 below the reference, Len-2 above it, Len-1 for NaN.
func (b *Bins) Index(x float64) int {
	switch {
	case math.IsNaN(x):
		return b.Len() - 1
	case x < b.Low:
		return 0
	}
	at, _ := slices.BinarySearch(b.Cuts, x)
	return at + 1
}

// Count sorts values into the bins.
func (b *Bins) Count(values []float64) []uint64 {
	counts := make([]uint64, b.Len())
	for _, x := range values {
		counts[b.Index(x)]++
	}
	return counts
}

// Frequent is a value with how often it was seen: at most N and at least N-Over times.
type Frequent struct {
	Value   string `json:"value"`
	N, Over uint64
}

// TopK counts the most frequent of any number of different values in bounded memory. Every value that makes up more than
// 1/capacity of all is in it, and no count is too high by more than that. It is not safe for concurrent use.
// Source: Metwally, Agrawal & El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005.
type TopK struct {
	capacity int
	n        uint64
	heap     frequents
}

// NewTopK counts up to capacity values at a time; below 1 counts as 1.
func NewTopK(capacity int) *TopK {
	return &TopK{capacity: max(capacity, 1), heap: frequents{at: map[string]int{}}}
}

// Add counts a value n times. A new value that finds no room takes the place, and the count, of the rarest one (of the first
// in order among equals).
func (t *TopK) Add(value string, n uint64) {
	t.n += n
	i, known := t.heap.at[value]
	switch {
	case known:
		t.heap.list[i].N += n
	case len(t.heap.list) < t.capacity:
		heap.Push(&t.heap, Frequent{Value: value, N: n})
		return
	default:
		rarest := &t.heap.list[0]
		delete(t.heap.at, rarest.Value)
		*rarest = Frequent{Value: value, N: rarest.N + n, Over: rarest.N}
		t.heap.at[value] = 0
	}
	heap.Fix(&t.heap, i)
}

// frequents is a heap with the rarest value first, which knows where each value is.
type frequents struct {
	list []Frequent
	at   map[string]int
}

func (f *frequents) Len() int { return len(f.list) }

func (f *frequents) Less(i, j int) bool {
	a, b := &f.list[i], &f.list[j]
	return a.N < b.N || a.N == b.N && a.Value < b.Value
}

func (f *frequents) Swap(i, j int) {
	f.list[i], f.list[j] = f.list[j], f.list[i]
	f.at[f.list[i].Value], f.at[f.list[j].Value] = i, j
}

// Push is part of heap.Interface.
func (f *frequents) Push(x any) {
	v := x.(Frequent)
	f.at[v.Value] = len(f.list)
	f.list = append(f.list, v)
}

// Pop is part of heap.Interface.
func (f *frequents) Pop() any {
	last := f.list[len(f.list)-1]
	f.list = f.list[:len(f.list)-1]
	delete(f.at, last.Value)
	return last
}

// N is how many values were added.
func (t *TopK) N() uint64 { return t.n }

// Top returns the k most frequent values, the most frequent first, equal ones by name.
func (t *TopK) Top(k int) []Frequent {
	all := slices.Clone(t.heap.list)
	slices.SortFunc(all, func(a, b Frequent) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Value, b.Value))
	})
	return all[:min(k, len(all))]
}

// Categories are fixed from a reference: its most frequent values, one place for all others, one for nulls.
type Categories struct {
	Values []string
	index  map[string]int
}

// NewCategories gives each value a place of its own, in the order given; values must differ.
func NewCategories(values []string) *Categories {
	c := &Categories{Values: values, index: make(map[string]int, len(values))}
	for i, v := range values {
		c.index[v] = i
	}
	return c
}

// Categories are the k most frequent values.
func (t *TopK) Categories(k int) *Categories {
	top := t.Top(k)
	values := make([]string, len(top))
	for i, f := range top {
		values[i] = f.Value
	}
	return NewCategories(values)
}

// Len is the number of places: the values, others, nulls.
func (c *Categories) Len() int { return len(c.Values) + 2 }

// Index is the place of a value; Len-2 for one that is none of them.
func (c *Categories) Index(value string) int {
	if i, ok := c.index[value]; ok {
		return i
	}
	return len(c.Values)
}

// Null is the place of nulls.
func (c *Categories) Null() int { return len(c.Values) + 1 }
