package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store/testpg"
)

// roles are what the test binary is besides.
var roles = map[string]func(){"server": serveUntilKilled, "member": evaluateUntilKilled, "small-disk": serveOnSmallDisk, "crash": serveUntilPoint}

// The test binary is also the server that is killed and the member that is frozen.
func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv("SLUICE_TEST_ROLE")]; ok {
		role()
	}
	os.Exit(testpg.Main(m))
}

func serveUntilKilled() {
	ctx := context.Background()
	cfg := app.Config{DataDir: os.Getenv("SLUICE_TEST_DIR"), DB: os.Getenv("SLUICE_TEST_DB"), Listen: os.Getenv("SLUICE_TEST_LISTEN"), Version: "test", Tick: 50 * time.Millisecond}
	cfg.Span, _ = time.ParseDuration(os.Getenv("SLUICE_TEST_SPAN")) // none: the default
	a, err := app.Start(ctx, cfg)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("ready", a.AdminToken())
	select {}
}

const crashFlag = `apiVersion: sluice/v1
kind: Flag
metadata: {name: price}
spec: {type: string, variants: {v1: v1, v2: v2}, default: v1}
`

const settledFlag = `apiVersion: sluice/v1
kind: Flag
metadata: {name: settled}
spec: {type: string, variants: {on: "on", off: "off"}, default: "on"}
`

// crashSpec has eight stages of two observed seconds each.
const crashSpec = `apiVersion: sluice/v1
kind: Rollout
metadata: {name: price-v2}
spec:
  environment: production
  hypothesis: {statement: "v2 is as good"}
  ownership: {owner: "user:owner-a"}
  change: {flag: {key: price, stable: v1, candidate: v2}}
  guardrails:
    - {name: errors, signal: "sdk:errors", test: {kind: always-valid, worseBy: 5pp}, onNoData: {after: 60s, do: pause}}
  metrics:
    error: {kind: proportion, settle: 1s}
  stages:
    - {name: shadow, mode: shadow, exposure: 0%, bake: 2s}
    - {name: s, exposure: [5%, 10%, 15%, 20%, 22%, 24%], bake: 2s}
    - {name: full, exposure: 100%, holdback: 5%, bake: 3s}
  rollback: {signal: {leaseTTL: 2s, completeWithin: 10s, unwindWithin: 30s}, downstream: {drain: 200ms}}
`

// victim is a server process that can be killed and started again on the same data and port.
type victim struct {
	t        testing.TB
	dir      string        // of its own data, or
	db       string        // the database it shares
	span     time.Duration // of its lease there; 0 means the default
	addr     string
	cmd      *exec.Cmd
	admin    string
	restarts int
}

// newVictim starts a server on a directory of its own, or on the database db.
func newVictim(t testing.TB, db string) *victim {
	t.Helper()
	v := &victim{t: t, dir: t.TempDir(), db: db, addr: freeAddress(t)}
	if err := os.Chmod(v.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	v.start()
	t.Cleanup(v.kill)
	return v
}

// freeAddress is one that nobody listens on at the moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func (v *victim) start() {
	v.t.Helper()
	self, err := os.Executable()
	if err != nil {
		v.t.Fatal(err)
	}
	v.cmd = exec.Command(self)
	v.cmd.Env = append(os.Environ(), "SLUICE_TEST_ROLE=server", "SLUICE_TEST_DIR="+v.dir, "SLUICE_TEST_DB="+v.db, "SLUICE_TEST_SPAN="+v.span.String(), "SLUICE_TEST_LISTEN="+v.addr)
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	word, token, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || word != "ready" {
		v.t.Fatalf("server start %d: %q %v", v.restarts, line, err)
	}
	if token != "" {
		v.admin = token
	}
	v.restarts++
}

func (v *victim) kill() {
	if v.cmd == nil {
		return
	}
	_ = v.cmd.Process.Kill() // it may have ended
	_ = v.cmd.Wait()
	v.cmd = nil
}

