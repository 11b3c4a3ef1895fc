package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"
	"time"
)

// memLog is a small log kept in two slices.
type memLog struct {
	records []Record
	hashes  [][32]byte
}

func (l *memLog) ReadHashes(indexes []int64) ([][32]byte, error) {
	out := make([][32]byte, 0, len(indexes))
	for _, i := range indexes {
		if i < 0 || i >= int64(len(l.hashes)) {
			return nil, fmt.Errorf("hash %d: %w", i, ErrNoHash)
		}
		out = append(out, l.hashes[i])
	}
	return out, nil
}

func (l *memLog) all() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, r := range l.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (l *memLog) clone() *memLog {
	out := &memLog{hashes: append([][32]byte(nil), l.hashes...)}
	for _, r := range l.records {
		out.records = append(out.records, r.Clone())
	}
	return out
}

func (l *memLog) head(t testing.TB) TreeHead {
	t.Helper()
	h, err := Root(uint64(len(l.records)), l)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// start is when the logs of the tests begin.
var start = time.Date(2026, 3, 1, 2, 14, 5, 20_000_000, time.UTC)

func record(seq uint64) Record {
	return Record{
		Seq: seq, At: start.Add(time.Duration(seq) * 1234567 * time.Microsecond), Kind: "verdict", Env: "prod",
		Rollout: fmt.Sprintf("delay-v%d", seq%3), Actor: "engine", Reason: "błąd <5 % & \u2028", Engine: "0.1.0", Epoch: 1 + seq/50,
		Event: json.RawMessage(fmt.Sprintf(`{"n":%d,"p":0.1}`, seq)), State: json.RawMessage(`{"phase":"baking","stage":1}`),
	}
}

func logOf(t testing.TB, n int) *memLog {
	t.Helper()
	l := &memLog{}
	for i := range n {
		l.add(t, record(uint64(i)+1))
	}
	return l
}

func (l *memLog) add(t testing.TB, r Record) {
	t.Helper()
	leaf, err := Leaf(r)
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := Append(uint64(len(l.records)), leaf, l)
	if err != nil {
		t.Fatal(err)
	}
	l.records, l.hashes = append(l.records, r), append(l.hashes, hashes...)
}

// keys returns the key pair of the log "test"; the same in each run.
func keys(t testing.TB) (signer, verifier string) {
	t.Helper()
	signer, verifier, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)), "test")
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func sign(t testing.TB, h TreeHead) (signed []byte, verifier string) {
	t.Helper()
	signer, verifier := keys(t)
	signed, err := SignHead(h, "test", signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed, verifier
}

func seeded(t testing.TB, seed uint64) *rand.Rand {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, seed))
}
