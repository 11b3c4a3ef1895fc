package cli

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/policy"
)

func serveCmd(g *globals) *cobra.Command {
	var cfg app.Config
	var verbose bool
	var anonymous string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Example: "  sluice serve\n  sluice serve --data /var/lib/sluice --listen 127.0.0.1:7070 --env-name production --env-name staging\n" +
			"  sluice serve --db postgres://sluice@db/sluice --listen 10.0.0.1:7070   # on each of several machines",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if !verbose {
				level = slog.LevelWarn
			}
			log := slog.New(slog.NewTextHandler(g.err, &slog.HandlerOptions{Level: level}))
			if cfg.DB == "" {
				cfg.DB = os.Getenv("SLUICE_DB")
			}
			cfg.Version, cfg.Log, cfg.Anonymous = Version(), log, policy.Role(anonymous)
			a, err := app.Start(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			g.sayServing(a, cfg)
			<-cmd.Context().Done()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return a.Stop(ctx)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", app.DefaultListen, "address of the one port")
	f.StringVar(&cfg.DataDir, "data", "./sluice-data", "directory for everything that is kept")
	f.StringVar(&cfg.DB, "db", "", "PostgreSQL database that several servers share, instead of --data; better by SLUICE_DB, which no process list shows")
	f.StringVar(&cfg.Advertise, "advertise", "", "where the other servers on the database reach this one; http:// and the address of --listen when empty")
	f.StringVar(&cfg.Socket, "socket", "", "unix socket whose callers are admins; "+app.SocketFile+" in --data when empty")
	f.StringSliceVar(&cfg.Envs, "env-name", []string{app.DefaultEnv}, "environments to have; the first is the default")
	f.StringVar(&anonymous, "anonymous", "", "what OFREP and flagd clients may do without a token: client (evaluate) or component (read the flags too)")
	f.IntVar(&cfg.EvaluateRate, "evaluate-rate", 0, "OFREP requests that one caller may send per second; 0 means no limit")
	f.BoolVarP(&verbose, "verbose", "v", false, "log each record")
	return cmd
}

// sayServing tells whoever started the server how to reach it.
func (g *globals) sayServing(a *app.App, cfg app.Config) {
	where := "data in " + cfg.DataDir
	if cfg.DB != "" {
		where = "following another server on its database"
		if a.Leads() {
			where = "leading the servers on its database"
		}
	}
	g.say("sluice %s serves on %s, %s", Version(), a.URL(), where)
	if t := a.AdminToken(); t != "" {
		g.say("admin token, shown this once: %s", t)
	}
	if link := a.OneTimeLogin(); link != "" {
		g.say("browser: %s (this link works once, for 15 minutes)", link)
	}
}