func (v *victim) client() *client.Client {
	v.t.Helper()
	c, err := client.New("http://"+v.addr, v.admin)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

func (v *victim) token(name string, role policy.Role) string {
	v.t.Helper()
	var out struct{ Secret string }
	if err := v.client().Post(context.Background(), "/v1/tokens", map[string]any{"name": name, "role": role}, &out); err != nil {
		v.t.Fatal(err)
	}
	return out.Secret
}

// status reads the rollout; ok is false while the server cannot answer.
func (v *victim) status() (st rollout.Status, ok bool) {
	var out struct{ Status rollout.Status }
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := v.client().Get(ctx, "/v1/rollouts/price-v2", &out); err != nil {
		return st, false
	}
	return out.Status, true
}

// await polls until the rollout is as wanted.
func (v *victim) await(what string, limit time.Duration, want func(rollout.Status) bool) rollout.Status {
	v.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); <-tick.C {
		if st, ok := v.status(); ok && want(st) {
			return st
		}
	}
	st, _ := v.status()
	v.t.Fatalf("no %s within %s: the rollout is %s/%s %s in stage %d, baked %s (%+v)", what, limit, st.State.Phase, st.State.Sub, st.State.Pause, st.State.Stage, st.State.Baked, st.State.Cause)
	return st
}

// shop is a member with traffic: it evaluates all the time and remembers what it served.
type shop struct {
	sdk     *sluice.Client
	price   *sluice.Flag
	settled *sluice.Flag
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	served map[uint64]flag.Exposure // revision -> exposure under which a unit was served the candidate
	last   time.Time                // last time a unit was served the candidate
	odd    []string
	evals  int
}

func openShop(t testing.TB, url, token, instance string, more ...string) *shop {
	t.Helper()
	sdk, err := sluice.New(context.Background(), sluice.Config{URL: url, Alternatives: more, Token: token, Instance: instance, Component: "shop", DrainBound: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &shop{sdk: sdk, price: sdk.Flag("price"), settled: sdk.Flag("settled"), cancel: cancel, served: map[uint64]flag.Exposure{}}
	s.wg.Go(func() { s.trade(ctx) })
	t.Cleanup(func() {
		cancel()
		s.wg.Wait()
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		_ = sdk.Close(ctx) // the server may be gone
	})
	return s
}

func (s *shop) trade(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for j := range 4 {
			rctx, req := s.sdk.Begin(ctx, fmt.Sprintf("account-%d", i*4+j))
			res := s.price.Detail(rctx)
			settled := s.settled.String(rctx, "default")
			req.End(nil)
			s.note(res, settled)
		}
	}
}

func (s *shop) note(res flag.Result, settled string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evals++
	if settled != "on" {
		s.odd = append(s.odd, "settled flag answered "+settled)
	}
	if res.Served == flag.ArmExposed {
		s.served[res.Revision] = max(s.served[res.Revision], res.Exposure)
		s.last = time.Now()
	}
}

// TestKilledServerContinuesWhereItWas kills the server at random moments of a running rollout. Same stage after each
// restart, nothing skipped or repeated, bake neither reset nor shortened, exposure never above what was decided, settled
// values always served; and while the server is away for longer than a lease, nobody serves the candidate.
func TestKilledServerContinuesWhereItWas(t *testing.T) {
	killAndContinue(t, newVictim(t, ""), 50, 20261124)
}

func killAndContinue(t *testing.T, v *victim, kills int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	ctx := context.Background()
	for _, src := range []string{crashFlag, settledFlag} {
		if err := apply(t, v.client(), src); err != nil {
			t.Fatal(err)
		}
	}
	component := v.token("shop", policy.Component)
	shops := []*shop{openShop(t, "http://"+v.addr, component, "shop-1"), openShop(t, "http://"+v.addr, component, "shop-2")}
	if err := apply(t, v.client(), crashSpec); err != nil {
		t.Fatal(err)
	}
	var before rollout.Status
	for i := range kills {
		life(t, v, rng, &before)
		v.kill()
		if i == kills/2 {
			outage(t, shops)
		}
		v.start()
		if after := v.again(); moved(before, after) {
			t.Fatalf("kill %d (seed %d): before %s, after %s", i, seed, where(before), where(after))
		}
	}
	final := v.await("end of the rollout", 180*time.Second, func(s rollout.Status) bool { return s.State.Phase == rollout.Completed })
	t.Logf("%d kills, completed after %s", kills, final.State.Ended.Sub(final.State.Started))
	checkLog(t, v, shops)
	checkReplay(t, v)
	var verified struct{ Records uint64 }
	if err := v.client().Get(ctx, "/v1/audit/verify", &verified); err != nil {
		t.Errorf("the log: %v", err)
	}
}

// again is the first status after a start. A server on a database of several leads only when the lease of its life before has
// run out.
func (v *victim) again() rollout.Status {
	v.t.Helper()
	return v.await("answer", time.Minute, func(rollout.Status) bool { return true })
}

// life watches the server for a drawn time and keeps the last state that it told.
func life(t *testing.T, v *victim, rng *rand.Rand, last *rollout.Status) {
	t.Helper()
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Duration(100+rng.IntN(1500)) * time.Millisecond); time.Now().Before(end); <-tick.C {
		if st, ok := v.status(); ok {
			if st.State.Stage < last.State.Stage || (st.State.Stage == last.State.Stage && st.State.Baked < last.State.Baked) {
				t.Fatalf("went back: before %s, now %s", where(*last), where(st))
			}
			*last = st
		}
	}
}

