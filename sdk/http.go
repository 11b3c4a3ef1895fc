package sluice

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// UnitFunc finds out whom an incoming request is for, and what rules and segments may look at. It is called once per
// request, before any handler.
type UnitFunc func(*http.Request) (unit string, attrs []flag.Attr)

// Middleware begins a Request for each incoming HTTP request, honours the pins in its baggage (see BeginHTTP), and ends it
// when the handler returns: an answer of 500 or above and a panic count as failed. The panic goes on. Handlers find the
// request through the context; flags need nothing else. unit nil means that requests have no unit of their own.
func (c *Client) Middleware(unit UnitFunc) func(http.Handler) http.Handler {
	if unit == nil {
		unit = func(*http.Request) (string, []flag.Attr) { return "", nil }
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key, attrs := unit(r)
			ctx, req := c.BeginHTTP(r, key, attrs...)
			sw := &statusWriter{ResponseWriter: w}
			done := false
			defer func() {
				switch {
				case !done:
					req.End(fmt.Errorf("panic in the handler of %s", r.URL.Path))
				case sw.status >= http.StatusInternalServerError:
					req.End(fmt.Errorf("status %d", sw.status))
				default:
					req.End(nil)
				}
			}()
			next.ServeHTTP(sw, r.WithContext(ctx))
			done = true
		})
	}
}

// statusWriter remembers the first status. Everything else is asked of the writer below, through Unwrap.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush passes on what streaming handlers ask for.
func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() } // a writer that cannot flush has nothing to

// Transport returns a RoundTripper that writes the decisions of the request in the context into the baggage of every
// outgoing HTTP request (see Inject), and sends it with base; nil means http.DefaultTransport. It serves all clients.
func Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return carrier{base}
}

type carrier struct{ base http.RoundTripper }

func (t carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	if q, _ := r.Context().Value(requestKey{}).(*Request); q != nil {
		r = r.Clone(r.Context()) // a RoundTripper may not change what it was given
		Inject(r.Context(), r.Header)
	}
	return t.base.RoundTrip(r)
}

// Baggage returns the decisions of the request in ctx as one W3C baggage value, for what is not HTTP: a message's metadata,
// the record of a batch job. It is "" when nothing is to be carried.
func Baggage(ctx context.Context) string {
	h := http.Header{}
	Inject(ctx, h)
	return h.Get(baggageHeader)
}

// BeginBaggage is Begin for work that arrived by other means than HTTP, with the baggage that came with it (see Baggage and
// BeginHTTP). A stream or batch job keeps one pin per job or checkpoint; what lands in a sink is checked there (see Fence).
func (c *Client) BeginBaggage(ctx context.Context, baggage, unit string, attrs ...flag.Attr) (context.Context, *Request) {
	return c.begin(ctx, unit, attrs, c.pinsOf(http.Header{baggageHeader: {baggage}}))
}

// How a request came to its decision about a scope.
const (
	PinEntry   = "entry"   // decided here: no pin came in
	PinHeld    = "held"    // as the pin says
	PinMissed  = "missed"  // the pinned content is not here: its arm is kept, the baseline is served
	PinRevoked = "revoked" // the pin lies below the scope's floor: decided here
	PinLapsed  = "lapsed"  // the pin says exposed and this process has no lease for it: the baseline is served
)

// Stamp says what a request used of one scope, for telemetry and for what it writes: an output that carries its stamps
// can be found again when a revision is taken back.
type Stamp struct {
	Scope    string `json:"scope"`
	Revision uint64 `json:"revision"`
	Arm      string `json:"arm"` // as in a pin: baseline, exposed, lapsed or none
	Pin      string `json:"pin"` // entry, held, missed, revoked or lapsed
}

// Stamps returns what the request has used of the scopes with an open rollout, in the order of first use. Two hops of one
// request that both held their pin have the same stamps; after a miss, a revoke or a lapse they may differ, which is counted.
func (q *Request) Stamps() []Stamp {
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []Stamp
	for i := range q.decisions {
		d := &q.decisions[i]
		p, ok := d.outgoing()
		if !ok {
			continue
		}
		out = append(out, Stamp{Scope: p.Scope, Revision: p.Rev, Arm: p.Arm, Pin: d.how})
	}
	for _, scope := range q.revoked { // taken back: nothing is decided there any more
		if !slices.ContainsFunc(out, func(s Stamp) bool { return s.Scope == scope }) {
			out = append(out, Stamp{Scope: scope, Revision: q.snap.wire.Scopes[scope].Rev, Arm: slp.PinNone, Pin: PinRevoked})
		}
	}
	return out
}

// heldBy names what the decision rests on.
func (q *Request) heldBy(d *decision) string {
	switch {
	case d.pin == nil && slices.Contains(q.revoked, d.result.Scope):
		return PinRevoked
	case d.pin == nil:
		return PinEntry
	case d.pin.snap == nil:
		return PinMissed
	case d.rev < d.pin.cell.floor():
		return PinRevoked
	case d.pin.Arm == slp.PinExposed && (d.fell || d.result.Assigned == flag.ArmExposed && d.result.Served != flag.ArmExposed):
		return PinLapsed
	}
	return PinHeld
}
