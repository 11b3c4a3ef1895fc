package stat

import (
	"iter"
	"slices"

	"sluice.dev/sdk/evidence"
)

const unitBuckets = evidence.UnitBuckets

// LeaveOut runs a fresh lane over all blocks of its life for each of the unit buckets, with that bucket's observations
// taken out: what the lane would say if those units had never come. It is the exact form of LogEWithout; give it the
// buckets of HeaviestBuckets. For values, the baseline's part of a bucket stays in, since its bins are
// not kept by bucket: there LogEWithout and the over-dispersion are what speaks.
func LeaveOut(cfg LaneConfig, buckets []int, blocks iter.Seq[Block]) ([]*Lane, error) {
	lanes := make([]*Lane, len(buckets))
	for i := range lanes {
		l, err := NewLane(cfg)
		if err != nil {
			return nil, err
		}
		lanes[i] = l
	}
	for b := range blocks {
		for i, k := range buckets {
			lanes[i].Step(b.without(uint8(k), cfg.values()))
		}
	}
	return lanes, nil
}

// without returns the block without the observations of one unit bucket. The original is not changed; what is not affected
// is shared with it.
func (b Block) without(bucket uint8, values bool) Block {
	b.Strata = slices.Clone(b.Strata)
	for i := range b.Strata {
		b.Strata[i].Exposed = b.Strata[i].Exposed.without(bucket, values)
		b.Strata[i].Baseline = b.Strata[i].Baseline.without(bucket, values)
	}
	return b
}

func (a Arm) without(bucket uint8, values bool) Arm {
	a.Parts = slices.Clone(a.Parts)
	for i := range a.Parts {
		p := &a.Parts[i]
		at := slices.IndexFunc(p.Buckets, func(u evidence.UnitBucket) bool { return u.K == bucket })
		if at < 0 {
			continue
		}
		u := p.Buckets[at]
		p.Buckets = slices.Delete(slices.Clone(p.Buckets), at, at+1)
		if values && len(p.Bins) == 0 {
			// Which of the values were this bucket's is not known: they stay, and so do their counts.
			continue
		}
		a.N -= u.N
		a.Bad -= u.Bad
		if !values {
			continue
		}
		p.Hist = p.Hist.Clone()
		for _, bin := range p.Bins {
			if bin.K == bucket {
				takeBin(p.Hist, bin)
			}
		}
		p.Bins = slices.DeleteFunc(slices.Clone(p.Bins), func(bin evidence.BucketBin) bool { return bin.K == bucket })
	}
	return a
}

// takeBin takes counts out of a bin; a part's bins are at the scale of its histogram.
func takeBin(h *evidence.Hist, u evidence.BucketBin) {
	if u.Bin == evidence.ZeroBin {
		h.Zero -= u.Count
		return
	}
	if i := u.Bin - h.Offset; i >= 0 && int(i) < len(h.Counts) {
		h.Counts[i] -= u.Count
	}
}
