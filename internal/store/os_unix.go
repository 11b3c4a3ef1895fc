//go:build unix

package store

import (
	"errors"
	"os"
	"syscall"
)

// lockExclusive takes an advisory lock on f or returns ErrLocked. It belongs to the open file, so it also holds against a
// second open of the same process, and unlike a POSIX lock it is not lost when some other descriptor is closed.
func lockExclusive(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

// ignoreUnsupported drops the error of file systems that do not sync directories.
func ignoreUnsupported(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
