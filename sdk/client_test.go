package sluice

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// soon lets everything that is under way finish, and a moment pass.
func soon() {
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
}

func TestSettledFlags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		ctx, req := c.Begin(t.Context(), "u", flag.Str("region", "eu"))
		defer req.End(nil)
		if !c.Flag("on").Bool(ctx, false) || c.Flag("limit").Int(ctx, 0) != 7 || c.Flag("rate").Float(ctx, 0) != 0.5 {
			t.Error("wrong values")
		}
		if got := c.Flag("plan").String(ctx, "?"); got != "g" {
			t.Errorf("the rule serves %q, want g", got)
		}
		if got := string(c.Flag("limit").Raw(ctx, nil)); got != "7" {
			t.Errorf("raw %s", got)
		}
		if got := c.Flag("plan").String(t.Context(), "?"); got != "b" {
			t.Errorf("without request %q, want the default variant", got)
		}
		if got := c.Flag("on").String(ctx, "def"); got != "def" {
			t.Errorf("another type gives %q, want the default given", got)
		}
		if d := c.Flag("nothing").Detail(ctx); d.ErrCode != flag.ErrFlagNotFound || c.Flag("nothing").Int(ctx, 3) != 3 {
			t.Errorf("a flag that does not exist: %+v", d)
		}
		if first := c.Flag("on"); c.Flag("on") != first {
			t.Error("two handles of one key")
		}
	})
}

// TestSettledShortcutAgrees: what is found at compilation is what evaluation says, for every context.
func TestSettledShortcutAgrees(t *testing.T) {
	c := still(t, 0)
	wire := *c.view.Load().Snapshot
	wire.Objects = maps.Clone(wire.Objects)
	for path, o := range map[string]any{
		"overlay/kill/limit":     flag.Kill{Flag: "limit"},
		"overlay/exclude/x":      flag.Exclusion{ID: "x", Flag: "rate", Match: flag.Condition{Always: true}},
		"base/exception/e":       flag.Exception{ID: "e", Flag: "on", Match: flag.Condition{Attr: &flag.Compare{Name: "region", Op: "exists"}}, Serve: "no", Reason: "r", ApprovedBy: "user:a"},
		"base/exception/nowhere": flag.Exception{ID: "nowhere", Flag: "gone", Match: flag.Condition{Always: true}, Serve: "no", Reason: "r", ApprovedBy: "user:a"},
	} {
		wire.Objects[path] = obj(o)
	}
	s, err := c.compileWhole(&wire)
	if err != nil {
		t.Fatal(err)
	}
	settled := 0
	for key, b := range s.bound {
		for _, ctx := range []*flag.Context{
			nil, flag.NewContext(""), flag.NewContext("u", flag.Str("region", "eu")), flag.NewContext(strings.Repeat("u", flag.MaxTargetingKey+1)),
		} {
			if want := b.handle.Eval(ctx, false).Variant; b.settled != nil && b.settled != want {
				t.Errorf("flag %s: %+v, evaluation says %+v", key, b.settled, want)
			}
		}
		if b.settled != nil {
			settled++
		}
	}
	if settled != 1 {
		t.Errorf("%d flags count as settled, want rate alone", settled)
	}
}

func TestHandleFollowsChanges(t *testing.T) {
	for _, lag := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.lag = lag
			c := w.join(nil)
			defer w.leave(c)
			f, none := c.Flag("limit"), c.Flag("later")
			old, oldReq := c.Begin(t.Context(), "u")
			objects := baseObjects()
			objects["flag/limit"] = obj(flag.Flag{Key: "limit", Type: flag.Int, Default: "a", Variants: map[string]json.RawMessage{"a": obj(8)}})
			objects["flag/later"] = obj(flag.Flag{Key: "later", Type: flag.Bool, Default: "a", Variants: map[string]json.RawMessage{"a": obj(true)}})
			rev := w.put("base", objects)
			soon()
			ctx, req := c.Begin(t.Context(), "u")
			if f.Int(ctx, 0) != 8 || !none.Bool(ctx, false) {
				t.Errorf("after the change: %d, %t", f.Int(ctx, 0), none.Bool(ctx, false))
			}
			if f.Int(old, 0) != 7 {
				t.Error("a request that was open sees the new configuration")
			}
			req.End(nil)
			oldReq.End(nil)
			if got := w.ack(c.boot, "base", slp.StageActivated); got != rev {
				t.Errorf("activated %d, want %d", got, rev)
			}
			if got := w.ack(c.boot, "base", slp.StageDrained); got == rev {
				t.Error("drained before the drain bound: evaluations of settled flags are not counted")
			}
			time.Sleep(600 * time.Millisecond)
			soon()
			if got := w.ack(c.boot, "base", slp.StageDrained); got != rev {
				t.Errorf("drained %d after the drain bound, want %d", got, rev)
			}
		})
	}
}

func TestRolloutAndRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		model := c.Flag("model")
		w.open(50_000)
		soon()
		exposed, baseline := units(50_000, true, 1)[0], units(50_000, false, 1)[0]
		ctx, req := c.Begin(t.Context(), exposed)
		ctxB, reqB := c.Begin(t.Context(), baseline)
		if a, b := model.String(ctx, "?"), model.String(ctxB, "?"); a != "two" || b != "one" {
			t.Fatalf("exposed %q, baseline %q; status %+v", a, b, c.Status())
		}
		idle, idleReq := c.Begin(t.Context(), exposed) // open, nothing decided yet
		rev := w.revoke()
		soon()
		if got := w.ack(c.boot, theRollout, slp.StageActivated); got != rev {
			t.Errorf("activated %d, want %d", got, rev)
		}
		if got := w.ack(c.boot, theRollout, slp.StageDrained); got == rev {
			t.Error("drained while a request holds the candidate")
		}
		if got := model.String(ctx, "?"); got != "one" {
			t.Errorf("a second evaluation after the revoke gives %q", got)
		}
		if got := model.String(idle, "?"); got != "one" {
			t.Errorf("a request pinned to the revoked configuration gives %q", got)
		}
		reqB.End(nil)
		req.End(errors.New("too late"))
		soon()
		if got := w.ack(c.boot, theRollout, slp.StageDrained); got != rev {
			t.Errorf("drained %d after the request's end, want %d", got, rev)
		}
		idleReq.End(nil)
		if n := c.Status().Counters.LeaseEnded; n != 1 {
			t.Errorf("%d requests lost their lease, want 1", n)
		}
	})
}

func TestLooseEvaluationsDelayDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		w.open(flag.Full)
		soon()
		c.Flag("model").String(t.Context(), "?") // no unit: the baseline, but the client cannot know what it is used for
		rev := w.revoke()
		soon()
		if got := w.ack(c.boot, theRollout, slp.StageDrained); got == rev {
			t.Error("drained before the drain bound of a decision without request")
		}
		time.Sleep(500 * time.Millisecond)
		soon()
		if got := w.ack(c.boot, theRollout, slp.StageDrained); got != rev {
			t.Errorf("drained %d after the drain bound, want %d", got, rev)
		}
	})
}

func TestLeaseEndsWhenTheServerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer func() {
			w.net.up()
			w.leave(c)
		}()
		w.open(flag.Full)
		soon()
		serves := func() string {
			ctx, req := c.Begin(t.Context(), "u")
			defer req.End(nil)
			return c.Flag("model").String(ctx, "?")
		}
		time.Sleep(10 * time.Second)
		if got := serves(); got != "two" {
			t.Fatalf("under renewed leases it serves %q", got)
		}
		w.net.cut()
		time.Sleep(ttl - 500*time.Millisecond)
		if got := serves(); got != "two" {
			t.Errorf("within the lease it serves %q", got)
		}
		time.Sleep(500 * time.Millisecond)
		ctx, req := c.Begin(t.Context(), "u")
		defer req.End(nil)
		if d := c.Flag("model").Detail(ctx); d.String("?") != "one" || d.Reason != flag.ReasonLapsed || !c.Flag("on").Bool(ctx, false) {
			t.Errorf("after the lease: %+v", d)
		}
		time.Sleep(time.Hour)
		w.net.up()
		time.Sleep(6 * time.Second)
		if got := serves(); got != "two" {
			t.Errorf("6 s after the network is back it serves %q: %+v", got, c.Status())
		}
	})
}

