package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sdk/flag"
)

// evaluateBody is the request to evaluate for a unit at a revision or a time.
func evaluateBody(unit, at string, attrs []string) (map[string]any, error) {
	attributes := map[string]any{}
	for _, kv := range attrs {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, exit(exitUsage, "error: --attr %q: want name=value", kv)
		}
		attributes[k] = scalar(v)
	}
	body := map[string]any{"targetingKey": unit, "attributes": attributes}
	if at == "" {
		return body, nil
	}
	if rev, err := strconv.ParseUint(at, 10, 64); err == nil {
		body["at"] = rev
		return body, nil
	}
	when, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return nil, exit(exitUsage, "error: --at %q: want a revision, or a time like 2026-11-24T18:00:00Z", at)
	}
	body["atTime"] = when
	return body, nil
}

func flagWhyCmd(g *globals) *cobra.Command {
	var unit, at string
	var attrs []string
	cmd := &cobra.Command{
		Use: "why KEY", Short: "Everything that may decide about a flag for a unit, in order", Args: cobra.ExactArgs(1),
		Example: "  sluice flag why spend7d --unit account-17 --attr region=eu",
		Long: "Show everything that may decide about a flag, in the one order of precedence: kill switch, disabled, exclusions, exceptions by id,\n" +
			"rules in order, targeting, the open rollout, the default. The first that matches decides.",
		ValidArgsFunction: completeFirst(g.flagKeys),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := evaluateBody(unit, at, attrs)
			if err != nil {
				return err
			}
			body["why"] = true
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "POST", g.query("/v1/flags/"+url.PathEscape(args[0])+"/evaluate"), body)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(raw))
			}
			return g.why(raw)
		},
	}
	cmd.Flags().StringVar(&unit, "unit", "", "targeting key")
	cmd.Flags().StringArrayVar(&attrs, "attr", nil, "attribute name=value; numbers and true/false are typed, quote to keep a string")
	cmd.Flags().StringVar(&at, "at", "", "revision, or a time like 2026-11-24T18:00:00Z; the head when absent")
	return cmd
}

func (g *globals) why(raw []byte) error {
	var r struct {
		Key, Variant, Reason string
		Value                json.RawMessage
		Revision             uint64
		Steps                []flag.Step
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	g.printf("%s = %s (variant %s), reason %s, revision %d\n\n", r.Key, r.Value, r.Variant, r.Reason, r.Revision)
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "KIND\tNAME\tMATCHES\tWOULD SERVE\t")
	for _, s := range r.Steps {
		matches, mark := "no", ""
		if s.Holds {
			matches = "yes"
		}
		if s.Decides {
			mark = "<- decides"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", s.Kind, s.Name, matches, s.Serves, mark)
	}
	return tw.Flush()
}
