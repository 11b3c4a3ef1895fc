package fleet

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sdk/slp"
)

func TestJoin(t *testing.T) {
	f := old()
	m := f.Join(slp.Hello{Instance: "a", Boot: "b1", Component: "c", Class: slp.ClassReader}, t0)
	if m.W != DefaultW {
		t.Errorf("a member that declares nothing has W %s, want %s", m.W, DefaultW)
	}
	if again := f.Join(slp.Hello{Instance: "a", Boot: "b1", WMs: 9}, at(5)); again != m || !m.Joined.Equal(t0) || m.W != DefaultW {
		t.Error("the same boot joined twice is another member")
	}
	f.Join(slp.Hello{Instance: "a", Boot: "b2", WMs: 300}, at(5))
	if len(f.Members) != 2 || f.Members["b1"] != m || f.Members["b2"].W != 300*time.Millisecond {
		t.Error("a new boot must stand beside the old one of its instance")
	}
}

func TestAcknowledge(t *testing.T) {
	m := hello(old(), "a", "b1")
	steps := []struct {
		stage   string
		rev     uint64
		s       float64
		changed bool
		wantRev uint64
		wantAt  float64
	}{
		{slp.StageActivated, 5, 1, true, 5, 1},
		{slp.StageActivated, 5, 2, false, 5, 1}, // a repeat keeps the first time
		{slp.StageActivated, 4, 3, false, 5, 1}, // a late one lowers nothing
		{slp.StageActivated, 7, 4, true, 7, 4},
		{slp.StageDrained, 6, 5, true, 6, 5}, // stages stand beside each other
	}
	for _, st := range steps {
		if got := m.Acknowledge(slp.Ack{Scope: scope, Stage: st.stage, Rev: st.rev}, at(st.s)); got != st.changed {
			t.Errorf("%s %d: changed %v, want %v", st.stage, st.rev, got, st.changed)
		}
		if got := m.Acked[scope][st.stage]; got.Rev != st.wantRev || !got.At.Equal(at(st.wantAt)) {
			t.Errorf("%s %d: known is %+v, want %d at %s", st.stage, st.rev, got, st.wantRev, at(st.wantAt))
		}
	}
	if m.Acked[scope][slp.StageActivated].Rev != 7 {
		t.Error("an ack of one stage changed the other")
	}
}

func TestLive(t *testing.T) {
	m := hello(old(), "a", "b1")
	if m.Live(ttl, t0) {
		t.Error("live before its first Renew")
	}
	m.Renewed = t0
	if !m.Live(ttl, t0.Add(Y(ttl)-1)) || m.Live(ttl, t0.Add(Y(ttl))) {
		t.Error("a boot is live for Y after its last Renew, and not longer")
	}
	m.Bye = at(1)
	if m.Live(ttl, at(1)) {
		t.Error("live after Bye")
	}
}

func TestStoredMemberHoldsNothingVolatile(t *testing.T) {
	f := old()
	m := hello(f, "a", "b1")
	m.Renewed, m.Granted[scope] = t0, t0
	ack(m, slp.StageActivated, 7, 0)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var back Member
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	g := New(at(9))
	g.Add(&back)
	if back.Boot != "b1" || back.W != 2*time.Second || !back.Joined.Equal(m.Joined) || back.Class != slp.ClassReader {
		t.Errorf("stored member lost something: %s", b)
	}
	if !back.Renewed.IsZero() || len(back.Granted) != 0 || len(back.Acked) != 0 {
		t.Error("leases and acks of an earlier leadership came back")
	}
	back.Acknowledge(slp.Ack{Scope: scope, Stage: slp.StageActivated, Rev: 1}, t0) // maps must be there
	back.Granted[scope], back.Prepared[scope], back.Active[scope] = t0, slp.Prepared{}, 1
}

func TestSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := old()
		n := rapid.IntRange(0, 20).Draw(t, "members")
		for i := range n {
			f.Join(slp.Hello{
				Component: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "component"),
				Instance:  rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "instance"),
				Boot:      string(rune('a' + i)),
			}, t0)
		}
		list := f.Sorted()
		key := func(m *Member) string { return m.Component + m.Instance + m.Boot }
		if len(list) != n || !slices.IsSortedFunc(list, func(x, y *Member) int {
			if key(x) < key(y) {
				return -1
			}
			return 1
		}) {
			t.Fatal("not every member, or not in order")
		}
	})
}
