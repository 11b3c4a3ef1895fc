package control

import (
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/mutant"
)

// Clock is the one clock of a controller: the engine and the grant path compare their times, so both must read it. It runs
// evenly and never backwards: steps of the wall clock do not reach it while the process lives, and after a restart it goes
// on from the latest time in the log when the wall clock is behind that. It is safe for concurrent use.
type Clock struct {
	read  func() time.Time
	ahead atomic.Int64 // nanoseconds added to read
}

// NewClock returns a clock over read, which must not run backwards; nil means the wall clock as it is now, carried on by
// the monotonic one.
func NewClock(read func() time.Time) *Clock {
	if read == nil {
		began := time.Now()
		read = func() time.Time { return began.Add(time.Since(began)) }
	}
	return &Clock{read: read}
}

// Now returns the time, in UTC and without a monotonic part.
func (c *Clock) Now() time.Time {
	return c.read().Add(time.Duration(c.ahead.Load())).Round(0).UTC()
}

// notBefore puts the clock forward to at when it is behind it.
func (c *Clock) notBefore(at time.Time) {
	if behind := at.Sub(c.Now()); behind > 0 && !mutant.Is(mutant.ClocksApart) {
		c.ahead.Add(int64(behind))
	}
}
