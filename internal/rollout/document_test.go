package rollout

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/judge"
)

// places are the states of the document, each reached by the events beside it, as scenario files write them.
var places = []struct{ name, note, path string }{
	{"Draft", "written, not submitted", ""},
	{"Scheduled", "submitted; its scope is not open yet", "submit"},
	{"Progressing/Arming", "first stage: nothing is exposed", "submit; open"},
	{"Progressing/Arming", "a later stage: the one before stays exposed", "submit; open; stage; judged no-data 5s; stage; judged pass 10s"},
	{"Progressing/Exposing", "the commit is under way", "submit; open; armed"},
	{"Progressing/Exposing", "committed; members switch", "submit; open; stage; judged no-data 5s; armed; committed"},
	{"Progressing/Baking", "a stage below `powerFrom`", "submit; open; stage; judged no-data 5s; stage"},
	{"Progressing/Baking", "the last stage", "submit; open; stage; promote --full now; stage"},
	{"Progressing/Deciding", "the bake is over without a pass", "submit; open; stage; judged no-data 5s; stage; judged inconclusive 10s"},
	{"Paused/Arming (Refused)", "a member cannot load the next content", "submit; open; refused checkout-3 limit.bytes"},
	{"Paused/Exposing (Operator)", "paused while the commit was under way", "submit; open; armed; pause"},
	{"Paused/Baking (Operator)", "", "submit; open; stage; judged no-data 5s; stage; pause"},
	{"Paused/Baking (Breach)", "", "submit; open; stage; judged no-data 5s; stage; judged fail pause"},
	{"Paused/Deciding (Inconclusive)", "", "submit; open; stage; judged no-data 5s; stage; judged inconclusive 10s; judged inconclusive 30s"},
	{"Promoting", "the scope is being merged back with the candidate as default", "submit; open; stage; promote --full now; stage; promote now"},
	{"RollingBack/Revoking", "the revoke is not durable yet", "submit; open; stage; rollback"},
	{"RollingBack/Revoking", "the floor is shown; members answer or lapse", "submit; open; stage; rollback; revoked"},
	{"RollingBack/Unwinding", "safe; stores, then writers, go back", "submit; open; stage; rollback; revoked; proven"},
	{"RollingBack/Verifying", "", "submit; open; stage; rollback; revoked; proven; unwound"},
	{"RollbackIncomplete/Revoking", "not safe in time: the alarm", "submit; open; stage; rollback; revoked; sleep 15s; overdue"},
	{"RollbackIncomplete/Unwinding", "safe, but not unwound in time", "submit; open; stage; rollback; revoked; proven; sleep 10m; overdue"},
	{"RollbackIncomplete/Verifying", "the digest differs, or the comparison is late", "submit; open; stage; rollback; revoked; proven; unwound; verified other"},
	{"Completed", "", "submit; open; stage; promote --full now; stage; promote now; closed"},
	{"Completed/Undoing", "the change back is not durable yet", "submit; open; stage; promote --full now; stage; promote now; closed; undo"},
	{"Completed/Undoing", "members acknowledge it", "submit; open; stage; promote --full now; stage; promote now; closed; undo; reverted"},
	{"Completed", "undone", "submit; open; stage; promote --full now; stage; promote now; closed; undo; reverted; undone"},
	{"RolledBack", "", "submit; open; stage; rollback; revoked; proven; unwound; verified"},
	{"Cancelled", "", "cancel"},
}

// variants are the events of the document; the name says what the rest of the line means.
var variants = []struct{ name, event string }{
	{"submit", "submit"},
	{"open", "open"},
	{"armed", "armed"},
	{"refused", "refused checkout-3 limit.bytes"},
	{"committed", "committed"},
	{"activated", "activated"},
	{"judged: pass, bake not over", "judged pass 1s"},
	{"judged: pass, bake over", "judged pass 60s"},
	{"judged: clean without power, bake over", "judged inconclusive clean 60s"},
	{"judged: inconclusive, bake over", "judged inconclusive 60s"},
	{"judged: no data, bake over", "judged no-data 60s"},
	{"judged: a guardrail asks for a pause", "judged fail pause"},
	{"judged: a guardrail asks for a rollback", "judged fail rollback"},
	{"promote", "promote"},
	{"promote, with a reason", "promote drill"},
	{"promote --full, with a reason", "promote --full drill"},
	{"pause", "pause drill"},
	{"resume", "resume"},
	{"resume, with a reason", "resume drill"},
	{"rollback", "rollback drill"},
	{"revoked", "revoked"},
	{"proven", "proven"},
	{"unwound", "unwound"},
	{"verified: digest as before", "verified"},
	{"verified: another digest", "verified other"},
	{"overdue, deadline not over", "overdue"},
	{"overdue, deadline over", "late overdue"},
	{"closed", "closed"},
	{"cancel", "cancel drill"},
	{"undo", "undo drill"},
	{"reverted", "reverted"},
	{"undone", "undone"},
}

