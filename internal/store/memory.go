package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sluice.dev/sluice/internal/audit"
)

// Memory is a Store that forgets everything when the process ends; for tests, simulation and a server without a data
// directory. It shares no memory with its callers. The zero value is not ready; use NewMemory.
type Memory struct {
	mu          sync.RWMutex
	epoch       uint64
	leader      Leader         // Epoch is kept in epoch
	records     []audit.Record // seq i+1 at i
	hashes      [][32]byte
	tip         audit.Frontier
	byRollout   map[string][]uint64 // seqs
	artifacts   map[string]Artifact
	revisions   map[string][]Revision // ascending by Number
	evidence    map[string][]Evidence // ascending by Second
	checkpoints map[string]Checkpoint
	members     map[memberKey]Member
	outbox      []Outbox
	tokens      map[string]Token
	meta        map[string][]byte
}

type memberKey struct{ env, instance, boot string }

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{
		byRollout: map[string][]uint64{}, artifacts: map[string]Artifact{}, revisions: map[string][]Revision{},
		evidence: map[string][]Evidence{}, checkpoints: map[string]Checkpoint{}, members: map[memberKey]Member{},
		tokens: map[string]Token{}, meta: map[string][]byte{},
	}
}

// Lead implements Store.
func (m *Memory) Lead(ctx context.Context) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.take(Leader{}), nil
}

func (m *Memory) take(me Leader) uint64 {
	m.epoch++
	me.Beat = m.leader.Beat + 1
	m.leader = me
	return m.epoch
}

// Leader implements Store.
func (m *Memory) Leader(ctx context.Context) (Leader, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.seen(), ctx.Err()
}

func (m *Memory) seen() Leader {
	l := m.leader
	l.Epoch = m.epoch
	return l
}

// Claim implements Store.
func (m *Memory) Claim(ctx context.Context, seen, me Leader) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.seen(); now.Epoch != seen.Epoch || now.Beat != seen.Beat {
		return 0, overtaken(seen, now.Epoch)
	}
	return m.take(me), nil
}

func overtaken(seen Leader, epoch uint64) error {
	return fmt.Errorf("claim the lease of epoch %d, beat %d: the store is in epoch %d: %w", seen.Epoch, seen.Beat, epoch, ErrFenced)
}

// Beat implements Store.
func (m *Memory) Beat(ctx context.Context, epoch uint64) error {
	return m.renew(ctx, epoch, func() {})
}

// Resign implements Store.
func (m *Memory) Resign(ctx context.Context, epoch uint64) error {
	return m.renew(ctx, epoch, func() { m.leader.Name, m.leader.Address = "", "" })
}

func (m *Memory) renew(ctx context.Context, epoch uint64, change func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if epoch != m.epoch {
		return fenced(epoch, m.epoch)
	}
	m.leader.Beat++
	change()
	return nil
}

