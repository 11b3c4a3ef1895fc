package slp

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/internal/mutant"
)

const (
	testBoot = "00000000000000000000000000000001"
	ms       = time.Millisecond
)

// member drives one Client by hand and remembers the last view and effects.
type member struct {
	t    *testing.T
	c    *Client
	now  Mono
	view *View
	out  []Effect
}

func newMember(t *testing.T, change func(*ClientConfig)) *member {
	t.Helper()
	cfg := ClientConfig{Instance: "i", Boot: testBoot, Component: "c", Class: ClassReader, W: 2 * time.Second, Rand: rand.New(rand.NewPCG(1, 2))}
	if change != nil {
		change(&cfg)
	}
	return &member{t: t, c: NewClient(cfg), now: time.Hour}
}

func (m *member) step(in Input) []Effect {
	m.out = m.c.Step(m.now, in)
	for _, e := range m.out {
		if e, ok := e.(Swap); ok {
			m.view = e.View
		}
	}
	return m.out
}

// run also answers Load at once, and tells that nothing is held.
func (m *member) run(in Input) (all []Effect) {
	all = m.step(in)
	for i := 0; i < len(all); i++ {
		switch e := all[i].(type) {
		case Load:
			all = append(all, m.step(Loaded{Head: e.Snapshot.Head})...)
		case Swap:
			if e.View.Snapshot != nil {
				for scope, meta := range e.View.Snapshot.Scopes {
					if m.c.drained[scope] < meta.Rev {
						all = append(all, m.step(RequestsDrained{Scope: scope, Rev: meta.Rev})...)
					}
				}
			}
		}
	}
	return all
}

func (m *member) join(s Snapshot) {
	m.t.Helper()
	m.run(Start{})
	m.run(HelloAnswered{Sent: m.now, Answer: HelloAnswer{Epoch: 1, Snapshot: s, ServerNow: 1e15}})
	if m.view == nil || m.view.Snapshot == nil || m.view.Snapshot.Head != s.Head {
		m.t.Fatalf("after the hello the view is %+v, want head %+v", m.view, s.Head)
	}
}

func find[E Effect](effects []Effect) (last E, n int) {
	for _, e := range effects {
		if x, ok := e.(E); ok {
			last, n = x, n+1
		}
	}
	return last, n
}

func (m *member) renewal() uint64 {
	m.t.Helper()
	r, n := find[SendRenew](m.run(Tick{TimerRenew}))
	if n != 1 {
		m.t.Fatalf("%d renewals after a tick", n)
	}
	return r.Renew.N
}

func grantFor(n uint64, head Head, floor uint64, leases map[string]int64) GrantReceived {
	g := Grant{Boot: testBoot, N: n, Epoch: 1, Head: head, Leases: leases, ServerNow: 1e15}
	if floor > 0 {
		g.Floors = map[string]uint64{toyScope: floor}
	}
	return GrantReceived{g}
}

var lease2s = map[string]int64{toyScope: 2000}

func TestLeaseCountsFromTheSend(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	m.join(s)
	n := m.renewal()
	sent := m.now
	m.now += 1500 * ms
	m.step(grantFor(n, s.Head, 0, lease2s))
	if !m.view.Held(toyScope, 3, sent+2*time.Second-1) || m.view.Held(toyScope, 3, sent+2*time.Second) {
		t.Fatalf("lease ends at %s, want 2 s after the send at %s", m.view.LeaseEnd[toyScope], sent)
	}
	m.now += time.Second
	m.step(grantFor(n, s.Head, 0, lease2s)) // once more, late
	if m.view.Held(toyScope, 3, m.now) {
		t.Fatal("a repeated grant made the lease longer")
	}
}

func TestEarlyLapseOnlyShortens(t *testing.T) {
	m := newMember(t, func(c *ClientConfig) { c.EarlyLapse = 0.15 })
	s := toySnapshot(3, 3, true)
	m.join(s)
	m.step(grantFor(m.renewal(), s.Head, 0, lease2s))
	if got, want := m.view.Remaining(toyScope, m.now), 1700*ms; got != want {
		t.Fatalf("lease of %s, want %s", got, want)
	}
}

