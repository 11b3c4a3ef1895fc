package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fail"
)

// firstRows writes the head of the empty log and the vacant lease into a new database.
func (s *database) firstRows(ctx context.Context) error {
	for _, first := range []struct {
		query string
		args  []any
		done  fail.Point
	}{
		{`INSERT INTO head (id, epoch, size, root) SELECT 1, 0, 0, CAST($1 AS TEXT) WHERE NOT EXISTS (SELECT 1 FROM records)
			ON CONFLICT (id) DO NOTHING`, []any{audit.EmptyHead().Root}, fail.OpenHead},
		{`INSERT INTO leader (id, epoch, name, address, beat, span) SELECT 1, epoch, '', '', 0, 0 FROM head WHERE id = 1
			ON CONFLICT (id) DO NOTHING`, nil, fail.OpenRows},
	} {
		if _, err := s.writer.ExecContext(ctx, first.query, first.args...); err != nil {
			return err
		}
		fail.At(first.done)
	}
	return nil
}

// Lead implements Store.
func (s *database) Lead(ctx context.Context) (uint64, error) {
	return s.lead(ctx, Leader{}, func(*txn, uint64) error { return nil })
}

// Claim implements Store.
func (s *database) Claim(ctx context.Context, seen, me Leader) (uint64, error) {
	return s.lead(ctx, me, func(t *txn, epoch uint64) error {
		var beat uint64
		if err := t.tx.QueryRowContext(t.ctx, `SELECT beat FROM leader WHERE id = 1`+s.lockRow).Scan(&beat); err != nil {
			return err
		}
		if epoch != seen.Epoch || beat != seen.Beat {
			return overtaken(seen, epoch)
		}
		fail.At(fail.ClaimSeen)
		return nil
	})
}

// lead raises the epoch and gives the lease to me, unless may refuses.
func (s *database) lead(ctx context.Context, me Leader, may func(t *txn, epoch uint64) error) (uint64, error) {
	var epoch uint64
	err := s.write(ctx, true, func(t *txn) error {
		before, _, err := t.current()
		if err != nil {
			return err
		}
		if err := may(t, before); err != nil {
			return err
		}
		epoch = before + 1
		if _, err := t.exec(`UPDATE head SET epoch = $1 WHERE id = 1`, epoch); err != nil {
			return err
		}
		fail.At(fail.LeadEpoch)
		_, err = t.exec(`UPDATE leader SET epoch = $1, name = $2, address = $3, beat = beat + 1, span = $4 WHERE id = 1`,
			epoch, me.Name, me.Address, me.Span.Microseconds())
		fail.At(fail.LeadRow)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take leadership: %w", err)
	}
	fail.At(fail.LeadDone)
	s.writing.Lock()
	defer s.writing.Unlock()
	s.led = max(s.led, epoch)
	return epoch, nil
}

// Leader implements Store.
func (s *reader) Leader(ctx context.Context) (Leader, error) {
	return one(ctx, s, "leader", func(rows *sql.Rows) (l Leader, err error) {
		var span int64
		err = rows.Scan(&l.Epoch, &l.Name, &l.Address, &l.Beat, &span)
		l.Span = time.Duration(span) * time.Microsecond
		return l, err
	}, `SELECT epoch, name, address, beat, span FROM leader WHERE id = 1`)
}

// Beat implements Store.
func (s *database) Beat(ctx context.Context, epoch uint64) error {
	return s.renew(ctx, epoch, `UPDATE leader SET beat = beat + 1 WHERE id = 1 AND epoch = $1`)
}

// Resign implements Store.
func (s *database) Resign(ctx context.Context, epoch uint64) error {
	return s.renew(ctx, epoch, `UPDATE leader SET beat = beat + 1, name = '', address = '' WHERE id = 1 AND epoch = $1`)
}

// renew changes the lease row beside the write transactions: a renewal that waited for a slow append would lose the lease.
func (s *database) renew(ctx context.Context, epoch uint64, query string) error {
	res, err := s.writer.ExecContext(ctx, query, epoch)
	if err != nil {
		return fmt.Errorf("renew the lease of epoch %d: %w", epoch, s.explain(err))
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("renew the lease of epoch %d: %w", epoch, ErrFenced)
	}
	fail.At(fail.BeatDone)
	return nil
}
