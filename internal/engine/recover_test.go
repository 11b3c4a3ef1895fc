package engine

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/rollout"
)

// stories are lives of a rollout that must come out the same wherever the controller is lost.
var stories = []struct {
	name string
	play func(r *rig)
	end  rollout.Phase
}{
	{"completed", func(r *rig) {
		r.until(rollout.Completed, "", 90*time.Second)
	}, rollout.Completed},
	{"rolled back by a guardrail", func(r *rig) {
		r.reach(1)
		r.bad[evidence.ArmExposed] = 0.5
		r.until(rollout.RolledBack, "", 90*time.Second)
	}, rollout.RolledBack},
	{"rolled back by a person, one member frozen", func(r *rig) {
		r.reach(1)
		r.fleet[1].frozen = true
		r.insist(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
		r.until(rollout.RolledBack, "", 90*time.Second)
	}, rollout.RolledBack},
	{"paused, resumed and promoted", func(r *rig) {
		r.reach(1)
		r.insist(Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:bo", Reason: "lunch"})
		r.advance(2 * time.Second)
		r.insist(Command{Rollout: name, Kind: rollout.Resume, Actor: "token:bo"})
		r.until(rollout.Completed, "", 90*time.Second)
	}, rollout.Completed},
	{"cancelled in the shadow stage", func(r *rig) {
		r.reach(0)
		r.insist(Command{Rollout: name, Kind: rollout.Cancel, Actor: "token:bo", Reason: "wrong day"})
		r.until(rollout.RolledBack, "", 30*time.Second)
	}, rollout.RolledBack},
}

// reach advances until stage i bakes.
func (r *rig) reach(i int) {
	r.t.Helper()
	for end := r.now.Add(time.Minute); r.state().Stage != i || r.state().Sub != rollout.Baking; {
		r.advance(500 * time.Millisecond)
		if r.now.After(end) {
			r.t.Fatalf("stage %d does not bake: %+v", i, r.state())
		}
	}
}

// insist is a person who repeats a command whose answer was lost; the repeat must change nothing.
func (r *rig) insist(c Command) {
	r.t.Helper()
	r.must(c)
	r.must(c)
}

// outcome is what a crash must not change: horizon waits, and with them times, may.
func outcome(r *rig) map[string]any {
	s := r.state()
	env := r.env()
	cause := ""
	if s.Cause != nil {
		cause = s.Cause.Trigger
	}
	records := slices.DeleteFunc(r.kinds(), func(k string) bool { return k == "rollout.overdue" })
	return map[string]any{
		"phase": s.Phase, "stage": s.Stage, "exposure": s.Exposure, "revision": s.Revision, "floor": s.Floor,
		"before": s.DigestBefore, "after": s.DigestAfter, "cause": cause, "records": records,
		"head": env.Number, "digest": env.Digest, "scopes": len(env.Scopes),
	}
}

// TestCrashAnywhere loses the engine at each step of each story, after the append at even ones and before it at odd ones, and
// builds it again from what was durable (I18, I19).
func TestCrashAnywhere(t *testing.T) {
	stride := 1
	if raceEnabled {
		stride = 11
	}
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			quiet := started(t)
			story.play(quiet)
			if s := quiet.state(); s.Phase != story.end {
				t.Fatalf("ends as %s, want %s", s.Phase, story.end)
			}
			want := outcome(quiet)
			for at := 3; at <= quiet.steps; at += stride {
				lose := at%2 == 1
				r := newCrashing(t, at, lose)
				story.play(r)
				if r.epoch == 1 {
					t.Fatalf("no crash at step %d", at)
				}
				if got := outcome(r); !reflect.DeepEqual(got, want) {
					t.Fatalf("lost at step %d of %d (before the append: %v):\ngot  %v\nwant %v", at, quiet.steps, lose, got, want)
				}
				bakesOnce(t, r)
			}
		})
	}
}

// newCrashing is started, with a crash at a step that may lie in the start itself.
func newCrashing(t *testing.T, at int, lose bool) *rig {
	r := newRig(t)
	r.crash, r.lose = at, lose
	for _, m := range [][2]string{{"checkout", slp.ClassReader}, {"checkout", slp.ClassReader}, {"online", slp.ClassStore}, {"agg", slp.ClassWriter}} {
		r.join(m[0], m[1])
	}
	r.advance(time.Second)
	p := shortPlan(t, nil)
	r.must(Apply{Plan: p, Actor: "token:ann", Reason: "ship it"})
	if _, err := r.e.Rollout(name); err != nil {
		t.Fatal(err)
	}
	return r
}

