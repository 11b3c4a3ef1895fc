package engine

import (
	"fmt"
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
)

func TestJoin(t *testing.T) {
	r := newRig(t)
	m := r.join("checkout", slp.ClassReader)
	if len(r.disk.members[prod]) != 1 {
		t.Fatal("a boot is not stored before it can get a lease")
	}
	r.keep = true
	m.knock(r)
	if o := r.outs[0]; !o.Empty() {
		t.Errorf("the same boot again writes %+v", o)
	}
	other := *m
	other.hello.Boot = "second-process"
	other.knock(r)
	if n := len(r.e.envs[prod].fleet.Members); n != 2 {
		t.Errorf("%d members: two processes under one name are two", n)
	}
	if got := code(r.do(Join{Env: "nowhere", Hello: m.hello})); got != `no such environment: "nowhere"` {
		t.Errorf("got %q", got)
	}
}

// TestJoinWhileArming: who comes while a stage is prepared is asked as well.
func TestJoinWhileArming(t *testing.T) {
	r := newRig(t)
	r.join("checkout", slp.ClassReader, silent)
	r.advance(time.Second)
	r.must(Apply{Plan: shortPlan(t, nil), Actor: "token:ann"})
	late := r.join("checkout", slp.ClassReader)
	if late.ready == nil || late.ready.Scope != name {
		t.Error("the newcomer was not asked to prepare")
	}
}

func TestAcksThatCannotBeOurs(t *testing.T) {
	r := exposed(t)
	head := r.env().Number
	good := Acked{Boot: "boot1", Acks: []slp.Ack{{Scope: name, Rev: head, Stage: slp.StageActivated}}}
	err := r.do(Acks{Env: prod, List: []Acked{
		{Boot: "nobody"},
		{Boot: "boot0", Acks: []slp.Ack{{Scope: name, Rev: head + 1, Stage: slp.StageActivated}}},
		good,
	}})
	if err == nil {
		t.Fatal("no error names them")
	}
	members := r.e.envs[prod].fleet.Members
	if got := members["boot0"].Acked[name][slp.StageActivated].Rev; got > head {
		t.Errorf("an ack of revision %d counts, the head is %d", got, head)
	}
	if got := members["boot1"].Acked[name][slp.StageActivated].Rev; got != head {
		t.Errorf("the good answer beside them was lost: %d", got)
	}
}

func TestBye(t *testing.T) {
	r := exposed(t)
	r.fleet[1].frozen = true
	r.must(Acks{Env: prod, List: []Acked{{Boot: "boot1", Bye: true}}})
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo", Reason: "drill"})
	if s := r.state(); s.SafeAt.IsZero() {
		t.Errorf("%s/%s: a boot that said Bye is waited for", s.Phase, s.Sub)
	}
	comps, err := r.e.Components(prod)
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for _, c := range comps {
		status[c.Boot] = c.Status
	}
	if status["boot0"] != "live" || status["boot1"] != "gone" {
		t.Errorf("status %v", status)
	}
}

func TestReported(t *testing.T) {
	r := newRig(t)
	m := r.join("checkout", slp.ClassReader)
	say := func(boot string, seq uint64) (slp.EvidenceAnswer, error) {
		var a slp.EvidenceAnswer
		err := r.do(Reported{Env: prod, Request: slp.EvidenceRequest{Instance: m.hello.Instance, Boot: boot, Seq: seq, Through: r.now.Unix()}, Answer: &a})
		return a, err
	}
	if a, err := say(m.hello.Boot, 7); err != nil || a.Accepted != 7 || a.ServerNow != r.now.UnixMicro() {
		t.Errorf("without a rollout: %+v, %v; there is nothing to keep", a, err)
	}
	if _, err := say("nobody", 1); code(err) != "boot.unknown" {
		t.Errorf("an unknown boot: %v", err)
	}
	r.advance(time.Second)
	r.must(Apply{Plan: shortPlan(t, nil), Actor: "token:ann"})
	for seq := range uint64(3) {
		if a, err := say(m.hello.Boot, m.seq+seq+1); err != nil || a.Accepted != m.seq+seq+1 && m.seq == 0 {
			t.Errorf("seq %d: %+v, %v", m.seq+seq+1, a, err)
		}
	}
}

