//go:build soak

package sluice

import "testing"

// TestSoakRequestConsistency is TestRequestConsistency with a million requests.
func TestSoakRequestConsistency(t *testing.T) {
	sum := consistent(t, 1_000_000, 100, false)
	if n := sum.mixed.Load(); n != 0 {
		t.Errorf("%d requests saw two revisions although every hop held the pin, e.g. %+v", n, sum.last.Load())
	}
}
