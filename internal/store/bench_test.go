package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/store"
)

// typical is the batch of a second in which a verdict changed: a record with a state of 3 KB, a second of evidence of
// 4 KB compressed, a checkpoint of 20 KB, and an outbox entry.
func typical(epoch, seq uint64) store.Batch {
	return store.Batch{
		Epoch: epoch,
		Records: []audit.Record{{
			Seq: seq, At: time.Unix(1_760_000_000+int64(seq), 0).UTC(), Kind: "verdict", Env: "prod", Rollout: "delay-v12",
			Actor: "engine", Engine: "0.1.0", Epoch: epoch, Event: json.RawMessage(`{"verdict":"inconclusive"}`),
			State: json.RawMessage(`{"x":"` + strings.Repeat("s", 3000) + `"}`),
		}},
		Evidence:    []store.Evidence{{Rollout: "delay-v12", Second: int64(seq), Digest: fmt.Sprint(seq), Body: make([]byte, 4000)}},
		Checkpoints: []store.Checkpoint{{Rollout: "delay-v12", Second: int64(seq), Body: make([]byte, 20_000)}},
		Outbox:      []store.Outbox{{Key: fmt.Sprint(seq), Kind: "notify", Body: []byte(`{}`)}},
	}
}

func benchmarkAppend(b *testing.B, st store.Store, batch func(epoch, seq uint64) store.Batch) {
	ctx := context.Background()
	epoch, err := st.Lead(ctx)
	if err != nil {
		b.Fatal(err)
	}
	var seq uint64
	b.ReportAllocs()
	for b.Loop() {
		seq++
		if _, err := st.Append(ctx, batch(epoch, seq)); err != nil {
			b.Fatal(err)
		}
	}
}

// small is a record alone, such as an approval or a revoke.
func small(epoch, seq uint64) store.Batch {
	return store.Batch{Epoch: epoch, Records: []audit.Record{{Seq: seq, Kind: "approve", Rollout: "delay-v12", Actor: "user:ada", Epoch: epoch}}}
}

func openSQLite(b testing.TB) *store.SQLite {
	b.Helper()
	st, err := store.OpenSQLite(context.Background(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	return st
}

func BenchmarkAppendSQLite(b *testing.B)      { benchmarkAppend(b, openSQLite(b), typical) }
func BenchmarkAppendSQLiteSmall(b *testing.B) { benchmarkAppend(b, openSQLite(b), small) }
func BenchmarkAppendMemory(b *testing.B)      { benchmarkAppend(b, store.NewMemory(), typical) }

func BenchmarkOpenSQLite(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		st, err := store.OpenSQLite(context.Background(), dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifySQLite100k checks a log of 10^5 records read from the database.
func BenchmarkVerifySQLite100k(b *testing.B) {
	const size = 100_000
	ctx := context.Background()
	st := openSQLite(b)
	epoch, err := st.Lead(ctx)
	if err != nil {
		b.Fatal(err)
	}
	for seq := uint64(1); seq <= size; {
		batch := store.Batch{Epoch: epoch}
		for range 1000 {
			batch.Records = append(batch.Records, small(epoch, seq).Records...)
			seq++
		}
		if _, err := st.Append(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := store.Verify(ctx, st); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/record")
}
