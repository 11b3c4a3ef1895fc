package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fail"
)

// database is what the SQL stores share: every query text, the fencing, the log's tree. They differ in how they are
// opened, in their DDL, and in what the fields say.
type database struct {
	reader
	readers, writer *sql.DB

	lockRow string            // what makes a SELECT take its row against other processes' writes
	limit   time.Duration     // of one write transaction; 0 means none
	spare   func() bool       // whether there is space for writes that are not vital; nil means yes
	retry   func() bool       // makes room on a full disk for a vital write; nil means it cannot
	explain func(error) error // puts our errors in front of the engine's

	writing sync.Mutex     // held for each write transaction; guards the rest
	tip     audit.Frontier // of the last commit known of
	led     uint64         // epoch of the last Lead or Claim here, which other writes are fenced by
}

// txn is one write transaction. Its statements do not end with the caller's context: what has begun is finished, so that
// a caller who gives up does not leave an outcome nobody knows.
type txn struct {
	s   *database
	ctx context.Context
	tx  *sql.Tx
}

// write runs do in one transaction and commits it. vital writes may use the reserved disk space: when the disk is full the
// reserve is given up and do runs once more; until there is a reserve again the others are refused. A nil error means that
// the disk has it.
func (s *database) write(ctx context.Context, vital bool, do func(*txn) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !vital && s.spare != nil && !s.spare() {
		return fmt.Errorf("%w: what is left is kept for rollbacks", ErrFull)
	}
	err := s.attempt(do)
	if errors.Is(err, ErrFull) && vital && s.retry != nil && s.retry() {
		err = s.attempt(do)
	}
	return err
}

func (s *database) attempt(do func(*txn) error) error {
	ctx, cancel := context.Background(), func() {}
	if s.limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, s.limit)
	}
	defer cancel()
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return s.explain(err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	fail.At(fail.TxBegun)
	if err := do(&txn{s: s, ctx: ctx, tx: tx}); err != nil {
		return s.explain(err)
	}
	fail.At(fail.TxCommit)
	if err := tx.Commit(); err != nil {
		return s.explain(err)
	}
	fail.At(fail.TxDone)
	return nil
}

// exec runs query and returns how many rows it changed. Statements are not kept prepared: that saved a tenth of a commit.
func (t *txn) exec(query string, args ...any) (int64, error) {
	res, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// current returns the store's epoch and takes its row, so that nobody else leads before this transaction has ended.
func (t *txn) current() (epoch uint64, head audit.TreeHead, err error) {
	err = t.tx.QueryRowContext(t.ctx, `SELECT epoch, size, root FROM head WHERE id = 1`+t.s.lockRow).Scan(&epoch, &head.Size, &head.Root)
	return epoch, head, err
}

// fence refuses a write that names no epoch unless the last leader was made here.
func (t *txn) fence() error {
	epoch, _, err := t.current()
	if err == nil && epoch != t.s.led {
		err = fenced(t.s.led, epoch)
	}
	return err
}

// Append implements Store. Vital batches alone may use the reserved disk space, or the others would eat it before a rollback
// needs it.
func (s *database) Append(ctx context.Context, b Batch) (audit.TreeHead, error) {
	for _, a := range b.Artifacts {
		if err := checkArtifact(a); err != nil {
			return audit.TreeHead{}, err
		}
	}
	var after audit.Frontier
	err := s.write(ctx, b.Vital, func(t *txn) error {
		var err error
		after, err = t.append(b)
		return err
	})
	if err != nil {
		return audit.TreeHead{}, fmt.Errorf("append %d records: %w", len(b.Records), err)
	}
	return after.Head(), nil
}

// append does the work of Append and returns the tree after it.
func (t *txn) append(b Batch) (audit.Frontier, error) {
	tip, err := t.lockHead(b.Epoch)
	if err != nil {
		return audit.Frontier{}, err
	}
	g, err := grow(&tip, b.Records)
	if err != nil {
		return audit.Frontier{}, err
	}
	for _, add := range []func() error{
		func() error { return t.addRecords(b.Records, g) },
		func() error { return t.addContent(b) },
		func() error { return t.addEvidence(b) },
		func() error { return t.addMembers(b.Members) },
		func() error { return t.addOutbox(b.Outbox) },
	} {
		if err := add(); err != nil {
			return audit.Frontier{}, err
		}
	}
	head := g.tip.Head()
	// The check that decides, wherever the database lies: the head is still the one this batch was computed on.
	n, err := t.exec(`UPDATE head SET size = $1, root = $2 WHERE id = 1 AND epoch = $3 AND size = $4`,
		head.Size, head.Root, b.Epoch, tip.Size())
	if err != nil {
		return audit.Frontier{}, err
	}
	if n != 1 {
		return audit.Frontier{}, fmt.Errorf("append in epoch %d at size %d: %w", b.Epoch, tip.Size(), ErrFenced)
	}
	fail.At(fail.AppendHead)
	return g.tip, nil
}

// lockHead checks the epoch and returns the tree as it stands in this transaction. The one remembered from the last commit
// saves reading it; after a commit of unknown outcome it is behind, and is read.
func (t *txn) lockHead(epoch uint64) (audit.Frontier, error) {
	current, want, err := t.current()
	if err != nil {
		return audit.Frontier{}, err
	}
	if current != epoch {
		return audit.Frontier{}, fenced(epoch, current)
	}
	fail.At(fail.TxFenced)
	if t.s.tip.Head() != want {
		tip, err := audit.LoadFrontier(want.Size, &sqlTree{ctx: t.ctx, q: t.tx})
		if err != nil {
			return audit.Frontier{}, err
		}
		if tip.Head() != want {
			return audit.Frontier{}, fmt.Errorf("the tree hashes do not give the head of size %d: %w", want.Size, ErrCorrupt)
		}
		t.s.tip = tip
	}
	return t.s.tip.Clone(), nil
}

func (t *txn) addRecords(records []audit.Record, g growth) error {
	for i, r := range records {
		_, err := t.exec(`INSERT INTO records (seq, kind, rollout, body) VALUES ($1, $2, $3, $4)`, r.Seq, r.Kind, r.Rollout, g.leaves[i])
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Seq, err)
		}
		fail.At(fail.AppendRecord)
	}
	for i, h := range g.hashes {
		if _, err := t.exec(`INSERT INTO tree (idx, hash) VALUES ($1, $2)`, g.at+int64(i), h[:]); err != nil {
			return fmt.Errorf("tree hash %d: %w", g.at+int64(i), err)
		}
		fail.At(fail.AppendHash)
	}
	return nil
}

