package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// Postgres is a Store in a PostgreSQL database (12 or later) that several servers share. What Append and the Put methods
// return has been committed with synchronous_commit at least on.
//
// Only the server that leads writes; the epoch is checked in every write's transaction under the lock of the head's row.
// A transaction whose client has stopped answering is ended by the database after idleLimit, so that a frozen leader keeps
// no lock.
type Postgres struct {
	database
	where string // for people, without the password
}

// Limits of a session. A leader that cannot commit within writeLimit is treated as one that lost its database.
const (
	idleLimit   = 2 * time.Second // of a transaction in which nothing happens
	writeLimit  = 20 * time.Second
	dialLimit   = 5 * time.Second
	writerConns = 2 // one transaction, and the renewal of the lease beside it
)

// OpenPostgres opens the store in the database that url names (postgres://user:password@host:port/name?parameters, or a
// key=value string as libpq has it; PGHOST and the like count). The user needs the right to make tables in it.
//
// It refuses, with an *OpenError that names the remedy, a database that is not reachable or refuses the user, one that is
// read-only, one of a later version of Sluice (ErrNewer), one with another encoding than UTF-8, and one whose log does not
// end as its head says (ErrCorrupt). It repairs nothing.
func OpenPostgres(ctx context.Context, url string) (*Postgres, error) {
	s, err := connect(url)
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		_ = s.Close()
		return nil, s.openError(err)
	}
	return s, nil
}

// connect makes the pools; nothing is asked of the database yet.
func connect(url string) (*Postgres, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err) // it names what is wrong, without the password
	}
	s := &Postgres{where: fmt.Sprintf("%s at %s:%d", cfg.Database, cfg.Host, cfg.Port)}
	session(cfg)
	s.lockRow, s.limit, s.explain = " FOR UPDATE", writeLimit, explainPostgres
	s.writer, s.readers = stdlib.OpenDB(*cfg), stdlib.OpenDB(*cfg)
	s.writer.SetMaxOpenConns(writerConns)
	s.writer.SetMaxIdleConns(writerConns)
	s.readers.SetMaxOpenConns(readConnections)
	s.readers.SetMaxIdleConns(readConnections)
	s.q = s.readers
	return s, nil
}

// session puts into cfg what every connection of ours has, unless the URL says otherwise.
func session(cfg *pgx.ConnConfig) {
	for name, value := range map[string]string{
		"application_name":                    "sluice",
		"idle_in_transaction_session_timeout": fmt.Sprint(idleLimit.Milliseconds()),
		"lock_timeout":                        fmt.Sprint((writeLimit / 2).Milliseconds()),
		"default_transaction_isolation":       "read committed",
	} {
		if _, ok := cfg.RuntimeParams[name]; !ok {
			cfg.RuntimeParams[name] = value
		}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = dialLimit
	}
}

// migrationLock keeps two servers that start at once from both making the tables. The number only has to be ours.
const migrationLock = `SELECT pg_advisory_xact_lock(7382910554)`

func (s *Postgres) open(ctx context.Context) error {
	if err := s.checkServer(ctx); err != nil {
		return err
	}
	steps, err := loadMigrations(migrations, "postgres")
	if err != nil {
		return err
	}
	if err := migrate(ctx, s.writer, steps, migrationLock); err != nil {
		return err
	}
	if err := s.firstRows(ctx); err != nil {
		return err
	}
	return s.snapshot(ctx, func(r *reader) error {
		_, err := r.checkTail(ctx) // another server may append meanwhile: the tree is read again at the first append
		return err
	})
}

// checkServer refuses a server on which a commit would not be one.
func (s *Postgres) checkServer(ctx context.Context) error {
	var encoding, durable, readOnly string
	err := s.writer.QueryRowContext(ctx, `SELECT current_setting('server_encoding'), current_setting('synchronous_commit'),
		current_setting('transaction_read_only')`).Scan(&encoding, &durable, &readOnly)
	switch {
	case err != nil:
		return err
	case encoding != "UTF8":
		return &OpenError{Database: s.where, Problem: "its encoding is " + encoding, Remedy: "make it with: createdb --encoding=UTF8 --template=template0 NAME"}
	case durable == "off":
		return &OpenError{
			Database: s.where, Problem: "synchronous_commit is off: an acknowledged rollback could be lost",
			Remedy: "ALTER DATABASE name SET synchronous_commit = on, or add ?synchronous_commit=on to the URL",
		}
	case readOnly == "on":
		return &OpenError{Database: s.where, Problem: "it is read-only", Remedy: "name the primary and not a replica in --db (or add target_session_attrs=read-write with all hosts)"}
	}
	return nil
}

// snapshot runs f over one state of the database, however long it reads.
func (s *database) snapshot(ctx context.Context, f func(*reader) error) error {
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	return f(&reader{q: tx})
}

// sqlState is the code of an error from the server, "" for others.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func explainPostgres(err error) error {
	if err == nil {
		return nil
	}
	for code, ours := range map[string]error{"53100": ErrFull, "23505": ErrConflict} { // disk full, unique violation
		if sqlState(err) == code && !errors.Is(err, ours) {
			return fmt.Errorf("%w: %w", ours, err)
		}
	}
	return err
}

// openError puts the remedy to what open returned.
func (s *Postgres) openError(err error) error {
	var done *OpenError
	if errors.As(err, &done) {
		return err
	}
	e := &OpenError{Database: s.where, Problem: "it cannot be opened", Remedy: "see the error", Err: err}
	state := sqlState(err)
	switch {
	case errors.Is(err, ErrNewer):
		e.Problem = "it is of a later version"
		e.Remedy = "run the version of sluice that wrote it, or a later one, or restore the backup made before the upgrade"
	case errors.Is(err, ErrCorrupt):
		e.Problem = "it is damaged"
		e.Remedy = "keep a copy (pg_dump), then restore the last backup into a new database with `sluice restore`; it is never repaired in place"
	case state == "3D000":
		e.Problem, e.Remedy = "there is no such database", "make it: createdb --encoding=UTF8 NAME"
	case strings.HasPrefix(state, "28"):
		e.Problem, e.Remedy = "it refuses the user", "see user and password in --db or SLUICE_DB, and the server's pg_hba.conf"
	case state == "42501":
		e.Problem, e.Remedy = "the user may not make tables", "GRANT CREATE, USAGE ON SCHEMA public TO the user, or make it the owner of the database"
	case state == "53100":
		e.Problem, e.Remedy, e.Err = "its disk is full", "free space on the database's disk", fmt.Errorf("%w: %w", ErrFull, err)
	case state == "":
		e.Problem, e.Remedy = "it does not answer", "see whether PostgreSQL runs there and takes connections from here"
	}
	return e
}

// Close ends all connections. Writes that were acknowledged have been committed.
func (s *Postgres) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := errors.Join(s.readers.Close(), s.writer.Close()); err != nil {
		return fmt.Errorf("close database %s: %w", s.where, err)
	}
	return nil
}

var _ Store = (*Postgres)(nil)
