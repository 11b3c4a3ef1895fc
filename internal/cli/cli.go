// Package cli holds the commands of the sluice binary. Data goes to standard output, messages to standard error; exit
// codes are stable and listed in `sluice help exit-codes`.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/client"
)

// Exit codes. Unknown means failure.
const (
	exitOK           = 0
	exitError        = 1
	exitUsage        = 2
	exitFindings     = 3
	exitRolledBack   = 5
	exitInconclusive = 6
	exitTimeout      = 7
	exitDenied       = 8
	exitNotSafe      = 10
	exitInterrupted  = 130
)

// exitNames are the codes of errors that have no code of their own.
var exitNames = map[int]string{
	exitError: "error", exitUsage: "usage", exitFindings: "findings", exitRolledBack: "rolled-back", exitInconclusive: "inconclusive",
	exitTimeout: "timeout", exitDenied: "denied", exitNotSafe: "not-safe", exitInterrupted: "interrupted",
}

const exitCodesHelp = `Exit codes:
    0  done
    1  error
    2  usage
    3  lint or validation findings
    5  verdict fail, or rolled back
    6  inconclusive or no data
    7  timeout
    8  denied
   10  NOT SAFE: a rollback is not proven in time
  130  interrupted`

// coded is an error with an exit code. An empty text prints nothing: the command has said what there is to say.
type coded struct {
	code int
	text string
}

func (c *coded) Error() string { return c.text }

func exit(code int, format string, args ...any) error {
	return &coded{code: code, text: fmt.Sprintf(format, args...)}
}

// globals are the flags of every command, and where it reads and writes.
type globals struct {
	server, token, env, output string
	color                      string
	noColor, ascii, quiet      bool

	in       io.Reader
	raw      io.Writer // standard output as it is, for bytes that must stay what they are
	out, err *screen
	names    []string // arguments of the command, for "did you mean"
}

// Main runs the command line and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g := &globals{in: in, raw: out, out: newScreen(out), err: newScreen(errw), output: outputAsked(args)}
	root := newRoot(g)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(g.out)
	root.SetErr(g.err)
	return g.code(ctx, root.ExecuteContext(ctx))
}

// outputAsked finds -o before the flags are parsed, so that an error of parsing them has the right form too.
func outputAsked(args []string) string {
	for i, a := range args {
		switch {
		case (a == "-o" || a == "--output") && i+1 < len(args):
			return args[i+1]
		case strings.HasPrefix(a, "-o"), strings.HasPrefix(a, "--output="):
			return strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(a, "--output="), "-o"), "=")
		}
	}
	return "table"
}

func (g *globals) code(ctx context.Context, err error) int {
	var c *coded
	var p *client.Problem
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &c):
		g.complain(c.code, "", c.text, "")
		return c.code
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &p):
		return g.problem(ctx, p)
	case errors.Is(err, client.ErrUnreachable):
		g.complain(exitError, "server.unreachable", "error: "+err.Error(), "start one with `sluice serve`, or name it with --server or SLUICE_SERVER")
		return exitError
	}
	g.complain(exitError, "", "error: "+err.Error(), "")
	return exitError
}

// failure is an error that did not come from the server, as JSON on standard error.
type failure struct {
	Detail   string `json:"detail"`
	Code     string `json:"code"`
	Fix      string `json:"fix,omitempty"`
	ExitCode int    `json:"exitCode"`
}

// complain says an error in the form that was asked for. An empty text says nothing: the command has said it.
func (g *globals) complain(exitCode int, code, text, fix string) {
	switch {
	case text == "":
	case g.output == "json":
		if code == "" {
			code = exitNames[exitCode]
		}
		_ = json.NewEncoder(g.err).Encode(failure{Detail: strings.TrimPrefix(text, "error: "), Code: code, Fix: fix, ExitCode: exitCode}) // standard error is gone: nothing to do
	default:
		g.say("%s", text)
		if fix != "" {
			g.say("  to mend it: %s", fix)
		}
	}
}

func (g *globals) problem(ctx context.Context, p *client.Problem) int {
	switch p.Code {
	case "token.invalid":
		p.Fix = "pass a token with --token or SLUICE_TOKEN; the server printed the admin token once, at its first start"
	case "rollout.unknown":
		if near := g.nearRollout(ctx); near != "" {
			p.Fix = fmt.Sprintf("did you mean %s? %s", near, p.Fix)
		}
	}
	if g.output == "json" {
		_ = json.NewEncoder(g.err).Encode(p) // standard error is gone: nothing to do
	} else {
		g.say("error: %v", p)
	}
	switch {
	case p.Code == "denied" || p.Code == "token.invalid":
		return exitDenied
	case p.Findings != nil || len(p.Errors) > 0 || strings.HasPrefix(p.Code, "spec."):
		return exitFindings
	}
	return exitError
}

// say tells a person something on standard error.
func (g *globals) say(format string, args ...any) { fmt.Fprintf(g.err, format+"\n", args...) }

// hint is what --quiet leaves out.
func (g *globals) hint(format string, args ...any) {
	if !g.quiet {
		g.say(format, args...)
	}
}

func (g *globals) printf(format string, args ...any) { fmt.Fprintf(g.out, format, args...) }

