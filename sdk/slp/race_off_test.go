//go:build !race

package slp

const raceEnabled = false