func (t *txn) addContent(b Batch) error {
	for _, a := range b.Artifacts {
		_, err := t.exec(`INSERT INTO artifacts (digest, kind, body) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING`,
			a.Digest, a.Kind, blob(a.Body))
		if err != nil {
			return fmt.Errorf("artifact %s: %w", a.Digest, err)
		}
		fail.At(fail.AppendArtifact)
	}
	for _, r := range b.Revisions {
		n, err := t.exec(`INSERT INTO revisions (env, number, digest, body, at) 
			SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), $4, CAST($5 AS BIGINT)
			WHERE NOT EXISTS (SELECT 1 FROM revisions WHERE env = $1 AND number >= $2)`,
			r.Env, r.Number, r.Digest, blob(r.Body), micros(r.At))
		if err != nil {
			return fmt.Errorf("revision %d of %s: %w", r.Number, r.Env, err)
		}
		if n == 0 || r.Number == 0 {
			return revisionConflict(r)
		}
		fail.At(fail.AppendRevision)
	}
	return nil
}

func (t *txn) addEvidence(b Batch) error {
	for _, e := range b.Evidence {
		// The update that changes nothing makes the same digest count as written and another one not.
		n, err := t.exec(`INSERT INTO evidence (rollout, second, digest, body) VALUES ($1, $2, $3, $4)
			ON CONFLICT (rollout, second) DO UPDATE SET digest = excluded.digest WHERE evidence.digest = excluded.digest`,
			e.Rollout, e.Second, e.Digest, blob(e.Body))
		if err != nil {
			return fmt.Errorf("evidence of %s, second %d: %w", e.Rollout, e.Second, err)
		}
		if n == 0 {
			return evidenceConflict(e)
		}
		fail.At(fail.AppendEvidence)
	}
	for _, c := range b.Checkpoints {
		_, err := t.exec(`INSERT INTO checkpoints (rollout, second, body) VALUES ($1, $2, $3)
			ON CONFLICT (rollout) DO UPDATE SET second = excluded.second, body = excluded.body WHERE checkpoints.second <= excluded.second`,
			c.Rollout, c.Second, blob(c.Body))
		if err != nil {
			return fmt.Errorf("checkpoint of %s: %w", c.Rollout, err)
		}
		fail.At(fail.AppendCheckpoint)
	}
	return nil
}

func (t *txn) addMembers(members []Member) error {
	for _, m := range members {
		var err error
		if m.Gone {
			_, err = t.exec(`DELETE FROM members WHERE env = $1 AND instance = $2 AND boot = $3`, m.Env, m.Instance, m.Boot)
		} else {
			_, err = t.exec(`INSERT INTO members (env, instance, boot, body) VALUES ($1, $2, $3, $4)
				ON CONFLICT (env, instance, boot) DO UPDATE SET body = excluded.body`, m.Env, m.Instance, m.Boot, blob(m.Body))
		}
		if err != nil {
			return fmt.Errorf("member %s, boot %s: %w", m.Instance, m.Boot, err)
		}
		fail.At(fail.AppendMember)
	}
	return nil
}

func (t *txn) addOutbox(effects []Outbox) error {
	for _, o := range effects {
		_, err := t.exec(`INSERT INTO outbox (key, kind, body) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING`,
			o.Key, o.Kind, blob(o.Body))
		if err != nil {
			return fmt.Errorf("outbox %s: %w", o.Key, err)
		}
	}
	return nil
}

// blob makes nothing an empty value: a nil slice would be NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// OutboxDone implements Store.
func (s *database) OutboxDone(ctx context.Context, key string) error {
	err := s.write(ctx, false, func(t *txn) error {
		if err := t.fence(); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM outbox WHERE key = $1`, key)
		return err
	})
	if err != nil {
		return fmt.Errorf("outbox %s done: %w", key, err)
	}
	return nil
}

// PutToken implements Store.
func (s *database) PutToken(ctx context.Context, tok Token) error {
	err := s.write(ctx, true, func(t *txn) error { // revoking a token must work on a full disk
		if err := t.fence(); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO tokens (id, name, role, env, hash, created, revoked) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, role = excluded.role, env = excluded.env, hash = excluded.hash,
			created = excluded.created, revoked = excluded.revoked`,
			tok.ID, tok.Name, tok.Role, tok.Env, tok.Hash[:], micros(tok.Created), micros(tok.Revoked))
		fail.At(fail.TokenWritten)
		return err
	})
	if err != nil {
		return fmt.Errorf("token %s: %w", tok.ID, err)
	}
	return nil
}

// PutMeta implements Store.
func (s *database) PutMeta(ctx context.Context, key string, value []byte) error {
	err := s.write(ctx, false, func(t *txn) error {
		if err := t.fence(); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, blob(value))
		return err
	})
	if err != nil {
		return fmt.Errorf("meta %s: %w", key, err)
	}
	return nil
}
