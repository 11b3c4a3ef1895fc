package fleet

import (
	"testing"
	"time"

	"sluice.dev/sdk/slp"
)

func view() GrantView {
	return GrantView{
		Epoch: 3, Head: slp.Head{Rev: 6, Digest: "sha256:head"},
		Floors: map[string]uint64{"done": 5}, Leases: map[string]time.Duration{scope: ttl, "other": 2 * time.Second},
	}
}

func renew(t *testing.T, g *Grants, boot string, n uint64, s float64) slp.Grant {
	t.Helper()
	grant, ok := g.Renew(slp.Renew{Boot: boot, N: n}, at(s))
	if !ok {
		t.Fatalf("boot %s is not known", boot)
	}
	return grant
}

func seenOf(t *testing.T, g *Grants, boot string) Seen {
	t.Helper()
	for _, s := range g.Seen() {
		if s.Boot == boot {
			return s
		}
	}
	t.Fatalf("nothing is known of %s", boot)
	return Seen{}
}

func TestRenewIsAnsweredFromTheView(t *testing.T) {
	g := NewGrants()
	g.Join("b1")
	if grant := renew(t, g, "b1", 1, -3); len(grant.Leases) != 0 || grant.Epoch != 0 {
		t.Errorf("granted %+v before any view", grant)
	}
	g.Show(view())
	grant := renew(t, g, "b1", 2, -2)
	if grant.Boot != "b1" || grant.N != 2 || grant.Epoch != 3 || grant.Head.Rev != 6 || grant.Floors["done"] != 5 || grant.ServerNow != at(-2).UnixMicro() {
		t.Errorf("grant %+v", grant)
	}
	if grant.Leases[scope] != 10_000 || grant.Leases["other"] != 2_000 {
		t.Errorf("leases %v ms", grant.Leases)
	}
	near(t, "receipt", seenOf(t, g, "b1").Granted[scope], at(-2))
	if _, ok := g.Renew(slp.Renew{Boot: "b2", N: 1}, at(-2)); ok || g.Known("b2") {
		t.Error("a boot that never said Hello is granted something")
	}
}

// TestStopEndsGranting of one scope at once, and only a view that grants it begins again.
func TestStopEndsGranting(t *testing.T) {
	g := NewGrants()
	g.Join("b1")
	g.Show(view())
	renew(t, g, "b1", 1, -2)
	g.Stop(scope)
	grant := renew(t, g, "b1", 2, -1)
	if _, ok := grant.Leases[scope]; ok || grant.Leases["other"] == 0 {
		t.Errorf("leases %v after the stop of %s", grant.Leases, scope)
	}
	s := seenOf(t, g, "b1")
	near(t, "last grant of the stopped scope", s.Granted[scope], at(-2)) // an answer without a lease is no grant (M_RECVANY)
	near(t, "last renewal", s.Renewed, at(-1))
	v := view()
	delete(v.Leases, scope)
	v.Floors = map[string]uint64{scope: 7}
	g.Show(v)
	if grant = renew(t, g, "b1", 3, 0); grant.Leases[scope] != 0 || grant.Floors[scope] != 7 {
		t.Errorf("the revoked view grants %+v", grant)
	}
	g.Show(view())
	if grant = renew(t, g, "b1", 4, 1); grant.Leases[scope] == 0 {
		t.Error("a view that grants the scope again does not")
	}
}

// TestReceiptsOnlyGrow: of two renewals answered at once the earlier receipt may be written last. The lease of the later
// one runs all the same.
func TestReceiptsOnlyGrow(t *testing.T) {
	g := NewGrants()
	g.Join("b1")
	g.Show(view())
	renew(t, g, "b1", 2, -1)
	renew(t, g, "b1", 1, -4)
	s := seenOf(t, g, "b1")
	near(t, "receipt", s.Granted[scope], at(-1))
	near(t, "renewal", s.Renewed, at(-1))
}

func TestSeenIsACopy(t *testing.T) {
	g := NewGrants()
	g.Join("b1")
	g.Join("b1")
	g.Show(view())
	renew(t, g, "b1", 1, -2)
	s := g.Seen()
	if len(s) != 1 {
		t.Fatalf("%d boots after two Hellos of one", len(s))
	}
	s[0].Granted[scope] = at(99)
	renew(t, g, "b1", 2, -1)
	near(t, "receipt", seenOf(t, g, "b1").Granted[scope], at(-1))
	near(t, "renewal of the copy", s[0].Renewed, at(-2))
}

func TestForget(t *testing.T) {
	g := NewGrants()
	for boot, s := range map[string]float64{"old": -100, "young": -10} {
		g.Join(boot)
		renew(t, g, boot, 1, s)
	}
	g.Join("new") // has not renewed yet
	g.Forget(at(-50))
	if g.Known("old") || !g.Known("young") || !g.Known("new") {
		t.Errorf("known: old %v, young %v, new %v", g.Known("old"), g.Known("young"), g.Known("new"))
	}
}
