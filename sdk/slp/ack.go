package slp

import (
	"cmp"
	"maps"
	"slices"

	"sluice.dev/sdk/internal/mutant"
)

// report is what the member has to say about what is in force and prepared.
type report struct {
	acks     []Ack
	prepared []Prepared
}

func (r report) equal(o report) bool {
	return slices.Equal(r.acks, o.acks) && slices.EqualFunc(r.prepared, o.prepared, func(a, b Prepared) bool {
		return a.Scope == b.Scope && a.Digest == b.Digest && (a.Reject == nil) == (b.Reject == nil) && (a.Reject == nil || *a.Reject == *b.Reject)
	})
}

// tell sends the report at once when it has changed. It is repeated in every renewal anyway.
func (c *Client) tell() {
	if c.phase != joined || c.active == nil {
		return
	}
	r := c.report()
	if r.equal(c.told) {
		return
	}
	c.told = r
	if len(r.acks)+len(r.prepared) > 0 {
		c.emit(SendAck{Request: AckRequest{Instance: c.cfg.Instance, Boot: c.cfg.Boot, Acks: r.acks, Prepared: r.prepared}})
	}
}

func (c *Client) report() report {
	var r report
	if c.active != nil {
		for _, scope := range c.sortedScopes() {
			rev := c.ackable(scope)
			if rev == 0 {
				continue
			}
			r.acks = append(r.acks, c.mark(scope, StageActivated, rev))
			d := min(c.drained[scope], rev)
			if mutant.Is(mutant.DrainedAtOnce) {
				d = rev
			}
			if d > 0 && c.unwindDue[scope] == 0 {
				r.acks = append(r.acks, c.mark(scope, StageDrained, d))
			}
		}
	}
	r.prepared = slices.SortedFunc(maps.Values(c.prepared), func(a, b Prepared) int { return cmp.Compare(a.Scope, b.Scope) })
	return r
}

// ackable is the revision of the scope that may be acknowledged as activated, 0 while there is none: it is in force, and
//   - of a leased scope, the floors as of that revision are known. A fetched snapshot says nothing of floors, and a request
//     pinned to an older one could still be served an exposed arm;
//   - of a static scope, it is durable if this member's cache is, or a restart would bring the older value back.
func (c *Client) ackable(scope string) uint64 {
	meta := c.active.Scopes[scope]
	if mutant.Is(mutant.AckEarly) {
		return max(meta.Rev, c.tip().Scopes[scope].Rev)
	}
	if meta.Leased {
		if meta.Rev > c.floorsAt && !mutant.Is(mutant.AckBeforeFloors) {
			return 0
		}
		return meta.Rev
	}
	if c.cacheOK {
		return min(meta.Rev, c.durable[scope])
	}
	return meta.Rev
}

// mark stamps an ack with the time at which it first was true.
func (c *Client) mark(scope, stage string, rev uint64) Ack {
	k := ackKey{scope, stage}
	m, ok := c.ackedAt[k]
	if !ok || m.rev != rev {
		m = ackMark{rev: rev, at: c.clock.Micros(c.now)}
		c.ackedAt[k] = m
	}
	return Ack{Scope: scope, Rev: rev, Stage: stage, At: m.at}
}

// cache

func (c *Client) writeCache() {
	if !c.cacheOK || c.active == nil || c.phase == idle {
		return
	}
	last := &c.cached
	if last.head == c.active.Head.Rev && last.seen == c.want.Rev && last.signed == c.signed.text && maps.Equal(last.floors, c.floors) && maps.Equal(last.unwind, c.unwindDue) {
		return
	}
	*last = cacheMark{head: c.active.Head.Rev, seen: c.want.Rev, signed: c.signed.text, floors: maps.Clone(c.floors), unwind: maps.Clone(c.unwindDue)}
	c.emit(WriteCache{Cache: &Cache{Format: CacheFormat, Snapshot: c.active, Floors: last.floors, Seen: last.seen, Unwind: last.unwind, Signed: c.signed.text, SignedRev: c.signed.rev}})
}

func (c *Client) cacheWritten(in CacheWritten) {
	if in.Failed {
		if c.cacheOK {
			c.cacheOK = false
			c.notice(NoticeCache, "the cache cannot be written: floors no longer survive a restart")
			if c.phase == joined {
				c.hello() // to declare it
			}
		}
		return
	}
	c.noteDurable(in.Cache)
}

func (c *Client) noteDurable(k *Cache) {
	if k == nil || k.Snapshot == nil {
		return
	}
	for scope, meta := range k.Snapshot.Scopes {
		c.durable[scope] = max(c.durable[scope], meta.Rev)
	}
}

// unwinding

// unwindTurn orders the classes that go back after exposure is off; 0 for the others.
func unwindTurn(class string) int {
	switch class {
	case ClassStore:
		return 1
	case ClassWriter:
		return 2
	}
	return 0
}

// unwinds says whether this member has something to take back.
func (c *Client) unwinds() bool { return unwindTurn(c.cfg.Class) > 0 }

// unwind runs the hook of each revoked scope whose turn has come: the revoked revision is out of force here, its requests
// have ended (or had the drain bound to end), and the class before is proven. A scope that is gone needs no turn.
func (c *Client) unwind() {
	if c.active == nil || c.phase == leaving {
		return
	}
	for _, scope := range slices.Sorted(maps.Keys(c.unwindDue)) {
		due := c.unwindDue[scope]
		if c.unwinding[scope] || c.now < c.unwindAt[scope] || !c.mayUnwind(scope, due) {
			continue
		}
		if wait := c.activeAt[scope] + c.cfg.W - c.now; c.has(scope) && c.drained[scope] < due && wait > 0 {
			c.schedule(TimerUnwind, wait)
			continue
		}
		c.unwinding[scope] = true
		c.emit(RunUnwind{Scope: scope, Rev: due})
	}
}

func (c *Client) mayUnwind(scope string, due uint64) bool {
	meta, ok := c.active.Scopes[scope]
	if !ok {
		return c.active.Head.Rev >= due
	}
	return meta.Rev >= due && (c.turn[scope] >= unwindTurn(c.cfg.Class) || mutant.Is(mutant.UnwindUnasked))
}

func (c *Client) hookReturned(in Unwound) {
	delete(c.unwinding, in.Scope)
	if in.Failed {
		wait := c.unwindWait.next(c.cfg.Rand, 0)
		c.notice(NoticeUnwind, "unwinding scope %s did not succeed, again in %s", in.Scope, wait)
		c.unwindAt[in.Scope] = c.now + wait
		c.schedule(TimerUnwind, wait)
		return
	}
	c.unwindWait.reset()
	delete(c.unwindAt, in.Scope)
	if in.Rev >= c.unwindDue[in.Scope] {
		delete(c.unwindDue, in.Scope)
	}
}
