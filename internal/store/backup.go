package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A backup is a SQLite database with the schema of the store, whichever engine it came from and goes to.

// tables are all that a backup holds. Order within a table is that of its key.
var tables = []struct{ name, key string }{
	{"head", "id"}, {"leader", "id"}, {"records", "seq"}, {"tree", "idx"}, {"artifacts", "digest"}, {"revisions", "env, number"},
	{"evidence", "rollout, second"}, {"checkpoints", "rollout"}, {"members", "env, instance, boot"}, {"outbox", "id"}, {"tokens", "id"}, {"meta", "key"},
}

// Source is a store that is only read, beside the server that owns it.
type Source struct {
	db    *sql.DB
	where string
}

// OpenSource opens the store in a data directory for Backup. The server may run on it.
func OpenSource(ctx context.Context, dir string) (*Source, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	return openFile(ctx, filepath.Join(dir, databaseFile))
}

// openFile opens a SQLite database of ours for reading.
func openFile(ctx context.Context, name string) (*Source, error) {
	if _, err := os.Stat(name); err != nil {
		return nil, err
	}
	db, err := openDatabase(name, 1, "_query_only=1")
	if err != nil {
		return nil, err
	}
	s := &Source{db: db, where: name}
	if err := s.known(ctx, "sqlite"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// OpenSharedSource opens the store in a PostgreSQL database for Backup. Servers may run on it. Its errors are those of
// OpenPostgres, but it changes nothing.
func OpenSharedSource(ctx context.Context, url string) (*Source, error) {
	s, err := connect(url)
	if err != nil {
		return nil, err
	}
	from := &Source{db: s.readers, where: s.where}
	err = s.checkServer(ctx)
	if err == nil {
		err = from.known(ctx, "postgres")
	}
	if err != nil {
		return nil, errors.Join(s.openError(err), s.Close())
	}
	return from, s.writer.Close()
}

// known refuses a database of another schema version than this program's.
func (s *Source) known(ctx context.Context, engine string) error {
	steps, err := loadMigrations(migrations, engine)
	if err != nil {
		return err
	}
	var version int
	if err := s.db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&version); err != nil {
		return fmt.Errorf("%s is no database of ours: %w", s.where, err)
	}
	switch {
	case version > len(steps):
		return fmt.Errorf("%s has schema version %d, this program knows versions up to %d: %w", s.where, version, len(steps), ErrNewer)
	case version < len(steps):
		return fmt.Errorf("%s has schema version %d, this program's is %d: start `sluice serve` on it once, or use the version that wrote it", s.where, version, len(steps))
	}
	return nil
}

// Close ends the reading.
func (s *Source) Close() error { return s.db.Close() }

// snapshot runs f over one state of the source.
func (s *Source) snapshot(ctx context.Context, f func(*reader) error) error {
	d := database{readers: s.db}
	return d.snapshot(ctx, f)
}

// Backup writes one state of the source to file and returns the number of records in it. The copy is verified against its
// own tree head before it takes its name, so there is a whole, sound backup or none. file must not exist; it holds keys, so
// only its owner can read it.
func Backup(ctx context.Context, from *Source, file string) (records uint64, err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("back up to %s: it exists already (name another file)", file)
	}
	err = writeDatabase(ctx, file, func(into *sql.Tx) error {
		return from.snapshot(ctx, func(r *reader) error { return copyTables(ctx, r, into, "?") })
	})
	if err != nil {
		return 0, fmt.Errorf("back up to %s: %w", file, err)
	}
	return checkFile(ctx, file)
}

