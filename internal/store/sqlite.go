package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fail"
)

// SQLite is a Store in one directory, for one process. What Append and the Put methods return has reached the disk:
// the journal is a write-ahead log synced at each commit (synchronous=FULL).
//
// There is one connection that writes and a few that read; reads never wait for writes.
type SQLite struct {
	database
	dir       string
	lock      *os.File
	reserveAt time.Time // when the reserve file is to be made again; zero while it is there; guarded by writing
}

// readConnections is how many reads run at once; more wait.
const readConnections = 4

// reserveRetry is how long after it was used (or could not be made) the reserve file is tried again.
const reserveRetry = 2 * time.Second

// checkTime bounds the check of the file's structure at opening. Files that take longer (several GB) are checked as far
// as it goes; sluice audit verify checks all of the log.
const checkTime = 3 * time.Second

// OpenSQLite opens the store in dir, which is made if missing; an empty directory becomes the store's (mode 0700). The
// files in it are sluice.db (with -wal and -shm), lock and reserve.
//
// It refuses to open, with an *OpenError that names the remedy, a directory that another process has open (ErrLocked), one
// written by a later version (ErrNewer), one whose database is damaged (ErrCorrupt) or that others can read or we cannot
// write. It repairs nothing: an audit log that mends itself proves nothing.
func OpenSQLite(ctx context.Context, dir string) (*SQLite, error) {
	if dir == "" {
		return nil, errors.New("open data directory: no name given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	fail.At(fail.OpenLocked)
	s := &SQLite{dir: dir, lock: lock}
	s.spare, s.retry, s.explain = s.hasReserve, s.useReserve, explainSQLite
	if err := s.open(ctx); err != nil {
		_ = s.Close()
		return nil, s.openError(err)
	}
	fail.At(fail.OpenChecked)
	if makeReserve(dir) != nil {
		s.reserveAt = time.Now().Add(reserveRetry) // a full disk must not keep a controller from starting
	}
	fail.At(fail.ReserveMade)
	return s, nil
}

func (s *SQLite) open(ctx context.Context) error {
	if err := prepareDatabase(s.dir); err != nil {
		return err
	}
	fail.At(fail.OpenFile)
	var err error
	if s.writer, err = openPool(s.dir, 1, "_txlock=immediate", "_pragma=wal_autocheckpoint(1000)"); err != nil {
		return err
	}
	if s.readers, err = openPool(s.dir, readConnections, "_query_only=1"); err != nil {
		return err
	}
	s.q = s.readers
	steps, err := loadMigrations(migrations, "sqlite")
	if err != nil {
		return err
	}
	if err := s.ours(ctx); err != nil {
		return err
	}
	fail.At(fail.OpenConnected)
	if err := migrate(ctx, s.writer, steps, ""); err != nil {
		return err
	}
	if err := s.firstRows(ctx); err != nil {
		return err
	}
	if err := s.quickCheck(ctx, checkTime); err != nil {
		return err
	}
	s.tip, err = s.checkTail(ctx)
	return err
}

// openPool opens at most n connections to the database in dir.
func openPool(dir string, n int, params ...string) (*sql.DB, error) {
	return openDatabase(filepath.Join(dir, databaseFile), n, append(params, "_journal_mode=WAL")...)
}

// ours refuses a database that some other program made.
func (s *SQLite) ours(ctx context.Context) error {
	var tables, versions int
	err := s.writer.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(name = 'schema_version'), 0)
		FROM sqlite_master WHERE type = 'table'`).Scan(&tables, &versions)
	if err == nil && tables > 0 && versions == 0 {
		err = fmt.Errorf("%s has %d tables, none of them ours: %w", databaseFile, tables, ErrCorrupt)
	}
	return err
}

// quickCheck lets SQLite check the structure of the file, for no longer than limit; what it has found by then counts.
func (s *SQLite) quickCheck(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var first string
	err := s.readers.QueryRowContext(limited, `PRAGMA quick_check(1)`).Scan(&first)
	switch {
	case err != nil && limited.Err() != nil:
		return ctx.Err() // nil if it was only the limit
	case err != nil:
		return err
	case first != "ok":
		return fmt.Errorf("%s: %w", first, ErrCorrupt)
	}
	return nil
}

// useReserve gives the reserved space to a write that must not be refused.
func (s *SQLite) useReserve() bool {
	if !freeReserve(s.dir) {
		return false
	}
	s.reserveAt = time.Now().Add(reserveRetry)
	return true
}

// hasReserve reports whether the reserve is there, and tries to make it again some time after it was used.
func (s *SQLite) hasReserve() bool {
	if s.reserveAt.IsZero() {
		return true
	}
	if time.Now().Before(s.reserveAt) {
		return false
	}
	s.reserveAt = time.Time{}
	if makeReserve(s.dir) != nil {
		s.reserveAt = time.Now().Add(reserveRetry)
	}
	return s.reserveAt.IsZero()
}

// openError puts the remedy to what open returned.
func (s *SQLite) openError(err error) error {
	var done *OpenError
	code := errorCode(err)
	e := &OpenError{Dir: s.dir, Problem: "the database cannot be opened", Remedy: "see the error", Err: err}
	switch {
	case errors.As(err, &done):
		return err
	case errors.Is(err, ErrNewer):
		e.Problem = "the database is of a later version"
		e.Remedy = "run the version of sluice that wrote it, or a later one, or restore the backup made before the upgrade"
	case errors.Is(err, ErrCorrupt), errors.Is(err, audit.ErrNoHash),
		code&0xff == sqlite3.SQLITE_CORRUPT, code&0xff == sqlite3.SQLITE_NOTADB:
		e.Problem = "the database is damaged"
		e.Remedy = fmt.Sprintf("keep a copy of the directory, then put back %[1]s (without %[1]s-wal and %[1]s-shm) from the last backup; "+
			"it is never repaired in place", databaseFile)
		if !errors.Is(err, ErrCorrupt) {
			e.Err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	case isFull(err):
		e.Problem = "there is no space left"
		e.Remedy = fmt.Sprintf("free some MB on the file system of %s; deleting %s gives %d",
			quote(s.dir), quote(filepath.Join(s.dir, reserveFile)), reserveBytes)
		e.Err = fmt.Errorf("%w: %w", ErrFull, err)
	case code&0xff == sqlite3.SQLITE_READONLY, code&0xff == sqlite3.SQLITE_CANTOPEN, code&0xff == sqlite3.SQLITE_PERM:
		return unwritable(s.dir, err)
	}
	return e
}

// Close ends the store and gives the directory free. Writes that were acknowledged are on the disk already.
func (s *SQLite) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var errs []error
	for _, db := range []*sql.DB{s.readers, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close data directory %s: %w", s.dir, err)
	}
	return nil
}

func errorCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func explainSQLite(err error) error {
	if isFull(err) && !errors.Is(err, ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// isFull reports whether err comes from a full disk. The second code is SQLite's when its shared memory file cannot grow.
func isFull(err error) bool {
	code := errorCode(err)
	return code&0xff == sqlite3.SQLITE_FULL || code == sqlite3.SQLITE_IOERR_SHMSIZE
}

var _ Store = (*SQLite)(nil)
