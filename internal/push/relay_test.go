package push

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"sluice.dev/sdk/slp"
)

// TestRelay: a watcher of a follower sees what the leader says, one that comes later is brought up to date with what is being
// armed, and after a change of leader all hear the next one's state without opening their streams again.
func TestRelay(t *testing.T) {
	first, _, firstURL := serve(t)
	next, _, nextURL := serve(t)
	next.Publish(view(9, nil))
	var leader atomic.Pointer[string]
	leader.Store(&firstURL)
	var opened atomic.Int32
	cut := make(chan context.CancelFunc, 8)
	y := NewRelay(func(ctx context.Context, env string) (io.ReadCloser, error) {
		opened.Add(1)
		ctx, cancel := context.WithCancel(ctx)
		cut <- cancel
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, *leader.Load()+"/v1/watch", nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}, slog.New(slog.DiscardHandler))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/watch", func(w http.ResponseWriter, r *http.Request) { y.Watch(w, r, "production") })
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { y.Close(); srv.Close() })

	want := func(s *stream, kind string, rev uint64) {
		t.Helper()
		if e := s.next(); e.Kind != kind || e.Head.Rev != rev {
			t.Fatalf("got %s of revision %d, want %s of %d", e.Kind, e.Head.Rev, kind, rev)
		}
	}
	early := watching(t, srv.URL)
	want(early, slp.EventState, 3)
	head := slp.Head{Rev: 4}
	first.Broadcast("production", slp.Event{Kind: slp.EventPrepare, Epoch: 1, Head: head, Prepare: &slp.Prepare{Scope: "r", Digest: "sha256:next"}})
	want(early, slp.EventPrepare, 4)
	late := watching(t, srv.URL)
	want(late, slp.EventState, 4)
	want(late, slp.EventPrepare, 4)
	first.Broadcast("production", slp.Event{Kind: slp.EventCommit, Epoch: 1, Head: slp.Head{Rev: 5}, Committed: map[string]uint64{"r": 5}})
	want(early, slp.EventCommit, 5)
	want(late, slp.EventCommit, 5)
	third := watching(t, srv.URL)
	want(third, slp.EventState, 5)
	first.Broadcast("production", slp.Event{Kind: slp.EventRevoke, Epoch: 1, Head: slp.Head{Rev: 6}})
	want(third, slp.EventRevoke, 6) // what was armed is committed: nobody is told again
	if n := opened.Load(); n != 1 {
		t.Errorf("%d streams from the leader for three watchers", n)
	}
	want(early, slp.EventRevoke, 6)
	leader.Store(&nextURL)
	(<-cut)()
	want(early, slp.EventState, 9)
	want(third, slp.EventState, 9)
}

func TestFramesOfAStream(t *testing.T) {
	for text, ok := range map[string]bool{
		"id: 1.2\nevent: state\ndata: {\"epoch\":1}\n\n": true, "event: state\ndata: {\n\n": false, ":\n\n": false,
		"event: x\ndata: {\"head\":{\"rev\":1},\"floors\":{\"a\":7}}\n\n": false,
	} {
		if _, err := decodeFrame([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	y := NewRelay(func(context.Context, string) (io.ReadCloser, error) { return nil, errors.New("no leader") }, slog.New(slog.DiscardHandler))
	y.environment("production")
	y.Close() // ends although there is no leader to hear from
}
