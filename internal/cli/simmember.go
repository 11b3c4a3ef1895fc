package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// simWire carries a simulated member's messages: straight into the server's handlers, or over HTTP.
type simWire interface {
	// post sends one message and decodes the answer into out unless that is nil.
	post(ctx context.Context, path string, in, out any) error
	// watch hands over the events of the stream until it ends.
	watch(ctx context.Context, path string, see func(slp.Event)) error
}

// simMember is one boot that speaks the members' side of the lease protocol and nothing more: no cache, no pins, no
// evaluation. It is small, so that one process holds thousands of them; applications use the SDK.
type simMember struct {
	wire  simWire
	hello slp.Hello
	// onCommit, if set, is told of each leased scope whose revision comes into force, with the exposure of its open cohort.
	onCommit func(simScope)

	mu       sync.Mutex
	n        uint64
	active   map[string]uint64
	drained  map[string]uint64
	unsent   []slp.Ack
	prepared []slp.Prepared
	loaded   map[string]simScope // scope -> content loaded in shadow
	ttl      time.Duration       // shortest lease of the last grant; 0 without one
	frozen   bool
	granted  time.Time // last grant
	wake     chan struct{}
}

// simScope is what a simulated member knows of a leased scope.
type simScope struct {
	Scope, Cohort string
	Revision      uint64
	Exposure      flag.Exposure
}

// newSimMember returns a member that has not said Hello. w bounds how long its requests use a decision.
func newSimMember(wire simWire, component, instance, class string, w time.Duration) *simMember {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never errs
	return &simMember{
		wire: wire, active: map[string]uint64{}, drained: map[string]uint64{}, loaded: map[string]simScope{}, wake: make(chan struct{}, 1),
		hello: slp.Hello{
			Instance: instance, Boot: hex.EncodeToString(b[:]), Component: component, Class: class, WMs: w.Milliseconds(),
			Caps: slp.Caps{Impl: "simulated/1", Cache: "none"},
		},
	}
}

// join says Hello.
func (m *simMember) join(ctx context.Context) error {
	var a slp.HelloAnswer
	if err := m.wire.post(ctx, "/v1/hello", m.hello, &a); err != nil {
		return fmt.Errorf("hello of %s: %w", m.hello.Instance, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for scope, meta := range a.Snapshot.Scopes {
		if meta.Leased {
			m.active[scope] = meta.Rev
		}
	}
	return nil
}

// run renews and follows the stream until ctx ends. It returns when both have stopped.
func (m *simMember) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		path := "/v1/watch?instance=" + m.hello.Instance + "&boot=" + m.hello.Boot
		for ctx.Err() == nil {
			if err := m.wire.watch(ctx, path, func(e slp.Event) { m.event(ctx, e) }); err != nil {
				simPause(ctx, 100*time.Millisecond)
			}
		}
	})
	wg.Go(func() { m.renewing(ctx) })
	wg.Wait()
}

func simPause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// freeze stops every answer, as a process that is held does; false thaws it.
func (m *simMember) freeze(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = on
}

// idleRenew is the time between renewals while nothing is leased, as in the SDK; a lease is renewed five times in its life.
const idleRenew = 5 * time.Second

func (m *simMember) renewing(ctx context.Context) {
	for ctx.Err() == nil {
		m.renew(ctx)
		m.mu.Lock()
		every := idleRenew
		if m.ttl > 0 {
			every = min(every, m.ttl/5)
		}
		m.mu.Unlock()
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-m.wake:
		}
		t.Stop()
	}
}

func (m *simMember) renew(ctx context.Context) {
	m.mu.Lock()
	if m.frozen {
		m.mu.Unlock()
		return
	}
	m.n++
	q := slp.Renew{Instance: m.hello.Instance, Boot: m.hello.Boot, N: m.n, Active: maps.Clone(m.active), Acks: m.unsent, Prepared: m.prepared}
	m.mu.Unlock()
	var g slp.Grant
	if err := m.wire.post(ctx, "/v1/renew", q, &g); err != nil {
		var status *errStatus
		if errors.As(err, &status) && status.Status == http.StatusGone && m.join(ctx) == nil { // another server, or a new life of it
			m.again()
		}
		return // the next one repeats it
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.granted = time.Now()
	m.unsent = m.unsent[min(len(q.Acks), len(m.unsent)):]
	m.ttl = 0
	for _, ms := range g.Leases {
		if ttl := time.Duration(ms) * time.Millisecond; m.ttl == 0 || ttl < m.ttl {
			m.ttl = ttl
		}
	}
}

// again asks for the next renewal at once.
func (m *simMember) again() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// grantedAfter returns when the last grant came, zero unless that was after t.
func (m *simMember) grantedAfter(t time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.granted.After(t) {
		return m.granted
	}
	return time.Time{}
}

// event brings the member up to date and answers at once.
func (m *simMember) event(ctx context.Context, e slp.Event) {
	m.mu.Lock()
	if m.frozen {
		m.mu.Unlock()
		return
	}
	acks, begins := m.follow(e)
	var prepared []slp.Prepared
	if p := e.Prepare; p != nil {
		m.loaded[p.Scope] = loadScope(p)
		prepared = []slp.Prepared{{Scope: p.Scope, Digest: p.Digest}}
		m.prepared = prepared
	}
	m.mu.Unlock()
	if len(acks) == 0 && len(prepared) == 0 {
		return
	}
	q := slp.AckRequest{Instance: m.hello.Instance, Boot: m.hello.Boot, Acks: acks, Prepared: prepared}
	if err := m.wire.post(ctx, "/v1/ack", q, nil); err != nil {
		m.mu.Lock()
		m.unsent = append(m.unsent, acks...)
		m.mu.Unlock()
	}
	if begins { // a lease that begins is asked for at once
		m.again()
	}
}

// follow takes the level-triggered part of an event and returns what there is to acknowledge, and whether a lease begins.
func (m *simMember) follow(e slp.Event) (acks []slp.Ack, begins bool) {
	reader := m.hello.Class != slp.ClassStore && m.hello.Class != slp.ClassWriter
	for scope, rev := range e.Committed {
		if rev > m.active[scope] {
			m.active[scope] = rev
			acks = append(acks, slp.Ack{Scope: scope, Rev: rev, Stage: slp.StageActivated})
			begins = begins || e.Floors[scope] == 0
			if m.onCommit != nil {
				s := m.loaded[scope]
				s.Scope, s.Revision = scope, rev
				if e.Floors[scope] == rev {
					s.Exposure = 0
				}
				m.onCommit(s)
			}
		}
		floor := e.Floors[scope]
		turn := reader || e.Unwind[scope] == m.hello.Class
		if floor != 0 && m.active[scope] >= floor && m.drained[scope] < floor && turn {
			m.drained[scope] = m.active[scope]
			acks = append(acks, slp.Ack{Scope: scope, Rev: m.active[scope], Stage: slp.StageDrained})
		}
	}
	return acks, begins
}

// loadScope finds the exposure of the open cohort in a scope's content.
func loadScope(p *slp.Prepare) simScope {
	s := simScope{Scope: p.Scope}
	for path, raw := range p.Objects {
		var f flag.Flag
		if !strings.HasPrefix(path, "flag/") || json.Unmarshal(raw, &f) != nil || f.Rollout == nil {
			continue
		}
		for _, c := range f.Rollout.Cohorts {
			if !c.Closed {
				s.Cohort, s.Exposure = c.Cohort, c.Exposure
			}
		}
	}
	return s
}
