package cli

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/dst"
)

// errViolated is the end of a simulation in which something did not hold.
var errViolated = errors.New("a promise did not hold: see the seed and its command above")

type simOptions struct {
	from    uint64
	seeds   int
	workers int
	bound   time.Duration
	trace   bool
}

func benchSimCmd(g *globals) *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use: "sim", Short: "Random lives of a whole installation, with faults, under virtual time", Args: cobra.NoArgs,
		Long: "Plays the control loop, the protocol and the store of this build in one thread per seed: messages are lost, delayed,\n" +
			"repeated and reordered, processes stop and die at any write, clocks run at other rates. What must hold is looked at\n" +
			"after each step (docs/verification.md). Exits 1 when something did not hold, with the seed and the command to see it.",
		Example: "  sluice bench sim --seeds 2000\n  sluice bench sim --from 71 --seeds 1 --trace\n  sluice bench sim --seeds 100000 --for 1h -o json",
		RunE:    func(*cobra.Command, []string) error { return benchSim(g, o) },
	}
	cmd.Flags().Uint64Var(&o.from, "from", 1, "first seed")
	cmd.Flags().IntVar(&o.seeds, "seeds", 200, "number of seeds")
	cmd.Flags().IntVar(&o.workers, "workers", 0, "seeds at a time; 0 means one per processor")
	cmd.Flags().DurationVar(&o.bound, "for", 0, "begin no new seed after so long; 0 means all of them")
	cmd.Flags().BoolVar(&o.trace, "trace", false, "print what happens in the first seed, and nothing else")
	return cmd
}

func benchSim(g *globals, o simOptions) error {
	if o.seeds < 1 {
		return fmt.Errorf("--seeds is %d: give at least 1", o.seeds)
	}
	if o.trace {
		if r := dst.Run(o.from, func(line string) { g.printf("%s\n", line) }); r.Violation != "" {
			return errViolated
		}
		return nil
	}
	if o.workers == 0 {
		o.workers = runtime.GOMAXPROCS(0)
	}
	var until time.Time
	began := time.Now()
	if o.bound > 0 {
		until = began.Add(o.bound)
	}
	s := dst.Many(o.from, o.seeds, o.workers, until)
	if g.output == "json" {
		if err := g.json(s); err != nil {
			return err
		}
	} else {
		printSim(g, s, time.Since(began))
	}
	if len(s.Violations) > 0 {
		return errViolated
	}
	return nil
}

func printSim(g *globals, s dst.Summary, took time.Duration) {
	g.printf("seeds            %d to %d, in %s\n", s.From, s.From+uint64(s.Seeds)-1, took.Round(time.Second))
	g.printf("simulated        %.3f years\n", s.Years)
	g.printf("evaluations      %d, %d of them exposed\n", s.Seen.Evaluations, s.Seen.Exposed)
	g.printf("proofs           %d; members acknowledged %d, by lease end %d\n", s.Seen.Proofs, s.Seen.ByAck, s.Seen.ByLapse)
	g.printf("rollouts         %d rolled back, %d completed, %d cancelled, %d deadlines passed\n", s.Seen.RolledBack, s.Seen.Completed, s.Seen.Cancelled, s.Seen.Incomplete)
	g.printf("lives            %d of controllers, %d of members\n", s.Seen.Recoveries, s.Seen.Boots)
	g.printf("writes           %d, %d records, %d seconds judged again\n", s.Seen.Writes, s.Seen.Records, s.Seen.Replayed)
	g.printf("faults injected  %d\n", s.Faults)
	for _, kind := range slices.Sorted(maps.Keys(s.ByKind)) {
		g.printf("  %-30s %d\n", kind, s.ByKind[kind])
	}
	g.printf("trace            %s\n", s.Trace)
	for _, v := range s.Violations {
		g.printf("VIOLATION seed %d: %s\n  %s\n", v.Seed, v.Text, v.Command)
	}
	g.printf("violations       %d\n", len(s.Violations))
}
