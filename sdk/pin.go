package sluice

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// pinned is a verified pin of an incoming request and where its content lies here.
type pinned struct {
	slp.Pin
	text string    // as it came
	snap *snapshot // nil: the content is not resident (missed)
	cell *cell
	hold *hold
}

const (
	baggageHeader = "Baggage"
	maxBaggage    = 8192 // bytes that are looked at, W3C Baggage's minimum for propagation
	maxTries      = 8    // pins whose signature is checked
)

// BeginHTTP is Begin for an incoming HTTP request: the context is r's, and pins in its baggage (see Inject) are honoured.
// A pinned arm is served from the pinned revision if that is resident here (in force, recent, or prepared), at or above the
// floor, and, for the exposed arm, under this process's own lease; otherwise the baseline is. The unit is never assigned
// again. Pins with a wrong signature are ignored and counted. Kill switches and exclusions in force here come first.
func (c *Client) BeginHTTP(r *http.Request, unit string, attrs ...flag.Attr) (context.Context, *Request) {
	return c.begin(r.Context(), unit, attrs, c.pinsOf(r.Header))
}

// incoming is what a request brought along.
type incoming struct {
	pins    []pinned
	revoked []string // scopes whose pin lies below the floor
}

func (c *Client) pinsOf(h http.Header) incoming {
	var in incoming
	tries, size := 0, 0
	for _, line := range h[baggageHeader] {
		if size += len(line); size > maxBaggage {
			break
		}
		for member := range strings.SplitSeq(line, ",") {
			value, ok := pinMember(member)
			if !ok || tries == maxTries || len(in.pins) == slp.MaxPins {
				continue
			}
			tries++
			p, err := slp.VerifyPin(value, c.view.Load().PinKeys)
			if err != nil {
				c.counts.pinForged.Add(1)
				continue
			}
			if slices.ContainsFunc(in.pins, func(o pinned) bool { return o.Scope == p.Scope }) {
				continue
			}
			if q, ok := c.resolve(p); ok {
				q.text = value
				in.pins = append(in.pins, q)
			} else {
				in.revoked = append(in.revoked, p.Scope)
			}
		}
	}
	return in
}

// pinMember returns the value of a baggage list member if it is a pin, without properties.
func pinMember(member string) (string, bool) {
	name, value, ok := strings.Cut(member, "=")
	if !ok || strings.Trim(name, " \t") != slp.PinMember {
		return "", false
	}
	value, _, _ = strings.Cut(value, ";")
	return strings.Trim(value, " \t"), true
}

// resolve finds the content of a pin; !ok when its revision was revoked.
func (c *Client) resolve(p slp.Pin) (pinned, bool) {
	q := pinned{Pin: p}
	if known := c.cells.peek(p.Scope); known != nil && p.Rev < known.floor() {
		c.counts.pinRevoked.Add(1)
		return q, false
	}
	for _, r := range *c.residents.Load() {
		if r.scope != p.Scope || r.digest8 != p.Digest8 {
			continue
		}
		q.snap = r.snap
		if r.rev == p.Rev {
			break
		}
	}
	if q.snap == nil {
		c.counts.pinMissed.Add(1)
		return q, true
	}
	q.cell = c.cells.get(p.Scope)
	q.hold = q.cell.hold(p.Rev)
	return q, true
}

// Inject writes the decisions of the request in ctx into the baggage of an outgoing request, one signed member per scope
// and at most four, so that every later hop serves the same arm; pins that came in and were not used here travel on. Other
// baggage stays as it is, pins that the header holds already are replaced. Without a request in ctx it does nothing.
//
// Evaluate the flags of open rollouts before calling on: what was not decided here, the next hop decides.
func Inject(ctx context.Context, h http.Header) {
	q, _ := ctx.Value(requestKey{}).(*Request)
	if q == nil {
		return
	}
	pins := q.outgoing()
	kept := h[baggageHeader]
	if len(pins) == 0 && len(kept) == 0 {
		return
	}
	var members []string
	for _, line := range kept {
		for member := range strings.SplitSeq(line, ",") {
			if _, ours := pinMember(member); !ours && strings.Trim(member, " \t") != "" {
				members = append(members, strings.Trim(member, " \t"))
			}
		}
	}
	for _, p := range pins {
		members = append(members, slp.PinMember+"="+p)
	}
	if len(members) == 0 {
		h.Del(baggageHeader)
		return
	}
	h.Set(baggageHeader, strings.Join(members, ","))
}

// outgoing returns the pins of the request in wire form.
func (q *Request) outgoing() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []string
	done := make(map[string]bool, len(q.decisions))
	keys := q.client.view.Load().PinKeys
	for i := range q.decisions {
		d := &q.decisions[i]
		p, ok := d.outgoing()
		if !ok || done[p.Scope] || len(keys) == 0 || len(out) == slp.MaxPins {
			continue
		}
		done[p.Scope] = true
		out = append(out, p.Sign(keys[0]))
	}
	for i := range q.pins {
		if p := &q.pins[i]; !done[p.Scope] && len(out) < slp.MaxPins {
			done[p.Scope] = true
			out = append(out, p.text)
		}
	}
	for _, p := range q.snap.quiet { // a hop that is a stage ahead must not begin it for this request
		if !done[p.Scope] && len(out) < slp.MaxPins && len(keys) > 0 {
			out = append(out, p.Sign(keys[0]))
		}
	}
	return out
}

// outgoing returns the pin of a decision; !ok when something else than the rollout decided, which the next hop can see
// for itself.
func (d *decision) outgoing() (slp.Pin, bool) {
	p := slp.Pin{Rev: d.rev, Scope: d.result.Scope, Digest8: d.d8}
	switch {
	case d.result.Assigned == flag.ArmExposed && d.result.Served == flag.ArmExposed && !d.fell:
		p.Arm = slp.PinExposed
	case d.result.Assigned == flag.ArmExposed:
		p.Arm = slp.PinLapsed
	case d.result.Assigned == flag.ArmBaseline:
		p.Arm = slp.PinBaseline
	case d.result.Reason == flag.ReasonRollout:
		p.Arm = slp.PinNone
	default:
		return p, false
	}
	return p, p.Digest8 != ""
}
