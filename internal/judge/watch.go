package judge

import (
	"math/bits"
	"time"

	"sluice.dev/sdk/evidence"
)

// Bounds of the rule "a whole arm is gone" (contract 4).
const (
	promised    = 50 // observations its own past promised for the silence
	promisedBy  = 5  // unit buckets they came from, where unit buckets are known
	silenceFrom = 2  // seconds; one empty second may be the edge of a block
	pastSeconds = 60
)

const (
	defaultNoDataAfter = 10 * time.Second
	hardMinN           = 10
)

// armWatch notices that an arm falls silent. All its seconds are judged ones: gaps of the controller do not count.
type armWatch struct {
	Silent int64      `json:"silent"` // seconds since its last observation, or since the stage began
	Seen   bool       `json:"seen,omitempty"`
	Past   []armPulse `json:"past,omitempty"` // the last seconds up to the last observation, oldest first
}

type armPulse struct {
	N    uint64 `json:"n"`
	Mask uint64 `json:"mask,omitempty"` // unit buckets that observed
}

func (w *armWatch) observe(p armPulse) {
	if p.N == 0 {
		w.Silent++
		return
	}
	if w.Seen {
		for range min(w.Silent, pastSeconds) { // the pause is over: it belongs to what the past promises
			w.Past = append(w.Past, armPulse{})
		}
	}
	w.Silent, w.Seen = 0, true
	w.Past = append(w.Past, p)
	if n := len(w.Past); n > pastSeconds {
		w.Past = append([]armPulse(nil), w.Past[n-pastSeconds:]...)
	}
}

// gone reports whether the arm's own past promised at least 50 observations for a time as long as the present silence:
// no stretch of that length in its last minute held fewer.
func (w *armWatch) gone() bool {
	n := int(min(w.Silent, pastSeconds+1))
	if n < silenceFrom || len(w.Past) < 2*n {
		return false
	}
	var mask uint64
	for _, p := range w.Past {
		mask |= p.Mask
	}
	if mask != 0 && bits.OnesCount64(mask) < promisedBy {
		return false
	}
	sum := uint64(0)
	for i, p := range w.Past {
		sum += p.N
		if i >= n {
			sum -= w.Past[i-n].N
		}
		if i >= n-1 && sum < promised {
			return false
		}
	}
	return true
}

// hardWatch keeps the exposed arm's last seconds for the hard trip.
type hardWatch struct {
	First int64        `json:"first,omitempty"` // second of the exposed arm's first observation
	Spans []hardSecond `json:"spans,omitempty"` // ascending
}

type hardSecond struct {
	At int64 `json:"at"`
	sums
}

func (g *Guardrail) hardSeconds() int64 {
	return max(1, int64((g.Hard.For+time.Second-1)/time.Second))
}

func (h *hardWatch) observe(g *Guardrail, at int64, a *armSecond) {
	if a.N > 0 {
		if h.First == 0 {
			h.First = at
		}
		s := hardSecond{At: at}
		s.add(a, g.usesHist())
		h.Spans = append(h.Spans, s)
	}
	keep := 0
	for keep < len(h.Spans) && h.Spans[keep].At <= at-g.hardSeconds() {
		keep++
	}
	h.Spans = append([]hardSecond(nil), h.Spans[keep:]...)
}

// trip returns the exposed arm's value over the span that ends with second end, the observations behind it and whether
// it trips the limit. open are the seconds after the last judged one.
func (h *hardWatch) trip(g *Guardrail, m evidence.Metric, end int64, open []hardSecond) (value float64, n uint64, tripped bool) {
	var all sums
	from := end - g.hardSeconds() + 1
	first := h.First
	for _, list := range [][]hardSecond{h.Spans, open} {
		for i := range list {
			s := &list[i]
			if s.N > 0 && (first == 0 || s.At < first) {
				first = s.At
			}
			if s.At < from || s.At > end {
				continue
			}
			all.addSums(&s.sums)
		}
	}
	value, n = estimate(g, m, &all)
	return value, n, first != 0 && first <= from && n >= hardMinN && value > g.Hard.Above
}
