package cli

import (
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/report"
)

// environmentView is what the CLI reads of GET /v1/environments/{env}.
type environmentView struct {
	Name     string `json:"name"`
	Revision uint64 `json:"revision"`
	Digest   string `json:"digest"`
	Amnesia  *struct {
		Instance string    `json:"instance"`
		Epoch    uint64    `json:"epoch"`
		Rev      uint64    `json:"rev"`
		At       time.Time `json:"at"`
	} `json:"amnesia,omitempty"`
}

func recoverCmd(g *globals) *cobra.Command {
	var reason string
	var adopt, yes bool
	cmd := &cobra.Command{
		Use: "recover ENV", Short: "Say whether the server has forgotten something, and go on from what it holds", Args: cobra.ExactArgs(1),
		Long: "A server whose store was restored from an old backup meets members that hold newer revisions signed by its own key. It then grants\n" +
			"and writes nothing in that environment; rollbacks are still accepted. Bring back the newest store, or let what this one holds\n" +
			"become the truth with --adopt: it gets numbers above everything members have seen, and what was exposed is taken back.",
		Example: "  sluice recover production\n  sluice recover production --adopt --reason \"the newer store is lost\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			path := "/v1/environments/" + url.PathEscape(args[0])
			var v environmentView
			if adopt {
				if err := g.confirm(yes, "adopting makes the store of this server the truth; newer revisions are given up"); err != nil {
					return err
				}
				err = c.Post(cmd.Context(), path+"/adopt", map[string]any{"reason": reason}, &v)
			} else {
				err = c.Get(cmd.Context(), path, &v)
			}
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(v)
			}
			if v.Amnesia == nil {
				g.printf("%s stands at revision %d; nothing is known to be forgotten\n", v.Name, v.Revision)
				return nil
			}
			g.printf("AMNESIA: %s stands at revision %d; %s holds revision %d signed by this server (since %s)\n", v.Name, v.Revision, v.Amnesia.Instance, v.Amnesia.Rev, report.Clock(v.Amnesia.At))
			return nil
		},
	}
	cmd.Flags().BoolVar(&adopt, "adopt", false, "make what this server holds the truth")
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
