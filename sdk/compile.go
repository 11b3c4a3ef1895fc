package sluice

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// compile turns a wire snapshot into one that can be evaluated. It is called off the loop and may take its time. Where only
// some scopes differ from the snapshot in force, which is so for every stage and every rollback, only those are compiled: a
// rollback's acknowledgement must not wait for ten thousand flags that it does not touch.
func (c *Client) compile(wire *slp.Snapshot) (s *snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.counts.panics.Add(1)
			err = fmt.Errorf("panic while compiling: %v", p)
		}
	}()
	if s = c.compilePart(c.current.Load(), wire); s != nil {
		return s, nil
	}
	return c.compileWhole(wire)
}

func (c *Client) compileWhole(wire *slp.Snapshot) (*snapshot, error) {
	compiled, cfg, err := wire.Compile()
	if err != nil {
		return nil, err
	}
	s := &snapshot{wire: wire, timed: compiled.Timed(), bound: make(map[string]*boundFlag, len(compiled.Handles()))}
	c.bind(s, compiled.Handles(), cfg)
	s.sum()
	return s, nil
}

// bind adds compiled flags to the snapshot.
func (c *Client) bind(s *snapshot, handles []*flag.Handle, cfg flag.Config) {
	slab := make([]boundFlag, len(handles))
	for i, h := range handles {
		b := &slab[i]
		b.handle = h
		if h.RolloutID != "" {
			c.bindRollout(b, cfg, slp.Digest8(s.wire.Scopes[h.Scope].Digest))
		} else if h.Static() {
			b.settled = h.Eval(nil, false).Variant
		}
		s.bound[h.Key] = b
	}
}

// sum counts what is under way.
func (s *snapshot) sum() {
	decided := map[string]bool{}
	for _, b := range s.bound {
		if b.cell != nil {
			s.open++
			decided[b.handle.Scope] = true
		}
	}
	for _, scope := range slices.Sorted(maps.Keys(s.wire.Scopes)) {
		meta := s.wire.Scopes[scope]
		s.leased = s.leased || meta.Leased
		if p := (slp.Pin{Rev: meta.Rev, Scope: scope, Digest8: slp.Digest8(meta.Digest), Arm: slp.PinNone}); meta.Leased && !decided[scope] && p.Digest8 != "" {
			s.quiet = append(s.quiet, p)
		}
	}
}

// compilePart compiles the scopes of wire that differ from old and shares the others. It returns nil when that could differ
// from compiling the whole: then the whole is compiled, which also finds the faults.
func (c *Client) compilePart(old *snapshot, wire *slp.Snapshot) *snapshot {
	changed := changedScopes(old.wire, wire)
	if len(old.bound) == 0 || changed["base"] || !selfContained(old.wire, changed) || !selfContained(wire, changed) || collide(wire, changed) {
		return nil
	}
	part := &slp.Snapshot{Env: wire.Env, Head: wire.Head, Scopes: wire.Scopes, Objects: scopeObjects(wire, changed)}
	compiled, cfg, err := part.Compile()
	if err != nil {
		return nil
	}
	for id := range cfg.Judged {
		if scope := cfg.Scope(flag.KindJudge, id); changed[scope] && compiled.Rollout(id) == nil {
			return nil // it may measure a rollout that lies elsewhere
		}
	}
	s := &snapshot{wire: wire, timed: old.timed || compiled.Timed(), bound: make(map[string]*boundFlag, len(old.bound)+len(compiled.Handles()))}
	for key, b := range old.bound {
		if !changed[b.handle.Scope] {
			s.bound[key] = b
		}
	}
	c.bind(s, compiled.Handles(), cfg)
	s.sum()
	return s
}

// changedScopes are those that differ between two snapshots, or are in one of them only.
func changedScopes(old, next *slp.Snapshot) map[string]bool {
	changed := map[string]bool{}
	for scope, meta := range next.Scopes {
		if was, ok := old.Scopes[scope]; !ok || was != meta {
			changed[scope] = true
		}
	}
	for scope := range old.Scopes {
		if _, ok := next.Scopes[scope]; !ok {
			changed[scope] = true
		}
	}
	return changed
}

