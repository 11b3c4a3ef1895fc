package rollout

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
)

// genPlan draws a plan whose exposure never falls.
var genPlan = rapid.Custom(func(t *rapid.T) *plan.Plan {
	p := testPlan()
	p.Stages = p.Stages[:0]
	exposure := 0
	for i := range rapid.IntRange(1, 4).Draw(t, "stages") {
		exposure = min(100_000, exposure+rapid.SampledFrom([]int{0, 1_000, 30_000, 100_000}).Draw(t, "more"))
		p.Stages = append(p.Stages, plan.Stage{
			Name: string(rune('a' + i)), Cohort: rapid.SampledFrom([]string{"internal", "general"}).Draw(t, "cohort"), Exposure: flagExposure(exposure),
			Bake: time.Duration(rapid.IntRange(1, 6).Draw(t, "bake")) * time.Second,
		})
	}
	return p
})

// genEvent draws any event, sensible or not. Revisions that matter are those of a log: they grow.
func genEvent(t *rapid.T, at time.Time, rev *uint64) Event {
	e := Event{
		Kind: rapid.SampledFrom(append([]Kind{Judged, Judged, Judged, Armed, Committed, Activated, Promote, Resume}, Kinds...)).Draw(t, "kind"),
		At:   at, Actor: "token:ann", Reason: rapid.SampledFrom([]string{"", "drill"}).Draw(t, "reason"),
	}
	switch e.Kind {
	case Open, Verified:
		e.Digest = rapid.SampledFrom([]string{"sha256:before", "sha256:before", "sha256:other"}).Draw(t, "digest")
	case Armed, Proven, Unwound, Closed:
		e.Digest = "sha256:x"
	case Committed, Revoked:
		if rapid.IntRange(0, 3).Draw(t, "late") > 0 {
			*rev++
			e.Revision = *rev
		} else {
			e.Revision = rapid.Uint64Range(1, *rev).Draw(t, "revision")
		}
	case Promote:
		e.Full = rapid.Bool().Draw(t, "full")
	case Judged:
		e.Observed = time.Duration(rapid.IntRange(0, 2).Draw(t, "observed")) * time.Second
		e.Report = verdict(
			rapid.SampledFrom([]judge.Result{judge.Pass, judge.Pass, judge.Pass, judge.Fail, judge.Inconclusive, judge.NoData, judge.Error}).Draw(t, "result"),
			rapid.Bool().Draw(t, "clean"),
			rapid.SampledFrom([]judge.Action{"", "", "", "", "", "", judge.ActHold, judge.ActPause, judge.ActRollback}).Draw(t, "action"))
		e.Report.Powered = e.Report.Powered && rapid.Bool().Draw(t, "powered")
	}
	return e
}

// life is one rollout under random events, with what a reader of the log would count beside it.
type life struct {
	p      *plan.Plan
	s      State
	rev    uint64
	log    []Event
	states []State
	baked  time.Duration // of the stage, counted here

	powered map[string]bool // cohorts with a powered pass of a stage in force, counted here
}

func newLife(p *plan.Plan) *life {
	s := New(p, "ann", t0)
	return &life{p: p, s: s, rev: 1, states: []State{s}, powered: map[string]bool{}}
}

// run applies n drawn events, each preceded now and then by what the machine waits for, so that lives go far.
func (l *life) run(t *rapid.T, each func(before State, e Event, after State, fx []Effect, err error)) {
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		at := t0.Add(time.Duration(rapid.IntRange(-100_000, 100_000).Draw(t, "at")) * time.Second)
		var e Event
		if rapid.IntRange(0, 2).Draw(t, "helpful") > 0 {
			e = l.expected(at)
		} else {
			e = genEvent(t, at, &l.rev)
		}
		before := l.s
		next, fx, err := Step(l.p, before, e)
		if e.Kind == Judged && before.Phase == Progressing && (before.Sub == Baking || before.Sub == Deciding) && e.Report.Action != judge.ActPause && e.Report.Action != judge.ActRollback {
			l.baked += e.Observed
		}
		if e.Kind == Judged && before.Judged() && (before.Sub == Baking || before.Sub == Deciding) && e.Report.Powered {
			l.powered[l.p.Stages[before.Stage].Cohort] = true
		}
		each(before, e, next, fx, err)
		if next.StageSince != before.StageSince || next.Stage != before.Stage {
			l.baked = 0
		}
		l.s = next
		l.log, l.states = append(l.log, e), append(l.states, next)
	}
}

