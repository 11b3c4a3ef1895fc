package cli

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/app"
)

func serveCmd(g *globals) *cobra.Command {
	var listen, data string
	var envs []string
	var verbose bool
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run the server",
		Example: "  sluice serve\n  sluice serve --data /var/lib/sluice --listen 127.0.0.1:7070 --env-name production --env-name staging",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if !verbose {
				level = slog.LevelWarn
			}
			log := slog.New(slog.NewTextHandler(g.err, &slog.HandlerOptions{Level: level}))
			a, err := app.Start(cmd.Context(), app.Config{DataDir: data, Listen: listen, Envs: envs, Version: Version(), Log: log})
			if err != nil {
				return err
			}
			g.say("sluice %s serves on %s, data in %s", Version(), a.URL(), data)
			if t := a.AdminToken(); t != "" {
				g.say("admin token, shown this once: %s", t)
			}
			g.say("browser: %s (this link works once, for 15 minutes)", a.OneTimeLogin())
			<-cmd.Context().Done()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return a.Stop(ctx)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", app.DefaultListen, "address of the one port")
	cmd.Flags().StringVar(&data, "data", "./sluice-data", "directory for everything that is kept")
	cmd.Flags().StringSliceVar(&envs, "env-name", []string{app.DefaultEnv}, "environments to have; the first is the default")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log each record")
	return cmd
}