// TestLapsedMembersDoNotHoldSeconds: a boot that stops renewing is not waited for, and is expected again when it is back.
func TestLapsedMembersDoNotHoldSeconds(t *testing.T) {
	r := exposed(t)
	r.must(Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann", Reason: "stay here"})
	r.advance(61 * time.Second) // soon after a commit its loss would take the rollout back
	r.fleet[3].frozen = true
	r.advance(20 * time.Second)
	last := r.disk.evidence[name][len(r.disk.evidence[name])-1]
	if last.Members != 3 || last.Through != 3 || r.now.Unix()-last.At > 2 {
		t.Errorf("second %d of %d closed with %d of %d members", last.At, r.now.Unix(), last.Through, last.Members)
	}
	r.fleet[3].frozen = false
	r.advance(5 * time.Second)
	last = r.disk.evidence[name][len(r.disk.evidence[name])-1]
	if last.Members != 4 {
		t.Errorf("the member is back, and seconds close with %d members", last.Members)
	}
}

// TestHardLimit needs no comparison and no closed second, and stores what it rests on once.
func TestHardLimit(t *testing.T) {
	for _, action := range []judge.Action{judge.ActRollback, judge.ActPause} {
		t.Run(string(action), func(t *testing.T) {
			r := newRig(t)
			r.join("checkout", slp.ClassReader)
			r.join("checkout", slp.ClassReader)
			r.advance(time.Second)
			r.must(Apply{Actor: "token:ann", Plan: shortPlan(t, func(p *plan.Plan) {
				g := &p.Judge.Guardrails[0]
				g.Window, g.OnBreach, g.Hard = 20*time.Second, action, &judge.Hard{Above: 0.3, For: time.Second}
				p.Stages[1].Bake = time.Minute
			})})
			r.reach(1)
			r.advance(3 * time.Second)
			r.bad[evidence.ArmExposed] = 0.9
			r.keep = true
			r.advance(15 * time.Second)
			want := map[judge.Action]rollout.Phase{judge.ActRollback: rollout.RolledBack, judge.ActPause: rollout.Paused}[action]
			if s := r.state(); s.Phase != want {
				t.Fatalf("%s/%s, want %s", s.Phase, s.Sub, want)
			}
			open := 0
			for _, o := range r.outs {
				for _, a := range o.Artifacts {
					if a.Kind == "open-evidence" {
						open++
					}
				}
			}
			if open > 1 {
				t.Errorf("%d times the open evidence was stored, want at most once", open)
			}
		})
	}
}

// TestQuietTicksWriteNothing: a tick that changes nothing asks for nothing, but for the evidence of closed seconds.
func TestQuietTicksWriteNothing(t *testing.T) {
	r := exposed(t)
	r.must(Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann", Reason: "stay here"})
	r.keep = true
	r.advance(50 * time.Second)
	for _, o := range r.outs {
		if len(o.Records)+len(o.Revisions)+len(o.Artifacts)+len(o.Effects)+len(o.Members) != 0 {
			t.Fatalf("a quiet tick asks for %+v", o)
		}
	}
	checkpoints := 0
	r.outs = nil
	r.advance(70 * time.Second)
	for _, o := range r.outs {
		checkpoints += len(o.Checkpoints)
	}
	if checkpoints == 0 || checkpoints > 2 {
		t.Errorf("%d checkpoints in 70 s, want one each minute", checkpoints)
	}
}

// TestLossAfterACommitTakesBack: a component whose only instance dies soon after a commit is the candidate's doing.
func TestLossAfterACommitTakesBack(t *testing.T) {
	r := exposed(t)
	r.fleet[3].frozen = true
	s := r.until(rollout.RolledBack, "", time.Minute)
	if c := s.Cause; c == nil || c.Verdict == nil || c.Verdict.Rule != judge.RuleLost {
		t.Errorf("got cause %+v, want %s", c, judge.RuleLost)
	}
}

// TestCandidateThatKillsSixPercent: of fifty instances three die within a minute of a commit, without a word. They report
// no error, so no error rate shows it; component-lost does. Two are not enough.
func TestCandidateThatKillsSixPercent(t *testing.T) {
	for _, dead := range []int{2, 3} {
		r := newRig(t)
		for range 50 {
			r.join("checkout", slp.ClassReader)
		}
		r.advance(time.Second)
		r.must(Apply{Plan: shortPlan(t, func(p *plan.Plan) { p.Stages[1].Bake = time.Hour }), Actor: "token:ann"})
		for r.state().Stage < 1 || r.state().Sub != rollout.Baking {
			r.advance(500 * time.Millisecond)
		}
		for i := range dead {
			r.fleet[10+i].frozen = true
		}
		r.advance(30 * time.Second)
		s := r.state()
		lost := s.Cause != nil && s.Cause.Verdict != nil && s.Cause.Verdict.Rule == judge.RuleLost
		if want := dead == 3; lost != want || (s.Phase == rollout.RolledBack) != want {
			t.Errorf("%d of 50 lost: %s, cause %+v", dead, s.Phase, s.Cause)
		}
	}
}

// TestUsualRestartsAreNotBlamed: the hour before the rollout says what is usual. Processes that start again every second are
// the candidate's doing on a calm fleet, not on one that always did so; instances that appear for the first time are growth.
func TestUsualRestartsAreNotBlamed(t *testing.T) {
	again := func(r *rig, i int) { // the process of an instance starts again, and says goodbye before
		old := r.fleet[i]
		r.must(Acks{Env: prod, List: []Acked{{Boot: old.hello.Boot, Bye: true}}})
		boot := fmt.Sprint("again", r.steps)
		r.join("checkout", slp.ClassReader, func(m *fake) { m.hello.Instance, m.hello.Boot = old.hello.Instance, boot })
		r.fleet[i] = r.fleet[len(r.fleet)-1]
		r.fleet = r.fleet[:len(r.fleet)-1]
	}
	grow := func(r *rig, _ int) { r.join("checkout", slp.ClassReader) }
	for _, tt := range []struct {
		name        string
		before, now func(*rig, int)
		blamed      bool
	}{
		{"calm, then restarts", nil, again, true},
		{"restarts as ever", again, again, false},
		{"calm, then growth", nil, grow, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			for range 20 {
				r.join("checkout", slp.ClassReader)
			}
			for i := range 120 {
				r.advance(time.Second)
				if tt.before != nil {
					tt.before(r, i%20)
				}
			}
			r.must(Apply{Plan: shortPlan(t, func(p *plan.Plan) { p.Stages[1].Bake = time.Hour }), Actor: "token:ann"})
			for r.state().Stage < 1 || r.state().Sub != rollout.Baking {
				r.advance(500 * time.Millisecond)
			}
			for i := 0; i < 60 && r.state().Sub == rollout.Baking; i++ {
				tt.now(r, i%20)
				r.advance(time.Second)
			}
			s := r.state()
			if lost := s.Cause != nil && s.Cause.Verdict != nil && s.Cause.Verdict.Rule == judge.RuleLost; lost != tt.blamed {
				t.Errorf("blamed %v, want %v: %s/%s, cause %+v", lost, tt.blamed, s.Phase, s.Sub, s.Cause)
			}
		})
	}
}

// TestComponentsShowPins: what a member says of pins and of requests under way is there to see.
func TestComponentsShowPins(t *testing.T) {
	r := exposed(t)
	m := r.fleet[0]
	r.grants.Renew(slp.Renew{Boot: m.hello.Boot, N: 99, Pins: &slp.PinCounts{Missed: 3, Revoked: 1}, OldestInflight: map[string]uint64{name: 4}, Crashes: 2}, r.now.Add(time.Millisecond))
	r.now = r.now.Add(time.Second)
	r.must(Tick{Seen: map[string][]Seen{prod: r.grants.Seen()}})
	list, err := r.e.Components(prod)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		told := c.Pins == (slp.PinCounts{Missed: 3, Revoked: 1}) && c.Oldest[name] == 4 && c.Crashes == 2
		if told != (c.Boot == m.hello.Boot) {
			t.Errorf("%s: pins %+v, oldest %v, crashes %d", c.Instance, c.Pins, c.Oldest, c.Crashes)
		}
	}
}

// TestOwnAbsenceIsNobodysSilence: a controller that was stopped for a while has not heard its members, and takes none of
// them for lost. Found by the simulation: a store that lived was passed over and the writer after it went back first.
func TestOwnAbsenceIsNobodysSilence(t *testing.T) {
	r := exposed(t)
	r.now = r.now.Add(10 * time.Second)
	r.must(Tick{})
	list, err := r.e.Components(prod)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Status != "live" {
			t.Errorf("%s is %s after the controller's own absence", c.Instance, c.Status)
		}
	}
	if s := r.state(); s.Phase != rollout.Progressing {
		t.Errorf("the rollout is %s", s.Phase)
	}
}

// TestCheckpointSaysWhatItHeardLate: what reached the judge after its last second is in the state and in no stored second;
// judging again needs it.
func TestCheckpointSaysWhatItHeardLate(t *testing.T) {
	r := exposed(t)
	second, _, late, err := CheckpointJudge(r.disk.checkpoints[name].Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range late {
		if e.After < second {
			t.Errorf("an event after second %d, the checkpoint is of %d", e.After, second)
		}
	}
	if len(late) == 0 {
		t.Error("the stage was entered after the last second, and the checkpoint does not say so")
	}
}
