// Package report turns states and records into what people read. One set of sentences serves the CLI, the UI and the
// audit log, so that a person never has to wonder whether two places mean the same.
package report

import (
	"fmt"
	"strings"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
)

// Percent prints an exposure as people write it: "5 %", "0.5 %".
func Percent(e flag.Exposure) string {
	s := fmt.Sprintf("%.3f", float64(e)/1000)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + " %"
}

// Where prints where a rollout stands: "Progressing/Baking", "Paused (Breach)".
func Where(s rollout.State) string {
	switch {
	case s.Phase == rollout.Paused:
		return fmt.Sprintf("%s (%s)", s.Phase, s.Pause)
	case s.Sub != "" && (!s.Phase.Terminal() || s.Sub == rollout.Undoing):
		return fmt.Sprintf("%s/%s", s.Phase, s.Sub)
	}
	return string(s.Phase)
}

// StageName is the name of the current stage, "" before the first.
func StageName(p *plan.Plan, s rollout.State) string {
	if s.Stage < 0 || s.Stage >= len(p.Stages) {
		return ""
	}
	return p.Stages[s.Stage].Name
}

// State is the sentence at the top: what is going on, and what it means for users.
func State(st rollout.Status) string {
	s, p := st.State, st.Plan
	stage := StageName(p, s)
	switch s.Phase {
	case rollout.Progressing:
		return progressing(st, stage)
	case rollout.Paused:
		return fmt.Sprintf("Paused in stage %q with %s exposed: %s", stage, Percent(s.Exposure), cause(s))
	case rollout.Promoting:
		return "Promoting the candidate to everybody."
	case rollout.Completed:
		if s.UndoRev != 0 || s.Sub == rollout.Undoing {
			return undoing(st)
		}
		return fmt.Sprintf("Completed: %s serves %q to everybody since %s.", p.Flag.Key, p.Flag.Candidate, Clock(s.Ended))
	case rollout.RollingBack, rollout.RollbackIncomplete:
		return rollingBack(st)
	case rollout.RolledBack:
		return fmt.Sprintf("Rolled back in stage %q at %s: %s Safe in %s%s; configuration is exactly as before.",
			stage, Clock(s.Decided), cause(s), Millis(s.SafeAt.Sub(s.Decided)), proven(st.Barrier))
	case rollout.Cancelled:
		return "Cancelled before anything was exposed."
	}
	return string(s.Phase) + "."
}

// undoing says how far an undo has come. It is never called a rollback: nothing but acknowledgements speaks for it.
func undoing(st rollout.Status) string {
	s, p := st.State, st.Plan
	if s.Sub != rollout.Undoing {
		return fmt.Sprintf("Completed and undone: %s serves %q again since %s, acknowledged by every component.", p.Flag.Key, p.Flag.Stable, Clock(s.UndoneAt))
	}
	if st.Undoing == nil {
		return fmt.Sprintf("Undoing: %s serves %q again; components have not answered yet.", p.Flag.Key, p.Flag.Stable)
	}
	var unproven []string
	for _, l := range st.Undoing.Lines {
		if l.How == fleet.Waiting && len(unproven) < 5 {
			unproven = append(unproven, l.Instance)
		}
	}
	c := st.Undoing.Counts
	return fmt.Sprintf("Undoing %d/%d: %s serves %q again; unproven: %s.", c.Acked, c.Total, p.Flag.Key, p.Flag.Stable, strings.Join(unproven, ", "))
}

func progressing(st rollout.Status, stage string) string {
	s, p := st.State, st.Plan
	bake := p.Stages[s.Stage].Bake
	switch s.Sub {
	case rollout.Arming:
		return fmt.Sprintf("Arming stage %q: %s; %s is exposed.", stage, arming(st.Arming, p.Stages[s.Stage].Exposure), Percent(s.Exposure))
	case rollout.Exposing:
		return fmt.Sprintf("Switching to stage %q, %s.", stage, Percent(p.Stages[s.Stage].Exposure))
	case rollout.Deciding:
		return fmt.Sprintf("Stage %q has baked and waits for its verdict with %s exposed.", stage, Percent(s.Exposure))
	}
	return fmt.Sprintf("Stage %q: %s exposed, baked %s of %s.", stage, Percent(s.Exposure), s.Baked.Round(time.Second), bake)
}