// expected is the event that brings the rollout one step on.
func (l *life) expected(at time.Time) Event {
	e := Event{At: at, Actor: "engine", Digest: "sha256:before"}
	switch s := l.s; {
	case s.Phase == Draft:
		e.Kind = Submit
	case s.Phase == Scheduled:
		e.Kind = Open
	case s.Phase == Promoting:
		e.Kind = Closed
	case s.Phase == Paused:
		e.Kind, e.Reason = Resume, "seen"
	case s.Sub == Arming:
		e.Kind = Armed
	case s.Sub == Exposing && s.Armed != "":
		l.rev++
		e.Kind, e.Revision = Committed, l.rev
	case s.Sub == Exposing:
		e.Kind = Activated
	case s.Sub == Revoking && s.Floor == 0:
		l.rev++
		e.Kind, e.Revision = Revoked, l.rev
	case s.Sub == Revoking:
		e.Kind = Proven
	case s.Sub == Unwinding:
		e.Kind = Unwound
	case s.Sub == Verifying:
		e.Kind, e.Digest = Verified, s.DigestBefore
	default:
		e.Kind, e.Report, e.Observed = Judged, verdict(judge.Pass, true, ""), time.Second
	}
	return e
}

func checkLives(t *testing.T, each func(t *rapid.T, l *life, before State, e Event, after State, fx []Effect, err error)) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(genPlan.Draw(t, "plan"))
		l.run(t, func(before State, e Event, after State, fx []Effect, err error) {
			each(t, l, before, e, after, fx, err)
		})
	})
}

func TestExposureNeverExceedsTheStage(t *testing.T) { // I1, I2
	checkLives(t, func(t *rapid.T, l *life, before State, e Event, after State, _ []Effect, _ error) {
		if after.Stage >= 0 && after.Exposure > l.p.Stages[after.Stage].Exposure {
			t.Fatalf("%s: exposure %d, stage %d allows %d", e.Kind, after.Exposure, after.Stage, l.p.Stages[after.Stage].Exposure)
		}
		if after.Exposure > before.Exposure && (e.Kind != Committed || before.Armed == "") {
			t.Fatalf("%s raised the exposure from %d to %d", e.Kind, before.Exposure, after.Exposure)
		}
	})
}

func TestStagesEndByBakeAndPassOrByAPerson(t *testing.T) { // I2, I13, I17
	checkLives(t, func(t *rapid.T, l *life, before State, e Event, after State, _ []Effect, _ error) {
		left := after.Stage != before.Stage || after.Phase == Promoting && before.Phase != Promoting
		if !left || before.Stage < 0 {
			return
		}
		if e.Kind == Promote {
			if e.Reason == "" || before.Result == judge.Fail || before.Pause == PauseBreach || before.Sub == Arming || before.Sub == Exposing {
				t.Fatalf("promoted out of %+v by %+v", before, e)
			}
			return
		}
		stage := l.p.Stages[before.Stage]
		switch {
		case e.Kind != Judged || before.Phase != Progressing:
			t.Fatalf("%s ended stage %d in phase %s", e.Kind, before.Stage, before.Phase)
		case l.baked < stage.Bake:
			t.Fatalf("stage %d ended after %s of %s", before.Stage, l.baked, stage.Bake)
		case after.Stage > before.Stage+1:
			t.Fatalf("stage %d was skipped", before.Stage+1)
		case stage.Exposure > 0 && e.Report.Result != judge.Pass && (e.Report.Result != judge.Inconclusive || !e.Report.Clean):
			t.Fatalf("stage %d with %d exposed ended on %+v", before.Stage, stage.Exposure, e.Report)
		case stage.Exposure > 0 && (stage.Exposure >= 25_000 || before.Stage == len(l.p.Stages)-1) && !l.powered[stage.Cohort]:
			t.Fatalf("stage %d with %d exposed ended without power on %+v", before.Stage, stage.Exposure, e.Report)
		case e.Report.Action == judge.ActRollback || e.Report.Action == judge.ActPause:
			t.Fatalf("stage %d ended on a report that asks for %s", before.Stage, e.Report.Action)
		}
	})
}

