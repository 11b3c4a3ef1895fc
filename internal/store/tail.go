package store

import (
	"context"
	"database/sql"
	"fmt"

	"sluice.dev/sluice/internal/audit"
)

// tailRecords is how many of the last records are compared with the tree at opening.
const tailRecords = 1000

// checkTail checks that records, tree and head end at the same place, that the tree gives the head, and that the last
// records are those the tree was made of. It returns the tree.
func (s *reader) checkTail(ctx context.Context) (tip audit.Frontier, err error) {
	head, err := s.TreeHead(ctx)
	if err != nil {
		return tip, err
	}
	var records, hashes uint64
	_, err = one(ctx, s, "ends of the log", func(rows *sql.Rows) (any, error) { return nil, rows.Scan(&records, &hashes) }, `SELECT (SELECT COALESCE(MAX(seq), 0) FROM records),
		(SELECT COALESCE(MAX(idx) + 1, 0) FROM tree)`)
	if err != nil {
		return tip, err
	}
	if want := uint64(audit.StoredCount(head.Size)); records != head.Size || hashes != want {
		return tip, fmt.Errorf("the log ends with record %d and %d tree hashes, its head says %d and %d: %w",
			records, hashes, head.Size, want, ErrCorrupt)
	}
	tree := &sqlTree{ctx: ctx, q: s.q}
	if tip, err = audit.LoadFrontier(head.Size, tree); err != nil {
		return tip, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if got := tip.Head(); got != head {
		return tip, fmt.Errorf("the tree hashes give the root %s, the head says %s: %w", got.Root, head.Root, ErrCorrupt)
	}
	from := head.Size - min(head.Size, tailRecords)
	for r, err := range Walk(ctx, s, Query{After: from}, head.Size) {
		if err != nil {
			return tip, err
		}
		if err := checkLeaf(r, tree); err != nil {
			return tip, err
		}
	}
	return tip, nil
}

func checkLeaf(r audit.Record, tree audit.HashReader) error {
	leaf, err := audit.Leaf(r)
	if err != nil {
		return err
	}
	stored, err := tree.ReadHashes([]int64{audit.StoredLeafIndex(r.Seq - 1)})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if stored[0] != audit.LeafHash(leaf) {
		return damaged(audit.AlteredRecord, r.Seq, "its hash is not the one stored when it was logged")
	}
	return nil
}
