package dst

import (
	"testing"

	"sluice.dev/sluice/internal/mutant"
)

// caught names a seed that notices each mutant of the server and of the client's half of the protocol. docs/verification.md
// has the rules. A change of the simulation may move a catch to another seed: the test then says which.
var caught = []struct {
	name string
	seed uint64
}{
	{"stop-nothing", 1},
	{"act-first", 1},
	{"old-floor", 2},
	{"restore-all", 2},
	{"restore-other", 1},
	{"floors-forgotten", 3},
	{"no-checkpoint", 1},
	{"rollback-put-off", 2},
	{"any-ack", 1},
	{"unwind-early", 1},
	{"no-deadline", 4},
	{"prepare-ignored", 5},
	{"writers-first", 1},
	{"floor-falls", 1},
	{"unwind-unasked", 1},
	{"held-forever", 3},
	{"ack-early", 1},
	{"drained-at-once", 1},
	{"no-drain", 1},
	{"forget-early", 1},
	{"clocks-apart", 9},
	{"no-restart-wait", 3},
	{"no-evidence", 1},
	{"grant-first", 1},
	{"from-receipt", 24},
	{"boot-retires", 17},
	{"away-is-silence", 17},
}

// TestMutantsAreCaught switches one rule off at a time. The named seed has to notice; if it does not any more, the test looks
// for one that does, and fails either way.
func TestMutantsAreCaught(t *testing.T) {
	if !mutant.Built {
		t.Skip("needs a build that can switch rules off: make mutants")
	}
	for _, c := range caught {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SLUICE_MUTANT", c.name)
			if r := Run(c.seed, nil); r.Violation != "" {
				t.Logf("seed %d: %s", c.seed, r.Violation)
				return
			}
			for seed := uint64(1); seed <= 100; seed++ {
				if r := Run(seed, nil); r.Violation != "" {
					t.Fatalf("seed %d does not notice any more, seed %d does: %s", c.seed, seed, r.Violation)
				}
			}
			t.Fatalf("no seed of 100 notices")
		})
	}
}
