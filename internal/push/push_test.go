package push

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fleet"
)

// ctl takes events as control would.
type ctl struct {
	mu     sync.Mutex
	events []engine.Event
	err    error
	got    chan struct{}
}

func (c *ctl) Do(_ context.Context, ev engine.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, ev)
	select {
	case c.got <- struct{}{}:
	default:
	}
	return c.err
}

const boot1 = "0123456789abcdef0123456789abcdef"

func serve(t *testing.T) (*Server, *ctl, string) {
	t.Helper()
	s := New(Config{Env: func(*http.Request) string { return "production" }, PinKeys: func(string) []slp.PinKey { return []slp.PinKey{{ID: "1", Key: []byte("secret")}} }})
	c := &ctl{got: make(chan struct{}, 64)}
	mux := http.NewServeMux()
	s.Register(mux)
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { s.Close(); srv.Close() })
	s.Run(c)
	s.Publish(view(3, map[string]time.Duration{"r": 2 * time.Second}))
	return s, c, srv.URL
}

func view(rev uint64, leases map[string]time.Duration) engine.View {
	head := slp.Head{Rev: rev, Digest: fmt.Sprint("sha256:", rev)}
	return engine.View{Env: "production", GrantView: fleet.GrantView{Epoch: 1, Head: head, Floors: map[string]uint64{}, Leases: leases}, Event: slp.Event{Epoch: 1, Head: head}}
}

func post(t *testing.T, url string, body, out any) (status int, code string) {
	t.Helper()
	raw, ok := body.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ Code string }
	_ = json.Unmarshal(b, &p) // an answer without a code has none
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, p.Code
}

func hello() slp.Hello {
	return slp.Hello{Instance: "shop-1", Boot: boot1, Component: "shop", Class: slp.ClassReader, WMs: 100}
}

func TestHelloRenewAck(t *testing.T) {
	s, c, url := serve(t)
	if status, code := post(t, url+"/v1/renew", slp.Renew{Boot: boot1, N: 1}, nil); status != http.StatusGone || code != "boot_unknown" {
		t.Errorf("renew before hello: %d %s, want 410 boot_unknown", status, code)
	}
	var a slp.HelloAnswer
	if status, _ := post(t, url+"/v1/hello", hello(), &a); status != 200 || a.Snapshot.Head.Rev != 0 && a.Epoch != 1 || len(a.PinKeys) != 1 || a.ServerNow == 0 {
		t.Errorf("hello: %d %+v", status, a)
	}
	var g slp.Grant
	if status, _ := post(t, url+"/v1/renew", slp.Renew{Boot: boot1, N: 2}, &g); status != 200 || g.N != 2 || g.Boot != boot1 || g.Leases["r"] != 2000 || g.Head.Rev != 3 {
		t.Errorf("grant: %d %+v", status, g)
	}
	s.Stop("production", "r")
	var after slp.Grant
	if post(t, url+"/v1/renew", slp.Renew{Boot: boot1, N: 3}, &after); after.N != 3 || len(after.Leases) != 0 {
		t.Errorf("granted after Stop: %+v", after)
	}
	acks := slp.AckRequest{Instance: "shop-1", Boot: boot1, Acks: []slp.Ack{{Scope: "r", Rev: 3, Stage: slp.StageActivated}}}
	for range 3 { // repeats are not handed on
		if status, _ := post(t, url+"/v1/ack", acks, nil); status != http.StatusNoContent {
			t.Errorf("ack: %d", status)
		}
	}
	<-c.got // the hello
	<-c.got // the ack
	c.mu.Lock()
	defer c.mu.Unlock()
	handed := 0
	for _, ev := range c.events {
		if a, ok := ev.(engine.Acks); ok {
			handed += len(a.List)
		}
	}
	if handed != 1 {
		t.Errorf("%d acks were handed on, want one", handed)
	}
}

