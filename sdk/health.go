package sluice

import (
	"errors"
	"fmt"
	"time"
)

// What Ready returns, besides nil.
var (
	// ErrNoConfiguration says that no configuration is in force yet: every flag answers with its default.
	ErrNoConfiguration = errors.New("sluice: no configuration yet")
	// ErrStale says that the server has not been heard for longer than a lease: settled values are the last known ones.
	ErrStale = errors.New("sluice: the configuration may be stale")
)

// defaultLease stands for the length of a lease where none is granted.
const defaultLease = 10 * time.Second

// Ready says whether this process should be called ready: nil, ErrNoConfiguration, or ErrStale once the watch stream has
// been lost for longer than the shortest lease, or nothing was heard on it for longer than it may be silent. A process
// that is not ready still answers: rollouts with their baseline, settled flags with what they were.
func (c *Client) Ready() error {
	if c.fixed {
		return nil
	}
	if c.current.Load().wire.Head.Rev == 0 {
		return ErrNoConfiguration
	}
	now := c.mono()
	if !c.counts.connected.Load() {
		if lost := now - time.Duration(c.lostAt.Load()); lost > c.shortestLease() {
			return fmt.Errorf("%w: the watch stream has been lost for %s", ErrStale, lost.Round(time.Millisecond))
		}
		return nil
	}
	if age := c.Age(); age > c.quietTime() {
		return fmt.Errorf("%w: nothing was heard for %s", ErrStale, age.Round(time.Millisecond))
	}
	return nil
}

// Age is how long ago the server was heard last: an event, a grant, an answer to a Hello. Before the first it is the age of
// the client. It is what "last known" means for settled values; leased ones end by themselves.
func (c *Client) Age() time.Duration {
	if c.fixed {
		return 0
	}
	return c.mono() - time.Duration(c.heardAt.Load())
}

// heard notes that the server has said something.
func (c *Client) heard() { c.heardAt.Store(int64(c.mono())) }

func (c *Client) setConnected(on bool) {
	if c.counts.connected.Swap(on) && !on {
		c.lostAt.Store(int64(c.mono()))
	}
}

// shortestLease is that of the leased scopes in force.
func (c *Client) shortestLease() time.Duration {
	shortest := time.Duration(0)
	for _, meta := range c.current.Load().wire.Scopes {
		if ttl := time.Duration(meta.TTLMs) * time.Millisecond; meta.Leased && ttl > 0 && (shortest == 0 || ttl < shortest) {
			shortest = ttl
		}
	}
	if shortest == 0 {
		return defaultLease
	}
	return shortest
}
