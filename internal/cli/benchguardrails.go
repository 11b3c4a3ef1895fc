package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/bench"
	"sluice.dev/sluice/internal/profile"
	"sluice.dev/sluice/internal/table"
)

// guardrailOptions are the flags of `sluice bench guardrails`.
type guardrailOptions struct {
	quick     bool
	seed      uint64
	seeds     int
	data, svg string
}

func benchGuardrailsCmd(g *globals) *cobra.Command {
	var o guardrailOptions
	cmd := &cobra.Command{
		Use: "guardrails", Short: "False rollbacks and delay of this product's judge beside other rules, on the same streams", Args: cobra.NoArgs,
		Annotations: map[string]string{moreOutputs: "csv junit"},
		Long: "Simulates rollouts without harm (ramps, outages, heavy tails, correlated users, late telemetry and more) and with harm, and\n" +
			"lets all contenders judge the same streams with a clock of one second, at their documented defaults and tuned to at most 1 %\n" +
			"false rollbacks on seeds of their own. --quick takes at most three minutes on two cores; without it, hours. With --data the\n" +
			"series below DIR/nab and DIR/taxi (*.csv, also .gz) are baselines too. -o is table, csv, json or junit.",
		Example: "  sluice bench guardrails --quick\n  sluice bench guardrails --quick --seed 7 -o json\n  sluice bench guardrails --quick --data ./data --svg frontier.svg",
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := o.options()
			if err != nil {
				return err
			}
			r, err := g.guardrails(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if o.svg != "" {
				if err := writeFile(o.svg, r.WriteSVG); err != nil {
					return err
				}
			}
			return guardrailForms[g.output](r, g.raw)
		},
	}
	cmd.Flags().BoolVar(&o.quick, "quick", false, "fewer and shorter rollouts: minutes")
	cmd.Flags().Uint64Var(&o.seed, "seed", 1, "seed of every stream")
	cmd.Flags().IntVar(&o.seeds, "seeds", 0, "rollouts per family; 0 means 10 with --quick, else 1000 without harm and 200 with")
	cmd.Flags().StringVar(&o.data, "data", "", "folder with series that serve as baselines, in nab and taxi")
	cmd.Flags().StringVar(&o.svg, "svg", "", "also write the frontier of false rollbacks against delay to this file")
	return cmd
}

// guardrailForms are the forms of -o.
var guardrailForms = map[string]func(*bench.Result, io.Writer) error{
	"table": (*bench.Result).WriteTable, "csv": (*bench.Result).WriteCSV, "json": (*bench.Result).WriteJSON, "junit": (*bench.Result).WriteJUnit,
}

func (o guardrailOptions) options() (bench.Options, error) {
	if o.seeds < 0 {
		return bench.Options{}, exit(exitUsage, "error: --seeds %d: want at least 1, or 0 for the usual number", o.seeds)
	}
	opts := bench.Full(o.seed)
	if o.quick {
		opts = bench.Quick(o.seed)
	}
	if o.seeds > 0 {
		opts.NullRuns, opts.HarmRuns = o.seeds, o.seeds
	}
	if o.data == "" {
		return opts, nil
	}
	var err error
	opts.Series, err = baselines(o.data)
	return opts, err
}

// guardrails runs all jobs on all cores. Their order in time does not matter to the result.
func (g *globals) guardrails(ctx context.Context, opts bench.Options) (*bench.Result, error) {
	jobs := bench.Jobs(opts)
	outcomes := make([]bench.Outcome, len(jobs))
	next := make(chan int)
	done := make(chan struct{}, len(jobs))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				outcomes[i] = jobs[i].Run()
				done <- struct{}{}
			}
		})
	}
	err := g.feed(ctx, len(jobs), next, done)
	close(next)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	return bench.Summarise(opts, outcomes), nil
}

// feed hands out the jobs and says how far they are, every tenth.
func (g *globals) feed(ctx context.Context, jobs int, next chan<- int, done <-chan struct{}) error {
	said := 0
	for i := range jobs {
		select {
		case next <- i:
		case <-ctx.Done():
			return ctx.Err()
		}
		if tenth := 10 * len(done) / jobs; tenth > said && !g.quiet {
			said = tenth
			fmt.Fprintf(g.err, "%d %% of %d jobs\n", 10*tenth, jobs)
		}
	}
	return nil
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return cmp.Or(err, f.Close())
	}
	return f.Close()
}

// baselines reads the series of a data folder: NAB's values one by one, and the mean total of taxi rides per hour.
func baselines(dir string) ([]bench.Series, error) {
	var out []bench.Series
	for _, kind := range []seriesSink{
		{glob: filepath.Join("nab", "*", "*.csv*"), time: "timestamp", value: "value", seconds: 1},
		{glob: filepath.Join("taxi", "*.csv*"), time: "pickup_datetime", value: "total_amount", seconds: 3600},
	} {
		files, err := filepath.Glob(filepath.Join(dir, kind.glob))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			s := kind
			s.sums = map[int64]seriesPoint{}
			if err := table.Read(file, &s); err != nil {
				return nil, err
			}
			if values := s.means(); len(values) >= leastSeries {
				out = append(out, bench.Series{Name: strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".gz"), ".csv"), Values: values})
			}
		}
	}
	if len(out) == 0 {
		return nil, exit(exitUsage, "error: --data %s: no series of at least %d values in nab/*/*.csv or taxi/*.csv (also .gz)", dir, leastSeries)
	}
	return out, nil
}

const leastSeries = 300

// seriesSink adds up the values of a column by the time in another.
type seriesSink struct {
	glob        string
	time, value string
	seconds     int64 // that count as one time
	sums        map[int64]seriesPoint
}

type seriesPoint struct{ n, sum float64 }

// Add takes a row; one without time or number is left out.
func (s *seriesSink) Add(columns []string, cells []profile.Cell) error {
	t, v := slices.Index(columns, s.time), slices.Index(columns, s.value)
	if t < 0 || v < 0 {
		return fmt.Errorf("no columns %s and %s", s.time, s.value)
	}
	if len(cells) <= max(t, v) || cells[t].Kind != profile.Time {
		return nil
	}
	x := cells[v].Num
	switch cells[v].Kind {
	case profile.Float:
	case profile.Int:
		x = float64(cells[v].Int)
	default:
		return nil
	}
	key := int64(cells[t].Num) / s.seconds
	p := s.sums[key]
	s.sums[key] = seriesPoint{p.n + 1, p.sum + x}
	return nil
}

// Grow takes columns before there are rows.
func (s *seriesSink) Grow([]string) error { return nil }

// means are the values in the order of time.
func (s *seriesSink) means() []float64 {
	out := make([]float64, 0, len(s.sums))
	for _, key := range slices.Sorted(maps.Keys(s.sums)) {
		out = append(out, s.sums[key].sum/s.sums[key].n)
	}
	return out
}
