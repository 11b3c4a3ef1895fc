//go:build unix

package sluice

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockDir keeps other processes from replacing files in the folder until unlock is called or the process ends.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock the cache folder: %w", err)
	}
	for {
		if err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the cache folder: %w", err), d.Close())
	}
	return func() { _ = d.Close() }, nil // which unlocks
}

// syncDir makes a rename in the folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the cache folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the cache folder: %w", err)
	}
	return nil
}
