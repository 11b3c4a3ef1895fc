package sluice

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// randomEnv changes some scope of an environment at random, so that objects of every kind come, go and move.
func randomEnv(rng *rand.Rand, s *fake) {
	scopes := []string{"base", "overlay", "r1", "r2", "r3"}
	s.head++
	name := scopes[rng.IntN(len(scopes))]
	if name != "base" && name != "overlay" && rng.IntN(4) == 0 {
		delete(s.scopes, name)
		return
	}
	objects := map[string]json.RawMessage{}
	for i := range 3 {
		key := fmt.Sprintf("f%d", (slices.Index(scopes, name)*3+i+rng.IntN(2))%9) // now and then in two scopes: refused
		f := flag.Flag{Key: key, Type: flag.String, Default: "a", Variants: map[string]json.RawMessage{"a": obj(key + "a"), "b": obj(key + "b")}}
		if rng.IntN(2) == 0 {
			f.Rules = []flag.Rule{{Match: flag.Condition{Segment: fmt.Sprintf("s%d", rng.IntN(2))}, Serve: "b"}}
		}
		if name[0] == 'r' && i == 0 {
			f.Rollout = &flag.Rollout{ID: name, Stable: "a", Candidate: "b", Salt: "x", Cohorts: []flag.CohortExposure{{Cohort: "all", Exposure: flag.Exposure(rng.IntN(100_000))}}}
			objects["judge/"+name] = obj(flag.Judged{Rollout: name, Metrics: json.RawMessage(`{}`)})
		}
		if rng.IntN(4) > 0 {
			objects["flag/"+key] = obj(f)
		}
		if rng.IntN(6) == 0 {
			id := fmt.Sprintf("e%s%d", name, i)
			target := []string{key, fmt.Sprintf("f%d", rng.IntN(9))}[rng.IntN(2)]
			objects["exception/"+id] = obj(flag.Exception{ID: id, Flag: target, Match: flag.Condition{Always: true}, Serve: "b", Reason: "r", ApprovedBy: "user:a"})
		}
		if rng.IntN(12) == 0 {
			objects[fmt.Sprintf("segment/s%d", rng.IntN(2))] = json.RawMessage(`null`)
		}
	}
	for path := range objects {
		if kind := path[:2]; kind == "se" {
			objects[path] = obj(flag.Segment{Name: path[len("segment/"):], Match: flag.Condition{Attr: &flag.Compare{Name: "region", Op: "eq", Value: obj("eu")}}})
		}
	}
	if name == "overlay" {
		objects = map[string]json.RawMessage{}
		if k := fmt.Sprintf("f%d", rng.IntN(9)); rng.IntN(2) == 0 {
			objects["kill/"+k] = obj(flag.Kill{Flag: k})
		}
	}
	s.scopes[name] = fakeScope{rev: s.head, objects: objects, leased: name[0] == 'r'}
}

// TestPartEqualsWhole compares what is compiled in part with what is compiled whole, over random changes.
func TestPartEqualsWhole(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	c := still(t, 0)
	s := newFake(t)
	parts := 0
	contexts := []*flag.Context{nil, flag.NewContext("u"), flag.NewContext("v", flag.Str("region", "eu"))}
	for n := range 4000 {
		randomEnv(rng, s)
		wire := s.snapshot()
		whole, err := c.compileWhole(&wire)
		part := c.compilePart(c.current.Load(), &wire)
		if err != nil {
			if part != nil {
				t.Fatalf("seed %d, change %d: the part compiles, the whole does not: %v", seed, n, err)
			}
			continue
		}
		if part != nil {
			parts++
			comparePart(t, n, part, whole, contexts)
			whole = part
		}
		c.current.Store(whole)
	}
	if parts < 200 {
		t.Fatalf("only %d of 4000 changes were compiled in part", parts)
	}
	t.Logf("%d of 4000 changes were compiled in part", parts)
}

