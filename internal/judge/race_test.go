//go:build race

package judge

// raceEnabled: the race detector makes the long simulations ten times as long and finds nothing in one goroutine.
const raceEnabled = true
