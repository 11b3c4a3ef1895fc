package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/demo"
	"sluice.dev/sluice/internal/policy"
)

// demoOptions are the flags of `sluice demo`.
type demoOptions struct {
	headless, exit bool
	seed           int64
	fault, data    string
	listen         string
}

func demoCmd(g *globals) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use: "demo", Short: "Roll a feature out on real data, see a bad feed caught and taken back, check the proof", Args: cobra.NoArgs,
		Example: "  sluice demo\n  sluice demo --fault none\n  sluice demo --headless --exit --seed 1 -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.demo(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.headless, "headless", false, "print only the result")
	f.BoolVar(&o.exit, "exit", false, "end when the story has ended instead of serving on")
	f.Int64Var(&o.seed, "seed", 1, "which flights are exposed: another seed, another split of the same flights")
	f.StringVar(&o.fault, "fault", "feed", "what goes wrong: feed, latency or none")
	f.StringVar(&o.data, "data", "", "directory for everything that is kept; a temporary one that is removed at the end when empty")
	f.StringVar(&o.listen, "listen", "", "address of the one port; "+app.DefaultListen+", or a free port if that is taken")
	return cmd
}

func (g *globals) demo(ctx context.Context, o demoOptions) (err error) {
	fault, err := demo.ParseFault(o.fault)
	if err != nil {
		return exit(exitUsage, "error: --fault: %v", err)
	}
	dir, cleanup, err := demoDir(o)
	if err != nil {
		return err
	}
	defer cleanup()
	a, err := startDemoServer(ctx, dir, o)
	if err != nil {
		return err
	}
	defer func() {
		sctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if serr := a.Stop(sctx); err == nil {
			err = serr
		}
	}()
	admin, err := a.Token(ctx, "demo-admin", policy.Admin, "")
	if err != nil {
		return err
	}
	begin := time.Now()
	tell := func(format string, args ...any) {
		if !o.headless {
			g.say("%5.1f s  %s", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
		}
	}
	if !o.headless {
		g.say("sluice %s serves on %s, data in %s", Version(), a.URL(), dir)
		g.say("export SLUICE_SERVER=%s SLUICE_TOKEN=%s", a.URL(), admin)
		g.say("watch it in a browser: %s (this link works once)", a.OneTimeLogin())
	}
	res, err := g.runDemo(ctx, a, admin, dir, o, fault, tell)
	if err != nil {
		return err
	}
	if err := g.tellResult(res, o); err != nil {
		return err
	}
	if !o.exit {
		g.say("the server stays up; Ctrl-C ends it and leaves nothing behind. Next:\n  sluice why %s\n  sluice audit log\n  sluice demo --fault none --exit", demo.Rollout)
		<-ctx.Done()
	}
	return demoCode(res, fault)
}

func demoDir(o demoOptions) (dir string, cleanup func(), err error) {
	if o.data != "" {
		return o.data, func() {}, os.MkdirAll(o.data, 0o700)
	}
	dir, err = os.MkdirTemp("", "sluice-demo-")
	if o.exit { // the proof is named in the result, so it outlives the run
		return dir, func() {}, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, err // a temporary directory: nothing is lost
}

func startDemoServer(ctx context.Context, dir string, o demoOptions) (*app.App, error) {
	cfg := app.Config{DataDir: dir, Listen: o.listen, Version: Version(), Log: slog.New(slog.DiscardHandler), Tick: 50 * time.Millisecond}
	if o.listen != "" {
		return app.Start(ctx, cfg)
	}
	if o.headless {
		cfg.Listen = "127.0.0.1:0"
		return app.Start(ctx, cfg)
	}
	a, err := app.Start(ctx, cfg)
	if err != nil {
		cfg.Listen = "127.0.0.1:0"
		return app.Start(ctx, cfg)
	}
	return a, nil
}

func (g *globals) runDemo(ctx context.Context, a *app.App, admin, dir string, o demoOptions, fault demo.Fault, tell func(string, ...any)) (demo.Result, error) {
	c, err := client.New(a.URL(), admin)
	if err != nil {
		return demo.Result{}, err
	}
	token, err := a.Token(ctx, "demo-components", policy.Component, app.DefaultEnv)
	if err != nil {
		return demo.Result{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return demo.Result{}, err
	}
	return demo.Run(ctx, demo.Config{
		Client: c, Server: a.URL(), Token: token, Command: []string{self, componentProcess}, Dir: dir,
		Seed: o.seed, Fault: fault, Tell: tell, ErrOutput: g.err,
	})
}

func (g *globals) tellResult(r demo.Result, o demoOptions) error {
	if g.output == "json" {
		return g.json(r)
	}
	g.printf("outcome          %s in stage %q at %g %%\n", r.Outcome, r.Stage, r.Exposure)
	g.printf("injected         %s\n", r.Injected)
	if r.Outcome == "RolledBack" {
		g.printf("measured         %s\n", r.Why)
		if r.Culprit != nil {
			g.printf("culprit          %s = %s\n", r.Culprit.Attribute, r.Culprit.Value)
		}
		g.printf("components       %d: %d acknowledged, %d by lease end, %d unproven\n", r.Components.Total, r.Components.Acked, r.Components.Lapsed, r.Components.Unproven)
		g.printf("exposure off     %.0f ms after the decision; everything unwound after %.0f ms\n", r.DecisionToProofMs, r.UnwindMs)
		g.printf("digest before    %s\ndigest after     %s\n", r.DigestBefore, r.DigestAfter)
	}
	g.printf("proof            %s   (check it: sluice audit verify %s)\n", r.Proof, r.Proof)
	g.printf("data             %s, %d rows, sha256 %s\n", r.DataFile.Name, r.DataFile.Rows, r.DataFile.SHA256)
	return nil
}

// demoCode: the story has one right end for each fault; another one is a failure of the demo.
func demoCode(r demo.Result, fault demo.Fault) error {
	want := "RolledBack"
	if fault == demo.FaultNone {
		want = "Completed"
	}
	switch {
	case r.Outcome != want:
		return exit(exitError, "the story should have ended %s, it ended %s: %s", want, r.Outcome, r.Why)
	case want == "RolledBack" && (r.DigestAfter != r.DigestBefore || r.Components.Unproven != 0):
		return exit(exitNotSafe, "the rollback is not proven: digest before %s, after %s, %d components unproven", r.DigestBefore, r.DigestAfter, r.Components.Unproven)
	}
	return nil
}

// componentProcess is the hidden command that runs one component of the demo.
const componentProcess = "demo-component"

func componentProcessCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: componentProcess, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.RunComponent(cmd.Context(), io.Reader(g.in), g.out)
		},
	}
}