func TestGrantsThatAreIgnored(t *testing.T) {
	s := toySnapshot(3, 3, true)
	for name, change := range map[string]func(*Grant){
		"another boot":   func(g *Grant) { g.Boot = strings.Repeat("f", 32) },
		"unknown number": func(g *Grant) { g.N += 7 },
		"older epoch":    func(g *Grant) { g.Epoch = 0 },
		"no length":      func(g *Grant) { g.Leases = map[string]int64{toyScope: -5} },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, nil)
			m.join(s)
			g := grantFor(m.renewal(), s.Head, 0, lease2s)
			change(&g.Grant)
			m.step(g)
			if m.view.Held(toyScope, 3, m.now) {
				t.Fatal("the grant gave a lease")
			}
		})
	}
}

func TestLongGrantIsCut(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	m.join(s)
	m.step(grantFor(m.renewal(), s.Head, 0, map[string]int64{toyScope: 1 << 62}))
	if got := m.view.Remaining(toyScope, m.now); got != maxTTL {
		t.Fatalf("lease of %s, want %s", got, maxTTL)
	}
}

// TestRetryKeepsItsTime: the answer to the first send must not count from the second.
func TestRetryKeepsItsTime(t *testing.T) {
	lease := func() Mono {
		m := newMember(t, nil)
		s := toySnapshot(3, 3, true)
		m.join(s)
		n := m.renewal()
		sent := m.now
		m.now += 50 * ms
		m.step(RenewFailed{N: n})
		m.now += 150 * ms
		again, _ := find[SendRenew](m.step(Tick{TimerRenew}))
		if again.Renew.N != n {
			t.Fatalf("the retry has number %d, want %d", again.Renew.N, n)
		}
		m.step(grantFor(n, s.Head, 0, lease2s))
		return m.view.LeaseEnd[toyScope] - sent
	}
	if got := lease(); got != 2*time.Second {
		t.Fatalf("lease of %s from the first send, want 2s", got)
	}
	if got := broken(t, mutant.RetryRenews, lease); mutant.Built && got == 2*time.Second {
		t.Fatal("the mutant is not noticed")
	}
}

// TestOldRetryIsANewRenewal: a renewal that failed long ago is of no use any more.
func TestOldRetryIsANewRenewal(t *testing.T) {
	m := newMember(t, nil)
	m.join(toySnapshot(3, 3, true))
	n := m.renewal()
	m.step(RenewFailed{N: n})
	m.now += 2 * time.Second
	if got := m.renewal(); got != n+1 {
		t.Fatalf("renewal %d after a long silence, want %d", got, n+1)
	}
}

// TestFetchedSnapshotIsAckedAfterItsFloors: a request pinned to the exposed snapshot could still evaluate.
func TestFetchedSnapshotIsAckedAfterItsFloors(t *testing.T) {
	acked := func() bool {
		m := newMember(t, nil)
		exposed, revoked := toySnapshot(3, 3, true), toySnapshot(5, 5, false)
		m.join(exposed)
		m.step(grantFor(m.renewal(), exposed.Head, 0, lease2s))
		m.run(WatchEvent{Event{Epoch: 1, Head: Head{Rev: 4, Digest: exposed.Head.Digest}}})
		out := m.run(SnapshotFetched{revoked}) // newer than what was asked for
		if m.view.Snapshot.Head.Rev != 5 || !m.view.Held(toyScope, 3, m.now) {
			t.Fatalf("view %+v: the case is not built", m.view)
		}
		for _, e := range out {
			if a, ok := e.(SendAck); ok && slices.ContainsFunc(a.Request.Acks, func(a Ack) bool { return a.Scope == toyScope && a.Rev == 5 }) {
				return true
			}
		}
		out = m.run(grantFor(m.renewal(), revoked.Head, 5, nil))
		if a, n := find[SendAck](out); n != 1 || len(a.Request.Acks) != 4 || m.view.Held(toyScope, 3, m.now) {
			t.Fatalf("after the floors: acks %+v, held %t", a.Request.Acks, m.view.Held(toyScope, 3, m.now))
		}
		return false
	}
	if acked() {
		t.Fatal("acknowledged although the floors as of revision 5 are unknown")
	}
	if !broken(t, mutant.AckBeforeFloors, acked) && mutant.Built {
		t.Fatal("the mutant is not noticed")
	}
}

