package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/store"
)

// place is where a server keeps everything: a directory or a database.
type place struct{ data, db string }

func (p *place) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.data, "data", "./sluice-data", "the server's data directory")
	cmd.Flags().StringVar(&p.db, "db", "", "or the PostgreSQL database that servers share; better by SLUICE_DB")
}

// shared returns the URL of the database, "" for a directory that was named or where none is.
func (p *place) shared(cmd *cobra.Command) string {
	if p.db == "" && !cmd.Flags().Changed("data") {
		return os.Getenv("SLUICE_DB")
	}
	return p.db
}

func (p *place) open(ctx context.Context, db string) (*store.Source, error) {
	if db != "" {
		return store.OpenSharedSource(ctx, db)
	}
	return store.OpenSource(ctx, p.data)
}

func backupCmd(g *globals) *cobra.Command {
	var from place
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Copy everything a server keeps into one file, while it serves", Args: cobra.ExactArgs(1),
		Long: "backup writes one state of the store into FILE, verifies the copy's log, and gives it its name last: there is a sound backup\n" +
			"or none. It reads the store itself, so it runs on the server's machine or where its database is reached. FILE holds keys.",
		Example: "  sluice backup sluice-2026-11-25.backup\n  sluice backup --data /var/lib/sluice /backup/sluice\n  sluice backup --db postgres://sluice@db/sluice nightly",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := from.open(cmd.Context(), from.shared(cmd))
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }() // it was only read
			n, err := store.Backup(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			return g.tellCopy("backup", args[0], n)
		},
	}
	from.flags(cmd)
	return cmd
}

func restoreCmd(g *globals) *cobra.Command {
	var to place
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a store from a backup", Args: cobra.ExactArgs(1),
		Long: "restore verifies FILE and makes a store from it in an empty directory or database, of either kind whatever the backup came\n" +
			"from. Leaders from before cannot write to it. Members that have seen later revisions keep to the baseline and are refused\n" +
			"(409 amnesia) until somebody decides what is true.",
		Example: "  sluice restore nightly --data /var/lib/sluice\n  sluice restore nightly --db postgres://sluice@db/sluice2",
		RunE: func(cmd *cobra.Command, args []string) error {
			restore, at := store.RestoreDir, to.data
			if db := to.shared(cmd); db != "" {
				restore, at = store.RestoreShared, db
			}
			n, err := restore(cmd.Context(), args[0], at)
			if err != nil {
				return err
			}
			return g.tellCopy("restored", args[0], n)
		},
	}
	to.flags(cmd)
	return cmd
}

func (g *globals) tellCopy(what, file string, records uint64) error {
	if g.output == "json" {
		return g.json(map[string]any{"file": file, "records": records})
	}
	g.printf("%s %s: %d records, log verified\n", what, file, records)
	return nil
}
