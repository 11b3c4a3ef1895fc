package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/agent"
)

func agentCmd(g *globals) *cobra.Command {
	var cfg agent.Config
	cmd := &cobra.Command{
		Use:   "agent --component NAME",
		Short: "Hold leases for the programs of this machine and answer their OFREP evaluations",
		Long: "The agent is a member of the fleet for programs in any language: they ask it over OFREP on the loopback interface, it looks at\n" +
			"its lease in every evaluation. Without the server it goes on with settled values, and rollouts serve their baseline.\n" +
			"GET /readyz turns red a lease after the server was lost; GET /status says what the agent knows. Ask it with:\n" +
			"curl -d '{\"context\":{\"targetingKey\":\"account-7\"}}' http://" + agent.DefaultListen + "/ofrep/v1/evaluate/flags/spend7d",
		Example: "  sluice agent --component checkout --server https://sluice.example",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.URL, cfg.Token = g.server, g.token
			cfg.Log = slog.New(slog.NewTextHandler(g.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			start, cancel := context.WithTimeout(cmd.Context(), joinTimeout)
			defer cancel()
			a, err := agent.Start(start, cfg)
			if err != nil {
				return err
			}
			g.say("sluice agent %s answers OFREP on %s, for component %s", Version(), a.URL(), cfg.Component)
			<-cmd.Context().Done()
			ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
			defer stop()
			return a.Stop(ctx)
		},
	}
	f := cmd.Flags()
	memberFlags(cmd, &cfg.Component, &cfg.Instance, &cfg.CacheDir)
	f.StringVar(&cfg.Listen, "listen", agent.DefaultListen, "loopback address to answer on")
	f.IntVar(&cfg.Rate, "rate", 0, "evaluations that one program may ask for per second; 0 means no limit")
	return cmd
}

// joinTimeout bounds the wait for the server at the start of a member.
const joinTimeout = 15 * time.Second

// memberFlags are those of every command that joins the fleet.
func memberFlags(cmd *cobra.Command, component, instance, cache *string) {
	f := cmd.Flags()
	f.StringVar(component, "component", "", "what the program is in the pipeline")
	f.StringVar(instance, "instance", "", "tells processes of one component apart; the host's name when empty")
	f.StringVar(cache, "cache", "", "directory for the last configuration, for a start without server")
	_ = cmd.MarkFlagRequired("component") // the flag is there
}

// exitRevoked: a job lost the lease that it was decided under; the same as a rollout that was rolled back.
const exitRevoked = exitRolledBack

func execCmd(g *globals) *cobra.Command {
	var cfg agent.JobConfig
	var commit string
	cmd := &cobra.Command{
		Use:   "exec --component NAME --flag KEY [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run a batch job under a lease, and stop it when that ends",
		Long: "The flags are decided once, when the job starts. The job finds them in SLUICE_FLAG_<KEY>, SLUICE_REVISION, SLUICE_BAGGAGE and\n" +
			"SLUICE_UNIT, and in the file that SLUICE_STATE names, whose state turns from held to draining when a lease ends. Then the job\n" +
			"has --drain to finish its piece of work and is stopped: exit code 5. --commit is begun only after the job ended well and only\n" +
			"while every lease is held, and killed when one ends. A rollback counts as drained here when the job has ended.",
		Example: "  sluice exec --component features --flag spend7d --unit 2026-11-24 --commit ./publish.sh -- python3 build.py\n" +
			"  sluice exec --component features --flag spend7d -- sh -c 'echo \"building $SLUICE_FLAG_SPEND7D\"'",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.URL, cfg.Token, cfg.Command = g.server, g.token, args
			if commit != "" {
				cfg.Commit = []string{"/bin/sh", "-c", commit}
			}
			cfg.In, cfg.Out, cfg.Err = g.in, g.raw, g.err
			cfg.Log = slog.New(slog.NewTextHandler(g.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			return jobExit(agent.RunJob(cmd.Context(), cfg))
		},
	}
	f := cmd.Flags()
	memberFlags(cmd, &cfg.Component, &cfg.Instance, &cfg.CacheDir)
	f.StringSliceVar(&cfg.Flags, "flag", nil, "flag that the job is decided by; may be repeated")
	f.StringVar(&cfg.Unit, "unit", "", "what the job is for: the batch or the partition; what rollouts assign to an arm")
	f.StringVar(&commit, "commit", "", "shell command that makes the job's work visible, run only under the lease")
	f.DurationVar(&cfg.Drain, "drain", 2*time.Second, "time between the end of a lease and SIGTERM")
	f.DurationVar(&cfg.Grace, "grace", 10*time.Second, "time between SIGTERM and SIGKILL")
	_ = cmd.MarkFlagRequired("flag") // the flag is there
	return cmd
}

func jobExit(code int, err error) error {
	switch {
	case errors.Is(err, agent.ErrRevoked):
		return exit(exitRevoked, "error: %v; its work was not committed", err)
	case err != nil:
		return fmt.Errorf("run the job: %w", err)
	case code != 0:
		return &coded{code: code}
	}
	return nil
}
