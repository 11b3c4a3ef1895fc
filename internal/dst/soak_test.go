//go:build soak

package dst

import (
	"testing"
	"time"
)

// TestSoakRandomLives lives 100,000 seeds, or as many as an hour allows.
func TestSoakRandomLives(t *testing.T) {
	s := Many(1_000_000, 100_000, 2, time.Now().Add(time.Hour))
	for _, v := range s.Violations {
		t.Errorf("seed %d: %s\nrepeat: %s", v.Seed, v.Text, v.Command)
	}
	t.Logf("%d seeds, %.2f simulated years, %d faults %v, %+v", s.Seeds, s.Years, s.Faults, s.ByKind, s.Seen)
}
