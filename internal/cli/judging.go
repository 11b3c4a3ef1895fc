package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/judge"
)

func slicesCmd(g *globals) *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use: "slices NAME", Short: "Rank segment and source values by their evidence of harm", Args: cobra.ExactArgs(1),
		Long: "FOUND marks slices held to a false-discovery rate of 5 % over all guardrails, segments and sources. Below stands how each\n" +
			"guardrail's effect goes with exposure, and what that lets expect of the next stage.",
		Example: "  sluice slices spend7d-v15\n  sluice slices spend7d-v15 --most 50 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "GET", "/v1/rollouts/"+url.PathEscape(args[0])+"/slices", nil)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(raw))
			}
			var out struct {
				Slices    []judge.Slice
				Responses []judge.Response
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				return err
			}
			if len(out.Slices) == 0 {
				g.say("no always-valid guardrail has judged anything yet")
				return nil
			}
			if err := g.slices(out.Slices[:min(most, len(out.Slices))]); err != nil {
				return err
			}
			for _, r := range out.Responses {
				g.printf("%s\n", r.Text)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&most, "most", 15, "lines at the most")
	return cmd
}

func (g *globals) slices(list []judge.Slice) error {
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "GUARDRAIL\tSLICE\tln E\tBASELINE\tEXPOSED\tLIMIT\tN (b/e)\tFOUND\tSAME AS")
	for _, s := range list {
		slice, same := s.Value, ""
		if slice == "" {
			slice = "total"
		}
		for _, v := range s.Same {
			same += v.Value + " "
		}
		found := ""
		if s.Discovered {
			found = "yes"
		}
		fmt.Fprintf(tw, "%s\t%s\t%.2f\t%.4g\t%.4g\t%.4g %s\t%d/%d\t%s\t%s\n", s.Guardrail, slice, s.LogE, s.Baseline, s.Exposed, s.Limit, s.Scale, s.NBaseline, s.NExposed, found, same)
	}
	return tw.Flush()
}

func judgeCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "judge", Short: "Judge stored evidence again", Example: "  sluice judge replay spend7d-v15"}
	cmd.AddCommand(&cobra.Command{
		Use: "replay NAME", Short: "Judge a rollout's stored evidence again and compare each decision, bit for bit", Args: cobra.ExactArgs(1),
		Example: "  sluice judge replay spend7d-v15",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "GET", "/v1/rollouts/"+url.PathEscape(args[0])+"/replay", nil)
			if err != nil {
				return err
			}
			var r struct {
				Seconds, Decisions, Hard int
				Differs                  []uint64
				State, Stored            string
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			if g.output == "json" {
				if err := g.json(json.RawMessage(raw)); err != nil {
					return err
				}
			} else {
				g.printf("%d seconds judged again, %d decisions compared, %d differ; %d hard trips rest on evidence kept with them\nstate %s\n",
					r.Seconds, r.Decisions, len(r.Differs), r.Hard, r.State)
			}
			if len(r.Differs) > 0 || (r.Stored != "" && r.Stored != r.State) {
				return exit(exitError, "NOT THE SAME: records %v; stored state %s", r.Differs, r.Stored)
			}
			return nil
		},
	})
	return cmd
}