// arming says who keeps a stage waiting, if somebody does.
func arming(a *fleet.Arming, next flag.Exposure) string {
	switch {
	case a != nil && len(a.Absent) > 0:
		return "waiting for a live instance of " + strings.Join(a.Absent, ", ")
	case a != nil && a.Holding == 0 && len(a.Missing) == 0:
		return "waiting for a component to join"
	case a != nil && len(a.Missing) > 0:
		return fmt.Sprintf("waiting for %d components to load %s, first %s", len(a.Missing), Percent(next), a.Missing[0])
	}
	return "components are loading " + Percent(next)
}

func rollingBack(st rollout.Status) string {
	s := st.State
	if s.Phase == rollout.RollbackIncomplete {
		return incomplete(st)
	}
	if s.Sub == rollout.Revoking {
		return fmt.Sprintf("Rolling back: %s%s", cause(s), waiting(st.Barrier))
	}
	return fmt.Sprintf("SAFE in %s%s, unwinding stores and writers. %s", Millis(s.SafeAt.Sub(s.Decided)), proven(st.Barrier), cause(s))
}

// incomplete says what is late. NOT SAFE is said only while exposure is not proven off.
func incomplete(st rollout.Status) string {
	s := st.State
	switch {
	case s.SafeAt.IsZero():
		return fmt.Sprintf("NOT SAFE: rollback has not completed in time (%s). %s%s", s.Sub, cause(s), waiting(st.Barrier))
	case s.DigestAfter != "" && s.DigestAfter != s.DigestBefore:
		return fmt.Sprintf("SAFE in %s%s, but configuration is not as before: its digest is %s, it was %s. %s",
			Millis(s.SafeAt.Sub(s.Decided)), proven(st.Barrier), s.DigestAfter, s.DigestBefore, cause(s))
	}
	return fmt.Sprintf("SAFE in %s%s, but stores and writers have not gone back in time (%s). %s",
		Millis(s.SafeAt.Sub(s.Decided)), proven(st.Barrier), s.Sub, cause(s))
}

// cause is the sentence of the cause, with one full stop.
func cause(s rollout.State) string {
	if s.Cause == nil {
		return "No cause is recorded."
	}
	return strings.TrimSuffix(s.Cause.Sentence, ".") + "."
}

func proven(p *fleet.Proof) string {
	if p == nil {
		return ""
	}
	c := p.Counts
	text := fmt.Sprintf(" (%d/%d acknowledged, %d by lease end", c.Acked, c.Total, c.Lapsed)
	if c.Fenced > 0 {
		text += fmt.Sprintf(", %d fenced", c.Fenced)
	}
	if p.Complete && c.Unproven > 0 {
		text += fmt.Sprintf("; proven for %d, %d unleased not provable", c.Total-c.Unproven, c.Unproven)
	}
	return text + ")"
}

func waiting(p *fleet.Proof) string {
	if p == nil {
		return ""
	}
	for _, l := range p.Lines {
		if l.How == fleet.Waiting && l.Until.IsZero() {
			return fmt.Sprintf(" Waiting for %s.", l.Instance)
		}
		if l.How == fleet.Waiting {
			return fmt.Sprintf(" Waiting for %s, safe by lease end at the latest %s.", l.Instance, Clock(l.Until))
		}
	}
	return ""
}

// Basis says what the decision that stopped a rollout rests on, "" when no verdict did: the rule, the window of request
// starts, how old the newest of it was, and the digest of the evidence.
func Basis(s rollout.State) string {
	if s.Cause == nil || s.Cause.Verdict == nil {
		return ""
	}
	v, decided := s.Cause.Verdict, s.Decided
	if decided.IsZero() {
		decided = s.Since
	}
	from, to := time.Unix(v.From, 0), time.Unix(v.To+1, 0)
	text := fmt.Sprintf("Rule %s on requests begun %s to %s, data %.1f s old at the decision", v.Rule, Clock(from), Clock(to), decided.Sub(to).Seconds())
	if v.Bounded {
		text += fmt.Sprintf(", ln E %.2f of %.2f", v.LogE, v.Level)
	}
	if v.Evidence != "" {
		text += ", evidence " + v.Evidence
	}
	return text + "."
}

// Clock prints a time of day in UTC with its zone.
func Clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("15:04:05.000Z")
}

// Millis prints a short duration in the unit people compare rollbacks in.
func Millis(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// Mark is the shape and word of a verdict; colour is never the only carrier.
func Mark(r judge.Result) string {
	switch r {
	case judge.Pass:
		return "● pass"
	case judge.Fail:
		return "■ fail"
	case judge.NoData:
		return "○ no data"
	case judge.Error:
		return "◆ error"
	}
	return "▲ inconclusive"
}