func comparePart(t *testing.T, n int, part, whole *snapshot, contexts []*flag.Context) {
	t.Helper()
	if got, want := slices.Sorted(maps.Keys(part.bound)), slices.Sorted(maps.Keys(whole.bound)); !slices.Equal(got, want) {
		t.Fatalf("change %d: flags %v, want %v", n, got, want)
	}
	if part.open != whole.open || part.leased != whole.leased {
		t.Fatalf("change %d: open %d, leased %t; want %d, %t", n, part.open, part.leased, whole.open, whole.leased)
	}
	for key, b := range part.bound {
		w := whole.bound[key]
		if b.cell != w.cell || b.hold != w.hold || b.digest8 != w.digest8 || (b.settled == nil) != (w.settled == nil) {
			t.Fatalf("change %d, flag %s: %+v, want %+v", n, key, b, w)
		}
		for _, ctx := range contexts {
			for _, leased := range []bool{false, true} {
				got, want := b.handle.Eval(ctx, leased), w.handle.Eval(ctx, leased)
				if string(got.Variant.Raw) != string(want.Variant.Raw) {
					t.Fatalf("change %d, flag %s: serves %s, want %s", n, key, got.Variant.Raw, want.Variant.Raw)
				}
				if got.Variant, want.Variant = nil, nil; got != want {
					t.Fatalf("change %d, flag %s: %+v, want %+v", n, key, got, want)
				}
			}
		}
	}
}

// large is an environment of n settled flags and the rollout.
func large(n int) *fake {
	s := newFake(nil)
	objects := map[string]json.RawMessage{}
	for i := range n {
		key := fmt.Sprintf("flag-%05d", i)
		objects["flag/"+key] = obj(flag.Flag{Key: key, Type: flag.Bool, Default: "on", Variants: map[string]json.RawMessage{"on": obj(true), "off": obj(false)},
			Rules: []flag.Rule{{Match: flag.Condition{Attr: &flag.Compare{Name: "region", Op: "eq", Value: obj("eu")}}, Serve: "off"}}})
	}
	s.scopes["base"] = fakeScope{rev: 1, objects: objects}
	s.scopes[theRollout] = fakeScope{rev: 1, objects: rolloutObjects(1000), leased: true, ttl: ttl}
	return s
}

// BenchmarkSwap is from a delta on the wire to a snapshot that can be put in force, with 10,000 other flags.
func BenchmarkSwap(b *testing.B) {
	s := large(9_999)
	c := still(b, 0)
	wire := s.snapshot()
	cur, err := c.compile(&wire)
	if err != nil {
		b.Fatal(err)
	}
	c.current.Store(cur)
	s.head = 2
	s.scopes[theRollout] = fakeScope{rev: 2, objects: settledObjects(), leased: true, ttl: ttl}
	next := s.snapshot()
	d := &slp.Delta{Base: wire.Head.Digest, Scopes: next.Scopes, Upsert: map[string]json.RawMessage{theRollout + "/flag/model": next.Objects[theRollout+"/flag/model"]},
		Delete: []string{theRollout + "/judge/" + theRollout}}
	b.Run("one scope of many", func(b *testing.B) {
		for b.Loop() {
			to, err := wire.Apply(d, next.Head)
			if err != nil {
				b.Fatal(err)
			}
			if c.compilePart(cur, to) == nil {
				b.Fatal("not in part")
			}
		}
	})
	b.Run("everything", func(b *testing.B) {
		for b.Loop() {
			if err := next.Verify(); err != nil {
				b.Fatal(err)
			}
			if _, err := c.compileWhole(&next); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestMemoryOfManyFlags: 10,000 flags cost at most 32 MB, with their wire form kept for deltas.
func TestMemoryOfManyFlags(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	c := still(t, 0)
	text, err := json.Marshal(large(9_999).snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wire slp.Snapshot
	if err := json.Unmarshal(text, &wire); err != nil {
		t.Fatal(err)
	}
	s, err := c.compileWhole(&wire)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := float64(after.HeapAlloc-before.HeapAlloc) / (1 << 20)
	t.Logf("10,000 flags with a rule each: %.1f MB of heap for %.1f MB of JSON", used, float64(len(text))/(1<<20))
	if used > 32 {
		t.Errorf("%.1f MB of heap", used)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(text)
}
