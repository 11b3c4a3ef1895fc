package store_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"sluice.dev/sdk/fence"
	"sluice.dev/sdk/fence/fencetest"
)

// sink is a database that keeps its floors beside its rows and checks them in the transaction that writes.
type sink struct {
	fence.SQL
	db   *sql.DB
	path string
}

func openSink(t *testing.T, path string) sink {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := sink{fence.SQL{Table: "floors"}, db, path}
	if err := s.Create(context.Background(), db); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS output (scope text, revision bigint)"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s sink) Raise(floors map[string]uint64) error {
	return s.SQL.Raise(context.Background(), s.db, floors)
}

// Admit writes output, and checks its stamps in the same transaction.
func (s sink) Admit(stamps ...fence.Stamp) error {
	ctx := context.Background()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, st := range stamps {
		if _, err := tx.Exec("INSERT INTO output VALUES (?, ?)", st.Scope, int64(st.Revision)); err != nil {
			return err
		}
	}
	if err := s.SQL.Admit(ctx, tx, stamps...); err != nil {
		return err
	}
	return tx.Commit()
}

func (s sink) Reopen(t *testing.T) fencetest.Resource {
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	return openSink(t, s.path)
}

// TestFenceInTheSinksTransaction (G1b).
func TestFenceInTheSinksTransaction(t *testing.T) {
	fencetest.Run(t, func(t *testing.T) fencetest.Resource { return openSink(t, filepath.Join(t.TempDir(), "sink.db")) })
}
