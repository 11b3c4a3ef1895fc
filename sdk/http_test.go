package sluice

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

func TestMiddlewareEndsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		w.open(flag.Full)
		soon()
		serve := func(h http.HandlerFunc) {
			defer func() { _ = recover() }()
			unit := func(*http.Request) (string, []flag.Attr) { return "unit-1", nil }
			c.Middleware(unit)(h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}
		answer := func(status int) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if got := c.Flag("model").String(r.Context(), "?"); got != "two" {
					t.Errorf("the handler sees %q", got)
				}
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(status)
				w.(http.Flusher).Flush()
			}
		}
		serve(answer(http.StatusNotFound))
		serve(answer(http.StatusOK))
		serve(answer(http.StatusBadGateway))
		serve(func(_ http.ResponseWriter, r *http.Request) {
			c.Flag("model").String(r.Context(), "?")
			panic("bug")
		})
		time.Sleep(3 * time.Second)
		w.set(func() {
			if n, bad, open := blocksWhere(w.reports, evidence.MetricError, evidence.ArmExposed); n != 4 || bad != 2 || open != 0 {
				t.Errorf("%d requests, %d bad, %d open; want 4, of which 502 and the panic are bad", n, bad, open)
			}
		})
		c.Middleware(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if d := c.Flag("model").Detail(r.Context()); d.ErrCode != flag.ErrTargetingKeyMissing {
				t.Errorf("without a unit: %+v", d)
			}
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	})
}

func TestTransportLeavesTheRequestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.join(nil)
		defer w.leave(c)
		w.open(flag.Full)
		soon()
		var got string
		tr := Transport(inProcess{http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Baggage") })})
		ctx, req := c.Begin(t.Context(), "u")
		defer req.End(nil)
		c.Flag("model").String(ctx, "?")
		for _, tt := range []struct {
			name  string
			r     *http.Request
			wants bool
		}{
			{"with a request", httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx), true},
			{"without", httptest.NewRequest(http.MethodGet, "/", nil), false},
		} {
			if _, err := tr.RoundTrip(tt.r); err != nil {
				t.Fatal(err)
			}
			if (got != "") != tt.wants || tt.r.Header.Get("Baggage") != "" {
				t.Errorf("%s: sent %q, the caller's own header is %q", tt.name, got, tt.r.Header.Get("Baggage"))
			}
		}
		if Transport(nil).(carrier).base != http.DefaultTransport {
			t.Error("nil is not the default transport")
		}
	})
}

// TestBaggageForOtherWires: what is carried as text decides as HTTP headers do, and stamps say what was used.
func TestBaggageForOtherWires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		rev := w.open(flag.Full)
		soon()
		ctx, req := entry.Begin(t.Context(), "u")
		defer req.End(nil)
		if Baggage(t.Context()) != "" {
			t.Error("a context without request carries something")
		}
		entry.Flag("model").String(ctx, "?")
		message := Baggage(ctx)
		stamp := func(baggage string) []Stamp {
			ctx, req := next.BeginBaggage(t.Context(), baggage, "")
			defer req.End(nil)
			next.Flag("model").String(ctx, "?")
			return req.Stamps()
		}
		one := func(name string, got []Stamp, want Stamp) {
			t.Helper()
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s: stamps %+v, want %+v", name, got, want)
			}
		}
		one("entry", req.Stamps(), Stamp{theRollout, rev, slp.PinExposed, PinEntry})
		one("held", stamp(message), Stamp{theRollout, rev, slp.PinExposed, PinHeld})
		other := slp.Pin{Rev: rev + 9, Scope: theRollout, Digest8: "00000000", Arm: slp.PinExposed}.Sign(w.pinKeys[0])
		one("missed", stamp("slc="+other), Stamp{theRollout, rev + 9, slp.PinLapsed, PinMissed})
		back := w.revoke()
		soon()
		one("revoked", stamp(message), Stamp{theRollout, back, slp.PinNone, PinRevoked})
		time.Sleep(3 * time.Second)
		w.set(func() {
			last := map[string]*slp.PinCounts{}
			for _, r := range w.renews {
				last[r.Boot] = r.Pins
			}
			if got := last[next.boot]; got == nil || *got != (slp.PinCounts{Missed: 1, Revoked: 1}) || last[entry.boot] != nil {
				t.Errorf("the server is told %+v of the next hop, %+v of the entry", got, last[entry.boot])
			}
		})
		if (*Request)(nil).Stamps() != nil {
			t.Error("no request has stamps")
		}
	})
}

// TestAHopThatIsAheadDoesNotBeginTheStage: the entry has opened the scope and not begun; the next hop has begun.
func TestAHopThatIsAheadDoesNotBeginTheStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		entry, next := two(w)
		defer w.leave(entry, next)
		rev := w.change(slp.EventCommit, func() {
			w.scopes[theRollout] = fakeScope{rev: w.head, objects: settledObjects(), leased: true, ttl: ttl}
		})
		soon()
		ctx, req := entry.Begin(t.Context(), "u")
		defer req.End(nil)
		entry.Flag("model").String(ctx, "?")
		message := Baggage(ctx)
		w.open(flag.Full)
		soon()
		ctx2, req2 := next.BeginBaggage(t.Context(), message, "u")
		defer req2.End(nil)
		if d := next.Flag("model").Detail(ctx2); d.String("?") != "one" || d.Revision != rev {
			t.Errorf("the next hop serves %q of revision %d, the entry saw %d", d.String("?"), d.Revision, rev)
		}
	})
}
