// Package push answers the members of the fleet: hello, renew, ack and evidence by POST, configuration by server-sent
// events. Leases are granted here, from an immutable view that control publishes after each commit, so that renewals
// never wait behind the writer of the store.
package push

import (
	"sync"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
)

// grants is the grant path of one environment. Its lock holds the granting switch of each scope and the times of the
// grants together: Stop takes it, so no answer under way can grant a scope after Stop has returned.
type grants struct {
	mu      sync.Mutex
	view    engine.View
	stopped map[string]bool
	boots   map[string]*boot
}

// boot is what the grant path knows of one member.
type boot struct {
	renewed time.Time
	granted map[string]time.Time
	said    string // what was last handed on to the engine, so that repeats cost nothing
}

func newGrants() *grants {
	return &grants{stopped: map[string]bool{}, boots: map[string]*boot{}}
}

// join makes a boot known, after its Hello is durable.
func (g *grants) join(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.boots[id] == nil {
		g.boots[id] = &boot{granted: map[string]time.Time{}}
	}
}

// renew notes a Renew received at now and returns the grant for it; ok is false for a boot that has not said Hello.
// The receipt time of each granted lease is written before the answer is computed.
func (g *grants) renew(q slp.Renew, now time.Time) (grant slp.Grant, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.boots[q.Boot]
	if b == nil {
		return slp.Grant{}, false
	}
	b.renewed = now
	grant = slp.Grant{Boot: q.Boot, N: q.N, Epoch: g.view.Epoch, Head: g.view.Head, Floors: g.view.Floors, ServerNow: now.UnixMicro()}
	for scope, ttl := range g.view.Leases {
		if g.stopped[scope] {
			continue
		}
		b.granted[scope] = now
		if grant.Leases == nil {
			grant.Leases = make(map[string]int64, len(g.view.Leases))
		}
		grant.Leases[scope] = ttl.Milliseconds()
	}
	return grant, true
}

// fresh reports whether what the boot says differs from what was last handed on, and remembers it if handed is true.
func (g *grants) fresh(id, said string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.boots[id]
	return b != nil && b.said != said
}

func (g *grants) handed(id, said string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b := g.boots[id]; b != nil {
		b.said = said
	}
}

func (g *grants) stop(scope string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped[scope] = true
}

// publish shows a new view. A scope that it does not grant needs no switch any more; one that it grants is granted again.
func (g *grants) publish(v engine.View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.view = v
	clear(g.stopped)
}

func (g *grants) current() engine.View {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view
}

func (g *grants) seen() []engine.Seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]engine.Seen, 0, len(g.boots))
	for id, b := range g.boots {
		s := engine.Seen{Boot: id, Renewed: b.renewed, Granted: make(map[string]time.Time, len(b.granted))}
		for scope, at := range b.granted {
			s.Granted[scope] = at
		}
		out = append(out, s)
	}
	return out
}

func (g *grants) forget(before time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, b := range g.boots {
		if !b.renewed.IsZero() && b.renewed.Before(before) {
			delete(g.boots, id)
		}
	}
}
