//go:build !linux

package lead

import "time"

var started = time.Now()

// now reads the monotonic clock.
func now() time.Duration { return time.Since(started) }
