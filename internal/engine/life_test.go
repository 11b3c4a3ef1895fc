package engine

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// quietLife are the records of a rollout that nobody has to look at.
var quietLife = strings.Fields(`submit open armed committed activated judged armed committed activated judged armed committed activated judged closed`)

func TestQuietLife(t *testing.T) {
	r := started(t)
	before := r.env()
	s := r.until(rollout.Completed, "", time.Minute)
	want := make([]string, len(quietLife))
	for i, k := range quietLife {
		want[i] = "rollout." + k
	}
	if got := r.kinds(); !slices.Equal(got, want) {
		t.Errorf("records %v, want %v", got, want)
	}
	if s.Stage != 2 || s.Exposure != 0 || s.Cause != nil {
		t.Errorf("ended as %+v", s)
	}
	env := r.env()
	if _, open := env.Scopes[name]; open {
		t.Error("the scope is still there")
	}
	f, pin := flagOf(t, env, "spend7d"), pinOf(t, env, "checkout")
	if f.Default != "v15" || f.Rollout != nil {
		t.Errorf("the flag serves %q with rollout %+v, want v15 to everybody", f.Default, f.Rollout)
	}
	if want := (Pin{Component: "checkout", Artifact: "flags:spend7d", Digest: to}); pin != want {
		t.Errorf("pin %+v, want %+v", pin, want)
	}
	if s.DigestAfter != env.Scopes[revision.Base].Full {
		t.Errorf("the record says the digest after is %s, base has %s", s.DigestAfter, env.Scopes[revision.Base].Full)
	}
	if got, want := env.Scopes[revision.Base].Objects["flag/other"], before.Scopes[revision.Base].Objects["flag/other"]; string(got) != string(want) {
		t.Errorf("another flag changed from %s to %s", want, got)
	}
	if v := r.view(); len(v.Leases) != 0 || len(v.Floors) != 0 {
		t.Errorf("a rollout that is over still has leases %v, floors %v", v.Leases, v.Floors)
	}
	if n := len(r.disk.evidence[name]); n == 0 {
		t.Error("no evidence was stored")
	}
	later := len(r.disk.records)
	r.advance(10 * time.Second)
	if len(r.disk.records) != later {
		t.Errorf("%d records after the end", len(r.disk.records)-later)
	}
}

