package stat

// CategoryTilt is the tilted e-process for categories: does the exposed arm's value fall into the same categories as the
// baseline's? For each category (the most frequent ones, others, nulls) it bets that its share is a factor larger or smaller,
//
//	ln e = sum over exposed of ln(t/(w t + 1 - w)) + sum over baseline of ln(1/(w t + 1 - w))
//
// with t normed on the past baseline, as the tilted histogram does, so it is an e-value for any law the arms have in common.
// The categories are fixed before the first block; a new value is one of the others.
type CategoryTilt struct {
	past    []float64 // of the baseline, with a pseudo-count each
	logBets []float64 // per category, factor and direction
}

// categoryFactors are those by which a share may grow; the bets on shrinking are their inverse.
var categoryFactors = [...]float64{1.25, 1.5, 2, 3, 5}

// NewCategoryTilt watches a number of places (Categories.Len). past are the baseline's counts before the comparison, nil if
// there are none.
func NewCategoryTilt(places int, past []uint64) *CategoryTilt {
	c := &CategoryTilt{past: make([]float64, places)}
	for i := range c.past {
		c.past[i] = 1
		if past != nil {
			c.past[i] += float64(past[i])
		}
	}
	c.logBets = make([]float64, 2*places*len(categoryFactors))
	return c
}

// Step takes the counts of a block of one stratum; the bets are those of the blocks before.
func (c *CategoryTilt) Step(exposed, baseline []uint64) {
	nT, nC := sumOf(exposed), sumOf(baseline)
	if nT > 0 && nC > 0 {
		total := 0.0
		for _, n := range c.past {
			total += n
		}
		w := nT / (nT + nC)
		bet := 0
		for place := range c.past {
			share := c.past[place] / total
			in, inC := float64(exposed[place]), float64(baseline[place])
			for _, f := range categoryFactors {
				for _, r := range [...]float64{f, 1 / f} {
					z := 1 + float64(share*(r-1))
					lnIn, lnOut := ln(r/z), -ln(z)
					mixIn, mixOut := ln(float64(w*(r/z))+(1-w)), ln(w/z+(1-w))
					c.logBets[bet] += float64(in*(lnIn-mixIn)) + float64((nT-in)*(lnOut-mixOut)) - float64(inC*mixIn) - float64((nC-inC)*mixOut)
					bet++
				}
			}
		}
	}
	for i, n := range baseline {
		c.past[i] += float64(n)
	}
}

// LogE is the log of the mixture over all bets, each with the same weight.
func (c *CategoryTilt) LogE() float64 {
	weights := make([]float64, len(c.logBets))
	for i := range weights {
		weights[i] = 1 / float64(len(weights))
	}
	return lnSum(weights, c.logBets)
}
