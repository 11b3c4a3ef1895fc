//go:build soak

package judge

import "testing"

// TestSoakFalseRollbacks is TestFalseRollbacksAreRarerThanAlpha with 1,000 rollouts a family and blocks of one second:
//
//	go test -tags soak -run TestSoak -v -timeout 2h ./internal/judge
func TestSoakFalseRollbacks(t *testing.T) { falseRollbacks(t, 1000, 900, 1, 70_000_000) }

// TestSoakHarm is TestHarmIsFoundNearTheOraclesTime with more rollouts and blocks of one second.
func TestSoakHarm(t *testing.T) { harmDelays(t, 400, 1500, 1, 80_000_000) }
