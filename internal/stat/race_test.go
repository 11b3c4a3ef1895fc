//go:build race

package stat

// raceEnabled: the race detector makes the long simulations ten times as long and finds nothing in one goroutine.
const raceEnabled = true
