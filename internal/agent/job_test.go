package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// output is what a command writes; the test reads it while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (w *world) job(unit string, out *output, command, commit string) JobConfig {
	cfg := JobConfig{
		URL: w.app.URL(), Token: w.token, Component: "shop", Instance: "job-1", Unit: unit, Flags: []string{"price"}, Command: []string{"/bin/sh", "-c", command},
		Drain: 100 * time.Millisecond, Grace: 30 * time.Second, Out: out, Err: out,
	}
	if commit != "" {
		cfg.Commit = []string{"/bin/sh", "-c", commit}
	}
	return cfg
}

// exposedUnit is one that the member serves the candidate.
func (w *world) exposedUnit() string {
	w.Helper()
	a := w.agent()
	w.expose(a.URL())
	return "account-" + jsonOf(w.members()[0])
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v) // numbers always have JSON
	return string(b)
}

// TestJobIsPinnedAndCommits: the decision is in environment and file, and a job whose lease holds commits.
func TestJobIsPinnedAndCommits(t *testing.T) {
	w := newWorld(t)
	unit := w.exposedUnit()
	dir := t.TempDir()
	t.Setenv("RESULT", filepath.Join(dir, "result"))
	var out output
	code, err := RunJob(context.Background(), w.job(unit, &out, `echo "$SLUICE_FLAG_PRICE $SLUICE_UNIT $SLUICE_REVISION"; cat "$SLUICE_STATE"; echo "$SLUICE_BAGGAGE"`, `echo "$SLUICE_FLAG_PRICE" > "$RESULT"`))
	if err != nil || code != 0 {
		t.Fatalf("code %d, %v: %s", code, err, &out)
	}
	for _, want := range []string{"v2 " + unit + " ", `"state": "held"`, `"arm": "exposed"`, "slc=1.", ".exposed."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the command was not told %q:\n%s", want, out.String())
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "result")); err != nil || string(got) != "v2\n" {
		t.Errorf("committed %q, %v", got, err)
	}
}

// TestRevokedJobDrainsAndCommitsNothing: on a rollback the state file says draining, the command gets SIGTERM and may clean
// up, the commit is not begun, and the rollback is proven by the job's own acknowledgement.
func TestRevokedJobDrainsAndCommitsNothing(t *testing.T) {
	w := newWorld(t)
	unit := w.exposedUnit()
	dir := t.TempDir()
	t.Setenv("RESULT", filepath.Join(dir, "result"))
	var out output
	type ended struct {
		code int
		err  error
	}
	done := make(chan ended, 1)
	command := `trap 'grep state "$SLUICE_STATE"; echo cleaned up; exit 0' TERM; echo started; while :; do sleep 0.05; done`
	go func() {
		code, err := RunJob(context.Background(), w.job(unit, &out, command, `touch "$RESULT"`))
		done <- ended{code, err}
	}()
	w.await("the command", func() bool { return strings.Contains(out.String(), "started") })
	if got := w.rollback().Barrier.Counts; got.Unproven != 0 || got.Total != 3 {
		t.Errorf("proof: %+v", got)
	}
	if e := <-done; !errors.Is(e.err, ErrRevoked) {
		t.Errorf("code %d, %v; want ErrRevoked", e.code, e.err)
	}
	if s := out.String(); !strings.Contains(s, `"draining"`) || !strings.Contains(s, "cleaned up") {
		t.Errorf("the command was not drained:\n%s", s)
	}
	if _, err := os.Stat(filepath.Join(dir, "result")); err == nil {
		t.Error("the revoked job committed")
	}
}

// TestJobLosesItsLeaseWhileItCommits: the commit is killed.
func TestJobLosesItsLeaseWhileItCommits(t *testing.T) {
	w := newWorld(t)
	unit := w.exposedUnit()
	dir := t.TempDir()
	t.Setenv("RESULT", filepath.Join(dir, "result"))
	var out output
	done := make(chan error, 1)
	go func() {
		_, err := RunJob(context.Background(), w.job(unit, &out, "true", `trap '' TERM; echo committing; sleep 300; touch "$RESULT"`))
		done <- err
	}()
	w.await("the commit", func() bool { return strings.Contains(out.String(), "committing") })
	w.rollback()
	if err := <-done; !errors.Is(err, ErrRevoked) {
		t.Errorf("%v, want ErrRevoked", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "result")); err == nil {
		t.Error("the commit went on without a lease")
	}
}

func TestJobReturnsTheCommandsExitCode(t *testing.T) {
	w := newWorld(t)
	var out output
	if code, err := RunJob(context.Background(), w.job("u", &out, "exit 7", "echo never")); err != nil || code != 7 {
		t.Errorf("code %d, %v; want 7", code, err)
	}
	if strings.Contains(out.String(), "never") {
		t.Error("a command that failed was committed")
	}
	cfg := w.job("u", &out, "true", "")
	cfg.Command = []string{filepath.Join(t.TempDir(), "none")}
	if _, err := RunJob(context.Background(), cfg); err == nil {
		t.Error("a command that does not exist ran")
	}
	cfg = w.job("u", &out, "true", "")
	cfg.Flags = []string{"none"}
	if _, err := RunJob(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("an unknown flag: %v", err)
	}
}

func TestEnvName(t *testing.T) {
	for key, want := range map[string]string{"price": "SLUICE_FLAG_PRICE", "spend7d.v-2": "SLUICE_FLAG_SPEND7D_V_2"} {
		if got := envName(key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}
