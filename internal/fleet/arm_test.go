package fleet

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sdk/slp"
)

const digest = "sha256:next"

// prepare answers with the digest; code "" accepts it.
func prepare(m *Member, digest, code string) {
	p := slp.Prepared{Scope: scope, Digest: digest}
	if code != "" {
		p.Reject = &slp.Reject{Code: code, Limit: "1", Got: "2"}
	}
	m.Prepared[scope] = p
}

func component(f *Fleet, name string, boots, prepared int) {
	for i := range boots {
		m := f.Join(slp.Hello{Instance: fmt.Sprintf("%s-%d", name, i), Boot: fmt.Sprintf("%s-b%d", name, i), Component: name, Class: slp.ClassReader}, at(-60))
		m.Renewed = at(-1)
		if i < prepared {
			prepare(m, digest, "")
		}
	}
}

func TestArm(t *testing.T) {
	tests := []struct {
		name   string
		fleet  func(*Fleet)
		bundle []string
		ready  bool
	}{
		{"all hold it", func(f *Fleet) { component(f, "a", 3, 3) }, []string{"a"}, true},
		{"one of three does not", func(f *Fleet) { component(f, "a", 3, 2) }, []string{"a"}, false},
		{"99 of 100", func(f *Fleet) { component(f, "a", 100, 99) }, []string{"a"}, true},
		{"98 of 100", func(f *Fleet) { component(f, "a", 100, 98) }, []string{"a"}, false},
		{"693 of 700, exactly 99 %", func(f *Fleet) { component(f, "a", 700, 693) }, []string{"a"}, true},
		{"each component by itself", func(f *Fleet) { component(f, "a", 200, 200); component(f, "b", 2, 1) }, []string{"a", "b"}, false},
		{"a component outside the bundle counts too", func(f *Fleet) { component(f, "a", 1, 1); component(f, "b", 1, 0) }, []string{"a"}, false},
		{"a component of the bundle is absent", func(f *Fleet) { component(f, "a", 1, 1) }, []string{"a", "b"}, false},
		{"its only member is not live", func(f *Fleet) { component(f, "a", 1, 1); f.Members["a-b0"].Renewed = at(-20) }, []string{"a"}, false},
		{"its only member said Bye", func(f *Fleet) { component(f, "a", 1, 1); f.Members["a-b0"].Bye = at(-0.5) }, []string{"a"}, false},
		{"a silent member is left out", func(f *Fleet) { component(f, "a", 3, 2); f.Members["a-b2"].Renewed = at(-20) }, []string{"a"}, true},
		{"a member that never renewed is left out", func(f *Fleet) { component(f, "a", 3, 2); f.Members["a-b2"].Renewed = time.Time{} }, []string{"a"}, true},
		{"an answer to another content", func(f *Fleet) { component(f, "a", 1, 0); prepare(f.Members["a-b0"], "sha256:old", "") }, []string{"a"}, false},
		{"nobody at all", func(*Fleet) {}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := old()
			tt.fleet(f)
			if a := f.Arm(scope, digest, ttl, tt.bundle, PreparedLater, t0); a.Ready != tt.ready {
				t.Errorf("ready %v, want %v: %+v", a.Ready, tt.ready, a)
			}
		})
	}
}

func TestArmNamesWhatIsWrong(t *testing.T) {
	f := old()
	component(f, "a", 100, 99)
	component(f, "b", 2, 2)
	prepare(f.Members["b-b1"], digest, "limit.bytes")
	a := f.Arm(scope, digest, ttl, []string{"a", "b", "c"}, PreparedLater, t0)
	if a.Ready || a.Refusal == nil || a.Refusal.Reject.Code != "limit.bytes" || a.Member != "b-1" {
		t.Errorf("one refusal among 102: %+v", a)
	}
	if len(a.Missing) != 1 || a.Missing[0] != "a-99" || len(a.Absent) != 1 || a.Absent[0] != "c" || a.Holding != 100 {
		t.Errorf("missing %v, absent %v, holding %d; want a-99, c and 100", a.Missing, a.Absent, a.Holding)
	}
	prepare(f.Members["b-b1"], "sha256:old", "limit.bytes") // a refusal of something else is no refusal of this
	if a := f.Arm(scope, digest, ttl, []string{"a", "b"}, PreparedLater, t0); a.Refusal != nil || a.Ready || len(a.Missing) != 2 {
		t.Errorf("a stale refusal: %+v", a)
	}
}

// TestArmAgreesWithItsTwin counts the contract's sentence: every component has at least 99 % prepared, no refusal, none absent.
func TestArmAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := old()
		bundle := []string{"a", "b"}
		want := true
		for _, c := range bundle {
			n := rapid.IntRange(0, 220).Draw(t, "boots")
			held := rapid.IntRange(max(0, n-4), n).Draw(t, "prepared")
			component(f, c, n, held)
			// as a fraction without rounding: held/n >= 99/100
			if n == 0 || n*99 > held*100 {
				want = false
			}
		}
		if rapid.IntRange(0, 5).Draw(t, "refusal") == 0 {
			for _, m := range f.Sorted()[:min(1, len(f.Members))] {
				prepare(m, digest, "limit.bytes")
				want = false
			}
		}
		if a := f.Arm(scope, digest, ttl, bundle, PreparedLater, t0); a.Ready != want {
			t.Fatalf("ready %v, want %v: %+v", a.Ready, want, a)
		}
	})
}

func TestActivated(t *testing.T) {
	f := old()
	component(f, "a", 3, 3)
	ack(f.Members["a-b0"], slp.StageActivated, 5, -0.5)
	ack(f.Members["a-b1"], slp.StageActivated, 4, -0.5)
	ok, lag := f.Activated(scope, 5, ttl, t0)
	if ok || len(lag) != 2 || lag[0] != "a-1" || lag[1] != "a-2" {
		t.Errorf("activated %v, lagging %v; want a-1 and a-2", ok, lag)
	}
	ack(f.Members["a-b1"], slp.StageActivated, 6, -0.4)
	f.Members["a-b2"].Renewed = at(-20)
	if ok, lag = f.Activated(scope, 5, ttl, t0); !ok || len(lag) != 0 {
		t.Errorf("activated %v, lagging %v; one is ahead, the other is silent", ok, lag)
	}
}

// TestCanaryTakesAll: before anybody is exposed every live member must hold the content.
func TestCanaryTakesAll(t *testing.T) {
	f := old()
	component(f, "a", 100, 99)
	if f.Arm(scope, digest, ttl, []string{"a"}, PreparedCanary, t0).Ready || !f.Arm(scope, digest, ttl, []string{"a"}, PreparedLater, t0).Ready {
		t.Error("99 of 100 are enough for a later stage, not for the first")
	}
}
