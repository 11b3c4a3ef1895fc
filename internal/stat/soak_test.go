//go:build soak

package stat

import (
	"fmt"
	"testing"
)

// TestFalseAlarmsLong is TestFalseAlarms with 1,000 hours of 1 s blocks per family and 200 requests a second. It takes
// hours: go test -tags soak -timeout 24h -run FalseAlarmsLong ./internal/stat
func TestFalseAlarmsLong(t *testing.T) {
	w := world{runs: 1000, seconds: 3600, block: 1, perSec: 200, tolerate: 17}
	for _, f := range families() {
		for _, kind := range f.kinds {
			t.Run(fmt.Sprint(f.name, " ", kind), func(t *testing.T) {
				t.Parallel()
				w.run(t, f, kind)
			})
		}
	}
}
