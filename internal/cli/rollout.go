package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/report"
	"sluice.dev/sluice/internal/rollout"
)

// rolloutView is what the CLI reads of GET /v1/rollouts/{name}.
type rolloutView struct {
	Name     string         `json:"name"`
	Env      string         `json:"env"`
	Phase    rollout.Phase  `json:"phase"`
	Where    string         `json:"where"`
	Stage    string         `json:"stage"`
	Exposure float64        `json:"exposure"`
	Started  time.Time      `json:"started"`
	Sentence string         `json:"sentence"`
	Status   rollout.Status `json:"status"`
}

// exposed is the share that gets the candidate: everybody once it has become the stable variant.
func (v rolloutView) exposed() string {
	if v.Phase == rollout.Completed {
		return "100 %"
	}
	return strconv.FormatFloat(v.Exposure, 'f', -1, 64) + " %"
}

func fetch(ctx context.Context, c *client.Client, name string) (rolloutView, json.RawMessage, error) {
	raw, err := c.Raw(ctx, "GET", "/v1/rollouts/"+url.PathEscape(name), nil)
	if err != nil {
		return rolloutView{}, nil, err
	}
	var v rolloutView
	return v, raw, json.Unmarshal(raw, &v)
}

func readFile(path string, in io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(in, 2<<20))
	}
	return os.ReadFile(path)
}

func applyCmd(g *globals) *cobra.Command {
	var file, reason string
	var dry bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Submit a Rollout or a Flag", Args: cobra.NoArgs,
		Example: "  sluice apply -f rollout.yaml\n  sluice apply -f flag.yaml --reason \"add the candidate variant\"\n  sluice apply -f rollout.yaml --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return exit(exitUsage, "error: apply needs -f FILE")
			}
			src, err := readFile(file, g.in)
			if err != nil {
				return err
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			return g.apply(cmd.Context(), c, file, src, reason, dry)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "YAML file, - for standard input")
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would happen, change nothing")
	return cmd
}

func (g *globals) apply(ctx context.Context, c *client.Client, file string, src []byte, reason string, dry bool) error {
	var out struct {
		Kind     string         `json:"kind"`
		Name     string         `json:"name"`
		Digest   string         `json:"digest"`
		Changed  bool           `json:"changed"`
		Findings []plan.Finding `json:"findings"`
	}
	err := c.Post(ctx, "/v1/apply", map[string]any{"source": string(src), "file": file, "reason": reason, "dryRun": dry}, &out)
	var p *client.Problem
	if errors.As(err, &p) && p.Findings != nil {
		return g.findings(p.Findings, src)
	}
	if err != nil {
		return err
	}
	if g.output == "json" {
		return g.json(out)
	}
	for _, f := range out.Findings {
		g.say("%s", plan.FormatFinding(f, string(src)))
	}
	verb := "applied"
	if dry {
		verb = "would be applied"
	}
	g.printf("%s %s %s\n", strings.ToLower(out.Kind), out.Name, verb)
	if out.Kind == "Rollout" && !dry {
		g.hint("watch it: sluice get rollout %s -w", out.Name)
	}
	return nil
}

func (g *globals) findings(raw json.RawMessage, src []byte) error {
	var list []plan.Finding
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("findings in the answer: %w", err)
	}
	if g.output == "json" {
		if err := g.json(map[string]any{"findings": list}); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			g.say("%s", plan.FormatFinding(f, string(src)))
		}
	}
	return exit(exitFindings, "")
}

func lintCmd(g *globals) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "lint -f FILE", Short: "Check a Rollout spec, offline", Args: cobra.NoArgs,
		Example: "  sluice lint -f rollout.yaml\n  sluice lint -f rollout.yaml -o json",
		RunE: func(*cobra.Command, []string) error {
			if file == "" {
				return exit(exitUsage, "error: lint needs -f FILE")
			}
			src, err := readFile(file, g.in)
			if err != nil {
				return err
			}
			p, list := plan.Parse(file, src)
			if g.output == "json" {
				if list == nil {
					list = []plan.Finding{}
				}
				if err := g.json(map[string]any{"ok": p != nil, "findings": list}); err != nil {
					return err
				}
			} else {
				for _, f := range list {
					g.printf("%s\n", plan.FormatFinding(f, string(src)))
				}
			}
			if p == nil {
				return exit(exitFindings, "")
			}
			if g.output != "json" {
				g.printf("%s: %s is fine, plan %s\n", file, p.Name, p.Digest)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "YAML file, - for standard input")
	return cmd
}

