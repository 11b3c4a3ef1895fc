//go:build !linux

package store

import "os"

// allocate gives f size bytes of real disk space.
func allocate(f *os.File, size int64) error { return writeZeros(f, size) }
