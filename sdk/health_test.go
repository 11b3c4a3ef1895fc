package sluice

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// TestReadyTurnsRedWithinALease: a lost stream is visible in readiness and in every evaluation, at the latest a lease later.
func TestReadyTurnsRedWithinALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(func(c *Config) { c.CacheDir = "" })
		w.open(flag.Full)
		soon()
		if err := c.Ready(); err != nil {
			t.Errorf("joined: %v", err)
		}
		ctx, req := c.Begin(t.Context(), "u")
		defer req.End(nil)
		if e := c.Flag("model").Evaluate(ctx); e.Stale || e.Age > 5*time.Second || e.Unit != "u" || e.Revision == 0 {
			t.Errorf("joined: %+v", e)
		}
		ttl := c.shortestLease()
		w.net.cut()
		time.Sleep(c.quietTime() + ttl + time.Second)
		if err := c.Ready(); !errors.Is(err, ErrStale) {
			t.Errorf("the stream lost: %v", err)
		}
		if e := c.Flag("model").Evaluate(ctx); !e.Stale || e.Age < ttl {
			t.Errorf("the stream lost: %+v", e)
		}
		w.net.up()
		time.Sleep(20 * time.Second)
		if err := c.Ready(); err != nil {
			t.Errorf("back: %v", err)
		}
		w.leave(c)
	})
}

func TestNotReadyWithoutConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.net.cut()
		c := w.join(func(c *Config) { c.Offline = true })
		if err := c.Ready(); !errors.Is(err, ErrNoConfiguration) {
			t.Errorf("offline: %v", err)
		}
		_ = c.Close(t.Context()) // there is nobody to say it to
	})
}

// recorder keeps what a hook is told.
type recorder struct {
	mu   sync.Mutex
	list []Evaluation
}

func (r *recorder) Evaluated(_ context.Context, e Evaluation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
	if e.Key == "panic" {
		panic("hook")
	}
}

func TestHookIsToldOfEveryEvaluation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told recorder
		w := newWorld(t)
		c := w.join(func(c *Config) { c.Hook = &told })
		w.open(flag.Full)
		soon()
		ctx, req := c.Begin(t.Context(), "u")
		if SpanAttributes(ctx) != nil || SpanAttributes(t.Context()) != nil {
			t.Error("span attributes before any rollout was evaluated")
		}
		c.Flag("model").String(ctx, "?")
		c.Flag("on").Bool(ctx, false)
		c.Flag("none").Detail(ctx)
		c.Flag("model").For(ctx, flag.NewContext("other"))
		c.Flag("panic").Bool(ctx, false)
		span := SpanAttributes(ctx)
		req.End(nil)
		var keys []string
		for _, e := range told.list {
			keys = append(keys, e.Key+" "+e.Unit)
		}
		if want := []string{"model u", "on u", "none u", "model other", "panic u"}; !slices.Equal(keys, want) {
			t.Errorf("told of %q, want %q", keys, want)
		}
		got := map[string]any{}
		for _, a := range told.list[0].Attributes() {
			got[a.Key] = a.Value
		}
		if got["feature_flag.key"] != "model" || got["feature_flag.result.reason"] != "split" || got["feature_flag.context.id"] != "u" || got["sluice.arm"] != "exposed" || got["feature_flag.version"] == nil {
			t.Errorf("attributes %v", got)
		}
		if a := told.list[2].Attributes(); !slices.Contains(a, Attribute{"error.type", "flag_not_found"}) {
			t.Errorf("attributes of an error: %v", a)
		}
		if len(span) != 3 || span[2] != (Attribute{"sluice.arm", "exposed"}) {
			t.Errorf("span attributes %v", span)
		}
		if n := c.Status().Counters.Panics; n != 1 {
			t.Errorf("%d panics counted, the hook made 1", n)
		}
		w.leave(c)
	})
}

