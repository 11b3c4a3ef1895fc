package slp

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// tip is the newest snapshot on its way into force.
func (c *Client) tip() *Snapshot {
	switch {
	case c.queued != nil:
		return c.queued
	case c.loading != nil:
		return c.loading
	}
	return c.active
}

// delta brings the tip forward by an event's delta. Where that is not possible, catchUp fetches.
func (c *Client) delta(e *Event) {
	tip := c.tip()
	if e.Delta == nil || tip == nil || e.Head.Rev <= tip.Head.Rev || e.Delta.Base != tip.Head.Digest {
		return
	}
	next, err := tip.Apply(e.Delta, e.Head)
	if err != nil {
		c.notice(NoticeDigest, "%v", err)
		return
	}
	c.line(next)
}

// offer takes a whole snapshot from the server.
func (c *Client) offer(s *Snapshot) {
	if c.phase != joined && c.phase != joining {
		return
	}
	tip := c.tip()
	if tip != nil && s.Head.Rev <= tip.Head.Rev {
		if tip.Head.Rev < c.want.Rev {
			c.fetchLater(0) // a server that lags behind what another one has told
		}
		return
	}
	if err := s.Verify(); err != nil {
		c.notice(NoticeDigest, "%v", err)
		c.fetchLater(0)
		return
	}
	c.fetchWait.reset()
	c.hear(s.Head)
	c.line(s)
}

// line puts a verified snapshot into the queue of those to be loaded: at most one is loaded and one waits.
func (c *Client) line(s *Snapshot) {
	for scope, meta := range s.Scopes {
		if meta.Leased && meta.Rev < c.floors[scope] {
			c.notice(NoticeBelow, "snapshot %d holds revision %d of scope %s, the floor is %d", s.Head.Rev, meta.Rev, scope, c.floors[scope])
			c.fetchLater(0)
			return
		}
	}
	if over := c.cfg.Caps.exceeded(s.Objects); over != nil {
		c.notice(NoticeTooLarge, "snapshot %d: %s %s, declared was %s", s.Head.Rev, over.Code, over.Got, over.Limit)
		c.refuse(s.Head)
		return
	}
	if c.loading != nil {
		c.queued = s
		return
	}
	c.loading = s
	c.emit(Load{Snapshot: s})
}

// exceeded compares objects with what a member declared to take; nil means that they fit.
func (k Caps) exceeded(objects map[string]json.RawMessage) *Reject {
	if k.MaxObjects > 0 && len(objects) > k.MaxObjects {
		return &Reject{Code: "caps.objects", Limit: fmt.Sprint(k.MaxObjects), Got: fmt.Sprint(len(objects))}
	}
	if k.MaxBytes > 0 {
		var size int64
		for path, raw := range objects {
			size += int64(len(path) + len(raw))
		}
		if size > k.MaxBytes {
			return &Reject{Code: "caps.bytes", Limit: fmt.Sprint(k.MaxBytes), Got: fmt.Sprint(size)}
		}
	}
	return nil
}

// refuse notes that a head cannot be served: it is not asked for again before some time or a newer one.
func (c *Client) refuse(h Head) {
	c.fetchHold = h.Rev
	c.schedule(TimerFetch, slowRetry)
}

// fetchLater holds all fetches for a while.
func (c *Client) fetchLater(retryAfter time.Duration) {
	if c.fetchHold != math.MaxUint64 {
		c.fetchHold = math.MaxUint64
		c.schedule(TimerFetch, c.fetchWait.next(c.cfg.Rand, retryAfter))
	}
}

// catchUp fetches when a higher head is known than the one on its way.
func (c *Client) catchUp() {
	tip := c.tip()
	if c.phase != joined || c.fetching || tip != nil && tip.Head.Rev >= c.want.Rev || c.want.Rev <= c.fetchHold {
		return
	}
	c.fetching = true
	c.emit(FetchSnapshot{})
}

func (c *Client) loaded(h Head, err string) {
	s := c.loading
	if s == nil || s.Head != h {
		return
	}
	c.loading = nil
	if err != "" {
		c.notice(NoticeRefused, "snapshot %d cannot be served: %s", h.Rev, err)
		c.refuse(h)
	} else if c.phase == joined || c.phase == joining {
		c.swap(s)
	}
	if c.queued != nil {
		c.loading, c.queued = c.queued, nil
		c.emit(Load{Snapshot: c.loading})
	}
}

// swap puts a loaded snapshot in force.
func (c *Client) swap(s *Snapshot) {
	old := c.active
	if old != nil && s.Head.Rev <= old.Head.Rev {
		return
	}
	c.active, c.dirty = s, true
	for scope, meta := range s.Scopes {
		if old != nil && old.Scopes[scope].Rev == meta.Rev {
			continue
		}
		c.activeAt[scope] = c.now
		if meta.Leased && meta.Rev != c.floors[scope] && c.leaseEnd[scope] <= c.now {
			c.needLease = true
		}
	}
	if old != nil {
		for scope, meta := range old.Scopes {
			if meta.Leased && !c.has(scope) {
				c.ended(scope, old, s)
			}
		}
	}
	c.forget()
	c.nextPrepares()
}

