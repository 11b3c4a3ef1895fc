package fleet

import (
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/mutant"
)

// GrantView is what renewals are answered from. It never changes; a commit publishes the next one.
type GrantView struct {
	Epoch  uint64
	Head   slp.Head
	Floors map[string]uint64
	Leases map[string]time.Duration // scopes that may be granted
}

// Seen is what the grant path knows of one boot: when its last Renew arrived and when each scope was last granted.
type Seen struct {
	Boot    string
	Renewed time.Time
	Granted map[string]time.Time
	Told    Told
}

// Told is what a boot says of itself in its renewals, beside what it acknowledges.
type Told struct {
	Pins    slp.PinCounts     // since the boot
	Oldest  map[string]uint64 // scope -> oldest revision that an open request holds; not to be changed
	Crashes uint64
}

// Grants answers renewals: the granting switch of each scope and the times of the grants live together, so that nothing
// can be granted after Stop has returned. It is not safe for concurrent use: package push holds one lock around it.
type Grants struct {
	view    GrantView
	stopped map[string]bool
	boots   map[string]*Seen
}

// NewGrants returns a grant path that knows no boot and grants nothing.
func NewGrants() *Grants {
	return &Grants{stopped: map[string]bool{}, boots: map[string]*Seen{}}
}

// Join makes a boot known, after its Hello is durable.
func (g *Grants) Join(boot string) {
	if g.boots[boot] == nil {
		g.boots[boot] = &Seen{Boot: boot, Granted: map[string]time.Time{}}
	}
}

// Known reports whether the boot has said Hello to this leadership.
func (g *Grants) Known(boot string) bool { return g.boots[boot] != nil }

// Renew notes a Renew received at now and returns the grant for it; ok is false for a boot that is not known. The receipt
// time of each granted lease is written before the answer is handed out.
func (g *Grants) Renew(q slp.Renew, now time.Time) (grant slp.Grant, ok bool) {
	b := g.boots[q.Boot]
	if b == nil {
		return slp.Grant{}, false
	}
	b.Renewed = newest(b.Renewed, now)
	b.Told.Oldest, b.Told.Crashes = q.OldestInflight, q.Crashes
	if q.Pins != nil {
		b.Told.Pins = *q.Pins
	}
	grant = slp.Grant{Boot: q.Boot, N: q.N, Epoch: g.view.Epoch, Head: g.view.Head, Floors: g.view.Floors, ServerNow: now.UnixMicro()}
	for scope, ttl := range g.view.Leases {
		if g.stopped[scope] {
			continue
		}
		if _, had := b.Granted[scope]; !had || !mutant.Is(mutant.GrantFirst) {
			b.Granted[scope] = newest(b.Granted[scope], now)
		}
		if grant.Leases == nil {
			grant.Leases = make(map[string]int64, len(g.view.Leases))
		}
		grant.Leases[scope] = ttl.Milliseconds()
	}
	return grant, true
}

// newest: of two renewals that are answered at once the one received first may come last, and takes nothing back.
func newest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Stop ends granting of a scope, before the revoke's transaction begins.
func (g *Grants) Stop(scope string) { g.stopped[scope] = !mutant.Is(mutant.StopNothing) }

// Show publishes a view. A scope that it does not grant needs no switch any more; one that it grants is granted again.
func (g *Grants) Show(v GrantView) {
	if mutant.Is(mutant.OldFloor) && g.view.Floors != nil {
		v.Floors = g.view.Floors
	}
	g.view = v
	clear(g.stopped)
}

// Seen returns a copy of what is known of each boot.
func (g *Grants) Seen() []Seen {
	out := make([]Seen, 0, len(g.boots))
	for _, b := range g.boots {
		s := Seen{Boot: b.Boot, Renewed: b.Renewed, Told: b.Told, Granted: make(map[string]time.Time, len(b.Granted))}
		for scope, at := range b.Granted {
			s.Granted[scope] = at
		}
		out = append(out, s)
	}
	return out
}

// Forget drops boots that have not renewed since before.
func (g *Grants) Forget(before time.Time) {
	for id, b := range g.boots {
		if !b.Renewed.IsZero() && b.Renewed.Before(before) {
			delete(g.boots, id)
		}
	}
}