// selfContained reports whether nothing in the changed scopes has a say about flags outside them: segments, kill switches
// and exclusions may, exceptions only if their flag lies elsewhere.
func selfContained(s *slp.Snapshot, changed map[string]bool) bool {
	for path, raw := range s.Objects {
		scope, rest, _ := strings.Cut(path, "/")
		if !changed[scope] {
			continue
		}
		switch kind, _, _ := strings.Cut(rest, "/"); kind {
		case flag.KindSegment, flag.KindKill, flag.KindExclude:
			return false
		case flag.KindException:
			var e struct{ Flag string }
			if json.Unmarshal(raw, &e) != nil || s.Objects[scope+"/"+flag.KindFlag+"/"+e.Flag] == nil {
				return false
			}
		}
	}
	return true
}

// collide reports whether an object of a changed scope stands in an unchanged one too.
func collide(s *slp.Snapshot, changed map[string]bool) bool {
	for path := range s.Objects {
		scope, rest, _ := strings.Cut(path, "/")
		if !changed[scope] {
			continue
		}
		for other := range s.Scopes {
			if _, twice := s.Objects[other+"/"+rest]; twice && !changed[other] {
				return true
			}
		}
	}
	return false
}

// scopeObjects picks the objects of some scopes and those of all others that their flags may refer to.
func scopeObjects(s *slp.Snapshot, scopes map[string]bool) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for path, raw := range s.Objects {
		scope, rest, _ := strings.Cut(path, "/")
		kind, _, _ := strings.Cut(rest, "/")
		switch {
		case scopes[scope]:
		case kind == flag.KindSegment || kind == flag.KindKill || kind == flag.KindExclude || kind == flag.KindException || kind == flag.KindJudge:
		default:
			continue
		}
		out[path] = raw
	}
	return out
}

// compileScope compiles one scope by itself, for pinned requests.
func (c *Client) compileScope(wire *slp.Snapshot, scope string) (*snapshot, error) {
	return c.compileWhole(&slp.Snapshot{
		Env: wire.Env, Head: wire.Head, Scopes: maps.Clone(wire.Scopes), Objects: scopeObjects(wire, map[string]bool{scope: true}),
	})
}

// bindRollout connects a flag with an open rollout to its scope's lease and to its evidence.
func (c *Client) bindRollout(b *boundFlag, cfg flag.Config, digest8 string) {
	h := b.handle
	b.cell = c.cells.get(h.Scope)
	b.hold = b.cell.hold(h.Revision)
	b.digest8 = digest8
	r := cfg.Flags[h.Key].Rollout
	b.judged = c.evidence.judgedFor(h, r.Unit)
	if b.judged == nil {
		return
	}
	for _, ce := range r.Cohorts {
		k := cohortKeys{cohort: ce.Cohort}
		for held := range 2 {
			for exposed := range 2 {
				k.ids[held][exposed] = b.judged.acc.Key(slotKey(ce.Cohort, h.Revision, ce.Exposure, held == 1, exposed == 1, held == 1 && exposed == 1))
			}
		}
		b.keys = append(b.keys, k)
	}
}

func slotKey(cohort string, rev uint64, exposure flag.Exposure, held, assigned, served bool) evidence.SlotKey {
	k := evidence.SlotKey{
		Cohort: cohort, Revision: rev, Exposure: uint32(exposure),
		Lease: evidence.LeaseLapsed, Assigned: evidence.ArmBaseline, Served: evidence.ArmBaseline,
	}
	if held {
		k.Lease = evidence.LeaseHeld
	}
	if assigned {
		k.Assigned = evidence.ArmExposed
	}
	if served {
		k.Served = evidence.ArmExposed
	}
	return k
}
