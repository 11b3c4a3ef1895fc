package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sluice.dev/sluice/internal/audit"
)

var update = flag.Bool("update", false, "rewrite golden files")

func open(t *testing.T, dir string) *SQLite {
	t.Helper()
	s, err := OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// filled makes a directory with three records and returns it, closed.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	epoch, err := s.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := Batch{Epoch: epoch}
	for seq := range uint64(3) {
		b.Records = append(b.Records, audit.Record{Seq: seq + 1, Kind: "k", Rollout: "r", Reason: "because"})
	}
	if _, err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sqlIn changes the database behind the store's back.
func sqlIn(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// H80, H81: what is wrong with a data directory is refused with the command that mends it, and nothing is changed.
func TestOpenRefusesWithRemedy(t *testing.T) {
	chmod := func(name string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	change := func(statements ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { sqlIn(t, dir, statements...) }
	}
	for _, tt := range []struct {
		name    string
		spoil   func(t *testing.T, dir string)
		is      error
		problem string // DIR stands for the directory
		remedy  string
	}{
		{"open twice", func(t *testing.T, dir string) { open(t, dir) }, ErrLocked, fmt.Sprintf("process %d holds it", os.Getpid()), fmt.Sprintf("stop process %d", os.Getpid())},
		{"a later schema", change(`INSERT INTO schema_version (version) VALUES (99)`), ErrNewer, "schema version 99, this program knows versions up to 2", "run the version of sluice that wrote it"},
		{"directory that others read", chmod(".", 0o755), nil, "its permissions are 0755", "chmod 700 DIR"},
		{"directory read-only", chmod(".", 0o500), nil, "its permissions are 0500", "chmod 700 DIR"},
		{"database that others read", chmod(databaseFile, 0o644), nil, "sluice.db are 0644", "chmod 600 DIR/sluice.db"},
		{"database read-only", chmod(databaseFile, 0o400), nil, "sluice.db are 0400", "chmod 600 DIR/sluice.db"},
		{"database a directory", func(t *testing.T, dir string) {
			name := filepath.Join(dir, databaseFile)
			if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, nil, "no regular file", "move DIR/sluice.db away"},
		{"another program's database", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, databaseFile), 0); err != nil {
				t.Fatal(err)
			}
			sqlIn(t, dir, `CREATE TABLE notes (x TEXT)`)
		}, ErrCorrupt, "1 tables, none of them ours", "from the last backup"},
		{"no database", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, databaseFile), []byte(strings.Repeat("no database ", 500)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt, "damaged", "from the last backup"},
		{"cut short", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, databaseFile), 20_000); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt, "damaged", "from the last backup"},
		{"last record deleted", change(`DELETE FROM records WHERE seq = 3`), ErrCorrupt, "ends with record 2", "from the last backup"},
		{"tree hash deleted", change(`DELETE FROM tree WHERE idx = 3`), ErrCorrupt, "3 tree hashes", "from the last backup"},
		{"tree hash altered", change(`UPDATE tree SET hash = zeroblob(32) WHERE idx = 3`), ErrCorrupt, "the tree hashes give the root", "from the last backup"},
		{"first record edited", change(`UPDATE records SET body = replace(body, 'because', 'becauze') WHERE seq = 1`), ErrCorrupt, "altered record 1", "from the last backup"},
		{"record filed elsewhere", change(`UPDATE records SET rollout = 'q' WHERE seq = 2`), ErrCorrupt, "altered record 2", "from the last backup"},
		{"spelling of a record", change(`UPDATE records SET body = body || ' ' WHERE seq = 2`), ErrCorrupt, "altered record 2", "from the last backup"},
		{"records swapped", change(`UPDATE records SET seq = 9 WHERE seq = 1`, `UPDATE records SET seq = 1 WHERE seq = 2`, `UPDATE records SET seq = 2 WHERE seq = 9`), ErrCorrupt, "altered record 1", "from the last backup"},
		{"no head", change(`DELETE FROM head`), ErrCorrupt, "no head", "from the last backup"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filled(t)
			tt.spoil(t, dir)
			_, err := OpenSQLite(t.Context(), dir)
			var oe *OpenError
			if !errors.As(err, &oe) {
				t.Fatalf("got %v, want an OpenError", err)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			if remedy := strings.ReplaceAll(tt.remedy, "DIR", dir); !strings.Contains(err.Error(), tt.problem) || !strings.Contains(oe.Remedy, remedy) {
				t.Errorf("got %v\nwant the problem %q and the remedy %q", err, tt.problem, remedy)
			}
			// The refusal has given the lock back.
			if tt.is != ErrLocked {
				lock, err := lockDir(dir)
				if err != nil && oe.Problem != "its permissions are 0500, want 0700" {
					t.Errorf("the directory is still locked: %v", err)
				} else if err == nil {
					_ = lock.Close()
				}
			}
		})
	}
}

