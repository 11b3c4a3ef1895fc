package engine

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// quietTB lets a rig run inside a rapid check: a failure there is one here.
type quietTB struct {
	testing.TB
	t *rapid.T
}

func (q quietTB) Fatalf(format string, args ...any) { q.t.Fatalf(format, args...) }
func (q quietTB) Fatal(args ...any)                 { q.t.Fatal(args...) }
func (q quietTB) Helper()                           {}

// TestRandomLives lets people, members, bad code and crashes do anything in any order, and looks after each act at what
// must always hold.
func TestRandomLives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := started(quietTB{t, rt})
		base := r.firstWith(name)
		for range rapid.IntRange(1, 25).Draw(rt, "acts") {
			act(rt, r)
			always(rt, r)
		}
		// Whatever happened, a rollback of what is exposed ends with the configuration as before, and nothing else undone.
		if !r.state().Phase.Terminal() {
			r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "enough"})
			for _, m := range r.fleet {
				m.silent = false
			}
			for end := r.now.Add(2 * time.Minute); !r.state().Phase.Terminal(); {
				r.advance(time.Second)
				always(rt, r)
				if r.now.After(end) {
					rt.Fatalf("not over two minutes after the rollback: %+v", r.state())
				}
			}
		}
		ended(rt, r, base)
	})
}

func act(t *rapid.T, r *rig) {
	m := r.fleet[rapid.IntRange(0, len(r.fleet)-1).Draw(t, "member")]
	command := func(k rollout.Kind, reason string) {
		_ = r.do(Command{Rollout: name, Kind: k, Actor: "token:bo", Reason: reason, Full: rapid.Bool().Draw(t, "full")}) // may be refused
	}
	switch rapid.SampledFrom([]string{"time", "time", "time", "time", "pause", "resume", "promote", "rollback", "freeze", "thaw", "silence", "bad", "good", "join", "bye", "edit", "kill", "crash", "again"}).Draw(t, "act") {
	case "time":
		r.advance(time.Duration(rapid.IntRange(1, 12).Draw(t, "halves")) * 500 * time.Millisecond)
	case "pause":
		command(rollout.PauseIt, "lunch")
	case "resume":
		command(rollout.Resume, "seen")
	case "promote":
		command(rollout.Promote, "hurry")
	case "rollback":
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
			command(rollout.Rollback, "drill")
		}
	case "freeze":
		m.frozen = true
	case "thaw":
		m.frozen = false
	case "silence":
		m.silent = !m.silent
	case "bad":
		r.bad[evidence.ArmExposed] = 0.5
	case "good":
		r.bad[evidence.ArmExposed] = 0
	case "join":
		if len(r.fleet) < 8 {
			r.join(rapid.SampledFrom([]string{"checkout", "agg"}).Draw(t, "component"), slp.ClassReader)
		}
	case "bye":
		m.frozen = true
		r.must(Acks{Env: prod, List: []Acked{{Boot: m.hello.Boot, Bye: true}}})
	case "edit":
		f := boolFlag("other")
		f.Default = rapid.SampledFrom([]string{"v14", "v15"}).Draw(t, "default")
		r.must(edit(map[string]any{"flag/other": f}))
	case "kill":
		r.must(edit(map[string]any{"kill/spend7d": flag.Kill{Flag: "spend7d"}}))
	case "crash":
		r.recover(time.Duration(rapid.IntRange(0, 8).Draw(t, "down")) * time.Second)
	case "again":
		_ = r.do(Apply{Plan: shortPlan(r.t, nil), Actor: "token:ann"})
	}
}

func always(t *rapid.T, r *rig) {
	s, env := r.state(), r.env()
	if err := env.Check(); err != nil {
		t.Fatalf("revision %d does not compile: %v", env.Number, err)
	}
	scope, open := env.Scopes[name]
	if open == s.Phase.Terminal() {
		t.Fatalf("the rollout is %s and its scope is there: %v", s.Phase, open)
	}
	f := flagOf(r.t, env, "spend7d")
	going := s.Phase == rollout.RollingBack || s.Phase == rollout.RollbackIncomplete
	switch {
	case s.Phase.Terminal() || going || s.Revision == 0:
		if f.Rollout != nil {
			t.Fatalf("%s/%s, and the flag still has a rollout", s.Phase, s.Sub)
		}
	case f.Rollout == nil:
		t.Fatalf("%s/%s at revision %d, and the flag has no rollout", s.Phase, s.Sub, s.Revision)
	case f.Rollout.Cohorts[0].Exposure != s.Exposure || scope.Rev != s.Revision:
		t.Fatalf("members are given %d at revision %d, the state says %d at %d", f.Rollout.Cohorts[0].Exposure, scope.Rev, s.Exposure, s.Revision)
	}
	v := r.view()
	if granted := v.Leases[name] != 0; granted != (s.Exposed() && !going) {
		t.Fatalf("%s/%s, and leases are granted: %v", s.Phase, s.Sub, granted)
	}
	if going && v.Floors[name] != scope.Rev {
		t.Fatalf("going back at revision %d with floor %d", scope.Rev, v.Floors[name])
	}
	if s.Stage >= 0 && s.Exposure > r.e.runs[name].plan.Stages[s.Stage].Exposure {
		t.Fatalf("exposure %d in stage %d", s.Exposure, s.Stage)
	}
}

func ended(t *rapid.T, r *rig, open revision.Env) {
	s, env := r.state(), r.env()
	f := flagOf(r.t, env, "spend7d")
	switch s.Phase {
	case rollout.Completed:
		if f.Default != "v15" {
			t.Fatalf("completed, and the flag serves %q", f.Default)
		}
	case rollout.RolledBack:
		if s.DigestAfter != s.DigestBefore || s.DigestBefore != open.Scopes[name].Full || s.Proof == "" {
			t.Fatalf("rolled back to %s, before the start it was %s", s.DigestAfter, s.DigestBefore)
		}
		fallthrough
	case rollout.Cancelled:
		for path, raw := range open.Scopes[name].Objects {
			if got := env.Scopes[revision.Base].Objects[path]; string(got) != string(raw) {
				t.Fatalf("%s is %s, before the start it was %s", path, got, raw)
			}
		}
	default:
		t.Fatalf("ended as %s", s.Phase)
	}
}
