package audit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestVerifyLogAcceptsEverySize(t *testing.T) {
	l := &memLog{}
	for n := range 70 {
		if err := VerifyLog(l.all(), l, l.head(t)); err != nil {
			t.Fatalf("size %d: %v", n, err)
		}
		l.add(t, record(uint64(n)+1))
	}
	l = logOf(t, 3000) // several blocks of the cursor
	if err := VerifyLog(l.all(), l, l.head(t)); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyLogNamesTheDamage(t *testing.T) {
	swap := func(i, j int) func(*memLog) {
		return func(l *memLog) { l.records[i], l.records[j] = l.records[j], l.records[i] }
	}
	rehash := func(l *memLog, n uint64) { // the leaf hash, consistently with the record, but not what is above it
		leaf, _ := Leaf(l.records[n])
		l.hashes[StoredLeafIndex(n)] = LeafHash(leaf)
	}
	for _, tt := range []struct {
		name   string
		tamper func(*memLog)
		kind   DamageKind
		seq    uint64
	}{
		{"reason edited", func(l *memLog) { l.records[6].Reason = "x" }, AlteredRecord, 7},
		{"two edited", func(l *memLog) { l.records[9].Actor, l.records[30].Rev = "x", 1 }, AlteredRecord, 10},
		{"edited with its hash", func(l *memLog) { l.records[6].Reason = "x"; rehash(l, 6) }, AlteredRecord, 7},
		{"edited with its hash, odd leaf", func(l *memLog) { l.records[7].Reason = "x"; rehash(l, 7) }, AlteredRecord, 7},
		{"edited, and another hash", func(l *memLog) { l.records[6].Reason = "x"; l.hashes[StoredLeafIndex(20)][0]++ }, AlteredRecord, 7},
		{"state not JSON", func(l *memLog) { l.records[6].State = []byte("{") }, AlteredRecord, 7},
		{"sequence zeroed", func(l *memLog) { l.records[6].Seq = 0 }, AlteredRecord, 7},
		{"cut from the middle", func(l *memLog) { l.records = slices.Delete(l.records, 4, 5) }, MissingRecord, 5},
		{"cut from the middle, renumbered", func(l *memLog) {
			l.records = slices.Delete(l.records, 4, 5)
			for i := range l.records {
				l.records[i].Seq = uint64(i) + 1
			}
		}, AlteredRecord, 5},
		{"cut from the start", func(l *memLog) { l.records = l.records[3:] }, MissingRecord, 1},
		{"cut from the end", func(l *memLog) { l.records = l.records[:38] }, MissingRecord, 39},
		{"all gone", func(l *memLog) { l.records, l.hashes = nil, nil }, MissingRecord, 1},
		{"neighbours swapped", swap(10, 11), ReorderedRecord, 11},
		{"first and last swapped", swap(0, 39), ReorderedRecord, 1},
		{"repeated at once", func(l *memLog) { l.records = slices.Insert(l.records, 9, l.records[8]) }, RepeatedRecord, 9},
		{"repeated at the end", func(l *memLog) { l.records = append(l.records, l.records[2]) }, RepeatedRecord, 3},
		{"one too many", func(l *memLog) { l.records = append(l.records, record(41)) }, ExtraRecord, 41},
		{"leaf hash flipped", func(l *memLog) { l.hashes[StoredLeafIndex(12)][31] ^= 1 }, AlteredHash, 13},
		{"subtree hash flipped", func(l *memLog) { l.hashes[StoredLeafIndex(15)+3][0] ^= 1 }, AlteredHash, 9},
		{"hashes cut", func(l *memLog) { l.hashes = l.hashes[:StoredLeafIndex(20)] }, MissingHash, 21},
		{"another log entirely", func(l *memLog) { *l = *logOfActor(t, 40, "x") }, AlteredHead, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := logOf(t, 40)
			head := l.head(t)
			tt.tamper(l)
			err := VerifyLog(l.all(), l, head)
			var d *Damage
			if !errors.As(err, &d) {
				t.Fatalf("got %v, want damage", err)
			}
			if d.Kind != tt.kind || d.Seq != tt.seq {
				t.Errorf("got %v, want %s %d", d, tt.kind, tt.seq)
			}
		})
	}
}

func logOfActor(t testing.TB, n int, actor string) *memLog {
	l := &memLog{}
	for i := range n {
		r := record(uint64(i) + 1)
		r.Actor = actor
		l.add(t, r)
	}
	return l
}

