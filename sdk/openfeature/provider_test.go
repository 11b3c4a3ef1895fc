package sluiceof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	sluice "sluice.dev/sdk"
	sluiceof "sluice.dev/sdk/openfeature"
	"sluice.dev/sdk/slp"
)

// server speaks the members' protocol for one environment: flag model is being rolled out to everybody, limit is settled.
type server struct {
	t   *testing.T
	url string

	mu       sync.Mutex
	rev      uint64
	exposure int
	changed  chan struct{}
	evidence []slp.EvidenceRequest
}

func newServer(t *testing.T) *server {
	s := &server{t: t, rev: 1, exposure: 100_000, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/hello", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, slp.HelloAnswer{Epoch: 1, Snapshot: s.snapshot(), ServerNow: time.Now().UnixMicro()})
	})
	mux.HandleFunc("POST /v1/renew", func(w http.ResponseWriter, r *http.Request) {
		var q slp.Renew
		_ = json.NewDecoder(r.Body).Decode(&q) // a bad body has no number, and its answer is ignored
		s.answer(w, slp.Grant{Boot: q.Boot, N: q.N, Epoch: 1, Head: s.snapshot().Head, Leases: map[string]int64{"roll": 60_000}, ServerNow: time.Now().UnixMicro()})
	})
	mux.HandleFunc("POST /v1/ack", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /v1/evidence", s.take)
	mux.HandleFunc("GET /v1/snapshot", func(w http.ResponseWriter, r *http.Request) { s.answer(w, s.snapshot()) })
	mux.HandleFunc("GET /v1/watch", s.watch)
	ts := httptest.NewServer(mux)
	s.url = ts.URL
	t.Cleanup(func() { ts.CloseClientConnections(); ts.Close() })
	return s
}

func (s *server) answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.t.Error(err)
	}
}

func (s *server) take(w http.ResponseWriter, r *http.Request) {
	var q slp.EvidenceRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	s.evidence = append(s.evidence, q)
	s.mu.Unlock()
	s.answer(w, slp.EvidenceAnswer{Accepted: q.Seq, ServerNow: time.Now().UnixMicro()})
}

func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		b, _ := json.Marshal(slp.Event{Epoch: 1, Head: s.snapshot().Head})
		fmt.Fprintf(w, "event: state\ndata: %s\n\n", b)
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *server) change(exposure int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	s.exposure = exposure
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) snapshot() slp.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := map[string]map[string]json.RawMessage{
		"base": {"flag/limit": json.RawMessage(`{"key":"limit","type":"integer","variants":{"low":5},"default":"low"}`)},
		"roll": {
			"flag/model": json.RawMessage(fmt.Sprintf(`{"key":"model","type":"string","variants":{"one":"one","two":"two"},"default":"one",
				"rollout":{"id":"roll","stable":"one","candidate":"two","salt":"s","cohorts":[{"cohort":"all","exposure":%d}]}}`, s.exposure)),
			"judge/roll": json.RawMessage(`{"rollout":"roll","metrics":{"score":{"kind":"value"}}}`),
		},
	}
	out := slp.Snapshot{Env: "test", Head: slp.Head{Rev: s.rev}, Scopes: map[string]slp.ScopeMeta{}, Objects: map[string]json.RawMessage{}}
	for scope, own := range objects {
		d, err := slp.ScopeDigest(own)
		if err != nil {
			s.t.Error(err)
		}
		meta := slp.ScopeMeta{Rev: 1, Digest: d}
		if scope == "roll" {
			meta = slp.ScopeMeta{Rev: s.rev, Digest: d, Leased: true, TTLMs: 60_000}
		}
		out.Scopes[scope] = meta
		for path, raw := range own {
			out.Objects[scope+"/"+path] = raw
		}
	}
	out.Head.Digest, _ = slp.EnvDigest(out.Scopes) // scopes always have one
	return out
}

// await polls until reached.
func await(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-tick.C {
		if reached() {
			return
		}
	}
	t.Fatalf("not reached within a minute: %s", what)
}

func join(t *testing.T, s *server) (*sluice.Client, *openfeature.Client) {
	t.Helper()
	c, err := sluice.New(t.Context(), sluice.Config{URL: s.url, Component: "shop", DrainBound: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) }) // the server may be gone
	await(t, "a lease", func() bool { return c.Status().Leases["roll"] > 0 })
	if err := openfeature.SetProviderAndWait(sluiceof.New(c)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(openfeature.Shutdown)
	return c, openfeature.NewClient("test")
}

