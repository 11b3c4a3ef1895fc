// Package store keeps what Sluice must not forget: the record log with its transparency tree, artifacts, revisions,
// evidence, checkpoints, members and tokens. Store is the port; memory, SQLite and PostgreSQL implement it and
// storetest is their one suite.
//
// Everything a decision depends on is written by one Append, in one transaction, before anybody acts on it.
package store

import (
	"context"
	"errors"
	"time"

	"sluice.dev/sluice/internal/audit"
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrFenced   = errors.New("another leader holds a later epoch") // nothing was written
	ErrConflict = errors.New("sequence already taken")             // nothing was written
	ErrLocked   = errors.New("data directory is in use by another process")
	ErrNewer    = errors.New("data directory was written by a newer version")
	ErrCorrupt  = errors.New("stored data is damaged")         // found on reading; nothing is repaired by itself
	ErrFull     = errors.New("no space left for the database") // nothing was written
)

// Batch is what one step of the engine makes durable, all or nothing. Zero fields write nothing. Times are kept to the
// microsecond, those of records to the nanosecond.
type Batch struct {
	Epoch       uint64 // fencing: refused with ErrFenced unless it is the store's current epoch
	Vital       bool   // may use what is kept aside for a full disk: taking something back, and the proof of it
	Records     []audit.Record
	Artifacts   []Artifact
	Revisions   []Revision
	Evidence    []Evidence
	Checkpoints []Checkpoint
	Members     []Member
	Outbox      []Outbox
}

// Artifact is immutable content under its digest ("sha256:<hex>" of Body, checked on writing and on reading). Writing one
// that is there changes nothing.
type Artifact struct {
	Digest string
	Kind   string // "scope", "plan", "proof", ...
	Body   []byte
}

// Revision is one numbered configuration of an environment; Body is its manifest (package revision), canonical JSON.
// Numbers only grow: one that is not above the environment's newest is ErrConflict.
type Revision struct {
	Env    string
	Number uint64
	Digest string
	Body   []byte
	At     time.Time
}

// Evidence is one closed second of one rollout, encoded by the caller (compressed JSON of evidence.Second). It never
// changes: the same second again is nothing new if its Digest is the same, and ErrConflict if it is not.
type Evidence struct {
	Rollout string
	Second  int64
	Digest  string
	Body    []byte
}

// Checkpoint is the judge's and the fleet's derived state of one rollout after the evidence of Second. The one of the
// latest Second is kept per rollout, of those of the same Second the one written last.
type Checkpoint struct {
	Rollout string
	Second  int64
	Body    []byte
}

// Member is a boot that has said Hello, written before its first lease; Gone is set when it is deleted.
type Member struct {
	Env, Instance, Boot string
	Body                []byte
	Gone                bool
}

// Outbox is an effect to be done at least once, with the record's sequence as idempotency key. A key that is pending is
// not added again.
type Outbox struct {
	Key  string
	Kind string
	Body []byte
}

// Token is an API token: only the SHA-256 of its secret is kept.
type Token struct {
	ID      string
	Name    string
	Role    string // package policy names roles; "admin", "operator", "component", "viewer"
	Env     string // environment it is bound to; "" means every one
	Hash    [32]byte
	Created time.Time
	Revoked time.Time // zero: in force
}

// Leader is the lease row by which servers that share a store agree on who leads. It changes with each claim and each beat;
// whoever has seen it unchanged for longer than Span, with a margin for clocks of another rate, may claim it.
type Leader struct {
	Epoch   uint64
	Name    string // of the server; "" means that nobody leads
	Address string // where the server answers, e.g. http://10.0.0.1:7070
	Beat    uint64
	Span    time.Duration // to the microsecond
}

// Query selects records, ascending by Seq. Zero fields select everything; Limit 0 means 500, at most 5,000.
type Query struct {
	After   uint64 // Seq > After
	Rollout string
	Kind    string
	Limit   int
}

// Store is the port. Implementations are safe for concurrent use; Append calls are serialised by the caller.
//
// Every write is fenced: Append by the epoch in its batch, the others by the epoch of the last Lead or Claim made through
// this very value. After another server's claim they return ErrFenced and write nothing, however late they come.
type Store interface {
	// Lead takes leadership whoever has it: it raises the epoch by one, durably, and returns it. Earlier leaders are fenced
	// from then on. It is for a store that one process owns; servers that share one use Claim.
	Lead(ctx context.Context) (epoch uint64, err error)
	// Leader returns the lease row as it is.
	Leader(ctx context.Context) (Leader, error)
	// Claim takes leadership as Lead does, for me (whose Epoch and Beat are not looked at), but only if the lease row still is
	// as it was seen; ErrFenced if it is not.
	Claim(ctx context.Context, seen, me Leader) (epoch uint64, err error)
	// Beat renews the lease of the leader of an epoch; ErrFenced if it leads no more. It waits for no other write.
	Beat(ctx context.Context, epoch uint64) error
	// Resign ends it, so that the next server need not wait; ErrFenced as for Beat.
	Resign(ctx context.Context, epoch uint64) error
	// Append writes b in one transaction and returns the tree head after it. Records must continue the sequence (first is 1).
	// After an error that is none of ErrFenced, ErrConflict and ErrFull the outcome is unknown until TreeHead is read.
	Append(ctx context.Context, b Batch) (audit.TreeHead, error)

	Records(ctx context.Context, q Query) ([]audit.Record, error)
	LastRecord(ctx context.Context, rollout string) (audit.Record, error) // "" means of all; ErrNotFound
	Envs(ctx context.Context) ([]string, error)                           // names with at least one revision, sorted
	Rollouts(ctx context.Context) ([]string, error)                       // names with at least one record, sorted
	TreeHead(ctx context.Context) (audit.TreeHead, error)
	Tree(ctx context.Context) (audit.HashReader, error) // stored hashes, for proofs

	Artifact(ctx context.Context, digest string) (Artifact, error)
	Revision(ctx context.Context, env string, number uint64) (Revision, error)  // 0 means the newest
	RevisionAt(ctx context.Context, env string, at time.Time) (Revision, error) // in force at the time
	// EvidenceAfter returns evidence of later seconds, ascending; limit is as in Query.
	EvidenceAfter(ctx context.Context, rollout string, second int64, limit int) ([]Evidence, error)
	Checkpoint(ctx context.Context, rollout string) (Checkpoint, error)
	Members(ctx context.Context, env string) ([]Member, error)      // those not Gone, by instance and boot
	OutboxPending(ctx context.Context, limit int) ([]Outbox, error) // oldest first; limit is as in Query
	OutboxDone(ctx context.Context, key string) error               // nil also for a key that is not pending

	PutToken(ctx context.Context, t Token) error // insert or replace by ID
	Tokens(ctx context.Context) ([]Token, error) // oldest first

	// Meta holds small named values (signing keys, pin keys, schema facts).
	Meta(ctx context.Context, key string) ([]byte, error) // ErrNotFound
	PutMeta(ctx context.Context, key string, value []byte) error

	Close() error
}
