package engine

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

func edit(put map[string]any, del ...string) Edit {
	c := Edit{Env: prod, Actor: "token:bo", Reason: "test", Delete: del, Put: map[string]json.RawMessage{}}
	for path, v := range put {
		c.Put[path] = mustJSON(v)
	}
	return c
}

// TestEditBesideARollout: what people change elsewhere while a rollout is open survives its rollback, kill switches included.
func TestEditBesideARollout(t *testing.T) {
	r := exposed(t)
	other := boolFlag("other")
	other.Default = "v15"
	r.must(edit(map[string]any{"flag/other": other}))
	r.must(edit(map[string]any{"flag/third": boolFlag("third")}))
	r.must(edit(map[string]any{"kill/spend7d": flag.Kill{Flag: "spend7d", Reason: "looks wrong"}}))
	beside := r.env()
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	s := r.until(rollout.RolledBack, "", 10*time.Second)
	env := r.env()
	if got := flagOf(t, env, "other").Default; got != "v15" {
		t.Errorf("the edit of another flag was undone: it serves %q", got)
	}
	flagOf(t, env, "third")
	if env.Scopes[revision.Overlay].Full != beside.Scopes[revision.Overlay].Full || env.Scopes[revision.Overlay].Rev != beside.Scopes[revision.Overlay].Rev {
		t.Error("the rollback touched the overlay")
	}
	if _, _, killed := env.Find("kill/spend7d"); !killed {
		t.Error("a flag that was killed meanwhile came back to life")
	}
	if s.DigestAfter != s.DigestBefore || flagOf(t, env, "spend7d").Default != "v14" {
		t.Errorf("digest %s, before %s", s.DigestAfter, s.DigestBefore)
	}
	snap, err := env.Compile()
	if err != nil {
		t.Fatal(err)
	}
	if snap == nil {
		t.Fatal("no snapshot")
	}
}