func TestMembersBadInput(t *testing.T) {
	_, c, url := serve(t)
	change := func(f func(*slp.Hello)) slp.Hello { h := hello(); f(&h); return h }
	for _, tt := range []struct {
		name, path string
		body       any
		status     int
		code       string
	}{
		{"no instance", "hello", change(func(h *slp.Hello) { h.Instance = "" }), 422, "hello.instance"},
		{"instance with a line end", "hello", change(func(h *slp.Hello) { h.Instance = "a\nb" }), 422, "hello.instance"},
		{"component of 200 letters", "hello", change(func(h *slp.Hello) { h.Component = strings.Repeat("x", 200) }), 422, "hello.component"},
		{"boot of another form", "hello", change(func(h *slp.Hello) { h.Boot = "1" }), 422, "hello.boot"},
		{"unknown class", "hello", change(func(h *slp.Hello) { h.Class = "king" }), 422, "hello.class"},
		{"unknown guard", "hello", change(func(h *slp.Hello) { h.Caps.Guard = "hope" }), 422, "hello.guard"},
		{"negative W", "hello", change(func(h *slp.Hello) { h.WMs = -1 }), 422, "hello.w"},
		{"not JSON", "renew", []byte("{"), 400, "json.invalid"},
		{"too large", "renew", bytes.Repeat([]byte(" "), maxRenew+1), 413, "body.size"},
		{"evidence with a wrong sum", "evidence", []byte(`{"instance":"shop-1","boot":"` + boot1 + `","seq":1,"through":1,"blocks":[{"second":1,"rollout":"r","cohort":"c","revision":1,"exposure":1,"lease":"held","assigned":"exposed","served":"exposed","metric":"m","n":1,"bad":2,"open":0}]}`), 422, "evidence.bad"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, code := post(t, url+"/v1/"+tt.path, tt.body, nil); status != tt.status || code != tt.code {
				t.Errorf("got %d %s, want %d %s", status, code, tt.status, tt.code)
			}
		})
	}
	if len(c.events) != 0 {
		t.Errorf("bad input reached the engine: %+v", c.events)
	}
}

// TestNotYetLeading: a member is told to come again, not that it is unknown.
func TestNotYetLeading(t *testing.T) {
	s := New(Config{Env: func(*http.Request) string { return "production" }})
	mux := http.NewServeMux()
	s.Register(mux)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	if status, code := post(t, srv.URL+"/v1/hello", hello(), nil); status != 503 || code != "not_leader" {
		t.Errorf("got %d %s, want 503 not_leader", status, code)
	}
}

// TestHelloIsDurableFirst: a boot whose Hello could not be stored gets no lease.
func TestHelloIsDurableFirst(t *testing.T) {
	_, c, url := serve(t)
	c.err = errors.New("disk full")
	if status, _ := post(t, url+"/v1/hello", hello(), nil); status != 503 {
		t.Errorf("hello: %d, want 503", status)
	}
	if status, _ := post(t, url+"/v1/renew", slp.Renew{Boot: boot1, N: 1}, nil); status != http.StatusGone {
		t.Errorf("renew: %d, want 410", status)
	}
}

type stream struct {
	t    *testing.T
	sc   *bufio.Scanner
	stop context.CancelFunc
}

func watching(t *testing.T, url string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/watch?instance=shop-1&boot="+boot1, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); resp.Body.Close() })
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("content type %q", ct)
	}
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 1<<20)
	return &stream{t, sc, cancel}
}

// next returns the next event that is no ping.
func (s *stream) next() (e slp.Event) {
	s.t.Helper()
	for s.sc.Scan() {
		line := s.sc.Text()
		if k, ok := strings.CutPrefix(line, "event: "); ok {
			e.Kind = k
		}
		if d, ok := strings.CutPrefix(line, "data: "); ok {
			kind := e.Kind
			if err := json.Unmarshal([]byte(d), &e); err != nil {
				s.t.Fatal(err)
			}
			e.Kind = kind
		}
		if line == "" && e.Kind != "" && e.Kind != slp.EventPing {
			return e
		}
	}
	s.t.Fatalf("the stream ended: %v", s.sc.Err())
	return e
}

// TestWatch: the first event is the state, with what is being armed; then what is broadcast, in order.
func TestWatch(t *testing.T) {
	s, _, url := serve(t)
	v := view(4, nil)
	v.Prepares = []*slp.Prepare{{Scope: "r", Digest: "sha256:next"}}
	s.Publish(v)
	w := watching(t, url)
	if e := w.next(); e.Kind != slp.EventState || e.Head.Rev != 4 || e.Epoch != 1 {
		t.Errorf("first event: %+v", e)
	}
	if e := w.next(); e.Kind != slp.EventPrepare || e.Prepare == nil || e.Prepare.Digest != "sha256:next" {
		t.Errorf("second event: %+v", e)
	}
	for rev := uint64(5); rev < 8; rev++ {
		s.Broadcast("production", slp.Event{Kind: slp.EventCommit, Epoch: 1, Head: slp.Head{Rev: rev}})
	}
	for rev := uint64(5); rev < 8; rev++ {
		if e := w.next(); e.Kind != slp.EventCommit || e.Head.Rev != rev {
			t.Errorf("got %+v, want the commit of %d", e, rev)
		}
	}
}

