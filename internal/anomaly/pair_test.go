package anomaly

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestPair: an outage of both arms is a shared finding, one of the exposed arm is not, and one missing arm says nothing.
func TestPair(t *testing.T) {
	for name, tt := range map[string]struct {
		exposed, baseline float64 // added from row 600 on
		shared            bool
	}{"both": {30, 30, true}, "exposed": {30, 0, false}} {
		r := rand.New(rand.NewPCG(5, 5))
		p, found := NewPair(1), 0
		for i := range 700 {
			a, b := 5+r.NormFloat64(), 5+r.NormFloat64()
			if i >= 600 {
				a, b = a+tt.exposed, b+tt.baseline
			}
			f, shared := p.Step(start.Add(time.Duration(i)*time.Minute), a, b)
			if i < 600 || i > 601 || f.Score == 0 { // later ones may be chance
				continue
			}
			found++
			if shared != tt.shared {
				t.Errorf("%s, row %d: shared %v (%+v)", name, i, shared, f)
			}
		}
		if found == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
	p := NewPair(0)
	for i := range 100 {
		if f, _ := p.Step(start.Add(time.Duration(i)*time.Minute), math.NaN(), 1); f.Score != 0 {
			t.Errorf("without exposed values: %+v", f)
		}
	}
}
