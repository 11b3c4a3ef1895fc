package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
)

// The test binary is also the agent that is stopped and killed.
func TestMain(m *testing.M) {
	if os.Getenv("SLUICE_TEST_ROLE") == "agent" {
		runUntilKilled()
	}
	os.Exit(m.Run())
}

func runUntilKilled() {
	a, err := Start(context.Background(), Config{
		URL: os.Getenv("SLUICE_TEST_URL"), Token: os.Getenv("SLUICE_TEST_TOKEN"), Component: "shop", Instance: os.Getenv("SLUICE_TEST_INSTANCE"), Listen: "127.0.0.1:0",
	})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(a.URL())
	select {}
}

const flagSpec = `apiVersion: sluice/v1
kind: Flag
metadata: {name: price}
spec: {type: string, variants: {v1: v1, v2: v2}, default: v1}
`

const rolloutSpec = `apiVersion: sluice/v1
kind: Rollout
metadata: {name: price-v2}
spec:
  environment: production
  hypothesis: {statement: "v2 is as good"}
  ownership: {owner: "user:owner-a"}
  change: {flag: {key: price, stable: v1, candidate: v2}}
  guardrails:
    - {name: errors, signal: "sdk:errors", test: {kind: always-valid, worseBy: 5pp}, onNoData: {after: 1h, do: pause}}
  metrics:
    error: {kind: proportion, settle: 1s}
  stages:
    - {name: shadow, mode: shadow, exposure: 0%, bake: 2s}
    - {name: s, exposure: 24%, bake: 1h}
    - {name: full, exposure: 100%, holdback: 5%, bake: 3s}
  rollback: {signal: {leaseTTL: 2s, completeWithin: 10s, unwindWithin: 30s}, downstream: {drain: 200ms}}
`

// world is a server with the flag, and a member that has traffic so that stages can end.
type world struct {
	*testing.T
	app    *app.App
	client *client.Client
	token  string
	sdk    *sluice.Client
	ended  sync.Once
}

// stop ends the server, once.
func (w *world) stop() {
	w.ended.Do(func() {
		if err := w.app.Stop(context.Background()); err != nil {
			w.Logf("stop the server: %v", err)
		}
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := context.Background()
	a, err := app.Start(ctx, app.Config{Listen: "127.0.0.1:0", Version: "test", Tick: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, app: a}
	t.Cleanup(w.stop)
	if w.client, err = client.New(a.URL(), a.AdminToken()); err != nil {
		t.Fatal(err)
	}
	if w.token, err = a.Token(ctx, "shop", policy.Component, ""); err != nil {
		t.Fatal(err)
	}
	w.apply(flagSpec)
	w.sdk, err = sluice.New(ctx, sluice.Config{URL: a.URL(), Token: w.token, Instance: "traffic-1", Component: "shop", DrainBound: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { w.trade(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		_ = w.sdk.Close(ctx) // the server may be gone
	})
	return w
}

func (w *world) apply(source string) {
	w.Helper()
	if err := w.client.Post(context.Background(), "/v1/apply", map[string]any{"source": source, "file": "x.yaml"}, nil); err != nil {
		w.Fatal(err)
	}
}

func (w *world) trade(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	price := w.sdk.Flag("price")
	for i := 0; ctx.Err() == nil; i++ {
		<-tick.C
		rctx, req := w.sdk.Begin(ctx, fmt.Sprintf("account-%d", i))
		price.Detail(rctx)
		req.End(nil)
	}
}

const units = 200

// members lists the units that the member itself serves the candidate.
func (w *world) members() (list []int) {
	price := w.sdk.Flag("price")
	for i := range units {
		if price.For(context.Background(), flag.NewContext(fmt.Sprintf("account-%d", i))).Served == flag.ArmExposed {
			list = append(list, i)
		}
	}
	return list
}

// candidates lists the units that an agent serves the candidate.
func (w *world) candidates(url string) (list []int) {
	w.Helper()
	for i := range units {
		var out struct{ Value string }
		if status := ask(w.T, url+"/ofrep/v1/evaluate/flags/price", fmt.Sprintf("account-%d", i), &out); status != http.StatusOK {
			w.Fatalf("status %d", status)
		}
		if out.Value == "v2" {
			list = append(list, i)
		}
	}
	return list
}

func ask(t *testing.T, url, unit string, out any) int {
	t.Helper()
	body := fmt.Sprintf(`{"context":{"targetingKey":%q}}`, unit)
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return resp.StatusCode
}

// expose starts the rollout and waits until the agent serves the member's very units.
func (w *world) expose(url string) {
	w.Helper()
	w.apply(rolloutSpec)
	w.await("the same units as a member", func() bool {
		want := w.members()
		return len(want) > 20 && slices.Equal(w.candidates(url), want)
	})
}

func (w *world) await(what string, reached func() bool) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); <-tick.C {
		if reached() {
			return
		}
	}
	w.Fatalf("not reached in time: %s", what)
}

// rollback takes the rollout back and returns how its end was proven.
func (w *world) rollback() rollout.Status {
	w.Helper()
	if err := w.client.Post(context.Background(), "/v1/rollouts/price-v2/rollback", map[string]any{"reason": "test"}, nil); err != nil {
		w.Fatal(err)
	}
	var out struct{ Status rollout.Status }
	w.await("the end of the rollback", func() bool {
		if err := w.client.Get(context.Background(), "/v1/rollouts/price-v2", &out); err != nil {
			w.Fatal(err)
		}
		return out.Status.State.Phase == rollout.RolledBack
	})
	return out.Status
}

func (w *world) agent() *Agent {
	w.Helper()
	a, err := Start(context.Background(), Config{URL: w.app.URL(), Token: w.token, Component: "shop", Instance: "agent-1", Listen: "127.0.0.1:0"})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = a.Stop(ctx) // the server may be gone
	})
	return a
}

func (w *world) process(instance string) (url string, cmd *exec.Cmd) {
	w.Helper()
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	cmd = exec.Command(self)
	cmd.Env = append(os.Environ(), "SLUICE_TEST_ROLE=agent", "SLUICE_TEST_URL="+w.app.URL(), "SLUICE_TEST_TOKEN="+w.token, "SLUICE_TEST_INSTANCE="+instance)
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Kill() // it is ours and may have ended
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "http://") {
		w.Fatalf("the agent says %q: %v", line, err)
	}
	return strings.TrimSpace(line), cmd
}

