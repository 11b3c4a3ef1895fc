package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
)

// serveUntilPoint is a server process that kills itself, as kill -9 does, when it comes by a point for the nth time.
func serveUntilPoint() {
	point, times, _ := strings.Cut(os.Getenv("SLUICE_TEST_POINT"), ":")
	nth, _ := strconv.ParseInt(times, 10, 64) // none: never
	var hits atomic.Int64
	fail.Arm(func(p fail.Point) {
		if p.String() == point && hits.Add(1) == nth {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
			select {}
		}
	})
	a, err := app.Start(context.Background(), app.Config{
		DataDir: os.Getenv("SLUICE_TEST_DIR"), DB: os.Getenv("SLUICE_TEST_DB"), Socket: os.Getenv("SLUICE_TEST_SOCKET"), Listen: os.Getenv("SLUICE_TEST_LISTEN"),
		Version: "test", Tick: 25 * time.Millisecond, Span: time.Second,
	})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("ready", a.URL())
	select {}
}

// chain is one store that goes through crash after crash, with somebody who uses the server all the time.
type chain struct {
	t         *testing.T
	dir, db   string
	socket    string
	addr      string
	cmd       *exec.Cmd
	wg        sync.WaitGroup
	rollbacks atomic.Int64

	mu     sync.Mutex
	acked  []string // flags whose edit was acknowledged
	backs  []string // rollouts whose rollback was acknowledged
	tokens int      // that were acknowledged
}

func newChain(t *testing.T, db string) *chain {
	t.Helper()
	dir := shortDir(t)
	return &chain{t: t, dir: filepath.Join(dir, "data"), db: db, socket: filepath.Join(dir, "s"), addr: freeAddress(t)}
}

// start runs the server with a point armed and reports whether it came to serve.
func (c *chain) start(armed string) (serves bool) {
	c.t.Helper()
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), "SLUICE_TEST_ROLE=crash", "SLUICE_TEST_DIR="+c.dir, "SLUICE_TEST_DB="+c.db, "SLUICE_TEST_SOCKET="+c.socket,
		"SLUICE_TEST_LISTEN="+c.addr, "SLUICE_TEST_POINT="+armed)
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	said := bufio.NewReader(out)
	line, err := said.ReadString('\n')
	if strings.HasPrefix(line, "error:") {
		c.t.Fatalf("armed with %q the server does not start: %s", armed, line)
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	return err == nil
}

// crashes waits until the server has killed itself.
func (c *chain) crashes(armed string) {
	c.t.Helper()
	limit := time.AfterFunc(2*time.Minute, func() { _ = c.cmd.Process.Signal(syscall.SIGTERM) })
	err := c.cmd.Wait()
	limit.Stop()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		c.t.Fatalf("point %s was not come by within two minutes: %v", armed, err)
	}
}

// check opens the store between two lives of the server: its log is whole, and everything acknowledged is there.
func (c *chain) check(armed string) {
	c.t.Helper()
	c.mu.Lock()
	acked, backs, tokens := slices.Clone(c.acked), slices.Clone(c.backs), c.tokens
	c.mu.Unlock()
	ctx := context.Background()
	s, err := c.open(ctx)
	if err != nil {
		c.t.Fatalf("after %s: %v", armed, err)
	}
	defer func() { _ = s.Close() }()
	if _, err := store.Verify(ctx, s); err != nil {
		c.t.Errorf("after %s: the log: %v", armed, err)
	}
	if len(acked) > 0 {
		env, err := control.LoadEnv(ctx, s, app.DefaultEnv, 0)
		if err != nil {
			c.t.Fatalf("after %s: %v", armed, err)
		}
		text := fmt.Sprint(env)
		for _, name := range acked {
			if !strings.Contains(text, "flag/"+name) {
				c.t.Errorf("after %s: flag %s was acknowledged and is lost", armed, name)
			}
		}
	}
	for _, name := range backs {
		cp, err := s.Checkpoint(ctx, name)
		if err != nil {
			c.t.Fatalf("after %s: %v", armed, err)
		}
		if st, err := engine.CheckpointState(cp.Body); err != nil || st.Decided.IsZero() {
			c.t.Errorf("after %s: the rollback of %s was acknowledged and is lost: %s %v", armed, name, st.Phase, err)
		}
	}
	if all, err := s.Tokens(ctx); err != nil || len(all) < tokens {
		c.t.Errorf("after %s: %d tokens, %d were acknowledged, %v", armed, len(all), tokens, err)
	}
}

