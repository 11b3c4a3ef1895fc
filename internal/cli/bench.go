package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/store"
)

func benchCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure this build on this machine",
		Example: "  sluice bench evaluate\n  sluice bench barrier --members 1000 --rounds 10\n  sluice bench append -o json\n  sluice bench sim --seeds 200\n  sluice bench guardrails --quick",
	}
	cmd.AddCommand(benchEvaluateCmd(g), benchBarrierCmd(g), benchFleetCmd(g), benchAppendCmd(g), benchAnomalyCmd(g), benchSimCmd(g), benchGuardrailsCmd(g))
	return cmd
}

// spread is a distribution of times as people compare them, milliseconds.
type spread struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50Ms"`
	P99 float64 `json:"p99Ms"`
	Max float64 `json:"maxMs"`
}

// spreadOf sorts ds. A quantile is the smallest value with at least that share of all at or below it.
func spreadOf(ds []time.Duration) spread {
	if len(ds) == 0 {
		return spread{}
	}
	slices.Sort(ds)
	at := func(percent int) float64 {
		return float64(ds[max(0, (len(ds)*percent+99)/100-1)].Microseconds()) / 1000
	}
	return spread{N: len(ds), P50: at(50), P99: at(99), Max: at(100)}
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %.2f ms   p99 %.2f ms   max %.2f ms   (%d)", s.P50, s.P99, s.Max, s.N)
}

// evaluation is the cost of evaluating one flag in process.
type evaluation struct {
	Flag     string  `json:"flag"`
	Ns       float64 `json:"nsPerOp"`
	Allocs   float64 `json:"allocsPerOp"`
	Bytes    float64 `json:"bytesPerOp"`
	Measured int     `json:"evaluations"`
}