// TestLeaseThatComesLateChangesNoRequest: what began on the baseline stays there.
func TestLeaseThatComesLateChangesNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		w.set(func() { w.refuse["/v1/renew"] = problemOf{status: 503} })
		w.open(flag.Full)
		soon()
		ctx, req := c.Begin(t.Context(), "u")
		defer req.End(nil)
		first := c.Flag("model").String(ctx, "?")
		w.set(func() { delete(w.refuse, "/v1/renew") })
		time.Sleep(3 * time.Second)
		if c.Status().Leases[theRollout] == 0 {
			t.Fatal("no lease came")
		}
		if again := c.Flag("model").String(ctx, "?"); first != "one" || again != "one" {
			t.Errorf("the request sees %q, then %q", first, again)
		}
	})
}

func TestQuietStreamIsReopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		soon()
		w.set(func() { w.silent = true })
		time.Sleep(9 * time.Second)
		if n := c.Status().Counters.Reconnects; n != 0 {
			t.Fatalf("reopened %d times before 10 s of silence", n)
		}
		time.Sleep(3 * time.Second)
		w.set(func() { w.silent = false })
		time.Sleep(3 * time.Second)
		if s := c.Status(); s.Counters.Reconnects == 0 || !s.Connected {
			t.Errorf("after 12 s of silence: %+v", s)
		}
	})
}

func TestEveryChangeArrivesOverABrokenStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		for range 5 {
			w.cut()
			rev := w.put("base", baseObjects())
			time.Sleep(3 * time.Second)
			if got := c.Status().Head.Rev; got != rev {
				t.Errorf("head %d, want %d", got, rev)
			}
		}
	})
}

func TestServerRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		w.open(flag.Full)
		soon()
		w.set(func() { w.known, w.epoch = map[string]bool{}, 2 })
		w.cut()
		time.Sleep(3 * time.Second)
		if s := c.Status(); s.Epoch != 2 || s.Leases[theRollout] < time.Second {
			t.Errorf("after the restart: %+v", s)
		}
		w.set(func() {
			w.refuse["/v1/renew"] = problemOf{status: 503, code: "not_leader", times: 2, retry: 1}
		})
		time.Sleep(5 * time.Second)
		if s := c.Status(); s.Leases[theRollout] < time.Second {
			t.Errorf("after two refusals: %+v", s)
		}
	})
}

func TestNewRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		refuse problemOf
		want   string
	}{
		"url":       {change: func(c *Config) { c.URL = "sluice.test" }, want: "Config.URL"},
		"component": {change: func(c *Config) { c.Component = "" }, want: "Config.Component"},
		"class":     {change: func(c *Config) { c.Class = "judge" }, want: "Config.Class"},
		"instance":  {change: func(c *Config) { c.Instance = "a b" }, want: "Config.Instance"},
		"drain":     {change: func(c *Config) { c.DrainBound = time.Hour }, want: "Config.DrainBound"},
		"caps":      {change: func(c *Config) { c.MaxBytes = -1 }, want: "MaxBytes"},
		"token":     {change: func(c *Config) { c.Token = "wrong" }, want: "401"},
		"hello":     {refuse: problemOf{status: 422, code: "hello.class"}, want: "hello.class"},
		"down":      {refuse: problemOf{status: 503, code: "not_leader"}, want: "not_leader"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				cfg := w.config()
				if tt.change != nil {
					tt.change(&cfg)
				}
				if tt.refuse.status != 0 {
					w.refuse["/v1/hello"] = tt.refuse
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				c, err := newClient(ctx, cfg, quietHooks())
				if err == nil {
					_ = c.Close(t.Context())
				}
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one that names %s", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), cfg.Token) && cfg.Token != "" {
					t.Errorf("the error shows the token: %v", err)
				}
				_ = w.srv.Close()
			})
		})
	}
}

func TestOfflineStartsOnDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.net.cut()
		c := w.join(func(c *Config) { c.Offline = true })
		f := c.Flag("limit")
		ctx, req := c.Begin(t.Context(), "u")
		if got := f.Int(ctx, 42); got != 42 {
			t.Errorf("without configuration %d, want the default", got)
		}
		req.End(nil)
		w.net.up()
		time.Sleep(6 * time.Second)
		ctx, req = c.Begin(t.Context(), "u")
		if got := f.Int(ctx, 42); got != 7 {
			t.Errorf("once the server is there %d, want 7", got)
		}
		req.End(nil)
		w.leave(c)
	})
}

func TestCacheSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		inDir := func(c *Config) { c.CacheDir = filepath.Join(dir, "cache") }
		c := w.join(inDir)
		w.open(flag.Full)
		soon()
		rev := w.revoke()
		soon()
		time.Sleep(time.Second)
		if got := w.ack(c.boot, "base", slp.StageActivated); got == 0 {
			t.Error("the durable configuration was not acknowledged")
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.net.cut()
		c = w.join(inDir)
		s := c.Status()
		if s.Head.Rev != rev || s.Floors[theRollout] != rev {
			t.Errorf("from the cache: head %+v, floors %v; want %d", s.Head, s.Floors, rev)
		}
		ctx, req := c.Begin(t.Context(), "u")
		if !c.Flag("on").Bool(ctx, false) || c.Flag("model").String(ctx, "?") != "one" {
			t.Error("settled values did not survive the restart")
		}
		req.End(nil)
		w.net.up()
		time.Sleep(6 * time.Second)
		w.set(func() {
			if h := w.hellos[len(w.hellos)-1]; h.Seen.Rev != rev || h.Caps.Cache != "durable" {
				t.Errorf("hello %+v", h)
			}
		})
		w.leave(c)
	})
}

func TestCacheOfAnOpenRolloutGivesNoLease(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(func(c *Config) { c.CacheDir = dir })
		w.open(flag.Full)
		soon()
		_ = c.Close(t.Context())
		w.net.cut()
		c = w.join(func(c *Config) { c.CacheDir = dir })
		ctx, req := c.Begin(t.Context(), "u")
		if got := c.Flag("model").Detail(ctx); got.Reason != flag.ReasonLapsed || got.String("?") != "one" {
			t.Errorf("from the cache: %+v", got)
		}
		req.End(nil)
		w.net.up()
		time.Sleep(6 * time.Second)
		w.leave(c)
	})
}

func TestBrokenCacheIsNoCache(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(func(c *Config) { c.CacheDir = dir })
		soon()
		_ = c.Close(t.Context())
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		if err := os.WriteFile(files[0], []byte(`{"format":1,"snapshot":{}`), 0o600); err != nil {
			t.Fatal(err)
		}
		c = w.join(func(c *Config) { c.CacheDir = dir })
		if s := c.Status(); s.Head.Rev != 1 {
			t.Errorf("%+v", s)
		}
		w.leave(c)
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 {
			t.Errorf("files left behind: %v", left)
		}
	})
}

func TestCacheThatCannotBeWrittenIsDeclared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(func(c *Config) { c.CacheDir = filepath.Join(file, "below") })
		w.set(func() {
			if h := w.hellos[0]; h.Caps.Cache != "none" {
				t.Errorf("hello declares cache %q", h.Caps.Cache)
			}
		})
		w.leave(c)
	})
}

func TestEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		model := c.Flag("model")
		w.open(50_000)
		soon()
		time.Sleep(time.Second)
		failed := errors.New("failed")
		for i, u := range append(units(50_000, true, 6), units(50_000, false, 4)...) {
			ctx, req := c.Begin(t.Context(), u, flag.Str("region", "eu"))
			model.String(ctx, "?")
			model.String(ctx, "?") // once more changes nothing
			req.Observe("latency", float64(i)/10)
			req.Observe("unknown", 1)
			var err error
			if i == 0 {
				err = failed
			}
			req.End(err)
			req.End(failed) // too late
			req.Observe("latency", 99)
		}
		ctx, open := c.Begin(t.Context(), units(50_000, true, 1)[0])
		model.String(ctx, "?")
		time.Sleep(1300 * time.Millisecond)
		w.mu.Lock()
		n, bad, opened := blocksWhere(w.reports, evidence.MetricError, evidence.ArmExposed)
		if n != 6 || bad != 1 || opened != 1 {
			t.Errorf("exposed: n %d, bad %d, open %d; want 6, 1, 1", n, bad, opened)
		}
		if n, bad, _ := blocksWhere(w.reports, "latency", evidence.ArmBaseline); n != 4 || bad != 4 {
			t.Errorf("baseline latency: n %d, bad %d; want 4, 4", n, bad)
		}
		last := w.reports[len(w.reports)-1]
		second := last.Through
		for _, q := range w.reports {
			for _, b := range q.Blocks {
				if b.Lease != evidence.LeaseHeld || b.Revision != 2 || b.Cohort != "all" || b.Exposure != 50_000 || b.Served != b.Assigned {
					t.Errorf("block %+v", b)
				}
				if q.Through >= b.Second && b.Open > 0 {
					t.Errorf("through %d although a request of %d is open", q.Through, b.Second)
				}
				if b.N > 0 && b.Cell(evidence.DimSegment, "region=eu") == nil {
					t.Errorf("no cell of the segment in %+v", b)
				}
			}
		}
		w.mu.Unlock()
		open.End(nil)
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		last = w.reports[len(w.reports)-1]
		if len(last.Blocks) != 0 || last.Through <= second {
			t.Errorf("the last message has %d blocks, through %d; want an empty one beyond %d", len(last.Blocks), last.Through, second)
		}
		count := len(w.reports)
		w.mu.Unlock()
		w.revoke()
		w.change(slp.EventCommit, func() { // the rollout is over
			delete(w.scopes, theRollout)
			base := w.scopes["base"]
			base.rev, base.objects = w.head, baseObjects()
			base.objects["flag/model"] = settledObjects()["flag/model"]
			w.scopes["base"] = base
		})
		time.Sleep(10 * time.Second)
		w.set(func() {
			if extra := len(w.reports) - count; extra > 4 {
				t.Errorf("%d messages in 10 s without a rollout", extra)
			}
		})
		w.leave(c)
	})
}

func TestEvidenceIsSentOnceAndKeptForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		w.open(flag.Full)
		soon()
		request := func() {
			ctx, req := c.Begin(t.Context(), "u")
			c.Flag("model").String(ctx, "?")
			req.End(nil)
		}
		w.set(func() { w.refuse["/v1/evidence"] = problemOf{status: 503} })
		for range 20 {
			request()
			time.Sleep(time.Second)
		}
		w.set(func() { delete(w.refuse, "/v1/evidence") })
		time.Sleep(3 * time.Second)
		w.set(func() {
			if n, _, _ := blocksWhere(w.reports, evidence.MetricError, evidence.ArmExposed); n != 20 {
				t.Errorf("%d requests after an outage of 20 s, want 20", n)
			}
			w.refuse["/v1/evidence"] = problemOf{status: 503}
		})
		for range 100 {
			request()
			time.Sleep(time.Second)
		}
		w.set(func() { delete(w.refuse, "/v1/evidence") })
		time.Sleep(5 * time.Second)
		w.set(func() {
			var lost uint64
			for _, q := range w.reports {
				lost += q.Lost
			}
			n, _, _ := blocksWhere(w.reports, evidence.MetricError, evidence.ArmExposed)
			if n+lost != 120 || lost < 35 || lost > 45 || c.Status().Counters.EvidenceLost != lost {
				t.Errorf("%d requests and %d lost after outages of 20 and 100 s; want 120 together, about 40 lost", n, lost)
			}
		})
		w.leave(c)
	})
}

func TestEvidenceWithoutLeaseSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		w.open(flag.Full)
		w.set(func() { delete(w.granting, theRollout) })
		time.Sleep(5 * time.Second)
		ctx, req := c.Begin(t.Context(), "u")
		c.Flag("model").String(ctx, "?")
		req.End(nil)
		time.Sleep(3 * time.Second)
		w.set(func() {
			found := false
			for _, q := range w.reports {
				for _, b := range q.Blocks {
					found = true
					if b.Lease != evidence.LeaseLapsed || b.Assigned != evidence.ArmExposed || b.Served != evidence.ArmBaseline {
						t.Errorf("block %+v", b)
					}
				}
			}
			if !found {
				t.Error("nothing was counted")
			}
		})
		w.leave(c)
	})
}

