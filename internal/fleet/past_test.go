package fleet

import (
	"testing"
	"time"

	"sluice.dev/sdk/slp"
)

// TestPastOf: one hour of a component whose instances stay, restart, leave, fall silent, and grow in number.
func TestPastOf(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := start.Add(2 * time.Hour)
	f := New(start)
	join := func(instance, boot string, at time.Time) *Member {
		m := f.Join(slp.Hello{Instance: instance, Boot: boot, Component: "host", Class: slp.ClassReader}, at)
		m.Renewed = now
		return m
	}
	join("stays", "1", start)                                         // 3600 s of the hour
	join("restarts", "2", start).Renewed = now.Add(-30 * time.Minute) // 1800 s, then silent
	join("restarts", "3", now.Add(-29*time.Minute))                   // 1740 s, and a restart
	join("leaves", "4", start).Bye = now.Add(-10 * time.Minute)       // 3000 s
	join("silent", "5", start).Renewed = now.Add(-90 * time.Minute)   // before the hour: nothing
	join("grows", "6", now.Add(-time.Minute))                         // 60 s, no restart
	got := f.PastOf(now.Add(-time.Hour), now, 10*time.Second)
	if want := (Past{Seconds: 3600 + 1800 + 1740 + 3000 + 60, Losses: 2}); got["host"] != want || len(got) != 1 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	f.Started = now.Add(-10 * time.Minute)
	if got := f.PastOf(now.Add(-time.Hour), now, 10*time.Second)["host"]; got != (Past{Seconds: 600 + 600 + 60}) {
		t.Errorf("under a leadership of ten minutes: got %+v", got)
	}
}