func TestDirectoryAndFilesArePrivate(t *testing.T) {
	for name, dir := range map[string]string{"missing": filepath.Join(t.TempDir(), "a", "b"), "empty": t.TempDir()} {
		if name == "empty" {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, dir)
		if _, err := s.Lead(t.Context()); err != nil { // so that there is a write-ahead log
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s has permissions %v", name, e.Name(), info.Mode())
			}
		}
		if want := []string{"lock", "reserve", "sluice.db", "sluice.db-shm", "sluice.db-wal"}; !slices.Equal(names, want) {
			t.Errorf("%s: files %q, want %q", name, names, want)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: the directory has permissions %v", name, info.Mode())
		}
	}
}

// A path is a path, whatever it would mean in a URI.
func TestDirectoryNamesAreTakenLiterally(t *testing.T) {
	for _, name := range []string{"a b", "q?mode=memory", "h#x", "p%20q", "ü", "x&_pragma=y", "q'uote"} {
		dir := filepath.Join(t.TempDir(), name)
		s := open(t, dir)
		if err := s.PutMeta(t.Context(), "k", []byte(name)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, databaseFile)); err != nil || info.Size() == 0 {
			t.Errorf("%q: %v, want the database in there", name, err)
		}
		if v, err := open(t, dir).Meta(t.Context(), "k"); err != nil || string(v) != name {
			t.Errorf("%q: read %q, %v", name, v, err)
		}
	}
}

// The settings on which durability rests, as the connections have them.
func TestConnectionsAreDurable(t *testing.T) {
	s := open(t, t.TempDir())
	for _, tt := range []struct {
		db           *sql.DB
		pragma, want string
	}{
		{s.writer, "synchronous", "2"}, {s.writer, "journal_mode", "wal"}, {s.writer, "foreign_keys", "1"}, {s.writer, "busy_timeout", "5000"},
		{s.writer, "query_only", "0"}, {s.readers, "query_only", "1"}, {s.readers, "journal_mode", "wal"}, {s.readers, "synchronous", "2"},
	} {
		var got string
		if err := tt.db.QueryRow("PRAGMA " + tt.pragma).Scan(&got); err != nil || got != tt.want {
			t.Errorf("%s is %s (%v), want %s", tt.pragma, got, err, tt.want)
		}
	}
}