func TestPrepare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		w.open(1000)
		soon()
		ask := func(objects map[string]json.RawMessage) slp.Prepared {
			w.mu.Lock()
			e := w.event(slp.EventPrepare)
			e.Prepare = &slp.Prepare{Scope: theRollout, Digest: digestOf(objects), Objects: objects}
			w.broadcast(e)
			w.mu.Unlock()
			soon()
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.prepared[c.boot]
		}
		good := rolloutObjects(5000)
		if p := ask(good); p.Digest != digestOf(good) || p.Reject != nil {
			t.Errorf("prepared %+v", p)
		}
		bad := rolloutObjects(5000)
		bad["flag/model"] = json.RawMessage(`{"key":"model","type":"string","variants":{"v1":5},"default":"v1"}`)
		if p := ask(bad); p.Digest != digestOf(bad) || p.Reject == nil || p.Reject.Code != "prepare.compile" {
			t.Errorf("a content that does not compile: %+v", p)
		}
		w.leave(c)
	})
}

func TestUnwindHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var calls atomic.Int32
		c := w.join(func(c *Config) {
			c.Class = ClassWriter
			c.OnUnwind = func(_ context.Context, scope string) error {
				if scope != theRollout {
					t.Errorf("hook of scope %s", scope)
				}
				switch calls.Add(1) {
				case 1:
					return errors.New("not yet")
				case 2:
					panic("not yet either")
				}
				return nil
			}
		})
		w.open(flag.Full)
		soon()
		rev := w.revoke()
		time.Sleep(5 * time.Second)
		if calls.Load() != 0 || w.ack(c.boot, theRollout, slp.StageDrained) == rev {
			t.Errorf("%d calls, drained %d before the writers' turn", calls.Load(), w.ack(c.boot, theRollout, slp.StageDrained))
		}
		w.set(func() {
			w.unwind[theRollout] = ClassWriter
			w.broadcast(w.event(slp.EventState))
		})
		time.Sleep(10 * time.Second)
		if calls.Load() != 3 || w.ack(c.boot, theRollout, slp.StageDrained) != rev || c.Status().Counters.Unwinds != 1 {
			t.Errorf("%d calls, drained %d, want 3 and %d", calls.Load(), w.ack(c.boot, theRollout, slp.StageDrained), rev)
		}
		w.leave(c)
	})
}

// brokenHandle returns a handle whose rule panics, as a fault of ours would: nothing that can be configured does.
func brokenHandle(t *testing.T) *flag.Handle {
	h := &flag.Handle{Key: "on"}
	field := reflect.ValueOf(h).Elem().FieldByName("rules")
	rules := reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
	rules.Set(reflect.MakeSlice(field.Type(), 1, 1))
	op := rules.Index(0).FieldByName("match").FieldByName("op")
	op = reflect.NewAt(op.Type(), unsafe.Pointer(op.UnsafeAddr())).Elem()
	panics := func() (p bool) {
		defer func() { p = recover() != nil }()
		h.Eval(flag.NewContext("u"), false)
		return false
	}
	for i := range uint64(64) {
		if op.SetUint(i); panics() {
			return h
		}
	}
	t.Fatal("no operator of a matcher without operands panics")
	return nil
}

func TestPanicGivesTheDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		f := c.Flag("on")
		f.bound.Store(&resolved{&boundFlag{handle: brokenHandle(t)}, c.current.Load()})
		ctx, req := c.Begin(t.Context(), "u")
		if f.Bool(ctx, true) != true || f.Detail(ctx).ErrCode != ErrCodePanic {
			t.Errorf("detail %+v", f.Detail(ctx))
		}
		if n := c.Status().Counters.Panics; n == 0 {
			t.Error("the panic is not counted")
		}
		req.End(nil)
		w.leave(c)
	})
}

func TestSuspendEndsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var slept atomic.Int64
		h := quietHooks()
		inner := h.clock
		h.clock = func() time.Duration { return inner() + time.Duration(slept.Load()) }
		c, err := newClient(t.Context(), w.config(), h)
		if err != nil {
			t.Fatal(err)
		}
		w.open(flag.Full)
		soon()
		w.set(func() { w.refuse["/v1/renew"] = problemOf{status: 503} })
		if c.Status().Leases[theRollout] == 0 {
			t.Fatal("no lease to begin with")
		}
		slept.Store(int64(time.Minute))
		time.Sleep(120 * time.Millisecond)
		synctest.Wait()
		if s := c.Status(); s.Leases[theRollout] != 0 || s.Counters.Suspends != 1 {
			t.Errorf("after a minute of sleep: %+v", s)
		}
		w.set(func() { delete(w.refuse, "/v1/renew") })
		w.leave(c)
	})
}

func TestCloseWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(func(c *Config) { c.DrainBound = 10 * time.Second })
		w.open(flag.Full)
		soon()
		ctx, req := c.Begin(t.Context(), "u")
		c.Flag("model").String(ctx, "?")
		begun := time.Now()
		time.AfterFunc(2*time.Second, func() { req.End(nil) })
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("closed after %s, the request ended after 2 s", took)
		}
		w.set(func() {
			if len(w.bye) != 1 || w.bye[0] != c.boot {
				t.Errorf("goodbyes: %v", w.bye)
			}
			if n, _, _ := blocksWhere(w.reports, evidence.MetricError, evidence.ArmExposed); n != 1 {
				t.Errorf("%d requests reported before the goodbye, want 1", n)
			}
		})
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, req = c.Begin(t.Context(), "u")
		if c.Flag("model").String(ctx, "?") != "one" || !c.Flag("on").Bool(ctx, false) {
			t.Error("after Close the baseline and settled values are served")
		}
		req.End(nil)
		_ = w.srv.Close()
	})
}

func TestCloseWithoutServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		w.net.cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(ctx); err == nil {
			t.Error("the goodbye cannot have arrived")
		}
		_ = w.srv.Close()
	})
}

func TestNilAndForeignRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(nil), w.join(func(c *Config) { c.Component = "other" })
		var none *Request
		none.Observe("x", 1)
		none.End(nil)
		Inject(t.Context(), http.Header{})
		ctxA, reqA := a.Begin(t.Context(), "u", flag.Str("region", "eu"))
		ctxB, reqB := b.Begin(ctxA, "u")
		if got := a.Flag("plan").String(ctxB, "?"); got != "g" {
			t.Errorf("client a finds %q through b's context, want its own request", got)
		}
		if got := b.Flag("plan").String(ctxB, "?"); got != "b" {
			t.Errorf("client b: %q", got)
		}
		reqA.End(nil)
		reqB.End(nil)
		w.leave(a, b)
	})
}

// TestManyGoroutines runs requests while the configuration changes, under the race detector.
func TestManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		model := c.Flag("model")
		var floor atomic.Uint64
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for g := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					proven := floor.Load()
					ctx, req := c.Begin(t.Context(), units(flag.Full, true, 1)[0], flag.Str("region", "eu"))
					var inner sync.WaitGroup
					for range 2 {
						inner.Go(func() {
							if d := model.Detail(ctx); d.Served == flag.ArmExposed && d.Revision < proven {
								t.Errorf("revision %d served, acknowledged was %d", d.Revision, proven)
							}
							req.Observe("latency", 0.1)
						})
					}
					inner.Wait()
					req.End(nil)
					time.Sleep(time.Duration(g+1) * time.Millisecond)
				}
			})
		}
		for range 10 {
			w.open(flag.Full)
			time.Sleep(300 * time.Millisecond)
			rev := w.revoke()
			time.Sleep(200 * time.Millisecond)
			if w.ack(c.boot, theRollout, slp.StageDrained) == rev {
				floor.Store(rev)
			}
		}
		close(stop)
		wg.Wait()
		if floor.Load() == 0 {
			t.Error("no revoke was ever drained")
		}
		w.leave(c)
	})
}