// TestAgentIsAProvenMember: an agent serves the candidate to the units of any member, acknowledges the rollback, and serves
// nobody the candidate after it.
func TestAgentIsAProvenMember(t *testing.T) {
	w := newWorld(t)
	a := w.agent()
	w.expose(a.URL())
	if got := w.rollback().Barrier.Counts; got.Total != 2 || got.Acked != 2 {
		t.Errorf("proof: %+v, want two acknowledged", got)
	}
	if got := w.candidates(a.URL()); len(got) > 0 {
		t.Errorf("%d units get the candidate after the rollback", len(got))
	}
	var ready struct{ Ready bool }
	if resp, err := http.Get(a.URL() + "/readyz"); err != nil || resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&ready) != nil || !ready.Ready {
		t.Errorf("readyz: %v, %+v", err, ready)
	}
}

// TestStoppedAndKilledAgents: an agent that is stopped is proven by the end of its lease, and serves the baseline when it
// wakes up; one that is killed is proven in the same way.
func TestStoppedAndKilledAgents(t *testing.T) {
	w := newWorld(t)
	stopped, cmd := w.process("agent-stopped")
	killed, victim := w.process("agent-killed")
	w.expose(stopped)
	if len(w.candidates(killed)) == 0 {
		t.Error("the agent that will be killed serves no candidate")
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := w.rollback().Barrier.Counts; got.Total != 3 || got.Acked != 1 || got.Lapsed != 2 || got.Unproven != 0 {
		t.Errorf("proof: %+v, want one acknowledged and two by lease end", got)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := w.candidates(stopped); len(got) > 0 {
		t.Errorf("%d units get the candidate from the agent that slept", len(got))
	}
	if _, err := http.Get(killed + "/healthz"); err == nil {
		t.Error("the killed agent answers")
	}
}

// TestAgentWithoutServerServesTheBaseline once its lease is over, and says that it is not ready.
func TestAgentWithoutServerServesTheBaseline(t *testing.T) {
	w := newWorld(t)
	a := w.agent()
	w.expose(a.URL())
	w.stop()
	w.await("the end of the lease", func() bool { return len(w.candidates(a.URL())) == 0 })
	w.await("red readiness", func() bool {
		resp, err := http.Get(a.URL() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	var out struct {
		Value    string
		Metadata map[string]any
	}
	if status := ask(t, a.URL()+"/ofrep/v1/evaluate/flags/price", "account-1", &out); status != http.StatusOK || out.Value != "v1" {
		t.Errorf("settled: %d %+v", status, out)
	}
}

func TestAgentIsForThisMachineOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:80", ":0", "example.org:80", "nonsense"} {
		if _, err := Start(context.Background(), Config{URL: "http://127.0.0.1:1", Component: "x", Listen: addr}); err == nil || !strings.Contains(err.Error(), "listen address") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	h := localOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for host, want := range map[string]int{
		"127.0.0.1:8016": 204, "localhost": 204, "[::1]:80": 204, "evil.example:8016": 421, "127.0.0.1.evil.example": 421, "10.0.0.1": 421, "": 421,
	} {
		r, err := http.NewRequest(http.MethodGet, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		rec := &recorder{header: http.Header{}}
		h.ServeHTTP(rec, r)
		if rec.status != want {
			t.Errorf("host %q: status %d, want %d", host, rec.status, want)
		}
	}
}

type recorder struct {
	header http.Header
	status int
	bytes.Buffer
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }

// TestAgentStartsFromItsCache without the server, on settled values.
func TestAgentStartsFromItsCache(t *testing.T) {
	w := newWorld(t)
	cfg := Config{URL: w.app.URL(), Token: w.token, Component: "shop", Instance: "agent-1", Listen: "127.0.0.1:0", CacheDir: filepath.Join(t.TempDir(), "cache")}
	a, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.await("the cache", func() bool { files, _ := filepath.Glob(filepath.Join(cfg.CacheDir, "*.json")); return len(files) == 1 })
	if err := a.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	w.stop()
	again, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Value string }
	if status := ask(t, again.URL()+"/ofrep/v1/evaluate/flags/price", "account-1", &out); status != http.StatusOK || out.Value != "v1" {
		t.Errorf("from the cache: %d %+v", status, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = again.Stop(ctx) // there is nobody to say goodbye to
}