func where(s rollout.Status) string {
	return fmt.Sprintf("%s/%s stage %d exposure %d baked %s version %d", s.State.Phase, s.State.Sub, s.State.Stage, s.State.Exposure, s.State.Baked, s.State.Version)
}

// moved: between the last answer and the kill something may have happened, but never backwards, and in no more than one stage.
func moved(before, after rollout.Status) bool {
	a, b := before.State, after.State
	return b.Stage < a.Stage || b.Stage > a.Stage+1 || b.Version < a.Version || (b.Stage == a.Stage && b.Baked < a.Baked)
}

// outage waits, with the server away, until every lease has ended, and checks that nobody serves the candidate any more.
func outage(t *testing.T, shops []*shop) {
	t.Helper()
	time.Sleep(2100 * time.Millisecond) // the lease's length: real processes, real time
	cut := time.Now()
	time.Sleep(300 * time.Millisecond)
	for _, s := range shops {
		s.mu.Lock()
		if s.last.After(cut) {
			t.Errorf("a unit was served the candidate %s after the server was lost for a lease", s.last.Sub(cut))
		}
		s.mu.Unlock()
	}
}

// checkReplay judges everything that was stored again: through all kills each decision comes out the same, bit for bit.
func checkReplay(t *testing.T, v *victim) {
	t.Helper()
	var r struct {
		Seconds, Decisions int
		Differs            []uint64
		State, Stored      string
	}
	if err := v.client().Get(context.Background(), "/v1/rollouts/price-v2/replay", &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Differs) > 0 || r.Seconds < 10 || r.Decisions < 5 || (r.Stored != "" && r.Stored != r.State) {
		t.Errorf("replay: %+v", r)
	}
}

// checkLog compares the log with the plan and with what was served.
func checkLog(t *testing.T, v *victim, shops []*shop) {
	t.Helper()
	type entry struct {
		Seq   uint64
		At    time.Time
		Kind  string
		State rollout.State
	}
	var page struct{ Records []entry }
	if err := v.client().Get(context.Background(), "/v1/audit?rollout=price-v2&limit=500", &page); err != nil {
		t.Fatal(err)
	}
	decided := map[uint64]flag.Exposure{}
	stage, at := -1, time.Time{}
	for _, r := range page.Records {
		if r.Kind != "rollout.committed" {
			continue
		}
		if r.State.Stage != stage+1 {
			t.Errorf("record %d commits stage %d after stage %d", r.Seq, r.State.Stage, stage)
		}
		if bake := 2 * time.Second; stage >= 0 && r.At.Sub(at) < bake {
			t.Errorf("stage %d lasted %s, less than its bake", stage, r.At.Sub(at))
		}
		stage, at = r.State.Stage, r.At
		decided[r.State.Revision] = r.State.Exposure
	}
	if stage != 7 {
		t.Errorf("the last stage committed is %d, want 7", stage)
	}
	for i, s := range shops {
		s.mu.Lock()
		for rev, exposure := range s.served {
			if d, ok := decided[rev]; !ok || exposure > d {
				t.Errorf("shop %d served revision %d at exposure %d, decided was %d (%v)", i, rev, exposure, d, ok)
			}
		}
		if len(s.odd) > 0 {
			t.Errorf("shop %d: %d odd answers, first: %s", i, len(s.odd), s.odd[0])
		}
		if s.evals < 1000 || len(s.served) < 3 {
			t.Errorf("shop %d made %d evaluations and served %d revisions: the test shows too little", i, s.evals, len(s.served))
		}
		s.mu.Unlock()
	}
}