func (c *chain) open(ctx context.Context) (store.Store, error) {
	if c.db != "" {
		return store.OpenPostgres(ctx, c.db)
	}
	return store.OpenSQLite(ctx, c.dir)
}

// use is whoever uses the server: each round edits a flag, starts a rollout, waits until a member is exposed and has
// reported, rolls back and waits for the proof. Everything is repeated until it is answered.
func (c *chain) use(ctx context.Context) {
	admin, err := client.New("unix://"+c.socket, "")
	if err != nil {
		c.t.Error(err)
		return
	}
	u := &user{chain: c, ctx: ctx, admin: admin}
	u.apply(crashFlag)
	u.apply(settledFlag)
	token := u.token("shop")
	if ctx.Err() != nil {
		return
	}
	shop := openShop(c.t, "http://"+c.addr, token, "shop-1")
	for round := 0; ctx.Err() == nil; round++ {
		u.round(round, shop)
	}
}

type user struct {
	chain *chain
	ctx   context.Context
	admin *client.Client
}

// again repeats try until it succeeds or the test ends.
func (u *user) again(try func(ctx context.Context) error) bool {
	for u.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(u.ctx, 5*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return true
		}
		var p *client.Problem
		if errors.As(err, &p) && p.Status < 500 && p.Status != 409 {
			u.chain.t.Errorf("refused: %v", err)
			return false
		}
		time.Sleep(5 * time.Millisecond) // the server is between two lives
	}
	return false
}

func (u *user) apply(source string) bool {
	return u.again(func(ctx context.Context) error {
		return u.admin.Post(ctx, "/v1/apply", map[string]any{"source": source, "file": "f.yaml"}, nil)
	})
}

func (u *user) token(name string) string {
	var out struct{ Secret string }
	u.again(func(ctx context.Context) error {
		return u.admin.Post(ctx, "/v1/tokens", map[string]any{"name": name, "role": policy.Component}, &out)
	})
	u.note(func(c *chain) { c.tokens++ })
	return out.Secret
}

func (u *user) note(f func(c *chain)) {
	if u.ctx.Err() == nil {
		u.chain.mu.Lock()
		defer u.chain.mu.Unlock()
		f(u.chain)
	}
}

func (u *user) round(n int, s *shop) {
	name := fmt.Sprintf("price-v%d", n)
	edited := fmt.Sprintf("edited-%d", n)
	if u.apply(strings.Replace(crashFlag, "name: price", "name: "+edited, 1)) {
		u.note(func(c *chain) { c.acked = append(c.acked, edited) })
	}
	u.token("other")
	if !u.again(func(ctx context.Context) error { return u.begin(ctx, name) }) {
		return
	}
	s.mu.Lock()
	before := s.evals
	clear(s.served)
	s.mu.Unlock()
	u.again(func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.served) == 0 || s.evals < before+1000 { // exposed, and for more than a second of evidence
			return errors.New("not yet")
		}
		return nil
	})
	if u.again(func(ctx context.Context) error { return u.rollBack(ctx, name) }) {
		u.note(func(c *chain) { c.backs = append(c.backs, name) })
	}
	var st rollout.Status
	if u.again(func(ctx context.Context) error { return u.settled(ctx, name, &st) }) && u.ctx.Err() == nil {
		told := time.Now()
		if st.State.DigestAfter != st.State.DigestBefore {
			u.chain.t.Errorf("%s: digest before %s, after %s", name, st.State.DigestBefore, st.State.DigestAfter)
		}
		u.chain.rollbacks.Add(1)
		time.Sleep(20 * time.Millisecond) // some evaluations after it was told
		s.mu.Lock()
		if s.last.After(told) {
			u.chain.t.Errorf("%s: the revoked variant was served %s after the proof was told", name, s.last.Sub(told))
		}
		s.mu.Unlock()
	}
}

