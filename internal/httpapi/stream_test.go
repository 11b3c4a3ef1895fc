package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/store"
)

// fake is a controller without goroutines: an engine whose records go to a store.
type fake struct {
	t     *testing.T
	store store.Store
	epoch uint64
	mu    sync.Mutex
	eng   *engine.Engine
}

func newFake(t *testing.T, s store.Store) *fake {
	t.Helper()
	epoch, err := s.Lead(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &fake{t: t, store: s, epoch: epoch, eng: engine.New("test", epoch, time.Now())}
}

func (f *fake) Do(ctx context.Context, ev engine.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.eng.Step(time.Now(), ev)
	if len(out.Records) > 0 {
		if _, err := f.store.Append(ctx, store.Batch{Epoch: f.epoch, Records: out.Records}); err != nil {
			return err
		}
	}
	return out.Err
}

func (f *fake) Read(_ context.Context, fn func(*engine.Engine)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(f.eng)
	return nil
}

func (f *fake) note(n int) {
	f.t.Helper()
	for range n {
		if err := f.Do(context.Background(), engine.Note{Kind: "note", Actor: "token:x", Facts: map[string]string{"n": "1"}}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// events reads a held stream until n records have been seen, and returns their sequences in order.
func events(t *testing.T, url, lastID string, n int) []uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out []uint64
	id, kind := "", ""
	for sc := bufio.NewScanner(res.Body); len(out) < n && sc.Scan(); {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "event: "):
			kind = line[7:]
		case strings.HasPrefix(line, "data: ") && kind == "record":
			var e RecordEvent
			if err := json.Unmarshal([]byte(line[6:]), &e); err != nil || strconv.FormatUint(e.Seq, 10) != id {
				t.Fatalf("event %q has id %q: %v", line, id, err)
			}
			out = append(out, e.Seq)
		}
	}
	return out
}

// TestStreamHasNoGap: whatever a reader has seen last, it gets everything after it, once and in order, also what is written
// while it reads.
func TestStreamHasNoGap(t *testing.T) {
	f := newFake(t, store.NewMemory())
	f.note(20)
	s := NewStream(f, f.store)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	t.Cleanup(s.Close)
	for _, after := range []int{0, 1, 13, 19, 20} {
		t.Run(fmt.Sprintf("after %d", after), func(t *testing.T) {
			var head int
			_ = f.Read(context.Background(), func(e *engine.Engine) { head = int(e.Seq()) })
			done := make(chan struct{})
			go func() { defer close(done); f.note(5) }()
			got := events(t, srv.URL, strconv.Itoa(after), head-after+5)
			<-done
			if len(got) != head-after+5 {
				t.Fatalf("got %d records, want %d", len(got), head-after+5)
			}
			for i, seq := range got {
				if want := uint64(after + 1 + i); seq != want {
					t.Fatalf("record %d of the stream is %d, want %d", i, seq, want)
				}
			}
		})
	}
	t.Run("after, in the address", func(t *testing.T) {
		if got := events(t, srv.URL+"?after=3", "", 2); len(got) != 2 || got[0] != 4 {
			t.Errorf("got %v, want 4 5", got)
		}
	})
}

func TestStreamEndsWithTheServer(t *testing.T) {
	f := newFake(t, store.NewMemory())
	s := NewStream(f, f.store)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	res, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	s.Close()
	for sc := bufio.NewScanner(res.Body); sc.Scan(); { // ends, or the test times out
	}
}

func TestSlowReaderLosesItsStreamNotItsRecords(t *testing.T) {
	f := newFake(t, store.NewMemory())
	s := NewStream(f, f.store)
	t.Cleanup(s.Close)
	r := s.join()
	for i := range streamQueue + 1 {
		s.tell(frame{seq: uint64(i + 1), data: []byte("x")})
	}
	select {
	case <-r.lost:
	default:
		t.Fatal("a full queue must end the stream: the reader resumes from its last record")
	}
	s.tell(frame{}) // and nobody waits for it any more
}