func getCmd(g *globals) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "get rollouts | get rollout NAME", Short: "List rollouts, or show one", Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeGet(g),
		Example:           "  sluice get rollouts\n  sluice get rollout spend7d-v15 -w\n  sluice get rollout spend7d-v15 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			switch kind := args[0]; {
			case len(args) == 1 && (kind == "rollouts" || kind == "rollout"):
				return g.list(cmd.Context(), c)
			case len(args) == 2 && (kind == "rollouts" || kind == "rollout"):
				switch {
				case watch && g.liveTerminal():
					return g.live(cmd.Context(), c, args[1])
				case watch:
					return g.watch(cmd.Context(), c, args[1])
				}
				return g.show(cmd.Context(), c, args[1])
			}
			return exit(exitUsage, "error: get what? want `sluice get rollouts` or `sluice get rollout NAME`")
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "follow until it is over: drawn in place on a terminal, else one line per change")
	return cmd
}

// completeGet completes the kind, then a live name.
func completeGet(g *globals) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return []string{"rollout", "rollouts"}, cobra.ShellCompDirectiveNoFileComp
		}
		return completeFirst(g.rolloutNames)(cmd, args[1:], to)
	}
}

func (g *globals) list(ctx context.Context, c *client.Client) error {
	var out struct {
		Rollouts []rolloutView `json:"rollouts"`
	}
	if g.output == "json" {
		raw, err := c.Raw(ctx, "GET", "/v1/rollouts", nil)
		if err != nil {
			return err
		}
		return g.json(json.RawMessage(raw))
	}
	if err := c.Get(ctx, "/v1/rollouts", &out); err != nil {
		return err
	}
	if len(out.Rollouts) == 0 {
		g.hint("no rollouts yet; submit one with: sluice apply -f rollout.yaml")
		return nil
	}
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tENV\tPHASE\tSTAGE\tEXPOSED\tSTARTED")
	for _, r := range out.Rollouts {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Env, r.Where, r.Stage, r.exposed(), when(r.Started))
	}
	return tw.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func (g *globals) show(ctx context.Context, c *client.Client, name string) error {
	v, raw, err := fetch(ctx, c, name)
	if err != nil {
		return err
	}
	if g.output == "json" {
		return g.json(raw)
	}
	s, p := v.Status.State, v.Status.Plan
	g.printf("%s   %s   %s exposed   env %s   owner %s\n%s\n\n", v.Name, strings.ToUpper(v.Where), v.exposed(), v.Env, p.Owner, v.Sentence)
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "STAGE\tEXPOSURE\tBAKE\tSTATUS")
	for i, st := range p.Stages {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", st.Name, report.Percent(st.Exposure), st.Bake, stageStatus(s, i))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	g.verdicts(v.Status)
	return nil
}

func stageStatus(s rollout.State, i int) string {
	switch {
	case i < s.Stage || s.Phase == rollout.Completed:
		return "● passed"
	case i > s.Stage:
		return "-"
	case s.Phase == rollout.RolledBack || s.Phase == rollout.RollingBack || s.Phase == rollout.RollbackIncomplete:
		return "■ taken back"
	case s.Phase.Terminal():
		return "○ " + strings.ToLower(string(s.Phase))
	case s.Phase == rollout.Paused:
		return "◆ " + report.Where(s)
	}
	return "► " + report.Where(s)
}

func (g *globals) verdicts(st rollout.Status) {
	if len(st.Report.Verdicts) == 0 {
		return
	}
	g.printf("\n")
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "GUARDRAIL\tLANE\tVERDICT\tBASELINE\tEXPOSED\tLIMIT\tN (b/e)")
	for _, v := range st.Report.Verdicts {
		lane := v.Value
		if lane == "" {
			lane = "total"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.4g\t%.4g\t%.4g %s\t%d/%d\n", v.Guardrail, lane, report.Mark(v.Result), v.Baseline, v.Exposed, v.Limit, v.Scale, v.NBaseline, v.NExposed)
	}
	_ = tw.Flush() // standard output is gone: nothing to do
}