func TestEditOfAnOpenScopeIsRefused(t *testing.T) {
	r := exposed(t)
	held := boolFlag("spend7d")
	held.Default = "v15"
	exception := flag.Exception{ID: "ex-1", Flag: "spend7d", Match: flag.Condition{Always: true}, Serve: "v14", Reason: "contract", ApprovedBy: "user:cy"}
	free := exception
	free.ID, free.Flag = "ex-2", "other"
	moved := free
	moved.Flag = "spend7d"
	exposedFlag := boolFlag("other")
	exposedFlag.Rollout = &flag.Rollout{ID: "x", Stable: "v14", Candidate: "v15", Salt: "x", Cohorts: []flag.CohortExposure{{Cohort: "c", Exposure: flag.Full}}}
	r.must(edit(map[string]any{"exception/ex-2": free}))
	tests := []struct {
		name string
		edit Edit
		code string
	}{
		{"the held flag", edit(map[string]any{"flag/spend7d": held}), "scope.open"},
		{"deleting the held flag", edit(nil, "flag/spend7d"), "scope.open"},
		{"a new exception for it", edit(map[string]any{"exception/ex-1": exception}), "scope.open"},
		{"an exception that moves to it", edit(map[string]any{"exception/ex-2": moved}), "scope.open"},
		{"one good and one bad object", edit(map[string]any{"flag/other": boolFlag("other"), "flag/spend7d": held}), "scope.open"},
		{"a pin", edit(map[string]any{"pin/checkout": Pin{}}), "path.kind"},
		{"what is judged", edit(map[string]any{"judge/x": 1}), "path.kind"},
		{"no name", edit(map[string]any{"flag/": 1}), "path.invalid"},
		{"no kind", edit(map[string]any{"flag": 1}), "path.invalid"},
		{"exposure by hand", edit(map[string]any{"flag/other": exposedFlag}), "flag.rollout"},
		{"a default that is no variant", edit(map[string]any{"flag/other": flag.Flag{Key: "other", Type: flag.Bool, Default: "v99"}}), "config.invalid"},
		{"a flag that is not there", edit(nil, "flag/nobody"), "object.unknown"},
		{"no canonical form", Edit{Env: prod, Put: map[string]json.RawMessage{"flag/other": json.RawMessage(`{"key":"other","key":"x"}`)}}, "json.invalid"},
		{"a stale head", Edit{Env: prod, Put: map[string]json.RawMessage{"flag/new": mustJSON(boolFlag("new"))}, IfHead: 1}, "revision.stale"},
		{"an unknown environment", Edit{Env: "nowhere"}, `no such environment: "nowhere"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, seq := r.env(), r.e.Seq()
			o := r.e.Step(r.now, tt.edit)
			if got := code(o.Err); got != tt.code {
				t.Fatalf("refused as %q (%v), want %q", got, o.Err, tt.code)
			}
			if tt.code == "scope.open" && !strings.Contains(o.Err.Error(), name) {
				t.Errorf("%q does not name the rollout", o.Err)
			}
			if !o.Empty() || len(o.Effects) != 0 || len(o.Stop) != 0 {
				t.Errorf("a refused edit asks for %+v", o)
			}
			if r.e.Seq() != seq || !reflect.DeepEqual(r.env(), before) {
				t.Error("a refused edit changed the environment")
			}
		})
	}
	// These are always possible.
	r.must(edit(map[string]any{"kill/spend7d": flag.Kill{Flag: "spend7d"}}))
	r.must(edit(map[string]any{"exclude/vip": flag.Exclusion{ID: "vip", Flag: "spend7d", Match: flag.Condition{Always: true}}}))
	r.must(edit(nil, "kill/spend7d"))
	r.must(Edit{Env: prod, Put: map[string]json.RawMessage{"flag/new": mustJSON(boolFlag("new"))}, IfHead: r.env().Number})
}

func TestExceptionsMoveWithTheFlag(t *testing.T) {
	r := newRig(t)
	exception := flag.Exception{ID: "ex-1", Flag: "spend7d", Match: flag.Condition{Always: true}, Serve: "v14", Reason: "contract", ApprovedBy: "user:cy"}
	r.must(edit(map[string]any{"exception/ex-1": exception}))
	r.join("checkout", slp.ClassReader)
	r.advance(time.Second)
	r.must(Apply{Plan: shortPlan(t, nil), Actor: "token:ann"})
	if scope, _, _ := r.env().Find("exception/ex-1"); scope != name {
		t.Errorf("the exception is in scope %q", scope)
	}
	r.until(rollout.Completed, "", time.Minute)
	if scope, _, _ := r.env().Find("exception/ex-1"); scope != revision.Base {
		t.Errorf("the exception is in scope %q after the end", scope)
	}
}

// TestExceptionsEnd: an exception is taken out when its time is over, as a recorded edit; one that a rollout holds waits for the
// rollout's scope to be merged back, so that what a rollback restores stays what it was.
func TestExceptionsEnd(t *testing.T) {
	r := newRig(t)
	ends := r.now.Add(20 * time.Second)
	put := func(id, key string) {
		r.must(edit(map[string]any{"exception/" + id: flag.Exception{
			ID: id, Flag: key, Match: flag.Condition{Always: true}, Serve: "v14", Reason: "contract", ApprovedBy: "user:cy", Expires: ends.Format(time.RFC3339),
		}}))
	}
	put("held", "spend7d")
	put("free", "other")
	lies := func(path string) string {
		scope, _, _ := r.env().Find(path)
		return scope
	}
	r.join("checkout", slp.ClassReader)
	r.advance(time.Second)
	r.must(Apply{Plan: shortPlan(t, func(p *plan.Plan) { p.Stages[1].Bake = 40 * time.Second }), Actor: "token:ann"})
	for r.now.Before(ends) {
		if got := lies("exception/free"); got != revision.Base {
			t.Fatalf("at %s the exception is in scope %q, before its end", r.now, got)
		}
		r.advance(500 * time.Millisecond)
	}
	r.advance(time.Second)
	if got := lies("exception/free"); got != "" {
		t.Errorf("the exception is in scope %q after its end", got)
	}
	if got := lies("exception/held"); got != name {
		t.Errorf("the rollout's exception is in scope %q", got)
	}
	r.until(rollout.Completed, "", 5*time.Minute)
	r.advance(2 * time.Second)
	if got := lies("exception/held"); got != "" {
		t.Errorf("the exception is in scope %q after the rollout", got)
	}
	n := r.env().Number
	r.advance(10 * time.Second)
	if r.env().Number != n {
		t.Error("revisions are published although nothing ends")
	}
}

func TestApplyIsRefused(t *testing.T) {
	r := exposed(t)
	with := func(f func(*plan.Plan)) *plan.Plan {
		return shortPlan(t, func(p *plan.Plan) {
			p.Name, p.Judge.Rollout = "second", "second"
			f(p)
		})
	}
	r.must(edit(map[string]any{"flag/taken": boolFlag("taken")}))
	tests := []struct {
		name string
		p    *plan.Plan
		code string
	}{
		{"the same flag", with(func(p *plan.Plan) { p.Bundle = nil }), "rollout.flag_busy"},
		{"the same component", with(func(p *plan.Plan) { p.Flag.Key = "other" }), "rollout.component_busy"},
		{"another plan under the name", shortPlan(t, func(p *plan.Plan) { p.Owner = "user:bo" }), "rollout.exists"},
		{"a reserved name", with(func(p *plan.Plan) { p.Name, p.Flag.Key, p.Bundle = revision.Base, "other", nil }), "name.reserved"},
		{"a flag that is not there", with(func(p *plan.Plan) { p.Flag.Key, p.Bundle = "nobody", nil }), "ref.unknown"},
		{"a variant that is not there", with(func(p *plan.Plan) { p.Flag.Key, p.Flag.Candidate, p.Bundle = "other", "v99", nil }), "ref.unknown"},
		{"another stable variant", with(func(p *plan.Plan) { p.Flag.Key, p.Flag.Stable, p.Flag.Candidate, p.Bundle = "other", "v15", "v14", nil }), "flag.stable"},
		{"an unknown environment", with(func(p *plan.Plan) { p.Environment = "nowhere" }), `no such environment: "nowhere"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, seq, runs := r.env(), r.e.Seq(), len(r.e.Rollouts())
			if got := code(r.e.Check(tt.p)); tt.code != "rollout.exists" && got != tt.code {
				t.Errorf("a dry run says %q, want %q", got, tt.code)
			}
			o := r.e.Step(r.now, Apply{Plan: tt.p, Actor: "token:ann"})
			if got := code(o.Err); got != tt.code {
				t.Fatalf("refused as %q (%v), want %q", got, o.Err, tt.code)
			}
			if !o.Empty() || len(o.Effects) != 0 || r.e.Seq() != seq || len(r.e.Rollouts()) != runs || !reflect.DeepEqual(r.env(), before) {
				t.Errorf("a refused apply left something: %+v", o)
			}
		})
	}
	// The same plan again changes nothing; after the end the name is used up.
	seq := r.e.Seq()
	r.must(Apply{Plan: shortPlan(t, nil), Actor: "token:ann"})
	if r.e.Seq() != seq {
		t.Error("applying the same plan again wrote a record")
	}
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	r.until(rollout.RolledBack, "", 10*time.Second)
	if got := code(r.do(Apply{Plan: shortPlan(t, nil), Actor: "token:ann"})); got != "rollout.name_used" {
		t.Errorf("applying it after its end gives %q", got)
	}
	r.must(Apply{Plan: with(func(p *plan.Plan) {}), Actor: "token:ann"})
}

