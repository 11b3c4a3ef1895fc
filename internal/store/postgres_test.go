package store

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/store/testpg"
)

func openShared(t *testing.T, url string) *Postgres {
	t.Helper()
	s, err := OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// columnsOf lists "table.column type null primary-key" with the engines' words for the same type made one.
func columnsOf(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	same := strings.NewReplacer("INTEGER", "BIGINT", "BYTEA", "BLOB")
	var out []string
	for rows.Next() {
		var table, column, kind string
		var null bool
		var key int
		if err := rows.Scan(&table, &column, &kind, &null, &key); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s.%s %s null=%t key=%d", table, column, same.Replace(strings.ToUpper(kind)), null && key == 0, key))
	}
	slices.Sort(out)
	return out
}

// Both engines have the same tables, columns, types and keys, so that one query text and one backup format serve both.
func TestSchemasAreEquivalent(t *testing.T) {
	url := testpg.URL(t)
	lite, shared := open(t, filepath.Join(t.TempDir(), "data")), openShared(t, url)
	a := columnsOf(t, lite.readers, `SELECT m.name, c.name, c.type, c."notnull" = 0, c.pk FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`)
	b := columnsOf(t, shared.readers, `SELECT c.table_name, c.column_name, c.data_type, c.is_nullable = 'YES', COALESCE(k.ordinal_position, 0)
		FROM information_schema.columns c
		LEFT JOIN information_schema.table_constraints p ON p.table_name = c.table_name AND p.table_schema = c.table_schema AND p.constraint_type = 'PRIMARY KEY'
		LEFT JOIN information_schema.key_column_usage k ON k.constraint_name = p.constraint_name AND k.table_schema = c.table_schema AND k.column_name = c.column_name
		WHERE c.table_schema = 'public'`)
	if !slices.Equal(a, b) || len(a) < 40 {
		t.Errorf("SQLite has\n%s\nPostgreSQL has\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	indexes := func(db *sql.DB, query string) map[string]bool {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		out := map[string]bool{}
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			text = strings.NewReplacer("public.", "", "USING btree ", "").Replace(text)
			out[text] = true
		}
		return out
	}
	x := indexes(lite.readers, `SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL`)
	y := indexes(shared.readers, `SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexdef NOT LIKE '%UNIQUE%'`)
	if !maps.Equal(x, y) || len(x) == 0 {
		t.Errorf("indexes\n%v\n%v", x, y)
	}
	m, n := mustLoad(t, "sqlite"), mustLoad(t, "postgres")
	if len(m) != len(n) {
		t.Errorf("%d migrations for SQLite, %d for PostgreSQL", len(m), len(n))
	}
}

func mustLoad(t *testing.T, engine string) []migration {
	t.Helper()
	steps, err := loadMigrations(migrations, engine)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestPostgresRefusesWithRemedy(t *testing.T) {
	base := testpg.URL(t)
	for _, tt := range []struct {
		name, url, statement string
		is                   error
		problem, remedy      string
	}{
		{"no server", "postgres://postgres@127.0.0.1:1/x?connect_timeout=2", "", nil, "does not answer", "PostgreSQL runs there"},
		{"no database", base + "&dbname=none", "", nil, "no such database", "createdb"},
		{"no user", base + "&user=nobodyhere", "", nil, "refuses the user", "pg_hba.conf"},
		{"a later schema", "", `INSERT INTO schema_version (version) VALUES (99)`, ErrNewer, "schema version 99", "run the version of sluice that wrote it"},
		{"records without head", "", `INSERT INTO records VALUES (1, 'k', 'r', '')`, ErrCorrupt, "ends with record 1", "sluice restore"},
		{"tree hash altered", "", `INSERT INTO tree VALUES (0, '')`, ErrCorrupt, "1 tree hashes", "sluice restore"},
		{"no head", "", `DELETE FROM head; INSERT INTO records VALUES (1, 'k', 'r', '')`, ErrCorrupt, "no head", "sluice restore"},
		{"read-only", "?default_transaction_read_only=on", "", nil, "read-only", "primary"},
		{"asynchronous", "?synchronous_commit=off", "", nil, "synchronous_commit is off", "synchronous_commit = on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := tt.url
			if !strings.HasPrefix(url, "postgres") {
				url = testpg.URL(t) + strings.Replace(tt.url, "?", "&", 1)
			}
			if tt.statement != "" {
				s := openShared(t, url)
				if _, err := s.writer.Exec(tt.statement); err != nil {
					t.Fatal(err)
				}
			}
			s, err := OpenPostgres(t.Context(), url)
			if err == nil {
				_ = s.Close()
			}
			var oe *OpenError
			if !errors.As(err, &oe) || !strings.Contains(err.Error(), tt.problem) || !strings.Contains(oe.Remedy, tt.remedy) {
				t.Errorf("got %v\nwant the problem %q and the remedy %q", err, tt.problem, tt.remedy)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
		})
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	for _, url := range []string{"postgres://u:geheim@127.0.0.1:1/x?connect_timeout=2", "postgres://u:geheim@127.0.0.1:no/x"} {
		if _, err := OpenPostgres(t.Context(), url); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v", err)
		}
	}
}

// A leader that is stopped inside a transaction keeps no lock for longer than idleLimit, and its commit is refused.
func TestFrozenTransactionGivesTheLockBack(t *testing.T) {
	url := testpg.URL(t)
	a, b := openShared(t, url), openShared(t, url)
	if _, err := a.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen, err := b.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = a.write(t.Context(), true, func(tx *txn) error {
		if _, err := tx.exec(`UPDATE head SET size = 7, root = 'x' WHERE id = 1`); err != nil {
			return err
		}
		if _, err := b.Claim(t.Context(), seen, Leader{Name: "b"}); err != nil { // waits for the lock
			t.Errorf("claim while the leader is stopped in a transaction: %v", err)
		}
		return nil
	})
	if err == nil {
		t.Error("the transaction of the stopped leader went through")
	}
	if head, err := b.TreeHead(t.Context()); err != nil || head.Size != 0 {
		t.Errorf("head %+v %v", head, err)
	}
}

func TestServersThatStartAtOnceMakeOneSchema(t *testing.T) {
	url := testpg.URL(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := OpenPostgres(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			_ = s.Close()
		})
	}
	wg.Wait()
}