// pollEvery is how often a following command asks.
const pollEvery = 250 * time.Millisecond

// follow calls see with each view until it says stop, the context ends or the time is over.
func follow(ctx context.Context, c *client.Client, name string, see func(rolloutView) (stop bool)) error {
	return followEvery(ctx, c, name, pollEvery, see)
}

func followEvery(ctx context.Context, c *client.Client, name string, every time.Duration, see func(rolloutView) (stop bool)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		v, _, err := fetch(ctx, c, name)
		if err != nil {
			return err
		}
		if see(v) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (g *globals) watch(ctx context.Context, c *client.Client, name string) error {
	last := ""
	return follow(ctx, c, name, func(v rolloutView) bool {
		key := fmt.Sprint(v.Where, v.Stage, v.Exposure)
		if key != last {
			last = key
			if g.output == "json" {
				_ = json.NewEncoder(g.out).Encode(v) // standard output is gone: the next write tells
			} else {
				g.printf("%s  %-28s %-10s %7s  %s\n", report.Clock(time.Now()), v.Where, v.Stage, v.exposed(), v.Sentence)
			}
		}
		return v.Phase.Terminal()
	})
}

func statusCmd(g *globals) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "status NAME", Short: "Say in one sentence where a rollout stands; the exit code says it too", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeFirst(g.rolloutNames),
		Example:           "  sluice status spend7d-v15\n  sluice status spend7d-v15 --timeout 2h   # wait for its end",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			var v rolloutView
			err = follow(ctx, c, args[0], func(got rolloutView) bool { v = got; return timeout == 0 || got.Phase.Terminal() })
			if errors.Is(err, context.DeadlineExceeded) {
				return exit(exitTimeout, "timeout: %s", v.Sentence)
			}
			if err != nil {
				return err
			}
			if g.output == "json" {
				if err := g.json(v); err != nil {
					return err
				}
			} else {
				g.printf("%s\n", v.Sentence)
			}
			return phaseCode(v.Status.State)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "wait this long for the end")
	return cmd
}

// phaseCode turns where a rollout stands into an exit code.
func phaseCode(s rollout.State) error {
	switch s.Phase {
	case rollout.RolledBack, rollout.RollingBack:
		return exit(exitRolledBack, "")
	case rollout.RollbackIncomplete:
		if s.SafeAt.IsZero() {
			return exit(exitNotSafe, "")
		}
		return exit(exitRolledBack, "") // exposure is proven off; what is late is the rest
	case rollout.Paused:
		switch s.Pause {
		case rollout.PauseBreach:
			return exit(exitRolledBack, "")
		case rollout.PauseInconclusive, rollout.PauseNoData, rollout.PauseProviderError:
			return exit(exitInconclusive, "")
		}
	}
	return nil
}

var actExamples = map[string]string{
	"promote": "  sluice promote spend7d-v15 --reason \"agreed with the owner\"\n  sluice promote spend7d-v15 --full --reason \"holiday is over\"",
	"pause":   "  sluice pause spend7d-v15 --reason \"incident 31 is open\"",
	"resume":  "  sluice resume spend7d-v15\n  sluice resume spend7d-v15 --reason \"the alarm was a broken sensor\"   # after a breach",
	"undo":    "  sluice undo spend7d-v15 --reason \"slower at month end\"\n  sluice status spend7d-v15   # Undoing k/n",
	"cancel":  "  sluice cancel spend7d-v15 --reason \"superseded by v16\"\n  sluice cancel spend7d-v15 --yes",
}

