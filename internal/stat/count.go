package stat

// The count e-process asks whether events fall upon the exposed arm more often than its share allows. Given the number of
// events of a block, each is exposed with probability q; under a rate ratio of at most rho it is at most
// q0 = w rho/(w rho + 1 - w), w being the share of exposure time, traffic or instances, known exactly. Any intensity over
// time is allowed, since only the split is used.
// Source: Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.

// countSplit is the beta-binomial process of one q0; another q0 is another process, and their factors multiply.
type countSplit struct {
	Q0 float64 `json:"q0"`
	NT uint64  `json:"nT"`
	NC uint64  `json:"nC"`
}

// maxSplits bounds how many q0 are remembered; the oldest is forgotten and would begin anew.
const maxSplits = 16

// NullShare is q0, the largest share of events that an exposure share w and a rate ratio 1+margin explain.
func NullShare(w float64, m Margin) float64 {
	r := float64(w * m.slope())
	return r / (r + (1 - w))
}

// betaPrior is the prior that has q0 as its mean and as little weight as a count can have.
func betaPrior(q0 float64) (a, b float64) {
	if q0 <= 0.5 {
		return 1, (1 - q0) / q0
	}
	return q0 / (1 - q0), 1
}

// CountLogE returns ln e of nT exposed and nC baseline events against "each is exposed with probability at most q0", for a
// Beta(a, b) mixture over the alternatives, cut off below q0:
//
//	e = B(a+nT, b+nC)/B(a,b) / (q0^nT (1-q0)^nC) * (1-I_q0(a+nT, b+nC))/(1-I_q0(a, b))
//
// twoSided leaves out the last factor and tests q = q0.
func CountLogE(nT, nC uint64, q0, a, b float64, twoSided bool) float64 {
	t, c := float64(nT), float64(nC)
	e := lnBeta(a+t, b+c) - lnBeta(a, b) - float64(t*ln(q0)) - float64(c*ln(1-q0))
	if twoSided {
		return e
	}
	// 1 - I_q(a, b) = I_{1-q}(b, a)
	return e + lnIncBeta(1-q0, b+c, a+t) - lnIncBeta(1-q0, b, a)
}

// countFactors adds ln e of every bet for one stratum to out. better swaps the arms' roles: it bets that the exposed share
// is below q0.
func countFactors(splits *[]countSplit, nT, nC uint64, w float64, m Margin, better bool, out []float64) {
	q0 := NullShare(w, m)
	if better {
		nT, nC, q0 = nC, nT, 1-q0
	}
	s := splitOf(splits, q0)
	a, b := betaPrior(q0)
	before := CountLogE(s.NT, s.NC, q0, a, b, false)
	s.NT += nT
	s.NC += nC
	out[0] += CountLogE(s.NT, s.NC, q0, a, b, false) - before
	t, c := float64(nT), float64(nC)
	for k, r := range rateRatios {
		q := float64(r*q0) / (float64(r*q0) + (1 - q0))
		out[k+1] += float64(t*ln(q/q0)) + float64(c*ln((1-q)/(1-q0)))
	}
}

func splitOf(splits *[]countSplit, q0 float64) *countSplit {
	for i := range *splits {
		if s := &(*splits)[i]; s.Q0 == q0 {
			return s
		}
	}
	if len(*splits) == maxSplits {
		*splits = append((*splits)[:0], (*splits)[1:]...)
	}
	*splits = append(*splits, countSplit{Q0: q0})
	return &(*splits)[len(*splits)-1]
}
