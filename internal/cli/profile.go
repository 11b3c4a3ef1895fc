package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/profile"
	"sluice.dev/sluice/internal/table"
)

func profileCmd(g *globals) *cobra.Command {
	var baseline string
	var cfg profile.Config
	cmd := &cobra.Command{
		Use: "profile FILE", Short: "Profile a file of rows, and compare it with a baseline", Args: cobra.ExactArgs(1),
		Long: "Reads CSV with a header, JSON lines and Parquet, each also with .gz, in bounded memory. Per column: nulls, type, range,\n" +
			"distinct values, quantiles, age of the newest time, repetitions; with --baseline a verdict, which needs both a difference\n" +
			"too large for chance and an effect that matters. Exit code 5: a column fails; 6: a column is inconclusive.",
		Example: "  sluice profile features.parquet\n  sluice profile today.csv.gz --baseline yesterday.csv.gz\n  sluice profile today.jsonl --baseline yesterday.jsonl --max-age 26h -o json",
		RunE: func(_ *cobra.Command, args []string) error {
			if cfg.Alpha <= 0 || cfg.Alpha >= 1 {
				return exit(exitUsage, "error: --alpha %g: want a probability between 0 and 1, such as 0.01", cfg.Alpha)
			}
			if cfg.MaxAge < 0 {
				return exit(exitUsage, "error: --max-age %s: want a positive duration, such as 26h", cfg.MaxAge)
			}
			report, err := profiled(args[0], baseline, cfg, time.Now())
			if err != nil {
				return err
			}
			return g.profile(report)
		},
	}
	cmd.Flags().StringVar(&baseline, "baseline", "", "file to compare with")
	cmd.Flags().Float64Var(&cfg.Alpha, "alpha", 0.01, "probability of any false warning or failure between two batches of one law")
	cmd.Flags().DurationVar(&cfg.MaxAge, "max-age", 0, "fail time columns whose newest value is older")
	return cmd
}

// profiled reads one file, or two, and judges the first.
func profiled(path, baseline string, cfg profile.Config, now time.Time) (profile.Report, error) {
	s, err := summed(path, now)
	if err != nil || baseline == "" {
		return profile.Check(s, cfg), err
	}
	base, err := summed(baseline, now)
	if err != nil {
		return profile.Report{}, err
	}
	if len(base.Columns) > 0 && !profile.Related(s, base) {
		return profile.Report{}, fmt.Errorf("%s and %s have no column in common: is one of them another table?", path, baseline)
	}
	return profile.Compare(s, base, cfg), nil
}

func summed(path string, now time.Time) (profile.Summary, error) {
	t := profile.New()
	if err := table.Read(path, t); err != nil {
		return profile.Summary{}, err
	}
	return t.Summary(now), nil
}

func (g *globals) profile(r profile.Report) error {
	if g.output == "json" {
		if err := g.json(r); err != nil {
			return err
		}
	} else if err := g.profileTable(r); err != nil {
		return err
	}
	switch r.Verdict() {
	case profile.Fail:
		return exit(exitRolledBack, "")
	case profile.Inconclusive:
		return exit(exitInconclusive, "")
	}
	return nil
}

func (g *globals) profileTable(r profile.Report) error {
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "COLUMN\tVERDICT\tTYPE\tROWS\tNULLS\tDISTINCT\tMIN\tP50\tP99\tMAX\tPSI")
	for _, f := range r.Columns {
		c := f.Figures
		distinct := fmt.Sprint(c.Distinct)
		if !c.DistinctExact && c.Distinct > 0 {
			distinct = "~" + distinct
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", f.Column, mark(f.Verdict), c.Type, c.Rows, share(c.NullRate), distinct, spanOf(c), psiOf(c))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(r.Columns) > 0 && r.Columns[0].Figures.DuplicateRows > 0 {
		g.printf("%d rows repeat an earlier row\n", r.Columns[0].Figures.DuplicateRows)
	}
	for _, f := range r.Columns {
		if f.Verdict != profile.Pass {
			g.printf("\n%s %s\n  %s\n", f.Column, mark(f.Verdict), strings.Join(f.Reasons, "\n  "))
		}
	}
	return nil
}

// mark is a verdict with its shape.
func mark(v profile.Verdict) string {
	return map[profile.Verdict]string{profile.Pass: "●", profile.Warn: "▲", profile.Fail: "■", profile.Inconclusive: "◆"}[v] + " " + string(v)
}

func share(x float64) string { return fmt.Sprintf("%.3g %%", 100*x) }

// spanOf is smallest value, median, 99th percentile and largest value, as the type has them.
func spanOf(f profile.Figures) string {
	switch {
	case f.Oldest != nil:
		return fmt.Sprintf("%s\t\t\t%s", f.Oldest.Format("2006-01-02T15:04:05Z"), f.Newest.Format("2006-01-02T15:04:05Z"))
	case f.Quantiles != nil && f.Min != nil && f.Max != nil:
		return fmt.Sprintf("%.6g\t%.6g\t%.6g\t%.6g", *f.Min, f.Quantiles.P50, f.Quantiles.P99, *f.Max)
	case len(f.Top) > 0:
		return fmt.Sprintf("\t%s\t%s\t", f.Top[0].Value, share(f.Top[0].Share))
	}
	return "\t\t\t"
}

func psiOf(f profile.Figures) string {
	if f.Drift == nil {
		return ""
	}
	for _, m := range f.Drift.Measures {
		if m.Measure == "psi" {
			return fmt.Sprintf("%.3g", m.Value)
		}
	}
	return ""
}
