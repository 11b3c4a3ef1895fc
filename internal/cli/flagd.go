package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func flagExportCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Write all flags as flagd's JSON", Args: cobra.NoArgs,
		Example: "  sluice flag export\n  sluice flag export --env staging",
		Long: "Write all flags of an environment as flagd's JSON, for flagd and its in-process providers. Rules, exceptions and segments become\n" +
			"targeting. A flag with an open rollout shows its stable variant: whoever reads a file holds no lease.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "GET", g.query("/v1/flags/export"), nil)
			if err != nil {
				return err
			}
			return g.json(json.RawMessage(raw))
		},
	}
}

func flagImportCmd(g *globals) *cobra.Command {
	var dryRun bool
	var reason string
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Create or replace flags from flagd's JSON, all or none", Args: cobra.ExactArgs(1),
		Example: "  sluice flag import flags.json --dry-run\n  sluice flag import flags.json --reason \"from flagd\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readInput(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			q := url.Values{"reason": {reason}}
			if g.env != "" {
				q.Set("env", g.env)
			}
			if dryRun {
				q.Set("dryRun", "true")
			}
			answer, err := c.Raw(cmd.Context(), "POST", "/v1/flags/import?"+q.Encode(), json.RawMessage(raw))
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(answer))
			}
			return g.imported(answer, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	return cmd
}

// readInput reads a file, or standard input for "-".
func readInput(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

func (g *globals) imported(answer []byte, dryRun bool) error {
	var out struct {
		Flags    []struct{ Key, Change string }
		Revision uint64
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "KEY\tCHANGE")
	for _, f := range out.Flags {
		fmt.Fprintf(tw, "%s\t%s\n", f.Key, f.Change)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if dryRun {
		g.hint("nothing was changed; leave --dry-run out to import")
		return nil
	}
	g.printf("revision %d\n", out.Revision)
	return nil
}
