package slp

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/internal/mutant"
)

var (
	worldSeed = flag.Uint64("world", 0, "replay one world and print its trace")
	worlds    = flag.Int("worlds", 0, "number of random worlds; 0 means 400, or 100 under the race detector")
)

const worldSteps = 1500

func runWorld(seed uint64, steps int) *world {
	w := newWorld(seed)
	for range steps {
		w.step()
		if w.fault != "" {
			return w
		}
	}
	return w
}

func explain(t *testing.T, seed uint64, w *world) {
	t.Helper()
	tail := w.trace[max(0, len(w.trace)-60):]
	t.Fatalf("world %d: %s\nrepeat: go test ./slp -run %s -world %d\n%s", seed, w.fault, t.Name(), seed, strings.Join(tail, "\n"))
}

// TestNothingRevokedIsServedAfterTheProof is G1a in random worlds, with floors and heads that never fall.
func TestNothingRevokedIsServedAfterTheProof(t *testing.T) {
	if *worldSeed != 0 {
		w := runWorld(*worldSeed, worldSteps)
		_, _ = os.Stdout.WriteString(strings.Join(w.trace, "\n") + "\n")
		if w.fault != "" {
			t.Fatal(w.fault)
		}
		return
	}
	count := *worlds
	switch {
	case count == 0 && raceEnabled:
		count = 100
	case count == 0:
		count = 400
	}
	var sum counters
	for seed := uint64(1); seed <= uint64(count); seed++ {
		w := runWorld(seed, worldSteps)
		if w.fault != "" {
			explain(t, seed, w)
		}
		sum.proofs += w.seen.proofs
		sum.byAck += w.seen.byAck
		sum.byLapse += w.seen.byLapse
		sum.exposed += w.seen.exposed
		sum.restarts += w.seen.restarts
		sum.failovers += w.seen.failovers
	}
	t.Logf("%d worlds: %+v", count, sum)
	if sum.proofs < count || sum.byAck < count/2 || sum.byLapse < count/4 || sum.exposed < count*10 || sum.restarts < count {
		t.Fatalf("the worlds hardly try anything: %+v", sum)
	}
}

// TestWorldsConverge: after any chaos, a calm network brings every member to the head, its acks to the server, and every
// lease and unwind to where it belongs.
func TestWorldsConverge(t *testing.T) {
	count := uint64(150)
	if raceEnabled {
		count = 40
	}
	for seed := uint64(1); seed <= count; seed++ {
		w := runWorld(seed, 400)
		w.settle(75 * time.Second) // longer than the slowest retry twice
		if w.fault != "" {
			explain(t, seed, w)
		}
		if err := w.converged(); err != nil {
			w.fault = err.Error()
			explain(t, seed, w)
		}
	}
}

// TestMutantsAreCaught switches one rule off at a time: the worlds must notice, or they prove nothing. Rules whose breach
// needs a rarer coincidence have tests of their own.
func TestMutantsAreCaught(t *testing.T) {
	if !mutant.Built {
		t.Skip("needs a build that can switch rules off: make mutants")
	}
	for _, name := range []mutant.Name{mutant.FromReceipt, mutant.FloorFalls, mutant.AckEarly, mutant.AnyBoot, mutant.SleepKeeps} {
		t.Run(string(name), func(t *testing.T) {
			t.Setenv("SLUICE_MUTANT", string(name))
			for seed := uint64(1); seed <= 2000; seed++ {
				if w := runWorld(seed, worldSteps); w.fault != "" {
					t.Logf("caught in world %d: %s", seed, w.fault)
					return
				}
			}
			t.Fatal("not caught in 2000 worlds")
		})
	}
}
