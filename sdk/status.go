package sluice

import (
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/slp"
)

// Status is a client's state for people: a health page, a log line. It is a copy.
type Status struct {
	Boot      string                   `json:"boot"`
	Env       string                   `json:"env"`       // "" before the first configuration
	Epoch     uint64                   `json:"epoch"`     // of the leader heard last
	Head      slp.Head                 `json:"head"`      // in force
	Want      slp.Head                 `json:"want"`      // highest heard of; ahead of Head only for moments
	Connected bool                     `json:"connected"` // the watch stream is open
	Active    map[string]uint64        `json:"active"`    // revision in force by scope
	Floors    map[string]uint64        `json:"floors"`
	Leases    map[string]time.Duration `json:"leases"` // what remains, by leased scope; 0 when it has ended
	Rollouts  int                      `json:"rollouts"`
	Counters  Counters                 `json:"counters"`
	LastError string                   `json:"lastError,omitempty"` // last thing that went wrong, and when
	LastAt    time.Time                `json:"lastAt,omitzero"`
}

// Counters count since the start.
type Counters struct {
	Swaps        uint64 `json:"swaps"`        // configurations put in force
	Reconnects   uint64 `json:"reconnects"`   // of the watch stream
	Panics       uint64 `json:"panics"`       // recovered in rules and compilation; the default was served
	Suspends     uint64 `json:"suspends"`     // sleeps noticed, each ended all leases
	LeaseEnded   uint64 `json:"leaseEnded"`   // requests whose lease ended between two evaluations of one flag
	PinForged    uint64 `json:"pinForged"`    // pins with a wrong signature, ignored
	PinRevoked   uint64 `json:"pinRevoked"`   // pins below a floor, ignored
	PinMissed    uint64 `json:"pinMissed"`    // pins to content that is not here, or exposed ones without a lease here: served the baseline
	Unwinds      uint64 `json:"unwinds"`      // unwind hooks that returned without error
	EvidenceSent uint64 `json:"evidenceSent"` // messages accepted
	EvidenceLost uint64 `json:"evidenceLost"` // observations dropped: the server was away for too long, or refused them
	// Observations that a declared dimension could not keep apart, requests given up, and repeated observations of a unit.
	Evidence evidence.Stats `json:"evidence"`
}

type counts struct {
	swaps, reconnects, panics, suspends, fell, pinForged, pinRevoked, pinMissed, unwinds atomic.Uint64

	connected atomic.Bool

	mu     sync.Mutex
	err    string
	errAt  time.Time
	logged map[string]time.Time // kind of failure -> when it was logged last
}

// pins returns what the server is told of pins, nil while there is nothing.
func (k *counts) pins() *slp.PinCounts {
	p := slp.PinCounts{Missed: k.pinMissed.Load(), Revoked: k.pinRevoked.Load(), Forged: k.pinForged.Load()}
	if p == (slp.PinCounts{}) {
		return nil
	}
	return &p
}

// Status returns the client's state.
func (c *Client) Status() Status {
	v, now := c.view.Load(), c.mono()
	s := Status{
		Boot: c.boot, Epoch: v.Epoch, Want: v.Want, Connected: c.counts.connected.Load(), Rollouts: c.current.Load().open,
		Active: map[string]uint64{}, Floors: map[string]uint64{}, Leases: map[string]time.Duration{}, Counters: c.counters(),
	}
	if v.Snapshot != nil {
		s.Env, s.Head = v.Snapshot.Env, v.Snapshot.Head
		for scope, meta := range v.Snapshot.Scopes {
			s.Active[scope] = meta.Rev
			if meta.Leased {
				s.Leases[scope] = v.Remaining(scope, now)
			}
		}
	}
	for scope, f := range v.Floors {
		s.Floors[scope] = f
	}
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	s.LastError, s.LastAt = c.counts.err, c.counts.errAt
	return s
}

func (c *Client) counters() Counters {
	k := &c.counts
	n := Counters{
		Swaps: k.swaps.Load(), Reconnects: k.reconnects.Load(), Panics: k.panics.Load(), Suspends: k.suspends.Load(), LeaseEnded: k.fell.Load(),
		PinForged: k.pinForged.Load(), PinRevoked: k.pinRevoked.Load(), PinMissed: k.pinMissed.Load(), Unwinds: k.unwinds.Load(),
		EvidenceSent: c.evidence.sent.Load(), EvidenceLost: c.evidence.dropped.Load(),
	}
	c.evidence.mu.Lock()
	defer c.evidence.mu.Unlock()
	for _, j := range c.evidence.lists {
		s := j.acc.Stats()
		n.Evidence.Overflow += s.Overflow
		n.Evidence.Abandoned += s.Abandoned
		n.Evidence.Once += s.Once
	}
	return n
}

// logEvery bounds how often one kind of failure is logged.
const logEvery = time.Minute

// failed notes an error, and logs it unless one of its kind was logged just before.
func (c *Client) failed(what string, err error) {
	if err == nil || c.ctx.Err() != nil {
		return
	}
	k, now := &c.counts, time.Now()
	k.mu.Lock()
	k.err, k.errAt = what+": "+err.Error(), now.UTC()
	log := now.Sub(k.logged[what]) >= logEvery
	if log {
		if k.logged == nil {
			k.logged = map[string]time.Time{}
		}
		k.logged[what] = now
	}
	k.mu.Unlock()
	if log {
		c.cfg.Logf("sluice: %s: %v", what, err)
	}
}
