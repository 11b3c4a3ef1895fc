package fence

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// SQL is a fence in the sink's own database: the floors are rows, and a transaction that writes output checks its stamps
// under the same lock that raising a floor takes. So output of a revoked revision either was committed before the floor
// was durable, or is not committed at all.
type SQL struct {
	// Table holds the floors; its name must be safe to write into a statement. It needs the columns
	// scope (text, primary key) and floor (bigint); Create makes it.
	Table string
	// Dollar writes parameters as $1, $2 (PostgreSQL) and not as ?.
	Dollar bool
}

// Create makes the table unless it is there.
func (s SQL) Create(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+s.Table+" (scope varchar(128) PRIMARY KEY, floor bigint NOT NULL)")
	if err != nil {
		return fmt.Errorf("create fence table %s: %w", s.Table, err)
	}
	return nil
}

// Admit checks the stamps inside tx and holds their floors until tx ends. It returns *Refused for the first below its
// floor; then tx must be rolled back.
func (s SQL) Admit(ctx context.Context, tx *sql.Tx, stamps ...Stamp) error {
	for _, st := range stamps {
		if err := s.admit(ctx, tx, st); err != nil {
			return err
		}
	}
	return nil
}

func (s SQL) admit(ctx context.Context, tx *sql.Tx, st Stamp) error {
	if err := s.ensure(ctx, tx, st.Scope); err != nil {
		return err
	}
	// Writing the row as it is takes its lock: whoever raises the floor waits for this transaction, or this one for it.
	n, err := s.exec(ctx, tx, "UPDATE "+s.Table+" SET floor = floor WHERE scope = ? AND floor <= ?", st.Scope, int64(st.Revision))
	if err != nil || n == 1 {
		return err
	}
	var floor int64
	if err := tx.QueryRowContext(ctx, s.bind("SELECT floor FROM "+s.Table+" WHERE scope = ?"), st.Scope).Scan(&floor); err != nil {
		return fmt.Errorf("read the floor of scope %s: %w", st.Scope, err)
	}
	return &Refused{Stamp: st, Floor: uint64(floor)}
}

// Raise makes higher floors durable in a transaction of its own and leaves the others as they are.
func (s SQL) Raise(ctx context.Context, db *sql.DB, floors map[string]uint64) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("raise floors: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	for scope, rev := range floors {
		if err := s.ensure(ctx, tx, scope); err != nil {
			return err
		}
		if _, err := s.exec(ctx, tx, "UPDATE "+s.Table+" SET floor = ? WHERE scope = ? AND floor < ?", int64(rev), scope, int64(rev)); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("raise floors: %w", err)
	}
	return nil
}

// ensure makes the row of a scope that has had no floor yet.
func (s SQL) ensure(ctx context.Context, tx *sql.Tx, scope string) error {
	_, err := s.exec(ctx, tx, "INSERT INTO "+s.Table+" (scope, floor) VALUES (?, 0) ON CONFLICT (scope) DO NOTHING", scope)
	return err
}

func (s SQL) exec(ctx context.Context, tx *sql.Tx, query string, args ...any) (int64, error) {
	res, err := tx.ExecContext(ctx, s.bind(query), args...)
	if err != nil {
		return 0, fmt.Errorf("fence table %s: %w", s.Table, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("fence table %s: %w", s.Table, err)
	}
	return n, nil
}

func (s SQL) bind(query string) string {
	if !s.Dollar {
		return query
	}
	var b strings.Builder
	n := 0
	for _, c := range query {
		if c == '?' {
			n++
			fmt.Fprintf(&b, "$%d", n)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}
