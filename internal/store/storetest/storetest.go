// Package storetest is the one suite that every implementation of store.Store passes.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/store"
)

// Run tests the stores that open makes. Each call must give a new, empty store, closed by the test's cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s store.Store)
	}{
		{"Empty", testEmpty},
		{"RecordsReadBack", testRecordsReadBack},
		{"RecordsSelected", testRecordsSelected},
		{"Pages", testPages},
		{"SequenceContinues", testSequenceContinues},
		{"AllOrNothing", testAllOrNothing},
		{"EveryPartIsWritten", testEveryPart},
		{"Fencing", testFencing},
		{"Leader", testLeader},
		{"TreeHead", testTreeHead},
		{"Proofs", testProofs},
		{"Artifacts", testArtifacts},
		{"Revisions", testRevisions},
		{"RevisionAt", testRevisionAt},
		{"Evidence", testEvidence},
		{"Checkpoints", testCheckpoints},
		{"Members", testMembers},
		{"Outbox", testOutbox},
		{"Tokens", testTokens},
		{"Meta", testMeta},
		{"NoSharedMemory", testNoSharedMemory},
		{"Cancelled", testCancelled},
		{"Concurrent", testConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// RunDurable tests that what reopen's stores were told is there after they are closed and opened again. reopen opens the
// same data each time.
func RunDurable(t *testing.T, reopen func(t *testing.T) store.Store) {
	ctx := t.Context()
	s := reopen(t)
	epoch := lead(t, s)
	b := full(epoch)
	head := write(t, s, b)
	check(t, s.PutToken(ctx, token("a", 1)))
	check(t, s.PutMeta(ctx, "k", []byte("v")))
	check(t, s.Close())

	s = reopen(t)
	defer func() { check(t, s.Close()) }()
	checkFull(t, s, b)
	if got := must(s.TreeHead(ctx)); got != head {
		t.Errorf("tree head %v, want %v", got, head)
	}
	same(t, "tokens", must(s.Tokens(ctx)), []store.Token{token("a", 1)})
	same(t, "meta", string(must(s.Meta(ctx, "k"))), "v")
	// The epoch was durable too: the next leader's is higher, and the one from before is fenced.
	next := lead(t, s)
	if next != epoch+1 {
		t.Errorf("epoch after reopening is %d, want %d", next, epoch+1)
	}
	if _, err := s.Append(ctx, store.Batch{Epoch: epoch, Records: []audit.Record{rec(3, "r")}}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("append of the earlier leader: %v, want ErrFenced", err)
	}
	write(t, s, store.Batch{Epoch: next, Records: []audit.Record{rec(3, "r")}})
	verify(t, s)
}

// RunShared tests what holds between servers that share a store: open opens the same data each time, for another server.
func RunShared(t *testing.T, open func(t *testing.T) store.Store) {
	ctx := t.Context()
	a, b := open(t), open(t)
	first := must(a.Claim(ctx, must(a.Leader(ctx)), store.Leader{Name: "a"}))
	head := write(t, a, full(first))
	check(t, errors.Join(a.PutToken(ctx, token("a", 1)), a.PutMeta(ctx, "k", []byte("v"))))
	seen := must(b.Leader(ctx))
	if err := b.PutMeta(ctx, "k", []byte("w")); !errors.Is(err, store.ErrFenced) {
		t.Errorf("a write of a server that never led: %v, want ErrFenced", err)
	}
	second := must(b.Claim(ctx, seen, store.Leader{Name: "b"}))
	if second != first+1 {
		t.Errorf("epochs %d and %d", first, second)
	}
	for name, err := range everyWrite(ctx, a, first) {
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s by the earlier leader: %v, want ErrFenced", name, err)
		}
	}
	if got := must(b.TreeHead(ctx)); got != head {
		t.Errorf("tree head %v, want %v", got, head)
	}
	same(t, "tokens", must(b.Tokens(ctx)), []store.Token{token("a", 1)})
	same(t, "outbox", must(b.OutboxPending(ctx, 0)), full(first).Outbox)
	for name, err := range everyWrite(ctx, b, second) {
		check(t, err)
		if _, err := store.Verify(ctx, a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// everyWrite makes each kind of write once, as the leader of an epoch.
func everyWrite(ctx context.Context, s store.Store, epoch uint64) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		_ = yield("append", second(s.Append(ctx, later(epoch)))) &&
			yield("append without records", second(s.Append(ctx, store.Batch{Epoch: epoch, Members: []store.Member{{Env: "prod", Instance: "x"}}}))) &&
			yield("token", s.PutToken(ctx, token("b", 2))) &&
			yield("meta", s.PutMeta(ctx, "k", []byte("w"))) &&
			yield("outbox done", s.OutboxDone(ctx, full(epoch).Outbox[0].Key)) &&
			yield("beat", s.Beat(ctx, epoch)) &&
			yield("resign", s.Resign(ctx, epoch))
	}
}

func testEmpty(t *testing.T, s store.Store) {
	ctx := t.Context()
	if got := must(s.TreeHead(ctx)); got != audit.EmptyHead() {
		t.Errorf("tree head %v, want %v", got, audit.EmptyHead())
	}
	verify(t, s)
	for name, err := range map[string]error{
		"last record":     second(s.LastRecord(ctx, "")),
		"last of rollout": second(s.LastRecord(ctx, "r")),
		"artifact":        second(s.Artifact(ctx, "sha256:00")),
		"revision":        second(s.Revision(ctx, "prod", 0)),
		"revision 1":      second(s.Revision(ctx, "prod", 1)),
		"revision at":     second(s.RevisionAt(ctx, "prod", at(1))),
		"checkpoint":      second(s.Checkpoint(ctx, "r")),
		"meta":            second(s.Meta(ctx, "k")),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
	counts := map[string]int{
		"records": len(must(s.Records(ctx, store.Query{}))), "rollouts": len(must(s.Rollouts(ctx))), "envs": len(must(s.Envs(ctx))),
		"evidence": len(must(s.EvidenceAfter(ctx, "r", 0, 0))), "members": len(must(s.Members(ctx, "prod"))),
		"outbox": len(must(s.OutboxPending(ctx, 0))), "tokens": len(must(s.Tokens(ctx))),
	}
	for name, n := range counts {
		if n != 0 {
			t.Errorf("%d %s in an empty store", n, name)
		}
	}
	check(t, s.OutboxDone(ctx, "nothing"))
}

func testRecordsReadBack(t *testing.T, s store.Store) {
	epoch := lead(t, s)
	in := []audit.Record{rec(1, "r"), rec(2, ""), rec(3, "r")}
	in[0].At = time.Date(2026, 3, 1, 4, 14, 5, 123456789, time.FixedZone("x", 7200))
	in[1].Event, in[1].State, in[1].Reason = nil, json.RawMessage(` { "b": 1, "a": "<&>" } `), "zażółć \u2028 😀"
	in[2].Epoch, in[2].Rev = 1<<63-1, 1<<64-1
	write(t, s, store.Batch{Epoch: epoch, Records: in[:1]})
	write(t, s, store.Batch{Epoch: epoch, Records: in[1:]})

	want := slices.Clone(in)
	want[0].At = in[0].At.UTC()
	want[1].State = json.RawMessage(`{"b":1,"a":"<&>"}`)
	same(t, "records", must(s.Records(t.Context(), store.Query{})), want)
	same(t, "last", must(s.LastRecord(t.Context(), "")), want[2])
}

func testRecordsSelected(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	var in []audit.Record
	for i := range uint64(60) {
		r := rec(i+1, []string{"a", "b", "", "c"}[i%4])
		r.Kind = []string{"verdict", "advance", "denied"}[i%3]
		in = append(in, r)
	}
	write(t, s, store.Batch{Epoch: epoch, Records: in})
	for _, q := range []store.Query{
		{}, {After: 10}, {After: 59}, {After: 60}, {After: 1000}, {Rollout: "a"}, {Rollout: "a", After: 5}, {Rollout: "a", After: 6}, {Kind: "denied"},
		{Kind: "denied", Rollout: "b", After: 20}, {Limit: 7}, {Limit: 7, After: 3, Rollout: "c"}, {Rollout: "none"}, {Limit: -1},
	} {
		var want []audit.Record
		for _, r := range in {
			if r.Seq > q.After && (q.Rollout == "" || r.Rollout == q.Rollout) && (q.Kind == "" || r.Kind == q.Kind) {
				want = append(want, r)
			}
		}
		if q.Limit > 0 {
			want = want[:min(len(want), q.Limit)]
		}
		same(t, fmt.Sprintf("%+v", q), must(s.Records(ctx, q)), want)
	}
	same(t, "rollouts", must(s.Rollouts(ctx)), []string{"a", "b", "c"})
	same(t, "last of b", must(s.LastRecord(ctx, "b")), in[57])
}

func testPages(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	const n = 5100
	for seq := uint64(1); seq <= n; {
		b := store.Batch{Epoch: epoch}
		for range 300 {
			b.Records = append(b.Records, rec(seq, "r"))
			seq++
		}
		write(t, s, b)
	}
	for limit, want := range map[int]int{0: 500, 499: 499, 5000: 5000, 100_000: 5000} {
		if got := len(must(s.Records(ctx, store.Query{Limit: limit}))); got != want {
			t.Errorf("limit %d gives %d records, want %d", limit, got, want)
		}
	}
	var seq uint64
	for r, err := range store.Walk(ctx, s, store.Query{}, n-50) {
		check(t, err)
		if seq++; r.Seq != seq {
			t.Fatalf("walk gives record %d, want %d", r.Seq, seq)
		}
	}
	if seq != n-50 {
		t.Errorf("walk gives %d records, want %d", seq, n-50)
	}
	verify(t, s)
}

func testSequenceContinues(t *testing.T, s store.Store) {
	epoch := lead(t, s)
	write(t, s, store.Batch{Epoch: epoch, Records: []audit.Record{rec(1, "r"), rec(2, "r")}})
	for _, seqs := range [][]uint64{{0}, {1}, {2}, {4}, {3, 3}, {3, 5}, {4, 3}} {
		var b store.Batch
		for _, n := range seqs {
			b.Records = append(b.Records, rec(n, "r"))
		}
		b.Epoch = epoch
		if _, err := s.Append(t.Context(), b); !errors.Is(err, store.ErrConflict) {
			t.Errorf("append %d after 2: %v, want ErrConflict", seqs, err)
		}
	}
	if head := write(t, s, store.Batch{Epoch: epoch, Records: []audit.Record{rec(3, "r")}}); head.Size != 3 {
		t.Errorf("size %d, want 3", head.Size)
	}
	verify(t, s)
}

// Each way in which a batch may be refused leaves the store as it was.
func testAllOrNothing(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	first := full(epoch)
	head := write(t, s, first)
	for name, spoil := range map[string]func(*store.Batch){
		"sequence":         func(b *store.Batch) { b.Records[1].Seq = 9 },
		"not JSON":         func(b *store.Batch) { b.Records[1].State = json.RawMessage("{") },
		"epoch":            func(b *store.Batch) { b.Epoch-- },
		"revision":         func(b *store.Batch) { b.Revisions[1].Number = 1 },
		"revision 0":       func(b *store.Batch) { b.Revisions[0].Env, b.Revisions[0].Number = "new", 0 },
		"artifact":         func(b *store.Batch) { b.Artifacts[0].Body = []byte("other") },
		"evidence":         func(b *store.Batch) { b.Evidence[1].Second = 1; b.Evidence[1].Digest = "other" },
		"evidence, itself": func(b *store.Batch) { b.Evidence[1].Second = b.Evidence[0].Second },
	} {
		b := later(epoch)
		spoil(&b)
		if _, err := s.Append(ctx, b); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := must(s.TreeHead(ctx)); got != head {
			t.Fatalf("%s: tree head %v, want %v", name, got, head)
		}
		checkFull(t, s, first)
	}
	write(t, s, later(epoch))
	verify(t, s)
}

func testEveryPart(t *testing.T, s store.Store) {
	b := full(lead(t, s))
	write(t, s, b)
	checkFull(t, s, b)
	// Without records the head stays.
	before := must(s.TreeHead(t.Context()))
	if got := write(t, s, store.Batch{Epoch: b.Epoch, Evidence: []store.Evidence{evidence("r", 77)}}); got != before {
		t.Errorf("tree head %v after a batch without records, want %v", got, before)
	}
}

func testFencing(t *testing.T, s store.Store) {
	ctx := t.Context()
	first, second := lead(t, s), lead(t, s)
	if first != 1 || second != 2 {
		t.Errorf("epochs %d and %d, want 1 and 2", first, second)
	}
	for _, epoch := range []uint64{0, first, second + 1} {
		if _, err := s.Append(ctx, store.Batch{Epoch: epoch, Records: []audit.Record{rec(1, "r")}}); !errors.Is(err, store.ErrFenced) {
			t.Errorf("append in epoch %d of %d: %v, want ErrFenced", epoch, second, err)
		}
		if _, err := s.Append(ctx, store.Batch{Epoch: epoch, Members: []store.Member{{Env: "prod", Instance: "x"}}}); !errors.Is(err, store.ErrFenced) {
			t.Errorf("append without records in epoch %d of %d: %v, want ErrFenced", epoch, second, err)
		}
	}
	write(t, s, store.Batch{Epoch: second, Records: []audit.Record{rec(1, "r")}})
	if n := len(must(s.Members(ctx, "prod"))); n != 0 {
		t.Errorf("%d members, want 0", n)
	}
}

// The lease row goes to whoever has seen it as it is, and to one of those who try at once.
func testLeader(t *testing.T, s store.Store) {
	ctx := t.Context()
	vacant := must(s.Leader(ctx))
	if vacant.Name != "" || vacant.Epoch != 0 {
		t.Errorf("a new store is led by %+v", vacant)
	}
	me := store.Leader{Name: "a", Address: "http://a", Span: 1500 * time.Millisecond}
	epoch := must(s.Claim(ctx, vacant, me))
	seen := must(s.Leader(ctx))
	if seen.Epoch != epoch || seen.Name != "a" || seen.Address != "http://a" || seen.Span != me.Span || seen.Beat == vacant.Beat {
		t.Errorf("lease %+v after %+v", seen, vacant)
	}
	check(t, s.Beat(ctx, epoch))
	if _, err := s.Claim(ctx, seen, store.Leader{Name: "b"}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("claim of a lease that was renewed: %v, want ErrFenced", err)
	}
	check(t, s.Resign(ctx, epoch))
	free := must(s.Leader(ctx))
	if free.Name != "" || free.Address != "" || free.Epoch != epoch {
		t.Errorf("lease %+v after resigning", free)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch _, err := s.Claim(ctx, free, store.Leader{Name: fmt.Sprint(i)}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrFenced):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 claims went through", won.Load())
	}
	for _, err := range []error{s.Beat(ctx, epoch), s.Resign(ctx, epoch), second(s.Append(ctx, store.Batch{Epoch: epoch}))} {
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("the earlier leader: %v, want ErrFenced", err)
		}
	}
	write(t, s, full(epoch+1))
}

// The head after each append is that of a tree computed from nothing.
func testTreeHead(t *testing.T, s store.Store) {
	epoch := lead(t, s)
	var f audit.Frontier
	seq := uint64(0)
	for n := range 12 {
		b := store.Batch{Epoch: epoch}
		for range n {
			seq++
			b.Records = append(b.Records, rec(seq, "r"))
			f.Append(audit.LeafHash(must(audit.Leaf(rec(seq, "r")))))
		}
		if got := write(t, s, b); got != f.Head() {
			t.Errorf("after %d records: append gives head %v, want %v", seq, got, f.Head())
		}
		if got := must(s.TreeHead(t.Context())); got != f.Head() {
			t.Errorf("after %d records: head %v, want %v", seq, got, f.Head())
		}
		verify(t, s)
	}
}

func testProofs(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	var heads []audit.TreeHead
	for i := range uint64(20) {
		heads = append(heads, write(t, s, store.Batch{Epoch: epoch, Records: []audit.Record{rec(i+1, "r")}}))
	}
	tree := must(s.Tree(ctx))
	last := heads[19]
	for i := range uint64(20) {
		leaf := must(audit.Leaf(rec(i+1, "r")))
		check(t, audit.VerifyInclusion(must(audit.ProveInclusion(20, i, tree)), last, i, leaf))
		check(t, audit.VerifyConsistency(must(audit.ProveConsistency(i+1, 20, tree)), heads[i], last))
	}
	for _, bad := range [][]int64{{-1}, {audit.StoredCount(20)}, {0, 1 << 40}} {
		if _, err := tree.ReadHashes(bad); !errors.Is(err, audit.ErrNoHash) {
			t.Errorf("hashes %d: %v, want ErrNoHash", bad, err)
		}
	}
	scattered := []int64{7, 0, 30, 7}
	got := must(tree.ReadHashes(scattered))
	for i, x := range scattered {
		if got[i] != must(tree.ReadHashes([]int64{x}))[0] {
			t.Errorf("hash %d of %d is another", i, scattered)
		}
	}
	if got := must(tree.ReadHashes(nil)); len(got) != 0 {
		t.Errorf("%d hashes of no index", len(got))
	}
}

func testArtifacts(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	a := artifact("plan", "body")
	write(t, s, store.Batch{Epoch: epoch, Artifacts: []store.Artifact{a, a}})
	again := a
	again.Kind = "other"
	write(t, s, store.Batch{Epoch: epoch, Artifacts: []store.Artifact{again, artifact("empty", "")}})
	same(t, "artifact", must(s.Artifact(ctx, a.Digest)), a)
	if got := must(s.Artifact(ctx, audit.Digest(nil))); got.Kind != "empty" || len(got.Body) != 0 {
		t.Errorf("got %+v, want an empty body", got)
	}
	bad := a
	bad.Digest = "sha256:00"
	if _, err := s.Append(ctx, store.Batch{Epoch: epoch, Artifacts: []store.Artifact{bad}}); err == nil {
		t.Error("took an artifact under a digest that is not its own")
	}
}

func testRevisions(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	write(t, s, store.Batch{Epoch: epoch, Revisions: []store.Revision{revision("prod", 1), revision("test", 1), revision("prod", 2)}})
	write(t, s, store.Batch{Epoch: epoch, Revisions: []store.Revision{revision("prod", 5)}})
	for number, want := range map[uint64]uint64{0: 5, 1: 1, 2: 2, 5: 5} {
		same(t, fmt.Sprint("revision ", number), must(s.Revision(ctx, "prod", number)), revision("prod", want))
	}
	if _, err := s.Revision(ctx, "prod", 3); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("revision 3: %v, want ErrNotFound", err)
	}
	for _, n := range []uint64{0, 1, 4, 5} {
		if _, err := s.Append(ctx, store.Batch{Epoch: epoch, Revisions: []store.Revision{revision("prod", n)}}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("revision %d after 5: %v, want ErrConflict", n, err)
		}
	}
	same(t, "envs", must(s.Envs(ctx)), []string{"prod", "test"})
}

func testRevisionAt(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	for i, sec := range []int64{100, 200, 200, 150, 300} { // number 4 was made by a clock that ran back
		r := revision("prod", uint64(i)+1)
		r.At = at(sec)
		write(t, s, store.Batch{Epoch: epoch, Revisions: []store.Revision{r}})
	}
	for sec, want := range map[int64]uint64{100: 1, 149: 1, 150: 4, 199: 4, 200: 4, 299: 4, 300: 5, 9999: 5} {
		if got := must(s.RevisionAt(ctx, "prod", at(sec))); got.Number != want {
			t.Errorf("at %d s revision %d, want %d", sec, got.Number, want)
		}
	}
	if got := must(s.RevisionAt(ctx, "prod", at(300).Add(-time.Microsecond))); got.Number != 4 {
		t.Errorf("a microsecond before revision 5 it is %d, want 4", got.Number)
	}
	for _, q := range []struct {
		env string
		sec int64
	}{{"prod", 99}, {"test", 200}} {
		if _, err := s.RevisionAt(ctx, q.env, at(q.sec)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s at %d s: %v, want ErrNotFound", q.env, q.sec, err)
		}
	}
}

func testEvidence(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	for _, sec := range []int64{5, 3, 4, 10} {
		write(t, s, store.Batch{Epoch: epoch, Evidence: []store.Evidence{evidence("r", sec), evidence("other", sec)}})
	}
	write(t, s, store.Batch{Epoch: epoch, Evidence: []store.Evidence{evidence("r", 4), evidence("r", 4)}}) // again, the same
	seconds := func(after int64, limit int) (out []int64) {
		for _, e := range must(s.EvidenceAfter(ctx, "r", after, limit)) {
			same(t, "evidence", e, evidence("r", e.Second))
			out = append(out, e.Second)
		}
		return out
	}
	same(t, "all", seconds(-1, 0), []int64{3, 4, 5, 10})
	same(t, "after 4", seconds(4, 0), []int64{5, 10})
	same(t, "after 6", seconds(6, 0), []int64{10})
	same(t, "two", seconds(0, 2), []int64{3, 4})
	same(t, "after the last", seconds(10, 0), []int64(nil))
	other := evidence("r", 4)
	other.Digest = "another"
	if _, err := s.Append(ctx, store.Batch{Epoch: epoch, Evidence: []store.Evidence{other}}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("second 4 with another digest: %v, want ErrConflict", err)
	}
}

func testCheckpoints(t *testing.T, s store.Store) {
	epoch := lead(t, s)
	for _, c := range []store.Checkpoint{
		{Rollout: "r", Second: 10, Body: []byte("a")}, {Rollout: "q", Second: 99, Body: []byte("q")},
		{Rollout: "r", Second: 9, Body: []byte("late")}, {Rollout: "r", Second: 10, Body: []byte("b")},
	} {
		write(t, s, store.Batch{Epoch: epoch, Checkpoints: []store.Checkpoint{c}})
	}
	same(t, "checkpoint", must(s.Checkpoint(t.Context(), "r")), store.Checkpoint{Rollout: "r", Second: 10, Body: []byte("b")})
}

func testMembers(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	m := func(env, instance, boot, body string) store.Member {
		return store.Member{Env: env, Instance: instance, Boot: boot, Body: []byte(body)}
	}
	write(t, s, store.Batch{Epoch: epoch, Members: []store.Member{m("prod", "b", "1", "x"), m("prod", "a", "2", "x"), m("prod", "a", "1", "x"), m("test", "a", "1", "t")}})
	gone := m("prod", "a", "2", "")
	gone.Gone = true
	never := m("prod", "z", "9", "")
	never.Gone = true
	write(t, s, store.Batch{Epoch: epoch, Members: []store.Member{m("prod", "b", "1", "y"), gone, never}})
	same(t, "members", must(s.Members(ctx, "prod")), []store.Member{m("prod", "a", "1", "x"), m("prod", "b", "1", "y")})
	// In one batch the order counts: it leaves and says Hello again.
	gone = m("prod", "a", "1", "")
	gone.Gone = true
	write(t, s, store.Batch{Epoch: epoch, Members: []store.Member{gone, m("prod", "a", "1", "back")}})
	same(t, "members", must(s.Members(ctx, "prod")), []store.Member{m("prod", "a", "1", "back"), m("prod", "b", "1", "y")})
}

// An effect stays pending, however often it is read, until it is reported done.
func testOutbox(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	o := func(key string) store.Outbox { return store.Outbox{Key: key, Kind: "notify", Body: []byte("b" + key)} }
	write(t, s, store.Batch{Epoch: epoch, Outbox: []store.Outbox{o("9"), o("10")}})
	write(t, s, store.Batch{Epoch: epoch, Outbox: []store.Outbox{o("9"), o("8"), o("8")}})
	for range 2 {
		same(t, "pending", must(s.OutboxPending(ctx, 0)), []store.Outbox{o("9"), o("10"), o("8")})
	}
	same(t, "first two", must(s.OutboxPending(ctx, 2)), []store.Outbox{o("9"), o("10")})
	check(t, s.OutboxDone(ctx, "10"))
	check(t, s.OutboxDone(ctx, "10"))
	same(t, "after done", must(s.OutboxPending(ctx, 0)), []store.Outbox{o("9"), o("8")})
	check(t, errors.Join(s.OutboxDone(ctx, "9"), s.OutboxDone(ctx, "8")))
	write(t, s, store.Batch{Epoch: epoch, Outbox: []store.Outbox{o("11")}})
	same(t, "later", must(s.OutboxPending(ctx, 0)), []store.Outbox{o("11")})
}

func testTokens(t *testing.T, s store.Store) {
	ctx := t.Context()
	a, b := token("a", 20), token("b", 10)
	check(t, errors.Join(s.PutToken(ctx, a), s.PutToken(ctx, b)))
	same(t, "tokens", must(s.Tokens(ctx)), []store.Token{b, a})
	if got := must(s.Tokens(ctx)); !got[0].Revoked.IsZero() {
		t.Errorf("revoked at %v, want the zero time", got[0].Revoked)
	}
	a.Revoked, a.Role, a.Env, a.Hash = at(30), "viewer", "", [32]byte{9}
	check(t, s.PutToken(ctx, a))
	same(t, "tokens", must(s.Tokens(ctx)), []store.Token{b, a})
}

func testMeta(t *testing.T, s store.Store) {
	ctx := t.Context()
	check(t, errors.Join(s.PutMeta(ctx, "k", []byte{0, 255}), s.PutMeta(ctx, "l", nil)))
	same(t, "k", must(s.Meta(ctx, "k")), []byte{0, 255})
	if got := must(s.Meta(ctx, "l")); len(got) != 0 {
		t.Errorf("l is %q, want nothing", got)
	}
	check(t, s.PutMeta(ctx, "k", []byte("new")))
	same(t, "k", must(s.Meta(ctx, "k")), []byte("new"))
}

func testNoSharedMemory(t *testing.T, s store.Store) {
	ctx := t.Context()
	b := full(lead(t, s))
	given := full(b.Epoch)
	write(t, s, given)
	spoil := func(bodies ...[]byte) {
		for _, body := range bodies {
			for i := range body {
				body[i] = 'X'
			}
		}
	}
	spoil(given.Records[0].Event, given.Records[0].State, given.Artifacts[0].Body, given.Revisions[0].Body, given.Evidence[0].Body, given.Checkpoints[0].Body, given.Members[0].Body, given.Outbox[0].Body)
	checkFull(t, s, b)
	got := must(s.Records(ctx, store.Query{}))[0]
	spoil(got.Event, got.State, must(s.Artifact(ctx, b.Artifacts[0].Digest)).Body, must(s.Revision(ctx, "prod", 1)).Body,
		must(s.EvidenceAfter(ctx, "r", 0, 0))[0].Body, must(s.Checkpoint(ctx, "r")).Body, must(s.Members(ctx, "prod"))[0].Body, must(s.OutboxPending(ctx, 0))[0].Body)
	checkFull(t, s, b)
	v := []byte("value")
	check(t, s.PutMeta(ctx, "k", v))
	spoil(v, must(s.Meta(ctx, "k")))
	same(t, "meta", string(must(s.Meta(ctx, "k"))), "value")
}

func testCancelled(t *testing.T, s store.Store) {
	epoch := lead(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(ctx, full(epoch)); !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v, want context.Canceled", err)
	}
	if _, err := s.Records(ctx, store.Query{}); !errors.Is(err, context.Canceled) {
		t.Errorf("records: %v, want context.Canceled", err)
	}
	if head := must(s.TreeHead(t.Context())); head.Size != 0 {
		t.Errorf("%d records, want none", head.Size)
	}
	write(t, s, full(epoch))
}

// Readers see whole batches only, and what they read verifies, while a writer appends and takes leadership.
func testConcurrent(t *testing.T, s store.Store) {
	ctx := t.Context()
	epoch := lead(t, s)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readAll(ctx, s); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range uint64(60) {
		b := store.Batch{Epoch: epoch, Members: []store.Member{{Env: "prod", Instance: fmt.Sprint(i), Boot: "1"}}}
		b.Records = append(b.Records, rec(2*i+1, "r"), rec(2*i+2, "r"))
		b.Evidence = append(b.Evidence, evidence("r", int64(i)))
		if _, err := s.Append(ctx, b); err != nil {
			t.Error(err)
		}
		if i%20 == 19 {
			epoch = lead(t, s)
		}
	}
	close(done)
	wg.Wait()
	if head := verify(t, s); head.Size != 120 {
		t.Errorf("size %d, want 120", head.Size)
	}
}

func readAll(ctx context.Context, s store.Store) error {
	head, err := store.Verify(ctx, s)
	if err != nil {
		return fmt.Errorf("verify at size %d: %w", head.Size, err)
	}
	if head.Size%2 != 0 {
		return fmt.Errorf("size %d: half a batch is visible", head.Size)
	}
	records, err := s.Records(ctx, store.Query{Rollout: "r"})
	if err != nil {
		return err
	}
	if len(records)%2 != 0 || uint64(len(records)) < head.Size {
		return fmt.Errorf("%d records after size %d was visible", len(records), head.Size)
	}
	_, err = s.Members(ctx, "prod")
	return err
}

// full fills each part of a batch; later fills another one that may follow it.
func full(epoch uint64) store.Batch {
	return store.Batch{
		Epoch: epoch, Records: []audit.Record{rec(1, "r"), rec(2, "")}, Artifacts: []store.Artifact{artifact("scope", "one")},
		Revisions: []store.Revision{revision("prod", 1)}, Evidence: []store.Evidence{evidence("r", 1)},
		Checkpoints: []store.Checkpoint{{Rollout: "r", Second: 1, Body: []byte("check")}},
		Members:     []store.Member{{Env: "prod", Instance: "i", Boot: "b", Body: []byte("member")}},
		Outbox:      []store.Outbox{{Key: "1", Kind: "notify", Body: []byte("out")}},
	}
}

func later(epoch uint64) store.Batch {
	return store.Batch{
		Epoch: epoch, Records: []audit.Record{rec(3, "q"), rec(4, "r")}, Artifacts: []store.Artifact{artifact("scope", "two")},
		Revisions: []store.Revision{revision("test", 1), revision("prod", 2)}, Evidence: []store.Evidence{evidence("r", 2), {Rollout: "r", Second: 3, Digest: "d"}},
		Checkpoints: []store.Checkpoint{{Rollout: "r", Second: 9, Body: []byte("later")}},
		Members:     []store.Member{{Env: "prod", Instance: "i", Boot: "b", Gone: true}},
		Outbox:      []store.Outbox{{Key: "3", Kind: "notify"}},
	}
}

// checkFull checks that the store holds the batch full and nothing of later.
func checkFull(t *testing.T, s store.Store, b store.Batch) {
	t.Helper()
	ctx := t.Context()
	same(t, "records", must(s.Records(ctx, store.Query{})), b.Records)
	same(t, "artifact", must(s.Artifact(ctx, b.Artifacts[0].Digest)), b.Artifacts[0])
	if _, err := s.Artifact(ctx, artifact("scope", "two").Digest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("later artifact: %v, want ErrNotFound", err)
	}
	same(t, "revision", must(s.Revision(ctx, "prod", 0)), b.Revisions[0])
	same(t, "envs", must(s.Envs(ctx)), []string{"prod"})
	same(t, "evidence", must(s.EvidenceAfter(ctx, "r", 0, 0)), b.Evidence)
	same(t, "checkpoint", must(s.Checkpoint(ctx, "r")), b.Checkpoints[0])
	same(t, "members", must(s.Members(ctx, "prod")), b.Members)
	same(t, "outbox", must(s.OutboxPending(ctx, 0)), b.Outbox)
}

func rec(seq uint64, rollout string) audit.Record {
	return audit.Record{
		Seq: seq, At: at(int64(seq)), Kind: "verdict", Env: "prod", Rollout: rollout, Actor: "engine", Engine: "0.1.0", Epoch: 1,
		Event: json.RawMessage(fmt.Sprintf(`{"n":%d}`, seq)), State: json.RawMessage(`{"phase":"baking"}`),
	}
}

func artifact(kind, body string) store.Artifact {
	return store.Artifact{Digest: audit.Digest([]byte(body)), Kind: kind, Body: []byte(body)}
}

func revision(env string, n uint64) store.Revision {
	return store.Revision{Env: env, Number: n, Digest: fmt.Sprintf("sha256:%d", n), Body: fmt.Appendf(nil, `{"n":%d}`, n), At: at(int64(n))}
}

func evidence(rollout string, sec int64) store.Evidence {
	return store.Evidence{Rollout: rollout, Second: sec, Digest: fmt.Sprint("d", sec), Body: fmt.Appendf(nil, "%s %d", rollout, sec)}
}

func token(id string, created int64) store.Token {
	return store.Token{ID: id, Name: "token " + id, Role: "operator", Env: "prod", Hash: [32]byte{1, 2, 31: 3}, Created: at(created)}
}

// at is a time to the microsecond, which is what stores keep.
func at(sec int64) time.Time { return time.Unix(1_770_000_000+sec, 123_456_000).UTC() }

func lead(t *testing.T, s store.Store) uint64 {
	t.Helper()
	epoch, err := s.Lead(t.Context())
	check(t, err)
	return epoch
}

func write(t *testing.T, s store.Store, b store.Batch) audit.TreeHead {
	t.Helper()
	head, err := s.Append(t.Context(), b)
	check(t, err)
	return head
}

func verify(t *testing.T, s store.Store) audit.TreeHead {
	t.Helper()
	head, err := store.Verify(t.Context(), s)
	check(t, err)
	return head
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

// must returns v. A read that does not succeed ends the test by the panic, with the error in it.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func second[T any](_ T, err error) error { return err }
