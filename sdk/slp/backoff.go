package slp

import (
	"math/rand/v2"
	"time"
)

// Limits of the waiting between two attempts.
const (
	backoffBase = 100 * time.Millisecond
	backoffCap  = 5 * time.Second
	// slowRetry is the wait where repeating soon cannot help: refused credentials, a server that has forgotten.
	slowRetry = 30 * time.Second
)

// backoff is decorrelated jitter: each wait is drawn from base to three times the last one, up to a cap. Many members that
// lost one server at one moment come back spread out.
type backoff struct{ last time.Duration }

// next returns the next wait, at least retryAfter (what the server asked for, spread by up to a quarter).
func (b *backoff) next(rng *rand.Rand, retryAfter time.Duration) time.Duration {
	span := min(backoffCap, max(3*b.last, 2*backoffBase)) - backoffBase
	b.last = backoffBase + time.Duration(rng.Int64N(int64(span)))
	if retryAfter > 0 {
		retryAfter = min(retryAfter, slowRetry)
		return max(b.last, retryAfter+time.Duration(rng.Int64N(int64(retryAfter)/4+1)))
	}
	return b.last
}

func (b *backoff) reset() { b.last = 0 }
