//go:build race

package flag

// raceEnabled: the race detector allocates, so tests that count allocations are skipped under it.
const raceEnabled = true