// TestTenThousandTampersAreDetected (I25): flips, cuts, swaps, repeats, and whole rewrites that are consistent in themselves
// but signed by somebody else, against the signed head of somebody who holds the true key.
func TestTenThousandTampersAreDetected(t *testing.T) {
	rng := seeded(t, 20260301)
	whole := logOf(t, 60)
	ours, key := newTestKey(t, "main", 1)
	theirs, _ := newTestKey(t, "main", 2)
	head := signed(t, whole, ours)
	if err := verifySigned(whole, head, key); err != nil {
		t.Fatalf("the untouched log: %v", err)
	}
	kinds := map[int]int{}
	for i := range 10_000 {
		l, h := whole.clone(), bytes.Clone(head)
		kind := rng.IntN(8)
		kinds[kind]++
		what := ""
		switch kind {
		case 6: // everything is written again, by somebody without the key
			at := rng.IntN(len(l.records))
			l = rewritten(t, l, at)
			h, what = signed(t, l, theirs), fmt.Sprintf("rewrite from record %d, signed by another", at+1)
		case 7:
			at, bit := rng.IntN(len(h)), rng.IntN(8)
			h[at] ^= 1 << bit
			what = fmt.Sprintf("byte %d of the signed head, bit %d", at, bit)
		default:
			what = tamper(l, rng.IntN)
		}
		if err := verifySigned(l, h, key); err == nil {
			t.Fatalf("tamper %d passed: %s", i, what)
		}
	}
	if len(kinds) != 8 {
		t.Errorf("kinds of tampering: %v", kinds)
	}
}

func newTestKey(t testing.TB, name string, seed uint64) (signer, verifier string) {
	t.Helper()
	var b [32]byte
	b[0] = byte(seed)
	signer, verifier, err := NewKey(rand.NewChaCha8(b), name)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func signed(t testing.TB, l *memLog, signer string) []byte {
	t.Helper()
	h, err := SignHead(l.head(t), "main", signer)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// verifySigned is what somebody does who has kept a signed head and the verifier's key.
func verifySigned(l *memLog, head []byte, key string) error {
	h, _, err := OpenHead(head, key)
	if err != nil {
		return err
	}
	return VerifyLog(l.all(), l, h)
}

// rewritten is the log with another reason from record at on, and all hashes made anew.
func rewritten(t testing.TB, l *memLog, at int) *memLog {
	t.Helper()
	out := &memLog{}
	for i, r := range l.records {
		if i >= at {
			r.Reason = "nothing happened"
		}
		out.add(t, r)
	}
	return out
}

func tamper(l *memLog, intn func(int) int) string {
	i := intn(len(l.records))
	switch intn(6) {
	case 0:
		r := &l.records[i]
		at := intn(len(r.Event))
		for r.Event[at] < '0' || r.Event[at] > '9' { // a digit, so that it stays JSON
			at = intn(len(r.Event))
		}
		r.Event[at] = '0' + (r.Event[at]-'0'+1)%10
		return fmt.Sprintf("digit %d of the event of record %d", at, i+1)
	case 1:
		r := &l.records[i]
		switch intn(4) {
		case 0:
			r.At = r.At.Add(1)
		case 1:
			r.Epoch++
		case 2:
			r.Rollout = ""
		case 3:
			r.Seq = uint64(intn(200)) + 200
		}
		return fmt.Sprintf("field of record %d", i+1)
	case 2:
		n := 1 + intn(len(l.records)-i)
		l.records = slices.Delete(l.records, i, i+n)
		return fmt.Sprintf("cut %d from %d", n, i+1)
	case 3:
		j := (i + 1 + intn(len(l.records)-1)) % len(l.records)
		l.records[i], l.records[j] = l.records[j], l.records[i]
		return fmt.Sprintf("swap %d and %d", i+1, j+1)
	case 4:
		j := intn(len(l.records) + 1)
		l.records = slices.Insert(l.records, j, l.records[i])
		return fmt.Sprintf("repeat %d at %d", i+1, j+1)
	default:
		j, bit := intn(len(l.hashes)), intn(256)
		l.hashes[j][bit/8] ^= 1 << (bit % 8)
		return fmt.Sprintf("hash %d bit %d", j, bit)
	}
}

func TestVerifyLogReturnsReadErrors(t *testing.T) {
	l := logOf(t, 4)
	broken := errors.New("disk on fire")
	err := VerifyLog(func(yield func(Record, error) bool) {
		if yield(l.records[0], nil) {
			yield(Record{}, broken)
		}
	}, l, l.head(t))
	var d *Damage
	if !errors.Is(err, broken) || errors.As(err, &d) {
		t.Errorf("got %v, want the read error, which is no damage", err)
	}
	err = VerifyLog(l.all(), failing{broken}, l.head(t))
	if !errors.Is(err, broken) || errors.As(err, &d) {
		t.Errorf("got %v, want the read error, which is no damage", err)
	}
}

type failing struct{ err error }

func (f failing) ReadHashes([]int64) ([][32]byte, error) { return nil, f.err }

// BenchmarkVerifyLogMillion is the check of a log of a million records; its goal is 5 s.
func BenchmarkVerifyLogMillion(b *testing.B) {
	const n = 1_000_000
	l := logOf(b, n)
	head := l.head(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := VerifyLog(l.all(), l, head); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/leaf")
}

func BenchmarkFrontierAppend(b *testing.B) {
	var f Frontier
	leaf, _ := Leaf(record(1))
	b.ReportAllocs()
	for b.Loop() {
		f.Append(LeafHash(leaf))
	}
}