func TestValuesReasonsAndMetadata(t *testing.T) {
	_, of := join(t, newServer(t))
	unit := openfeature.NewEvaluationContext("u1", map[string]any{"region": "eu", "age": 7, "tags": []any{"a"}, "nested": map[string]any{}})
	d, err := of.StringValueDetails(t.Context(), "model", "none", unit)
	if err != nil || d.Value != "two" || d.Variant != "two" || d.Reason != openfeature.SplitReason {
		t.Errorf("%+v, %v", d, err)
	}
	if arm, _ := d.FlagMetadata.GetString("sluice.arm"); arm != "exposed" || d.FlagMetadata["version"] != int64(1) {
		t.Errorf("metadata %v", d.FlagMetadata)
	}
	if n, err := of.IntValue(t.Context(), "limit", 1, openfeature.EvaluationContext{}); err != nil || n != 5 {
		t.Errorf("limit %d, %v", n, err)
	}
	for _, tt := range []struct {
		key  string
		ctx  openfeature.EvaluationContext
		code openfeature.ErrorCode
	}{
		{"none", unit, openfeature.FlagNotFoundCode},
		{"limit", unit, openfeature.TypeMismatchCode},
		{"model", openfeature.NewEvaluationContext("u1", map[string]any{"x": string(make([]byte, 1<<20))}), openfeature.InvalidContextCode},
	} {
		d, err := of.BooleanValueDetails(t.Context(), tt.key, true, tt.ctx)
		if err == nil || !d.Value || d.ErrorCode != tt.code || d.Reason != openfeature.ErrorReason {
			t.Errorf("%s: %+v, %v; want %s", tt.key, d, err, tt.code)
		}
	}
	if d, _ := of.StringValueDetails(t.Context(), "model", "none", openfeature.EvaluationContext{}); d.Value != "none" || d.ErrorCode != openfeature.TargetingKeyMissingCode {
		t.Errorf("without unit: %+v", d)
	}
}

func TestEvaluationsAndTrackingBelongToTheRequest(t *testing.T) {
	s := newServer(t)
	c, of := join(t, s)
	ctx, req := c.Begin(t.Context(), "u1")
	if got, err := of.StringValue(ctx, "model", "none", openfeature.EvaluationContext{}); err != nil || got != "two" {
		t.Errorf("%q, %v", got, err)
	}
	of.Track(ctx, "score", openfeature.EvaluationContext{}, openfeature.NewTrackingEventDetails(0.5))
	of.Track(t.Context(), "score", openfeature.EvaluationContext{}, openfeature.NewTrackingEventDetails(0.5)) // no request: nothing
	if got, _ := of.StringValue(ctx, "model", "none", openfeature.NewTargetlessEvaluationContext(nil)); got != "two" {
		t.Errorf("again %q", got)
	}
	req.End(errors.New("failed"))
	counted := func(metric string) (n, bad uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, q := range s.evidence {
			for _, b := range q.Blocks {
				if b.Metric == metric {
					n, bad = n+b.N, bad+b.Bad
				}
			}
		}
		return n, bad
	}
	await(t, "the evidence", func() bool { n, bad := counted("error"); return n == 1 && bad == 1 })
	if n, _ := counted("score"); n != 1 {
		t.Errorf("%d scores, want the one in the request", n)
	}
}

func TestChangesAreTold(t *testing.T) {
	s := newServer(t)
	c, of := join(t, s)
	var mu sync.Mutex
	var told [][]string
	handler := func(d openfeature.EventDetails) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, d.FlagChanges)
	}
	of.AddHandler(openfeature.ProviderConfigChange, &handler)
	s.change(0)
	await(t, "the change", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(told, func(keys []string) bool { return slices.Equal(keys, []string{"model"}) })
	})
	if got, _ := of.StringValue(t.Context(), "model", "none", openfeature.NewEvaluationContext("u1", nil)); got != "one" || c.Snapshot().Head.Rev != 2 {
		t.Errorf("after the change %q", got)
	}
}

func TestWithoutConfiguration(t *testing.T) {
	ts := httptest.NewServer(http.NotFoundHandler())
	ts.Close()
	c, err := sluice.New(t.Context(), sluice.Config{URL: ts.URL, Component: "shop", Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	p := sluiceof.New(c)
	defer p.Shutdown()
	var init *openfeature.ProviderInitError
	if err := p.Init(openfeature.EvaluationContext{}); !errors.As(err, &init) || init.ErrorCode != openfeature.ProviderNotReadyCode {
		t.Errorf("Init: %v", err)
	}
	if d := p.IntEvaluation(t.Context(), "limit", 3, nil); d.Value != 3 || d.ResolutionDetail().ErrorCode != openfeature.ProviderNotReadyCode {
		t.Errorf("%+v", d)
	}
}

func TestEveryTypeOfValue(t *testing.T) {
	c, err := sluice.Fixed(map[string]any{"b": true, "s": "x", "i": 7, "f": 0.5, "o": []any{1.0, "a"}})
	if err != nil {
		t.Fatal(err)
	}
	p := sluiceof.New(c)
	ctx := t.Context()
	if d := p.BooleanEvaluation(ctx, "b", false, nil); !d.Value || d.Reason != openfeature.DefaultReason || d.FlagMetadata != nil {
		t.Errorf("%+v", d)
	}
	if d := p.FloatEvaluation(ctx, "f", 0, nil); d.Value != 0.5 {
		t.Errorf("%+v", d)
	}
	if d := p.FloatEvaluation(ctx, "i", 1, nil); d.Value != 1 || d.ResolutionDetail().ErrorCode != openfeature.TypeMismatchCode {
		t.Errorf("an integer is no float: %+v", d)
	}
	d := p.ObjectEvaluation(ctx, "o", nil, nil)
	if list, ok := d.Value.([]any); !ok || len(list) != 2 || list[1] != "a" {
		t.Errorf("%+v", d)
	}
}
