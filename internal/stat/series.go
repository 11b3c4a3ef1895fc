package stat

import (
	"math"
	"slices"
)

// Detectors for one stream of values without anything to compare it with. Each sees a value once and never looks ahead.
// What they find is a lead, not proof: only CUSUM and EDetector have a rate of false alarms, and only for independent values.

// Extremes tells how far a value lies beyond all values before it. The zero value has seen nothing.
type Extremes struct {
	Low, High float64
	N         int // values seen
}

// Step returns by how much x is below or above all values before it, in units of their range; 0 inside the range and for the
// first value. NaN is passed over.
func (e *Extremes) Step(x float64) (beyond float64) {
	if math.IsNaN(x) {
		return 0
	}
	if e.N == 0 {
		*e = Extremes{x, x, 1}
		return 0
	}
	width := e.High - e.Low
	if width <= 0 {
		// A stream that was constant: any change is enormous, but finite.
		width = float64(1e-9 * (1 + math.Abs(e.High)))
	}
	beyond = max(x-e.High, e.Low-x, 0) / width
	e.Low, e.High, e.N = min(e.Low, x), max(e.High, x), e.N+1
	return beyond
}

// Moving holds the last values of a stream.
type Moving struct {
	last []float64
	next int
	full bool
}

// NewMoving holds n values, at least 1.
func NewMoving(n int) *Moving { return &Moving{last: make([]float64, max(n, 1))} }

// Step takes a value in for the oldest one and returns the mean and the standard deviation of those held; false until there
// are n of them.
func (m *Moving) Step(x float64) (mean, sd float64, full bool) {
	m.last[m.next] = x
	if m.next++; m.next == len(m.last) {
		m.next, m.full = 0, true
	}
	if !m.full {
		return 0, 0, false
	}
	mean = meanOf(m.last)
	for _, v := range m.last {
		sd += float64((v - mean) * (v - mean))
	}
	return mean, math.Sqrt(sd / float64(len(m.last))), true
}

// Season compares a value with those at the same place of earlier periods: the same time of day, or of the week.
type Season struct {
	period, slot, keep int64
	past               map[int64][]float64
}

// NewSeason divides a period into slots, both in seconds, and remembers the last keep values of each. A slot longer than half
// the period leaves no season: Step then never answers.
func NewSeason(period, slot, keep int64) *Season {
	return &Season{period, max(slot, 1), max(keep, 2), map[int64][]float64{}}
}

// madToSD makes the median absolute deviation of a normal law its standard deviation.
const madToSD = 1.4826

// Step returns the value's distance from the median of its slot's past, and the same in robust standard deviations (0 where
// the past does not vary). It answers from the third value of a slot on. at is in seconds.
func (s *Season) Step(at int64, x float64) (residual, z float64, ok bool) {
	if 2*s.slot > s.period {
		return 0, 0, false
	}
	slot := ((at%s.period + s.period) % s.period) / s.slot
	past := s.past[slot]
	if ok = len(past) >= 2; ok {
		mid := Median(past)
		away := make([]float64, len(past))
		for i, v := range past {
			away[i] = math.Abs(v - mid)
		}
		residual = x - mid
		if mad := Median(away); mad > 0 {
			z = residual / float64(madToSD*mad)
		}
	}
	if int64(len(past)) == s.keep {
		past = append(past[:0], past[1:]...)
	}
	s.past[slot] = append(past, x)
	return residual, z, ok
}

// Median is the middle value, the mean of the two middle ones of an even number, NaN of none. x is not changed.
func Median(x []float64) float64 {
	n := len(x)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(x))
	if n%2 == 1 {
		return sorted[n/2]
	}
	return float64((sorted[n/2-1] + sorted[n/2]) / 2)
}

// CUSUM watches for a lasting shift upwards of values in standard deviations. For a shift of Shift deviations no detector
// with the same mean time between false alarms is faster in the worst case (Lorden, Ann. Math. Stat. 42, 1971; Moustakides,
// Ann. Stat. 14, 1986). For a shift downwards give it -z.
type CUSUM struct {
	Shift float64 // to be found, in standard deviations
	Every float64 // mean number of values between false alarms is at least this, for independent normal values
	Sum   float64 // in standard deviations
}

// Step takes a value in standard deviations from where it should be and says whether to alarm; after an alarm it begins anew.
func (c *CUSUM) Step(z float64) bool {
	c.Sum = max(0, c.Sum+z-float64(c.Shift/2))
	if c.Sum < ln(c.Every)/c.Shift {
		return false
	}
	c.Sum = 0
	return true
}

// EDetector turns e-values into alarms without an end: it adds up the e-processes begun at every moment. The mean number of
// steps to a false alarm is at least Every, whatever the dependence of the steps, as long as each e-value has an expectation
// of at most 1 given the past. It does not bound the probability of ever alarming.
// Source: Shin, Ramdas & Rinaldo, "E-detectors", New England J. Stat. Data Sci. 2 (2024).
type EDetector struct {
	Every float64
	LogM  float64 // of the sum; without meaning before the first step
	begun bool
}

// Step multiplies an e-value in, M = (M+1) e, and says whether M has reached Every; after an alarm it begins anew.
func (d *EDetector) Step(logE float64) bool {
	sum := 0.0
	if d.begun {
		sum = lnAdd(d.LogM, 0)
	}
	d.LogM, d.begun = sum+logE, true
	if d.LogM < ln(d.Every) {
		return false
	}
	d.LogM, d.begun = 0, false
	return true
}
