package stat

// A lane of kind Count also judges one sample against a fixed share: give it the marked observations as the exposed arm, the
// others as the baseline arm and the tolerated share as Share, with no margin. Paired flips are the case in point: two
// versions answer the same input, and each pair is marked or not. It needs no second sample, so it is far cheaper than
// comparing two arms. The bound holds for any sequence whose marked share is at no time above the tolerated one.

// DetectableShare is the smallest share of marked observations, above the tolerated one, that would have raised LogE of such a
// lane to the level by now with probability 0.8; false where nothing was seen or none would have.
func (l *Lane) DetectableShare(tolerated, level float64) (float64, bool) {
	n := float64(l.st.Totals.NT + l.st.Totals.NC)
	sees := func(t float64) bool {
		up := ln(t/tolerated) - ln((1-t)/(1-tolerated))
		info := information{n: n, mean: KL(t, tolerated), variance: float64(float64(t*(1-t)) * float64(up*up))}
		return info.sees(level, l.st.Phi, betCost+l.startCost())
	}
	lo, hi := tolerated, 0.999
	if n == 0 || !(tolerated > 0 && tolerated < hi) || !sees(hi) {
		return 0, false
	}
	for range 60 {
		if mid := (lo + hi) / 2; sees(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, true
}

// learnShares adds the unit buckets of a lane of kind Count: marked ones of all of a bucket.
func (l *Lane) learnShares(s *Stratum) {
	for i := range s.Exposed.Parts {
		for _, u := range s.Exposed.Parts[i].Buckets {
			l.st.Spread[0].add(u.K, u.N, int64(u.N), 0)
		}
	}
	for i := range s.Baseline.Parts {
		for _, u := range s.Baseline.Parts[i].Buckets {
			l.st.Spread[0].add(u.K, u.N, 0, 0)
		}
	}
}
