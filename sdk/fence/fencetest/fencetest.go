// Package fencetest is the conformance suite of fences: whoever guards a resource with floors of their own runs it against
// their implementation.
package fencetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"sluice.dev/sdk/fence"
)

// Resource is a guarded resource under test.
type Resource interface {
	// Raise takes higher floors; when it returns nil they are durable.
	Raise(floors map[string]uint64) error
	// Admit is what happens to work with the stamps, *fence.Refused if it does not pass.
	Admit(stamps ...fence.Stamp) error
	// Reopen is the resource after a crash: only what was durable is left.
	Reopen(t *testing.T) Resource
}

// Run runs the suite; open returns a new, empty resource.
func Run(t *testing.T, open func(t *testing.T) Resource) {
	t.Run("AgreesWithItsTwin", func(t *testing.T) { twin(t, open(t)) })
	t.Run("StoppedClock", func(t *testing.T) { stoppedClock(t, open(t)) })
	t.Run("NothingSlipsIn", func(t *testing.T) { nothingSlipsIn(t, open(t)) })
	t.Run("OneStampOfMany", func(t *testing.T) { oneOfMany(t, open(t)) })
}

// twin raises, asks and crashes at random beside a map that only grows.
func twin(t *testing.T, r Resource) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	floors := map[string]uint64{}
	for step := range 600 {
		scope, rev := fmt.Sprintf("s%d", rng.IntN(3)), uint64(rng.IntN(50))
		switch rng.IntN(10) {
		case 0:
			r = r.Reopen(t)
		case 1, 2:
			if err := r.Raise(map[string]uint64{scope: rev}); err != nil {
				t.Fatalf("seed %d, step %d: raise %s to %d: %v", seed, step, scope, rev, err)
			}
			floors[scope] = max(floors[scope], rev)
		default:
			err := r.Admit(fence.Stamp{Scope: scope, Revision: rev})
			var refused *fence.Refused
			switch {
			case rev >= floors[scope] && err != nil:
				t.Fatalf("seed %d, step %d: %d of %s over floor %d: %v", seed, step, rev, scope, floors[scope], err)
			case rev < floors[scope] && (!errors.As(err, &refused) || refused.Floor != floors[scope] || refused.Scope != scope || refused.Revision != rev):
				t.Fatalf("seed %d, step %d: %d of %s under floor %d: %v", seed, step, rev, scope, floors[scope], err)
			}
		}
	}
}

// stoppedClock: a writer whose clock stands still believes in its lease for ever and goes on with the revoked revision; not
// one piece of its work lands, also after the resource has crashed.
func stoppedClock(t *testing.T, r Resource) {
	work := fence.Stamp{Scope: "spend7d", Revision: 17}
	if err := r.Admit(work); err != nil {
		t.Fatalf("before the revoke: %v", err)
	}
	if err := r.Raise(map[string]uint64{"spend7d": 18}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if r.Admit(work) == nil {
			t.Fatal("revoked work landed")
		}
	}
	if err := r.Raise(map[string]uint64{"spend7d": 3}); err != nil {
		t.Fatal(err)
	}
	if r = r.Reopen(t); r.Admit(work) == nil {
		t.Error("revoked work landed after a late message with an old floor, or after a crash")
	}
	if err := r.Admit(fence.Stamp{Scope: "spend7d", Revision: 18}, fence.Stamp{Scope: "another", Revision: 1}); err != nil {
		t.Errorf("what was not revoked is refused: %v", err)
	}
}

// nothingSlipsIn: whatever is asked after Raise has returned is refused, however many ask.
func nothingSlipsIn(t *testing.T, r Resource) {
	var mu sync.Mutex
	raised := uint64(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				mu.Lock()
				floor := raised
				mu.Unlock()
				rev := uint64(i % 25)
				if err := r.Admit(fence.Stamp{Scope: "s", Revision: rev}); err == nil && rev < floor {
					t.Errorf("revision %d landed after the floor was %d", rev, floor)
				}
			}
		})
	}
	for f := uint64(1); f <= 20; f++ {
		if err := r.Raise(map[string]uint64{"s": f}); err != nil {
			t.Error(err)
		}
		mu.Lock()
		raised = f
		mu.Unlock()
	}
	wg.Wait()
}

func oneOfMany(t *testing.T, r Resource) {
	if err := r.Raise(map[string]uint64{"b": 5}); err != nil {
		t.Fatal(err)
	}
	err := r.Admit(fence.Stamp{Scope: "a", Revision: 1}, fence.Stamp{Scope: "b", Revision: 4}, fence.Stamp{Scope: "c", Revision: 1})
	var refused *fence.Refused
	if !errors.As(err, &refused) || refused.Scope != "b" {
		t.Errorf("one of three stamps is below its floor: %v", err)
	}
}
