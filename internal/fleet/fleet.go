// Package fleet is the server's half of the lease protocol as values: who is a member, what each boot has acknowledged,
// how long its leases may still run, and whether a barrier is complete. It is pure; package push answers the wire and
// package control makes things durable.
//
// A member is one boot of one instance. A new boot never retires an older one: each acknowledges, says Bye or lapses by
// itself, because two processes under one name would otherwise void the proof.
package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/mutant"
)

// Rho bounds the relative clock rate error of server and members; Granule is one tick of the coarsest clock read.
const (
	Rho     = 0.01
	Granule = 100 * time.Millisecond
)

// DefaultW bounds how long one request may keep using a decision where a member declares nothing.
const DefaultW = 2 * time.Second

// Forget is how long after its lapse a member stays listed.
const Forget = 24 * time.Hour

// Y is how long the server waits, on its own clock, until a lease of length ttl given just before has surely ended on a
// member whose clock runs at a rate within Rho: ttl*(1+rho)/(1-rho) + 2 granules (protocol L3).
func Y(ttl time.Duration) time.Duration {
	return time.Duration(float64(ttl)*(1+Rho)/(1-Rho)) + 2*Granule
}

// Member is one boot.
type Member struct {
	Instance  string        `json:"instance"`
	Boot      string        `json:"boot"`
	Component string        `json:"component"`
	Class     string        `json:"class"`
	Caps      slp.Caps      `json:"caps"`
	W         time.Duration `json:"w"`
	Joined    time.Time     `json:"joined"`

	Renewed  time.Time                 `json:"-"` // last Renew received by this leadership; zero if none
	Granted  map[string]time.Time      `json:"-"` // scope -> receipt of the last Renew answered with a lease for it
	Acked    map[string]map[string]Ack `json:"-"` // scope -> stage -> latest ack
	Prepared map[string]slp.Prepared   `json:"-"` // scope -> content loaded in shadow
	Active   map[string]uint64         `json:"-"`
	Told     Told                      `json:"-"`
	Bye      time.Time                 `json:"-"`
}

// Ack is the latest acknowledgement of one stage of one scope.
type Ack struct {
	Rev uint64    `json:"rev"`
	At  time.Time `json:"at"` // server time of receipt
}

// Fleet is every member of one environment, by boot. One goroutine owns it.
type Fleet struct {
	Members map[string]*Member
	Started time.Time // when this leadership began to grant: before it, nothing is known about leases

	sorted []*Member // nil when somebody has joined since; a barrier over thousands is looked at many times
}

// New returns an empty fleet for a leadership that began at started.
func New(started time.Time) *Fleet {
	return &Fleet{Members: map[string]*Member{}, Started: started}
}

// Join adds a boot, or returns the one that is there.
func (f *Fleet) Join(h slp.Hello, now time.Time) *Member {
	if m, ok := f.Members[h.Boot]; ok {
		return m
	}
	w := time.Duration(h.WMs) * time.Millisecond
	if w <= 0 {
		w = DefaultW
	}
	m := &Member{Instance: h.Instance, Boot: h.Boot, Component: h.Component, Class: h.Class, Caps: h.Caps, W: w, Joined: now.UTC()}
	if mutant.Is(mutant.BootRetires) {
		maps.DeleteFunc(f.Members, func(_ string, o *Member) bool { return o.Instance == m.Instance })
	}
	f.Add(m)
	return m
}

// Add puts a member that was stored earlier.
func (f *Fleet) Add(m *Member) {
	m.Granted, m.Acked = map[string]time.Time{}, map[string]map[string]Ack{}
	m.Prepared, m.Active = map[string]slp.Prepared{}, map[string]uint64{}
	f.Members[m.Boot], f.sorted = m, nil
}

// Acknowledge notes an ack; an older one than known changes nothing. It reports whether something changed.
func (m *Member) Acknowledge(a slp.Ack, now time.Time) bool {
	stages := m.Acked[a.Scope]
	if stages == nil {
		stages = map[string]Ack{}
		m.Acked[a.Scope] = stages
	}
	if old, ok := stages[a.Stage]; ok && old.Rev >= a.Rev {
		return false
	}
	stages[a.Stage] = Ack{Rev: a.Rev, At: now.UTC()}
	return true
}

// lapse returns when every lease the boot may hold for the scope has surely ended. A boot with no grant recorded in this
// leadership counts as the horizon, because an earlier leader may have granted one just before.
func (m *Member) lapse(scope string, y time.Duration, horizon time.Time) time.Time {
	g, ok := m.Granted[scope]
	if !ok {
		return horizon
	}
	if end := g.Add(y); end.Before(horizon) {
		return end
	}
	return horizon
}

// Live reports whether the boot may still hold a lease or renew one at now.
func (m *Member) Live(ttl time.Duration, now time.Time) bool {
	return m.Bye.IsZero() && !m.Renewed.IsZero() && now.Sub(m.Renewed) < Y(ttl)
}

// Sorted returns the members by component, instance, boot. The slice must not be changed.
func (f *Fleet) Sorted() []*Member {
	if f.sorted == nil || len(f.sorted) != len(f.Members) {
		f.sorted = f.sort()
	}
	return f.sorted
}

func (f *Fleet) sort() []*Member {
	return slices.SortedFunc(maps.Values(f.Members), func(a, b *Member) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Boot, b.Boot))
	})
}
