package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/report"
	"sluice.dev/sluice/internal/rollout"
)

var viewStart = time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)

// seen makes the view of a rollout of quickSpec in some state.
func seen(t *testing.T, change func(*rollout.Status)) rolloutView {
	t.Helper()
	p, findings := plan.Parse("spec.yaml", []byte(quickSpec("spend7d-v15", "20m")))
	if p == nil {
		t.Fatal(findings)
	}
	p.Digest = "sha256:7f3c0000000000000000000000000000000000000000000000000000000000e1"
	st := rollout.Status{Plan: p, State: rollout.State{
		Name: "spend7d-v15", Env: "production", Phase: rollout.Progressing, Sub: rollout.Baking, Stage: 1, Exposure: 50_000,
		Started: viewStart, StageSince: viewStart.Add(21 * time.Minute), Baked: 6*time.Minute + 2*time.Second,
	}}
	st.Report.Verdicts = []judge.Verdict{
		{Lane: judge.Lane{Guardrail: "errors", Dim: evidence.DimTotal}, Result: judge.Pass, Rule: "threshold", Stat: "proportion", Baseline: 0.011, Exposed: 0.012,
			Effect: 0.001, Limit: 0.1, Scale: "absolute", NBaseline: 1700, NExposed: 1690, Breached: 0, Looks: 3, Of: 3, Window: time.Second},
		{Lane: judge.Lane{Guardrail: "errors", Dim: evidence.DimSegment, Value: "region=eu"}, Result: judge.Pass},
		{Lane: judge.Lane{Guardrail: "errors", Dim: evidence.DimSegment, Value: "region=us"}, Result: judge.Inconclusive},
	}
	change(&st)
	s := st.State
	return rolloutView{Name: s.Name, Env: s.Env, Phase: s.Phase, Where: report.Where(s), Stage: report.StageName(p, s), Exposure: float64(s.Exposure) / 1000,
		Started: s.Started, Sentence: report.State(st), Status: st}
}

func failing() judge.Verdict {
	return judge.Verdict{Lane: judge.Lane{Guardrail: "errors", Dim: evidence.DimSegment, Value: "region=eu"}, Result: judge.Fail, Rule: "threshold", Stat: "proportion",
		Baseline: 0.011, Exposed: 0.31, Effect: 0.299, Limit: 0.1, Scale: "absolute", NBaseline: 170, NExposed: 168, Breached: 3, Looks: 3, Of: 3, Window: time.Second}
}

// decided takes the rollout back 24 minutes after its start.
func decided(s *rollout.Status) {
	v := failing()
	s.State.Phase, s.State.Sub, s.State.Exposure = rollout.RollingBack, rollout.Revoking, 0
	s.State.Cause = &rollout.Cause{Trigger: "guardrail:rollback", Verdict: &v, Sentence: judge.Sentence(v)}
	s.State.Decided = viewStart.Add(24 * time.Minute)
	s.Barrier = &fleet.Proof{Counts: fleet.Counts{Total: 4, Acked: 2, Unproven: 2}, Lines: []fleet.Line{
		{Component: "checkout", Instance: "checkout-1", How: fleet.ByAck}, {Component: "checkout", Instance: "checkout-2", How: fleet.Waiting, Until: viewStart.Add(25 * time.Minute)},
		{Component: "model-host", Instance: "host-1", How: fleet.ByAck}, {Component: "web", Instance: "web-1", How: fleet.Waiting, Until: viewStart.Add(25 * time.Minute)},
	}}
}

func safe(s *rollout.Status) {
	decided(s)
	s.State.Sub, s.State.SafeAt = rollout.Unwinding, s.State.Decided.Add(1908*time.Millisecond)
	s.Barrier.Counts = fleet.Counts{Total: 4, Acked: 3, Lapsed: 1}
	s.Barrier.Complete = true
	s.Barrier.Lines[1].How, s.Barrier.Lines[3].How = fleet.ByAck, fleet.ByLapse
	s.Unwind = map[string]fleet.Proof{"store": {Complete: true, Lines: []fleet.Line{{Component: "online", Instance: "online-1", How: fleet.ByAck}}},
		"writer": {Lines: []fleet.Line{{Component: "tx-agg", Instance: "tx-1", How: fleet.Waiting}}}}
}

