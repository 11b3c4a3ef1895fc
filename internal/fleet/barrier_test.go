package fleet

import (
	"testing"
	"time"

	"sluice.dev/sdk/slp"
)

func TestY(t *testing.T) {
	for _, tt := range []struct{ ttl, want time.Duration }{
		{10 * time.Second, 10402020202 * time.Nanosecond}, // 10·1.01/0.99 + 0.2
		{15 * time.Second, 15503030303 * time.Nanosecond},
		{2 * time.Second, 2240404040 * time.Nanosecond},
	} {
		if got := Y(tt.ttl); got != tt.want {
			t.Errorf("Y(%s) is %s, want %s", tt.ttl, got, tt.want)
		}
	}
}

// TestBarrierOfOneBoot: what proves a boot, and when. Times are seconds after the revoke; Y is 10.402 s, W 2 s.
func TestBarrierOfOneBoot(t *testing.T) {
	const y = 10.402020202
	tests := []struct {
		name  string
		boot  func(f *Fleet, m *Member)
		drain time.Duration
		now   float64
		how   string  // "" means not part of the barrier
		at    float64 // of the proof; Until where how is waiting
	}{
		{"granted just before, nothing since", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1) }, 0, 11.4, Waiting, y - 1 + 2},
		{"lapses Y after its last grant, and W", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1) }, 0, 11.41, ByLapse, y - 1 + 2},
		{"a grant after the revoke counts as the horizon", func(_ *Fleet, m *Member) { m.Granted[scope] = at(3) }, 0, 12.4, Waiting, y + 2},
		{"and lapses there", func(_ *Fleet, m *Member) { m.Granted[scope] = at(3) }, 0, 12.41, ByLapse, y + 2},
		{"no grant of a young leadership counts as the horizon", func(f *Fleet, _ *Member) { f.Started = at(-1) }, 0, 5, Waiting, y + 2},
		{"no grant of a leadership older than Y and W", func(*Fleet, *Member) {}, 0, 0, "", 0},
		{"a grant of another scope proves nothing", func(f *Fleet, m *Member) { f.Started, m.Granted["other"] = at(-1), at(-60) }, 0, 5, Waiting, y + 2},
		{"lapsed before the revoke", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-12.5) }, 0, 0, "", 0},
		{"lapsed before the revoke, but requests may be open", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-12.3) }, 0, 0.05, Waiting, y - 12.3 + 2},
		{"a spec raises the drain", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1) }, 5 * time.Second, 13, Waiting, y - 1 + 5},
		{"a spec cannot lower the drain", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1) }, time.Second, 11.41, ByLapse, y - 1 + 2},
		{"acknowledged and drained", func(_ *Fleet, m *Member) {
			m.Granted[scope] = at(-1)
			ack(m, slp.StageActivated, 7, 0.3)
			ack(m, slp.StageDrained, 7, 0.4)
		}, 0, 0.4, ByAck, 0.4},
		{"acknowledged, W not over", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1); ack(m, slp.StageActivated, 7, 0.3) }, 0, 2.2, Waiting, 2.3},
		{"acknowledged, W over", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1); ack(m, slp.StageActivated, 7, 0.3) }, 0, 2.3, ByAck, 2.3},
		{"acknowledged a later revision", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1); ack(m, slp.StageActivated, 9, 0.3) }, 0, 2.3, ByAck, 2.3},
		{"acknowledged below the floor", func(_ *Fleet, m *Member) {
			m.Granted[scope] = at(-1)
			ack(m, slp.StageActivated, 6, -0.1)
			ack(m, slp.StageDrained, 6, -0.1)
		}, 0, 5, Waiting, y - 1 + 2},
		{"drained without activated", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1); ack(m, slp.StageDrained, 7, 0.3) }, 0, 5, Waiting, y - 1 + 2},
		{"acknowledged so late that the lapse proves first", func(_ *Fleet, m *Member) { m.Granted[scope] = at(-1); ack(m, slp.StageActivated, 7, 10) }, 0, 11.5, ByLapse, y - 1 + 2},
		{"said Bye", func(_ *Fleet, m *Member) { m.Granted[scope], m.Bye = at(-1), at(0.5) }, 0, 0.5, ByBye, 0.5},
		{"said Bye before the revoke", func(_ *Fleet, m *Member) { m.Granted[scope], m.Bye = at(-1), at(-0.5) }, 0, 0, "", 0},
		{"said Bye while it drains", func(_ *Fleet, m *Member) {
			m.Granted[scope], m.Bye = at(-1), at(0.6)
			ack(m, slp.StageActivated, 7, 0.3)
		}, 0, 0.6, ByBye, 0.6},
		{"said Bye after its lapse", func(_ *Fleet, m *Member) { m.Granted[scope], m.Bye = at(-1), at(20) }, 0, 20, ByLapse, y - 1 + 2},
		{"joined after the revoke", func(_ *Fleet, m *Member) { m.Joined, m.Granted[scope] = at(0.1), at(0.2) }, 0, 1, "", 0},
		{"joined in the very moment of the revoke", func(_ *Fleet, m *Member) { m.Joined, m.Granted[scope] = at(0), at(0.2) }, 0, 1, Waiting, y + 2},
		{"of a class that unwinds later", func(_ *Fleet, m *Member) { m.Class, m.Granted[scope] = slp.ClassStore, at(-1) }, 0, 0, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := old()
			m := hello(f, "checkout-1", "b1")
			tt.boot(f, m)
			r := revoke
			r.Drain = tt.drain
			p := f.Barrier(r, Exposed, at(tt.now))
			if tt.how == "" {
				if len(p.Lines) != 0 || !p.Complete {
					t.Fatalf("got %+v, want an empty, complete barrier", p.Lines)
				}
				return
			}
			if len(p.Lines) != 1 || p.Lines[0].How != tt.how {
				t.Fatalf("got %+v, want %s", p.Lines, tt.how)
			}
			l := p.Lines[0]
			if complete := tt.how != Waiting; p.Complete != complete {
				t.Errorf("complete is %v, want %v", p.Complete, complete)
			}
			when, other := l.At, l.Until
			if tt.how == Waiting {
				when, other = other, when
				if !p.Next.Equal(l.Until) || !p.At.IsZero() {
					t.Errorf("next %s, at %s; want the line's until and nothing", p.Next, p.At)
				}
			}
			if d := when.Sub(at(tt.at)).Abs(); d > time.Microsecond {
				t.Errorf("proven at %s, want %s after the revoke", when.Sub(t0), at(tt.at).Sub(t0))
			}
			if !other.IsZero() {
				t.Errorf("line says both at %s and until %s", l.At, l.Until)
			}
		})
	}
}

