package evidence

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// NewHist returns an empty histogram. It panics if the scale is not in MinScale..MaxScale.
func NewHist(scale int) *Hist {
	checkScale(scale)
	return &Hist{Scale: scale}
}

// Add counts v once and reports whether it did: NaN and the infinities are not counted.
func (h *Hist) Add(v float64) bool {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return false
	}
	h.AddBin(Index(h.Scale, v), 1)
	return true
}

// AddBin adds n to a bin of the histogram's present scale. If the bins in use come to lie more than MaxBins apart, the
// histogram is made coarser until they fit, down to MinScale, where all bins of Index fit.
func (h *Hist) AddBin(bin int32, n uint64) {
	if n == 0 {
		return
	}
	if bin == ZeroBin {
		h.Zero += n
		return
	}
	i := int(bin) - int(h.Offset)
	if i >= 0 && i < len(h.Counts) {
		h.Counts[i] += n
		return
	}
	from := h.Scale
	for !h.fits(bin >> (from - h.Scale)) {
		h.Downscale(h.Scale - 1)
	}
	bin >>= from - h.Scale
	h.cover(bin)
	h.Counts[bin-h.Offset] += n
}

func (h *Hist) fits(bin int32) bool {
	if h.Scale == MinScale || len(h.Counts) == 0 {
		return true
	}
	lo, hi := min(bin, h.Offset), max(bin, h.Offset+int32(len(h.Counts))-1)
	return hi-lo < MaxBins
}

// cover makes room for the bin.
func (h *Hist) cover(bin int32) {
	if len(h.Counts) == 0 {
		h.Offset = bin
		h.Counts = append(h.Counts[:0], 0)
		return
	}
	if before := int(h.Offset - bin); before > 0 {
		old := len(h.Counts)
		h.Counts = append(h.Counts, make([]uint64, before)...)
		copy(h.Counts[before:], h.Counts[:old])
		clear(h.Counts[:before])
		h.Offset = bin
		return
	}
	for after := int(bin-h.Offset) + 1 - len(h.Counts); after > 0; after-- {
		h.Counts = append(h.Counts, 0)
	}
}

