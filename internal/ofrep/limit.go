package ofrep

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits holds one token bucket for each caller.
type limits struct {
	rate int

	mu      *sync.Mutex
	callers map[string]*rate.Limiter
}

// maxCallers bounds the buckets: when there are more, all begin anew, which lets one burst more through.
const maxCallers = 100_000

func newLimits(perSecond int) limits {
	return limits{rate: perSecond, mu: new(sync.Mutex), callers: map[string]*rate.Limiter{}}
}

// take counts a request. It returns 0 when the request may go on, else the whole seconds after which the next one may.
func (l limits) take(caller string) (wait int) {
	if l.rate <= 0 {
		return 0
	}
	b := l.of(caller)
	now := time.Now()
	res := b.ReserveN(now, 1)
	delay := res.DelayFrom(now)
	if delay == 0 {
		return 0
	}
	res.CancelAt(now)
	return max(1, int(math.Ceil(delay.Seconds())))
}

func (l limits) of(caller string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.callers[caller]
	if b == nil {
		if len(l.callers) >= maxCallers {
			clear(l.callers)
		}
		b = rate.NewLimiter(rate.Limit(l.rate), l.rate)
		l.callers[caller] = b
	}
	return b
}
