package engine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/report"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// TestAllOff: one decision takes back what is exposed and cancels what is not, in the environment named and once.
func TestAllOff(t *testing.T) {
	r := exposed(t)
	second := shortPlan(t, func(p *plan.Plan) {
		p.Name, p.Flag.Key, p.Bundle = "other-v15", "other", nil
		p.Judge.Rollout = p.Name
		p.Stages = p.Stages[1:]
	})
	r.fleet[0].lags = true // the second rollout does not come further than arming
	r.fleet[0].reject = nil
	r.must(Apply{Plan: second, Actor: "token:ann"})
	r.must(AllOff{Env: prod, Actor: "token:bo", Reason: "incident 31"})
	if err := r.do(AllOff{Env: "nowhere", Actor: "token:bo"}); err == nil {
		t.Error("an environment that does not exist was switched off")
	}
	for n, want := range map[string]rollout.Phase{name: rollout.RollingBack, "other-v15": rollout.RollingBack} {
		st, err := r.e.Rollout(n)
		if err != nil {
			t.Fatal(err)
		}
		if s := st.State; s.Phase != want && s.Phase != rollout.RolledBack && s.Phase != rollout.Cancelled || s.Exposure != 0 {
			t.Errorf("%s is %s with exposure %d", n, s.Phase, s.Exposure)
		}
	}
	if v := r.view(); len(v.Leases) != 0 {
		t.Errorf("leases are still granted: %v", v.Leases)
	}
	r.fleet[0].lags = false
	r.until(rollout.RolledBack, "", time.Minute)
	before := r.env().Number
	r.must(AllOff{Env: prod, Actor: "token:bo"})
	if r.env().Number != before {
		t.Error("repeating it published something")
	}
	last := r.disk.records[len(r.disk.records)-1]
	if last.Kind != "env.off" || last.Env != prod || last.Actor != "token:bo" || string(last.Event) != `{"rollouts":[]}` {
		t.Errorf("record %+v", last)
	}
}

// completed is a rig whose rollout is over.
func completed(t *testing.T) *rig {
	t.Helper()
	r := started(t)
	r.until(rollout.Completed, "", time.Minute)
	return r
}

// settle lets the members acknowledge the base scope as it stands.
func (r *rig) settle(members ...*fake) {
	r.t.Helper()
	rev := r.env().Scopes[revision.Base].Rev
	for _, m := range members {
		r.must(Acks{Env: prod, List: []Acked{{Boot: m.hello.Boot, Acks: []slp.Ack{{Scope: revision.Base, Rev: rev, Stage: slp.StageActivated}}}}})
	}
}

func TestUndo(t *testing.T) {
	r := completed(t)
	late := r.env().Number
	r.must(Command{Rollout: name, Kind: rollout.Undo, Actor: "token:ann", Reason: "slower at month end"})
	env := r.env()
	if f, pin := flagOf(t, env, "spend7d"), pinOf(t, env, "checkout"); f.Default != "v14" || pin.Digest != from {
		t.Errorf("the flag serves %q, the pin is %s; want them as before the start", f.Default, pin.Digest)
	}
	if s := r.state(); s.Phase != rollout.Completed || s.Sub != rollout.Undoing || s.UndoRev != env.Number || env.Number != late+1 {
		t.Fatalf("state %+v at head %d", s, env.Number)
	}
	r.settle(r.fleet[0], r.fleet[1])
	r.advance(time.Second)
	newcomer := r.join("checkout", slp.ClassReader) // starts from the new head: nothing to prove
	r.advance(30 * time.Second)
	st, err := r.e.Rollout(name)
	if err != nil {
		t.Fatal(err)
	}
	if st.State.Sub != rollout.Undoing || st.Undoing == nil || st.Undoing.Counts.Acked != 2 || st.Undoing.Counts.Total != 4 {
		t.Fatalf("undoing %+v in %s/%s, want 2 of 4", st.Undoing, st.State.Phase, st.State.Sub)
	}
	if text := report.State(st); !strings.Contains(text, "Undoing 2/4") || !strings.Contains(text, r.fleet[2].hello.Instance) || strings.Contains(text, newcomer.hello.Instance) {
		t.Errorf("sentence %q does not name who is unproven", text)
	}
	r.recover(time.Second)
	if r.state().Sub != rollout.Undoing {
		t.Fatal("a restart forgot the undo")
	}
	for _, m := range r.fleet {
		m.knock(r)
	}
	r.settle(r.fleet[0], r.fleet[1], r.fleet[2])
	r.must(Acks{Env: prod, List: []Acked{{Boot: r.fleet[3].hello.Boot, Bye: true}}})
	if s := r.state(); s.Phase != rollout.Completed || s.Sub != "" || s.UndoneAt.IsZero() || s.UndoRev == 0 {
		t.Errorf("everybody has answered or left, state %+v", s)
	}
	n := r.env().Number
	r.must(Command{Rollout: name, Kind: rollout.Undo, Actor: "token:ann"})
	if r.env().Number != n {
		t.Error("a second undo published something")
	}
}

// TestUndoOverwritesNobody: what people changed after the completion stays, and another rollout's scope is not touched.
func TestUndoOverwritesNobody(t *testing.T) {
	undo := Command{Rollout: name, Kind: rollout.Undo, Actor: "token:ann"}
	t.Run("edited since", func(t *testing.T) {
		r := completed(t)
		f := flagOf(t, r.env(), "spend7d")
		f.Variants["v16"] = json.RawMessage("true")
		edit, err := Seed(prod, "token:cy", f)
		if err != nil {
			t.Fatal(err)
		}
		r.must(edit)
		before := r.env().Number
		if err := r.do(undo); code(err) != "undo.changed" {
			t.Errorf("got %v, want undo.changed", err)
		}
		if s := r.state(); s.Sub != "" || r.env().Number != before {
			t.Errorf("a refused undo changed something: %+v", s)
		}
	})
	t.Run("an open rollout holds the flag", func(t *testing.T) {
		r := completed(t)
		next := shortPlan(t, func(p *plan.Plan) {
			p.Name, p.Bundle = "spend7d-back", nil
			p.Judge.Rollout, p.Flag.Stable, p.Flag.Candidate = p.Name, "v15", "v14"
		})
		r.must(Apply{Plan: next, Actor: "token:ann"})
		if err := r.do(undo); code(err) != "scope.open" {
			t.Errorf("got %v, want scope.open", err)
		}
	})
	t.Run("not completed", func(t *testing.T) {
		r := exposed(t)
		if err := r.do(undo); code(err) != "phase" {
			t.Errorf("got %v, want phase", err)
		}
	})
}