// nextPrepares drops the prepared contents that are in force or without scope, and answers the prepares that waited for
// this head.
func (c *Client) nextPrepares() {
	maps.DeleteFunc(c.prepared, func(scope string, p Prepared) bool {
		meta, ok := c.active.Scopes[scope]
		return !ok || meta.Digest == p.Digest
	})
	for _, scope := range slices.Sorted(maps.Keys(c.pending)) {
		if w := c.pending[scope]; w.head <= c.active.Head.Rev {
			delete(c.pending, scope)
			c.prepare(w.prepare, w.head)
		}
	}
}

// ended looks at a scope that was merged back while this member may not have been listening. A store or writer that held
// the candidate's side must take it back if the flag did not keep the candidate.
func (c *Client) ended(scope string, old, next *Snapshot) {
	if c.unwinds() && c.unwindDue[scope] == 0 && tookBack(scope, old, next) {
		c.unwindDue[scope] = next.Head.Rev
	}
}

// tookBack reports whether a flag with an open rollout in the old scope serves something else than its candidate now.
func tookBack(scope string, old, next *Snapshot) bool {
	type flagObject struct {
		Default string `json:"default"`
		Rollout *struct {
			Candidate string `json:"candidate"`
		} `json:"rollout"`
	}
	now := map[string]string{}
	for path, raw := range next.Objects {
		if _, rest, _ := strings.Cut(path, "/"); strings.HasPrefix(rest, "flag/") {
			var f flagObject
			if json.Unmarshal(raw, &f) == nil {
				now[rest] = f.Default
			}
		}
	}
	for path, raw := range old.Objects {
		in, rest, _ := strings.Cut(path, "/")
		var f flagObject
		if in == scope && strings.HasPrefix(rest, "flag/") && json.Unmarshal(raw, &f) == nil && f.Rollout != nil && now[rest] != f.Rollout.Candidate {
			return true
		}
	}
	return false
}

// forget drops what is kept of scopes that are gone. Their floors stay, because they never fall, until there are many of
// them; then the oldest go whose lease is over: no snapshot below the head is ever taken again, and without a lease an
// older resident one serves its baseline.
func (c *Client) forget() {
	gone := 0
	for scope := range c.floors {
		if !c.has(scope) {
			gone++
		}
	}
	for ; gone > maxEnded; gone-- {
		oldest := ""
		for scope, f := range c.floors {
			if !c.has(scope) && f <= c.active.Head.Rev && c.leaseEnd[scope] <= c.now && (oldest == "" || f < c.floors[oldest]) {
				oldest = scope
			}
		}
		if oldest == "" {
			break
		}
		delete(c.floors, oldest)
	}
	maps.DeleteFunc(c.leaseEnd, func(scope string, end Mono) bool { return end <= c.now && !c.has(scope) })
	maps.DeleteFunc(c.ttl, func(scope string, _ time.Duration) bool { return !c.has(scope) })
	maps.DeleteFunc(c.activeAt, func(scope string, _ Mono) bool { return !c.has(scope) && c.unwindDue[scope] == 0 })
	maps.DeleteFunc(c.drained, func(scope string, _ uint64) bool { return !c.has(scope) && c.unwindDue[scope] == 0 })
	maps.DeleteFunc(c.ackedAt, func(k ackKey, _ ackMark) bool { return !c.has(k.scope) })
	maps.DeleteFunc(c.durable, func(scope string, _ uint64) bool { return !c.has(scope) })
	maps.DeleteFunc(c.turn, func(scope string, _ int) bool { return !c.has(scope) && c.unwindDue[scope] == 0 })
}

// prepare answers a Prepare that was made on top of head. What cannot be answered yet waits for that head.
func (c *Client) prepare(p *Prepare, head uint64) {
	if c.active == nil || c.active.Head.Rev < head {
		if len(c.pending) < maxPrepared {
			c.pending[p.Scope] = &waiting{prepare: p, head: head}
		}
		return
	}
	if done, ok := c.prepared[p.Scope]; ok && done.Digest == p.Digest {
		c.told = report{} // asked again: the answer was lost
		return
	}
	if loading, ok := c.shadow[p.Scope]; ok && loading == p.Digest || len(c.shadow) >= maxPrepared {
		return
	}
	shadow, reject := c.checkPrepare(p)
	if reject != nil {
		c.prepared[p.Scope] = Prepared{Scope: p.Scope, Digest: p.Digest, Reject: reject}
		return
	}
	c.shadow[p.Scope] = p.Digest
	c.emit(LoadShadow{Scope: p.Scope, Digest: p.Digest, Snapshot: shadow})
}

// checkPrepare returns the whole configuration with the prepared scope in it, or why it cannot be.
func (c *Client) checkPrepare(p *Prepare) (*Snapshot, *Reject) {
	if !c.has(p.Scope) {
		return nil, &Reject{Code: "scope.unknown", Got: p.Scope}
	}
	got, err := ScopeDigest(p.Objects)
	if err != nil {
		return nil, &Reject{Code: "content.invalid", Got: err.Error()}
	}
	if got != p.Digest {
		return nil, &Reject{Code: "digest", Limit: p.Digest, Got: got}
	}
	shadow := c.active.withScope(p.Scope, p.Digest, p.Objects)
	if over := c.cfg.Caps.exceeded(shadow.Objects); over != nil {
		return nil, over
	}
	return shadow, nil
}

func (c *Client) shadowLoaded(p Prepared) {
	if loading, ok := c.shadow[p.Scope]; !ok || loading != p.Digest {
		return
	}
	delete(c.shadow, p.Scope)
	if c.has(p.Scope) {
		c.prepared[p.Scope] = p
	}
}