// Count returns the number of values counted.
func (h *Hist) Count() uint64 {
	n := h.Zero
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// CountAbove returns the number of values in bins above the given one, at the histogram's scale.
func (h *Hist) CountAbove(bin int32) uint64 {
	if bin == ZeroBin {
		return h.Count() - h.Zero
	}
	var n uint64
	for i := max(0, int(bin)+1-int(h.Offset)); i < len(h.Counts); i++ {
		n += h.Counts[i]
	}
	return n
}

// Bin returns the count of one bin at the histogram's scale.
func (h *Hist) Bin(bin int32) uint64 {
	if bin == ZeroBin {
		return h.Zero
	}
	if i := int(bin) - int(h.Offset); i >= 0 && i < len(h.Counts) {
		return h.Counts[i]
	}
	return 0
}

// All yields the non-empty bins in ascending order, ZeroBin first.
func (h *Hist) All() iter.Seq2[int32, uint64] {
	return func(yield func(int32, uint64) bool) {
		if h.Zero > 0 && !yield(ZeroBin, h.Zero) {
			return
		}
		for i, c := range h.Counts {
			if c > 0 && !yield(h.Offset+int32(i), c) {
				return
			}
		}
	}
}

// Merge adds the counts of o, which is not changed. The result has the coarser of the two scales.
func (h *Hist) Merge(o *Hist) {
	if o == nil {
		return
	}
	if o.Scale < h.Scale {
		h.Downscale(o.Scale)
	}
	h.Zero += o.Zero
	for i, c := range o.Counts {
		if c > 0 {
			// The scale may fall during the loop, so the shift is taken anew for every bin.
			h.AddBin((o.Offset+int32(i))>>(o.Scale-h.Scale), c)
		}
	}
}

// Downscale makes the histogram coarser; neighbouring bins are added up, nothing is lost but resolution. A scale that is
// not below the present one changes nothing. It panics below MinScale.
func (h *Hist) Downscale(scale int) {
	if scale >= h.Scale {
		return
	}
	checkScale(scale)
	by := h.Scale - scale
	lo := h.Offset >> by
	n := 0
	for i, c := range h.Counts {
		to := int((h.Offset+int32(i))>>by - lo)
		// Several old bins fall into one new bin at or before their own place, so this works within the slice.
		if to >= n {
			h.Counts[to] = 0
			n = to + 1
		}
		h.Counts[to] += c
	}
	h.Counts, h.Offset, h.Scale = h.Counts[:n], lo, scale
}

// Shift multiplies all values by at least 1+margin: it moves every bin up by the smallest number of bins k with
// base^k >= 1+margin and returns base^k - 1, the margin this acts as. A negative margin moves down. Zero stays where it is.
func (h *Hist) Shift(margin float64) (effective float64) {
	k, effective := ShiftOf(h.Scale, 1+margin)
	h.Offset += k
	return effective
}

// QuantileBin returns the bin that holds the value of rank ceil(q*Count), q in 0..1 (rank 1 for q = 0); false if empty.
func (h *Hist) QuantileBin(q float64) (int32, bool) {
	total := h.Count()
	if total == 0 {
		return 0, false
	}
	rank := min(max(uint64(math.Ceil(q*float64(total))), 1), total)
	var seen uint64
	for bin, c := range h.All() {
		if seen += c; seen >= rank {
			return bin, true
		}
	}
	panic("evidence: the bins of a histogram do not add up to its count")
}

// Quantile returns the middle of the bin of QuantileBin, within half a bin of the exact value; false if empty.
func (h *Hist) Quantile(q float64) (float64, bool) {
	bin, ok := h.QuantileBin(q)
	if !ok {
		return 0, false
	}
	return Middle(h.Scale, bin), true
}

// Score is the bin of a value at MinScale, with -961 for the zero bin: what UnitBucket.Sum adds up.
func Score(scale int, bin int32) int64 {
	if bin == ZeroBin {
		return int64(minBin(MinScale)) - 1
	}
	return int64(bin >> (scale - MinScale))
}

// Scores returns the sum of Score over all values, and of its square.
func (h *Hist) Scores() (sum int64, squares uint64) {
	for bin, c := range h.All() {
		s := Score(h.Scale, bin)
		sum += s * int64(c)
		squares += uint64(s*s) * c
	}
	return sum, squares
}

// Clone returns a copy that shares nothing; nil for nil.
func (h *Hist) Clone() *Hist {
	if h == nil {
		return nil
	}
	c := *h
	c.Counts = slices.Clone(h.Counts)
	return &c
}

// Reset forgets all counts and keeps the memory; the scale is set anew.
func (h *Hist) Reset(scale int) {
	checkScale(scale)
	*h = Hist{Scale: scale, Counts: h.Counts[:0]}
}

// Trim brings the histogram into its canonical form: no empty bin at either end, Offset 0 if there are no bins.
func (h *Hist) Trim() {
	lo, hi := 0, len(h.Counts)
	for lo < hi && h.Counts[lo] == 0 {
		lo++
	}
	for hi > lo && h.Counts[hi-1] == 0 {
		hi--
	}
	h.Offset += int32(lo)
	h.Counts = h.Counts[lo:hi]
	if len(h.Counts) == 0 {
		h.Offset, h.Counts = 0, nil
	}
}

// Equal reports whether both hold the same counts at the same scale; nil equals nil only.
func (h *Hist) Equal(o *Hist) bool {
	if h == nil || o == nil {
		return h == o
	}
	a, b := *h, *o
	a.Trim()
	b.Trim()
	return a.Scale == b.Scale && a.Offset == b.Offset && a.Zero == b.Zero && slices.Equal(a.Counts, b.Counts)
}

// String shows the non-empty bins, for failures of tests.
func (h *Hist) String() string {
	if h == nil {
		return "hist(nil)"
	}
	s := fmt.Sprintf("hist(scale %d, zero %d", h.Scale, h.Zero)
	for bin, c := range h.All() {
		if bin != ZeroBin {
			s += fmt.Sprintf(", %d:%d", bin, c)
		}
	}
	return s + ")"
}
