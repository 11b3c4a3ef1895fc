package bench

import (
	"fmt"
	"math"
	"math/rand/v2"

	"sluice.dev/sdk/evidence"
)

// tuningFamilies are the streams on which the knobs are set, one per kind of metric.
func tuningFamilies() []*family {
	return []*family{rates(tuneRates, 0.01), values(tuneValues, lognormal(0.8))}
}

const (
	tuneRates  = "plain errors"
	tuneValues = "plain latency"
)

var ramp = []uint32{1_000, 5_000, 25_000, 50_000}

// rise goes from 1 to the factor, fall back.
func rise(factor float64) func(float64) (float64, float64) {
	return func(x float64) (float64, float64) { return math.Pow(factor, x), x * math.Ln2 }
}

func fall(factor float64) func(float64) (float64, float64) {
	return func(x float64) (float64, float64) { return math.Pow(factor, 1-x), (1 - x) * math.Ln2 }
}

// outage multiplies the share of bad ones thirtyfold and values by e for a tenth of every sixth of the time.
func outage(x float64) (float64, float64) {
	if math.Mod(6*x, 1) > 0.9 {
		return 30, 1
	}
	return 1, 0
}

// wave is a slow drift of both arms: six periods.
func wave(x float64) (float64, float64) {
	s := math.Sin(12 * math.Pi * x)
	return math.Exp(0.5 * s), 0.4 * s
}

// cold caches fill within about a twentieth of the time.
func cold(x float64) (float64, float64) {
	warm := math.Exp(-60 * x)
	return 1 + 9*warm, 1.2 * warm
}

// nullFamilies are all kinds of rollouts without harm.
func nullFamilies() []*family {
	out := []*family{
		rates("plain errors", 0.01),
		values("plain latency", lognormal(0.8)),
		rates("ramp, rising errors", 0.005).with(func(f *family) { f.ramp, f.drift, f.nominal = ramp, rise(6), 0.03 }),
		rates("ramp, falling errors", 0.005).with(func(f *family) { f.ramp, f.drift, f.nominal = ramp, fall(6), 0.03 }),
		values("ramp, rising latency", lognormal(0.8)).with(func(f *family) { f.ramp, f.drift = ramp, rise(1) }),
		values("ramp, falling latency", lognormal(0.8)).with(func(f *family) { f.ramp, f.drift = ramp, fall(1) }),
		rates("shared outages, errors", 0.01).with(func(f *family) { f.ramp, f.drift = ramp, outage }),
		values("shared outages, latency", lognormal(0.8)).with(func(f *family) { f.ramp, f.drift = ramp, outage }),
		values("heavy tail, lognormal 1.2", lognormal(1.2)),
		values("heavy tail, Pareto 1.5", pareto(1.5)),
		values("values drift in both arms", lognormal(0.8)).with(func(f *family) { f.drift = wave }),
		rates("cold start of both arms, errors", 0.01).with(func(f *family) { f.drift = cold }),
		values("cold start of both arms, latency", lognormal(0.8)).with(func(f *family) { f.drift = cold }),
	}
	out = append(out, clusteredFamilies()...)
	out = append(out, telemetryFamilies()...)
	return append(out,
		rates("20 metrics x 5 segments", 0.01).with(func(f *family) {
			f.metrics, f.segments, f.firstSegment, f.most = nil, 5, 0.2, 900
			for i := range 20 {
				f.metrics = append(f.metrics, metric{name: fmt.Sprint("metric", i), cells: 6})
			}
			f.metrics[0].name = evidence.MetricError
		}),
		productDefaults("at the margin, errors", 0.01, lognormal(0.5)).with(func(f *family) {
			f.harm = &harm{ratio: 1 + errorMargin, segment: -1, onset: atStart}
		}),
		productDefaults("at the margin, latency", 0.01, lognormal(0.5)).with(func(f *family) {
			_, eff := evidence.ShiftOf(histScale, 1+latencyMargin)
			f.harm = slower(1 + eff)
		}),
	)
}

// clusteredFamilies have requests that are not independent.
func clusteredFamilies() (out []*family) {
	for _, users := range []int{200, 2000} {
		for _, icc := range []float64{0, 0.05, 0.2} {
			out = append(out, rates(fmt.Sprintf("%d exposed users, ICC %g", users, icc), 0.01).with(func(f *family) {
				f.units = population(10*users, icc, func(int) float64 { return 1 })
			}))
		}
	}
	zipf := func(i int) float64 { return 1 / float64(i+1) }
	return append(out,
		rates("AR(1) of both arms", 0.01).with(func(f *family) { f.commonAR = 0.5 }),
		rates("AR(1) per instance, exposed by instance", 0.01).with(func(f *family) { f.units, f.ownAR = hosts, 0.2 }),
		rates("Zipf activity, errors", 0.02).with(func(f *family) { f.units = population(5000, 0.05, zipf) }),
		values("Zipf activity, latency", lognormal(0.8)).with(func(f *family) { f.units = population(5000, 0.05, zipf) }),
		rates("one unit of 10 %, errors", 0.01).with(func(f *family) { f.units = heavy }),
		values("one unit of 10 %, latency", lognormal(0.8)).with(func(f *family) { f.units = heavy }),
	)
}