// bakesOnce reads the log: no stage is committed twice, skipped or out of order.
func bakesOnce(t *testing.T, r *rig) {
	t.Helper()
	stage := -1
	for _, rec := range r.disk.records {
		if rec.Kind != "rollout.committed" {
			continue
		}
		var s rollout.State
		if err := json.Unmarshal(rec.State, &s); err != nil {
			t.Fatal(err)
		}
		if s.Stage != stage+1 {
			t.Fatalf("stage %d is committed after stage %d", s.Stage, stage)
		}
		stage = s.Stage
	}
}

// TestRecoveryIsExact: a recovered engine knows the same state, configuration and members.
func TestRecoveryIsExact(t *testing.T) {
	r := exposed(t)
	r.advance(1500 * time.Millisecond)
	r.must(Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann", Reason: "stay here"}) // stores a checkpoint: nothing is left to replay
	was, env, seq, comps := r.state(), r.env(), r.e.Seq(), len(r.e.envs[prod].fleet.Members)
	seen, judged := r.e.runs[name].seen, r.e.runs[name].judge.Digest()
	down := r.now
	r.recover(3 * time.Second)
	got := r.state()
	if got.Baked != was.Baked || got.Stage != was.Stage || got.Sub != was.Sub || got.Result != was.Result {
		t.Errorf("state %+v, was %+v", got, was)
	}
	if now := r.e.runs[name]; !reflect.DeepEqual(now.seen, seen) || now.judge.Digest() != judged {
		t.Errorf("the judge's state is %s with %v seen, was %s with %v", now.judge.Digest(), now.seen, judged, seen)
	}
	if !timesEqual(got, was) {
		t.Errorf("times changed: %+v, was %+v", got, was)
	}
	if r.e.Seq() != seq || r.e.Epoch() != 2 || len(r.e.envs[prod].fleet.Members) != comps {
		t.Errorf("seq %d, epoch %d, members %d; want %d, 2, %d", r.e.Seq(), r.e.Epoch(), len(r.e.envs[prod].fleet.Members), seq, comps)
	}
	if now := r.env(); now.Digest != env.Digest || now.Number != env.Number || !reflect.DeepEqual(now.Scopes, env.Scopes) {
		t.Errorf("environment %+v, was %+v", now, env)
	}
	// The time without a controller is a gap, and no second is closed twice.
	r.advance(4 * time.Second)
	gaps := 0
	for _, sec := range r.disk.evidence[name] {
		if sec.Gap {
			gaps++
			if sec.At < down.Unix()-4 || sec.At > down.Unix()+4 {
				t.Errorf("second %d is a gap, the controller was away from %d to %d", sec.At, down.Unix(), down.Unix()+3)
			}
		}
	}
	if gaps == 0 {
		t.Error("three seconds without a controller left no gap")
	}
}

func timesEqual(a, b rollout.State) bool {
	return a.Since.Equal(b.Since) && a.StageSince.Equal(b.StageSince) && a.Started.Equal(b.Started) && a.Decided.Equal(b.Decided)
}

// TestRecoveryWaitsTheFullHorizon: whoever led before may have granted in its last instant, whatever was acknowledged.
func TestRecoveryWaitsTheFullHorizon(t *testing.T) {
	r := exposed(t)
	r.fleet[1].frozen = true
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	r.advance(4 * time.Second)
	r.recover(2 * time.Second)
	began := r.now
	s := r.until(rollout.RolledBack, "", 30*time.Second)
	min := fleet.Y(5 * time.Second)
	if got := s.SafeAt.Sub(began); got < min || got > min+2*time.Second {
		t.Errorf("safe %s after the recovery, want the full wait of %s", got, min)
	}
}

// TestRecoveryRepeatsTheRevoke: lost between the commit of a revoke and its horizon.
func TestRecoveryRepeatsTheRevoke(t *testing.T) {
	r := exposed(t)
	r.crash = r.steps + 1
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	s := r.state()
	if s.Floor == 0 || !s.RevokedAt.Equal(r.now) {
		t.Errorf("floor %d, horizon from %s; the recovery must read its own clock %s", s.Floor, s.RevokedAt, r.now)
	}
	r.until(rollout.RolledBack, "", 30*time.Second)
}

// TestBootsAreNotForgottenAfterADowntime: a new leadership has heard of nobody yet, and members may hold leases.
func TestBootsAreNotForgottenAfterADowntime(t *testing.T) {
	r := exposed(t)
	n := len(r.e.envs[prod].fleet.Members)
	r.recover(25 * time.Hour)
	r.must(Tick{})
	if got := len(r.e.envs[prod].fleet.Members); got != n {
		t.Fatalf("%d of %d boots are known after the first tick", got, n)
	}
	r.now = r.now.Add(fleet.Forget + time.Second)
	r.keep = true
	r.must(Tick{})
	if got := len(r.e.envs[prod].fleet.Members); got != 0 {
		t.Errorf("%d boots are known a day after they were last heard", got)
	}
	if gone := r.outs[len(r.outs)-1].Members; len(gone) != n || !gone[0].Gone || len(r.disk.members[prod]) != 0 {
		t.Errorf("member changes %+v", gone)
	}
}

func TestRecoverRefusesDamage(t *testing.T) {
	r := exposed(t)
	r.advance(1500 * time.Millisecond)
	good := r.disk.checkpoints[name]
	damage := map[string][]byte{
		"nothing":       nil,
		"cut":           good.Body[:len(good.Body)/2],
		"not JSON":      []byte("checkpoint"),
		"null":          []byte("null"),
		"empty":         []byte("{}"),
		"another stage": []byte(strings.Replace(string(good.Body), `"stage":1`, `"stage":0`, 1)),
	}
	for i := 0; i < len(good.Body); i += 97 {
		b := slices.Clone(good.Body)
		b[i] ^= 1
		damage[fmt.Sprintf("byte %d", i)] = b
	}
	for what, body := range damage {
		if string(body) == string(good.Body) {
			t.Fatalf("%s: not damaged", what)
		}
		r.disk.checkpoints[name] = Checkpoint{Rollout: name, Second: good.Second, Body: body}
		st, err := r.disk.load()
		if err == nil {
			_, _, err = Recover("test", 9, r.now, st)
		}
		if err == nil {
			t.Errorf("%s: recovered from a damaged checkpoint", what)
		}
	}
	r.disk.checkpoints[name] = good
	r.recover(time.Second)
}

// TestRecoverRefusesEvidenceThatDecides: what is stored after a checkpoint cannot hold a decision that the log lacks.
func TestRecoverRefusesEvidenceThatDecides(t *testing.T) {
	r := exposed(t)
	good, err := r.disk.load()
	if err != nil {
		t.Fatal(err)
	}
	run := &good.Runs[0]
	r.bad[evidence.ArmExposed] = 0.5
	r.until(rollout.RolledBack, "", time.Minute)
	for _, sec := range r.disk.evidence[name] {
		if n := len(run.Evidence); n == 0 || sec.At > run.Evidence[n-1].At {
			run.Evidence = append(run.Evidence, sec)
		}
	}
	if _, _, err := Recover("test", 9, r.now, good); err == nil || !strings.Contains(err.Error(), "the store is damaged") {
		t.Errorf("got %v", err)
	}
}

// TestSameEventsSameOutputs: two engines that are given the same events say the same, byte by byte.
func TestSameEventsSameOutputs(t *testing.T) {
	play := func() []byte {
		r := started(t)
		r.keep = true
		r.reach(1)
		r.bad[evidence.ArmExposed] = 0.5
		r.until(rollout.RolledBack, "", time.Minute)
		b, err := json.Marshal(r.outs)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a := play()
	for range 5 {
		if b := play(); string(a) != string(b) {
			t.Fatal("the same events lead to other outputs")
		}
	}
}

// TestTimeNeverRunsBackwards: an earlier now counts as the latest one seen.
func TestTimeNeverRunsBackwards(t *testing.T) {
	r := exposed(t)
	was := r.e.Now()
	o := r.e.Step(was.Add(-time.Hour), Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann"})
	if o.Err != nil || !r.e.Now().Equal(was) || !o.Records[0].At.Equal(was) {
		t.Errorf("now is %s after %s, record at %s (%v)", r.e.Now(), was, o.Records[0].At, o.Err)
	}
}
