package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

// pythonMember is a process of the Python client.
type pythonMember struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startPython(t *testing.T, url, token, instance string) *pythonMember {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("SKIPPED: python3 is not installed (apt-get install python3)")
	}
	root, err := filepath.Abs("../../python")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/member.py", url, token, instance)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+root)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is ours and may have ended
		_ = cmd.Wait()
	})
	m := &pythonMember{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	if line := m.line(); line != "ready" {
		t.Fatalf("the Python member says %q", line)
	}
	return m
}

func (m *pythonMember) line() string {
	m.t.Helper()
	s, err := m.out.ReadString('\n')
	if err != nil {
		m.t.Fatalf("the Python member: %v", err)
	}
	return strings.TrimSpace(s)
}

// served lists the units of account-0 to account-499 that get the candidate now.
func (m *pythonMember) served() (units []int) {
	m.t.Helper()
	if _, err := io.WriteString(m.in, "\n"); err != nil {
		m.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(m.line()), &units); err != nil {
		m.t.Fatal(err)
	}
	return units
}

// goServed is the same in this process.
func goServed(c *sluice.Client) (units []int) {
	price := c.Flag("price")
	for i := range 500 {
		ctx, req := c.Begin(context.Background(), fmt.Sprintf("account-%d", i))
		if price.Detail(ctx).Served == flag.ArmExposed {
			units = append(units, i)
		}
		req.End(nil)
	}
	return units
}

func await(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-tick.C {
		if reached() {
			return
		}
	}
	t.Fatalf("not reached within a minute: %s", what)
}

// TestPythonIsAProvenMember: processes of the Python client serve the candidate to exactly the units of the Go client. At
// the rollback the one that runs acknowledges, the one that is stopped is proven by the end of its lease, and when it
// wakes up it serves nobody the candidate. The rollout is judged on their requests.
func TestPythonIsAProvenMember(t *testing.T) {
	a, c := server(t, "")
	ctx := context.Background()
	if err := apply(t, c, crashFlag); err != nil {
		t.Fatal(err)
	}
	token, err := a.Token(ctx, "scorer", policy.Component, "")
	if err != nil {
		t.Fatal(err)
	}
	awake, asleep := startPython(t, a.URL(), token, "py-1"), startPython(t, a.URL(), token, "py-2")
	twin, err := sluice.New(ctx, sluice.Config{URL: a.URL(), Token: token, Instance: "go-1", Component: "scorer", DrainBound: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close(ctx)
	spec := strings.Replace(crashSpec, "{name: s, exposure: [5%, 10%, 15%, 20%, 22%, 24%], bake: 2s}", "{name: s, exposure: 24%, bake: 1h}", 1)
	if err := apply(t, c, spec); err != nil {
		t.Fatal(err)
	}
	await(t, "requests of both arms in the evidence, all of Python members", func() bool {
		awake.served()
		asleep.served()
		baseline, exposed := judgedRequests(t, c)
		return baseline > 500 && exposed > 100
	})
	await(t, "the same units on both sides", func() bool {
		want := goServed(twin)
		return len(want) > 80 && slices.Equal(awake.served(), want) && slices.Equal(asleep.served(), want)
	})
	if err := asleep.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := c.Post(ctx, "/v1/rollouts/price-v2/rollback", map[string]any{"reason": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	st := settled(t, c)
	if got := st.Barrier.Counts; got.Total != 3 || got.Acked != 2 || got.Lapsed != 1 || got.Unproven != 0 {
		t.Errorf("proof: got %+v, want two acknowledged and one by lease end: %+v", got, st.Barrier.Lines)
	}
	if got := awake.served(); len(got) > 0 {
		t.Errorf("the Python member that runs still serves the candidate to %d units", len(got))
	}
	if err := asleep.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := asleep.served(); len(got) > 0 {
		t.Errorf("the Python member that slept serves the candidate to %d units", len(got))
	}
}

// judgedRequests counts the requests that the rollout was judged on, by arm.
func judgedRequests(t *testing.T, c *client.Client) (baseline, exposed uint64) {
	t.Helper()
	var out struct {
		Traffic []struct{ Baseline, Exposed uint64 }
	}
	if err := c.Get(context.Background(), "/v1/rollouts/price-v2/series", &out); err != nil {
		t.Fatal(err)
	}
	for _, p := range out.Traffic {
		baseline += p.Baseline
		exposed += p.Exposed
	}
	return baseline, exposed
}