// The write transaction takes the lock at once: a head read in it cannot change before it commits.
func TestWriteTransactionsBeginImmediate(t *testing.T) {
	s := open(t, t.TempDir())
	tx, err := s.writer.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	other, err := openPool(s.dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if _, err := other.Exec(`PRAGMA busy_timeout = 0`); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(`UPDATE head SET epoch = 7`); err == nil {
		t.Error("another connection wrote inside an open write transaction")
	}
}

// After a commit whose outcome the store does not know, the remembered tree may be behind or ahead; the database decides.
func TestAppendDoesNotTrustTheRememberedTree(t *testing.T) {
	s := open(t, t.TempDir())
	epoch, err := s.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 20; seq++ {
		switch seq % 3 {
		case 0:
			s.tip = audit.Frontier{}
		case 1:
			s.tip.Append([32]byte{1})
		}
		if _, err := s.Append(t.Context(), Batch{Epoch: epoch, Records: []audit.Record{{Seq: seq}}}); err != nil {
			t.Fatal(err)
		}
	}
	if head, err := Verify(t.Context(), s); err != nil || head.Size != 20 {
		t.Errorf("size %d, %v", head.Size, err)
	}
}

// S26 without a file system of its own: the size of the database is limited instead. TestFullDisk has a real full disk.
func TestFullDatabase(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	epoch, err := s.Lead(ctx)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(pages string) {
		if _, err := s.writer.Exec(`PRAGMA max_page_count = ` + pages); err != nil {
			t.Fatal(err)
		}
	}
	reserved := func() bool { _, err := os.Stat(filepath.Join(s.dir, reserveFile)); return err == nil }
	large := Batch{Epoch: epoch, Members: []Member{{Env: "prod", Instance: "first"}}, Evidence: []Evidence{{Rollout: "r", Body: make([]byte, 100_000)}}}
	limit("1") // SQLite takes it as "no more than now"
	if _, err := s.Append(ctx, large); !errors.Is(err, ErrFull) {
		t.Errorf("evidence: %v, want ErrFull", err)
	}
	if !reserved() {
		t.Error("evidence has used the reserve")
	}
	large.Records, large.Vital = []audit.Record{{Seq: 1}}, true
	if _, err := s.Append(ctx, large); !errors.Is(err, ErrFull) {
		t.Errorf("record: %v, want ErrFull", err)
	}
	if reserved() {
		t.Error("a record has not used the reserve")
	}
	if m, err := s.Members(ctx, "prod"); err != nil || len(m) != 0 {
		t.Errorf("%d members of a refused batch, %v", len(m), err)
	}
	limit("1000000")
	if _, err := s.Append(ctx, large); err != nil {
		t.Fatal(err)
	}
	if reserved() {
		t.Error("the reserve is back at once: on a disk that has just been full it would take what is left")
	}
	s.reserveAt = time.Now().Add(-time.Second)
	if err := s.PutMeta(ctx, "k", nil); err != nil || !reserved() {
		t.Errorf("some time later the reserve is not back (%v)", err)
	}
	if _, err := Verify(ctx, s); err != nil {
		t.Error(err)
	}
}

func TestMigrations(t *testing.T) {
	ctx := t.Context()
	steps := func(files ...string) []migration {
		fsys := fstest.MapFS{}
		for i, f := range files {
			fsys[fmt.Sprintf("sqlite/%04d_x.sql", i+1)] = &fstest.MapFile{Data: []byte(f)}
		}
		out, err := loadMigrations(fsys, "sqlite")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	count := func(query string) (n int) {
		if err := db.QueryRow(query).Scan(&n); err != nil {
			return -1
		}
		return n
	}
	one, two, broken := "CREATE TABLE a (x TEXT); INSERT INTO a VALUES ('1')", "ALTER TABLE a ADD COLUMN y TEXT; INSERT INTO a VALUES ('2', '2')", "CREATE TABLE b (x TEXT); INSERT INTO nothing VALUES (1)"
	for range 2 { // the second time there is nothing to do
		if err := migrate(ctx, db, steps(one), ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := migrate(ctx, db, steps(one, two, broken), ""); err == nil {
		t.Fatal("a broken migration went through")
	}
	if n, v := count(`SELECT COUNT(*) FROM a`), count(`SELECT MAX(version) FROM schema_version`); n != 1 || v != 1 || count(`SELECT COUNT(*) FROM b`) != -1 {
		t.Errorf("after a broken migration: %d rows at version %d, want 1 row at 1 and no table b", n, v)
	}
	if err := migrate(ctx, db, steps(one, two), ""); err != nil {
		t.Fatal(err)
	}
	if n, v := count(`SELECT COUNT(y) FROM a`), count(`SELECT MAX(version) FROM schema_version`); n != 1 || v != 2 {
		t.Errorf("%d rows with the new column at version %d, want 1 at 2", n, v)
	}
	if err := migrate(ctx, db, steps(one), ""); !errors.Is(err, ErrNewer) {
		t.Errorf("an older program: %v, want ErrNewer", err)
	}
	if _, err := loadMigrations(fstest.MapFS{"sqlite/0002_x.sql": {}}, "sqlite"); err == nil {
		t.Error("took a set of migrations that begins at 2")
	}
}

// A released migration never changes: databases that have it would be another schema under the same number.
func TestReleasedMigrationsAreUnchanged(t *testing.T) {
	steps, err := loadMigrations(migrations, "sqlite")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := migrate(t.Context(), db, steps, ""); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(`SELECT COALESCE(sql, name) FROM sqlite_master ORDER BY type, name`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var schema strings.Builder
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		schema.WriteString(regexp.MustCompile(`\s+`).ReplaceAllString(s, " ") + "\n")
	}
	if *update {
		if err := os.WriteFile("testdata/schema.txt", []byte(schema.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/schema.txt")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if schema.String() != string(want) {
		t.Errorf("the schema is\n%s\nand testdata/schema.txt says\n%s", schema.String(), want)
	}
}

// The driver is machine-translated C and only right with the very libc it was made with; module resolution may give a later one.
func TestLibcIsTheDriversOwn(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: no go command")
	}
	var driver struct{ GoMod string }
	if err := json.Unmarshal(goList(t, "-json", "modernc.org/sqlite"), &driver); err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile(driver.GoMod)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`modernc\.org/libc (v\S+)`).FindSubmatch(goMod)
	if m == nil {
		t.Fatalf("%s requires no libc", driver.GoMod)
	}
	if got := strings.TrimSpace(string(goList(t, "-f", "{{.Version}}", "modernc.org/libc"))); got != string(m[1]) {
		t.Errorf("modernc.org/libc is %s, the driver wants %s: go get modernc.org/libc@%s", got, m[1], m[1])
	}
}

func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-m"}, args...)...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOPROXY=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return out
}

func TestQuickCheckIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.quickCheck(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled by the caller: %v, want context.Canceled", err)
	}
	for _, limit := range []time.Duration{0, time.Minute} {
		if err := s.quickCheck(t.Context(), limit); err != nil {
			t.Errorf("limit %v: %v", limit, err)
		}
	}
}