func TestOlderEpochIsIgnored(t *testing.T) {
	fetches := func() int {
		m := newMember(t, nil)
		m.join(toySnapshot(3, 3, true))
		m.run(WatchEvent{Event{Epoch: 7, Head: m.view.Snapshot.Head}})
		_, n := find[FetchSnapshot](m.run(WatchEvent{Event{Epoch: 6, Head: Head{Rev: 9, Digest: "x"}}}))
		return n
	}
	if n := fetches(); n != 0 {
		t.Fatalf("%d fetches after an event of an older leader", n)
	}
	if n := broken(t, mutant.AnyEpoch, fetches); mutant.Built && n == 0 {
		t.Fatal("the mutant is not noticed")
	}
}

// broken runs f with a rule switched off, in a build that can do that.
func broken[T any](t *testing.T, rule mutant.Name, f func() T) T {
	t.Helper()
	t.Setenv("SLUICE_MUTANT", string(rule))
	defer t.Setenv("SLUICE_MUTANT", "")
	return f()
}

// TestFloorWithoutSnapshotServesBaselineOfThatScopeOnly is L1's last sentence.
func TestFloorWithoutSnapshotServesBaselineOfThatScopeOnly(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	s.Scopes["other"] = ScopeMeta{Rev: 2, Digest: s.Scopes["base"].Digest, Leased: true, TTLMs: 2000}
	s.Head.Digest, _ = EnvDigest(s.Scopes)
	m.join(s)
	m.step(grantFor(m.renewal(), s.Head, 0, map[string]int64{toyScope: 2000, "other": 2000}))
	out := m.step(WatchEvent{Event{Kind: EventRevoke, Epoch: 1, Head: Head{Rev: 4, Digest: "sha256:x"}, Floors: map[string]uint64{toyScope: 4}}})
	if m.view.Held(toyScope, 3, m.now) || !m.view.Held("other", 2, m.now) {
		t.Fatalf("held: %t, other %t; want false, true", m.view.Held(toyScope, 3, m.now), m.view.Held("other", 2, m.now))
	}
	if _, ok := out[0].(Swap); !ok {
		t.Fatalf("the first effect is %T, want the swap", out[0])
	}
	if _, n := find[FetchSnapshot](out); n != 1 {
		t.Fatalf("%d fetches without a delta, want 1", n)
	}
}

func TestRevokeByDeltaAcksAfterTheSwap(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	m.join(s)
	m.step(grantFor(m.renewal(), s.Head, 0, lease2s))
	next := toySnapshot(4, 4, false)
	m.step(WatchEvent{Event{Epoch: 1, Head: next.Head, Floors: map[string]uint64{toyScope: 4}, Delta: &Delta{Base: s.Head.Digest, Scopes: next.Scopes, Upsert: next.Objects}}})
	if _, n := find[FetchSnapshot](m.out); n != 0 {
		t.Fatal("fetched although the delta fits")
	}
	if a, n := find[SendAck](m.out); n != 0 {
		t.Fatalf("acknowledged %+v before the swap", a)
	}
	out := m.run(Loaded{Head: next.Head})
	a, n := find[SendAck](out)
	want := []Ack{{Scope: toyScope, Rev: 4, Stage: StageActivated}, {Scope: toyScope, Rev: 4, Stage: StageDrained}}
	got := slices.DeleteFunc(a.Request.Acks, func(a Ack) bool { return a.Scope != toyScope })
	for i := range got {
		got[i].At = 0
	}
	if n == 0 || !slices.Equal(got, want) {
		t.Fatalf("acks %+v, want %+v", got, want)
	}
}

func TestWrongDeltaIsFetchedInstead(t *testing.T) {
	s, next := toySnapshot(3, 3, true), toySnapshot(4, 4, false)
	for name, d := range map[string]*Delta{
		"other base":      {Base: "sha256:0", Scopes: next.Scopes, Upsert: next.Objects},
		"other content":   {Base: s.Head.Digest, Scopes: next.Scopes, Upsert: s.Objects},
		"unlisted scope":  {Base: s.Head.Digest, Scopes: next.Scopes, Upsert: map[string]json.RawMessage{"z/flag/f": json.RawMessage(`1`)}},
		"not JSON":        {Base: s.Head.Digest, Scopes: next.Scopes, Upsert: map[string]json.RawMessage{toyScope + "/flag/f": json.RawMessage(`{`)}},
		"scope left over": {Base: s.Head.Digest, Scopes: map[string]ScopeMeta{"base": next.Scopes["base"]}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, nil)
			m.join(s)
			out := m.step(WatchEvent{Event{Epoch: 1, Head: next.Head, Delta: d}})
			if _, n := find[Load](out); n != 0 {
				t.Fatal("it was loaded")
			}
			if _, n := find[FetchSnapshot](out); n != 1 {
				t.Fatal("nothing was fetched")
			}
		})
	}
}