// begin starts the rollout unless it has been started by a request whose answer was lost.
func (u *user) begin(ctx context.Context, name string) error {
	if _, err := u.status(ctx, name); err == nil {
		return nil
	}
	spec := strings.Replace(strings.Replace(longBake, "name: price-v2", "name: "+name, 1), "    - {name: shadow, mode: shadow, exposure: 0%, bake: 2s}\n", "", 1)
	return u.admin.Post(ctx, "/v1/apply", map[string]any{"source": spec, "file": "r.yaml"}, nil)
}

func (u *user) rollBack(ctx context.Context, name string) error {
	st, err := u.status(ctx, name)
	if err == nil && st.State.Decided.IsZero() {
		err = u.admin.Post(ctx, "/v1/rollouts/"+name+"/rollback", map[string]any{"reason": "test"}, nil)
	}
	return err
}

func (u *user) settled(ctx context.Context, name string, st *rollout.Status) (err error) {
	if *st, err = u.status(ctx, name); err == nil && st.State.Phase != rollout.RolledBack {
		err = errors.New("not yet")
	}
	return err
}

func (u *user) status(ctx context.Context, name string) (rollout.Status, error) {
	var out struct{ Status rollout.Status }
	err := u.admin.Get(ctx, "/v1/rollouts/"+name, &out)
	return out.Status, err
}

// sharedAlone are the points that only a store which servers share comes by.
var sharedAlone = []fail.Point{fail.ClaimSeen, fail.BeatDone}

// crashEverywhere lets a store of the kind go through a crash at each of the points, each at its nth time.
func crashEverywhere(t *testing.T, db string, points []fail.Point, nth func(fail.Point) int) {
	c := newChain(t, db)
	ctx, stop := context.WithCancel(context.Background())
	c.wg.Go(func() { c.use(ctx) })
	t.Cleanup(func() {
		stop()
		if c.cmd != nil {
			_ = c.cmd.Process.Kill() // it is ours
			_ = c.cmd.Wait()
		}
		c.wg.Wait()
	})
	for _, p := range points {
		armed := fmt.Sprintf("%s:%d", p, nth(p))
		served := c.start(armed)
		c.crashes(armed)
		c.cmd = nil
		if served {
			c.check(armed)
		}
	}
	if !c.start("") {
		t.Fatal("the server does not start after all crashes")
	}
	before := c.rollbacks.Load()
	until(t, "a whole round after the last crash", func() bool { return c.rollbacks.Load() > before })
	c.mu.Lock()
	t.Logf("%d crashes; acknowledged and kept: %d edits, %d rollbacks, %d tokens", len(points), len(c.acked), len(c.backs), c.tokens)
	c.mu.Unlock()
}

// TestCrashAtEveryPoint kills the server at each named point once: what was acknowledged is there, the log is whole, the server
// starts again, a rollback that was under way is proven, and nobody is served what was taken back.
func TestCrashAtEveryPoint(t *testing.T) {
	points := slices.DeleteFunc(fail.All(), func(p fail.Point) bool { return slices.Contains(sharedAlone, p) })
	first := slices.Index(points, fail.Serving) // those before it belong to the first start of a store: one chain takes them all
	chains := [][]fail.Point{points[:first], nil, nil, nil}
	for i, p := range points[first:] {
		k := 1 + i%3
		chains[k] = append(chains[k], p)
	}
	for i, list := range chains {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			crashEverywhere(t, "", list, func(fail.Point) int { return 1 })
		})
	}
}
