//go:build !race

package flag

const raceEnabled = false
