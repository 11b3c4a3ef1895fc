package anomaly

import "time"

// Pair follows one signal of both arms. What moves both alike (an hour of the day, an outage upstream) leaves their difference
// as it was, so the difference is watched first: what is unusual in it has to do with the change. It is not safe for concurrent
// use.
type Pair struct{ gap, baseline *Watch }

// NewPair returns a pair that has seen nothing; quiet is as in NewWatch.
func NewPair(quiet int) *Pair { return &Pair{NewWatch(quiet), NewWatch(quiet)} }

// Step takes the next values of the arms. shared says that it is not the difference that is unusual but the baseline by
// itself: something happened, and not because of the change.
func (p *Pair) Step(at time.Time, exposed, baseline float64) (f Finding, shared bool) {
	apart := p.gap.Step(at, exposed-baseline)
	alike := p.baseline.Step(at, baseline)
	if apart.Score > 0 {
		return apart, false
	}
	return alike, alike.Score > 0
}
