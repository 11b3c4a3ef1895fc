package slp

import "time"

// Mono is a reading of the process's monotonic clock: the time since an origin that the process chose once. Leases and
// drains are counted on it alone, so no offset and no step of any wall clock matters.
type Mono = time.Duration

// Rho bounds the relative rate error of any monotonic clock in the fleet.
const Rho = 0.01

// ServerClock keeps the server's time on the member's monotonic clock. The zero value knows nothing. It is a value:
// copies are independent.
type ServerClock struct {
	offset int64 // server's unix microseconds minus Mono in microseconds
	bound  time.Duration
	at     Mono
	known  bool
}

// Observe takes a server time (unix microseconds) that was read somewhere between sent and received, and reports whether
// it was taken. The estimate is the middle, wrong by at most half the round trip (Cristian's rule). A sample is taken when
// its bound is no wider than that of the last one, which widens by 2·Rho of its age.
func (c *ServerClock) Observe(sent, received Mono, serverNow int64) bool {
	if serverNow <= 0 || received < sent {
		return false
	}
	bound := (received - sent) / 2
	if c.known && bound > c.Bound(received) {
		return false
	}
	*c = ServerClock{offset: serverNow - (sent + bound).Microseconds(), bound: bound, at: received, known: true}
	return true
}

// Known says whether a server time was ever observed.
func (c *ServerClock) Known() bool { return c.known }

// Bound is how far the estimate may be off at now.
func (c *ServerClock) Bound(now Mono) time.Duration {
	return c.bound + time.Duration(2*Rho*float64(max(now-c.at, 0)))
}

// Micros is the server's time at now, unix microseconds; 0 when it is not known.
func (c *ServerClock) Micros(now Mono) int64 {
	if !c.known {
		return 0
	}
	return now.Microseconds() + c.offset
}

// Second is the server's unix second at now; 0 when it is not known.
func (c *ServerClock) Second(now Mono) int64 { return c.Micros(now) / 1e6 }
