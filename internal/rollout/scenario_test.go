package rollout

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
)

var update = flag.Bool("update", false, "rewrite scenario files and docs/state-machine.md")

// TestScenarios runs the pages of the playbook in testdata: lines with ">" are what happens, the lines after them what
// follows. -update rewrites those; people review the difference.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario files (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s differs, -update shows how:\n%s", file, got)
			}
		})
	}
}

// scenario is a page being played.
type scenario struct {
	p   *plan.Plan
	s   State
	now time.Time
	rev uint64
}

func play(t *testing.T, page string) string {
	sc := &scenario{p: testPlan(), now: t0, rev: 10}
	sc.s = New(sc.p, "ann", sc.now)
	var out strings.Builder
	for l := range strings.Lines(page) {
		l = strings.TrimSpace(l)
		switch {
		case strings.HasPrefix(l, "> "):
			fmt.Fprintf(&out, "%s\n%s\n", l, sc.do(t, strings.Fields(l[2:])))
		case l == "" || strings.HasPrefix(l, "#"):
			fmt.Fprintln(&out, l)
		}
	}
	return out.String()
}

// do applies one line and returns what follows.
func (sc *scenario) do(t *testing.T, words []string) string {
	if words[0] == "sleep" {
		d, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		sc.now = sc.now.Add(d)
		return "it is " + sc.now.Format("15:04:05")
	}
	var out []string
	events := []Event{sc.event(t, words)}
	if words[0] == "stage" { // armed, committed and activated in one go
		events = []Event{sc.event(t, []string{"armed"}), sc.event(t, []string{"committed"}), sc.event(t, []string{"activated"})}
	}
	for _, e := range events {
		out = append(out, sc.apply(e))
	}
	return out[len(out)-1]
}

func (sc *scenario) apply(e Event) string {
	next, fx, err := Step(sc.p, sc.s, e)
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return fmt.Sprintf("refused %s: %v", r.Code, err)
	case next == sc.s && len(fx) == 0:
		return "nothing"
	}
	cause := ""
	if next.Cause != nil && next.Cause != sc.s.Cause {
		cause = "\n" + next.Cause.Trigger + ": " + next.Cause.Sentence
	}
	sc.s = next
	return line(sc.p, next, fx) + cause
}

// event reads one line: "judged fail rollback 1s", "rollback by=bo drill", "verified other".
func (sc *scenario) event(t *testing.T, words []string) Event {
	e := Event{Kind: Kind(words[0]), At: sc.now, Actor: "engine"}
	switch e.Kind {
	case Submit, Promote, PauseIt, Resume, Rollback, Cancel, Undo:
		e.Actor = "token:ann"
		for _, w := range words[1:] {
			if w == "--full" {
				e.Full = true
			} else {
				e.Reason = strings.TrimSpace(e.Reason + " " + w)
			}
		}
	case Open:
		sc.rev++
		e.Revision, e.Digest = sc.rev, "sha256:before"
	case Armed:
		e.Digest = "sha256:next"
	case Committed, Revoked, Reverted:
		sc.rev++
		e.Revision = sc.rev
	case Refused:
		e.Member, e.Code = words[1], strings.Join(words[2:], " ")
	case Proven, Unwound:
		e.Digest = "sha256:proof"
	case Verified:
		e.Digest = "sha256:before"
		if len(words) > 1 {
			e.Digest = "sha256:" + words[1]
		}
	case Closed:
		e.Digest = "sha256:after"
	case Judged:
		e.Report, e.Observed = readVerdict(t, words[1:])
	case Activated, Overdue, Undone, "stage":
	default:
		t.Fatalf("no such event: %v", words)
	}
	return e
}

// readVerdict reads "<result> [clean] [rollback|pause|hold] [<observed>]".
func readVerdict(t *testing.T, words []string) (*judge.Report, time.Duration) {
	clean, action, observed := false, judge.Action(""), time.Duration(0)
	for _, w := range words[1:] {
		switch d, err := time.ParseDuration(w); {
		case err == nil:
			observed = d
		case w == "clean":
			clean = true
		case w == "rollback" || w == "pause" || w == "hold":
			action = judge.Action(w)
		default:
			t.Fatalf("no such verdict: %v", words)
		}
	}
	return verdict(judge.Result(words[0]), clean, action), observed
}
