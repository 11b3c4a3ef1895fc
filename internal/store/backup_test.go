package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/store/testpg"
)

// stocked writes something into every table.
func stocked(t *testing.T, s Store) {
	t.Helper()
	ctx := t.Context()
	epoch, err := s.Lead(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		body := fmt.Appendf(nil, "body %d", i)
		b := Batch{
			Epoch: epoch, Records: []audit.Record{{Seq: uint64(2*i + 1), Kind: "k", Rollout: "r"}, {Seq: uint64(2*i + 2), Kind: "k", Reason: "zażółć\x00"}},
			Artifacts: []Artifact{{Digest: audit.Digest(body), Kind: "plan", Body: body}}, Revisions: []Revision{{Env: "prod", Number: uint64(i + 1), Body: body, At: time.Unix(int64(i), 0)}},
			Evidence: []Evidence{{Rollout: "r", Second: int64(i), Digest: "d", Body: []byte{0, 255}}}, Checkpoints: []Checkpoint{{Rollout: "r", Second: int64(i), Body: body}},
			Members: []Member{{Env: "prod", Instance: fmt.Sprint(i), Boot: "b", Body: nil}}, Outbox: []Outbox{{Key: fmt.Sprint(i), Kind: "k", Body: body}},
		}
		if _, err := s.Append(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.OutboxDone(ctx, "1"), s.PutToken(ctx, Token{ID: "a", Hash: [32]byte{1}, Created: time.Unix(5, 0)}), s.PutMeta(ctx, "keys", []byte("secret"))); err != nil {
		t.Fatal(err)
	}
}

// contents reads every table but those that restoring changes on purpose.
func contents(t *testing.T, db *sql.DB) map[string][][]any {
	t.Helper()
	out := map[string][][]any{}
	for _, table := range tables {
		query := "SELECT * FROM " + table.name + " ORDER BY " + table.key
		switch table.name {
		case "leader":
			continue
		case "head":
			query = "SELECT size, root FROM head"
		case "meta":
			query = "SELECT * FROM meta WHERE key <> 'restored' ORDER BY key"
		}
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row := make([]any, len(columns))
			at := make([]any, len(columns))
			for i := range row {
				at[i] = &row[i]
			}
			if err := rows.Scan(at...); err != nil {
				t.Fatal(err)
			}
			for i, v := range row {
				if b, ok := v.([]byte); ok || v == nil {
					row[i] = append([]byte{}, b...)
				}
			}
			out[table.name] = append(out[table.name], row)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		if len(out[table.name]) == 0 {
			t.Errorf("nothing in table %s: the test shows too little", table.name)
		}
	}
	return out
}

// A backup of either engine comes back the same in either engine, and no leader from before it can write there.
func TestBackupComesBackInEitherEngine(t *testing.T) {
	ctx := t.Context()
	dir, db := filepath.Join(t.TempDir(), "data"), testpg.URL(t)
	lite, shared := open(t, dir), openShared(t, db)
	stocked(t, lite)
	stocked(t, shared)
	fromLite, err := OpenSource(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	fromShared, err := OpenSharedSource(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]*Source{"sqlite": fromLite, "postgres": fromShared} {
		t.Cleanup(func() { _ = from.Close() })
		file := filepath.Join(t.TempDir(), "backup")
		n, err := Backup(ctx, from, file)
		if err != nil || n != 10 {
			t.Fatalf("%s: %d records, %v", name, n, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: the backup holds keys and has mode %v, %v", name, info.Mode(), err)
		}
		want := contents(t, from.db)
		to := filepath.Join(t.TempDir(), "restored")
		if n, err := RestoreDir(ctx, file, to); err != nil || n != 10 {
			t.Fatalf("%s to SQLite: %d records, %v", name, n, err)
		}
		again := open(t, to)
		comesBack(t, name+" to SQLite", again, again.readers, want)
		url := testpg.URL(t)
		if n, err := RestoreShared(ctx, file, url); err != nil || n != 10 {
			t.Fatalf("%s to PostgreSQL: %d records, %v", name, n, err)
		}
		sharedAgain := openShared(t, url)
		comesBack(t, name+" to PostgreSQL", sharedAgain, sharedAgain.readers, want)
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil || len(left) != 1 {
			t.Errorf("beside the backup lie %v", left)
		}
	}
}

func comesBack(t *testing.T, what string, s Store, db *sql.DB, want map[string][][]any) {
	t.Helper()
	ctx := t.Context()
	if got := contents(t, db); !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %v\nwant %v", what, got, want)
	}
	if note, err := s.Meta(ctx, "restored"); err != nil || !strings.Contains(string(note), `"records":10`) {
		t.Errorf("%s: note %s %v", what, note, err)
	}
	if _, err := s.Append(ctx, Batch{Epoch: 1, Records: []audit.Record{{Seq: 11}}}); !errors.Is(err, ErrFenced) {
		t.Errorf("%s: the leader from before writes: %v", what, err)
	}
	epoch, err := s.Lead(ctx)
	if err != nil || epoch <= epochGap {
		t.Errorf("%s: epoch %d, %v", what, epoch, err)
	}
	if _, err := s.Append(ctx, Batch{Epoch: epoch, Records: []audit.Record{{Seq: 11}}, Outbox: []Outbox{{Key: "new"}}}); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if _, err := Verify(ctx, s); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// A backup made while the store is written is one state of it.
func TestBackupWhileServing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	url := testpg.URL(t)
	for name, s := range map[string]Store{"sqlite": open(t, dir), "postgres": openShared(t, url)} {
		from, err := OpenSource(t.Context(), dir)
		if name == "postgres" {
			from, err = OpenSharedSource(t.Context(), url)
		}
		if err != nil {
			t.Fatal(err)
		}
		epoch, err := s.Lead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan uint64)
		go func() {
			seq := uint64(0)
			for ctx.Err() == nil {
				if _, err := s.Append(t.Context(), Batch{Epoch: epoch, Records: []audit.Record{{Seq: seq + 1}, {Seq: seq + 2}}}); err != nil {
					t.Error(err)
					break
				}
				seq += 2
			}
			done <- seq
		}()
		sizes := map[uint64]bool{}
		for i := range 5 {
			n, err := Backup(t.Context(), from, filepath.Join(t.TempDir(), fmt.Sprint(i)))
			if err != nil || n%2 != 0 {
				t.Errorf("%s: backup %d has %d records, %v", name, i, n, err)
			}
			sizes[n] = true
		}
		stop()
		if wrote := <-done; wrote < 10 || len(sizes) < 3 {
			t.Errorf("%s: %d records written, backups of sizes %v: the test shows too little", name, wrote, sizes)
		}
		_ = from.Close()
	}
}

func TestBackupAndRestoreRefuse(t *testing.T) {
	ctx := t.Context()
	dir := filled(t)
	from, err := OpenSource(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	backup := func(t *testing.T, statements ...string) string {
		file := filepath.Join(t.TempDir(), databaseFile)
		if _, err := Backup(ctx, from, file); err != nil {
			t.Fatal(err)
		}
		if len(statements) > 0 {
			sqlIn(t, filepath.Dir(file), statements...)
		}
		return file
	}
	refused := func(what string, err, is error, want string) {
		t.Helper()
		if err == nil || (is != nil && !errors.Is(err, is)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %v and %q", what, err, is, want)
		}
	}
	good := backup(t)
	_, err = Backup(ctx, from, good)
	refused("over a backup", err, nil, "exists already")
	_, err = RestoreDir(ctx, good, dir)
	refused("over a store", err, nil, "there is a store already")
	if _, err := OpenSource(ctx, t.TempDir()); err == nil {
		t.Error("a directory without a store is a source")
	}
	for what, tt := range map[string]struct {
		statement string
		is        error
	}{
		"edited record": {`UPDATE records SET body = replace(body, 'because', 'becauze') WHERE seq = 1`, ErrCorrupt},
		"record gone":   {`DELETE FROM records WHERE seq = 2`, nil},
		"newer":         {`INSERT INTO schema_version VALUES (99)`, ErrNewer},
		"head altered":  {`UPDATE head SET root = 'x'`, ErrCorrupt},
	} {
		file := backup(t, tt.statement)
		to := filepath.Join(t.TempDir(), "to")
		_, err := RestoreDir(ctx, file, to)
		refused(what, err, tt.is, "")
		if _, err := os.Stat(filepath.Join(to, databaseFile)); err == nil {
			t.Errorf("%s: a store was made", what)
		}
		url := testpg.URL(t)
		_, err = RestoreShared(ctx, file, url)
		refused(what, err, tt.is, "")
	}
	url := testpg.URL(t)
	stocked(t, openShared(t, url))
	_, err = RestoreShared(ctx, good, url)
	refused("over a shared store", err, nil, "there is a store in it already")
	if err := os.WriteFile(good, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = RestoreDir(ctx, good, filepath.Join(t.TempDir(), "to"))
	refused("no backup", err, nil, "")
}