// TestARestartWaitsTheFullY: a new leadership knows of no grants, so each boot may hold one given in its last instant.
func TestARestartWaitsTheFullY(t *testing.T) {
	f := New(at(4)) // recovered 4 s after the revoke
	hello(f, "checkout-1", "b1")
	hello(f, "checkout-2", "b2")
	r := revoke
	r.At = f.Started // the horizon begins again (L5)
	p := f.Barrier(r, Exposed, at(4))
	near(t, "horizon", p.Horizon, at(4).Add(Y(ttl)))
	if p.Complete || p.Counts != (Counts{Total: 2, Unproven: 2}) {
		t.Fatalf("complete %v, counts %+v right after a restart", p.Complete, p.Counts)
	}
	near(t, "next look", p.Next, at(4).Add(Y(ttl)+2*time.Second))
	if p = f.Barrier(r, Exposed, p.Next.Add(-1)); p.Complete {
		t.Error("complete before the full wait")
	}
	if p = f.Barrier(r, Exposed, at(4).Add(Y(ttl)+2*time.Second)); !p.Complete || p.Counts.Lapsed != 2 {
		t.Errorf("complete %v, counts %+v after the full wait", p.Complete, p.Counts)
	}
	// Acks on the same durable store end it earlier.
	ack(f.Members["b1"], slp.StageActivated, 7, 5)
	ack(f.Members["b1"], slp.StageDrained, 7, 5)
	if p = f.Barrier(r, Exposed, at(5)); p.Counts.Acked != 1 || p.Counts.Unproven != 1 {
		t.Errorf("counts %+v after one ack", p.Counts)
	}
}