// TestApplyThatCannotOpen fails inside the transaction: the pins of base are not what the spec starts from.
func TestApplyThatCannotOpen(t *testing.T) {
	r := started(t)
	r.must(Command{Rollout: name, Kind: rollout.Cancel, Actor: "token:ann"})
	p := shortPlan(t, func(p *plan.Plan) {
		p.Name, p.Judge.Rollout = "second", "second"
		p.Bundle = []plan.Member{{Component: "checkout", Artifact: "flags:spend7d", From: to, To: from}}
	})
	before, seq := r.env(), r.e.Seq()
	o := r.e.Step(r.now, Apply{Plan: p, Actor: "token:ann"})
	if got := code(o.Err); got != "bundle.from" {
		t.Fatalf("refused as %q (%v)", got, o.Err)
	}
	if !o.Empty() || len(o.Effects) != 0 || r.e.Seq() != seq || !reflect.DeepEqual(r.env(), before) || len(r.e.Rollouts()) != 1 {
		t.Errorf("half of the rollout was written: %+v", o)
	}
}

// TestEffectThatCannotBeDone fails after the record was made: nothing of it may stay.
func TestEffectThatCannotBeDone(t *testing.T) {
	r := started(t)
	run := r.e.runs[name]
	r.until(rollout.Progressing, rollout.Baking, 10*time.Second)
	run.before = revision.Objects{"flag/spend7d": json.RawMessage(`[]`)} // the next stage cannot be prepared
	before, seq, state := r.env(), r.e.Seq(), run.state
	o := r.e.Step(r.now, Command{Rollout: name, Kind: rollout.Promote, Actor: "token:ann", Reason: "hurry"})
	if o.Err == nil {
		t.Fatal("a stage without content was prepared")
	}
	if !o.Empty() || len(o.Effects) != 0 || len(o.Stop) != 0 || r.e.Seq() != seq || !reflect.DeepEqual(r.env(), before) || run.state != state {
		t.Errorf("half of the step was written: %+v", o)
	}
}