func TestBakeIsObservedTime(t *testing.T) { // I18: not reset, not inflated
	checkLives(t, func(t *rapid.T, l *life, before State, e Event, after State, _ []Effect, _ error) {
		if after.Baked != before.Baked && e.Kind != Judged && e.Kind != Committed && after.Stage == before.Stage {
			t.Fatalf("%s changed the baked time from %s to %s", e.Kind, before.Baked, after.Baked)
		}
		if e.Kind == Judged && after.Baked > before.Baked+e.Observed {
			t.Fatalf("%s observed, baked went from %s to %s", e.Observed, before.Baked, after.Baked)
		}
		if after.Stage == before.Stage && after.StageSince == before.StageSince && after.Baked < before.Baked {
			t.Fatalf("%s took bake time away: %s, then %s", e.Kind, before.Baked, after.Baked)
		}
	})
}

func TestRollbackIsAlwaysAccepted(t *testing.T) { // I4
	checkLives(t, func(t *rapid.T, l *life, _ State, _ Event, s State, _ []Effect, _ error) {
		for _, e := range []Event{
			{Kind: Rollback, At: t0, Actor: "token:bo"},
			{Kind: Cancel, At: t0, Actor: "token:bo"},
			{Kind: Judged, At: t0, Actor: "engine", Report: verdict(judge.Fail, false, judge.ActRollback)},
		} {
			if e.Kind == Judged && !s.Judged() {
				continue
			}
			next, fx, err := Step(l.p, s, e)
			switch {
			case s.Phase == RollingBack || s.Phase == RollbackIncomplete:
				if err != nil || next != s {
					t.Fatalf("%s of a rollout that goes back gives %v, %+v", e.Kind, err, next)
				}
			case s.Exposed():
				if err != nil || next.Phase != RollingBack || next.Sub != Revoking || !reflect.DeepEqual(fx, []Effect{{Kind: DoRevoke}}) || next.Exposure != 0 {
					t.Fatalf("%s of %+v gives %v, %+v, %v", e.Kind, s, err, next, fx)
				}
			case !s.Phase.Terminal(): // nothing is exposed: nothing has to be proven (I26)
				if err != nil || next.Phase != Cancelled || len(fx) > 1 || len(fx) == 1 && (fx[0].Kind != DoRestore || s.DigestBefore == "") {
					t.Fatalf("%s with nothing exposed gives %v, %+v, %v", e.Kind, err, next, fx)
				}
			case next != s || len(fx) != 0:
				t.Fatalf("%s of a rollout that is over gives %+v, %v", e.Kind, next, fx)
			}
		}
	})
}

func TestNothingLeadsForwardAgain(t *testing.T) { // I5
	checkLives(t, func(t *rapid.T, l *life, before State, e Event, after State, fx []Effect, _ error) {
		back := func(p Phase) bool { return p == RollingBack || p == RollbackIncomplete || p == RolledBack }
		if back(before.Phase) && !back(after.Phase) {
			t.Fatalf("%s led from %s to %s", e.Kind, before.Phase, after.Phase)
		}
		undoing := before.Phase == Completed && after.Phase == Completed && slices.Contains([]Kind{Undo, Reverted, Undone}, e.Kind)
		if before.Phase.Terminal() && (after != before || len(fx) > 0) && !undoing {
			t.Fatalf("%s changed a rollout that is %s", e.Kind, before.Phase)
		}
		for _, f := range fx {
			if back(before.Phase) && (f.Kind == DoArm || f.Kind == DoCommit || f.Kind == DoFinish || f.Kind == DoOpen) {
				t.Fatalf("%s of a rollout that is %s asks for %s", e.Kind, before.Phase, f.Kind)
			}
		}
	})
}

// TestRollbackEndsRolledBack shuffles proofs, advances and commands behind a rollback decided in any exposed state.
func TestRollbackEndsRolledBack(t *testing.T) { // I5
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(genPlan.Draw(t, "plan"))
		l.run(t, func(State, Event, State, []Effect, error) {})
		s := l.s
		if !s.Exposed() {
			t.Skip("nothing exposed")
		}
		for _, e := range rapid.Permutation([]Event{
			{Kind: Rollback}, {Kind: Promote, Reason: "now"}, {Kind: Promote, Reason: "now", Full: true}, {Kind: Armed, Digest: "sha256:x"},
			{Kind: Committed, Revision: l.rev + 1}, {Kind: Resume, Reason: "now"}, {Kind: Judged, Report: verdict(judge.Pass, true, ""), Observed: time.Hour}, {Kind: Activated},
		}).Draw(t, "race") {
			next, _, err := Step(l.p, s, e)
			var r *Refusal
			if err != nil && !errors.As(err, &r) {
				t.Fatalf("%s: %v", e.Kind, err)
			}
			s = next
		}
		if s.Phase == Promoting { // the last stage was promoted before the rollback could win, or after: never
			t.Fatalf("a rollback was lost: %+v", s)
		}
		l.s, l.rev = s, l.rev+1
		for range 6 {
			s, _, _ = Step(l.p, l.s, l.expected(t0))
			l.s = s
		}
		if s.Phase != RolledBack || s.DigestAfter != s.DigestBefore {
			t.Fatalf("proofs arrived, and it is %s/%s", s.Phase, s.Sub)
		}
	})
}

