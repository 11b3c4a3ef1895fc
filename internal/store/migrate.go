package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/fail"
)

// migrations are the steps from each version of the schema to the next, "NNNN_name.sql" for version NNNN. A file that has
// been released never changes; what comes later is a new file.
//
// There is one folder per engine with the same versions in it. They run by the function below and not by a migration
// library: what a library adds (downs, out-of-order versions, a dialect for each database) would be more to understand
// than these lines.
//
//go:embed sqlite/*.sql postgres/*.sql
var migrations embed.FS

type migration struct {
	version int64
	sql     string
}

// loadMigrations returns the steps of an engine in fsys, ascending and without gaps from 1.
func loadMigrations(fsys fs.FS, engine string) ([]migration, error) {
	names, err := fs.Glob(fsys, engine+"/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var out []migration
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version != int64(i)+1 {
			return nil, fmt.Errorf("migration %s: its number is not %04d", name, i+1)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		out = append(out, migration{version: version, sql: string(text)})
	}
	return out, nil
}

// migrate brings the schema to the newest version, all steps in one transaction: half a migration is never seen. It returns
// ErrNewer (wrapped) for a database from a later program and changes nothing there.
// lock, which may be "", is a statement that keeps other processes from doing the same meanwhile.
func migrate(ctx context.Context, db *sql.DB, steps []migration, lock string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if lock != "" {
		if _, err := tx.ExecContext(ctx, lock); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)`); err != nil {
		return err
	}
	fail.At(fail.MigrateVersion)
	var version int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&version); err != nil {
		return err
	}
	newest := int64(len(steps))
	if version > newest {
		return fmt.Errorf("schema version %d, this program knows versions up to %d: %w", version, newest, ErrNewer)
	}
	for _, m := range steps[version:] {
		if _, err := tx.ExecContext(ctx, m.sql); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", m.version, err)
		}
		fail.At(fail.MigrateStep)
		if _, err := tx.ExecContext(ctx, `INSERT INTO schema_version (version) VALUES ($1)`, m.version); err != nil {
			return err
		}
		fail.At(fail.MigrateNumber)
	}
	fail.At(fail.MigrateCommit)
	if err := tx.Commit(); err != nil {
		return err
	}
	fail.At(fail.Migrated)
	return nil
}