func TestCreateEnv(t *testing.T) {
	r := newRig(t)
	n := len(r.disk.records)
	r.must(CreateEnv{Name: prod, Actor: "token:ann"})
	if len(r.disk.records) != n {
		t.Error("creating an environment twice wrote a record")
	}
	r.must(CreateEnv{Name: "staging", Actor: "token:ann"})
	if got := r.e.Envs(); !reflect.DeepEqual(got, []string{prod, "staging"}) {
		t.Errorf("environments %v", got)
	}
	env, err := r.e.Environment("staging")
	if err != nil || env.Number != 1 || len(env.Scopes) != 2 {
		t.Errorf("%+v, %v", env, err)
	}
}

func TestAdministrationIsRecorded(t *testing.T) {
	r := started(t)
	r.must(Denied{Rollout: name, Action: "rollback", Actor: "token:eve", Reason: `role "viewer" may not rollback`})
	r.must(Note{Kind: "token.create", Env: prod, Actor: "token:ann", Facts: map[string]string{"name": "ci"}})
	recs := r.disk.records[len(r.disk.records)-2:]
	if d := recs[0]; d.Kind != "denied" || d.Rollout != name || d.Env != prod || d.Actor != "token:eve" || d.Reason == "" || !strings.Contains(string(d.Event), "rollback") {
		t.Errorf("denied: %+v", d)
	}
	if n := recs[1]; n.Kind != "token.create" || n.Actor != "token:ann" || !strings.Contains(string(n.Event), "ci") {
		t.Errorf("note: %+v", n)
	}
}

// TestDeltaLeadsToTheNextSnapshot along a whole life.
func TestDeltaLeadsToTheNextSnapshot(t *testing.T) {
	r := started(t)
	r.keep = true
	r.until(rollout.Completed, "", time.Minute)
	seen := 0
	for _, o := range r.outs {
		at := 0
		for _, f := range o.Effects {
			if f.Cause == nil {
				continue
			}
			next := o.Revisions[at]
			at++
			seen++
			d, got := Delta(*f.Cause, next), Snapshot(*f.Cause)
			if d.Base != got.Head.Digest {
				t.Fatalf("delta to %d is based on %s, the revision before has %s", next.Number, d.Base, got.Head.Digest)
			}
			for path, raw := range d.Upsert {
				got.Objects[path] = raw
			}
			for _, path := range d.Delete {
				delete(got.Objects, path)
			}
			if want := Snapshot(next); !reflect.DeepEqual(got.Objects, want.Objects) || !reflect.DeepEqual(d.Scopes, want.Scopes) {
				t.Fatalf("delta to revision %d leads to %v, want %v", next.Number, got.Objects, want.Objects)
			}
		}
	}
	if seen != 3 { // two commits and the end
		t.Errorf("only %d deltas", seen)
	}
}

// TestDeletedKeysAreNeverUsedAgain (S7): a flag's key is retired with it, for ever and in every later revision.
func TestDeletedKeysAreNeverUsedAgain(t *testing.T) {
	r := exposed(t)
	r.must(edit(map[string]any{"flag/other": boolFlag("other")}))
	r.must(edit(nil, "flag/other"))
	if _, _, found := r.env().Find("flag/other"); found {
		t.Fatal("the flag was not deleted")
	}
	before := r.env()
	if got := code(r.do(edit(map[string]any{"flag/other": boolFlag("other")}))); got != "flag.retired" {
		t.Errorf("refused as %q, want flag.retired", got)
	}
	if r.env().Digest != before.Digest {
		t.Error("the refused edit changed something")
	}
	r.must(edit(map[string]any{"flag/another": boolFlag("another")}))
	if got := code(r.do(edit(map[string]any{"flag/other": boolFlag("other"), "flag/third": boolFlag("third")}))); got != "flag.retired" {
		t.Errorf("refused as %q, want flag.retired", got)
	}
	if _, _, found := r.env().Find("flag/third"); found {
		t.Error("half of a refused edit was applied")
	}
}