// TestMutants names the three wrong readings of the rule that contract 2 lists; each would complete too early.
func TestMutants(t *testing.T) {
	one := func() (*Fleet, *Member) {
		f := old()
		m := hello(f, "checkout-1", "b1")
		m.Granted[scope] = at(-0.2)
		return f, m
	}
	t.Run("M_HOREARLY: the horizon counts from the revoke's visibility, not from the decision", func(t *testing.T) {
		f, m := one()
		decided := revoke
		decided.At = at(-0.5)
		early, right := f.Barrier(decided, Exposed, t0).Lines[0].Until, f.Barrier(revoke, Exposed, t0).Lines[0].Until
		near(t, "lapse by the early horizon", early, at(-0.5).Add(Y(ttl)+m.W))
		near(t, "lapse", right, at(-0.2).Add(Y(ttl)+m.W))
	})
	t.Run("M_RECVLATE: a grant that is noted late moves the lapse", func(t *testing.T) {
		f, m := one()
		m.Granted[scope] = at(-9)
		before := f.Barrier(revoke, Exposed, t0).Lines[0].Until
		m.Granted[scope] = at(-0.2)
		after := f.Barrier(revoke, Exposed, t0).Lines[0].Until
		if got := after.Sub(before); got != 8800*time.Millisecond {
			t.Errorf("the later receipt moved the lapse by %s, want 8.8s", got)
		}
	})
	t.Run("M_RECVANY: a Renew answered without a lease counts as none", func(t *testing.T) {
		f, m := one()
		m.Renewed = at(5)
		near(t, "lapse", f.Barrier(revoke, Exposed, t0).Lines[0].Until, at(-0.2).Add(Y(ttl)+m.W))
	})
}

func TestCountsAreOfInstances(t *testing.T) {
	f := old()
	line := func(instance, boot string, acked bool) {
		m := hello(f, instance, boot)
		m.Granted[scope] = at(-1)
		if acked {
			ack(m, slp.StageActivated, 7, 0.1)
			ack(m, slp.StageDrained, 7, 0.1)
		}
	}
	line("a", "a1", true)
	line("a", "a2", false) // an older process under the same name still runs
	line("b", "b1", true)
	line("c", "c1", false)
	f.Members["c1"].Bye = at(1)
	line("d", "d1", true)
	line("d", "d2", false)
	f.Members["d2"].Granted[scope] = at(-12)
	p := f.Barrier(revoke, Exposed, at(2))
	if want := (Counts{Total: 4, Acked: 2, Lapsed: 1, Unproven: 1}); p.Counts != want {
		t.Errorf("counts %+v, want %+v: an instance is as good as its worst boot", p.Counts, want)
	}
	if p.Complete || len(p.Lines) != 6 {
		t.Errorf("complete %v with %d lines, want 6 boots and one waiting", p.Complete, len(p.Lines))
	}
	near(t, "next look", p.Next, at(-1).Add(Y(ttl)+2*time.Second))
	p = f.Barrier(revoke, Exposed, p.Next)
	if want := (Counts{Total: 4, Acked: 2, Lapsed: 2}); p.Counts != want || !p.Complete {
		t.Errorf("counts %+v, complete %v; want %+v", p.Counts, p.Complete, want)
	}
	near(t, "proof", p.At, at(-1).Add(Y(ttl)+2*time.Second))
	if c := Count([]Line{{Instance: "a", Component: "x", How: ByAck}, {Instance: "a", Component: "y", How: NoLease}}); c != (Counts{Total: 2, Acked: 1, Unproven: 1}) {
		t.Errorf("counts %+v: the same name in another component is another instance, and an unleased one is unproven", c)
	}
}

func TestEmptyBarrier(t *testing.T) {
	p := old().Barrier(revoke, Exposed, at(0.5))
	if !p.Complete || p.Counts != (Counts{}) || !p.Next.IsZero() {
		t.Errorf("a fleet without members gives %+v", p)
	}
	near(t, "proof", p.At, t0)
}

