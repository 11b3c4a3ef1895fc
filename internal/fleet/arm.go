package fleet

import (
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/mutant"
)

// Arming says whether a scope's next content may be committed.
type Arming struct {
	Ready   bool          `json:"ready"`
	Holding int           `json:"holding"`           // live boots that hold the content
	Refusal *slp.Prepared `json:"refusal,omitempty"` // a member's typed refusal, with Member
	Member  string        `json:"member,omitempty"`  // instance that refused
	Missing []string      `json:"missing,omitempty"` // instances that have not answered
	Absent  []string      `json:"absent,omitempty"`  // components of the bundle without any live member
}

// Shares of the live boots of each component, in per cent, that must hold the content (contract 2).
const (
	PreparedCanary = 100 // before anybody is exposed
	PreparedLater  = 99
)

// Arm judges the answers to a prepare; share is the least that must hold the content. components are those of the bundle:
// none may be absent, and somebody must be there. A member that is not live does not count: it serves the baseline until it
// has caught up.
func (f *Fleet) Arm(scope, digest string, ttl time.Duration, components []string, share int, now time.Time) Arming {
	var a Arming
	live, prepared := map[string]int{}, map[string]int{}
	for _, m := range f.Sorted() {
		if !m.Live(ttl, now) || m.Caps.Guard != slp.GuardLease {
			continue // a fence loads nothing, and an unleased member is asked for nothing
		}
		live[m.Component]++
		got, ok := m.Prepared[scope]
		switch {
		case ok && got.Digest == digest && got.Reject != nil && !mutant.Is(mutant.PrepareIgnored):
			a.Refusal, a.Member = &got, m.Instance
		case ok && got.Digest == digest:
			prepared[m.Component]++
			a.Holding++
		default:
			a.Missing = append(a.Missing, m.Instance)
		}
	}
	a.Ready = a.Refusal == nil && len(live) > 0
	for _, c := range components {
		if live[c] == 0 {
			a.Absent = append(a.Absent, c)
			a.Ready = false
		}
	}
	for c, n := range live {
		if 100*prepared[c] < share*n {
			a.Ready = false
		}
	}
	return a
}

// Activated reports whether every live member has the scope at or above rev in force, and lists those that lag.
func (f *Fleet) Activated(scope string, rev uint64, ttl time.Duration, now time.Time) (bool, []string) {
	var lag []string
	for _, m := range f.Sorted() {
		if m.Live(ttl, now) && m.Caps.Guard == slp.GuardLease && m.Acked[scope][slp.StageActivated].Rev < rev {
			lag = append(lag, m.Instance)
		}
	}
	return len(lag) == 0, lag
}
