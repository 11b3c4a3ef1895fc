package evidence

import (
	"fmt"
	"math"
	"math/big"
	"sync"
)

// Limits of a histogram. At MinScale the whole range of values, 2^MinExp to 2^MaxExp, fits into MaxBins bins; a finer
// histogram whose values lie further apart than MaxBins bins is made coarser, never cut.
const (
	MinScale = 5    // bins at most 2.2 % wide
	MaxScale = 10   // bins 0.07 % wide
	MaxBins  = 2048 // bins between the lowest and the highest non-empty one, inclusive
	MinExp   = -30  // values <= 2^MinExp count as zero
	MaxExp   = 34   // values > 2^MaxExp count in the highest bin
)

// ZeroBin stands for Hist.Zero where a bin index is asked for: it lies below every bin.
const ZeroBin int32 = math.MinInt32

// The table holds the bin boundaries of one octave at the finest scale; every coarser scale uses a part of it. It is one
// scale finer than MaxScale, so that it knows the middle of a bin too.
const (
	tableScale = MaxScale + 1
	tableSize  = 1 << tableScale
	guideBits  = tableScale + 1
)

type boundTable struct {
	low   [tableSize + 1]float64 // low[k] is the largest float64 <= 2^(k/tableSize)
	guide [1 << guideBits]int16  // last k with low[k] < the smallest mantissa of the cell, -1 if there is none
}

// bounds computes the table with 256-bit arithmetic. Only powers of two are boundaries that a float64 can hold, so a float
// m lies above the true boundary exactly when it lies above the boundary rounded down: the index is never off by one.
var bounds = sync.OnceValue(func() *boundTable {
	t := new(boundTable)
	root := new(big.Float).SetPrec(256).SetInt64(2)
	for range tableScale {
		root.Sqrt(root)
	}
	exact := new(big.Float).SetPrec(256).SetInt64(1)
	for k := range t.low {
		down := new(big.Float).SetPrec(53).SetMode(big.ToNegativeInf).Set(exact)
		t.low[k], _ = down.Float64()
		exact.Mul(exact, root)
	}
	t.low[tableSize] = 2
	k := -1
	for cell := range t.guide {
		first := 1 + float64(cell)/(1<<guideBits)
		for k+1 < tableSize && t.low[k+1] < first {
			k++
		}
		t.guide[cell] = int16(k)
	}
	return t
})

// fineIndex is the index of v at tableScale; v must be a positive normal number.
func (t *boundTable) fineIndex(v float64) int32 {
	bits := math.Float64bits(v)
	exp := int32(bits>>52&0x7ff) - 1023
	mantissa := math.Float64frombits(bits&(1<<52-1) | 1023<<52)
	k := int32(t.guide[bits<<12>>(64-guideBits)])
	for k+1 < tableSize && mantissa > t.low[k+1] {
		k++
	}
	return exp*tableSize + k
}

// Index returns the bin of v at the scale: the i with base^i < v <= base^(i+1), base = 2^(2^-scale), exact at the
// boundaries. It is ZeroBin for v <= 2^MinExp and the highest bin for v > 2^MaxExp; v must not be NaN.
// Source: OpenTelemetry metrics data model, "ExponentialHistogram", upper-inclusive buckets.
func Index(scale int, v float64) int32 {
	switch {
	case v <= 1.0/(1<<-MinExp):
		return ZeroBin
	case v > 1<<MaxExp:
		return maxBin(scale)
	}
	return bounds().fineIndex(v) >> (tableScale - scale)
}

// LowerBound returns base^bin, the exclusive lower boundary of a bin at the scale, rounded down; 0 for ZeroBin.
func LowerBound(scale int, bin int32) float64 {
	if bin == ZeroBin {
		return 0
	}
	return fineBound(int64(bin) << (tableScale - scale))
}

// Middle returns the geometric middle of a bin, the value that stands for it: at most half a bin away from every value in it.
func Middle(scale int, bin int32) float64 {
	if bin == ZeroBin {
		return 0
	}
	half := int64(1) << (tableScale - scale - 1)
	return fineBound(int64(bin)<<(tableScale-scale) + half)
}

func fineBound(i int64) float64 {
	return math.Ldexp(bounds().low[i&(tableSize-1)], int(i>>tableScale))
}

// ShiftOf returns the smallest number of bins k with base^k >= factor, and base^k - 1, the margin that k bins act as.
// A factor below 1 gives a negative k. It panics if the factor is not a positive number.
func ShiftOf(scale int, factor float64) (bins int32, effective float64) {
	if !(factor > 0) || math.IsInf(factor, 1) {
		panic(fmt.Sprintf("evidence: shift by a factor of %v", factor))
	}
	bins = bounds().fineIndex(factor)>>(tableScale-scale) + 1
	return bins, LowerBound(scale, bins) - 1
}

func minBin(scale int) int32 { return MinExp << scale }
func maxBin(scale int) int32 { return MaxExp<<scale - 1 }

func checkScale(scale int) {
	if scale < MinScale || scale > MaxScale {
		panic(fmt.Sprintf("evidence: histogram scale %d is not in %d..%d", scale, MinScale, MaxScale))
	}
}