// telemetryFamilies have evidence that does not come as it was made.
func telemetryFamilies() []*family {
	return []*family{
		rates("telemetry of one arm 10 s behind", 0.01).with(func(f *family) { f.delivery, f.drift = deliverLag, outage }),
		rates("late data of one arm", 0.01).with(func(f *family) { f.delivery, f.drift = deliverLate, outage }),
		rates("cut by outcome", 0.01).with(func(f *family) { f.delivery, f.ramp = deliverByOutcome, ramp }),
		rates("one instance ahead of nine", 0.01).with(func(f *family) { f.exposure, f.aheadOf, f.instanceSpread = 5_000, 50_000, 0.6 }),
	}
}

// population makes n units whose shares of bad ones correlate by icc and whose values differ by a tenth.
func population(n int, icc float64, activity func(i int) float64) func(w *world) []float64 {
	return func(w *world) []float64 {
		weights := make([]float64, n)
		for i := range weights {
			weights[i] = activity(i)
			u := unit{hash: w.rng.Uint64(), rate: ownRate(w.rng, w.family.share, icc)}
			if icc > 0 {
				u.slow = 0.1 * w.rng.NormFloat64()
			}
			w.units = append(w.units, u)
		}
		return weights
	}
}

// heavy is a population with one unit that makes a tenth of the requests, eightfold bad and half slower.
func heavy(w *world) []float64 {
	weights := population(2000, 0, func(i int) float64 {
		if i == 0 {
			return 1999.0 / 9
		}
		return 1
	})(w)
	w.units[0].rate, w.units[0].slow = 8, math.Log(1.5)
	return weights
}

// hosts are thirty instances that are exposed as a whole, three of them, with a tenth of spread between them.
func hosts(w *world) []float64 {
	weights := make([]float64, 30)
	for i := range weights {
		weights[i] = 1
		hash := w.rng.Uint64()
		hash += uint64(i)*evidence.MaxExposure/30 - hash%evidence.MaxExposure
		w.units = append(w.units, unit{hash: hash, rate: math.Exp(0.1 * w.rng.NormFloat64())})
	}
	return weights
}

// seriesFamilies follow recorded series: as the share of errors, from 0.2 % to 5 %, and as values.
func seriesFamilies(o Options) (out []*family) {
	n := len(o.Series)
	if o.MaxSeries > 0 {
		n = min(n, o.MaxSeries)
	}
	for i := range n {
		s := &o.Series[i*len(o.Series)/n]
		at := s.between()
		out = append(out,
			rates("series "+s.Name+", errors", 0.002).with(func(f *family) {
				f.ramp, f.nominal = ramp, 0.01
				f.drift = func(x float64) (float64, float64) { return math.Pow(25, at(x)), 0 }
			}),
			values("series "+s.Name+", latency", lognormal(0.5)).with(func(f *family) {
				f.ramp = ramp
				f.drift = func(x float64) (float64, float64) { return 1, 2 * at(x) }
			}))
	}
	return out
}

// between returns the series over the time from 0 to 1, scaled to 0..1 between its 1st and 99th hundredth.
func (s *Series) between() func(x float64) float64 {
	lo, hi := span(s.Values)
	return func(x float64) float64 {
		v := s.Values[min(int(x*float64(len(s.Values))), len(s.Values)-1)]
		if hi <= lo {
			return 0.5
		}
		return min(max((v-lo)/(hi-lo), 0), 1)
	}
}

func atStart(*rand.Rand, int) int { return 0 }

func midway(_ *rand.Rand, length int) int { return length / 2 }

// anytime is uniform over the first nine tenths.
func anytime(rng *rand.Rand, length int) int { return rng.IntN(length * 9 / 10) }

// more multiplies the share of bad ones.
func more(ratio float64) *harm { return &harm{ratio: ratio, segment: -1, onset: atStart, goal: 2.5} }

// slower multiplies all values.
func slower(factor float64) *harm {
	by := math.Log(factor)
	return &harm{
		segment: -1, onset: atStart, goal: 2,
		move: func(_ *rand.Rand, x float64) float64 { return x + by },
		cdf:  func(l law) func(float64) float64 { return func(x float64) float64 { return l.cdf(x - by) } },
	}
}

