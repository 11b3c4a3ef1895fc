package slp

import (
	"time"

	"sluice.dev/sdk/internal/mutant"
)

// View is what evaluation needs of a Client's state. It is immutable: each Swap carries a new one, and floors and lease
// ends of one View belong together.
type View struct {
	Epoch    uint64
	Snapshot *Snapshot // in force; nil before the first
	Want     Head      // highest head heard of
	Floors   map[string]uint64
	LeaseEnd map[string]Mono // scope -> end of its lease, early lapse included
	PinKeys  []PinKey
	Clock    ServerClock
}

// Held is rule L2: whether an exposed arm of the scope at revision rev may be served at now. There must be a lease that
// has not ended, and no floor above the revision. It must be asked with a fresh reading of the clock at each evaluation.
func (v *View) Held(scope string, rev uint64, now Mono) bool {
	lease := now < v.LeaseEnd[scope] || mutant.Is(mutant.HeldForever) && v.LeaseEnd[scope] > 0
	return rev >= v.Floors[scope] && lease
}

// Remaining is how long the lease of the scope still runs, 0 when there is none.
func (v *View) Remaining(scope string, now Mono) time.Duration {
	return max(v.LeaseEnd[scope]-now, 0)
}
