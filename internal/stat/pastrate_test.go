package stat

import (
	"math"
	"math/rand/v2"
	"testing"
)

func poissons(mean float64, n int) []float64 {
	out := make([]float64, n)
	p := math.Exp(-mean)
	for k := range out {
		out[k] = p
		p *= mean / float64(k+1)
	}
	return out
}

// TestPastFactorIsAnEValue adds up e over nearly all pairs of counts, on and inside the null hypothesis.
func TestPastFactorIsAnEValue(t *testing.T) {
	for _, before := range []float64{0.2, 2, 20} {
		for _, timeNow := range []float64{0.02, 0.5, 2} {
			for _, part := range []float64{1, 0.4} {
				const rho = 1.5
				mean := 0.0
				pNow := poissons(before*rho*part*timeNow, 220)
				for x0, p := range poissons(before, 120) {
					for x, q := range pNow {
						mean += p * q * math.Exp(PastLogE(uint64(x0), 1, uint64(x), timeNow, rho))
					}
				}
				if mean > 1 {
					t.Errorf("rate %g, time %g, part %g: expectation %g", before, timeNow, part, mean)
				}
			}
		}
	}
}

func TestPastRateFindsManyLosses(t *testing.T) {
	if e := PastLogE(3, 3600, 4, 20, 2); e < math.Log(100) {
		t.Errorf("3 losses in an hour, then 4 in 20 s: log e %g", e)
	}
	if e := PastLogE(60, 3600, 1, 60, 2); e > 0 {
		t.Errorf("as many as before: log e %g", e)
	}
	if e := PastLogE(0, 0, 5, 1, 1); e != 0 {
		t.Errorf("nothing known of before: log e %g", e)
	}
}

// TestPastRateUnderContinuousLooks: looking every second of an hour, the alarm at 1 % is false in few of 400 lives.
func TestPastRateUnderContinuousLooks(t *testing.T) {
	alarms := 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(60, seed))
		before := uint64(poisson(rng, 20))
		now := uint64(0)
		for s := 1; s <= 3600; s++ {
			now += uint64(poisson(rng, 20.0/3600))
			if PastLogE(before, 3600, now, float64(s), 1) >= math.Log(1/alpha) {
				alarms++
				break
			}
		}
	}
	if alarms > 8 {
		t.Errorf("%d of 400 false alarms at alpha %g", alarms, alpha)
	}
}
