package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/report"
	"sluice.dev/sluice/internal/rollout"
)

// view draws a rollout as lines: what it is and how it stands, why, and the tree of its stages with the guardrails of the
// one that matters and the way back. now is the time that ages are counted to. No line has control characters or colour;
// width cuts lines to so many characters, 0 does not.
func view(v rolloutView, now time.Time, width int) []string {
	lines := append([]string{head(v, now)}, wrap("Why   ", v.Sentence, width)...)
	lines = append(lines, "")
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tKIND\tSTATUS\tAGE\tINFO")
	for _, r := range tree(v, now) {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", visible(r.name), r.kind, r.status, r.age, visible(r.info))
	}
	_ = tw.Flush() // a buffer takes everything
	lines = append(lines, strings.Split(strings.TrimRight(b.String(), "\n"), "\n")...)
	for i, l := range lines {
		lines[i] = clip(strings.TrimRight(visible(l), " "), width)
	}
	return lines
}

// wrap breaks a sentence at spaces and indents what follows the first line; it is the one thing that is never cut.
func wrap(label, text string, width int) []string {
	if width <= 0 {
		return []string{label + text}
	}
	indent := strings.Repeat(" ", utf8.RuneCountInString(label))
	var lines []string
	line := label
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0 || line == indent:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines, line = append(lines, line), indent+word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// clip cuts a line to width characters, showing that it did.
func clip(line string, width int) string {
	runes := []rune(line)
	if width <= 0 || len(runes) <= width {
		return line
	}
	return string(runes[:width-1]) + "…"
}

func head(v rolloutView, now time.Time) string {
	s, p := v.Status.State, v.Status.Plan
	parts := []string{v.Name, phaseMark(s) + " " + strings.ToUpper(spaced(string(s.Phase))), exposed(s, p)}
	if !s.SafeAt.IsZero() {
		safe := "safe in " + report.Millis(s.SafeAt.Sub(s.Decided))
		if b := v.Status.Barrier; b != nil {
			safe += fmt.Sprintf(" (%d/%d)", b.Counts.Total-b.Counts.Unproven, b.Counts.Total)
		}
		parts = append(parts, safe)
	}
	parts = append(parts, "env "+v.Env, "owner "+p.Owner, "plan "+short(p.Digest), "UTC "+now.UTC().Format("15:04:05"))
	return strings.Join(parts, "   ")
}

// exposed is the share of the stage's cohort that is on the candidate; after a rollback, what it was too.
func exposed(s rollout.State, p *plan.Plan) string {
	if s.Phase == rollout.Completed {
		return "100 %"
	}
	if st, ok := p.StageAt(s.Stage); ok && !s.Decided.IsZero() {
		return report.Percent(st.Exposure) + " → " + report.Percent(s.Exposure)
	}
	return report.Percent(s.Exposure)
}

// spaced writes RolledBack as people do: Rolled back.
func spaced(phase string) string {
	var b strings.Builder
	for i, r := range phase {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// short is a digest as people compare it: its first and last digits.
func short(digest string) string {
	hex := digest[strings.LastIndex(digest, ":")+1:]
	if len(hex) <= 10 {
		return hex
	}
	return hex[:6] + "…" + hex[len(hex)-2:]
}

func phaseMark(s rollout.State) string {
	switch s.Phase {
	case rollout.Completed:
		return "●"
	case rollout.RolledBack, rollout.RollingBack, rollout.RollbackIncomplete:
		return "■"
	case rollout.Paused:
		return "◆"
	case rollout.Cancelled, rollout.Expired, rollout.Rejected, rollout.Superseded:
		return "○"
	}
	return "►"
}

// row is one line of the tree.
type row struct{ name, kind, status, age, info string }

func tree(v rolloutView, now time.Time) []row {
	s, p := v.Status.State, v.Status.Plan
	rows := []row{{"⟳ " + v.Name, "Rollout", phaseMark(s) + " " + report.Where(s), age(s.Started, now),
		fmt.Sprintf("%s: %s → %s, stage %d/%d", p.Flag.Key, p.Flag.Stable, p.Flag.Candidate, s.Stage+1, len(p.Stages))}}
	for i, st := range p.Stages {
		rows = append(rows, stageRow(s, st, i, now))
		if i == s.Stage && s.Phase != rollout.Completed {
			rows = append(rows, guardrailRows(v.Status)...)
		}
	}
	if back := wayBack(v.Status, now); len(back) > 0 {
		return append(rows, back...)
	}
	last := &rows[len(rows)-1]
	last.name = strings.Replace(last.name, "├", "└", 1)
	return rows
}

func stageRow(s rollout.State, st plan.Stage, i int, now time.Time) row {
	r := row{name: "├─# " + st.Name, kind: "Stage", status: stageStatus(s, i), info: report.Percent(st.Exposure) + " of " + st.Cohort}
	if st.Mode != "" {
		r.info += ", " + st.Mode
	}
	if i == s.Stage && s.Phase != rollout.Completed {
		r.age = age(s.StageSince, now)
		r.info += fmt.Sprintf(", baked %s of %s", s.Baked.Round(time.Second), st.Bake)
	}
	return r
}

// guardrailRows shows the total of each guardrail, every value that breached, and how many values there are besides.
func guardrailRows(st rollout.Status) []row {
	var rows []row
	rest := map[judge.Result]int{}
	for _, v := range st.Report.Verdicts {
		if v.Dim != evidence.DimTotal && v.Result != judge.Fail && v.Breached == 0 {
			rest[v.Result]++
			continue
		}
		rows = append(rows, verdictRow(v))
	}
	if c := st.State.Cause; c != nil && c.Verdict != nil && !slices.ContainsFunc(st.Report.Verdicts, func(v judge.Verdict) bool {
		return v.Lane == c.Verdict.Lane && v.Result == c.Verdict.Result
	}) {
		rows = append([]row{verdictRow(*c.Verdict)}, rows...) // what decided stays in sight when later seconds look otherwise
	}
	var more []string
	for _, r := range []judge.Result{judge.Pass, judge.Inconclusive, judge.NoData, judge.Error} {
		if n := rest[r]; n > 0 {
			more = append(more, fmt.Sprintf("%s %d", report.Mark(r), n))
		}
	}
	if len(more) > 0 {
		rows = append(rows, row{name: "│ └─ other values", kind: "Guardrail", info: strings.Join(more, ", ")})
	}
	return rows
}

func verdictRow(v judge.Verdict) row {
	name := v.Guardrail
	if v.Value != "" {
		name += "/" + v.Value
	}
	_, info, _ := strings.Cut(judge.Sentence(v), ": ")
	return row{name: "│ ├─◎ " + name, kind: "Guardrail", status: report.Mark(v.Result), info: terse.Replace(info)}
}

// terse fits a verdict's sentence into a table.
var terse = strings.NewReplacer(" exposed against ", " vs ", " baseline,", "", "; threshold, not error-bounded", "", "; error-bounded", "")

// wayBack is the rollback: what it is waiting for or who acknowledged, or how it would go.
func wayBack(st rollout.Status, now time.Time) []row {
	s, r := st.State, st.Plan.Rollback
	if s.Decided.IsZero() {
		if s.Phase.Terminal() {
			return nil
		}
		return []row{{name: "└─↶ way back", kind: "Rollback", status: "○ ready", info: fmt.Sprintf(
			"to %s, leases of %s, proven within %s", st.Plan.Flag.Stable, r.LeaseTTL, r.CompleteWithin)}}
	}
	status := "► revoking"
	switch {
	case s.Phase == rollout.RollbackIncomplete && s.SafeAt.IsZero():
		status = "■ NOT SAFE"
	case s.Phase == rollout.RollbackIncomplete:
		status = "▲ safe, late"
	case s.Phase == rollout.RolledBack:
		status = "● verified"
	case !s.SafeAt.IsZero():
		status = "● safe"
	}
	rows := []row{{name: "└─⏹ rollback", kind: "Rollback", status: status, age: age(s.Decided, now), info: who(st.Barrier)}}
	for _, class := range fleet.UnwindOrder {
		if p, ok := st.Unwind[class]; ok && len(p.Lines) > 0 {
			status := "► unwinding"
			if p.Complete {
				status = "● back"
			}
			rows = append(rows, row{name: "  └─ " + class + "s", kind: "Unwind", status: status, info: who(&p)})
		}
	}
	return rows
}

// who says component by component how it was proven: "checkout 3/3", "frozen 0/1 by lease end", "waiting for x-1".
func who(p *fleet.Proof) string {
	if p == nil {
		return ""
	}
	byComponent := map[string][]fleet.Line{}
	for _, l := range p.Lines {
		byComponent[l.Component] = append(byComponent[l.Component], l)
	}
	var parts []string
	for name, lines := range byComponent {
		n := map[string]int{}
		waiting := ""
		for _, l := range lines {
			n[l.How]++
			if l.How == fleet.Waiting && waiting == "" {
				waiting = l.Instance
			}
		}
		text := fmt.Sprintf("%s %d/%d", name, n[fleet.ByAck]+n[fleet.ByBye], len(lines))
		if n[fleet.ByLapse] > 0 {
			text += fmt.Sprintf(", %d by lease end", n[fleet.ByLapse])
		}
		if waiting != "" {
			text += ", waiting for " + waiting
		}
		parts = append(parts, text)
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(a, b) })
	return strings.Join(parts, " · ")
}

// age is a duration as a table has room for: 44m, 3h12m, 2d.
func age(from, now time.Time) string {
	if from.IsZero() {
		return ""
	}
	d := max(0, now.Sub(from))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}
