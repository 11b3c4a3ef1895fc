package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/report"
	"sluice.dev/sluice/internal/store"
)

// query joins a path with the environment chosen on the command line.
func (g *globals) query(path string) string {
	if g.env == "" {
		return path
	}
	return path + "?env=" + url.QueryEscape(g.env)
}

func componentCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "component", Short: "Components and what they serve", Example: "  sluice component list"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List components, their leases and acknowledged revisions", Args: cobra.NoArgs,
		Example: "  sluice component list\n  sluice component list --env staging -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "GET", g.query("/v1/components"), nil)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(raw))
			}
			var out struct {
				Components []struct {
					Component, Instance, Boot, Class, Status, Impl string
					Renewed                                        time.Time
					Acked                                          map[string]uint64
					Leases                                         []string
					Pins                                           slp.PinCounts
				}
				Clients []foreignClient
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				return err
			}
			tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
			fmt.Fprintln(tw, "COMPONENT\tINSTANCE\tCLASS\tSTATUS\tLAST SEEN\tLEASES\tACKED\tPINS MISSED/REVOKED\tBOOT")
			for _, m := range out.Components {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%.8s\n", m.Component, m.Instance, m.Class, m.Status, report.Clock(m.Renewed),
					strings.Join(m.Leases, ","), pairs(m.Acked), m.Pins.Missed, m.Pins.Revoked, m.Boot)
			}
			if err := tw.Flush(); err != nil {
				return err
			}
			return g.foreignClients(out.Clients)
		},
	})
	return cmd
}

// foreignClient is a caller of OFREP or flagd, which holds no lease.
type foreignClient struct {
	Class, Caller, Host, Delivery, Why string
	Seen                               time.Time
}

// foreignClients prints who evaluates without a lease, and what is known of what they serve.
func (g *globals) foreignClients(list []foreignClient) error {
	if len(list) == 0 {
		return nil
	}
	g.printf("\nwithout a lease:\n")
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "CLASS\tCALLER\tHOST\tLAST SEEN\tDELIVERY\tWHY")
	for _, c := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Class, c.Caller, c.Host, report.Clock(c.Seen), c.Delivery, c.Why)
	}
	return tw.Flush()
}

func pairs(m map[string]uint64) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"@"+strconv.FormatUint(v, 10))
	}
	return strings.Join(out, ",")
}

func flagCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "flag", Short: "Feature flags", Example: "  sluice flag get\n  sluice flag eval spend7d --unit account-17"}
	cmd.AddCommand(flagGetCmd(g), flagEvalCmd(g), flagWhyCmd(g), flagImportCmd(g), flagExportCmd(g), flagKillCmd(g, "kill", "Switch a flag off for everybody; no rollback revives it"), flagKillCmd(g, "revive", "Take a kill switch back"))
	return cmd
}

func flagGetCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "get [KEY]", Short: "List flags, or show one", Args: cobra.MaximumNArgs(1),
		Example:           "  sluice flag get\n  sluice flag get spend7d",
		ValidArgsFunction: completeFirst(g.flagKeys),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				raw, err := c.Raw(cmd.Context(), "GET", g.query("/v1/flags/"+url.PathEscape(args[0])), nil)
				if err != nil {
					return err
				}
				return g.json(json.RawMessage(raw))
			}
			raw, err := c.Raw(cmd.Context(), "GET", g.query("/v1/flags"), nil)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(raw))
			}
			var out struct {
				Revision uint64
				Flags    []struct {
					Key, Scope string
					Killed     bool
					Flag       struct{ Type, Default string }
				}
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				return err
			}
			tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
			fmt.Fprintln(tw, "KEY\tTYPE\tDEFAULT\tSCOPE\tKILLED")
			for _, f := range out.Flags {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%v\n", f.Key, f.Flag.Type, f.Flag.Default, f.Scope, f.Killed)
			}
			return tw.Flush()
		},
	}
}

