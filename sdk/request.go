package sluice

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// Request is one unit of work, from Begin to End: a call answered, a message handled, a batch scored. It may be used by
// several goroutines. A nil Request does nothing.
type Request struct {
	client *Client
	snap   *snapshot // met first, used for all evaluations
	start  slp.Mono  // 0 when no rollout was open
	unit   flag.Context
	incoming

	mu        sync.Mutex
	ended     bool
	decisions []decision
}

// decision is what was decided for a flag with an open rollout.
type decision struct {
	flag   *Flag
	handle *flag.Handle
	cell   *cell
	hold   *hold // counted in, nil if not
	pin    *pinned
	rev    uint64
	d8     string
	leased bool
	fell   bool   // the lease ended while the request went on
	how    string // PinEntry, PinHeld, PinMissed, PinRevoked or PinLapsed
	judged *judged
	slot   evidence.Slot
	result flag.Result
}

type (
	requestContext struct {
		context.Context
		request Request
	}
	clientKey  struct{ client *Client }
	requestKey struct{}
)

// Value finds the request by its client, or any request for Inject.
func (c *requestContext) Value(key any) any {
	switch k := key.(type) {
	case clientKey:
		if k.client == c.request.client {
			return &c.request
		}
	case requestKey:
		return &c.request
	}
	return c.Context.Value(key)
}

func (c *Client) requestOf(ctx context.Context) *Request {
	if rc, ok := ctx.(*requestContext); ok && rc.request.client == c {
		return &rc.request
	}
	if ctx == nil {
		return nil
	}
	q, _ := ctx.Value(clientKey{c}).(*Request)
	return q
}

// Begin begins a request of a unit: whom or what the request is for, e.g. an account. unit is what rollouts assign to arms
// unless they name an attribute; "" means that there is none. Attributes feed rules and declared segments; attrs must not
// be changed afterwards. The returned context carries the request; it is cancelled with ctx and by nothing else.
func (c *Client) Begin(ctx context.Context, unit string, attrs ...flag.Attr) (context.Context, *Request) {
	return c.begin(ctx, unit, attrs, incoming{})
}

func (c *Client) begin(ctx context.Context, unit string, attrs []flag.Attr, in incoming) (context.Context, *Request) {
	rc := &requestContext{Context: ctx}
	q := &rc.request
	q.client, q.snap, q.incoming = c, c.current.Load(), in
	if n := q.snap.open + len(in.pins); n > 0 {
		q.start = c.mono()
		q.decisions = make([]decision, 0, min(n, 4))
	}
	q.unit.Reset(unit, attrs...)
	if q.snap.timed {
		q.unit.At(time.Now().Unix())
	}
	return rc, q
}

// Observe counts a value of a metric for every open rollout that has been evaluated in this request so far. Metrics are
// declared by the rollout, with their unit; others are ignored. NaN and infinite values count as bad.
func (q *Request) Observe(metric string, value float64) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	for i := range q.decisions {
		d := &q.decisions[i]
		if d.judged == nil {
			continue
		}
		if id, ok := d.judged.acc.Metric(metric); ok && id != evidence.ErrorMetric { // End counts that one
			d.slot.Observe(id, value)
		}
	}
}

// End ends the request; err says whether it failed. Only the first call counts. Evaluations after it are not part of the
// request any more. A request that is never ended counts as failed for the arm it was in.
func (q *Request) End(err error) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.ended = true
	for i := range q.decisions {
		d := &q.decisions[i]
		if d.judged != nil {
			d.slot.End(err != nil)
		}
		q.client.release(d.hold)
	}
}

// release gives a hold back and wakes the loop when that was the last one of an older revision. A revision that becomes
// older after this look at stale is looked at then.
func (c *Client) release(h *hold) {
	if h != nil && h.open.Add(-1) == 0 && h.stale.Load() {
		c.look()
	}
}

// look makes the loop look at the holds.
func (c *Client) look() {
	select {
	case c.poke <- struct{}{}:
	default: // a look is due already
	}
}

