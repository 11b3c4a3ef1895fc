package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice.dev/sluice/internal/audit"
)

// queryer is a pool of connections or one transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// reader is the reading half of Store over any queryer: the pool, where each call sees the newest commit, or a
// transaction, where all calls see the same one.
type reader struct{ q queryer }

// list runs query on a reading connection and scans each row. what names the thing in errors.
func list[T any](ctx context.Context, s *reader, what string, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := s.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return out, nil
}

// one is list for the first row; there being none is ErrNotFound.
func one[T any](ctx context.Context, s *reader, what string, scan func(*sql.Rows) (T, error), query string, args ...any) (T, error) {
	all, err := list(ctx, s, what, scan, query, args...)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

func scanRecord(rows *sql.Rows) (audit.Record, error) {
	var seq uint64
	var kind, rollout string
	var body sql.RawBytes
	if err := rows.Scan(&seq, &kind, &rollout, &body); err != nil {
		return audit.Record{}, err
	}
	r, err := parseStored(seq, body)
	if err != nil {
		return audit.Record{}, err
	}
	if r.Kind != kind || r.Rollout != rollout {
		detail := fmt.Sprintf("it is filed as %q of rollout %q, it says %q of %q", kind, rollout, r.Kind, r.Rollout)
		return audit.Record{}, damaged(audit.AlteredRecord, seq, detail)
	}
	return r, nil
}

const selectRecords = `SELECT seq, kind, rollout, body FROM records WHERE seq > $1`

// Records implements Store.
func (s *reader) Records(ctx context.Context, q Query) ([]audit.Record, error) {
	query, args := selectRecords, []any{q.After}
	where := func(column, value string) {
		if value != "" {
			args = append(args, value)
			query += fmt.Sprintf(" AND %s = $%d", column, len(args))
		}
	}
	where("rollout", q.Rollout)
	where("kind", q.Kind)
	args = append(args, clampLimit(q.Limit))
	query += fmt.Sprintf(" ORDER BY seq LIMIT $%d", len(args))
	return list(ctx, s, "records", scanRecord, query, args...)
}

// LastRecord implements Store.
func (s *reader) LastRecord(ctx context.Context, rollout string) (audit.Record, error) {
	what := fmt.Sprintf("last record of rollout %q", rollout)
	if rollout == "" {
		return one(ctx, s, what, scanRecord, selectRecords+` ORDER BY seq DESC LIMIT 1`, 0)
	}
	return one(ctx, s, what, scanRecord, selectRecords+` AND rollout = $2 ORDER BY seq DESC LIMIT 1`, 0, rollout)
}

func scanString(rows *sql.Rows) (string, error) {
	var name string
	err := rows.Scan(&name)
	return name, err
}

// distinct selects the different values of a column that an index begins with, by jumping from one to the next: the time
// goes with the number of values and not of rows.
func distinct(table, column string) string {
	return strings.NewReplacer("TABLE", table, "COLUMN", column).Replace(`WITH RECURSIVE names (name) AS (
		SELECT MIN(COLUMN) FROM TABLE WHERE COLUMN > ''
		UNION ALL
		SELECT (SELECT MIN(COLUMN) FROM TABLE WHERE COLUMN > name) FROM names WHERE name IS NOT NULL
	) SELECT name FROM names WHERE name IS NOT NULL ORDER BY name`)
}

// Envs implements Store.
func (s *reader) Envs(ctx context.Context) ([]string, error) {
	return list(ctx, s, "environments", scanString, distinct("revisions", "env"))
}

// Rollouts implements Store.
func (s *reader) Rollouts(ctx context.Context) ([]string, error) {
	return list(ctx, s, "rollouts", scanString, distinct("records", "rollout"))
}

// TreeHead implements Store.
func (s *reader) TreeHead(ctx context.Context) (audit.TreeHead, error) {
	h, err := one(ctx, s, "tree head", func(rows *sql.Rows) (h audit.TreeHead, err error) {
		err = rows.Scan(&h.Size, &h.Root)
		return h, err
	}, `SELECT size, root FROM head WHERE id = 1`)
	if errors.Is(err, ErrNotFound) {
		return h, fmt.Errorf("the log has no head: %w", ErrCorrupt)
	}
	return h, err
}

// Tree implements Store. Reads end with ctx.
func (s *reader) Tree(ctx context.Context) (audit.HashReader, error) {
	return &sqlTree{ctx: ctx, q: s.q}, ctx.Err()
}

// sqlTree reads stored hashes.
type sqlTree struct {
	ctx context.Context
	q   queryer
}

// hashesAtOnce bounds the parameters of one query.
const hashesAtOnce = 1000

// ReadHashes implements audit.HashReader.
func (t *sqlTree) ReadHashes(indexes []int64) ([][32]byte, error) {
	found := make(map[int64][32]byte, len(indexes))
	for from := 0; from < len(indexes); from += hashesAtOnce {
		if err := t.read(indexes[from:min(len(indexes), from+hashesAtOnce)], found); err != nil {
			return nil, fmt.Errorf("read %d tree hashes: %w", len(indexes), err)
		}
	}
	out := make([][32]byte, len(indexes))
	for i, x := range indexes {
		h, ok := found[x]
		if !ok {
			return nil, fmt.Errorf("tree hash %d: %w", x, audit.ErrNoHash)
		}
		out[i] = h
	}
	return out, nil
}

func (t *sqlTree) read(indexes []int64, into map[int64][32]byte) error {
	query, args := `SELECT idx, hash FROM tree WHERE idx BETWEEN $1 AND $2`, []any{indexes[0], indexes[len(indexes)-1]}
	if indexes[len(indexes)-1]-indexes[0] != int64(len(indexes))-1 { // otherwise they are a run, or some are missing
		args = args[:0]
		var list strings.Builder
		for i, x := range indexes {
			args = append(args, x)
			fmt.Fprintf(&list, ", $%d", i+1)
		}
		query = `SELECT idx, hash FROM tree WHERE idx IN (` + list.String()[2:] + `)`
	}
	rows, err := t.q.QueryContext(t.ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var idx int64
		var hash sql.RawBytes
		if err := rows.Scan(&idx, &hash); err != nil {
			return err
		}
		if len(hash) != 32 {
			return fmt.Errorf("tree hash %d has %d bytes: %w", idx, len(hash), ErrCorrupt)
		}
		into[idx] = [32]byte(hash)
	}
	return rows.Err()
}

// Artifact implements Store.
func (s *reader) Artifact(ctx context.Context, digest string) (Artifact, error) {
	a, err := one(ctx, s, "artifact "+digest, func(rows *sql.Rows) (a Artifact, err error) {
		err = rows.Scan(&a.Digest, &a.Kind, &a.Body)
		return a, err
	}, `SELECT digest, kind, body FROM artifacts WHERE digest = $1`, digest)
	if err != nil {
		return Artifact{}, err
	}
	if err := checkArtifact(a); err != nil {
		return Artifact{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return a, nil
}

func scanRevision(rows *sql.Rows) (r Revision, err error) {
	var at int64
	err = rows.Scan(&r.Env, &r.Number, &r.Digest, &r.Body, &at)
	r.At = fromMicros(at)
	return r, err
}

const selectRevision = `SELECT env, number, digest, body, at FROM revisions WHERE env = $1`

// Revision implements Store.
func (s *reader) Revision(ctx context.Context, env string, number uint64) (Revision, error) {
	what := fmt.Sprintf("revision %d of environment %s", number, env)
	if number == 0 {
		return one(ctx, s, what, scanRevision, selectRevision+` ORDER BY number DESC LIMIT 1`, env)
	}
	return one(ctx, s, what, scanRevision, selectRevision+` AND number = $2`, env, number)
}

// RevisionAt implements Store.
func (s *reader) RevisionAt(ctx context.Context, env string, at time.Time) (Revision, error) {
	what := fmt.Sprintf("revision of environment %s at %s", env, at.UTC().Format(time.RFC3339))
	return one(ctx, s, what, scanRevision, selectRevision+` AND at <= $2 ORDER BY number DESC LIMIT 1`, env, micros(at))
}

// EvidenceAfter implements Store.
func (s *reader) EvidenceAfter(ctx context.Context, rollout string, second int64, limit int) ([]Evidence, error) {
	return list(ctx, s, "evidence of "+rollout, func(rows *sql.Rows) (e Evidence, err error) {
		err = rows.Scan(&e.Rollout, &e.Second, &e.Digest, &e.Body)
		return e, err
	}, `SELECT rollout, second, digest, body FROM evidence WHERE rollout = $1 AND second > $2 ORDER BY second LIMIT $3`,
		rollout, second, clampLimit(limit))
}

// Checkpoint implements Store.
func (s *reader) Checkpoint(ctx context.Context, rollout string) (Checkpoint, error) {
	return one(ctx, s, "checkpoint of rollout "+rollout, func(rows *sql.Rows) (c Checkpoint, err error) {
		err = rows.Scan(&c.Rollout, &c.Second, &c.Body)
		return c, err
	}, `SELECT rollout, second, body FROM checkpoints WHERE rollout = $1`, rollout)
}

// Members implements Store.
func (s *reader) Members(ctx context.Context, env string) ([]Member, error) {
	return list(ctx, s, "members of "+env, func(rows *sql.Rows) (m Member, err error) {
		err = rows.Scan(&m.Env, &m.Instance, &m.Boot, &m.Body)
		return m, err
	}, `SELECT env, instance, boot, body FROM members WHERE env = $1 ORDER BY instance, boot`, env)
}

// OutboxPending implements Store.
func (s *reader) OutboxPending(ctx context.Context, limit int) ([]Outbox, error) {
	return list(ctx, s, "outbox", func(rows *sql.Rows) (o Outbox, err error) {
		err = rows.Scan(&o.Key, &o.Kind, &o.Body)
		return o, err
	}, `SELECT key, kind, body FROM outbox ORDER BY id LIMIT $1`, clampLimit(limit))
}

// Tokens implements Store.
func (s *reader) Tokens(ctx context.Context) ([]Token, error) {
	return list(ctx, s, "tokens", func(rows *sql.Rows) (Token, error) {
		var t Token
		var hash sql.RawBytes
		var created, revoked int64
		if err := rows.Scan(&t.ID, &t.Name, &t.Role, &t.Env, &hash, &created, &revoked); err != nil {
			return Token{}, err
		}
		if len(hash) != len(t.Hash) {
			return Token{}, fmt.Errorf("token %s: its hash has %d bytes: %w", t.ID, len(hash), ErrCorrupt)
		}
		t.Hash, t.Created, t.Revoked = [32]byte(hash), fromMicros(created), fromMicros(revoked)
		return t, nil
	}, `SELECT id, name, role, env, hash, created, revoked FROM tokens ORDER BY created, id`)
}

// Meta implements Store.
func (s *reader) Meta(ctx context.Context, key string) ([]byte, error) {
	return one(ctx, s, "meta "+key, func(rows *sql.Rows) (v []byte, err error) {
		err = rows.Scan(&v)
		return v, err
	}, `SELECT value FROM meta WHERE key = $1`, key)
}
