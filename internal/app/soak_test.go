//go:build soak

package app_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/store/testpg"
)

// soakRounds is how often each soak test goes round; SLUICE_SOAK_ROUNDS says otherwise.
func soakRounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("SLUICE_SOAK_ROUNDS")); err == nil {
		return n
	}
	return usual
}

// TestSoakKills kills servers 1,000 times on each kind of store, 50 times a rollout.
func TestSoakKills(t *testing.T) {
	for round := range soakRounds(20) {
		seed := uint64(20261124 + round)
		t.Run(fmt.Sprint("sqlite ", seed), func(t *testing.T) { killAndContinue(t, newVictim(t, ""), 50, seed) })
		t.Run(fmt.Sprint("postgres ", seed), func(t *testing.T) {
			v := &victim{t: t, dir: t.TempDir(), db: testpg.URL(t), span: 500 * time.Millisecond, addr: freeAddress(t)}
			v.start()
			t.Cleanup(v.kill)
			killAndContinue(t, v, 50, seed)
		})
	}
}

// sqliteAlone are the points that only a server on a directory of its own comes by.
var sqliteAlone = []fail.Point{fail.OpenLocked, fail.OpenFile, fail.OpenConnected, fail.OpenChecked, fail.ReserveMade}

// once are the points that a life of the server with one member comes by once, as it does by those of its start.
var once = []fail.Point{fail.HelloStored, fail.HelloJoined, fail.HelloAnswered, fail.AppendMember, fail.WatchJoined, fail.ClaimSeen}

// TestSoakCrashPoints crashes at every point on each kind of store, at a drawn time of coming by it.
func TestSoakCrashPoints(t *testing.T) {
	for round := range soakRounds(10) {
		seed := uint64(round)
		rng := rand.New(rand.NewPCG(seed, 7))
		nth := func(p fail.Point) int {
			if p < fail.Serving || slices.Contains(once, p) {
				return 1
			}
			return 1 + rng.IntN(6)
		}
		for _, kind := range []string{"sqlite", "postgres"} {
			t.Run(fmt.Sprint(kind, " ", seed), func(t *testing.T) {
				db, others := "", sharedAlone
				if kind == "postgres" {
					db, others = testpg.URL(t), sqliteAlone
				}
				points := slices.DeleteFunc(fail.All(), func(p fail.Point) bool { return slices.Contains(others, p) })
				later := points[slices.Index(points, fail.Serving):]
				rng.Shuffle(len(later), func(i, j int) { later[i], later[j] = later[j], later[i] })
				crashEverywhere(t, db, points, nth)
			})
		}
	}
}

// TestSoakHistories checks longer histories through two servers, with ten changes of the leader each.
func TestSoakHistories(t *testing.T) {
	for round := range soakRounds(10) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			var blows []syscall.Signal
			for range 5 {
				blows = append(blows, syscall.SIGKILL, syscall.SIGSTOP)
			}
			linearizable(t, uint64(round), blows)
		})
	}
}