// evaluateUntilKilled is a member process: it evaluates without end and prints a line whenever the share of units that get
// the candidate changes between none and some.
func evaluateUntilKilled() {
	sdk, err := sluice.New(context.Background(), sluice.Config{
		URL: os.Getenv("SLUICE_TEST_LISTEN"), Token: os.Getenv("SLUICE_TEST_TOKEN"), Instance: "frozen-1", Component: "shop", DrainBound: 200 * time.Millisecond,
	})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	price := sdk.Flag("price")
	last := ""
	for i := 0; ; i++ {
		now := "baseline"
		for j := range 200 {
			ctx, req := sdk.Begin(context.Background(), fmt.Sprintf("account-%d", j))
			if price.Detail(ctx).Served == flag.ArmExposed {
				now = "exposed"
			}
			req.End(nil)
		}
		if now != last || i%20 == 0 {
			fmt.Println(now)
			last = now
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// freeze stops a process and waits until the kernel has done so: on a busy machine it may run on for a while.
func freeze(t *testing.T, p *os.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		if err != nil || strings.Contains(string(stat), ") T ") { // not every system has /proc
			return
		}
	}
	t.Fatal("the process did not stop within 10 s")
}

// TestFrozenProcessIsSafeByLapse stops a member with SIGSTOP in the middle of a rollout. The rollback cannot hear from it:
// SAFE comes from the end of its lease, the proof says so, and when it wakes up it serves the baseline.
func TestFrozenProcessIsSafeByLapse(t *testing.T) {
	a, c := server(t, "")
	ctx := context.Background()
	for _, src := range []string{crashFlag, settledFlag} {
		if err := apply(t, c, src); err != nil {
			t.Fatal(err)
		}
	}
	token, err := a.Token(ctx, "shop", policy.Component, "")
	if err != nil {
		t.Fatal(err)
	}
	openShop(t, a.URL(), token, "shop-1")
	lines, member := frozenMember(t, a.URL(), token)
	spec := strings.Replace(crashSpec, "{name: s, exposure: [5%, 10%, 15%, 20%, 22%, 24%], bake: 2s}", "{name: s, exposure: 24%, bake: 1h}", 1)
	if err := apply(t, c, spec); err != nil {
		t.Fatal(err)
	}
	waitFor(t, lines, "exposed")
	freeze(t, member.Process)
	if err := c.Post(ctx, "/v1/rollouts/price-v2/rollback", map[string]any{"reason": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	st := settled(t, c)
	if got := st.Barrier.Counts; got.Total != 2 || got.Acked != 1 || got.Lapsed != 1 || got.Unproven != 0 {
		t.Errorf("proof: got %+v, want one acknowledged and one by lease end: %+v; cause %+v", got, st.Barrier.Lines, st.State.Cause)
	}
	if st.State.DigestAfter != st.State.DigestBefore {
		t.Errorf("digest before %s, after %s", st.State.DigestBefore, st.State.DigestAfter)
	}
	drainLines(lines)
	if err := member.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The round that was under way when it was stopped may still print; every later one is on the baseline.
	for i := range 10 {
		if line := <-lines; line == "exposed" && i > 1 {
			t.Errorf("line %d after waking up: %s", i, line)
		}
	}
}

func frozenMember(t testing.TB, url, token string) (<-chan string, *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "SLUICE_TEST_ROLE=member", "SLUICE_TEST_LISTEN="+url, "SLUICE_TEST_TOKEN="+token)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is ours and still runs
		_ = cmd.Wait()
	})
	lines := make(chan string, 1024)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	return lines, cmd
}

func waitFor(t testing.TB, lines <-chan string, want string) {
	t.Helper()
	limit := time.After(120 * time.Second)
	for {
		select {
		case line, ok := <-lines:
			if !ok || strings.HasPrefix(line, "error") {
				t.Fatalf("the member ended: %s", line)
			}
			if line == want {
				return
			}
		case <-limit:
			t.Fatalf("the member never printed %q", want)
		}
	}
}

func drainLines(lines <-chan string) {
	for {
		select {
		case <-lines:
		default:
			return
		}
	}
}

// until polls for what another process does.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// settled waits for the end of a rollback.
func settled(t *testing.T, c *client.Client) rollout.Status {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var out struct{ Status rollout.Status }
	for deadline := time.Now().Add(120 * time.Second); time.Now().Before(deadline); <-tick.C {
		if err := c.Get(context.Background(), "/v1/rollouts/price-v2", &out); err != nil {
			t.Fatal(err)
		}
		if out.Status.State.Phase == rollout.RolledBack {
			return out.Status
		}
	}
	b, _ := json.Marshal(out.Status.State)
	t.Fatalf("the rollback did not end: %s", b)
	return out.Status
}
