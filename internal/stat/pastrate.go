package stat

// PastLogE returns the log of the evidence that events now come at more than rho times their earlier rate, both rates
// unknown: before events in the time timeBefore, now events so far in the time timeNow (in any unit, say instance-seconds).
// It may be looked at whenever one likes while timeNow grows: the probability that it ever reaches ln(1/alpha) is at most
// alpha. It is 0 before any time has passed.
//
// It is the likelihood of a mixture over rates (Gamma with shape 1/2) and over ratios, divided by the highest likelihood
// within the null hypothesis; events must come independently (Poisson), losses that have one cause do not.
// Source: Wasserman, Ramdas & Balakrishnan, "Universal inference", PNAS 117 (2020).
func PastLogE(before uint64, timeBefore float64, now uint64, timeNow, rho float64) float64 {
	if !(timeBefore > 0 && timeNow > 0 && rho > 0) {
		return 0
	}
	const shape = 0.5
	rate := float64(0.01 * timeBefore)
	x0, x := float64(before), float64(now)
	n := x0 + x
	ln0 := float64(shape*ln(rate)) - lnGamma(shape) + lnGamma(shape+n)
	w, e := make([]float64, len(rateRatios)), make([]float64, len(rateRatios))
	for k, ratio := range rateRatios {
		r := float64(ratio * rho)
		w[k] = 1 / float64(len(rateRatios))
		e[k] = ln0 + float64(x*ln(r)) - float64((shape+n)*ln(rate+timeBefore+float64(r*timeNow)))
	}
	return lnSum(w, e) - bestNull(x0, timeBefore, x, timeNow, rho)
}

// bestNull is the highest log likelihood with a rate now of at most rho times the rate before, without the terms that the
// mixture has too.
func bestNull(x0, timeBefore, x, timeNow, rho float64) float64 {
	logLik := func(n, rate float64) float64 {
		if n == 0 {
			return 0
		}
		return float64(n * ln(rate))
	}
	if float64(x*timeBefore) <= float64(float64(rho*timeNow)*x0) {
		return logLik(x0, x0/timeBefore) + logLik(x, x/timeNow) - (x0 + x)
	}
	n := x0 + x
	return logLik(n, n/(timeBefore+float64(rho*timeNow))) + logLik(x, rho) - n
}
