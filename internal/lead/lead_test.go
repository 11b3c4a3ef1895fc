package lead

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/store"
)

// A row is claimed only when nobody holds it, or when it has been seen unchanged for longer than its span at the worst rate
// of two clocks.
func TestRowIsClaimedAfterItsSpan(t *testing.T) {
	held := func(beat uint64) store.Leader {
		return store.Leader{Epoch: 3, Name: "a", Beat: beat, Span: 10 * time.Second}
	}
	var w watch
	for i, tt := range []struct {
		row  store.Leader
		at   time.Duration
		want bool
	}{
		{held(1), 0, false},
		{held(1), 10 * time.Second, false}, // our clock may run fast
		{held(1), 10*time.Second + 200*time.Millisecond, false},
		{held(1), 10*time.Second + 230*time.Millisecond, true},
		{held(2), 10*time.Second + 240*time.Millisecond, false}, // it lives
		{held(2), 20 * time.Second, false},
		{store.Leader{Epoch: 3, Beat: 3, Span: 10 * time.Second}, 20 * time.Second, true}, // it resigned
		{held(4), 40 * time.Second, false},
		{store.Leader{Epoch: 4, Name: "b", Beat: 5, Span: time.Second}, 41 * time.Second, false},
		{store.Leader{Epoch: 4, Name: "b", Beat: 5, Span: time.Second}, 42*time.Second + 50*time.Millisecond, true}, // its own span counts
	} {
		if got := w.see(tt.row, tt.at); got != tt.want {
			t.Errorf("row %d %+v at %s: %t, want %t", i, tt.row, tt.at, got, tt.want)
		}
	}
}

// flaky is a store whose calls fail while it is cut off.
type flaky struct {
	*store.Memory
	cut atomic.Bool
}

var errCut = errors.New("cut off")

func (f *flaky) Beat(ctx context.Context, epoch uint64) error {
	if f.cut.Load() {
		return errCut
	}
	return f.Memory.Beat(ctx, epoch)
}

func (f *flaky) Leader(ctx context.Context) (store.Leader, error) {
	if f.cut.Load() {
		return store.Leader{}, errCut
	}
	return f.Memory.Leader(ctx)
}

func (f *flaky) Resign(ctx context.Context, epoch uint64) error {
	if f.cut.Load() {
		return errCut
	}
	return f.Memory.Resign(ctx, epoch)
}

// house is several candidates on one store.
type house struct {
	mu    sync.Mutex
	lead  map[string]*Term
	begun chan string
	ended chan string
}

func (h *house) run(ctx context.Context, wg *sync.WaitGroup, name string, s Store) {
	wg.Go(func() {
		Run(ctx, Config{Store: s, Name: name, Address: "http://" + name, Span: 1500 * time.Millisecond}, func(store.Leader) {}, func(t *Term) (func(), error) {
			h.mu.Lock()
			for other, o := range h.lead {
				if o.Leads() {
					h.begun <- fmt.Sprintf("%s while %s leads", name, other)
				}
			}
			h.lead[name] = t
			h.mu.Unlock()
			h.begun <- name
			return func() { h.ended <- name }, nil
		})
	})
}

func hear(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(time.Minute):
		t.Fatal("nothing happened for a minute")
		return ""
	}
}

// One leads; when it is cut off from the store it ends by itself and another one leads with a later epoch; when that one
// stops, it resigns.
func TestOneLeadsAfterTheOther(t *testing.T) {
	m := store.NewMemory()
	a, b := &flaky{Memory: m}, &flaky{Memory: m}
	h := &house{lead: map[string]*Term{}, begun: make(chan string, 8), ended: make(chan string, 8)}
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	h.run(ctx, &wg, "a", a)
	if got := hear(t, h.begun); got != "a" {
		t.Fatalf("%s leads first", got)
	}
	bctx, stopB := context.WithCancel(t.Context())
	defer stopB()
	h.run(bctx, &wg, "b", b)
	first := h.lead["a"]
	e1, err := first.Take(ctx)
	if err != nil || !first.Leads() {
		t.Fatalf("the first leader does not lead: %v", err)
	}
	e2, err := first.Take(ctx)
	if err != nil || e2 != e1+1 {
		t.Fatalf("leading again gives epoch %d after %d, %v", e2, e1, err)
	}
	a.cut.Store(true)
	if got := hear(t, h.ended); got != "a" {
		t.Fatalf("%s ended, want a", got)
	}
	if first.Leads() {
		t.Error("the first leader still counts itself leader")
	}
	if got := hear(t, h.begun); got != "b" {
		t.Fatalf("%s, want b to lead", got)
	}
	a.cut.Store(false)
	if _, err := first.Take(ctx); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the first leader leads again: %v", err)
	}
	stopB()
	if got := hear(t, h.begun); got != "a" {
		t.Fatalf("%s, want a to lead after b resigned", got)
	}
	if l, err := m.Leader(t.Context()); err != nil || l.Name != "a" || l.Epoch <= e2+1 {
		t.Errorf("leader %+v %v", l, err)
	}
	stop()
	wg.Wait()
	if l, err := m.Leader(t.Context()); err != nil || l.Name != "" {
		t.Errorf("after all have stopped the leader is %+v %v", l, err)
	}
}

// Who cannot begin gives the lease back.
func TestWhoCannotBeginResigns(t *testing.T) {
	m := store.NewMemory()
	ctx, stop := context.WithCancel(t.Context())
	tried := make(chan string, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		Run(ctx, Config{Store: m, Name: "a", Span: 100 * time.Millisecond}, func(store.Leader) {}, func(*Term) (func(), error) {
			tried <- "tried"
			return nil, errors.New("the log is damaged")
		})
	})
	hear(t, tried)
	hear(t, tried)
	stop()
	wg.Wait()
	if l, err := m.Leader(t.Context()); err != nil || l.Name != "" || l.Epoch < 2 {
		t.Errorf("leader %+v %v", l, err)
	}
}
