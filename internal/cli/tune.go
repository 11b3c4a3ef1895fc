package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/store"
	"sluice.dev/sluice/internal/tune"
)

func tuneCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "tune", Short: "Learn thresholds from recorded rollouts", Example: "  sluice tune propose -f rollout.yaml --data ./sluice-data"}
	cmd.AddCommand(tuneProposeCmd(g))
	return cmd
}

func tuneProposeCmd(g *globals) *cobra.Command {
	var file, data string
	var harmless, harmful []string
	cmd := &cobra.Command{
		Use: "propose -f FILE --data DIR", Short: "Back-test other limits, detectable effects and bake times, and propose a change of the specification", Args: cobra.NoArgs,
		Long: "Judges every recorded rollout again with other values and shows false alarms, misses and delays. It changes nothing: the\n" +
			"proposal is a diff, to be reviewed and applied like any other change. A rollout that was rolled back counts as harmful\n" +
			"and one that completed as harmless, unless you say otherwise. DIR is the data of a stopped server, or a backup.",
		Example: "  sluice tune propose -f rollout.yaml --data ./sluice-data\n  sluice tune propose -f rollout.yaml --data ./backup --harmless spend7d-v14 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" || data == "" {
				return exit(exitUsage, "error: tune propose needs -f FILE and --data DIR")
			}
			src, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			p, findings := plan.Parse(file, src)
			if p == nil {
				for _, f := range findings {
					g.say("%s", plan.FormatFinding(f, string(src)))
				}
				return exit(exitFindings, "")
			}
			recorded, err := recordings(cmd.Context(), data)
			if err != nil {
				return err
			}
			if err := relabel(recorded, harmless, harmful); err != nil {
				return err
			}
			if len(recorded) == 0 {
				return exit(exitInconclusive, "error: %s has no rollout that completed or was rolled back with its evidence kept: nothing can be learned yet", data)
			}
			return g.propose(file, src, recorded, tune.Propose(p, recorded))
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "specification to improve")
	cmd.Flags().StringVar(&data, "data", "", "data directory with recorded rollouts")
	cmd.Flags().StringSliceVar(&harmless, "harmless", nil, "rollouts that did no harm though they were rolled back")
	cmd.Flags().StringSliceVar(&harmful, "harmful", nil, "rollouts that did harm though they completed")
	return cmd
}

func recordings(ctx context.Context, dir string) ([]tune.Recorded, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	s, err := store.OpenSQLite(ctx, dir)
	if err != nil {
		return nil, err
	}
	list, err := app.Recordings(ctx, s)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return list, err
}

func relabel(recorded []tune.Recorded, harmless, harmful []string) error {
	for i, names := range [][]string{harmless, harmful} {
		for _, name := range names {
			at := slices.IndexFunc(recorded, func(r tune.Recorded) bool { return r.Name == name })
			if at < 0 {
				return exit(exitUsage, "error: no recorded rollout %q has ended", name)
			}
			recorded[at].Harm = i == 1
		}
	}
	return nil
}

// proposed is the answer of tune propose in JSON.
type proposed struct {
	Rollouts  []recordedAs    `json:"rollouts"`
	Proposals []tune.Proposal `json:"proposals"`
	Diff      string          `json:"diff"`
	ByHand    []string        `json:"byHand,omitempty"` // changes that the diff could not make
}

type recordedAs struct {
	Name    string `json:"name"`
	Harm    bool   `json:"harm"`
	Seconds int    `json:"seconds"`
}

func (g *globals) propose(file string, src []byte, recorded []tune.Recorded, proposals []tune.Proposal) error {
	out := proposed{Rollouts: []recordedAs{}, Proposals: proposals}
	for _, r := range recorded {
		out.Rollouts = append(out.Rollouts, recordedAs{r.Name, r.Harm, len(r.Seconds)})
	}
	text := src
	for _, p := range proposals {
		if !p.Changes() {
			continue
		}
		edited, err := plan.Apply(text, []plan.Edit{{Guardrail: p.Guardrail, Stage: p.Stage, Field: p.Field, To: p.To}})
		if err != nil {
			out.ByHand = append(out.ByHand, err.Error())
			continue
		}
		text = edited
	}
	out.Diff = unified(file, string(src), string(text))
	if g.output == "json" {
		return g.json(out)
	}
	return g.proposedTable(out)
}

func (g *globals) proposedTable(out proposed) error {
	for _, r := range out.Rollouts {
		label := "harmless"
		if r.Harm {
			label = "harmful"
		}
		g.printf("%s  %s, %d s of evidence\n", r.Name, label, r.Seconds)
	}
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "\nWHAT\tVALUE\tFALSE ALARMS\tMISSES\tDELAY\t")
	for _, p := range out.Proposals {
		for _, t := range p.Trials {
			note := ""
			switch {
			case t.Value == p.To && p.Changes():
				note = "proposed"
			case t.Value == p.From:
				note = "now"
			}
			o := t.Outcome
			fmt.Fprintf(tw, "%s %s\t%s\t%d/%d\t%d/%d\t%.0f s\t%s\n", p.Guardrail, p.Field, t.Value, o.FalseAlarms, o.Harmless, o.Misses, o.Harmful, o.MeanDelay, note)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, p := range out.Proposals {
		g.printf("%s %s: %s (now %s): %s\n", p.Guardrail+p.Stage, p.Field, p.To, p.From, p.Why)
	}
	if out.Diff == "" {
		g.printf("nothing to change\n")
	}
	g.printf("%s", out.Diff)
	for _, line := range out.ByHand {
		g.say("%s", line)
	}
	return nil
}

// unified is a unified diff of two texts with the same number of lines, "" when they are equal.
func unified(file, before, after string) string {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	const around = 3
	var out strings.Builder
	for i := 0; i < len(a); i++ {
		if a[i] == b[i] {
			continue
		}
		from, end := max(0, i-around), i
		for j := i; j < len(a) && j <= end+2*around; j++ {
			if a[j] != b[j] {
				end = j
			}
		}
		to := min(len(a), end+1+around)
		if to == len(a) && a[to-1] == "" {
			to-- // the end of the last line, no line
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- a/%s\n+++ b/%s\n", file, file)
		}
		fmt.Fprintf(&out, "@@ -%d,%d +%d,%d @@\n", from+1, to-from, from+1, to-from)
		hunk(&out, a[from:to], b[from:to])
		i = to - 1
	}
	return out.String()
}

// hunk writes lines with the changed ones, each run of them taken out before the new ones come in.
func hunk(out *strings.Builder, a, b []string) {
	for i := 0; i < len(a); {
		if a[i] == b[i] {
			fmt.Fprintf(out, " %s\n", a[i])
			i++
			continue
		}
		end := i
		for end < len(a) && a[end] != b[end] {
			end++
		}
		for _, line := range a[i:end] {
			fmt.Fprintf(out, "-%s\n", line)
		}
		for _, line := range b[i:end] {
			fmt.Fprintf(out, "+%s\n", line)
		}
		i = end
	}
}
