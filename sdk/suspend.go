package sluice

import (
	"time"

	"sluice.dev/sdk/slp"
)

// A machine that sleeps, or a guest that is paused, does not count the time on the monotonic clock, and a lease would
// outlive its end by that time. So a watchdog compares that clock with one that goes on, and ends all leases when the
// other has run ahead. Between waking up and the next look an exposed arm may be served for at most watchdogPeriod.
const (
	watchdogPeriod = 100 * time.Millisecond
	maxAhead       = 100 * time.Millisecond
)

func (c *Client) watchdog(clock func() time.Duration) {
	tick := time.NewTicker(watchdogPeriod)
	defer tick.Stop()
	mono, other := c.mono(), clock()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		m, o := c.mono(), clock()
		if (o-other)-(m-mono) > maxAhead {
			c.counts.suspends.Add(1)
			c.post(slp.ClockJumped{})
		}
		mono, other = m, o
	}
}