func flagOf(t testing.TB, env revision.Env, key string) flag.Flag {
	t.Helper()
	var f flag.Flag
	_, raw, ok := env.Find("flag/" + key)
	if !ok {
		t.Fatalf("flag %s is gone", key)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func pinOf(t testing.TB, env revision.Env, component string) Pin {
	t.Helper()
	var p Pin
	_, raw, ok := env.Find("pin/" + component)
	if !ok {
		t.Fatalf("pin of %s is gone", component)
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBreachGoesBack: the configuration after the rollback is the one before the start, digest by digest (I8).
func TestBreachGoesBack(t *testing.T) {
	r := started(t)
	start := r.firstWith(name) // the scope is open, nothing is committed
	for r.state().Stage < 1 || r.state().Sub != rollout.Baking {
		r.advance(500 * time.Millisecond)
	}
	r.bad[evidence.ArmExposed] = 0.5
	s := r.until(rollout.RolledBack, "", time.Minute)
	if s.DigestBefore == "" || s.DigestAfter != s.DigestBefore || s.DigestBefore != start.Scopes[name].Full {
		t.Errorf("digest before %s, after %s, of the open scope %s", s.DigestBefore, s.DigestAfter, start.Scopes[name].Full)
	}
	if s.Cause == nil || s.Cause.Trigger != "guardrail:rollback" || s.Cause.Verdict == nil || s.Cause.Verdict.Guardrail != "errors" {
		t.Errorf("cause %+v", s.Cause)
	}
	if s.Floor == 0 || s.SafeAt.Before(s.RevokedAt) || s.RevokedAt.Before(s.Decided) || s.UnwoundAt.Before(s.SafeAt) || s.Ended.Before(s.UnwoundAt) {
		t.Errorf("times are not in order: %+v", s)
	}
	st, err := r.e.Rollout(name)
	if err != nil {
		t.Fatal(err)
	}
	if st.Barrier == nil || !st.Barrier.Complete || st.Barrier.Counts != (fleet.Counts{Total: 2, Acked: 2}) {
		t.Errorf("barrier %+v, want two readers acknowledged", st.Barrier)
	}
	if len(st.Unwind) != 2 || !st.Unwind[slp.ClassStore].Complete || !st.Unwind[slp.ClassWriter].Complete {
		t.Errorf("unwind %+v", st.Unwind)
	}
	if _, ok := r.disk.artifacts[s.Proof]; !ok {
		t.Errorf("the proof %s is not stored", s.Proof)
	}
	merged := start.Scopes[revision.Base].Objects.Clone()
	for path, raw := range start.Scopes[name].Objects {
		merged[path] = raw
	}
	if _, full, _ := merged.Digests(); r.env().Scopes[revision.Base].Full != full {
		t.Error("base is not what it was with the scope merged back")
	}
}

// TestEnvironmentIsAsBefore runs a second rollout over pins that are there already: then even the environment's digest
// after the rollback is the one before.
func TestEnvironmentIsAsBefore(t *testing.T) {
	r := started(t)
	r.must(Command{Rollout: name, Kind: rollout.Cancel, Actor: "token:ann"})
	before := r.env()
	p := shortPlan(t, func(p *plan.Plan) { p.Name, p.Judge.Rollout = "again", "again" })
	r.must(Apply{Plan: p, Actor: "token:ann"})
	r.advance(2 * time.Second)
	r.must(Command{Rollout: "again", Kind: rollout.Rollback, Actor: "token:ann", Reason: "drill"})
	r.advance(5 * time.Second)
	st, err := r.e.Rollout("again")
	if err != nil || st.State.Phase != rollout.RolledBack {
		t.Fatalf("%v: %+v", err, st.State)
	}
	after := r.env()
	if after.Digest != before.Digest || after.Scopes[revision.Base].Full != before.Scopes[revision.Base].Full {
		t.Errorf("environment digest %s, before the start %s", after.Digest, before.Digest)
	}
	if after.Number <= before.Number {
		t.Error("the revision number must grow even when the content is as before")
	}
}

// TestRevokeIsOrdered: grants stop before the batch, the broadcast goes out before the horizon is read, and the horizon's
// clock is later than the decision.
func TestRevokeIsOrdered(t *testing.T) {
	r := exposed(t)
	if v := r.view(); v.Leases[name] != 5*time.Second {
		t.Fatalf("leases %v while exposed", v.Leases)
	}
	o := r.e.Step(r.now, Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	if !reflect.DeepEqual(o.Stop, []ScopeRef{{Env: prod, Scope: name}}) {
		t.Errorf("stop %v", o.Stop)
	}
	if len(o.Revisions) != 1 || len(o.Records) != 1 || len(o.Checkpoints) == 0 || o.Records[0].Kind != "rollout.rollback" || o.Records[0].Reason != "drill" {
		t.Errorf("revisions %d, records %+v", len(o.Revisions), o.Records)
	}
	if len(o.Effects) != 2 || o.Effects[0].Event.Kind != slp.EventRevoke || o.Effects[1].Kind != Horizon {
		t.Errorf("effects %+v, want the revoke told, then the horizon", o.Effects)
	}
	if v := r.view(); len(v.Leases) != 0 || v.Floors[name] != o.Revisions[0].Number {
		t.Errorf("leases %v, floors %v after the decision", v.Leases, v.Floors)
	}
	if err := r.disk.write(o); err != nil {
		t.Fatal(err)
	}
	decided := r.now
	r.now = r.now.Add(700 * time.Millisecond)
	r.act(o)
	if s := r.state(); !s.Decided.Equal(decided) || !s.RevokedAt.Equal(r.now) {
		t.Errorf("decided %s, horizon from %s; want %s and %s", s.Decided, s.RevokedAt, decided, r.now)
	}
	if s := r.until(rollout.RolledBack, "", 10*time.Second); s.DigestAfter != s.DigestBefore {
		t.Errorf("ended %+v", s)
	}
}

func TestFrozenMemberLapses(t *testing.T) {
	r := exposed(t)
	r.fleet[1].frozen = true
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	s := r.state()
	if s.Sub != rollout.Revoking {
		t.Fatalf("%s/%s although one member has not answered", s.Phase, s.Sub)
	}
	st, _ := r.e.Rollout(name)
	if st.Barrier.Counts != (fleet.Counts{Total: 2, Acked: 1, Unproven: 1}) {
		t.Errorf("counts %+v", st.Barrier.Counts)
	}
	wake := r.e.wake()
	if !wake.Equal(st.Barrier.Next) || !wake.After(r.now) {
		t.Errorf("wake %s, the barrier can turn at %s", wake, st.Barrier.Next)
	}
	r.now = wake.Add(-time.Millisecond)
	r.must(Tick{})
	if r.state().Sub != rollout.Revoking {
		t.Error("safe before the lease has ended")
	}
	r.now = wake
	r.must(Tick{})
	if s = r.state(); s.SafeAt.IsZero() || !s.SafeAt.Equal(wake) {
		t.Errorf("safe at %s, want %s", s.SafeAt, wake)
	}
	if got, max := s.SafeAt.Sub(s.RevokedAt), fleet.Y(5*time.Second)+500*time.Millisecond; got > max {
		t.Errorf("safe after %s, the bound is %s (G2)", got, max)
	}
	st, _ = r.e.Rollout(name)
	if st.Barrier.Counts != (fleet.Counts{Total: 2, Acked: 1, Lapsed: 1}) {
		t.Errorf("counts %+v", st.Barrier.Counts)
	}
}

// TestDeadlines: exposure that is not proven off in time raises the alarm at that instant (I32), also when control never
// says that the revoke is shown; the wake time names the instant.
func TestDeadlines(t *testing.T) {
	r := exposed(t)
	r.mute = true
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	decided := r.state().Decided
	wake := r.e.wake()
	if !wake.Equal(decided.Add(15 * time.Second)) {
		t.Errorf("wake %s after the decision, want 15s", wake.Sub(decided))
	}
	r.now = wake.Add(-time.Millisecond)
	r.must(Tick{})
	if s := r.state(); s.Phase != rollout.RollingBack {
		t.Errorf("%s before the deadline", s.Phase)
	}
	r.now = wake
	r.must(Tick{})
	if s := r.state(); s.Phase != rollout.RollbackIncomplete || s.Sub != rollout.Revoking {
		t.Errorf("%s/%s at the deadline, want the alarm", s.Phase, s.Sub)
	}
	r.must(Revoked{Rollout: name, Seen: r.grants.Seen()})
	if s := r.until(rollout.RolledBack, "", 20*time.Second); s.DigestAfter != s.DigestBefore {
		t.Errorf("ended %+v", s)
	}
	if r.e.wake() != (time.Time{}) {
		t.Errorf("wake %s with nothing to wait for", r.e.wake())
	}
}

func TestUnwindIsInOrder(t *testing.T) {
	r := exposed(t)
	store, writer := r.fleet[2], r.fleet[3]
	store.silent, writer.silent = true, true
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	s := r.state()
	if s.Sub != rollout.Unwinding || s.SafeAt.IsZero() {
		t.Fatalf("%s/%s: exposure off does not wait for stores and writers", s.Phase, s.Sub)
	}
	if got := r.view().Event.Unwind[name]; got != slp.ClassStore {
		t.Errorf("%q may unwind first, want stores", got)
	}
	writer.silent = false
	r.advance(2 * time.Second)
	if r.state().Sub != rollout.Unwinding || r.view().Event.Unwind[name] != slp.ClassStore {
		t.Error("a writer went back before its store")
	}
	store.silent = false
	r.advance(time.Second)
	if s := r.until(rollout.RolledBack, "", 3*time.Second); s.UnwoundAt.Before(s.SafeAt) {
		t.Errorf("unwound at %s, safe at %s", s.UnwoundAt, s.SafeAt)
	}
}

func TestUnwindDeadline(t *testing.T) {
	r := exposed(t)
	r.fleet[2].silent = true
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	s := r.state()
	if want := s.Decided.Add(time.Minute); !r.e.wake().Equal(want) {
		t.Errorf("wake %s, want the unwind deadline %s", r.e.wake(), want)
	}
	r.advance(61 * time.Second)
	if s = r.state(); s.Phase != rollout.RollbackIncomplete || s.SafeAt.IsZero() {
		t.Errorf("%s/%s: want the alarm, with exposure proven off", s.Phase, s.Sub)
	}
	r.fleet[2].silent = false
	r.until(rollout.RolledBack, "", 3*time.Second)
}

func TestCommands(t *testing.T) {
	r := exposed(t)
	seq, env := r.e.Seq(), r.env()
	for _, tt := range []struct {
		c    Command
		want string
	}{
		{Command{Rollout: name, Kind: rollout.Promote}, "reason.required"},
		{Command{Rollout: name, Kind: rollout.Submit}, "command.unknown"},
		{Command{Rollout: name, Kind: rollout.Proven}, "command.unknown"},
		{Command{Rollout: "nobody", Kind: rollout.Rollback}, `no such rollout: "nobody"`},
		{Command{Rollout: name, Kind: rollout.Resume}, ""}, // nothing to resume
	} {
		if got := code(r.do(tt.c)); got != tt.want {
			t.Errorf("%s of %s: %q, want %q", tt.c.Kind, tt.c.Rollout, got, tt.want)
		}
	}
	if r.e.Seq() != seq || r.env().Number != env.Number {
		t.Error("a refused command wrote something")
	}
	r.must(Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann", Reason: "lunch"})
	baked := r.state().Baked
	r.advance(10 * time.Second)
	if s := r.state(); s.Phase != rollout.Paused || s.Baked != baked {
		t.Errorf("%s, baked %s after a pause at %s", s.Phase, s.Baked, baked)
	}
	r.must(Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann", Reason: "again"})
	r.must(Command{Rollout: name, Kind: rollout.Resume, Actor: "token:ann"})
	r.must(Command{Rollout: name, Kind: rollout.Promote, Actor: "token:ann", Reason: "hurry", Full: true})
	r.until(rollout.Completed, "", 30*time.Second)
	var acts []string
	for _, rec := range r.disk.records {
		if rec.Actor == "token:ann" && rec.Rollout == name {
			acts = append(acts, strings.TrimPrefix(rec.Kind, "rollout.")+":"+rec.Reason)
		}
	}
	if want := []string{"submit:ship it", "pause:lunch", "resume:", "promote:hurry"}; !slices.Equal(acts, want) {
		t.Errorf("records of the person %v, want %v", acts, want)
	}
}

// TestTheLastStageIsJudged: members of a stage with a holdback report less than its exposure, and are judged all the same.
func TestTheLastStageIsJudged(t *testing.T) {
	r := started(t)
	r.reach(2)
	r.bad[evidence.ArmExposed] = 0.5
	if s := r.until(rollout.RolledBack, "", 30*time.Second); s.Stage != 2 || s.Cause.Verdict == nil {
		t.Errorf("ended as %+v", s)
	}
}

// TestInstancesOffTheHead: who stays on an older revision leaves the comparison, and is named.
func TestInstancesOffTheHead(t *testing.T) {
	r := started(t)
	r.reach(0)
	r.fleet[1].stale = r.state().Revision
	r.must(Command{Rollout: name, Kind: rollout.Promote, Actor: "token:ann", Reason: "on"})
	r.reach(1)
	r.must(Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann", Reason: "stay here"})
	r.advance(20 * time.Second)
	list := r.disk.evidence[name]
	last := list[len(list)-1]
	if !slices.Equal(last.OffHead, []string{r.fleet[1].hello.Instance}) {
		t.Errorf("off the head: %v, want %s", last.OffHead, r.fleet[1].hello.Instance)
	}
	for _, b := range last.Blocks {
		if b.Revision != r.state().Revision {
			t.Errorf("evidence of revision %d is compared, %d is in force", b.Revision, r.state().Revision)
		}
	}
}

func TestRefusedWhileArming(t *testing.T) {
	r := newRig(t)
	m := r.join("checkout", slp.ClassReader)
	m.reject = &slp.Reject{Code: "limit.objects", Limit: "10", Got: "12"}
	r.advance(time.Second)
	r.must(Apply{Plan: shortPlan(t, nil), Actor: "token:ann"})
	s := r.state()
	if s.Phase != rollout.Paused || s.Pause != rollout.PauseRefused || s.Revision != 0 || !strings.Contains(s.Cause.Sentence, "limit.objects (limit 10, got 12)") {
		t.Fatalf("got %+v, %v", s, s.Cause)
	}
	r.must(Command{Rollout: name, Kind: rollout.Cancel, Actor: "token:ann"})
	if s = r.state(); s.Phase != rollout.Cancelled {
		t.Errorf("%s after a cancel with nothing exposed", s.Phase)
	}
	if _, open := r.env().Scopes[name]; open {
		t.Error("the scope is still there")
	}
}

// TestArmingWaits for the components of the bundle, and for a live member that holds the content.
func TestArmingWaits(t *testing.T) {
	r := newRig(t)
	r.join("other", slp.ClassReader)
	r.advance(time.Second)
	r.must(Apply{Plan: shortPlan(t, nil), Actor: "token:ann"})
	r.advance(30 * time.Second)
	if s := r.state(); s.Sub != rollout.Arming {
		t.Fatalf("%s/%s although the bundle's component is absent", s.Phase, s.Sub)
	}
	r.fleet[0].frozen = true // its answer does not count once it is gone
	r.advance(10 * time.Second)
	r.join("checkout", slp.ClassReader, silent)
	r.join("checkout", slp.ClassReader, frozen) // holds nothing and is gone: it must not count as somebody who does
	r.advance(30 * time.Second)
	if s := r.state(); s.Sub != rollout.Arming || s.Revision != 0 {
		t.Fatalf("%s/%s although nobody who is live holds the content", s.Phase, s.Sub)
	}
	r.join("checkout", slp.ClassReader)
	r.advance(2 * time.Second)
	if s := r.state(); s.Sub != rollout.Arming {
		t.Errorf("%s/%s with one of two prepared: nobody is exposed before all are", s.Phase, s.Sub)
	}
	r.fleet[1].silent = false
	r.join("checkout", slp.ClassReader) // whoever joins makes all hear of the content again
	r.advance(2 * time.Second)
	if s := r.state(); s.Revision == 0 {
		t.Errorf("still %s/%s although all hold the content", s.Phase, s.Sub)
	}
}

// TestLaggardsDoNotHoldAStage: a member that does not switch is waited for as long as the patience.
func TestLaggardsDoNotHoldAStage(t *testing.T) {
	r := started(t)
	r.until(rollout.Progressing, rollout.Baking, 10*time.Second)
	r.fleet[1].lags = true
	for r.state().Stage == 0 {
		r.advance(500 * time.Millisecond)
	}
	armed := r.now
	for r.state().Stage == 1 && r.state().Sub != rollout.Baking {
		r.advance(500 * time.Millisecond)
		if r.now.Sub(armed) > 25*time.Second {
			t.Fatalf("still %s after %s", r.state().Sub, r.now.Sub(armed))
		}
	}
	if waited := r.now.Sub(armed); waited < commitPatience {
		t.Errorf("went on after %s, the patience is %s", waited, commitPatience)
	}
}

// TestOneRolloutDoesNotHoldAnother: trouble in one must not keep another from going back.
func TestOneRolloutDoesNotHoldAnother(t *testing.T) {
	r := exposed(t)
	seed, err := Seed(prod, "token:ann", boolFlag("aaa"))
	if err != nil {
		t.Fatal(err)
	}
	r.must(seed)
	p := shortPlan(t, func(p *plan.Plan) {
		p.Name, p.Judge.Rollout, p.Flag.Key, p.Bundle = "aaa-first", "aaa-first", "aaa", nil
	})
	r.must(Apply{Plan: p, Actor: "token:ann"})
	broken := r.e.runs["aaa-first"]
	broken.state.Phase, broken.state.Sub = rollout.Progressing, rollout.Arming
	broken.before = revision.Objects{"flag/aaa": json.RawMessage(`[]`)} // cannot be armed
	r.fleet[1].frozen, r.lenient = true, true
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	for range 20 {
		r.now = r.now.Add(time.Second)
		if err := r.do(Tick{}); err == nil {
			t.Fatal("the broken rollout is in order: the test shows nothing")
		}
	}
	if s := r.state(); s.SafeAt.IsZero() {
		t.Errorf("%s/%s after 20 s beside a rollout that cannot go on", s.Phase, s.Sub)
	}
}