func TestSnapshotThatCannotBeServed(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	m.join(s)
	next := toySnapshot(4, 4, false)
	m.step(WatchEvent{Event{Epoch: 1, Head: next.Head}})
	m.step(SnapshotFetched{next})
	out := m.step(Loaded{Head: next.Head, Err: "flag.type"})
	if m.view.Snapshot.Head.Rev != 3 {
		t.Fatal("it was put in force")
	}
	if n, count := find[Notice](out); count != 1 || n.Code != NoticeRefused {
		t.Fatalf("notice %+v", n)
	}
	if _, n := find[FetchSnapshot](m.step(WatchEvent{Event{Epoch: 1, Head: next.Head}})); n != 0 {
		t.Fatal("the same head was fetched again at once")
	}
	if _, n := find[FetchSnapshot](m.step(WatchEvent{Event{Epoch: 1, Head: Head{Rev: 5, Digest: "sha256:5"}}})); n != 1 {
		t.Fatal("a newer head was not fetched")
	}
}

func TestPrepare(t *testing.T) {
	s := toySnapshot(3, 3, false)
	next := toySnapshot(4, 4, true)
	objects := map[string]json.RawMessage{"flag/f": next.Objects[toyScope+"/flag/f"]}
	good := &Prepare{Scope: toyScope, Digest: next.Scopes[toyScope].Digest, Objects: objects}
	t.Run("loaded in shadow and reported at once", func(t *testing.T) {
		m := newMember(t, nil)
		m.join(s)
		load, n := find[LoadShadow](m.step(WatchEvent{Event{Epoch: 1, Head: s.Head, Prepare: good}}))
		if n != 1 || string(load.Snapshot.Objects[toyScope+"/flag/f"]) != `{"exposed":true}` {
			t.Fatalf("shadow %+v", load)
		}
		a, _ := find[SendAck](m.step(ShadowLoaded{Prepared{Scope: toyScope, Digest: good.Digest}}))
		if len(a.Request.Prepared) != 1 || a.Request.Prepared[0].Reject != nil {
			t.Fatalf("reported %+v", a.Request.Prepared)
		}
		a, n = find[SendAck](m.step(WatchEvent{Event{Epoch: 1, Head: s.Head, Prepare: good}}))
		if n != 1 || len(a.Request.Prepared) != 1 {
			t.Fatal("asked again, it did not answer again")
		}
		m.run(WatchEvent{Event{Epoch: 1, Head: next.Head}})
		r, _ := find[SendRenew](m.run(SnapshotFetched{next}))
		if len(r.Renew.Prepared) != 0 || r.Renew.Active[toyScope] != 4 {
			t.Fatalf("after the commit it reports %+v, active %v", r.Renew.Prepared, r.Renew.Active)
		}
	})
	t.Run("waits for its base", func(t *testing.T) {
		m := newMember(t, nil)
		m.join(toySnapshot(2, 2, false))
		if _, n := find[LoadShadow](m.step(WatchEvent{Event{Epoch: 1, Head: s.Head, Prepare: good}})); n != 0 {
			t.Fatal("loaded on top of an older head")
		}
		if _, n := find[LoadShadow](m.run(SnapshotFetched{s})); n != 1 {
			t.Fatal("not loaded once the head was there")
		}
	})
	for name, c := range map[string]struct {
		p    Prepare
		caps Caps
		code string
	}{
		"digest":  {p: Prepare{Scope: toyScope, Digest: "sha256:00", Objects: objects}, code: "digest"},
		"scope":   {p: Prepare{Scope: "nowhere", Digest: good.Digest, Objects: objects}, code: "scope.unknown"},
		"invalid": {p: Prepare{Scope: toyScope, Objects: map[string]json.RawMessage{"flag/f": json.RawMessage(`{"a":1,"a":2}`)}}, code: "content.invalid"},
		"too big": {p: *good, caps: Caps{MaxBytes: int64(len(toyScope+"/flag/f") + len(`{"exposed":false}`) - 2)}, code: "caps.bytes"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			m := newMember(t, nil)
			m.join(s)
			m.c.cfg.Caps = c.caps
			a, _ := find[SendAck](m.step(WatchEvent{Event{Epoch: 1, Head: s.Head, Prepare: &c.p}}))
			if len(a.Request.Prepared) != 1 || a.Request.Prepared[0].Reject == nil || a.Request.Prepared[0].Reject.Code != c.code {
				t.Fatalf("answer %+v, want code %s", a.Request.Prepared, c.code)
			}
		})
	}
}