func benchEvaluateCmd(g *globals) *cobra.Command {
	var duration time.Duration
	cmd := &cobra.Command{
		Use: "evaluate", Short: "Time and allocations of one evaluation, in process", Args: cobra.NoArgs,
		Example: "  sluice bench evaluate\n  sluice bench evaluate --for 5s -o json",
		RunE: func(*cobra.Command, []string) error {
			list, err := evaluations(duration)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(map[string]any{"evaluate": list})
			}
			for _, e := range list {
				g.printf("%-28s %7.1f ns   %.2f allocs   %.1f B\n", e.Flag, e.Ns, e.Allocs, e.Bytes)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&duration, "for", time.Second, "how long each is measured")
	return cmd
}

// benchFlags are evaluated one by one: a plain flag, one with ten rules of which none matches, one with an open rollout, and
// flags with flagd's targeting.
func benchFlags() []flag.Flag {
	variants := map[string]json.RawMessage{"v14": json.RawMessage(`"v14"`), "v15": json.RawMessage(`"v15"`)}
	rules := flag.Flag{Key: "ten-rules-no-match", Type: flag.String, Variants: variants, Default: "v14"}
	for i := range 10 {
		rules.Rules = append(rules.Rules, flag.Rule{Name: fmt.Sprint("r", i), Serve: "v15", Match: flag.Condition{
			Attr: &flag.Compare{Name: "region", Op: "eq", Value: json.RawMessage(fmt.Sprintf("%q", fmt.Sprint("region-", i)))}}})
	}
	return []flag.Flag{
		{Key: "default", Type: flag.String, Variants: variants, Default: "v14"},
		rules,
		{Key: "open-rollout-20-percent", Type: flag.String, Variants: variants, Default: "v14", Rollout: &flag.Rollout{
			ID: "bench", Stable: "v14", Candidate: "v15", Salt: "bench", Cohorts: []flag.CohortExposure{{Cohort: "general", Exposure: flag.Full / 5}}}},
		{Key: "open-rollout-in-a-region", Type: flag.String, Variants: variants, Default: "v14", Rollout: &flag.Rollout{
			ID: "bench-eu", Stable: "v14", Candidate: "v15", Salt: "bench", Cohorts: []flag.CohortExposure{{Cohort: "eu", Exposure: flag.Full / 2,
				Match: &flag.Condition{Attr: &flag.Compare{Name: "region", Op: "eq", Value: json.RawMessage(`"eu"`)}}}}}},
		targeted("targeting-if", variants, `{"if":[{"==":[{"var":"region"},"eu"]},"v15","v14"]}`),
		targeted("targeting-in", variants, `{"if":[{"in":[{"var":"region"},["us","ap","eu"]]},"v15","v14"]}`),
		targeted("targeting-sem-ver", variants, `{"if":[{"sem_ver":[{"var":"version"},">=","2.0.0"]},"v15","v14"]}`),
		targeted("targeting-if-fractional", variants, `{"if":[{"==":[{"var":"region"},"eu"]},{"fractional":[["v14",50],["v15",50]]},null]}`),
	}
}

func targeted(key string, variants map[string]json.RawMessage, logic string) flag.Flag {
	return flag.Flag{Key: key, Type: flag.String, Variants: variants, Default: "v14", Targeting: json.RawMessage(logic)}
}

func evaluations(d time.Duration) ([]evaluation, error) {
	cfg := flag.NewConfig()
	for _, f := range benchFlags() {
		cfg.Flags[f.Key] = f
	}
	snap, err := flag.Compile(cfg, flag.Options{})
	if err != nil {
		return nil, err
	}
	contexts := make([]*flag.Context, 1024)
	for i := range contexts {
		contexts[i] = flag.NewContext(fmt.Sprintf("account-%d", i), flag.Str("region", "eu"), flag.Str("version", "2.5.1"), flag.Num("orders", float64(i)))
	}
	var out []evaluation
	for _, f := range benchFlags() {
		h := snap.Flag(f.Key)
		e := evaluation{Flag: f.Key}
		e.Ns, e.Allocs, e.Bytes, e.Measured = costOf(d, func(n int) {
			var got *flag.Variant
			for i := range n {
				got = h.Eval(contexts[i%len(contexts)], true).Variant
			}
			runtime.KeepAlive(got)
		})
		out = append(out, e)
	}
	return out, nil
}

// batches is how many parts a measurement has. The fastest one counts: others on the machine only ever add time.
const batches = 10

// costOf runs do in batches that take d together, and returns time and allocation of one call in the fastest batch.
func costOf(d time.Duration, do func(n int)) (ns, allocs, bytes float64, n int) {
	for n = 1000; ; n *= 2 {
		start := time.Now()
		do(n)
		if time.Since(start) >= d/batches {
			break
		}
	}
	for range batches {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		do(n)
		took := float64(time.Since(start).Nanoseconds()) / float64(n)
		runtime.ReadMemStats(&after)
		if ns == 0 || took < ns {
			ns, allocs, bytes = took, float64(after.Mallocs-before.Mallocs)/float64(n), float64(after.TotalAlloc-before.TotalAlloc)/float64(n)
		}
	}
	return ns, allocs, bytes, n * batches
}

func benchAppendCmd(g *globals) *cobra.Command {
	var n int
	var dir string
	cmd := &cobra.Command{
		Use: "append", Short: "Durable appends to the log, one record and its leaf per transaction", Args: cobra.NoArgs,
		Example: "  sluice bench append\n  sluice bench append --records 5000 --dir /var/tmp -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, took, err := benchAppend(cmd.Context(), dir, n)
			if err != nil {
				return err
			}
			perSecond := float64(n) / took.Seconds()
			if g.output == "json" {
				return g.json(map[string]any{"append": s, "recordsPerSecond": perSecond})
			}
			g.printf("append     %s\nrate       %.0f records/s, one writer\n", s, perSecond)
			return nil
		},
	}
	cmd.Flags().IntVar(&n, "records", 2000, "how many to append")
	cmd.Flags().StringVar(&dir, "dir", "", "where to make the temporary database; the system's temporary directory when empty")
	return cmd
}

func benchAppend(ctx context.Context, dir string, n int) (spread, time.Duration, error) {
	tmp, err := os.MkdirTemp(dir, "sluice-bench-")
	if err != nil {
		return spread{}, 0, err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // a temporary directory: nothing is lost
	s, err := store.OpenSQLite(ctx, tmp)
	if err != nil {
		return spread{}, 0, err
	}
	epoch, err := s.Lead(ctx)
	if err != nil {
		return spread{}, 0, err
	}
	times := make([]time.Duration, 0, n)
	begin := time.Now()
	for i := range n {
		start := time.Now()
		r := audit.Record{Seq: uint64(i + 1), At: start.UTC(), Kind: "bench", Actor: "bench", Epoch: epoch, Event: []byte(`{"kind":"bench"}`)}
		if _, err := s.Append(ctx, store.Batch{Epoch: epoch, Records: []audit.Record{r}}); err != nil {
			return spread{}, 0, err
		}
		times = append(times, time.Since(start))
	}
	took := time.Since(begin)
	return spreadOf(times), took, s.Close()
}