func actCmd(g *globals, verb, short string) *cobra.Command {
	var reason string
	var full, yes bool
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeFirst(g.rolloutNames),
		Example:           actExamples[verb],
		RunE: func(cmd *cobra.Command, args []string) error {
			if verb == "cancel" {
				if err := g.confirm(yes, fmt.Sprintf("cancelling ends rollout %s; whatever is exposed is rolled back", visible(args[0]))); err != nil {
					return err
				}
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			var v rolloutView
			body := map[string]any{"reason": reason}
			if full {
				body["full"] = true
			}
			if err := c.Post(cmd.Context(), "/v1/rollouts/"+url.PathEscape(args[0])+"/"+verb, body, &v); err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(v)
			}
			g.printf("%s\n", v.Sentence)
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	switch verb {
	case "promote":
		cmd.Flags().BoolVar(&full, "full", false, "straight to the last stage")
	case "cancel":
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	return cmd
}

func rollbackCmd(g *globals) *cobra.Command {
	var reason, until string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "rollback NAME", Aliases: []string{"abort"}, Short: "Take a rollout back and wait for the proof", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeFirst(g.rolloutNames),
		Example:           "  sluice rollback spend7d-v15\n  sluice rollback spend7d-v15 --for unwound --timeout 5m",
		RunE: func(cmd *cobra.Command, args []string) error {
			if until != "safe" && until != "unwound" {
				return exit(exitUsage, "error: --for %q: want safe or unwound", until)
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			if err := c.Post(cmd.Context(), "/v1/rollouts/"+url.PathEscape(args[0])+"/rollback", map[string]any{"reason": reason}, nil); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return g.awaitSafe(ctx, c, args[0], until)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	cmd.Flags().StringVar(&until, "for", "safe", "safe (no live component serves the candidate) or unwound (stores and writers too)")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	return cmd
}

func offCmd(g *globals) *cobra.Command {
	var reason string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "off ENV", Short: "Take everything exposed in an environment back, now, and wait for the proofs", Args: cobra.ExactArgs(1),
		Example: "  sluice off production --reason \"incident 31\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			var out struct {
				Rollouts []struct{ Name string } `json:"rollouts"`
			}
			if err := c.Post(cmd.Context(), "/v1/environments/"+url.PathEscape(args[0])+"/off", map[string]any{"reason": reason}, &out); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			var errs []error
			for _, r := range out.Rollouts {
				errs = append(errs, g.awaitSafe(ctx, c, r.Name, "safe"))
			}
			switch {
			case len(out.Rollouts) > 0:
			case g.output == "json":
				return g.json(out)
			default:
				g.printf("no rollout was open in %s\n", args[0])
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	return cmd
}

func (g *globals) awaitSafe(ctx context.Context, c *client.Client, name, until string) error {
	var v rolloutView
	err := follow(ctx, c, name, func(got rolloutView) bool {
		v = got
		if until == "safe" {
			return !got.Status.State.SafeAt.IsZero() || got.Phase.Terminal()
		}
		return got.Phase.Terminal()
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return exit(exitNotSafe, "NOT SAFE: %s", v.Sentence)
	}
	if err != nil {
		return err
	}
	if g.output == "json" {
		return g.json(v)
	}
	g.printf("%s\n", v.Sentence)
	return nil
}

func whyCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "why NAME", Short: "Say why a rollout stands where it stands, with the numbers", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeFirst(g.rolloutNames),
		Example:           "  sluice why spend7d-v15\n  sluice why spend7d-v15 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "GET", "/v1/rollouts/"+url.PathEscape(args[0])+"/why", nil)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(raw))
			}
			var out struct {
				Sentence string   `json:"sentence"`
				Basis    string   `json:"basis"`
				Lines    []string `json:"lines"`
				Verdicts []judge.Verdict
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				return err
			}
			g.printf("%s\n", out.Sentence)
			if out.Basis != "" {
				g.printf("%s\n", out.Basis)
			}
			quiet := 0
			for i, l := range out.Lines {
				if v := out.Verdicts[i]; v.Value != "" && v.Result == judge.Inconclusive {
					quiet++ // a value that shows nothing
					continue
				}
				g.printf("  %s\n", l)
			}
			if quiet > 0 {
				g.printf("  %d values of segments and sources show nothing; rank them with: sluice slices %s\n", quiet, args[0])
			}
			return nil
		},
	}
}

func proofCmd(g *globals) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "proof NAME", Short: "Write the proof of a rollout for offline checking", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeFirst(g.rolloutNames),
		Example:           "  sluice proof spend7d-v15 -f proof.json && sluice audit verify proof.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "GET", "/v1/rollouts/"+url.PathEscape(args[0])+"/proof", nil)
			if err != nil {
				return err
			}
			if file == "" {
				_, err = g.raw.Write(raw) // byte for byte: it is checked so
				return err
			}
			if err := os.WriteFile(file, raw, 0o644); err != nil {
				return err
			}
			g.hint("wrote %s; check it anywhere with: sluice audit verify %s", file, file)
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "file to write; standard output when absent")
	return cmd
}
