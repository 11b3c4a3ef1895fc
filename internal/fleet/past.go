package fleet

import "time"

// Past is what one component's instances did in a span of time.
type Past struct {
	Seconds uint64 // that instances were alive, added up
	Losses  uint64 // boots that stopped renewing without a Bye, and boots that took the place of an earlier one of their instance
}

// PastOf returns, by component, what happened from a time until now. What lies before this leadership is left out: nobody
// could renew then. A boot counts as silent once it has not renewed for the whole of a lease of ttl.
func (f *Fleet) PastOf(from, now time.Time, ttl time.Duration) map[string]Past {
	if from.Before(f.Started) {
		from = f.Started
	}
	out := map[string]Past{}
	for _, m := range f.Members {
		p := out[m.Component]
		end, lost := m.end(ttl, now)
		if begin := later(m.Joined, from); end.After(begin) {
			p.Seconds += uint64(end.Sub(begin) / time.Second)
		}
		if lost && end.After(from) {
			p.Losses++
		}
		if m.Joined.After(from) && f.Replaces(m) {
			p.Losses++
		}
		out[m.Component] = p
	}
	return out
}

// end is when a boot was last alive, and whether it went without a Bye.
func (m *Member) end(ttl time.Duration, now time.Time) (at time.Time, lost bool) {
	switch {
	case !m.Bye.IsZero():
		return m.Bye, false
	case m.Live(ttl, now):
		return now, false
	}
	return m.Renewed, true
}

// Replaces reports whether an earlier boot of the same instance is known: a process that was started again. An instance that
// appears for the first time is growth, not loss.
func (f *Fleet) Replaces(m *Member) bool {
	for _, o := range f.Members {
		if o.Component == m.Component && o.Instance == m.Instance && o.Boot != m.Boot && o.Joined.Before(m.Joined) {
			return true
		}
	}
	return false
}