func TestStaticAckWaitsForTheDurableCache(t *testing.T) {
	base := func(rev uint64) Snapshot {
		s := toySnapshot(rev, 1, false)
		s.Scopes["base"] = ScopeMeta{Rev: rev, Digest: s.Scopes["base"].Digest}
		return s
	}
	has := func(out []Effect, rev uint64) bool {
		return slices.ContainsFunc(out, func(e Effect) bool {
			a, ok := e.(SendAck)
			return ok && slices.ContainsFunc(a.Request.Acks, func(a Ack) bool { return a.Scope == "base" && a.Rev == rev })
		})
	}
	m := newMember(t, func(c *ClientConfig) { c.Caps.Cache = "durable" })
	m.join(base(3))
	m.run(WatchEvent{Event{Epoch: 1, Head: base(4).Head}})
	out := m.run(SnapshotFetched{base(4)})
	w, n := find[WriteCache](out)
	if n != 1 || w.Cache.Snapshot.Head.Rev != 4 || has(out, 4) {
		t.Fatalf("%d writes of %+v, acknowledged before it was durable: %t", n, w.Cache, has(out, 4))
	}
	if !has(m.run(CacheWritten{Cache: w.Cache}), 4) {
		t.Fatal("not acknowledged once it was durable")
	}
	m.run(WatchEvent{Event{Epoch: 1, Head: base(5).Head}})
	m.run(SnapshotFetched{base(5)})
	hello, n := find[SendHello](m.run(CacheWritten{Failed: true}))
	if n != 1 || hello.Hello.Caps.Cache != "none" {
		t.Fatalf("a cache that cannot be written is not declared: %+v", hello.Hello.Caps)
	}
}

func TestUnwindOrder(t *testing.T) {
	for _, tt := range []struct {
		class string
		turn  string
		runs  bool
	}{
		{ClassStore, "", false}, {ClassStore, ClassStore, true}, {ClassStore, ClassWriter, true},
		{ClassWriter, "", false}, {ClassWriter, ClassStore, false}, {ClassWriter, ClassWriter, true},
		{ClassReader, ClassWriter, false},
	} {
		t.Run(tt.class+" at the turn of "+tt.turn, func(t *testing.T) {
			m := newMember(t, func(c *ClientConfig) { c.Class = tt.class })
			m.join(toySnapshot(3, 3, true))
			next := toySnapshot(4, 4, false)
			e := Event{Epoch: 1, Head: next.Head, Floors: map[string]uint64{toyScope: 4}}
			m.run(WatchEvent{e})
			m.run(SnapshotFetched{next})
			if tt.turn != "" {
				e.Unwind = map[string]string{toyScope: tt.turn}
			}
			out := m.run(WatchEvent{e})
			if _, n := find[RunUnwind](out); (n == 1) != tt.runs {
				t.Fatalf("%d hooks ran, want %t", n, tt.runs)
			}
			if !tt.runs {
				return
			}
			out = m.run(Unwound{Scope: toyScope, Rev: 4, Failed: true})
			if _, n := find[SendAck](out); n != 0 {
				t.Fatal("drained although the hook failed")
			}
			m.now += 10 * time.Second
			if _, n := find[RunUnwind](m.run(Tick{TimerUnwind})); n != 1 {
				t.Fatal("the hook was not tried again")
			}
			a, _ := find[SendAck](m.run(Unwound{Scope: toyScope, Rev: 4}))
			if !slices.ContainsFunc(a.Request.Acks, func(a Ack) bool { return a.Stage == StageDrained && a.Rev == 4 }) {
				t.Fatalf("acks %+v", a.Request.Acks)
			}
		})
	}
}

