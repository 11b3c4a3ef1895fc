package store

import (
	"context"
	"fmt"
	"iter"
	"time"

	"sluice.dev/sluice/internal/audit"
)

// Limits of one page of Records, EvidenceAfter and OutboxPending.
const (
	defaultLimit = 500
	maxLimit     = 5000
)

func clampLimit(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return min(n, maxLimit)
}

// micros is how times are stored: Unix microseconds, and 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// growth is what a batch's records add to the log: their canonical leaves, the hashes to store from index at on, and the
// tree afterwards.
type growth struct {
	leaves [][]byte
	at     int64
	hashes [][32]byte
	tip    audit.Frontier
}

// grow checks that records continue the log at tip, and computes what they add. tip is not changed.
func grow(tip *audit.Frontier, records []audit.Record) (growth, error) {
	g := growth{at: audit.StoredCount(tip.Size()), tip: tip.Clone()}
	for _, r := range records {
		if want := g.tip.Size() + 1; r.Seq != want {
			return growth{}, fmt.Errorf("append record %d: the next one is %d: %w", r.Seq, want, ErrConflict)
		}
		leaf, err := audit.Leaf(r)
		if err != nil {
			return growth{}, fmt.Errorf("append: %w", err)
		}
		g.leaves = append(g.leaves, leaf)
		g.hashes = append(g.hashes, g.tip.Append(audit.LeafHash(leaf))...)
	}
	return g, nil
}

func checkArtifact(a Artifact) error {
	if got := audit.Digest(a.Body); a.Digest != got {
		return fmt.Errorf("artifact %q (%s): the digest of its body is %s", a.Digest, a.Kind, got)
	}
	return nil
}

// parseStored decodes a stored leaf that should be record seq. Damage is reported as both ErrCorrupt and *audit.Damage.
func parseStored(seq uint64, leaf []byte) (audit.Record, error) {
	r, err := audit.ParseLeaf(leaf)
	if err == nil && r.Seq != seq {
		err = fmt.Errorf("its sequence number says %d", r.Seq)
	}
	if err != nil {
		return audit.Record{}, damaged(audit.AlteredRecord, seq, err.Error())
	}
	return r, nil
}

func damaged(kind audit.DamageKind, seq uint64, detail string) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, &audit.Damage{Kind: kind, Seq: seq, Detail: detail})
}

type recordReader interface {
	Records(ctx context.Context, q Query) ([]audit.Record, error)
}

// Walk yields the records that q selects up to sequence number until, page by page; q.Limit is the page. After an error it ends.
func Walk(ctx context.Context, s recordReader, q Query, until uint64) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		for {
			page, err := s.Records(ctx, q)
			if err != nil {
				yield(audit.Record{}, err)
				return
			}
			for _, r := range page {
				if r.Seq > until || !yield(r, nil) {
					return
				}
			}
			if len(page) < clampLimit(q.Limit) {
				return
			}
			q.After = page[len(page)-1].Seq
		}
	}
}

// Verify checks the whole log of s against its own tree head, which it returns: see audit.VerifyLog. Appends may go on meanwhile.
func Verify(ctx context.Context, s Store) (audit.TreeHead, error) { return verify(ctx, s) }

// log is what verifying reads.
type log interface {
	recordReader
	TreeHead(ctx context.Context) (audit.TreeHead, error)
	Tree(ctx context.Context) (audit.HashReader, error)
}

func verify(ctx context.Context, s log) (audit.TreeHead, error) {
	head, err := s.TreeHead(ctx)
	if err != nil {
		return audit.TreeHead{}, err
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return audit.TreeHead{}, err
	}
	return head, audit.VerifyLog(Walk(ctx, s, Query{}, head.Size), tree, head)
}
