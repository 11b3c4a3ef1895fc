package evidence

import (
	"cmp"
	"slices"
	"strings"
)

// BlockKey is what tells blocks apart.
type BlockKey struct {
	Second   int64
	Rollout  string
	Cohort   string
	Revision uint64
	Exposure uint32
	Metric   string
	Assigned string
	Served   string
	Lease    string
}

// Key returns the block's key.
func (b *Block) Key() BlockKey {
	return BlockKey{b.Second, b.Rollout, b.Cohort, b.Revision, b.Exposure, b.Metric, b.Assigned, b.Served, b.Lease}
}

// HistOf returns the histogram of one of the block's cells. A total cell does not repeat the block's own.
func (b *Block) HistOf(c *Cell) *Hist {
	if c.Dim == DimTotal {
		return b.Hist
	}
	return c.Hist
}

// Cell returns the block's cell of the dimension and value; nil if there is none.
func (b *Block) Cell(dim, value string) *Cell {
	for i := range b.Cells {
		if c := &b.Cells[i]; c.Dim == dim && c.Value == value {
			return c
		}
	}
	return nil
}

// compareBlocks is the canonical order: second, rollout, cohort, revision, exposure, metric, assigned, served, lease.
func compareBlocks(a, b *Block) int {
	return cmp.Or(
		cmp.Compare(a.Second, b.Second),
		strings.Compare(a.Rollout, b.Rollout),
		strings.Compare(a.Cohort, b.Cohort),
		cmp.Compare(a.Revision, b.Revision),
		cmp.Compare(a.Exposure, b.Exposure),
		strings.Compare(a.Metric, b.Metric),
		strings.Compare(a.Assigned, b.Assigned),
		strings.Compare(a.Served, b.Served),
		strings.Compare(a.Lease, b.Lease))
}

// dimOrder puts the total first and what the server added last.
func dimOrder(dim string) int {
	return slices.Index([]string{DimTotal, DimSegment, DimSource, DimInstance}, dim)
}

func compareCells(a, b *Cell) int {
	return cmp.Or(cmp.Compare(dimOrder(a.Dim), dimOrder(b.Dim)), strings.Compare(a.Value, b.Value))
}

func compareBucketBins(a, b BucketBin) int {
	return cmp.Or(cmp.Compare(a.K, b.K), cmp.Compare(a.Bin, b.Bin))
}

// SortBlocks puts blocks and their cells into canonical order, in place.
func SortBlocks(blocks []Block) {
	for i := range blocks {
		slices.SortFunc(blocks[i].Cells, func(a, b Cell) int { return compareCells(&a, &b) })
	}
	slices.SortFunc(blocks, func(a, b Block) int { return compareBlocks(&a, &b) })
}

// MergeBlocks adds the blocks of another boot to dst and returns it in canonical order: counts and open requests add up.
// dst is changed in place where it can be; src is not changed and nothing of it is kept.
func MergeBlocks(dst, src []Block) []Block {
	return mergeBlocks(dst, src, func(d, s uint64) uint64 { return d + s })
}

// AppendIncrements adds later blocks of the SAME boot to dst: counts add up, Open is replaced by the later number.
// Otherwise like MergeBlocks.
func AppendIncrements(dst, src []Block) []Block {
	return mergeBlocks(dst, src, func(_, s uint64) uint64 { return s })
}

func mergeBlocks(dst, src []Block, open func(d, s uint64) uint64) []Block {
	at := make(map[BlockKey]int, len(dst)+len(src))
	for i := range dst {
		at[dst[i].Key()] = i
	}
	for i := range src {
		s := &src[i]
		j, ok := at[s.Key()]
		if !ok {
			at[s.Key()] = len(dst)
			dst = append(dst, s.Clone())
			continue
		}
		d := &dst[j]
		d.Open = open(d.Open, s.Open)
		d.add(s)
	}
	SortBlocks(dst)
	return dst
}

// add adds counts, histogram and cells of o, not its open requests.
func (b *Block) add(o *Block) {
	b.N += o.N
	b.Bad += o.Bad
	// Scales of histograms differ when one of them had to be made coarser; the bins by unit bucket follow their histogram.
	next := 0
	for i := range o.Cells {
		oc := &o.Cells[i]
		j := b.findCell(oc.Dim, oc.Value, next)
		next = j + 1
		if j < 0 {
			b.Cells = append(b.Cells, oc.clone())
			j = len(b.Cells) - 1
			if oc.Dim == DimTotal {
				// Its bins are still at the scale of o's histogram, which the two histograms below agree upon.
				b.Hist = addHist(b.Hist, o.Hist)
				b.Cells[j].rescale(histScale(o.Hist), histScale(b.Hist))
			}
			continue
		}
		c := &b.Cells[j]
		from, ofrom := histScale(b.HistOf(c)), histScale(o.HistOf(oc))
		if c.Dim == DimTotal {
			b.Hist = addHist(b.Hist, o.Hist)
		} else {
			c.Hist = addHist(c.Hist, oc.Hist)
		}
		c.addCounts(oc, from, ofrom, histScale(b.HistOf(c)))
	}
}

