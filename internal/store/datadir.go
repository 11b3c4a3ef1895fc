package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Files of a data directory; SQLite adds two with the suffixes -wal and -shm.
const (
	databaseFile = "sluice.db"
	lockFile     = "lock"
	reserveFile  = "reserve"
)

// OpenError says why a data directory or a database was not opened, and what to do about it.
type OpenError struct {
	Dir      string // of a data directory
	Database string // or of PostgreSQL: its name and where it is
	Problem  string
	Remedy   string
	Err      error // ErrLocked, ErrNewer, ErrCorrupt or the system's error; may be nil
}

func (e *OpenError) Error() string {
	s := fmt.Sprintf("open data directory %s: %s", e.Dir, e.Problem)
	if e.Database != "" {
		s = fmt.Sprintf("open database %s: %s", e.Database, e.Problem)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + " (to fix it: " + e.Remedy + ")"
}

// Unwrap returns Err.
func (e *OpenError) Unwrap() error { return e.Err }

// prepareDir makes dir if it is missing, takes an empty one over, and refuses one that others can read or that we cannot
// write. It goes by the permission bits, so that root is told the same as everybody.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &OpenError{Dir: dir, Problem: "it cannot be made", Remedy: "make it yourself with: mkdir -m 700 " + quote(dir), Err: err}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return &OpenError{Dir: dir, Problem: "it cannot be read", Remedy: "chmod 700 " + quote(dir), Err: err}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return &OpenError{Dir: dir, Problem: "it cannot be listed", Remedy: "chmod 700 " + quote(dir), Err: err}
	}
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	if len(entries) == 0 && os.Chmod(dir, 0o700) == nil {
		return nil
	}
	return &OpenError{
		Dir: dir, Problem: fmt.Sprintf("its permissions are %04o, want 0700", info.Mode().Perm()), Remedy: "chmod 700 " + quote(dir),
	}
}

// prepareDatabase makes an empty database file that only we can read (SQLite would use the umask, and gives its other
// files the permissions of this one), or checks the one that is there.
func prepareDatabase(dir string) error {
	name := filepath.Join(dir, databaseFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return errors.Join(f.Sync(), f.Close(), syncDir(dir))
	}
	if !errors.Is(err, fs.ErrExist) {
		return unwritable(dir, err)
	}
	info, err := os.Stat(name)
	if err != nil {
		return unwritable(dir, err)
	}
	if !info.Mode().IsRegular() {
		return &OpenError{Dir: dir, Problem: databaseFile + " is no regular file", Remedy: "move " + quote(name) + " away"}
	}
	if info.Mode().Perm() != 0o600 {
		return &OpenError{
			Dir: dir, Problem: fmt.Sprintf("the permissions of %s are %04o, want 0600", databaseFile, info.Mode().Perm()),
			Remedy: "chmod 600 " + quote(name),
		}
	}
	f, err = os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return unwritable(dir, err)
	}
	return f.Close()
}

func unwritable(dir string, err error) error {
	remedy := "give the directory and all in it to the user the server runs as: chown -R $(id -u) " + quote(dir)
	if isReadOnly(err) {
		remedy = "mount the file system of " + quote(dir) + " writable (mount -o remount,rw)"
	}
	return &OpenError{Dir: dir, Problem: "it cannot be written", Remedy: remedy, Err: err}
}

// lockDir takes the directory for this process until the returned file is closed. The system gives the lock back when
// the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unwritable(dir, err)
	}
	if err := lockExclusive(f); err != nil {
		_ = f.Close()
		if !errors.Is(err, ErrLocked) {
			return nil, &OpenError{Dir: dir, Problem: "it cannot be locked", Remedy: "use a file system with locks", Err: err}
		}
		holder, remedy := "another process", "stop the other process or give this one another directory"
		if b, err := os.ReadFile(name); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				holder = fmt.Sprintf("process %d", pid)
				remedy = fmt.Sprintf("stop process %d or give this one another directory", pid)
			}
		}
		return nil, &OpenError{Dir: dir, Problem: holder + " holds it", Remedy: remedy, Err: ErrLocked}
	}
	// Who holds it is a courtesy to the next one; on a full disk the lock holds without it.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return f, nil
}

// reserveBytes is kept aside for the moment when the disk is full: room for some thousand revokes.
const reserveBytes = 8 << 20

// makeReserve allocates the reserve file unless it is there. It leaves nothing behind when it does not succeed.
func makeReserve(dir string) error {
	name := filepath.Join(dir, reserveFile)
	if info, err := os.Stat(name); err == nil && info.Size() == reserveBytes {
		return nil
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("reserve %d bytes of disk: %w", reserveBytes, err)
	}
	if err := errors.Join(allocate(f, reserveBytes), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("reserve %d bytes of disk: %w", reserveBytes, err), os.Remove(name))
	}
	return nil
}

// HasReserve reports whether the disk space kept for rollbacks is there.
func HasReserve(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, reserveFile))
	return err == nil && info.Size() == reserveBytes
}

// freeReserve gives the reserved space back and reports whether there was any.
func freeReserve(dir string) bool { return os.Remove(filepath.Join(dir, reserveFile)) == nil }

// writeZeros allocates size bytes where the system has no call for it.
func writeZeros(f *os.File, size int64) error {
	block := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return ignoreUnsupported(d.Sync())
}

// quote makes a shell word.
func quote(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
