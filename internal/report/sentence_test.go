package report

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	sluice "sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
)

var update = flag.Bool("update", false, "rewrite golden files")

var t0 = time.Date(2026, 3, 1, 2, 14, 3, 0, time.UTC)

func testPlan() *plan.Plan {
	return &plan.Plan{
		Name: "flights", Flag: plan.FlagChange{Key: "delay-model", Stable: "v1", Candidate: "v2"},
		Stages: []plan.Stage{
			{Name: "shadow", Exposure: 0, Bake: 5 * time.Second},
			{Name: "canary", Exposure: 5_000, Bake: 90 * time.Second},
		},
	}
}

// breach is the cause of a rollback by a guardrail.
func breach() *rollout.Cause {
	v := judge.Verdict{
		Lane: judge.Lane{Guardrail: "off-by-30", Dim: "segment", Value: "origin=LAX"}, Result: judge.Fail, Rule: "threshold", Action: judge.ActRollback,
		Baseline: 0.14, Exposed: 0.581, Effect: 0.441, Limit: 0.25, Scale: "absolute", NBaseline: 210, NExposed: 43,
		Stat: "proportion", Window: 8 * time.Second, Breached: 3, Looks: 3, Of: 3,
	}
	return &rollout.Cause{Trigger: "guardrail:rollback", Verdict: &v, Sentence: judge.Sentence(v)}
}

// TestSentences keeps what people read of each state; -update rewrites the page, people review the difference.
func TestSentences(t *testing.T) {
	asked := &rollout.Cause{Trigger: "operator", Sentence: "token:ann asked for it: drill."}
	waiting := &fleet.Proof{
		Lines: []fleet.Line{
			{Instance: "checkout-1", How: fleet.ByAck, At: t0},
			{Instance: "checkout-7", How: fleet.Waiting, Until: t0.Add(9 * time.Second)},
		},
		Counts: fleet.Counts{Total: 2, Acked: 1, Unproven: 1},
	}
	unleased := &fleet.Proof{Lines: []fleet.Line{{Instance: "old-sdk", How: fleet.Waiting}}}
	proof := &fleet.Proof{Complete: true, Counts: fleet.Counts{Total: 7, Acked: 6, Lapsed: 1}}
	back := rollout.State{
		Phase: rollout.RollingBack, Sub: rollout.Revoking, Stage: 1, Cause: breach(), Decided: t0, DigestBefore: "sha256:aa",
	}
	with := func(s rollout.State, f func(*rollout.State)) rollout.State { f(&s); return s }
	safe := with(back, func(s *rollout.State) { s.Sub, s.SafeAt = rollout.Unwinding, t0.Add(1908*time.Millisecond) })
	cases := []struct {
		name string
		st   rollout.Status
	}{
		{"draft", rollout.Status{State: rollout.State{Phase: rollout.Draft, Stage: -1}}},
		{"scheduled", rollout.Status{State: rollout.State{Phase: rollout.Scheduled, Stage: -1}}},
		{"arming the first stage", rollout.Status{State: rollout.State{Phase: rollout.Progressing, Sub: rollout.Arming, Stage: 0}}},
		{"arming a later stage", rollout.Status{State: rollout.State{Phase: rollout.Progressing, Sub: rollout.Arming, Stage: 1, Exposure: 500}}},
		{"exposing", rollout.Status{State: rollout.State{Phase: rollout.Progressing, Sub: rollout.Exposing, Stage: 1, Exposure: 5_000}}},
		{"baking", rollout.Status{State: rollout.State{Phase: rollout.Progressing, Sub: rollout.Baking, Stage: 1, Exposure: 5_000, Baked: 31 * time.Second}}},
		{"deciding", rollout.Status{State: rollout.State{Phase: rollout.Progressing, Sub: rollout.Deciding, Stage: 1, Exposure: 5_000}}},
		{"paused by a person", rollout.Status{State: rollout.State{Phase: rollout.Paused, Sub: rollout.Baking, Pause: rollout.PauseOperator, Stage: 1, Exposure: 5_000, Cause: asked}}},
		{"paused by a guardrail", rollout.Status{State: rollout.State{Phase: rollout.Paused, Sub: rollout.Baking, Pause: rollout.PauseBreach, Stage: 1, Exposure: 5_000, Cause: breach()}}},
		{"promoting", rollout.Status{State: rollout.State{Phase: rollout.Promoting, Stage: 1, Exposure: 5_000}}},
		{"completed", rollout.Status{State: rollout.State{Phase: rollout.Completed, Stage: 1, Ended: t0}}},
		{"rolling back, nothing known yet", rollout.Status{State: back}},
		{"rolling back, one is frozen", rollout.Status{State: back, Barrier: waiting}},
		{"rolling back, one cannot be proven", rollout.Status{State: back, Barrier: unleased}},
		{"safe, unwinding", rollout.Status{State: safe, Barrier: proof}},
		{"safe, the proof is not at hand", rollout.Status{State: safe}},
		{"rolled back by a guardrail", rollout.Status{State: with(safe, func(s *rollout.State) { s.Phase, s.Sub, s.DigestAfter = rollout.RolledBack, "", "sha256:aa" }), Barrier: proof}},
		{"rolled back by a person", rollout.Status{State: with(safe, func(s *rollout.State) { s.Phase, s.Sub, s.Cause = rollout.RolledBack, "", asked }), Barrier: proof}},
		{"not safe in time", rollout.Status{State: with(back, func(s *rollout.State) { s.Phase = rollout.RollbackIncomplete }), Barrier: waiting}},
		{"safe, but late in unwinding", rollout.Status{State: with(safe, func(s *rollout.State) { s.Phase = rollout.RollbackIncomplete }), Barrier: proof}},
		{"safe, but not as before", rollout.Status{State: with(safe, func(s *rollout.State) {
			s.Phase, s.Sub, s.DigestAfter = rollout.RollbackIncomplete, rollout.Verifying, "sha256:bb"
		}), Barrier: proof}},
		{"cancelled", rollout.Status{State: rollout.State{Phase: rollout.Cancelled, Stage: 0}}},
	}
	var got strings.Builder
	for _, c := range cases {
		c.st.Plan = testPlan()
		fmt.Fprintf(&got, "# %s: %s\n%s\n\n", c.name, Where(c.st.State), State(c.st))
	}
	const file = "testdata/sentences.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s differs, -update shows how:\n%s", file, got.String())
	}
}

