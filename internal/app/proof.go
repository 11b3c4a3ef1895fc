package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
)

// logName names this server's log in signed heads.
const logName = "main"

func newSigner() (signer, verifier string, err error) { return audit.NewKey(rand.Reader, logName) }

// Proof returns the proof document of a rollout: its records with their places in the signed log, and the barrier that
// showed exposure to be off.
func (l *leading) Proof(ctx context.Context, name string) ([]byte, error) {
	head, err := l.app.store.TreeHead(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log's head: %w", err)
	}
	signed, err := audit.SignHead(head, logName, l.keys.signer)
	if err != nil {
		return nil, err
	}
	records, err := allRecords(ctx, l.app.store, name, head.Size)
	if err != nil {
		return nil, err
	}
	in := audit.ProofInput{Rollout: name, Records: records, SignedHead: signed, VerifierKey: l.keys.verifier}
	var st rollout.Status
	var serr error
	if err := l.ctl.Read(ctx, func(e *engine.Engine) { st, serr = e.Rollout(name) }); err != nil || serr != nil {
		return nil, errors.Join(err, serr)
	}
	if st.State.Proof != "" {
		barrier, err := l.app.store.Artifact(ctx, st.State.Proof)
		if err != nil {
			return nil, fmt.Errorf("read the barrier: %w", err)
		}
		in.Summary, in.SummaryDigest = barrier.Body, barrier.Digest
	}
	tree, err := l.app.store.Tree(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log's tree: %w", err)
	}
	return audit.BuildProof(in, tree)
}

// allRecords reads a rollout's records that the head covers.
func allRecords(ctx context.Context, s store.Store, name string, size uint64) ([]audit.Record, error) {
	var out []audit.Record
	for after := uint64(0); ; {
		page, err := s.Records(ctx, store.Query{After: after, Rollout: name, Limit: 500})
		if err != nil {
			return nil, fmt.Errorf("read records: %w", err)
		}
		for _, r := range page {
			if r.Seq <= size {
				out = append(out, r)
			}
			after = r.Seq
		}
		if len(page) < 500 {
			return out, nil
		}
	}
}

// Verify recomputes the whole log: every record's leaf and every hash of the tree.
func (l *leading) Verify(ctx context.Context) (uint64, error) { return VerifyStore(ctx, l.app.store) }

// VerifyStore recomputes the log of a store and returns its number of records, or the first damage (*audit.Damage).
func VerifyStore(ctx context.Context, s store.Store) (uint64, error) {
	head, err := s.TreeHead(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the log's head: %w", err)
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the log's tree: %w", err)
	}
	if err := audit.VerifyLog(everyRecord(ctx, s, head.Size), tree, head); err != nil {
		return 0, err
	}
	return head.Size, nil
}

// everyRecord yields the records up to size, a page at a time.
func everyRecord(ctx context.Context, s store.Store, size uint64) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		for after := uint64(0); after < size; {
			page, err := s.Records(ctx, store.Query{After: after, Limit: 1000})
			if err != nil {
				yield(audit.Record{}, fmt.Errorf("read records after %d: %w", after, err))
				return
			}
			if len(page) == 0 {
				return
			}
			for _, r := range page {
				if r.Seq > size {
					return
				}
				if !yield(r, nil) {
					return
				}
				after = r.Seq
			}
		}
	}
}