func flagEvalCmd(g *globals) *cobra.Command {
	var unit string
	var attrs []string
	var at string
	cmd := &cobra.Command{
		Use: "eval KEY", Short: "Evaluate a flag for a unit and say why", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeFirst(g.flagKeys),
		Example:           "  sluice flag eval spend7d --unit account-17 --attr region=eu --attr orders=12\n  sluice flag eval spend7d --unit account-17 --at 41\n  sluice flag eval spend7d --unit account-17 --at 2026-11-24T18:00:00Z",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			body, err := evaluateBody(unit, at, attrs)
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
			var r struct {
				Key, Variant, Reason, Rule, Arm, Cohort string
				Value                                   json.RawMessage
				Revision                                uint64
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			g.printf("%s = %s (variant %s)\nreason %s %s %s %s, revision %d\n", r.Key, r.Value, r.Variant, r.Reason, r.Rule, r.Arm, r.Cohort, r.Revision)
			return nil
		},
	}
	cmd.Flags().StringVar(&unit, "unit", "", "targeting key")
	cmd.Flags().StringArrayVar(&attrs, "attr", nil, "attribute name=value; numbers and true/false are typed, quote to keep a string")
	cmd.Flags().StringVar(&at, "at", "", "revision, or a time like 2026-11-24T18:00:00Z; the head when absent")
	return cmd
}

// scalar types an attribute as people mean it: a number, a boolean, else a string; "12" in quotes stays a string.
func scalar(v string) any {
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		return f
	}
	if v == "true" || v == "false" {
		return v == "true"
	}
	if s, err := strconv.Unquote(v); err == nil {
		return s
	}
	return v
}

// done says what a kill switch did.
var done = map[string]string{"kill": "killed for everybody", "revive": "serves by its rules again"}

func flagKillCmd(g *globals, verb, short string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " KEY", Short: short, Args: cobra.ExactArgs(1),
		Example:           "  sluice flag " + verb + " spend7d --reason \"incident 31\"",
		ValidArgsFunction: completeFirst(g.flagKeys),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "POST", g.query("/v1/flags/"+url.PathEscape(args[0])+"/"+verb), map[string]any{"reason": reason})
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(raw))
			}
			g.printf("flag %s: %s\n", args[0], done[verb])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	return cmd
}

func auditCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "The record log and its proofs", Example: "  sluice audit log --rollout spend7d-v15\n  sluice audit verify proof.json"}
	cmd.AddCommand(auditLogCmd(g), auditVerifyCmd(g), auditExportCmd(g))
	return cmd
}

func (g *globals) eachRecord(ctx context.Context, rollout string, see func(audit.Record) error) error {
	c, err := g.client()
	if err != nil {
		return err
	}
	for after := uint64(0); ; {
		var page struct {
			Records []audit.Record
			Next    uint64
		}
		if err := c.Get(ctx, fmt.Sprintf("/v1/audit?limit=500&after=%d&rollout=%s", after, url.QueryEscape(rollout)), &page); err != nil {
			return err
		}
		for _, r := range page.Records {
			if err := see(r); err != nil {
				return err
			}
		}
		if page.Next == 0 {
			return nil
		}
		after = page.Next
	}
}

func auditLogCmd(g *globals) *cobra.Command {
	var rollout string
	cmd := &cobra.Command{
		Use: "log", Short: "Print the record log", Args: cobra.NoArgs,
		Example: "  sluice audit log\n  sluice audit log --rollout spend7d-v15 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if g.output == "json" {
				return g.eachRecord(cmd.Context(), rollout, func(r audit.Record) error { return json.NewEncoder(g.out).Encode(r) })
			}
			tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
			fmt.Fprintln(tw, "SEQ\tAT\tKIND\tROLLOUT\tREVISION\tACTOR\tREASON")
			err := g.eachRecord(cmd.Context(), rollout, func(r audit.Record) error {
				_, err := fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Seq, when(r.At), r.Kind, r.Rollout, number(r.Rev), r.Actor, r.Reason)
				return err
			})
			if err != nil {
				return err
			}
			return tw.Flush()
		},
	}
	cmd.Flags().StringVar(&rollout, "rollout", "", "only this rollout")
	return cmd
}

func number(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

func auditExportCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Write every record as JSON lines", Args: cobra.NoArgs,
		Example: "  sluice audit export > records.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			enc := json.NewEncoder(g.out)
			return g.eachRecord(cmd.Context(), "", func(r audit.Record) error { return enc.Encode(r) })
		},
	}
}

