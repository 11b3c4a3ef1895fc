package fleet

import (
	"slices"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/mutant"
)

// How a member stands in a barrier.
const (
	ByAck   = "acked"    // acknowledged the floor, and drained
	ByLapse = "lapsed"   // its lease has run out, and its open requests with it
	ByBye   = "bye"      // stopped evaluating
	Waiting = "waiting"  // neither yet
	ByFence = "fenced"   // its resource refuses what lies below the floor
	NoLease = "unleased" // holds no lease: nothing can be proven about it
)

// Line is one boot's place in a barrier.
type Line struct {
	Component string    `json:"component"`
	Instance  string    `json:"instance"`
	Boot      string    `json:"boot"`
	Class     string    `json:"class"`
	How       string    `json:"how"`
	Rev       uint64    `json:"rev,omitempty"`  // revision acknowledged
	At        time.Time `json:"at,omitzero"`    // when it was proven
	Until     time.Time `json:"until,omitzero"` // when it will be proven at the latest
}

// Proof is the result of a barrier: every line proven or the first that is not.
type Proof struct {
	Scope    string    `json:"scope"`
	Floor    uint64    `json:"floor"`
	Horizon  time.Time `json:"horizon"` // latest end of any lease given before the revoke
	Lines    []Line    `json:"lines"`
	Counts   Counts    `json:"components"`
	Complete bool      `json:"complete"`
	At       time.Time `json:"at,omitzero"` // when the last line was proven; the revoke where nothing had to be
	Next     time.Time `json:"-"`           // when looking again can change the answer by itself; zero: only an ack can
}

// Counts says how many instances were proven in which way.
type Counts struct {
	Total    int `json:"total"`
	Acked    int `json:"acked"`
	Lapsed   int `json:"lapsed"`
	Fenced   int `json:"fenced"`
	Unproven int `json:"unproven"`
}

// Exposed lists the classes that the exposure-off barrier covers; stores and writers unwind after it.
var Exposed = []string{slp.ClassReader, slp.ClassRouter, slp.ClassHost}

// UnwindOrder lists the classes that go back after exposure is off, in order.
var UnwindOrder = []string{slp.ClassStore, slp.ClassWriter}

// Revoke says what a barrier waits for.
type Revoke struct {
	Scope string
	Floor uint64
	Y     time.Duration // of the largest lease granted for the scope
	At    time.Time     // clock read after the revoke was durable and the grant path showed it
	Drain time.Duration // raises a member's W, never lowers it
}

// Horizon is when every lease given before the revoke has ended.
func (r Revoke) Horizon() time.Time { return r.At.Add(r.Y) }

// Barrier decides which members of the classes are proven not to serve the scope below its floor any more. A member is
// proven when it acknowledged `activated` and `drained` at or above the floor, W after it acknowledged `activated` alone,
// when it said Bye, or W after its lease lapsed. A fence is proven by its acknowledgement alone: while it is down nobody
// knows what it lets pass. Unleased members are listed as unproven and hold nothing up. Members that joined after the revoke never held the revoked value: they
// are not part of it.
func (f *Fleet) Barrier(r Revoke, classes []string, now time.Time) Proof {
	p := Proof{Scope: r.Scope, Floor: r.Floor, Horizon: r.Horizon().UTC(), Complete: true, At: r.At.UTC()}
	for _, m := range f.Sorted() {
		if !slices.Contains(classes, m.Class) || m.Joined.After(r.At) || f.forgotten(m, r) {
			continue
		}
		line := m.line(r, now)
		p.Lines = append(p.Lines, line)
		if line.How == Waiting {
			p.Complete = false
			if !line.Until.IsZero() && (p.Next.IsZero() || line.Until.Before(p.Next)) {
				p.Next = line.Until
			}
		} else if line.At.After(p.At) {
			p.At = line.At
		}
	}
	if !p.Complete {
		p.At = time.Time{}
	}
	p.Counts = Count(p.Lines)
	return p
}

// forgotten: a boot that said Bye, or whose leases all ended, before the revoke cannot have served the revoked value since.
func (f *Fleet) forgotten(m *Member, r Revoke) bool {
	if !m.Bye.IsZero() && m.Bye.Before(r.At) {
		return true
	}
	if m.Caps.Guard != slp.GuardLease {
		return false
	}
	g, ok := m.Granted[r.Scope]
	if ok {
		return g.Add(r.Y + m.w(r)).Before(r.At)
	}
	return mutant.Is(mutant.NoRestartWait) || f.Started.Add(r.Y+m.w(r)).Before(r.At) // no lease from this leadership, and any earlier one has ended
}

// silent: it has not been heard of for so long, or never by this leadership, or it has left. A store that came back to its
// renewals has something to take back, however long ago its lease ended.
func (m *Member) silent(d time.Duration, now time.Time) bool {
	return !m.Bye.IsZero() || m.Renewed.IsZero() || now.Sub(m.Renewed) >= d
}

func (m *Member) w(r Revoke) time.Duration { return max(m.W, r.Drain) }