// Append implements Store.
func (m *Memory) Append(ctx context.Context, b Batch) (audit.TreeHead, error) {
	if err := ctx.Err(); err != nil {
		return audit.TreeHead{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Epoch != m.epoch {
		return audit.TreeHead{}, fenced(b.Epoch, m.epoch)
	}
	g, err := grow(&m.tip, b.Records)
	if err != nil {
		return audit.TreeHead{}, err
	}
	// Nothing is changed before all of it is known to be right.
	if err := m.check(b); err != nil {
		return audit.TreeHead{}, err
	}
	if err := m.addRecords(g); err != nil {
		return audit.TreeHead{}, err
	}
	m.apply(b)
	return m.tip.Head(), nil
}

func fenced(epoch, current uint64) error {
	return fmt.Errorf("write in epoch %d, the store is in epoch %d: %w", epoch, current, ErrFenced)
}

func (m *Memory) check(b Batch) error {
	for _, a := range b.Artifacts {
		if err := checkArtifact(a); err != nil {
			return err
		}
	}
	newest := map[string]uint64{}
	for _, r := range b.Revisions {
		last := newest[r.Env]
		if have := m.revisions[r.Env]; len(have) > 0 {
			last = max(last, have[len(have)-1].Number)
		}
		if r.Number <= last {
			return revisionConflict(r)
		}
		newest[r.Env] = r.Number
	}
	digests := map[evidenceKey]string{}
	for _, e := range b.Evidence {
		k := evidenceKey{e.Rollout, e.Second}
		if i, ok := m.findEvidence(e.Rollout, e.Second); ok {
			digests[k] = m.evidence[e.Rollout][i].Digest
		}
		if d, ok := digests[k]; ok && d != e.Digest {
			return evidenceConflict(e)
		}
		digests[k] = e.Digest
	}
	return nil
}

type evidenceKey struct {
	rollout string
	second  int64
}

func revisionConflict(r Revision) error {
	return fmt.Errorf("revision %d of %s is not above the newest: %w", r.Number, r.Env, ErrConflict)
}

func evidenceConflict(e Evidence) error {
	return fmt.Errorf("evidence of %s, second %d, is stored with another digest than %s: %w", e.Rollout, e.Second, e.Digest, ErrConflict)
}

func (m *Memory) findEvidence(rollout string, second int64) (int, bool) {
	return slices.BinarySearchFunc(m.evidence[rollout], second, func(e Evidence, s int64) int { return cmp.Compare(e.Second, s) })
}

// addRecords keeps what the leaves say and not what the caller passed, so that reading gives the same as from SQL.
func (m *Memory) addRecords(g growth) error {
	var added []audit.Record
	for i, leaf := range g.leaves {
		r, err := parseStored(uint64(len(m.records)+i)+1, leaf)
		if err != nil {
			return err
		}
		added = append(added, r)
	}
	for _, r := range added {
		m.byRollout[r.Rollout] = append(m.byRollout[r.Rollout], r.Seq)
	}
	m.records, m.hashes, m.tip = append(m.records, added...), append(m.hashes, g.hashes...), g.tip
	return nil
}

func (m *Memory) apply(b Batch) {
	for _, a := range b.Artifacts {
		if _, ok := m.artifacts[a.Digest]; !ok {
			m.artifacts[a.Digest] = a.clone()
		}
	}
	for _, r := range b.Revisions {
		r = r.clone()
		r.At = fromMicros(micros(r.At))
		m.revisions[r.Env] = append(m.revisions[r.Env], r)
	}
	for _, e := range b.Evidence {
		if i, ok := m.findEvidence(e.Rollout, e.Second); !ok {
			m.evidence[e.Rollout] = slices.Insert(m.evidence[e.Rollout], i, e.clone())
		}
	}
	for _, c := range b.Checkpoints {
		if old, ok := m.checkpoints[c.Rollout]; !ok || c.Second >= old.Second {
			m.checkpoints[c.Rollout] = c.clone()
		}
	}
	for _, mb := range b.Members {
		key := memberKey{mb.Env, mb.Instance, mb.Boot}
		if mb.Gone {
			delete(m.members, key)
		} else {
			m.members[key] = mb.clone()
		}
	}
	for _, o := range b.Outbox {
		if !slices.ContainsFunc(m.outbox, func(have Outbox) bool { return have.Key == o.Key }) {
			m.outbox = append(m.outbox, o.clone())
		}
	}
}

// Records implements Store.
func (m *Memory) Records(ctx context.Context, q Query) ([]audit.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []audit.Record
	for r := range m.candidates(q) {
		if q.Kind != "" && r.Kind != q.Kind {
			continue
		}
		if out = append(out, r.Clone()); len(out) == clampLimit(q.Limit) {
			break
		}
	}
	return out, nil
}

// candidates yields the records after q.After that have q's rollout.
func (m *Memory) candidates(q Query) func(func(audit.Record) bool) {
	return func(yield func(audit.Record) bool) {
		if q.Rollout == "" {
			for i := min(q.After, uint64(len(m.records))); i < uint64(len(m.records)); i++ {
				if !yield(m.records[i]) {
					return
				}
			}
			return
		}
		seqs := m.byRollout[q.Rollout]
		from, found := slices.BinarySearch(seqs, q.After)
		if found {
			from++
		}
		for _, seq := range seqs[from:] {
			if !yield(m.records[seq-1]) {
				return
			}
		}
	}
}

// LastRecord implements Store.
func (m *Memory) LastRecord(ctx context.Context, rollout string) (audit.Record, error) {
	if err := ctx.Err(); err != nil {
		return audit.Record{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	last := uint64(len(m.records))
	if rollout != "" {
		last = 0
		if seqs := m.byRollout[rollout]; len(seqs) > 0 {
			last = seqs[len(seqs)-1]
		}
	}
	if last == 0 {
		return audit.Record{}, fmt.Errorf("last record of rollout %q: %w", rollout, ErrNotFound)
	}
	return m.records[last-1].Clone(), nil
}

// Envs implements Store.
func (m *Memory) Envs(ctx context.Context) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Sorted(maps.Keys(m.revisions)), ctx.Err()
}

// Rollouts implements Store.
func (m *Memory) Rollouts(ctx context.Context) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	names := slices.Sorted(maps.Keys(m.byRollout))
	return slices.DeleteFunc(names, func(n string) bool { return n == "" }), ctx.Err()
}

// TreeHead implements Store.
func (m *Memory) TreeHead(ctx context.Context) (audit.TreeHead, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.tip.Head(), ctx.Err()
}

// Tree implements Store.
func (m *Memory) Tree(ctx context.Context) (audit.HashReader, error) {
	return (*memoryTree)(m), ctx.Err()
}

type memoryTree Memory

func (t *memoryTree) ReadHashes(indexes []int64) ([][32]byte, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([][32]byte, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("tree hash %d: %w", x, audit.ErrNoHash)
		}
		out[i] = t.hashes[x]
	}
	return out, nil
}

// Artifact implements Store.
func (m *Memory) Artifact(ctx context.Context, digest string) (Artifact, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	a, ok := m.artifacts[digest]
	if !ok {
		return Artifact{}, fmt.Errorf("artifact %s: %w", digest, ErrNotFound)
	}
	return a.clone(), ctx.Err()
}

// Revision implements Store.
func (m *Memory) Revision(ctx context.Context, env string, number uint64) (Revision, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range slices.Backward(m.revisions[env]) {
		if number == 0 || r.Number == number {
			return r.clone(), ctx.Err()
		}
	}
	return Revision{}, fmt.Errorf("revision %d of environment %s: %w", number, env, ErrNotFound)
}

// RevisionAt implements Store.
func (m *Memory) RevisionAt(ctx context.Context, env string, at time.Time) (Revision, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range slices.Backward(m.revisions[env]) {
		if micros(r.At) <= micros(at) {
			return r.clone(), ctx.Err()
		}
	}
	return Revision{}, fmt.Errorf("revision of environment %s at %s: %w", env, at.UTC().Format(time.RFC3339), ErrNotFound)
}

// EvidenceAfter implements Store.
func (m *Memory) EvidenceAfter(ctx context.Context, rollout string, second int64, limit int) ([]Evidence, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := m.evidence[rollout]
	from, found := m.findEvidence(rollout, second)
	if found {
		from++
	}
	var out []Evidence
	for _, e := range all[from:min(len(all), from+clampLimit(limit))] {
		out = append(out, e.clone())
	}
	return out, ctx.Err()
}

// Checkpoint implements Store.
func (m *Memory) Checkpoint(ctx context.Context, rollout string) (Checkpoint, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, ok := m.checkpoints[rollout]
	if !ok {
		return Checkpoint{}, fmt.Errorf("checkpoint of rollout %s: %w", rollout, ErrNotFound)
	}
	return c.clone(), ctx.Err()
}

// Members implements Store.
func (m *Memory) Members(ctx context.Context, env string) ([]Member, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []Member
	for _, mb := range m.members {
		if mb.Env == env {
			out = append(out, mb.clone())
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Boot, b.Boot)) })
	return out, ctx.Err()
}

