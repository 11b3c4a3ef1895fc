package control

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/store"
)

// shaky is a store whose next Append can be made to fail, before or after it has written.
type shaky struct {
	*store.Memory
	mu    sync.Mutex
	fail  error
	after bool // the batch is written, and the answer is lost
}

func (s *shaky) Append(ctx context.Context, b store.Batch) (audit.TreeHead, error) {
	s.mu.Lock()
	fail, after := s.fail, s.after
	s.fail = nil
	s.mu.Unlock()
	if fail != nil && !after {
		return audit.TreeHead{}, fail
	}
	head, err := s.Memory.Append(ctx, b)
	if fail != nil {
		return audit.TreeHead{}, fail
	}
	return head, err
}

// path notes what control tells the grant path, in order.
type path struct {
	mu   sync.Mutex
	said []string
	view engine.View
}

func (p *path) note(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, s)
}

func (p *path) Stop(_, scope string) { p.note("stop " + scope) }
func (p *path) Publish(v engine.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.view = v
}
func (p *path) Broadcast(_ string, e slp.Event) { p.note(e.Kind) }
func (p *path) Seen() map[string][]engine.Seen  { return nil }

func (p *path) heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said)
}

func begin(t *testing.T) (*Controller, *shaky, *path) {
	t.Helper()
	s, p := &shaky{Memory: store.NewMemory()}, &path{}
	c, err := Start(context.Background(), Config{Store: s, Grants: p, Version: "test", Tick: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.Do(context.Background(), engine.CreateEnv{Name: "production", Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	return c, s, p
}

func edit(t *testing.T, key string) engine.Edit {
	t.Helper()
	e, err := engine.Seed("production", "test", flag.Flag{Key: key, Type: flag.Bool, Default: "off", Variants: map[string]json.RawMessage{"off": json.RawMessage("false")}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func head(t *testing.T, c *Controller) (rev, seq uint64) {
	t.Helper()
	if err := c.Read(context.Background(), func(e *engine.Engine) {
		env, err := e.Environment("production")
		if err != nil {
			t.Error(err)
		}
		rev, seq = env.Number, e.Seq()
	}); err != nil {
		t.Fatal(err)
	}
	return rev, seq
}

// TestFailedAppendIsAsIfNothingHappened: nobody is told, and the engine is back at what the store knows.
func TestFailedAppendIsAsIfNothingHappened(t *testing.T) {
	c, s, p := begin(t)
	rev, seq := head(t, c)
	told := len(p.heard())
	broken := errors.New("the disk says no")
	s.mu.Lock()
	s.fail = broken
	s.mu.Unlock()
	if err := c.Do(context.Background(), edit(t, "a")); !errors.Is(err, broken) {
		t.Fatalf("got %v, want the store's error", err)
	}
	if r, q := head(t, c); r != rev || q != seq {
		t.Errorf("engine at revision %d record %d, the store at %d and %d", r, q, rev, seq)
	}
	if got := p.heard(); len(got) != told {
		t.Errorf("members were told %v of what is not durable", got[told:])
	}
	if err := c.Do(context.Background(), edit(t, "a")); err != nil {
		t.Fatalf("the next one: %v", err)
	}
	if r, q := head(t, c); r != rev+1 || q != seq+1 {
		t.Errorf("after it: revision %d record %d, want %d and %d", r, q, rev+1, seq+1)
	}
}

// TestLostAnswerOfAppend: the batch is durable and control does not know; after recovery the engine stands where the store does.
func TestLostAnswerOfAppend(t *testing.T) {
	c, s, _ := begin(t)
	rev, seq := head(t, c)
	s.mu.Lock()
	s.fail, s.after = errors.New("connection reset"), true
	s.mu.Unlock()
	if err := c.Do(context.Background(), edit(t, "a")); err == nil {
		t.Fatal("no error")
	}
	if r, q := head(t, c); r != rev+1 || q != seq+1 {
		t.Errorf("engine at revision %d record %d, the store at %d and %d", r, q, rev+1, seq+1)
	}
	recs, err := s.Records(context.Background(), store.Query{Kind: "config.edit"})
	if err != nil || len(recs) != 1 {
		t.Errorf("%d records of the edit, %v; want one", len(recs), err)
	}
}

// TestRefusedEventWritesNothing and is told to the caller.
func TestRefusedEventWritesNothing(t *testing.T) {
	c, _, p := begin(t)
	rev, seq := head(t, c)
	told := len(p.heard())
	var r *engine.Refusal
	if err := c.Do(context.Background(), engine.Edit{Env: "production", Delete: []string{"flag/none"}}); !errors.As(err, &r) || r.Code != "object.unknown" {
		t.Fatalf("got %v", err)
	}
	if gr, gq := head(t, c); gr != rev || gq != seq || len(p.heard()) != told {
		t.Error("a refused event left something behind")
	}
}

// TestStoppedControllerAnswers instead of hanging.
func TestStoppedControllerAnswers(t *testing.T) {
	s, p := &shaky{Memory: store.NewMemory()}, &path{}
	c, err := Start(context.Background(), Config{Store: s, Grants: p, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c.Stop()
	if err := c.Do(context.Background(), engine.CreateEnv{Name: "x"}); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want ErrStopped", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Read(ctx, func(*engine.Engine) {}); err == nil {
		t.Error("a read of a stopped controller succeeded")
	}
}