func TestUnwound(t *testing.T) {
	if len(UnwindOrder) != 2 || UnwindOrder[0] != slp.ClassStore || UnwindOrder[1] != slp.ClassWriter {
		t.Fatalf("unwind order %v, want stores, then writers: a writer may not go back before its store can take it", UnwindOrder)
	}
	tests := []struct {
		name string
		boot func(*Member)
		now  float64
		how  string
	}{
		{"live and silent about it", func(m *Member) { m.Renewed = at(20) }, 21, Waiting},
		{"activated is not enough", func(m *Member) { m.Renewed = at(20); ack(m, slp.StageActivated, 7, 1) }, 21, Waiting},
		{"drained", func(m *Member) { m.Renewed = at(20); ack(m, slp.StageDrained, 7, 1) }, 21, ByAck},
		{"drained below the floor", func(m *Member) { m.Renewed = at(20); ack(m, slp.StageDrained, 6, -1) }, 21, Waiting},
		{"said Bye", func(m *Member) { m.Bye = at(3) }, 4, ByBye},
		{"stopped renewing, lease not over", func(m *Member) { m.Renewed = at(-0.5) }, 10, Waiting},
		{"stopped renewing", func(m *Member) { m.Renewed = at(-0.5) }, 11.5, ByLapse},
		{"stopped renewing after the horizon, lapses a Y after it", func(m *Member) { m.Renewed = at(20) }, 30, Waiting},
		{"and is lapsed then", func(m *Member) { m.Renewed = at(20) }, 30.5, ByLapse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := old()
			m := f.Join(slp.Hello{Instance: "s1", Boot: "b1", Component: "online", Class: slp.ClassStore, WMs: 1000}, at(-60))
			m.Granted[scope] = at(-1)
			tt.boot(m)
			hello(f, "reader", "r1").Granted[scope] = at(-1) // of another class: not part of it
			p := f.Unwound(revoke, slp.ClassStore, at(tt.now))
			if len(p.Lines) != 1 || p.Lines[0].How != tt.how || p.Complete != (tt.how != Waiting) {
				t.Errorf("got %+v, complete %v; want %s", p.Lines, p.Complete, tt.how)
			}
		})
	}
	if p := old().Unwound(revoke, slp.ClassWriter, at(1)); !p.Complete {
		t.Error("a class without members has nothing to unwind")
	}
}

// TestStoreThatCameBackIsWaitedFor: its lease ended long before the revoke, but it renews: what it has to take back is still
// there. Found by the simulation.
func TestStoreThatCameBackIsWaitedFor(t *testing.T) {
	began := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	f := New(began)
	m := f.Join(slp.Hello{Instance: "online-1", Boot: "b", Component: "online", Class: slp.ClassStore, WMs: 300}, began)
	revoke := Revoke{Scope: "r", Floor: 7, Y: Y(2 * time.Second), At: began.Add(time.Minute)}
	m.Renewed = revoke.At.Add(-time.Second)
	if p := f.Unwound(revoke, slp.ClassStore, revoke.At); p.Complete || len(p.Lines) != 1 {
		t.Errorf("a store that renews and has not drained: %+v", p)
	}
	m.Acknowledge(slp.Ack{Scope: "r", Rev: 7, Stage: slp.StageDrained}, revoke.At)
	if p := f.Unwound(revoke, slp.ClassStore, revoke.At); !p.Complete {
		t.Errorf("it has drained: %+v", p)
	}
}

// TestGuards: a fence is proven by its acknowledgement alone, and an unleased member holds nothing up and proves nothing.
func TestGuards(t *testing.T) {
	guarded := func(guard string) (*Fleet, *Member) {
		f := old()
		m := f.Join(slp.Hello{Instance: "g", Boot: "g1", Component: "gateway", Class: slp.ClassRouter, Caps: slp.Caps{Guard: guard}}, at(-60))
		return f, m
	}
	f, m := guarded(slp.GuardFence)
	if p := f.Barrier(revoke, Exposed, at(3600)); p.Complete || p.Counts.Unproven != 1 || !p.Next.IsZero() {
		t.Errorf("a fence that is silent for an hour: %+v", p)
	}
	ack(m, slp.StageActivated, 6, 1)
	if p := f.Barrier(revoke, Exposed, at(2)); p.Complete {
		t.Error("a fence below the floor counts")
	}
	ack(m, slp.StageActivated, 7, 1)
	if p := f.Barrier(revoke, Exposed, at(1)); !p.Complete || p.Counts != (Counts{Total: 1, Fenced: 1}) || p.Lines[0].How != ByFence {
		t.Errorf("a fence that stands: %+v", p)
	}
	f, m = guarded(slp.GuardFence)
	m.Bye = at(2)
	if p := f.Barrier(revoke, Exposed, at(3)); !p.Complete {
		t.Errorf("a fence that said Bye: %+v", p)
	}
	f, m = guarded(slp.GuardNone)
	m.Renewed = at(-1)
	if p := f.Barrier(revoke, Exposed, at(0.1)); !p.Complete || p.Counts != (Counts{Total: 1, Unproven: 1}) || p.Lines[0].How != NoLease {
		t.Errorf("an unleased member: %+v", p)
	}
	if a := f.Arm(scope, digest, ttl, nil, PreparedLater, t0); a.Ready || len(a.Missing) != 0 {
		t.Errorf("an unleased member is asked to arm: %+v", a)
	}
	if ok, lag := f.Activated(scope, 9, ttl, t0); !ok || len(lag) != 0 {
		t.Errorf("an unleased member holds a stage: %v", lag)
	}
}
