package sluice

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// hop carries a request from one component to another over HTTP headers.
func hop(from, to *Client, unit string) (at string, detail flag.Result, header http.Header) {
	ctx, req := from.Begin(from.ctx, unit)
	defer req.End(nil)
	at = from.Flag("model").String(ctx, "?")
	out, _ := http.NewRequest(http.MethodGet, "http://next/", nil)
	Inject(ctx, out.Header)
	ctx2, req2 := to.BeginHTTP(out, "") // the next hop need not know the unit
	defer req2.End(nil)
	return at, to.Flag("model").Detail(ctx2), out.Header
}

func two(w *world) (entry, next *Client) {
	return w.join(nil), w.join(func(c *Config) { c.Component, c.Instance, c.Class = "store", "store-1", ClassHost })
}

func TestPinnedArmTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		rev := w.open(50_000)
		soon()
		for _, exposed := range []bool{true, false} {
			at, d, h := hop(entry, next, units(50_000, exposed, 1)[0])
			want := flag.ArmBaseline
			if exposed {
				want = flag.ArmExposed
			}
			if d.String("?") != at || d.Assigned != want || d.Served != want || d.Revision != rev || d.Reason != flag.ReasonRollout {
				t.Errorf("exposed %t: entry %q, next %+v, header %q", exposed, at, d, h.Get("Baggage"))
			}
		}
		time.Sleep(2 * time.Second)
		w.set(func() {
			for _, arm := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
				if n, _, _ := blocksWhere(w.reports, evidence.MetricError, arm); n != 2 {
					t.Errorf("%s: %d requests counted over both hops, want 2", arm, n)
				}
			}
		})
		if s := next.Status().Counters; s.PinForged+s.PinMissed+s.PinRevoked != 0 {
			t.Errorf("counters %+v", s)
		}
	})
}

// TestPinnedRevisionOutlivesTheNext: a request that entered before a commit keeps its revision at a hop that has moved on.
func TestPinnedRevisionOutlivesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		rev := w.open(1000)
		soon()
		unit := units(1000, false, 200)
		unit = slices.DeleteFunc(unit, func(u string) bool { return !flag.Exposed(flag.Bucket(u, "salt"), 50_000) })
		ctx, req := entry.Begin(t.Context(), unit[0])
		if got := entry.Flag("model").String(ctx, "?"); got != "one" {
			t.Fatalf("at 1 %% the unit gets %q", got)
		}
		w.open(50_000)
		soon()
		r, _ := http.NewRequest(http.MethodGet, "http://next/", nil)
		Inject(ctx, r.Header)
		ctx2, req2 := next.BeginHTTP(r, unit[0])
		if d := next.Flag("model").Detail(ctx2); d.Assigned != flag.ArmBaseline || d.Revision != rev || d.Exposure != 1000 {
			t.Errorf("at the next hop %+v, want the baseline of revision %d at 1 %%", d, rev)
		}
		req2.End(nil)
		req.End(nil)
		time.Sleep(20 * time.Second) // beyond the ring
		w.put("base", baseObjects())
		soon()
		if ctx2, req2 = next.BeginHTTP(r, unit[0]); next.Flag("model").Detail(ctx2).Served != flag.ArmBaseline {
			t.Error("a pin that is too old serves the candidate")
		}
		req2.End(nil)
		if n := next.Status().Counters.PinMissed; n != 1 {
			t.Errorf("%d pins missed, want 1", n)
		}
	})
}

func TestPinAboveTheActiveRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		w.open(0)
		soon()
		prepared := rolloutObjects(flag.Full)
		w.set(func() {
			e := w.event(slp.EventPrepare)
			e.Prepare = &slp.Prepare{Scope: theRollout, Digest: digestOf(prepared), Objects: prepared}
			w.broadcast(e)
		})
		soon()
		pin := func(rev uint64, digest string) *http.Request {
			r, _ := http.NewRequest(http.MethodGet, "http://next/", nil)
			r.Header.Set("Baggage", "slc="+slp.Pin{Rev: rev, Scope: theRollout, Digest8: slp.Digest8(digest), Arm: slp.PinExposed}.Sign(w.pinKeys[0]))
			return r
		}
		ctx, req := next.BeginHTTP(pin(3, digestOf(prepared)), "u") // committed elsewhere a moment ago
		if d := next.Flag("model").Detail(ctx); d.Served != flag.ArmExposed || d.Revision != 3 || d.Exposure != flag.Full {
			t.Errorf("prepared content: %+v", d)
		}
		req.End(nil)
		ctx, req = next.BeginHTTP(pin(4, "sha256:0123456789"), "u")
		if d := next.Flag("model").Detail(ctx); d.Served != flag.ArmBaseline || d.Assigned != flag.ArmExposed {
			t.Errorf("content that is not here: %+v, want the baseline", d)
		}
		// What was missed here must not become exposed at the hop after.
		out := http.Header{}
		Inject(ctx, out)
		if got := out.Get("Baggage"); !strings.Contains(got, ".lapsed.") {
			t.Errorf("it travels on as %q", got)
		}
		req.End(nil)
		w.put(theRollout, prepared)
		soon()
		ctx, req = next.BeginHTTP(pin(3, digestOf(prepared)), "u")
		if d := next.Flag("model").Detail(ctx); d.Served != flag.ArmExposed || d.Revision != 3 {
			t.Errorf("after the commit: %+v", d)
		}
		req.End(nil)
	})
}

func TestRevokedPinIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		w.open(flag.Full)
		soon()
		ctx, req := entry.Begin(t.Context(), "u")
		entry.Flag("model").String(ctx, "?")
		r, _ := http.NewRequest(http.MethodGet, "http://next/", nil)
		Inject(ctx, r.Header)
		before, reqBefore := next.BeginHTTP(r, "u") // verified before the revoke, evaluated after it
		w.revoke()
		soon()
		after, reqAfter := next.BeginHTTP(r, "u")
		if a, b := next.Flag("model").String(before, "?"), next.Flag("model").String(after, "?"); a != "one" || b != "one" {
			t.Errorf("after the revoke the pinned requests get %q and %q", a, b)
		}
		if n := next.Status().Counters.PinRevoked; n != 1 {
			t.Errorf("%d pins counted as revoked, want 1", n)
		}
		// The entry's own decision fell, so what it sends from now on says so.
		if got := entry.Flag("model").String(ctx, "?"); got != "one" {
			t.Errorf("the entry serves %q after the revoke", got)
		}
		Inject(ctx, r.Header)
		if got := r.Header.Get("Baggage"); !strings.Contains(got, ".lapsed.") {
			t.Errorf("the entry sends %q", got)
		}
		for _, q := range []*Request{req, reqBefore, reqAfter} {
			q.End(nil)
		}
	})
}

func TestPinNeedsTheHopsOwnLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		w.open(flag.Full)
		soon()
		ctx, req := entry.Begin(t.Context(), "u")
		entry.Flag("model").String(ctx, "?")
		r, _ := http.NewRequest(http.MethodGet, "http://next/", nil)
		Inject(ctx, r.Header)
		req.End(nil)
		w.set(func() { w.granting = nil })
		time.Sleep(ttl + time.Second)
		ctx, req = next.BeginHTTP(r, "u")
		if d := next.Flag("model").Detail(ctx); d.Served != flag.ArmBaseline || d.Assigned != flag.ArmExposed {
			t.Errorf("without lease %+v, want the baseline", d)
		}
		if got := req.Stamps(); len(got) != 1 || got[0].Pin != PinLapsed || got[0].Arm != slp.PinLapsed {
			t.Errorf("without lease the request is stamped %+v, want lapsed: it did not hold its pin", got)
		}
		if n := next.Status().Counters.PinMissed; n != 1 {
			t.Errorf("%d pins count as missed, want the one that had no lease", n)
		}
		req.End(nil)
		w.set(func() { w.granting = map[string]time.Duration{theRollout: ttl} })
		time.Sleep(time.Second)
	})
}

func TestForgedPinsAreIgnoredAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		w.open(0)
		soon()
		good := slp.Pin{Rev: 2, Scope: theRollout, Digest8: slp.Digest8(digestOf(rolloutObjects(0))), Arm: slp.PinBaseline}.Sign(w.pinKeys[0])
		forged := strings.Replace(good, "baseline", "exposed", 1)
		r, _ := http.NewRequest(http.MethodGet, "http://next/", nil)
		for _, value := range []string{"slc=" + forged, "a=1, slc=" + forged + " ;p=1", "slc=", "slc=" + strings.Repeat("x", 9000)} {
			r.Header.Set("Baggage", value)
			ctx, req := c.BeginHTTP(r, "u")
			if d := c.Flag("model").Detail(ctx); d.Served != flag.ArmBaseline || d.Reason != flag.ReasonRollout {
				t.Errorf("%.40q: %+v", value, d)
			}
			req.End(nil)
		}
		if n := c.Status().Counters.PinForged; n != 3 {
			t.Errorf("%d forged pins counted, want 3 (the last is too large to look at)", n)
		}
		// Many forged ones cost a bounded number of checks, and a good one among the first still counts.
		r.Header["Baggage"] = []string{"slc=" + good + ",x=y", strings.Repeat("slc="+forged+",", 100)}
		ctx, req := c.BeginHTTP(r, "u")
		if d := c.Flag("model").Detail(ctx); d.Assigned != flag.ArmBaseline {
			t.Errorf("%+v", d)
		}
		req.End(nil)
		if n := c.Status().Counters.PinForged; n > 3+maxTries {
			t.Errorf("%d forged pins were checked", n)
		}
	})
}

func TestInjectKeepsOtherBaggageAndForwardsPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		w.open(flag.Full)
		soon()
		ctx, req := entry.Begin(t.Context(), "u")
		entry.Flag("model").String(ctx, "?")
		h := http.Header{"Baggage": {"tenant=a;p=1,slc=old.pin", "k=v"}}
		Inject(ctx, h)
		got := strings.Split(h.Get("Baggage"), ",")
		if len(got) != 3 || got[0] != "tenant=a;p=1" || got[1] != "k=v" || !strings.HasPrefix(got[2], "slc=1.2.r1.") {
			t.Fatalf("baggage %q", got)
		}
		r := &http.Request{Header: h}
		ctx2, req2 := next.BeginHTTP(r.WithContext(t.Context()), "u") // evaluates nothing itself
		out := http.Header{}
		Inject(ctx2, out)
		if out.Get("Baggage") != got[2] {
			t.Errorf("forwarded %q, want %q", out.Get("Baggage"), got[2])
		}
		empty := http.Header{"Baggage": {"slc=stale"}}
		ctx3, req3 := next.Begin(t.Context(), "u")
		Inject(ctx3, empty)
		if len(empty) != 0 {
			t.Errorf("a pin of another request stays: %v", empty)
		}
		for _, q := range []*Request{req, req2, req3} {
			q.End(nil)
		}
	})
}

func TestKillComesBeforeAPin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		w.open(flag.Full)
		soon()
		ctx, req := entry.Begin(t.Context(), "u")
		entry.Flag("model").String(ctx, "?")
		r, _ := http.NewRequest(http.MethodGet, "http://next/", nil)
		Inject(ctx, r.Header)
		req.End(nil)
		w.change(slp.EventCommit, func() {
			w.scopes["overlay"] = fakeScope{rev: w.head, objects: map[string]json.RawMessage{"kill/model": obj(flag.Kill{Flag: "model"})}}
		})
		soon()
		ctx, req = next.BeginHTTP(r, "u")
		if d := next.Flag("model").Detail(ctx); d.Reason != flag.ReasonKilled || d.String("?") != "one" {
			t.Errorf("%+v", d)
		}
		req.End(nil)
	})
}