// TestSentencesAreWellFormed: every phase has a sentence, and each ends with one full stop.
func TestSentencesAreWellFormed(t *testing.T) {
	for _, phase := range rollout.Phases {
		for _, sub := range []rollout.Sub{rollout.Arming, rollout.Exposing, rollout.Baking, rollout.Deciding, rollout.Revoking, rollout.Unwinding, rollout.Verifying} {
			for _, c := range []*rollout.Cause{nil, breach()} {
				s := State(rollout.Status{State: rollout.State{Phase: phase, Sub: sub, Stage: 1, Cause: c}, Plan: testPlan()})
				if !strings.HasSuffix(s, ".") || strings.HasSuffix(s, "..") || strings.Contains(s, "%!") || strings.Contains(s, "  ") || strings.Contains(s, ": .") {
					t.Errorf("%s/%s: %q", phase, sub, s)
				}
			}
		}
	}
}

func TestNotSafeIsSaidOnlyWhileItIsTrue(t *testing.T) {
	s := rollout.State{Phase: rollout.RollbackIncomplete, Sub: rollout.Revoking, Stage: 1}
	if got := State(rollout.Status{State: s, Plan: testPlan()}); !strings.HasPrefix(got, "NOT SAFE") {
		t.Errorf("got %q", got)
	}
	s.Sub, s.SafeAt = rollout.Unwinding, t0
	if got := State(rollout.Status{State: s, Plan: testPlan()}); strings.Contains(got, "NOT SAFE") {
		t.Errorf("exposure is proven off, and it says %q", got)
	}
}

func TestPercent(t *testing.T) {
	for e, want := range map[sluice.Exposure]string{
		0: "0 %", 1: "0.001 %", 100: "0.1 %", 500: "0.5 %", 1_000: "1 %", 10_000: "10 %", 33_333: "33.333 %", 99_000: "99 %", sluice.Full: "100 %",
	} {
		if got := Percent(e); got != want {
			t.Errorf("%d is %q, want %q", e, got, want)
		}
	}
}

func TestWhere(t *testing.T) {
	for want, s := range map[string]rollout.State{
		"Draft":                       {Phase: rollout.Draft},
		"Progressing/Baking":          {Phase: rollout.Progressing, Sub: rollout.Baking},
		"Paused (Breach)":             {Phase: rollout.Paused, Sub: rollout.Baking, Pause: rollout.PauseBreach},
		"RollingBack/Revoking":        {Phase: rollout.RollingBack, Sub: rollout.Revoking},
		"RollbackIncomplete/Revoking": {Phase: rollout.RollbackIncomplete, Sub: rollout.Revoking},
		"RolledBack":                  {Phase: rollout.RolledBack, Sub: rollout.Verifying},
	} {
		if got := Where(s); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestStageName(t *testing.T) {
	for stage, want := range map[int]string{-1: "", 0: "shadow", 1: "canary", 2: ""} {
		if got := StageName(testPlan(), rollout.State{Stage: stage}); got != want {
			t.Errorf("stage %d is %q, want %q", stage, got, want)
		}
	}
}

// TestMarks: five verdicts, five shapes and five words, so that colour is never the only carrier.
func TestMarks(t *testing.T) {
	shapes, words := map[string]bool{}, map[string]bool{}
	for _, r := range []judge.Result{judge.Pass, judge.Fail, judge.Inconclusive, judge.NoData, judge.Error} {
		shape, word, ok := strings.Cut(Mark(r), " ")
		if !ok || shapes[shape] || words[word] {
			t.Errorf("mark %q of %s is not its own", Mark(r), r)
		}
		shapes[shape], words[word] = true, true
	}
}

func TestClockAndMillis(t *testing.T) {
	if got := Clock(t0.In(time.FixedZone("CET", 3600))); got != "02:14:03.000Z" {
		t.Errorf("clock %q", got)
	}
	if got := Clock(time.Time{}); got != "-" {
		t.Errorf("no time is %q", got)
	}
	if got := Millis(1908 * time.Millisecond); got != "1.908 s" {
		t.Errorf("got %q", got)
	}
}

func TestBasis(t *testing.T) {
	s := rollout.State{Decided: t0}
	if got := Basis(s); got != "" {
		t.Errorf("without a verdict: %q", got)
	}
	s.Cause = &rollout.Cause{Verdict: &judge.Verdict{
		Rule: "always-valid", From: t0.Unix() - 30, To: t0.Unix() - 2, LogE: 13.5, Level: 9.79, Bounded: true, Evidence: "sha256:ab",
	}}
	const want = "Rule always-valid on requests begun 02:13:33.000Z to 02:14:02.000Z, data 1.0 s old at the decision, ln E 13.50 of 9.79, evidence sha256:ab."
	if got := Basis(s); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