// findCell returns the index of a cell, -1 if there is none. It looks at from first: both sides are usually in the same order.
func (b *Block) findCell(dim, value string, from int) int {
	same := func(c Cell) bool { return c.Dim == dim && c.Value == value }
	if from < len(b.Cells) && same(b.Cells[from]) {
		return from
	}
	return slices.IndexFunc(b.Cells, same)
}

func addHist(d, s *Hist) *Hist {
	if d == nil {
		return s.Clone()
	}
	d.Merge(s)
	return d
}

// histScale is MaxScale for no histogram: then there are no bins to convert.
func histScale(h *Hist) int {
	if h == nil {
		return MaxScale
	}
	return h.Scale
}

// addCounts adds everything but the histogram. from and ofrom are the scales of the two lists of bins, to that of the sum.
func (c *Cell) addCounts(o *Cell, from, ofrom, to int) {
	c.N += o.N
	c.Bad += o.Bad
	c.Buckets = addBuckets(c.Buckets, o.Buckets)
	if len(o.ExposedHistByBucket) == 0 {
		c.rescale(from, to)
		return
	}
	other := o.clone()
	other.rescale(ofrom, to)
	c.rescale(from, to)
	c.ExposedHistByBucket = foldBucketBins(append(c.ExposedHistByBucket, other.ExposedHistByBucket...))
}

// rescale converts the bins by unit bucket to a coarser scale.
func (c *Cell) rescale(from, to int) {
	if to >= from || len(c.ExposedHistByBucket) == 0 {
		return
	}
	for i := range c.ExposedHistByBucket {
		if u := &c.ExposedHistByBucket[i]; u.Bin != ZeroBin {
			u.Bin >>= from - to
		}
	}
	c.ExposedHistByBucket = foldBucketBins(c.ExposedHistByBucket)
}

// addBuckets merges two ascending lists.
func addBuckets(a, b []UnitBucket) []UnitBucket {
	if len(b) == 0 {
		return a
	}
	out := make([]UnitBucket, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].K < b[0].K:
			out, a = append(out, a[0]), a[1:]
		case a[0].K > b[0].K:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, UnitBucket{a[0].K, a[0].N + b[0].N, a[0].Bad + b[0].Bad, a[0].Sum + b[0].Sum})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// foldBucketBins sorts by (K, Bin) and adds up equal ones, in place.
func foldBucketBins(bins []BucketBin) []BucketBin {
	slices.SortFunc(bins, compareBucketBins)
	n := 0
	for _, u := range bins {
		if n > 0 && bins[n-1].K == u.K && bins[n-1].Bin == u.Bin {
			bins[n-1].Count += u.Count
			continue
		}
		bins[n] = u
		n++
	}
	return bins[:n]
}

// Clone returns a copy that shares nothing. A total cell's own copy of the block's histogram is dropped.
func (b *Block) Clone() Block {
	c := *b
	c.Hist = b.Hist.Clone()
	c.Cells = slices.Clone(b.Cells)
	for i := range c.Cells {
		c.Cells[i] = b.Cells[i].clone()
	}
	return c
}

func (c *Cell) clone() Cell {
	n := *c
	n.Hist = c.Hist.Clone()
	if n.Dim == DimTotal {
		n.Hist = nil
	}
	n.Buckets = slices.Clone(c.Buckets)
	n.ExposedHistByBucket = slices.Clone(c.ExposedHistByBucket)
	return n
}

// Add sums the blocks of one instance into the second and keeps the split by instance: every block gets a cell of
// dimension instance with its total counts. Blocks of other seconds are ignored. It may be called again for the same
// instance, once per boot.
func (s *Second) Add(instance string, blocks []Block) {
	mine := make([]Block, 0, len(blocks))
	for i := range blocks {
		if blocks[i].Second != s.At {
			continue
		}
		b := blocks[i].Clone()
		if t := b.Cell(DimTotal, ""); t != nil {
			own := t.clone()
			own.Dim, own.Value, own.ExposedHistByBucket = DimInstance, instance, nil
			for i := range own.Buckets {
				own.Buckets[i].Sum = 0 // an instance cell has no histogram to go with it
			}
			b.Cells = append(b.Cells, own)
		}
		mine = append(mine, b)
	}
	s.Blocks = MergeBlocks(s.Blocks, mine)
}
