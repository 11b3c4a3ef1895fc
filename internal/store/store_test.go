package store_test

import (
	"testing"

	"sluice.dev/sluice/internal/store"
	"sluice.dev/sluice/internal/store/storetest"
	"sluice.dev/sluice/internal/store/testpg"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openSQLite(t) })
}

func TestSQLiteReopened(t *testing.T) {
	dir := t.TempDir()
	storetest.RunDurable(t, func(t *testing.T) store.Store {
		s, err := store.OpenSQLite(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestMemoryReopened(t *testing.T) {
	m := store.NewMemory()
	storetest.RunDurable(t, func(*testing.T) store.Store { return m })
}

func TestPostgres(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openPostgres(t, testpg.URL(t)) })
}

func TestPostgresReopened(t *testing.T) {
	url := testpg.URL(t)
	storetest.RunDurable(t, func(t *testing.T) store.Store { return openPostgres(t, url) })
}

func TestPostgresShared(t *testing.T) {
	url := testpg.URL(t)
	storetest.RunShared(t, func(t *testing.T) store.Store { return openPostgres(t, url) })
}

func openPostgres(t *testing.T, url string) *store.Postgres {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
