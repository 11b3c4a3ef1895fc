package lead

import (
	"time"

	"golang.org/x/sys/unix"
)

// now reads a clock that goes on while the machine is suspended: a leader that slept must not take its lease for fresh.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("lead: no CLOCK_BOOTTIME: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
