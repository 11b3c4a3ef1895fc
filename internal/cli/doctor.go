package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/client"
)

// finding is one line of `sluice doctor`.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

func doctorCmd(g *globals) *cobra.Command {
	var at place
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check that this machine and the server fit together", Args: cobra.NoArgs,
		Example: "  sluice doctor\n  sluice doctor --data ./sluice-data\n  sluice doctor --db postgres://sluice@db/sluice\n  sluice doctor -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			list := g.examine(ctx, c)
			if cmd.Flags().Changed("data") {
				list = append(list, examineData(cmd.Context(), at.data)...)
			}
			if db := at.shared(cmd); db != "" {
				list = append(list, examineDatabase(cmd.Context(), db)...)
			}
			return g.tellFindings(list)
		},
	}
	at.flags(cmd)
	cmd.Flags().Lookup("data").Usage = "also check a server's data directory"
	cmd.Flags().Lookup("data").DefValue = ""
	cmd.Flags().Lookup("db").Usage = "also check the PostgreSQL database that servers share (SLUICE_DB)"
	return cmd
}

func (g *globals) tellFindings(list []finding) error {
	bad := false
	for _, f := range list {
		bad = bad || !f.OK
		if g.output == "json" {
			continue
		}
		mark := "● ok  "
		if !f.OK {
			mark = "■ fail"
		}
		g.printf("%s  %-8s %s\n", mark, f.Check, f.Detail)
		if f.Fix != "" {
			g.printf("        to mend it: %s\n", f.Fix)
		}
	}
	if g.output == "json" {
		if err := g.json(map[string]any{"ok": !bad, "checks": list}); err != nil {
			return err
		}
	}
	if bad {
		return exit(exitError, "")
	}
	return nil
}

// examine asks the server for its version, its time and whether it knows the token.
func (g *globals) examine(ctx context.Context, c *client.Client) []finding {
	sent := time.Now()
	status, date, err := c.Ping(ctx)
	if err != nil {
		return []finding{{Check: "server", Detail: err.Error(), Fix: "start one with `sluice serve`, or name it with --server or SLUICE_SERVER"}}
	}
	took := time.Since(sent)
	list := []finding{{Check: "server", OK: status == http.StatusOK, Detail: fmt.Sprintf("%s answers %d after %s", g.server, status, took.Round(time.Millisecond))}}
	list = append(list, g.examineVersion(ctx, c), examineClock(date, sent, took))
	return append(list, examineToken(ctx, c))
}

func (g *globals) examineVersion(ctx context.Context, c *client.Client) finding {
	var v struct{ Version string }
	if err := c.Get(ctx, "/v1/version", &v); err != nil {
		return finding{Check: "version", Detail: err.Error()}
	}
	f := finding{Check: "version", OK: true, Detail: fmt.Sprintf("server %s, this command %s", v.Version, Version())}
	if v.Version != Version() {
		f.Fix = "not wrong, but use the same version where answers look odd"
	}
	return f
}

// maxSkew is how far this machine's clock may be from the server's before times on the screen mislead. Leases do not
// depend on it: they run on each machine's own monotonic clock.
const maxSkew = 2 * time.Second

func examineClock(date string, sent time.Time, took time.Duration) finding {
	at, err := http.ParseTime(date)
	if err != nil {
		return finding{Check: "clock", Detail: "the server sent no date"}
	}
	// The header has whole seconds: the server's time lies in [at, at+1s), read between sent and sent+took.
	skew := time.Duration(0)
	if early := sent.Sub(at.Add(time.Second)); early > 0 {
		skew = early
	} else if late := at.Sub(sent.Add(took)); late > 0 {
		skew = -late
	}
	f := finding{Check: "clock", OK: skew.Abs() <= maxSkew, Detail: "agrees with the server's to a second"}
	if skew != 0 {
		f.Detail = fmt.Sprintf("differs from the server's by at least %s", skew.Round(time.Millisecond))
	}
	if !f.OK {
		f.Fix = "set one of the clocks (NTP); leases are not affected, times on the screen are"
	}
	return f
}

func examineToken(ctx context.Context, c *client.Client) finding {
	if err := c.Get(ctx, "/v1/rollouts", nil); err != nil {
		return finding{Check: "token", Detail: err.Error()}
	}
	return finding{Check: "token", OK: true, Detail: "accepted"}
}