// TestWriterThatMissedTheRollbackUnwinds: the scope was merged back while it was away.
func TestWriterThatMissedTheRollbackUnwinds(t *testing.T) {
	open := func() Snapshot {
		return build(t, 3, map[string]ScopeMeta{"base": {Rev: 1}, "r": {Rev: 3, Leased: true, TTLMs: 2000}}, map[string]string{
			"r/flag/f": `{"key":"f","default":"v1","rollout":{"id":"r","stable":"v1","candidate":"v2"}}`,
		})
	}
	for _, tt := range []struct {
		name, serves string
		runs         bool
	}{{"rolled back", "v1", true}, {"completed", "v2", false}} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMember(t, func(c *ClientConfig) { c.Class = ClassWriter })
			m.join(open())
			next := build(t, 9, map[string]ScopeMeta{"base": {Rev: 9}}, map[string]string{"base/flag/f": fmt.Sprintf(`{"key":"f","default":%q}`, tt.serves)})
			m.run(WatchEvent{Event{Epoch: 1, Head: next.Head}})
			if _, n := find[RunUnwind](m.run(SnapshotFetched{next})); (n == 1) != tt.runs {
				t.Fatalf("%d hooks ran, want %t", n, tt.runs)
			}
		})
	}
}

// build makes a snapshot with right digests.
func build(t *testing.T, rev uint64, scopes map[string]ScopeMeta, objects map[string]string) Snapshot {
	t.Helper()
	s := Snapshot{Env: "toy", Head: Head{Rev: rev}, Scopes: scopes, Objects: map[string]json.RawMessage{}}
	for path, text := range objects {
		s.Objects[path] = json.RawMessage(text)
	}
	parts, err := s.split(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, meta := range scopes {
		if meta.Digest, err = ScopeDigest(parts[name]); err != nil {
			t.Fatal(err)
		}
		scopes[name] = meta
	}
	if s.Head.Digest, err = EnvDigest(scopes); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAmnesia(t *testing.T) {
	m := newMember(t, nil)
	m.run(Start{Cache: &Cache{Format: CacheFormat, Seen: 9}})
	out := m.run(HelloAnswered{Sent: m.now, Answer: HelloAnswer{Epoch: 4, Snapshot: toySnapshot(3, 3, true)}})
	if n, _ := find[Notice](out); n.Code != NoticeAmnesia {
		t.Fatalf("notice %+v", n)
	}
	if _, n := find[SendRenew](out); n != 0 || m.view.Snapshot != nil {
		t.Fatal("it joined a server that has forgotten")
	}
}

func TestBootUnknownSaysHelloAgain(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	m.join(s)
	n := m.renewal()
	h, count := find[SendHello](m.run(RenewFailed{N: n, Failure: Failure{Status: 410}}))
	if count != 1 || h.Hello.Boot != testBoot || h.Hello.Seen.Rev != 3 {
		t.Fatalf("hello %+v", h.Hello)
	}
	if _, count := find[SendHello](m.run(BootUnknown{})); count != 0 {
		t.Fatal("a second hello while one is on its way")
	}
	out := m.run(HelloAnswered{Sent: m.now, Answer: HelloAnswer{Epoch: 2, Snapshot: s}})
	if _, count := find[SendRenew](out); count != 1 {
		t.Fatal("no renewal after it")
	}
	if _, count := find[OpenWatch](out); count != 0 {
		t.Fatal("a second stream was opened")
	}
}

func TestLeaveAndBye(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	m.join(s)
	n := m.renewal()
	m.step(grantFor(n, s.Head, 0, lease2s))
	m.step(Leave{})
	if m.view.Held(toyScope, 3, m.now) {
		t.Fatal("a lease outlives Leave")
	}
	m.step(grantFor(n, s.Head, 0, lease2s))
	if m.view.Held(toyScope, 3, m.now) {
		t.Fatal("a lease after Leave")
	}
	a, count := find[SendAck](m.step(Bye{}))
	if count != 1 || !a.Request.Bye {
		t.Fatalf("bye %+v", a)
	}
	if out := m.step(Tick{TimerRenew}); out != nil {
		t.Fatalf("effects after Bye: %+v", out)
	}
}

func TestRenewsAtOnceWhenAScopeOpens(t *testing.T) {
	m := newMember(t, nil)
	m.join(toySnapshot(3, 3, false))
	next := toySnapshot(4, 4, true)
	m.run(WatchEvent{Event{Epoch: 1, Head: next.Head}})
	out := m.run(SnapshotFetched{next})
	r, n := find[SendRenew](out)
	if n != 1 || !slices.ContainsFunc(r.Renew.Acks, func(a Ack) bool { return a.Scope == toyScope && a.Rev == 4 }) {
		t.Fatalf("%d renewals, acks %+v", n, r.Renew.Acks)
	}
	if s, _ := find[Schedule](out); s.Timer != TimerRenew || s.After > 400*ms || s.After < 350*ms {
		t.Fatalf("next renewal %+v, want about a fifth of 2 s", s)
	}
}

// TestRenewsSoonerWhenALeaseComesWithTheFirstAnswer: the first renewal is sent before anything is known to be leased.
func TestRenewsSoonerWhenALeaseComesWithTheFirstAnswer(t *testing.T) {
	m := newMember(t, nil)
	s := toySnapshot(3, 3, true)
	m.step(Start{})
	first, _ := find[SendRenew](m.step(HelloAnswered{Sent: m.now, Answer: HelloAnswer{Epoch: 1, Snapshot: s, ServerNow: 1e15}}))
	m.step(grantFor(first.Renew.N, s.Head, 0, lease2s))
	out := m.step(Loaded{Head: s.Head})
	if next, n := find[Schedule](out); n != 1 || next.Timer != TimerRenew || next.After > 400*ms {
		t.Fatalf("after the lease came the next renewal is %+v, want within 400 ms", next)
	}
}

func TestBackoffIsSpreadAndBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var b backoff
	longest := time.Duration(0)
	for range 1000 {
		d := b.next(rng, 0)
		if d < backoffBase || d > backoffCap {
			t.Fatalf("wait of %s", d)
		}
		longest = max(longest, d)
	}
	if longest < backoffCap/2 {
		t.Fatalf("longest wait %s", longest)
	}
	if d := b.next(rng, 10*time.Second); d < 10*time.Second || d > 12500*ms {
		t.Fatalf("wait of %s after being asked for 10 s", d)
	}
	b.reset()
	if d := b.next(rng, 0); d > 2*backoffBase {
		t.Fatalf("first wait %s", d)
	}
}

func TestServerClock(t *testing.T) {
	var c ServerClock
	if c.Second(time.Hour) != 0 {
		t.Fatal("an unknown clock tells a time")
	}
	c.Observe(10*time.Second, 10*time.Second+200*ms, 1_000_000_000)
	if got := c.Micros(10*time.Second + 100*ms); got != 1_000_000_000 {
		t.Fatalf("%d at the middle of the round trip", got)
	}
	if c.Observe(11*time.Second, 12*time.Second, 5_000_000_000) {
		t.Fatal("a worse sample was taken")
	}
	if !c.Observe(20*time.Second, 20*time.Second+10*ms, 1_010_000_000) || c.Bound(20*time.Second+10*ms) != 5*ms {
		t.Fatal("a better sample was not taken")
	}
	if c.Observe(30*time.Second, 29*time.Second, 1) {
		t.Fatal("received before it was sent")
	}
}

// TestEndedFloorsAreBounded: floors of scopes that are gone stay, but not without end, and none falls while it matters.
func TestEndedFloorsAreBounded(t *testing.T) {
	m := newMember(t, nil)
	m.join(toySnapshot(1, 1, false))
	rev := uint64(1)
	for i := range 2 * maxEnded {
		rev++
		scope := fmt.Sprintf("s%d", i)
		open := build(t, rev, map[string]ScopeMeta{"base": {Rev: 1}, scope: {Rev: rev, Leased: true}}, nil)
		m.run(WatchEvent{Event{Epoch: 1, Head: open.Head, Floors: map[string]uint64{scope: rev}}})
		m.run(SnapshotFetched{open})
		if m.view.Floors[scope] != rev {
			t.Fatalf("floor of %s is %d, want %d", scope, m.view.Floors[scope], rev)
		}
		rev++
		closed := build(t, rev, map[string]ScopeMeta{"base": {Rev: 1}}, nil)
		m.run(WatchEvent{Event{Epoch: 1, Head: closed.Head}})
		m.run(SnapshotFetched{closed})
	}
	if n := len(m.view.Floors); n > maxEnded+1 {
		t.Fatalf("%d floors are kept", n)
	}
	r, _ := find[SendRenew](m.run(Tick{TimerRenew}))
	if len(r.Renew.Floors) != 0 {
		t.Fatalf("a renewal carries %d floors of scopes that are gone", len(r.Renew.Floors))
	}
}