// some multiplies a share of the values.
func some(share, factor float64) *harm {
	by := math.Log(factor)
	return &harm{
		segment: -1, onset: atStart, goal: 3,
		move: func(rng *rand.Rand, x float64) float64 {
			if rng.Float64() < share {
				return x + by
			}
			return x
		},
		cdf: func(l law) func(float64) float64 {
			return func(x float64) float64 { return (1-share)*l.cdf(x) + share*l.cdf(x-by) }
		},
	}
}

// tail stretches what lies above the p95 of the law.
func tail(l law, factor float64) *harm {
	q := math.Exp(l.quantile(0.95))
	return &harm{
		segment: -1, onset: atStart, goal: 3,
		move: func(_ *rand.Rand, x float64) float64 {
			if v := math.Exp(x); v > q {
				return math.Log(q + factor*(v-q))
			}
			return x
		},
		cdf: func(l law) func(float64) float64 {
			return func(x float64) float64 {
				if v := math.Exp(x); v > q {
					return l.cdf(math.Log(q + (v-q)/factor))
				}
				return l.cdf(x)
			}
		},
	}
}

// from lets a harm begin later.
func (h *harm) from(onset func(*rand.Rand, int) int) *harm {
	h.onset, h.late, h.goal = onset, true, 2
	return h
}

func (h *harm) aim(goal float64) *harm { h.goal = goal; return h }

// harmFamilies are all kinds of harm. seconds is how long they last at most.
func harmFamilies(seconds int) []*family {
	l := lognormal(0.8)
	rate := func(name string, share float64, h *harm) *family {
		return rates(name, share).with(func(f *family) { f.harm = h })
	}
	value := func(name string, h *harm) *family { return values(name, l).with(func(f *family) { f.harm = h }) }
	at := func(rate int, exposure uint32, f *family) *family { f.rate, f.exposure = rate, exposure; return f }
	out := []*family{
		rate("errors +2 pp (1 to 3 %)", 0.01, more(3)),
		rate("errors +0.5 pp (1 to 1.5 %)", 0.01, more(1.5)),
		at(5000, 50_000, rate("errors x1.2 at 0.1 %, 5000/s, 50 % exposed", 0.001, more(1.2))),
		at(200, 1_000, rate("errors +2 pp, 1 % exposed", 0.01, more(3))),
		at(200, 50_000, rate("errors +2 pp, 50 % exposed", 0.01, more(3))),
		at(5, 50_000, rate("errors +2 pp, 5/s, 50 % exposed", 0.01, more(3))),
		at(5000, 10_000, rate("errors +0.5 pp, 5000/s", 0.01, more(1.5))),
		rate("errors +2 pp, onset midway", 0.01, more(3).from(midway)),
		rate("errors +2 pp, onset at random", 0.01, more(3).from(anytime)),
		rate("nulls +1 pp (2 to 3 %)", 0.02, more(1.5)),
		rate("stale features (2 to 6 %)", 0.02, more(3)),
		rate("score flips (0.5 to 1.5 %)", 0.005, more(3)),
		rate("errors +2 pp in 10 % of the traffic", 0.01, more(3)).with(func(f *family) {
			f.metrics[0].cells, f.segments, f.firstSegment, f.harm.segment = 6, 5, 0.1, 0
		}),
		value("latency x1.05", slower(1.05).aim(3)),
		value("latency x1.1", slower(1.1)),
		value("latency x1.5", slower(1.5)),
		value("latency x1.1, onset at random", slower(1.1).from(anytime)),
		at(5000, 10_000, value("tail above p95 x1.1, 5000/s", tail(l, 1.1))),
		value("tail above p95 x1.5", tail(l, 1.5)),
		value("2 % of requests x5", some(0.02, 5)),
		value("value drift, PSI 0.1", slower(math.Exp(0.8*math.Sqrt(0.1)))),
		value("value drift, PSI 0.25", slower(math.Exp(0.8*0.5))),
	}
	out = append(out, productHarms()...)
	for _, f := range out {
		if f.rate > reference {
			f.most = min(seconds, 1800) // enough for all but the slowest, and time is what high rates cost
		}
	}
	return out
}

// productHarms are met with the product's own margins and number of tests.
func productHarms() []*family {
	l := lognormal(0.5)
	harmed := func(name string, h *harm) *family {
		return productDefaults(name, 0.01, l).with(func(f *family) { f.harm = h })
	}
	return []*family{
		harmed("errors +2 pp (1 to 3 %)", more(3)),
		harmed("errors +1 pp (1 to 2 %)", more(2)),
		harmed("errors +2 pp, onset at random", more(3).from(anytime)),
		harmed("latency x1.2", slower(1.2)),
		harmed("latency x1.5", slower(1.5)),
		harmed("latency x1.5, onset at random", slower(1.5).from(anytime)),
		harmed("2 % of requests x5", some(0.02, 5)),
	}
}
