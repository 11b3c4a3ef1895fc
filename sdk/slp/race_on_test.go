//go:build race

package slp

const raceEnabled = true