func auditVerifyCmd(g *globals) *cobra.Command {
	var data, key string
	cmd := &cobra.Command{
		Use: "verify [PROOF]", Short: "Check a proof file offline, a data directory, or the running server's log", Args: cobra.MaximumNArgs(1),
		Example: "  sluice audit verify proof.json\n  sluice audit verify --data ./sluice-data   # server stopped\n  sluice audit verify                        # ask the server",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 1:
				return g.verifyProof(args[0], key)
			case data != "":
				return g.verifyData(cmd.Context(), data)
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			var out struct{ Records uint64 }
			if err := c.Get(cmd.Context(), "/v1/audit/verify", &out); err != nil {
				return err
			}
			return g.verified(out.Records)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "check the log in this data directory")
	cmd.Flags().StringVar(&key, "key", "", "verifier key that the proof must be signed with")
	return cmd
}

func (g *globals) verifyProof(file, key string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var trusted []string
	if key != "" {
		trusted = append(trusted, key)
	}
	rep, err := audit.VerifyProof(doc, trusted...)
	if err != nil {
		return exit(exitError, "NOT VALID: %v", err)
	}
	if g.output == "json" {
		return g.json(map[string]any{"valid": true, "rollout": rep.Rollout, "records": len(rep.Records), "key": rep.Key, "trusted": rep.Trusted, "logSize": rep.Head.Size})
	}
	g.printf("valid: %d records of rollout %s in a log of %d, signed by %s\n", len(rep.Records), rep.Rollout, rep.Head.Size, rep.Key)
	if !rep.Trusted {
		g.hint("the signer is not checked; pass --key with the key you trust")
	}
	return nil
}

func tokenCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "API tokens", Example: "  sluice token create checkout-api --role component --env production\n  sluice token list"}
	cmd.AddCommand(tokenCreateCmd(g), tokenListCmd(g), tokenRevokeCmd(g))
	return cmd
}

func tokenCreateCmd(g *globals) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a token; its secret is shown once", Args: cobra.ExactArgs(1),
		Example: "  sluice token create checkout-api --role component --env production",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			var out struct {
				ID     string `json:"id"`
				Name   string `json:"name"`
				Role   string `json:"role"`
				Env    string `json:"env,omitempty"`
				Secret string `json:"secret"`
			}
			body := map[string]any{"name": args[0], "role": role}
			if g.env != "" {
				body["env"] = g.env
			}
			if err := c.Post(cmd.Context(), "/v1/tokens", body, &out); err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(out)
			}
			g.say("token %s (%s, role %s), shown this once:", out.Name, out.ID, out.Role)
			g.printf("%s\n", out.Secret)
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "viewer", "admin, operator, oncall, viewer, component or client")
	return cmd
}

func tokenListCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens", Args: cobra.NoArgs,
		Example: "  sluice token list\n  sluice token list -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			raw, err := c.Raw(cmd.Context(), "GET", "/v1/tokens", nil)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(json.RawMessage(raw))
			}
			var out struct {
				Tokens []struct {
					ID, Name, Role, Env string
					Created             time.Time
					Revoked             *time.Time
				}
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				return err
			}
			tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
			fmt.Fprintln(tw, "ID\tNAME\tROLE\tENV\tCREATED\tREVOKED")
			for _, t := range out.Tokens {
				revoked := "-"
				if t.Revoked != nil {
					revoked = when(*t.Revoked)
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, t.Role, t.Env, when(t.Created), revoked)
			}
			return tw.Flush()
		},
	}
}

func tokenRevokeCmd(g *globals) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token", Args: cobra.ExactArgs(1),
		Example: "  sluice token list\n  sluice token revoke 3f9c1a2b4d5e",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := g.confirm(yes, fmt.Sprintf("revoking token %s shuts out whoever uses it, at once and for good", visible(args[0]))); err != nil {
				return err
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			return c.Do(cmd.Context(), "DELETE", "/v1/tokens/"+url.PathEscape(args[0]), nil, nil)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// verifyData checks the log in a data directory whose server is stopped.
func (g *globals) verifyData(ctx context.Context, dir string) error {
	s, err := store.OpenSQLite(ctx, dir)
	var damage *audit.Damage
	switch {
	case errors.Is(err, store.ErrCorrupt), errors.As(err, &damage):
		return exit(exitError, "NOT VALID: %v", err)
	case err != nil:
		return err
	}
	n, verr := app.VerifyStore(ctx, s)
	if err := s.Close(); err != nil {
		return err
	}
	if verr != nil {
		return exit(exitError, "NOT VALID: %v", verr)
	}
	return g.verified(n)
}

func (g *globals) verified(records uint64) error {
	if g.output == "json" {
		return g.json(map[string]any{"valid": true, "records": records})
	}
	g.printf("log verified: %d records\n", records)
	return nil
}
