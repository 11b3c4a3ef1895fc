package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
	"sluice.dev/sluice/internal/store/testpg"
)

// longBake is the crash spec with one stage that stays.
var longBake = strings.Replace(crashSpec, "{name: s, exposure: [5%, 10%, 15%, 20%, 22%, 24%], bake: 2s}", "{name: s, exposure: 24%, bake: 1h}", 1)

// TestLeaderIsLostMidRollback runs two real servers on one PostgreSQL and members that know both. While a rollback waits for
// a member that does not answer, the leader is killed, or frozen. The other one finishes the proof under a later epoch, and
// nothing that the earlier one does after it has been thawed is written.
func TestLeaderIsLostMidRollback(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loseLeader(t, sig)
		})
	}
}

func loseLeader(t *testing.T, sig syscall.Signal) {
	db := testpg.URL(t)
	a, b := newVictim(t, db), newVictim(t, db)
	b.admin = a.admin
	for _, src := range []string{crashFlag, settledFlag} {
		if err := apply(t, b.client(), src); err != nil { // through the follower
			t.Fatal(err)
		}
	}
	token := a.token("shop", policy.Component)
	urlA, urlB := "http://"+a.addr, "http://"+b.addr
	shops := []*shop{openShop(t, urlA, token, "shop-1", urlB), openShop(t, urlB, token, "shop-2", urlA)}
	lines, member := frozenMember(t, urlA, token)
	if err := apply(t, a.client(), longBake); err != nil {
		t.Fatal(err)
	}
	waitFor(t, lines, "exposed")
	if err := member.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	before := leaderOf(t, db)
	if err := b.client().Post(context.Background(), "/v1/rollouts/price-v2/rollback", map[string]any{"reason": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	lost := time.Now()
	if err := a.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	b.await("answer of the other server", time.Minute, func(rollout.Status) bool { return leaderOf(t, db).Epoch > before.Epoch })
	t.Logf("another server led after %s", time.Since(lost).Round(10*time.Millisecond))
	st := b.await("proof", time.Minute, func(s rollout.Status) bool { return s.State.Phase == rollout.RolledBack })
	t.Logf("proof complete after %s", time.Since(lost).Round(10*time.Millisecond))
	if got := st.Barrier.Counts; got.Total != 3 || got.Unproven != 0 || st.State.DigestAfter != st.State.DigestBefore {
		t.Errorf("proof %+v, digest before %s, after %s", got, st.State.DigestBefore, st.State.DigestAfter)
	}
	if sig == syscall.SIGSTOP {
		thaw(t, a, b)
	}
	checkEpochs(t, b, before.Epoch)
	serves(t, shops, before.Epoch)
}

// thaw wakes the earlier leader and sends it writes at once: each is refused, or has gone through the one that leads.
func thaw(t *testing.T, a, b *victim) {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	done := 0
	for i := range 100 {
		src := strings.Replace(crashFlag, "name: price", fmt.Sprintf("name: thawed-%d", i), 1)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := a.client().Post(ctx, "/v1/apply", map[string]any{"source": src, "file": "f.yaml"}, nil)
		cancel()
		if err == nil {
			done++
		}
		if done == 5 {
			return
		}
		time.Sleep(50 * time.Millisecond) // the refusals end when the process has seen who leads
	}
	t.Errorf("of 100 writes to the thawed server %d went through, want 5", done)
}

// checkEpochs: epochs never fall along the log, and the earlier leader's end where the later one's begin.
func checkEpochs(t *testing.T, v *victim, before uint64) {
	t.Helper()
	var page struct {
		Records []struct {
			Seq, Epoch uint64
			Kind       string
		}
	}
	if err := v.client().Get(context.Background(), "/v1/audit?limit=500", &page); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for _, r := range page.Records {
		if r.Epoch < last {
			t.Errorf("record %d (%s) is of epoch %d, after one of epoch %d", r.Seq, r.Kind, r.Epoch, last)
		}
		last = r.Epoch
	}
	if last <= before || len(page.Records) < 10 {
		t.Errorf("%d records, the last of epoch %d; the lost leader had %d", len(page.Records), last, before)
	}
	var verified struct{ Records uint64 }
	if err := v.client().Get(context.Background(), "/v1/audit/verify", &verified); err != nil {
		t.Errorf("the log: %v", err)
	}
}

// serves: the members went on answering, the settled flag without a gap, and have found the server that leads now.
func serves(t *testing.T, shops []*shop, before uint64) {
	t.Helper()
	for i, s := range shops {
		until(t, "the member has found the next leader", func() bool { return s.sdk.Status().Epoch > before })
		s.mu.Lock()
		if len(s.odd) > 0 || s.evals < 100 || len(s.served) == 0 {
			t.Errorf("shop %d: %d evaluations, %d revisions exposed, odd answers: %v", i, s.evals, len(s.served), s.odd)
		}
		s.mu.Unlock()
	}
}

func leaderOf(t *testing.T, db string) store.Leader {
	t.Helper()
	s, err := store.OpenPostgres(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	l, err := s.Leader(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestFollowerServesAndForwards: a member that knows only a follower goes through a whole rollout and its rollback, reads
// and writes come out the same on both, the local sockets work on both, and when the leader stops in order the follower
// leads without waiting for a lease.
func TestFollowerServesAndForwards(t *testing.T) {
	db, dir, ctx := testpg.URL(t), shortDir(t), context.Background()
	begin := func(name string) *app.App {
		a, err := app.Start(ctx, app.Config{DB: db, Listen: "127.0.0.1:0", Socket: filepath.Join(dir, name), Version: "test", Tick: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a, b := begin("a"), begin("b")
	t.Cleanup(func() { _ = b.Stop(ctx) })
	if !a.Leads() || b.Leads() || a.AdminToken() == "" || b.AdminToken() != "" {
		t.Fatalf("a leads %t, b leads %t", a.Leads(), b.Leads())
	}
	token, err := a.Token(ctx, "shop", policy.Component, "")
	if err != nil {
		t.Fatal(err)
	}
	onB, err := client.New(b.URL(), a.AdminToken())
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{crashFlag, settledFlag} {
		if err := apply(t, onB, src); err != nil {
			t.Fatal(err)
		}
	}
	shop := openShop(t, b.URL(), token, "shop-1")
	if err := apply(t, onB, longBake); err != nil {
		t.Fatal(err)
	}
	awaitExposure(t, shop)
	local, err := client.New("unix://"+filepath.Join(dir, "b"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := local.Post(ctx, "/v1/rollouts/price-v2/rollback", map[string]any{"reason": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	if st := settled(t, onB); st.Barrier.Counts.Acked != 1 || st.Barrier.Counts.Total != 1 {
		t.Errorf("proof %+v", st.Barrier.Counts)
	}
	var onA, again struct{ Flags []struct{ Key string } }
	if err := errors.Join(onB.Get(ctx, "/v1/flags", &onA), localGet(dir, "a", "/v1/flags", &again)); err != nil || !reflect.DeepEqual(onA, again) || len(onA.Flags) != 2 {
		t.Errorf("flags %+v and %+v, %v", onA, again, err)
	}
	if _, err := b.Token(ctx, "x", policy.Viewer, ""); !errors.Is(err, app.ErrFollows) {
		t.Errorf("a token made by a follower: %v", err)
	}
	if err := a.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "the follower leads after the leader has stopped", b.Leads)
	if err := apply(t, onB, strings.Replace(crashFlag, "name: price", "name: later", 1)); err != nil {
		t.Error(err)
	}
}

func localGet(dir, socket, path string, out any) error {
	c, err := client.New("unix://"+filepath.Join(dir, socket), "")
	if err != nil {
		return err
	}
	return c.Get(context.Background(), path, out)
}

// shortDir is a directory whose path fits into a socket's address.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func awaitExposure(t *testing.T, s *shop) {
	t.Helper()
	until(t, "the member is exposed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.served) > 0
	})
}