// line takes the earliest of what proves the boot, so that a proof once given does not change when more arrives.
func (m *Member) line(r Revoke, now time.Time) Line {
	l := Line{Component: m.Component, Instance: m.Instance, Boot: m.Boot, Class: m.Class, How: Waiting}
	switch m.Caps.Guard {
	case slp.GuardFence:
		return l.fenced(m, r)
	case slp.GuardNone:
		l.How = NoLease
		return l
	}
	how, at := ByLapse, m.lapse(r.Scope, r.Y, r.Horizon()).Add(m.w(r))
	if !m.Bye.IsZero() && m.Bye.Before(at) {
		how, at = ByBye, m.Bye
	}
	if activated := m.Acked[r.Scope][slp.StageActivated]; (activated.Rev >= r.Floor || mutant.Is(mutant.AnyAck)) && !activated.At.IsZero() {
		l.Rev = activated.Rev
		acked := activated.At.Add(m.w(r))
		if drained := m.Acked[r.Scope][slp.StageDrained]; drained.Rev >= r.Floor && later(activated.At, drained.At).Before(acked) {
			acked = later(activated.At, drained.At)
		}
		if mutant.Is(mutant.NoDrain) {
			acked = activated.At
		}
		if !acked.After(at) {
			how, at = ByAck, acked
		}
	}
	return l.by(how, at, now)
}

// fenced is the place of a member that guards a resource: no time speaks for it.
func (l Line) fenced(m *Member, r Revoke) Line {
	switch a := m.Acked[r.Scope][slp.StageActivated]; {
	case a.Rev >= r.Floor && !a.At.IsZero():
		l.How, l.Rev, l.At = ByFence, a.Rev, a.At
	case !m.Bye.IsZero():
		l.How, l.At = ByBye, m.Bye
	}
	return l
}

func (l Line) by(how string, at, now time.Time) Line {
	if now.Before(at) {
		l.Until = at.UTC()
		return l
	}
	l.How, l.At = how, at.UTC()
	return l
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a.UTC()
	}
	return b.UTC()
}

// Unwound decides whether the members of one class have gone back: each acknowledged `drained` at or above the floor,
// said Bye, or its lease has run out (it holds nothing then and starts from the head when it comes back).
func (f *Fleet) Unwound(r Revoke, class string, now time.Time) Proof {
	p := Proof{Scope: r.Scope, Floor: r.Floor, Horizon: r.Horizon().UTC(), Complete: true, At: r.At.UTC()}
	for _, m := range f.Sorted() {
		if m.Class != class || m.Joined.After(r.At) || f.forgotten(m, r) && m.silent(r.Y, now) {
			continue
		}
		l := Line{Component: m.Component, Instance: m.Instance, Boot: m.Boot, Class: m.Class, How: Waiting}
		drained := m.Acked[r.Scope][slp.StageDrained]
		switch {
		case drained.Rev >= r.Floor:
			l.How, l.Rev, l.At = ByAck, drained.Rev, drained.At
		case !m.Bye.IsZero():
			l.How, l.At = ByBye, m.Bye
		case m.silent(r.Y, now):
			l = l.by(ByLapse, m.lapse(r.Scope, r.Y, r.Horizon()).Add(m.w(r)), now)
		}
		p.Lines = append(p.Lines, l)
		if l.How == Waiting {
			p.Complete = false
		} else if l.At.After(p.At) {
			p.At = l.At
		}
	}
	p.Counts = Count(p.Lines)
	return p
}

// Settled decides, by acknowledgements alone, whether the members that had joined by since use revision rev of a scope that
// is not leased. A boot that said Bye uses nothing any more; one that is only silent stays unproven until it is forgotten.
func (f *Fleet) Settled(scope string, rev uint64, since time.Time) Proof {
	p := Proof{Scope: scope, Floor: rev, Complete: true, At: since.UTC()}
	for _, m := range f.Sorted() {
		if m.Joined.After(since) || !m.Bye.IsZero() && m.Bye.Before(since) {
			continue
		}
		l := Line{Component: m.Component, Instance: m.Instance, Boot: m.Boot, Class: m.Class, How: Waiting}
		switch a := m.Acked[scope][slp.StageActivated]; {
		case a.Rev >= rev:
			l.How, l.Rev, l.At = ByAck, a.Rev, a.At
		case !m.Bye.IsZero():
			l.How, l.At = ByBye, m.Bye
		default:
			p.Complete = false
		}
		p.Lines = append(p.Lines, l)
	}
	p.Counts = Count(p.Lines)
	return p
}

// Count counts instances, not boots: an instance is acked when all its boots are, fenced or lapsed when one had to be, and
// unproven when one waits or holds no lease.
func Count(lines []Line) Counts {
	worst := map[[2]string]int{}
	rank := map[string]int{ByAck: 1, ByBye: 1, ByFence: 2, ByLapse: 3, Waiting: 4, NoLease: 4}
	for _, l := range lines {
		k := [2]string{l.Component, l.Instance}
		worst[k] = max(worst[k], rank[l.How])
	}
	c := Counts{Total: len(worst)}
	for _, w := range worst {
		switch w {
		case 1:
			c.Acked++
		case 2:
			c.Fenced++
		case 3:
			c.Lapsed++
		default:
			c.Unproven++
		}
	}
	return c
}
