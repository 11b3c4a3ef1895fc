package sluice

import "sluice.dev/sdk/slp"

// Snapshot returns the configuration in force, nil before the first. It must not be changed.
//
// With Leased and Config.OnSwap it lets a process evaluate flags with its own means under this client's membership, as the
// local agent does.
func (c *Client) Snapshot() *slp.Snapshot {
	if wire := c.current.Load().wire; wire.Head.Rev > 0 {
		return wire
	}
	return nil
}

// Leased says whether an exposed arm of the scope at revision rev may be served at this very moment, for an evaluation
// outside the flag handles. It must be asked at each evaluation, right before it. A revoke waits for the drain bound after
// the last time the answer was yes: what was evaluated must have reached its reader by then.
func (c *Client) Leased(scope string, rev uint64) bool {
	x := c.cells.get(scope)
	now := c.mono()
	x.hold(rev).loose.Store(int64(now)) // before the lease is looked at: see Flag.loose
	return x.held(rev, now)
}
