//go:build race

package engine

// raceEnabled: the race detector makes everything about ten times slower, so searches look at fewer cases.
const raceEnabled = true
