package dst

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var seeds = flag.Int("seeds", 60, "number of random lives")

// TestRandomLives: in every life everything holds that oracle.go looks at, and the lives are worth looking at.
func TestRandomLives(t *testing.T) {
	s := Many(1, *seeds, 2, time.Time{})
	for _, v := range s.Violations {
		t.Errorf("seed %d: %s\nrepeat: %s", v.Seed, v.Text, v.Command)
	}
	t.Logf("%d seeds, %s simulated, %d faults %v, %+v", s.Seeds, s.Lived, s.Faults, s.ByKind, s.Seen)
	n := *seeds
	if s.Seen.Proofs < n || s.Seen.ByAck < n || s.Seen.ByLapse < n/2 || s.Seen.Exposed < 100*n || s.Seen.Recoveries < 2*n || s.Seen.Completed == 0 {
		t.Errorf("the lives hardly try anything: %+v", s.Seen)
	}
	for _, m := range misfortunes {
		if s.ByKind[m.name] == 0 && m.name != "member disk" {
			t.Errorf("nothing of the kind %q in %d seeds", m.name, n)
		}
	}
}

// TestSameSeedSameLife: a seed is a life, whatever happens beside it.
func TestSameSeedSameLife(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			a, b := Run(seed, nil), Run(seed, nil)
			if a.Trace != b.Trace || a.Lived != b.Lived || a.Seen != b.Seen {
				t.Errorf("two lives of one seed differ: %+v and %+v", a, b)
			}
		})
	}
}