// json prints v as indented JSON.
func (g *globals) json(v any) error {
	enc := json.NewEncoder(g.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (g *globals) client() (*client.Client, error) { return client.New(g.server, g.token) }

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Progressive, proven rollouts of ML features",
		Long: "Sluice puts a new ML feature in front of a growing share of traffic, watches the whole pipeline and takes it back\n" +
			"by itself, exactly and provably, when something gets worse.",
		Example:       "  sluice demo\n  sluice serve --data ./sluice-data\n  sluice apply -f rollout.yaml && sluice get rollout NAME -w",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	globalFlags(root, g)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exit(exitUsage, "error: %v\n  see: %s --help", err, c.CommandPath())
	})
	root.AddCommand(
		serveCmd(g), demoCmd(g), componentProcessCmd(g), applyCmd(g), lintCmd(g), explainCmd(g), g.linked(getCmd(g)), g.linked(statusCmd(g)),
		actCmd(g, "promote", "End the current stage now and go on"), actCmd(g, "pause", "Hold the rollout where it is"),
		actCmd(g, "resume", "Go on after a pause"), actCmd(g, "cancel", "End a rollout; rolls back if anything is exposed"),
		actCmd(g, "undo", "Put the earlier variant back after completion"), rollbackCmd(g), offCmd(g), g.linked(whyCmd(g)), slicesCmd(g), profileCmd(g), tuneCmd(g), judgeCmd(g), proofCmd(g), componentCmd(g), flagCmd(g), auditCmd(g), tokenCmd(g), benchCmd(g), backupCmd(g), restoreCmd(g), doctorCmd(g), versionCmd(g),
		agentCmd(g), execCmd(g), exitCodesCmd(g),
		recoverCmd(g),
	)
	root.SetHelpTemplate(helpTemplate)
	usageErrors(root)
	return root
}

// helpTemplate puts examples first: most readers look for the line to copy.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}
{{end}}{{if .HasExample}}
Examples:
{{.Example}}
{{end}}{{if or .Runnable .HasSubCommands}}
Usage:{{if and .Runnable (not .HasAvailableSubCommands)}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}
{{if .HasAvailableSubCommands}}
Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableInheritedFlags}}
Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{end}}`

func globalFlags(root *cobra.Command, g *globals) {
	f := root.PersistentFlags()
	f.StringVar(&g.server, "server", env("SLUICE_SERVER", "http://127.0.0.1:7070"), "server address (SLUICE_SERVER)")
	f.Lookup("server").DefValue = "http://127.0.0.1:7070"
	f.StringVar(&g.token, "token", os.Getenv("SLUICE_TOKEN"), "API token (SLUICE_TOKEN)")
	f.Lookup("token").DefValue = "" // a secret is not printed
	f.StringVar(&g.env, "env", os.Getenv("SLUICE_ENV"), "environment; the server's default when empty (SLUICE_ENV)")
	f.Lookup("env").DefValue = ""
	f.StringVarP(&g.output, "output", "o", g.output, "table or json")
	f.Lookup("output").DefValue = "table"
	f.StringVar(&g.color, "color", "auto", "auto, always or never; NO_COLOR and TERM=dumb mean never")
	f.BoolVar(&g.noColor, "no-color", false, "the same as --color=never")
	f.BoolVar(&g.ascii, "ascii", false, "print nothing but ASCII")
	f.BoolVarP(&g.quiet, "quiet", "q", false, "no hints, only results and errors")
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		g.names = args
		if forms := outputsOf(cmd); !slices.Contains(forms, g.output) {
			asked := g.output
			g.output = "table"
			return exit(exitUsage, "error: --output %q: want %s", asked, strings.Join(forms, " or "))
		}
		return g.look()
	}
}

// moreOutputs is the annotation that names the forms a command has beside table and JSON, with spaces between.
const moreOutputs = "outputs"

func outputsOf(cmd *cobra.Command) []string {
	return append([]string{"table", "json"}, strings.Fields(cmd.Annotations[moreOutputs])...)
}

// look decides how both outputs look.
func (g *globals) look() error {
	if g.noColor {
		g.color = "never"
	}
	switch g.color {
	case "auto", "always", "never":
	default:
		return exit(exitUsage, "error: --color %q: want auto, always or never", g.color)
	}
	for _, s := range []*screen{g.out, g.err} {
		s.ascii, s.json = g.ascii, g.output == "json"
		s.color = !s.json && (g.color == "always" || g.color == "auto" && s.terminal() && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	}
	return nil
}

// usageErrors gives wrong arguments and unknown commands the exit code of usage.
func usageErrors(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			near := ""
			cmd.SuggestionsMinimumDistance = 2
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				near = fmt.Sprintf("\n  did you mean: %s %s", cmd.CommandPath(), s[0])
			}
			return exit(exitUsage, "error: unknown command %q%s\n  see: %s --help", args[0], near, cmd.CommandPath())
		}
	} else if args := c.Args; args != nil {
		c.Args = func(cmd *cobra.Command, a []string) error {
			if err := args(cmd, a); err != nil {
				return exit(exitUsage, "error: %v\n  see: %s --help", err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

func exitCodesCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "exit-codes", Short: "List the exit codes", Args: cobra.NoArgs,
		Example: "  sluice exit-codes",
		RunE: func(*cobra.Command, []string) error {
			g.printf("%s\n", exitCodesHelp)
			return nil
		},
	}
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// version is set by the build; without it the module's own version is told.
var version = ""

// Version names this build.
func Version() string {
	if version != "" {
		return version
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return bi.Main.Version
	}
	return "0.1.0-dev"
}

func versionCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  sluice version\n  sluice version -o json",
		RunE: func(*cobra.Command, []string) error {
			if g.output == "json" {
				return g.json(map[string]string{"version": Version()})
			}
			g.printf("sluice %s\n", Version())
			return nil
		},
	}
}