// TestView shows the view in every kind of state; testdata/view/*.txt is reviewed by people.
func TestView(t *testing.T) {
	now := viewStart.Add(24*time.Minute + 18*time.Second)
	for _, tt := range []struct {
		name   string
		change func(*rollout.Status)
		width  int
		ascii  bool
	}{
		{name: "baking", change: func(*rollout.Status) {}},
		{name: "arming", change: func(s *rollout.Status) {
			s.State.Sub = rollout.Arming
			s.Arming = &fleet.Arming{Missing: []string{"checkout-2"}}
			s.Report = judge.Report{}
		}},
		{name: "paused", change: func(s *rollout.Status) {
			s.State.Phase, s.State.Pause = rollout.Paused, rollout.PauseInconclusive
			s.State.Cause = &rollout.Cause{Trigger: "inconclusive", Sentence: `Stage "half" baked 20m without enough evidence to pass; a person decides.`}
		}},
		{name: "revoking", change: decided},
		{name: "not-safe", change: func(s *rollout.Status) {
			decided(s)
			s.State.Phase = rollout.RollbackIncomplete
		}},
		{name: "unwinding", change: safe},
		{name: "rolled-back", change: func(s *rollout.Status) {
			safe(s)
			s.State.Phase, s.State.Sub, s.State.Ended = rollout.RolledBack, "", s.State.SafeAt.Add(time.Second)
			s.Report.Verdicts[1] = failing()
		}},
		{name: "rolled-back-ascii-80", width: 80, ascii: true, change: func(s *rollout.Status) {
			safe(s)
			s.State.Phase, s.State.Sub = rollout.RolledBack, ""
		}},
		{name: "completed", change: func(s *rollout.Status) {
			s.State.Phase, s.State.Sub, s.State.Exposure, s.State.Stage, s.State.Ended = rollout.Completed, "", 0, 2, viewStart.Add(time.Hour)
		}},
		{name: "cancelled", change: func(s *rollout.Status) {
			s.State = rollout.State{Name: "spend7d-v15", Env: "production", Phase: rollout.Cancelled, Stage: 0, Started: viewStart}
			s.Report = judge.Report{}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := view(seen(t, tt.change), now, tt.width)
			for _, l := range lines {
				if tt.width > 0 && utf8.RuneCountInString(l) > tt.width {
					t.Errorf("a line of %d characters on a screen of %d: %q", utf8.RuneCountInString(l), tt.width, l)
				}
			}
			golden(t, "view/"+tt.name+".txt", shown(screen{ascii: tt.ascii}, []byte(strings.Join(lines, "\n")+"\n")))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// TestViewFits: on no screen is a line too long or are there too many lines, and the foot stays in sight.
func TestViewFits(t *testing.T) {
	for _, change := range []func(*rollout.Status){decided, safe} {
		l := &live{g: &globals{}, name: "spend7d-v15", last: seen(t, change), asOf: viewStart}
		for width := 1; width < 130; width += 7 {
			for height := 3; height < 30; height++ {
				lines := l.lines(viewStart, width, height)
				if len(lines) > height-1 && height > 5 {
					t.Errorf("%d lines on a screen of %d", len(lines), height)
				}
				for _, line := range lines {
					if utf8.RuneCountInString(line) > width {
						t.Errorf("a line of %d characters on a screen of %d", utf8.RuneCountInString(line), width)
					}
				}
				if foot := lines[len(lines)-1]; !strings.HasPrefix("q quit", foot[:min(len(foot), 1)]) && width > 1 {
					t.Errorf("the foot is gone: %q", foot)
				}
			}
		}
	}
}

// TestLiveKeys: rolling back takes r and the exact name; everything else changes nothing on the server.
func TestLiveKeys(t *testing.T) {
	for _, tt := range []struct {
		keys    string
		asked   bool
		leave   bool
		held    bool
		note    string
		typing  bool
		typedAs string
	}{
		{keys: "q", leave: true},
		{keys: "p", held: true},
		{keys: "pp"},
		{keys: "x"},
		{keys: "rspend7d-v15\r", asked: true, note: "rollback asked for"},
		{keys: "rspend7d-v16\x7f5\r", asked: true, note: "rollback asked for"},
		{keys: "rspend7d\r", note: "not rolled back: the name is spend7d-v15"},
		{keys: "r\r", note: "not rolled back: the name is spend7d-v15"},
		{keys: "rspend7d-v15\x1b", note: "not rolled back"},
		{keys: "rspend\x03", note: "not rolled back"},
		{keys: "rq", typing: true, typedAs: "q"},
		{keys: "r\x7f\x7f", typing: true},
	} {
		t.Run(fmt.Sprintf("%q", tt.keys), func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.Path != "/v1/rollouts/spend7d-v15/rollback" {
					t.Errorf("asked %s %s", r.Method, r.URL.Path)
				}
				asked++
				_, _ = w.Write([]byte("{}"))
			}))
			defer srv.Close()
			c, err := client.New(srv.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			l := &live{g: &globals{}, c: c, name: "spend7d-v15", last: seen(t, func(*rollout.Status) {})}
			leave := false
			for _, k := range []byte(tt.keys) {
				leave = l.key(context.Background(), k)
			}
			if (asked > 0) != tt.asked || leave != tt.leave || l.held != tt.held || l.note != tt.note || l.typing != tt.typing || l.typing && l.typed != tt.typedAs {
				t.Errorf("asked %d, leave %v, held %v, note %q, typing %v %q", asked, leave, l.held, l.note, l.typing, l.typed)
			}
		})
	}
}

// TestLiveStale: a server that stops answering leaves the last view and says how old it is.
func TestLiveStale(t *testing.T) {
	l := &live{g: &globals{}, name: "x", last: seen(t, func(*rollout.Status) {}), asOf: viewStart, lost: client.ErrUnreachable}
	lines := l.lines(viewStart.Add(14*time.Second), 200, 40)
	if got, want := lines[len(lines)-1], "▲ stale: as of 02:00:00Z, 14s old; asking again"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(lines[0], "UTC 02:00:00") {
		t.Errorf("the head counts on: %q", lines[0])
	}
}

// TestDrawInPlace: each drawing goes back to where the one before began, and clears from there.
func TestDrawInPlace(t *testing.T) {
	var out bytes.Buffer
	g := &globals{raw: &out, out: newScreen(&out)}
	l := &live{g: g, name: "x", last: seen(t, func(*rollout.Status) {}), asOf: viewStart}
	l.draw(viewStart)
	first := strings.Count(out.String(), "\n")
	out.Reset()
	l.draw(viewStart)
	if want := fmt.Sprintf("\x1b[%dA\r\x1b[J", first); !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %q, want prefix %q", out.String()[:20], want)
	}
	if rest := strings.TrimPrefix(out.String(), fmt.Sprintf("\x1b[%dA\r\x1b[J", first)); strings.Contains(rest, "\x1b") {
		t.Errorf("more control characters than the two: %q", rest)
	}
}