func TestRevisionsOnlyGrow(t *testing.T) { // I6
	checkLives(t, func(t *rapid.T, l *life, before State, e Event, after State, _ []Effect, _ error) {
		if after.Revision < before.Revision || after.Floor < before.Floor {
			t.Fatalf("%s: revision %d, floor %d after %d, %d", e.Kind, after.Revision, after.Floor, before.Revision, before.Floor)
		}
		if after != before && after.Version != before.Version+1 {
			t.Fatalf("%s: version %d follows %d", e.Kind, after.Version, before.Version)
		}
	})
}

func TestRolledBackIsProven(t *testing.T) { // I7, I8
	checkLives(t, func(t *rapid.T, l *life, before State, e Event, s State, _ []Effect, _ error) {
		if s.Phase != RolledBack {
			return
		}
		if s.Proof == "" || s.Floor == 0 || s.RevokedAt.IsZero() || s.SafeAt.IsZero() || s.UnwoundAt.IsZero() || s.DigestAfter != s.DigestBefore || s.DigestBefore == "" {
			t.Fatalf("rolled back without its proofs: %+v", s)
		}
		seen := map[Kind]bool{}
		for _, e := range l.log {
			seen[e.Kind] = true
		}
		seen[e.Kind] = true
		for _, k := range []Kind{Revoked, Proven, Unwound, Verified} {
			if !seen[k] {
				t.Fatalf("rolled back without %s", k)
			}
		}
		if before.Phase == RolledBack {
			return
		}
		if before.Sub != Verifying {
			t.Fatalf("rolled back from %s", before.Sub)
		}
	})
}

// TestReplay (I18, I19): from any prefix of the log, through the stored form of the state, the rest leads to the same.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(genPlan.Draw(t, "plan"))
		l.run(t, func(State, Event, State, []Effect, error) {})
		k := rapid.IntRange(0, len(l.log)).Draw(t, "prefix")
		s := stored(t, l.states[k])
		if !reflect.DeepEqual(s, l.states[k]) {
			t.Fatalf("the stored form lost something:\ngot  %+v\nwant %+v", s, l.states[k])
		}
		for i, e := range l.log[k:] {
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			var again Event
			if err := json.Unmarshal(b, &again); err != nil {
				t.Fatal(err)
			}
			s, _, _ = Step(l.p, s, again)
			if !reflect.DeepEqual(s, l.states[k+i+1]) {
				t.Fatalf("event %d (%s) of the log leads to another state:\ngot  %+v\nwant %+v", k+i, e.Kind, s, l.states[k+i+1])
			}
		}
	})
}

func stored(t *rapid.T, s State) State {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out State
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestClocksDecideNothingForward (I20) runs one log twice, the second time with a clock that jumps. Deadlines of a
// rollback are the only thing that time decides, so Overdue is left out.
func TestClocksDecideNothingForward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(genPlan.Draw(t, "plan"))
		l.run(t, func(State, Event, State, []Effect, error) {})
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "clock"), 1))
		a, b := l.states[0], l.states[0]
		for _, e := range l.log {
			if e.Kind == Overdue {
				continue
			}
			jumped := e
			jumped.At = e.At.Add(time.Duration(rng.Int64N(int64(2000*time.Hour))) - 1000*time.Hour)
			a, _, _ = Step(l.p, a, e)
			b, _, _ = Step(l.p, b, jumped)
			if !reflect.DeepEqual(timeless(a), timeless(b)) {
				t.Fatalf("%s at another time leads to another state:\n%+v\n%+v", e.Kind, a, b)
			}
		}
	})
}

func timeless(s State) State {
	s.Since, s.StageSince, s.Started, s.Decided = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	s.RevokedAt, s.SafeAt, s.UnwoundAt, s.Ended = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return s
}