// OutboxPending implements Store.
func (m *Memory) OutboxPending(ctx context.Context, limit int) ([]Outbox, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []Outbox
	for _, o := range m.outbox[:min(len(m.outbox), clampLimit(limit))] {
		out = append(out, o.clone())
	}
	return out, ctx.Err()
}

// OutboxDone implements Store.
func (m *Memory) OutboxDone(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outbox = slices.DeleteFunc(m.outbox, func(o Outbox) bool { return o.Key == key })
	return nil
}

// PutToken implements Store.
func (m *Memory) PutToken(ctx context.Context, t Token) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t.Created, t.Revoked = fromMicros(micros(t.Created)), fromMicros(micros(t.Revoked))
	m.tokens[t.ID] = t
	return nil
}

// Tokens implements Store.
func (m *Memory) Tokens(ctx context.Context) ([]Token, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := slices.Collect(maps.Values(m.tokens))
	slices.SortFunc(out, func(a, b Token) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return out, ctx.Err()
}

// Meta implements Store.
func (m *Memory) Meta(ctx context.Context, key string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.meta[key]
	if !ok {
		return nil, fmt.Errorf("meta %s: %w", key, ErrNotFound)
	}
	return clone(v), ctx.Err()
}

// PutMeta implements Store.
func (m *Memory) PutMeta(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.meta[key] = clone(value)
	return nil
}

// Close implements Store. A Memory stays usable, so that a test can stop a server on it and start the next.
func (m *Memory) Close() error { return nil }

// clone copies b; nothing and empty are the same to a store.
func clone(b []byte) []byte { return append([]byte{}, b...) }

func (a Artifact) clone() Artifact     { a.Body = clone(a.Body); return a }
func (r Revision) clone() Revision     { r.Body = clone(r.Body); return r }
func (e Evidence) clone() Evidence     { e.Body = clone(e.Body); return e }
func (c Checkpoint) clone() Checkpoint { c.Body = clone(c.Body); return c }
func (m Member) clone() Member         { m.Body = clone(m.Body); return m }
func (o Outbox) clone() Outbox         { o.Body = clone(o.Body); return o }

var _ Store = (*Memory)(nil)