// TestSlowWatcherLosesItsQueueNotItsState: what overflowed is replaced by one state event.
func TestSlowWatcherLosesItsQueueNotItsState(t *testing.T) {
	h := newHub()
	w := h.join()
	w.take()
	for rev := range uint64(maxQueue + 5) {
		h.broadcast(slp.Event{Kind: slp.EventCommit, Head: slp.Head{Rev: rev}})
	}
	frames, resync := w.take()
	if !resync || len(frames) > maxQueue {
		t.Errorf("resync %v with %d frames", resync, len(frames))
	}
	if !strings.Contains(string(frames[len(frames)-1]), fmt.Sprintf(`"rev":%d`, maxQueue+4)) {
		t.Errorf("the newest event is lost: %s", frames[len(frames)-1])
	}
	if _, resync := w.take(); resync {
		t.Error("a second resync without a cause")
	}
}

// heads signs by writing "ours" before the number.
type heads struct{}

func (heads) Sign(env string, epoch uint64, h slp.Head) string {
	return fmt.Sprintf("ours %s %d %d", env, epoch, h.Rev)
}

func (heads) Open(env, signed string) (epoch uint64, h slp.Head, ok bool) {
	n, err := fmt.Sscanf(signed, "ours "+env+" %d %d", &epoch, &h.Rev)
	return epoch, h, err == nil && n == 2
}

// TestOnlyASignedHeadIsAmnesia: every answer and event carries the signed head, and a Hello that claims more is told apart by it.
func TestOnlyASignedHeadIsAmnesia(t *testing.T) {
	s, c, url := serve(t)
	s.cfg.Heads = heads{}
	v := view(4, nil)
	v.Epoch = 2
	s.Publish(v)
	var a slp.HelloAnswer
	if status, _ := post(t, url+"/v1/hello", hello(), &a); status != 200 || a.Sig != "ours production 2 4" {
		t.Fatalf("hello is answered %d with signature %q", status, a.Sig)
	}
	var g slp.Grant
	if status, _ := post(t, url+"/v1/renew", slp.Renew{Instance: "shop-1", Boot: boot1, N: 1}, &g); status != 200 || g.Sig != a.Sig {
		t.Errorf("renew is answered %d with signature %q", status, g.Sig)
	}
	for name, tt := range map[string]struct {
		rev    uint64
		signed string
		code   string
		want   engine.Event
	}{
		"signed above":           {9, "ours production 7 9", "amnesia", engine.Forgotten{Env: "production", Lost: engine.Lost{Instance: "shop-1", Epoch: 7, Rev: 9}}},
		"unsigned":               {9, "", "head.unsigned", nil},
		"signed by another":      {9, "theirs production 7 9", "head.unsigned", nil},
		"of another environment": {9, "ours staging 7 9", "head.unsigned", nil},
		"signed at the head":     {9, "ours production 2 4", "head.unsigned", nil},
	} {
		q := hello()
		q.Seen = slp.Seen{Rev: tt.rev, Signed: tt.signed}
		if tt.want == nil {
			tt.want = engine.Claimed{Env: "production", Hello: q}
		}
		if status, code := post(t, url+"/v1/hello", q, nil); status != 409 || code != tt.code {
			t.Errorf("%s: got %d %s, want 409 %s", name, status, code, tt.code)
		}
		c.mu.Lock()
		if got := c.events[len(c.events)-1]; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: the engine is told %+v, want %+v", name, got, tt.want)
		}
		c.mu.Unlock()
	}
	for _, q := range []slp.Renew{
		{Instance: "shop-1", Boot: boot1, N: 2, Active: map[string]uint64{"r": 5}},
		{Instance: "shop-1", Boot: boot1, N: 2, Floors: map[string]uint64{"r": 5}},
	} {
		if status, code := post(t, url+"/v1/renew", q, nil); status != 409 || code != "amnesia" {
			t.Errorf("a renewal above the head is answered %d %s", status, code)
		}
	}
}
