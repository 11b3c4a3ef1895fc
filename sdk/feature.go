package sluice

import (
	"time"

	"sluice.dev/sdk/evidence"
)

// Reading is one value of an ML feature as the component got it. The zero Reading is the number 0 without a known age.
type Reading struct {
	Value     float64   // NaN and the infinities count as null
	Category  string    // of a feature that has no number; Value is not looked at then
	Null      bool      // there is no value
	Invalid   bool      // it is not of the declared type
	Duplicate bool      // the same entity and event time were read before
	At        time.Time // event time of the value; zero: not known
}

// Feature counts one reading of an ML feature for every open rollout that has been evaluated in this request so far: nulls,
// schema, range, duplicates, age and drift, as far as the rollout declares them (a metric of kind feature does). Its age is
// counted to now on this machine's clock, and not below 0.
func (q *Request) Feature(name string, r Reading) {
	if q == nil {
		return
	}
	out := evidence.Reading{Value: r.Value, Category: r.Category, Null: r.Null, Invalid: r.Invalid, Duplicate: r.Duplicate, AgeSeconds: -1}
	if !r.At.IsZero() {
		out.AgeSeconds = max(0, time.Since(r.At).Seconds())
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	for i := range q.decisions {
		if d := &q.decisions[i]; d.judged != nil {
			d.slot.ObserveFeature(name, out)
		}
	}
}

// Flip counts whether stable and candidate version of a model gave different answers to the same input: they differ by more
// than tolerance, or one of them is NaN. It needs no exposed arm, so it judges a candidate in shadow. Metric is declared by
// the rollout as a proportion.
func (q *Request) Flip(metric string, stable, candidate, tolerance float64) {
	x := 0.0
	if d := stable - candidate; !(d <= tolerance && -d <= tolerance) {
		x = 1
	}
	q.Observe(metric, x)
}
