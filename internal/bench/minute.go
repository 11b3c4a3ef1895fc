package bench

import (
	"math"

	"sluice.dev/sluice/internal/stat"
)

// minute collects a metric for contenders that look once a minute at one number per arm.
type minute struct {
	values bool
	sum    cellTick
}

const minuteSeconds = 60

// take adds a second; at the end of a minute it returns the arms' numbers, the share of bad ones or the p99, and begins anew. An
// arm without observations has no number.
func (m *minute) take(at int, c *cellTick) (x [arms]float64, ok bool) {
	for arm := range arms {
		m.sum[arm].add(&c[arm])
	}
	if (at+1)%minuteSeconds != 0 {
		return x, false
	}
	ok = true
	for arm := range arms {
		a := &m.sum[arm]
		if a.n == 0 {
			ok = false
			continue
		}
		x[arm] = a.bad / a.n
		if m.values {
			x[arm], _ = a.hist.Quantile(0.99)
		}
	}
	m.sum = cellTick{}
	return x, ok
}

// threshold is a look per minute at the exposed arm against twice the baseline's share, or 1.2 times its p99, or an absolute limit;
// it returns how many looks have failed.
type threshold struct {
	values bool
	limit  float64 // 0: relative to the baseline
	minute minute
	failed float64
}

func (t *threshold) look(at int, c *cellTick) float64 {
	t.minute.values = t.values
	x, ok := t.minute.take(at, c)
	if !ok {
		return t.failed
	}
	limit := t.limit
	switch {
	case limit > 0:
	case t.values:
		limit = 1.2 * x[base]
	default:
		limit = 2 * x[base]
	}
	if x[exposed] > limit {
		t.failed++
	}
	return t.failed
}

// kayenta compares the per-minute numbers of both arms by Mann-Whitney from the fifth minute on, each minute again. "High" is a
// confidence interval of the shift whose lower end lies above a quarter of the shift's estimate; so P of a test against that quarter
// says at which confidence it would be High.
type kayenta struct {
	minute minute
	series [arms][]float64
	last   float64
}

const (
	kayentaLeast      = 5
	kayentaTolerance  = 0.25
	kayentaConfidence = 0.98
)

func (k *kayenta) look(at int, c *cellTick) float64 {
	x, ok := k.minute.take(at, c)
	if !ok {
		return k.last
	}
	for arm := range arms {
		k.series[arm] = append(k.series[arm], x[arm])
	}
	if len(k.series[exposed]) >= kayentaLeast {
		k.last = highAt(k.series[base], k.series[exposed])
	}
	return k.last
}

// highAt returns ln(1/p) of the exposed numbers being above the baseline's and the tolerance.
func highAt(control, treatment []float64) float64 {
	shift, err := stat.Shift(control, treatment, kayentaConfidence)
	if err != nil || shift.Estimate <= 0 {
		return never
	}
	less := make([]float64, len(treatment))
	for i, x := range treatment {
		less[i] = x - kayentaTolerance*shift.Estimate
	}
	u, p, err := stat.MannWhitney(control, less, stat.TwoSided)
	if err != nil || 2*u <= float64(len(less)*len(control)) {
		return never
	}
	return -math.Log(p)
}
