package store_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/store"
)

// G6: whatever was acknowledged is there after kill -9 at any moment, nothing is there by half, and the log verifies.
func TestKilledProcessLosesNothing(t *testing.T) {
	const cycles, seed = 32, 20260301
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(seed, seed))
	deadline := time.Now().Add(20 * time.Second)
	for i := range cycles {
		if i >= 8 && time.Now().After(deadline) {
			t.Logf("stopped after %d of %d cycles: this machine is slow", i, cycles)
			return
		}
		acked := killAfter(t, dir, rng.IntN(60), time.Duration(rng.IntN(3000))*time.Microsecond)
		size := checkSurvivors(t, dir, acked)
		if t.Failed() {
			t.Fatalf("cycle %d, %d records, seed %d", i, size, seed)
		}
	}
}

// killAfter runs the child until it has acknowledged n appends and a little longer, kills it, and returns the last
// sequence number it acknowledged, 0 if none.
func killAfter(t *testing.T, dir string, n int, more time.Duration) uint64 {
	t.Helper()
	cmd := child(t, "append", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked uint64
	lines := bufio.NewScanner(out)
	read := func() bool {
		if !lines.Scan() {
			return false
		}
		seq, ok := strings.CutPrefix(lines.Text(), "ack ")
		if !ok {
			t.Fatalf("the child says %q", lines.Text())
		}
		if acked, err = strconv.ParseUint(seq, 10, 64); err != nil {
			t.Fatal(err)
		}
		return true
	}
	for range n {
		if !read() {
			t.Fatal("the child ended by itself")
		}
	}
	for start := time.Now(); time.Since(start) < more; { // spent busily: it picks the moment within an append
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for read() { // what it had acknowledged by then counts too
	}
	_ = cmd.Wait() // killed
	return acked
}

func child(t testing.TB, what, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "SLUICE_STORE_CHILD="+what, "SLUICE_STORE_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// appendForever appends batches of one to three records with evidence, saying which sequence number is durable.
func appendForever(dir string) error {
	ctx := context.Background()
	s, err := store.OpenSQLite(ctx, dir)
	if err != nil {
		return err
	}
	epoch, err := s.Lead(ctx)
	if err != nil {
		return err
	}
	head, err := s.TreeHead(ctx)
	if err != nil {
		return err
	}
	for seq := head.Size; ; {
		b := store.Batch{Epoch: epoch}
		for range 1 + seq%3 {
			seq++
			b.Records = append(b.Records, crashRecord(seq))
		}
		b.Evidence = []store.Evidence{{Rollout: "r", Second: int64(seq), Digest: fmt.Sprint(seq), Body: make([]byte, 2000)}}
		if _, err := s.Append(ctx, b); err != nil {
			return err
		}
		fmt.Println("ack", seq)
	}
}

func crashRecord(seq uint64) audit.Record {
	return audit.Record{
		Seq: seq, At: time.Unix(int64(seq), 0).UTC(), Kind: "verdict", Rollout: "r", Actor: "engine",
		State: json.RawMessage(`{"filler":"` + strings.Repeat("s", int(seq*37%2000)) + `"}`),
	}
}

// checkSurvivors opens the directory again and checks what is in it; it returns the number of records.
func checkSurvivors(t *testing.T, dir string, acked uint64) uint64 {
	t.Helper()
	ctx := t.Context()
	s, err := store.OpenSQLite(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	head, err := store.Verify(ctx, s)
	if err != nil {
		t.Errorf("verify: %v", err)
	}
	if head.Size < acked {
		t.Errorf("%d records, %d were acknowledged", head.Size, acked)
	}
	want := uint64(0)
	for r, err := range store.Walk(ctx, s, store.Query{Limit: 5000}, head.Size) {
		if err != nil {
			t.Fatal(err)
		}
		if want++; !reflect.DeepEqual(r, crashRecord(want)) {
			t.Fatalf("record %d is not what was written: %+v", want, r)
		}
	}
	if want != head.Size {
		t.Errorf("%d records, the head says %d", want, head.Size)
	}
	// Evidence goes with its batch: the last record's second is the last second.
	if last, err := s.EvidenceAfter(ctx, "r", int64(head.Size)-1, 0); head.Size > 0 && (err != nil || len(last) != 1) {
		t.Errorf("%d seconds of evidence from record %d on (%v), want 1: half a batch", len(last), head.Size, err)
	}
	return head.Size
}

// Power loss may leave any beginning of the write-ahead log: each gives a log that verifies and is a beginning of the whole.
func TestCutWriteAheadLogGivesABeginning(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, seed))
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := s.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 60; seq++ {
		b := store.Batch{Epoch: epoch, Records: []audit.Record{crashRecord(seq)}, Evidence: []store.Evidence{{Rollout: "r", Second: int64(seq), Digest: "d"}}}
		if _, err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	files := readFiles(t, dir) // not closed: all of it is still in the write-ahead log
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sizes := map[uint64]bool{}
	for range 40 {
		cut := rng.IntN(len(files["sluice.db-wal"]) + 1)
		copied := map[string][]byte{"sluice.db": files["sluice.db"], "sluice.db-wal": files["sluice.db-wal"][:cut]}
		sizes[checkSurvivors(t, writeFiles(t, copied), 0)] = true
		if t.Failed() {
			t.Fatalf("cut at %d of %d, seed %d", cut, len(files["sluice.db-wal"]), seed)
		}
	}
	if len(sizes) < 10 {
		t.Errorf("40 cuts gave only %d different logs: the test cuts nothing", len(sizes))
	}
}

// H80: a flipped byte anywhere in the database is refused at opening, found by Verify or on reading, or it lies where
// nothing is; what is read is never another thing than what was written.
func TestFlippedByteIsNeverBelieved(t *testing.T) {
	const seed = 12
	rng := rand.New(rand.NewPCG(seed, seed))
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := s.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := store.Batch{Epoch: epoch}
	for seq := uint64(1); seq <= 50; seq++ {
		b.Records = append(b.Records, crashRecord(seq))
	}
	if _, err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // moves all of it into the main file
		t.Fatal(err)
	}
	files := readFiles(t, dir)
	refused, found, harmless := 0, 0, 0
	for range 150 {
		db := append([]byte(nil), files["sluice.db"]...)
		at, bit := rng.IntN(len(db)), rng.IntN(8)
		db[at] ^= 1 << bit
		copied := writeFiles(t, map[string][]byte{"sluice.db": db})
		s, err := store.OpenSQLite(t.Context(), copied)
		if err != nil {
			var oe *store.OpenError
			if !errors.As(err, &oe) || oe.Remedy == "" || !strings.Contains(err.Error(), copied) {
				t.Errorf("byte %d bit %d: %v names no remedy", at, bit, err)
			}
			refused++
			continue
		}
		if err := readsTheSame(t, s); err != nil {
			found++
		} else {
			harmless++
		}
		if t.Failed() {
			t.Fatalf("byte %d bit %d, seed %d", at, bit, seed)
		}
		_ = s.Close()
	}
	t.Logf("of 150 flips %d were refused at opening, %d found on reading, %d lay in unused space", refused, found, harmless)
	if refused == 0 {
		t.Error("no flip was refused at opening")
	}
}

// readsTheSame returns the error with which damage is found, nil if all is read as it was written; t is told if anything
// else is read without an error.
func readsTheSame(t *testing.T, s store.Store) error {
	t.Helper()
	head, err := store.Verify(t.Context(), s)
	if err != nil {
		return err
	}
	if head.Size != 50 {
		t.Errorf("size %d, want 50", head.Size)
	}
	for _, q := range []store.Query{{}, {Rollout: "r"}, {Kind: "verdict"}} {
		records, err := s.Records(t.Context(), q)
		if err != nil {
			return err
		}
		for i, r := range records {
			if want := crashRecord(uint64(i) + 1); !reflect.DeepEqual(r, want) {
				t.Errorf("%+v: record %d is %+v, want %+v", q, i+1, r, want)
			}
		}
		if len(records) != 50 {
			t.Errorf("%+v: %d records, want 50", q, len(records))
		}
	}
	return nil
}

func readFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range []string{"sluice.db", "sluice.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

func writeFiles(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