// TestRepeatsChangeNothing (I26): every event again at once, but new evidence, is silence or a refusal.
func TestRepeatsChangeNothing(t *testing.T) {
	checkLives(t, func(t *rapid.T, l *life, _ State, e Event, s State, _ []Effect, err error) {
		if err != nil || e.Kind == Judged {
			return
		}
		next, fx, _ := Step(l.p, s, e)
		if next != s || len(fx) != 0 {
			t.Fatalf("%s again leads from\n%+v to\n%+v with %v", e.Kind, s, next, fx)
		}
	})
}

// TestRefusalsChangeNothing: an error is a Refusal with a known code, of a person's event, and leaves everything alone.
func TestRefusalsChangeNothing(t *testing.T) {
	person := map[Kind]bool{Submit: true, Promote: true, PauseIt: true, Resume: true, Rollback: true, Cancel: true, Undo: true}
	checkLives(t, func(t *rapid.T, _ *life, before State, e Event, after State, fx []Effect, err error) {
		if err == nil {
			return
		}
		var r *Refusal
		if !errors.As(err, &r) || !person[e.Kind] || r.Event != e.Kind || r.Text == "" {
			t.Fatalf("%s: %v (%T)", e.Kind, err, err)
		}
		if r.Code != "phase" && r.Code != "breach" && r.Code != "reason.required" {
			t.Fatalf("unknown code %q", r.Code)
		}
		if after != before || len(fx) != 0 {
			t.Fatalf("a refused %s changed %+v to %+v, %v", e.Kind, before, after, fx)
		}
		if e.Kind == Cancel || e.Kind == Rollback && before.Phase != Completed {
			t.Fatalf("%s was refused: %v", e.Kind, err)
		}
	})
}

// TestGuardrailsActInEveryExposedPhase is I16, Paused included.
func TestGuardrailsActInEveryExposedPhase(t *testing.T) {
	checkLives(t, func(t *rapid.T, l *life, _ State, _ Event, s State, _ []Effect, _ error) {
		if (s.Phase == Progressing || s.Phase == Paused) && s.Exposed() && !s.Judged() {
			t.Fatalf("guardrails rest in %+v", s)
		}
	})
}

// TestLateCommitIsNotThisOne: the answer to an earlier stage's commit must not stand for the one under way (I6).
func TestLateCommitIsNotThisOne(t *testing.T) {
	sc := at(t, "submit; open; stage; judged no-data 5s; armed")
	for _, rev := range []uint64{0, 1, sc.s.Revision} {
		next, fx, err := Step(sc.p, sc.s, Event{Kind: Committed, At: t0, Revision: rev})
		if next != sc.s || fx != nil || err != nil {
			t.Errorf("a commit of revision %d, with %d in force, leads to %+v (%v)", rev, sc.s.Revision, next, err)
		}
	}
}

// TestTriggersThatThePlanDoesNotName wait for a person: a breach pauses where only people may roll back.
func TestTriggersThatThePlanDoesNotName(t *testing.T) {
	for _, tt := range []struct {
		rule, on string
		want     Phase
	}{
		{"always-valid", "guardrail:rollback", RollingBack},
		{"always-valid", "operator", Paused},
		{judge.RuleLost, "component-lost", RollingBack},
		{judge.RuleLost, "guardrail:rollback", Paused},
	} {
		p := testPlan()
		p.Rollback.On = []string{tt.on}
		r := verdict(judge.Fail, false, judge.ActRollback)
		r.Decider.Rule = tt.rule
		s := State{Phase: Progressing, Sub: Baking, Stage: 1, Revision: 4, Exposure: 5_000, DigestBefore: "sha256:before"}
		got, _, err := Step(p, s, Event{Kind: Judged, At: t0, Report: r})
		if err != nil || got.Phase != tt.want {
			t.Errorf("%s with on %q: got %s, %v; want %s", tt.rule, tt.on, got.Phase, err, tt.want)
		}
	}
}

// TestHeldInconclusive: where the plan says hold, nobody promotes a stage without evidence.
func TestHeldInconclusive(t *testing.T) {
	p := testPlan()
	p.OnUnclear = "hold"
	s := State{Phase: Paused, Pause: PauseInconclusive, Sub: Deciding, Stage: 2, Revision: 4, Exposure: 50_000}
	_, _, err := Step(p, s, Event{Kind: Promote, At: t0, Actor: "token:ann", Reason: "go on"})
	var r *Refusal
	if !errors.As(err, &r) || r.Code != "inconclusive.hold" {
		t.Errorf("got %v, want inconclusive.hold", err)
	}
}