// meanings of the phases, for the document. Phases without one are named by the specification and never entered here.
var meanings = map[Phase]string{
	Draft:              "Written, not submitted.",
	Scheduled:          "Submitted and linted; its scope is about to be opened.",
	Progressing:        "Stage by stage: Arming, Exposing, Baking, Deciding.",
	Promoting:          "The last stage passed; the candidate becomes the default.",
	Completed:          "The candidate is what the flag serves. Undoing: the stable variant is served again; members that have not acknowledged it are named.",
	Paused:             "Nothing advances; exposure stays, guardrails still act, time is no bake time.",
	RollingBack:        "Exposure is off by decision: Revoking, Unwinding, Verifying. Only proof leads on.",
	RolledBack:         "Proven: nobody serves the candidate, stores and writers went back, the scope's digest is the one before the start.",
	RollbackIncomplete: "A deadline passed, or the digest differs. An alarm, not an end: proof still leads on.",
	Cancelled:          "Ended with nothing exposed.",
}

// at plays a path from the start.
func at(t *testing.T, path string) *scenario {
	t.Helper()
	sc := &scenario{p: testPlan(), now: t0, rev: 10}
	sc.s = New(sc.p, "ann", sc.now)
	for _, l := range strings.Split(path, "; ") {
		if l != "" {
			sc.do(t, strings.Fields(l))
		}
	}
	return sc
}

// try applies one variant.
func (sc *scenario) try(t *testing.T, event string) (State, []Effect, error) {
	words := strings.Fields(event)
	now := sc.now
	if words[0] == "late" {
		words, now = words[1:], now.Add(time.Hour)
	}
	e := sc.event(t, words)
	e.At = now
	return Step(sc.p, sc.s, e)
}

// TestStateMachineDocument keeps docs/state-machine.md equal to what Step does.
func TestStateMachineDocument(t *testing.T) {
	const file = "../../docs/state-machine.md"
	got := document(t)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the state machine does; go test ./internal/rollout -run TestStateMachineDocument -update rewrites it", file)
	}
}

