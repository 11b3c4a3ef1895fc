package sluice

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// snapshot is a configuration compiled for evaluation. It is immutable.
type snapshot struct {
	wire   *slp.Snapshot
	bound  map[string]*boundFlag
	open   int       // flags with an open rollout
	timed  bool      // some targeting asks for the time
	leased bool      // some scope is leased: a rollout is under way, evidence is due
	quiet  []slp.Pin // pins of the leased scopes in which nothing is decided: not begun yet, or taken back
}

// boundFlag is one flag of a snapshot with everything that evaluation needs of its surroundings. Snapshots share the bound
// flags of scopes that did not change between them.
type boundFlag struct {
	handle  *flag.Handle
	settled *flag.Variant // what is served to everybody; nil when a kill switch, a rule, an exception or a rollout may decide
	cell    *cell         // of the flag's scope; nil when the flag has no open rollout
	hold    *hold         // of the flag's scope revision
	digest8 string        // of the flag's scope, as a pin names it
	judged  *judged       // nil when nothing is measured
	keys    []cohortKeys
}

// cohortKeys holds the evidence keys of a cohort by [held][exposed], made beforehand.
type cohortKeys struct {
	cohort string
	ids    [2][2]evidence.KeyID
}

// find returns a flag of the snapshot; one that it does not have evaluates to FLAG_NOT_FOUND.
func (s *snapshot) find(key string) *boundFlag {
	if b := s.bound[key]; b != nil {
		return b
	}
	return &noFlag
}

var noFlag boundFlag

// cell is what all snapshots share of one scope: lease and floor, in one pointer, and who holds decisions of it.
type cell struct {
	scope  string
	lease  atomic.Pointer[leaseState]
	mu     sync.Mutex
	active uint64           // revision in force
	holds  map[uint64]*hold // by scope revision
}

type leaseState struct {
	floor uint64
	end   slp.Mono
}

// held is rule L2 for a decision at revision rev.
func (c *cell) held(rev uint64, now slp.Mono) bool {
	l := c.lease.Load()
	return l != nil && rev >= l.floor && now < l.end
}

// floor returns the floor of the scope, 0 when there is none.
func (c *cell) floor() uint64 {
	if l := c.lease.Load(); l != nil {
		return l.floor
	}
	return 0
}

// hold counts who still uses decisions of one scope revision.
type hold struct {
	rev   uint64
	open  atomic.Int64 // open requests with a decision that was made under a lease
	loose atomic.Int64 // Mono of the last decision without a request, in ns; 0 for none
	stale atomic.Bool  // a newer revision is in force
}

func (c *cell) hold(rev uint64) *hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holds[rev]
	if h == nil {
		h = &hold{rev: rev}
		h.stale.Store(rev < c.active)
		c.holds[rev] = h
	}
	return h
}

// activate notes the revision in force.
func (c *cell) activate(rev uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = max(c.active, rev)
	for _, h := range c.holds {
		if h.rev < c.active {
			h.stale.Store(true)
		}
	}
}

// cells are the scopes of a client by name.
type cells struct {
	mu   sync.Mutex
	byID map[string]*cell
}

func (c *cells) get(scope string) *cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.byID[scope]
	if x == nil {
		x = &cell{scope: scope, holds: map[uint64]*hold{}}
		c.byID[scope] = x
	}
	return x
}

func (c *cells) peek(scope string) *cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[scope]
}

// prune drops the cells of scopes that are gone and can be served by nobody: no lease, no holder.
func (c *cells) prune(v *slp.View, keep func(scope string) bool, now slp.Mono) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.byID, func(scope string, x *cell) bool {
		if _, ok := v.Snapshot.Scopes[scope]; ok || keep(scope) || x.held(1<<63, now) {
			return false
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, h := range x.holds {
			if h.open.Load() > 0 {
				return false
			}
		}
		return true
	})
}

// resident is one scope's content that can be served to a pinned request: of an older revision, of the one in force, or
// prepared for the next. It is compiled by itself, so that keeping it costs a scope and not an environment.
type resident struct {
	scope   string
	rev     uint64 // 0 for a prepared content, whose number is given at commit
	digest8 string
	snap    *snapshot
	retired slp.Mono // when its revision went out of force; 0 while it is in force or prepared
}

// maxResidents bounds the ring of older contents.
const maxResidents = 64

// newResidents compiles the leased scopes of a snapshot that are not resident yet.
func (c *Client) newResidents(wire *slp.Snapshot, have []*resident) []*resident {
	var out []*resident
	for _, scope := range slices.Sorted(maps.Keys(wire.Scopes)) {
		meta := wire.Scopes[scope]
		if !meta.Leased || slices.ContainsFunc(have, func(r *resident) bool { return r.scope == scope && r.rev == meta.Rev }) {
			continue
		}
		snap, err := c.compileScope(wire, scope)
		if err != nil {
			continue // the whole compiled, a part that does not is not kept: pins to it count as missed
		}
		out = append(out, &resident{scope: scope, rev: meta.Rev, digest8: slp.Digest8(meta.Digest), snap: snap})
	}
	return out
}

// rehearse loads a prepared scope in shadow and evaluates its flags under every state that they will be served in:
// baseline, exposed, without lease, and killed.
func (c *Client) rehearse(wire *slp.Snapshot, scope string) (shadow *snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.counts.panics.Add(1)
			err = fmt.Errorf("panic while evaluating: %v", p)
		}
	}()
	if _, err := c.compile(wire); err != nil {
		return nil, err
	}
	if shadow, err = c.compileScope(wire, scope); err != nil {
		return nil, err
	}
	killed := &slp.Snapshot{Scopes: wire.Scopes, Objects: map[string]json.RawMessage{}}
	for path, raw := range shadow.wire.Objects {
		killed.Objects[path] = raw
	}
	for key := range shadow.bound {
		delete(killed.Objects, "overlay/"+flag.KindKill+"/"+key)
		k, err := json.Marshal(flag.Kill{Flag: key})
		if err != nil {
			return nil, err
		}
		killed.Objects["overlay/"+flag.KindKill+"/"+key] = k
	}
	off, err := c.compileWhole(killed)
	if err != nil {
		return nil, fmt.Errorf("killed: %w", err)
	}
	for _, s := range []*snapshot{shadow, off} {
		for key, b := range s.bound {
			if err := tryOut(b.handle, key); err != nil {
				return nil, err
			}
		}
	}
	return shadow, nil
}

// tryOut evaluates a flag as requests will and checks that every answer is a value of the flag's type.
func tryOut(h *flag.Handle, key string) error {
	for _, unit := range []string{"", "a", "b"} {
		ctx := flag.NewContext(unit)
		for _, leased := range []bool{false, true} {
			for _, r := range []flag.Result{h.Eval(ctx, leased), h.EvalPinned(ctx, flag.ArmBaseline, leased), h.EvalPinned(ctx, flag.ArmExposed, leased)} {
				if r.Variant == nil || r.Variant.Type != h.Type {
					return fmt.Errorf("flag %s answers %s %s for unit %q, lease %t", key, r.Reason, r.ErrCode, unit, leased)
				}
			}
		}
	}
	return nil
}