func (q *Request) eval(f *Flag, r *flag.Result) {
	b := f.in(q.snap)
	if b.cell == nil && q.pins == nil {
		q.client.run(b.handle, &q.unit, nil, false, r)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.decisions {
		if d := &q.decisions[i]; d.flag == f {
			q.again(d, r)
			return
		}
	}
	pin := q.pinOf(f, b)
	switch {
	case pin == nil && b.cell == nil:
		q.client.run(b.handle, &q.unit, nil, false, r)
	case q.ended:
		f.loose(r, &q.unit)
	default:
		q.decide(f, b, pin, r)
	}
}

// decide makes the request's decision about a flag and remembers it.
func (q *Request) decide(f *Flag, b *boundFlag, pin *pinned, r *flag.Result) {
	c := q.client
	q.decisions = append(q.decisions, decision{flag: f, pin: pin})
	d := &q.decisions[len(q.decisions)-1]
	now := c.mono()
	switch {
	case pin == nil:
		d.handle, d.cell, d.rev, d.hold, d.judged = b.handle, b.cell, b.handle.Revision, b.hold, b.judged
		d.d8 = b.digest8
	case pin.snap == nil: // missed: the arm is honoured, but only the baseline can be served
		d.handle, d.cell, d.rev, d.d8 = b.handle, b.cell, pin.Rev, pin.Digest8
	default:
		b = pin.snap.find(f.key)
		d.handle, d.cell, d.rev, d.hold, d.judged, d.d8 = b.handle, pin.cell, pin.Rev, pin.hold, b.judged, pin.Digest8
	}
	if d.hold != nil {
		d.hold.open.Add(1) // before the lease is looked at: see loose
		d.leased = d.cell.held(d.rev, now)
	}
	c.run(d.handle, &q.unit, pin, d.leased, &d.result)
	if d.hold != nil && (!d.leased || d.result.Served != flag.ArmExposed && d.result.Reason != flag.ReasonException) {
		c.release(d.hold) // nothing that a revoke would take back
		d.hold = nil
	}
	if d.how = q.heldBy(d); d.how == PinLapsed {
		c.counts.pinMissed.Add(1)
	}
	q.count(d, b, now)
	*r = d.result
}

// again answers a second evaluation of a flag: as the first time, unless that needed a lease which has ended since.
func (q *Request) again(d *decision, r *flag.Result) {
	*r = d.result
	if d.hold == nil || d.cell.held(d.rev, q.client.mono()) {
		return
	}
	q.client.run(d.handle, &q.unit, d.pin, false, r)
	if !d.fell {
		d.fell = true
		d.how = q.heldBy(d)
		q.client.counts.fell.Add(1)
	}
}

// unitSeed serves only to recognise units within this process.
var unitSeed = maphash.MakeSeed()

// count opens the request's place in the evidence of the flag's rollout. What no randomisation decided, and cohorts that
// are left out of the comparison, are not counted.
func (q *Request) count(d *decision, b *boundFlag, now slp.Mono) {
	r := &d.result
	if d.judged == nil || r.Assigned == flag.ArmNone || r.Closed || r.Cohort == "" {
		d.judged = nil
		return
	}
	start := q.start
	if start == 0 {
		start = now
	}
	second := q.client.second(start)
	if second == 0 {
		d.judged = nil
		return
	}
	held := d.leased && (d.pin == nil || d.pin.Arm != slp.PinLapsed)
	var values evidence.Values
	for i, name := range d.judged.dims {
		if a, ok := q.unit.Attr(name); ok {
			if text := a.Text(); text != "" {
				values[i] = d.judged.acc.Value(i, text)
			}
		}
	}
	d.slot = d.judged.acc.Begin(second, q.key(d, b, held), evidence.Unit{Hash: q.unitHash(d.judged), Bucket: r.UnitBucket}, &values)
	if drawn := d.handle.Drawn(&q.unit, r.Exposure); drawn != flag.ArmNone && drawn != r.Assigned {
		if id, ok := d.judged.acc.Metric(evidence.MetricAssignment); ok {
			d.slot.Observe(id, 1)
		}
	}
}

// key finds the evidence key; for a pin at a number of its own it is made here.
func (q *Request) key(d *decision, b *boundFlag, held bool) evidence.KeyID {
	r := &d.result
	assigned, served := r.Assigned == flag.ArmExposed, r.Served == flag.ArmExposed
	if d.rev == b.handle.Revision && served == (assigned && held) {
		for i := range b.keys {
			if k := &b.keys[i]; k.cohort == r.Cohort {
				return k.ids[bit(held)][bit(assigned)]
			}
		}
	}
	return d.judged.acc.Key(slotKey(r.Cohort, d.rev, r.Exposure, held, assigned, served))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// unitHash is needed only by metrics that count a unit once.
func (q *Request) unitHash(j *judged) uint64 {
	if !j.once {
		return 0
	}
	unit := q.unit.TargetingKey()
	if j.unit != "" && j.unit != flag.TargetingKey {
		a, _ := q.unit.Attr(j.unit)
		unit = a.Text()
	}
	return maphash.String(unitSeed, unit)
}

// pinOf returns the pin that decides about the flag, nil if none does.
func (q *Request) pinOf(f *Flag, b *boundFlag) *pinned {
	if len(q.pins) == 0 || b.handle != nil && b.handle.Killed {
		return nil // a kill switch of today comes before a decision of before
	}
	i := slices.IndexFunc(q.pins, func(p pinned) bool {
		if p.snap == nil {
			return b.cell != nil && b.handle.Scope == p.Scope
		}
		h := p.snap.bound[f.key]
		return h != nil && h.handle.Scope == p.Scope
	})
	if i < 0 {
		return nil
	}
	return &q.pins[i]
}