// writeDatabase makes a database under a passing name, lets fill write it in one transaction, checks the log in it, and
// gives it its name once it has reached the disk.
func writeDatabase(ctx context.Context, file string, fill func(*sql.Tx) error) error {
	partial := file + ".partial"
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := errors.Join(fillDatabase(ctx, partial, fill), syncFile(partial)); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	if _, err := checkFile(ctx, partial); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	if err := os.Rename(partial, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func fillDatabase(ctx context.Context, name string, fill func(*sql.Tx) error) (err error) {
	db, err := openDatabase(name, 1, "_journal_mode=DELETE", "_txlock=immediate")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	steps, err := loadMigrations(migrations, "sqlite")
	if err != nil {
		return err
	}
	if err := migrate(ctx, db, steps, ""); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := fill(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// checkFile verifies the structure of a database file and the log in it. It returns the number of records.
func checkFile(ctx context.Context, name string) (uint64, error) {
	s, err := openFile(ctx, name)
	if err != nil {
		return 0, err
	}
	var whole string
	err = s.db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&whole)
	if err == nil && whole != "ok" {
		err = fmt.Errorf("%s: %w", whole, ErrCorrupt)
	}
	var size uint64
	if err == nil {
		size, err = s.Verify(ctx)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return 0, fmt.Errorf("check %s: %w", name, err)
	}
	return size, nil
}

// Verify checks the whole log of one state of the source against its tree head and returns its number of records.
func (s *Source) Verify(ctx context.Context) (records uint64, err error) {
	err = s.snapshot(ctx, func(r *reader) error {
		if _, err := r.checkTail(ctx); err != nil {
			return err
		}
		head, err := verify(ctx, r)
		records = head.Size
		return err
	})
	return records, err
}

// Leader returns the lease row.
func (s *Source) Leader(ctx context.Context) (Leader, error) { return (&reader{q: s.db}).Leader(ctx) }

// Unsafe names the settings of a PostgreSQL server under which a crash of its machine could lose what it acknowledged.
func (s *Source) Unsafe(ctx context.Context) ([]string, error) {
	return list(ctx, &reader{q: s.db}, "settings", scanString, `SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name`)
}

// copyTables copies every row. mark is the first character of the target's parameters: "?" or "$".
func copyTables(ctx context.Context, from *reader, into *sql.Tx, mark string) error {
	for _, t := range tables {
		if err := copyTable(ctx, from, into, mark, t.name, t.key); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	return nil
}

func copyTable(ctx context.Context, from *reader, into *sql.Tx, mark, table, key string) error {
	rows, err := from.q.QueryContext(ctx, "SELECT * FROM "+table+" ORDER BY "+key)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	insert, err := into.PrepareContext(ctx, insertRow(table, columns, mark))
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }()
	values, at := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		at[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(at...); err != nil {
			return err
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok || v == nil { // no column may be NULL: this is an empty blob
				values[i] = blob(b)
			}
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return rows.Err()
}

func insertRow(table string, columns []string, mark string) string {
	marks := make([]string, len(columns))
	for i := range marks {
		marks[i] = mark
		if mark == "$" {
			marks[i] = fmt.Sprint("$", i+1)
		}
	}
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
}

// epochGap is how far Restore raises the epoch: above those of all leaders between the backup and now.
const epochGap = 1 << 20

// restored marks a store that came from a backup, in Meta under "restored".
type restored struct {
	At      time.Time `json:"at"`
	Records uint64    `json:"records"`
	Epoch   uint64    `json:"epoch"` // of the backup
}

// RestoreDir makes the store in dir, which must have none, from the backup in file, and returns its number of records. The
// backup is verified first. The epoch is raised above whatever leaders there were since the backup, so that none of them
// writes and members take the next leader's word. Members that have seen later revisions are told so (409 amnesia).
func RestoreDir(ctx context.Context, file, dir string) (records uint64, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	if err := prepareDir(dir); err != nil {
		return 0, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	name := filepath.Join(dir, databaseFile)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return 0, &OpenError{Dir: dir, Problem: "there is a store already", Remedy: "restore into an empty directory, or move " + quote(name) + " (with -wal and -shm) away first"}
	}
	err = fromBackup(ctx, file, func(from *reader, records uint64) error {
		return writeDatabase(ctx, name, func(into *sql.Tx) error { return restoreTables(ctx, from, into, "?", records) })
	}, &records)
	return records, err
}

// RestoreShared is RestoreDir into a PostgreSQL database, in which nothing may have been recorded.
func RestoreShared(ctx context.Context, file, url string) (records uint64, err error) {
	s, err := OpenPostgres(ctx, url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.limit = 0 // one transaction for all of it
	err = fromBackup(ctx, file, func(from *reader, records uint64) error {
		return s.write(ctx, true, func(t *txn) error {
			if epoch, head, err := t.current(); err != nil || epoch != 0 || head.Size != 0 {
				return errors.Join(err, &OpenError{Database: s.where, Problem: "there is a store in it already", Remedy: "restore into a new database: createdb --encoding=UTF8 NAME"})
			}
			for _, table := range []string{"head", "leader"} {
				if _, err := t.exec("DELETE FROM " + table); err != nil {
					return err
				}
			}
			if err := restoreTables(ctx, from, t.tx, "$", records); err != nil {
				return err
			}
			_, err := t.exec(`SELECT setval(pg_get_serial_sequence('outbox', 'id'), (SELECT COALESCE(MAX(id), 0) + 1 FROM outbox))`)
			return err
		})
	}, &records)
	return records, err
}

// fromBackup verifies the backup in file and hands one state of it to use.
func fromBackup(ctx context.Context, file string, use func(from *reader, records uint64) error, records *uint64) error {
	n, err := checkFile(ctx, file)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	s, err := openFile(ctx, file)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = s.snapshot(ctx, func(r *reader) error { return use(r, n) })
	if err := errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("restore %s: %w", file, err)
	}
	*records = n
	return nil
}

func restoreTables(ctx context.Context, from *reader, into *sql.Tx, mark string, records uint64) error {
	l, err := from.Leader(ctx)
	if err != nil {
		return err
	}
	if err := copyTables(ctx, from, into, mark); err != nil {
		return err
	}
	note, err := json.Marshal(restored{At: time.Now().UTC(), Records: records, Epoch: l.Epoch})
	if err != nil {
		return err
	}
	for _, change := range []struct {
		query string
		args  []any
	}{
		{`UPDATE head SET epoch = epoch + $1`, []any{epochGap}},
		{`UPDATE leader SET epoch = epoch + $1, name = '', address = '', beat = beat + 1`, []any{epochGap}},
		{`INSERT INTO meta (key, value) VALUES ('restored', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, []any{note}},
	} {
		if _, err := into.ExecContext(ctx, change.query, change.args...); err != nil {
			return err
		}
	}
	return nil
}

// openDatabase opens at most n connections to a SQLite file. The path is put into the URI by package url: a '?' or '%' in it
// is no parameter.
func openDatabase(name string, n int, params ...string) (*sql.DB, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	uri := url.URL{Scheme: "file", Path: filepath.ToSlash(name)}
	dsn := uri.String() + "?_busy_timeout=5000&_synchronous=FULL&_foreign_keys=1&_dqs=0&_defensive=1" +
		"&_pragma=cell_size_check(1)&_pragma=trusted_schema(0)&_pragma=journal_size_limit(67108864)"
	for _, p := range params {
		dsn += "&" + p
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}
