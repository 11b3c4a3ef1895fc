//go:build !linux

package sluice

import "time"

// continuousClock is the wall clock: it goes on while the machine sleeps. A step forward of it ends leases early, which is
// safe.
func continuousClock() time.Duration { return wallClock() }
