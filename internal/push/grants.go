// Package push answers the members of the fleet: hello, renew, ack and evidence by POST, configuration by server-sent
// events. Leases are granted here, from an immutable view that control publishes after each commit, so that renewals
// never wait behind the writer of the store.
package push

import (
	"sync"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fleet"
)

// grants is the grant path of one environment behind its one lock.
type grants struct {
	mu    sync.Mutex
	path  *fleet.Grants
	view  engine.View
	views uint64            // how many have been shown
	said  map[string]string // boot -> what was last handed on to the engine, so that repeats cost nothing
}

func newGrants() *grants { return &grants{path: fleet.NewGrants(), said: map[string]string{}} }

func (g *grants) join(boot string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.path.Join(boot)
}

func (g *grants) renew(q slp.Renew, now time.Time) (slp.Grant, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	grant, ok := g.path.Renew(q, now)
	grant.Sig = g.view.Event.Sig
	return grant, ok
}

func (g *grants) stop(scope string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.path.Stop(scope)
}

func (g *grants) publish(v engine.View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.Epoch != g.view.Epoch {
		clear(g.said) // a recovered engine has heard nothing yet
	}
	g.view = v
	g.views++
	g.path.Show(v.GrantView)
}

// shown returns the view with its number: another one has another number.
func (g *grants) shown() (engine.View, uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view, g.views
}

func (g *grants) current() engine.View {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view
}

func (g *grants) seen(forget time.Time) []engine.Seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.path.Forget(forget)
	for boot := range g.said {
		if !g.path.Known(boot) {
			delete(g.said, boot)
		}
	}
	return g.path.Seen()
}

// fresh reports whether what the boot says differs from what was last handed on.
func (g *grants) fresh(boot, said string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.path.Known(boot) && g.said[boot] != said
}

func (g *grants) handed(boot, said string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said[boot] = said
}