func TestFixedClientAnswersWithoutServer(t *testing.T) {
	c, err := Fixed(map[string]any{"b": true, "s": "x", "i": 7, "f": 0.5, "o": map[string]int{"a": 1}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, req := c.Begin(t.Context(), "u")
	req.Observe("score", 1)
	if !c.Flag("b").Bool(ctx, false) || c.Flag("s").String(ctx, "") != "x" || c.Flag("i").Int(ctx, 0) != 7 || c.Flag("f").Float(ctx, 0) != 0.5 || string(c.Flag("o").Raw(ctx, nil)) != `{"a":1}` {
		t.Error("a fixed value is not answered")
	}
	if got := c.Flag("none").Int(ctx, 3); got != 3 {
		t.Errorf("unknown flag %d, want the default", got)
	}
	req.End(nil)
	if err := c.Ready(); err != nil || c.Age() != 0 {
		t.Errorf("ready %v, age %s", err, c.Age())
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, bad := range []map[string]any{{"Bad Key": true}, {"x": nil}, {"x": make(chan int)}} {
		if _, err := Fixed(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// TestForeignEvaluatorIsHeldToLeaseAndDrain: an evaluator of the caller's own gets no lease after a revoke, and the revoke
// waits for the drain bound after the last yes.
func TestForeignEvaluatorIsHeldToLeaseAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var swaps []uint64
		w := newWorld(t)
		c := w.join(func(c *Config) { c.OnSwap = func(s *slp.Snapshot) { swaps = append(swaps, s.Head.Rev) } })
		w.open(flag.Full)
		soon()
		rev := c.Snapshot().Scopes[theRollout].Rev
		if !c.Leased(theRollout, rev) || c.Leased("none", 1) {
			t.Error("a lease is held of the rollout's scope only")
		}
		gone := w.revoke()
		soon()
		if c.Leased(theRollout, rev) {
			t.Error("leased after the revoke")
		}
		if got := w.ack(c.boot, theRollout, slp.StageDrained); got >= gone {
			t.Errorf("drained %d at once, the drain bound has not passed", got)
		}
		time.Sleep(c.cfg.DrainBound + time.Second)
		if got := w.ack(c.boot, theRollout, slp.StageDrained); got != gone {
			t.Errorf("drained %d, want %d", got, gone)
		}
		if !slices.IsSorted(swaps) || len(swaps) < 2 || swaps[len(swaps)-1] != gone {
			t.Errorf("swaps %v, the last one is %d", swaps, gone)
		}
		w.leave(c)
	})
}

// TestProcessesThatShareACacheNeverTakeFloorsBack: the slower of two processes must not undo what the other acknowledged.
func TestProcessesThatShareACacheNeverTakeFloorsBack(t *testing.T) {
	cfg := &Config{URL: "http://x", Component: "c", Instance: "i", CacheDir: filepath.Join(t.TempDir(), "cache")}
	open := func() *diskCache {
		t.Helper()
		d, err := openCache(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	fast, slow := open(), open()
	write := func(d *diskCache, k *slp.Cache) {
		t.Helper()
		k.Format = slp.CacheFormat
		if err := d.write(k); err != nil {
			t.Fatal(err)
		}
	}
	write(slow, &slp.Cache{Floors: map[string]uint64{"a": 3}, Seen: 4})
	write(fast, &slp.Cache{Floors: map[string]uint64{"a": 7}, Seen: 9})
	write(slow, &slp.Cache{Floors: map[string]uint64{"a": 5, "b": 1}, Seen: 8})
	write(slow, &slp.Cache{Floors: map[string]uint64{"a": 6, "b": 1}, Seen: 8})
	got, err := open().read()
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]uint64{"a": 7, "b": 1}; got.Seen != 9 || !maps.Equal(got.Floors, want) {
		t.Errorf("read %+v, want floors %v and head 9", got, want)
	}
}

// TestTargetingKnowsTheTime: flags whose targeting asks for the time see it in a request.
func TestTargetingKnowsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		base := baseObjects()
		base["flag/late"] = obj(map[string]any{
			"key": "late", "type": "string", "variants": map[string]string{"no": "no", "yes": "yes"}, "default": "no",
			"targeting": map[string]any{"if": []any{map[string]any{">": []any{map[string]any{"var": "$flagd.timestamp"}, time.Now().Add(time.Hour).Unix()}}, "yes", "no"}},
		})
		w.put("base", base)
		soon()
		for _, want := range []string{"no", "yes"} {
			ctx, req := c.Begin(t.Context(), "u")
			if got := c.Flag("late").String(ctx, "?"); got != want {
				t.Errorf("at %s: got %q, want %q", time.Now(), got, want)
			}
			req.End(nil)
			time.Sleep(2 * time.Hour)
		}
	})
}