func document(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# State machine of a rollout

Written by ` + "`go test ./internal/rollout -run TestStateMachineDocument -update`" + ` from what ` + "`rollout.Step`" + ` does; a test compares. Change the code, not this file.

Every event is answered in one of three ways: it **leads on**, to a state and to effects that are carried out once the state is
durable; it is **ignored**, because it came too late or was said before; or, if a person asked for it, it is **refused** with a code
and changes nothing. A rollback is accepted wherever something is exposed, asks nobody, and nothing that comes later leads forward again.

The plan behind the examples has the stages shadow (0 %, bake 5 s), canary (5 %, 10 s), half (50 %, 20 s) and full (100 %, 20 s).

## Phases

| phase | over | meaning |
|---|---|---|
`)
	var never []string
	for _, p := range Phases {
		if meanings[p] == "" {
			never = append(never, string(p))
			continue
		}
		over := ""
		if p.Terminal() {
			over = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p, over, meanings[p])
	}
	fmt.Fprintf(&b, "\nNamed by the specification and not entered by this version: %s.\n\n## What each event does in each state\n", strings.Join(never, ", "))
	for _, pl := range places {
		b.WriteString(section(t, pl.name, pl.note, pl.path))
	}
	return b.String()
}

func section(t *testing.T, name, note, path string) string {
	var rows []string
	refused := map[string][]string{}
	for _, v := range variants {
		sc := at(t, path)
		next, fx, err := sc.try(t, v.event)
		var r *Refusal
		switch {
		case errors.As(err, &r):
			refused[r.Code] = append(refused[r.Code], v.name)
		case next == sc.s && len(fx) == 0:
			// the document says it once for all
		case where(next) == where(sc.s) && next.Stage == sc.s.Stage && len(fx) == 0:
			rows = append(rows, fmt.Sprintf("| %s | stays, and notes it | |", v.name))
		default:
			var effects []string
			for _, f := range fx {
				effects = append(effects, effect(sc.p, f))
			}
			rows = append(rows, fmt.Sprintf("| %s | %s%s | %s |", v.name, where(next), stageOf(sc, next), strings.Join(effects, ", ")))
		}
	}
	out := "\n### " + name
	if note != "" {
		out += ": " + note
	}
	out += "\n\n"
	if len(rows) > 0 {
		out += "| event | leads to | asks for |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n\n"
	}
	for _, code := range []string{"phase", "breach", "reason.required"} {
		if len(refused[code]) > 0 {
			out += fmt.Sprintf("Refused (`%s`): %s.\n", code, strings.Join(refused[code], "; "))
		}
	}
	return out + "Everything else is ignored.\n"
}

func where(s State) string {
	w := string(s.Phase)
	if s.Sub != "" {
		w += "/" + string(s.Sub)
	}
	if s.Pause != "" {
		w += " (" + string(s.Pause) + ")"
	}
	return w
}

func stageOf(sc *scenario, next State) string {
	if next.Stage == sc.s.Stage || next.Stage < 0 {
		return ""
	}
	return ", stage " + sc.p.Stages[next.Stage].Name
}

// TestPlacesAreWhatTheySay: each path of the document leads where its name says.
func TestPlacesAreWhatTheySay(t *testing.T) {
	for _, pl := range places {
		if got := where(at(t, pl.path).s); got != pl.name {
			t.Errorf("%q leads to %s, want %s", pl.path, got, pl.name)
		}
	}
}

// TestDocumentKnowsEveryState follows every variant from every state that can be reached and wants each phase and
// sub-phase of them in the document, and every event kind among the variants.
func TestDocumentKnowsEveryState(t *testing.T) {
	known := map[string]bool{}
	for _, pl := range places {
		name, _, _ := strings.Cut(pl.name, " ")
		known[name] = true
	}
	start := at(t, "")
	todo, seen := []*scenario{start}, map[string]bool{}
	reached := map[string]bool{}
	for len(todo) > 0 {
		sc := todo[0]
		todo = todo[1:]
		s := sc.s
		key := fmt.Sprint(where(s), s.Stage, s.Exposed(), s.Floor != 0, s.Armed != "", s.Result, s.UndoRev != 0, s.UndoneAt.IsZero())
		if seen[key] {
			continue
		}
		seen[key] = true
		pause, _, _ := strings.Cut(where(s), " ")
		reached[pause] = true
		for _, v := range variants {
			next, _, err := sc.try(t, v.event)
			if err == nil {
				todo = append(todo, &scenario{p: sc.p, s: next, now: sc.now, rev: sc.rev})
			}
		}
	}
	for name := range reached {
		if !known[name] {
			t.Errorf("%s can be reached and is not in the document", name)
		}
	}
	for name := range known {
		if !reached[name] {
			t.Errorf("%s is in the document and cannot be reached", name)
		}
	}
	if len(reached) < 18 {
		t.Errorf("only %d states reached", len(reached))
	}
	for _, k := range Kinds {
		if !slices.ContainsFunc(variants, func(v struct{ name, event string }) bool { return strings.Contains(v.event, string(k)) }) {
			t.Errorf("event %s is not in the document", k)
		}
	}
}

// TestStepIsTotal: every event in every combination of phase, sub-phase and pause, possible or not, is answered.
func TestStepIsTotal(t *testing.T) {
	p := testPlan()
	subs := []Sub{"", Arming, Exposing, Baking, Deciding, Gate, Revoking, Safe, Unwinding, Verifying, Undoing}
	for _, phase := range append(slices.Clone(Phases), "nonsense") {
		for _, sub := range subs {
			for stage := range p.Stages {
				s := State{Phase: phase, Sub: sub, Stage: stage, Revision: uint64(stage), DigestBefore: "sha256:before", Version: 9}
				for _, v := range variants {
					sc := &scenario{p: p, s: s, now: t0, rev: 10}
					next, fx, err := sc.try(t, v.event)
					var r *Refusal
					switch {
					case err != nil && (!errors.As(err, &r) || next != s || fx != nil):
						t.Fatalf("%s in %s: error %v, state %+v", v.name, where(s), err, next)
					case err == nil && next != s && next.Version != s.Version+1:
						t.Fatalf("%s in %s: version %d", v.name, where(s), next.Version)
					case phase.Terminal() && next != s && (phase != Completed || next.Phase != Completed || next.Exposed()):
						t.Fatalf("%s changed a rollout that is %s", v.name, phase)
					}
				}
			}
		}
	}
}

func TestStrings(t *testing.T) {
	_, _, err := Step(testPlan(), New(testPlan(), "ann", t0), Event{Kind: Promote, At: t0})
	if want := "promote of a rollout that is Draft: only submit or cancel can follow"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if New(testPlan(), "ann", t0).Judged() || (State{Phase: Promoting, Revision: 3}).Judged() || !(State{Phase: Paused, Revision: 3}).Judged() {
		t.Error("guardrails act while something is exposed, but not in Promoting")
	}
	if got := pauseOf(&judge.Report{Decider: &judge.Verdict{Result: judge.Fail, Rule: "component-lost"}}); got != PauseComponentLost {
		t.Errorf("a lost component pauses as %s", got)
	}
}
