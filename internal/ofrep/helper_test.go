package ofrep

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// objects are flags of every type, with everything that can decide.
func objects() map[string]json.RawMessage {
	return map[string]json.RawMessage{
		"base/flag/plain":     json.RawMessage(`{"key":"plain","type":"boolean","variants":{"on":true,"off":false},"default":"on"}`),
		"base/flag/greet":     json.RawMessage(`{"key":"greet","type":"string","variants":{"hi":"hi <b>\u00e9</b>","ho":"ho"},"default":"hi","rules":[{"name":"french","match":{"attr":{"name":"country","op":"eq","value":"FR"}},"serve":"ho"}]}`),
		"base/flag/limit":     json.RawMessage(`{"key":"limit","type":"integer","variants":{"low":-9007199254740991,"high":7},"default":"low"}`),
		"base/flag/ratio":     json.RawMessage(`{"key":"ratio","type":"float","variants":{"a":0.25,"b":1e-7},"default":"b"}`),
		"base/flag/shape":     json.RawMessage(`{"key":"shape","type":"object","variants":{"a":{"z":[1,null],"a":"x"},"b":[]},"default":"a"}`),
		"base/flag/mine":      json.RawMessage(`{"key":"mine","type":"boolean","variants":{"on":true},"default":""}`),
		"base/flag/asleep":    json.RawMessage(`{"key":"asleep","type":"boolean","variants":{"on":true},"default":"on","disabled":true}`),
		"base/flag/killed":    json.RawMessage(`{"key":"killed","type":"boolean","variants":{"on":true,"off":false},"default":"on","off":"off"}`),
		"overlay/kill/killed": json.RawMessage(`{"flag":"killed"}`),
		"eta/flag/eta": json.RawMessage(`{"key":"eta","type":"string","variants":{"v11":"eleven","v12":"twelve"},"default":"v11",
			"rollout":{"id":"eta","stable":"v11","candidate":"v12","salt":"s1","cohorts":[{"cohort":"all","exposure":100000}]}}`),
	}
}

// fixture is a server with one environment whose scope eta is leased while lease is true.
type fixture struct {
	*Server
	url   string
	lease atomic.Bool
}

func serve(t testing.TB, cfg Config) *fixture {
	t.Helper()
	f := &fixture{}
	if cfg.Env == nil {
		cfg.Env = func(r *http.Request) string {
			if e := r.URL.Query().Get("env"); e != "" {
				return e
			}
			return "production"
		}
	}
	cfg.Caller = func(r *http.Request) string { return r.Header.Get("X-Test-Caller") }
	f.Server = New(cfg)
	f.lease.Store(true)
	mux := http.NewServeMux()
	f.Register(mux)
	srv := httptest.NewServer(mux)
	f.url = srv.URL
	t.Cleanup(func() { f.Close(); srv.Close() })
	return f
}

func (f *fixture) state(rev uint64, digest string, o map[string]json.RawMessage) State {
	return State{Rev: rev, Digest: digest, ScopeRev: map[string]uint64{"base": 3, "eta": 5}, Leased: func(scope string) bool { return scope == "eta" && f.lease.Load() },
		Objects: func() map[string]json.RawMessage { return maps.Clone(o) }}
}

func (f *fixture) publish(rev uint64, digest string, o map[string]json.RawMessage) {
	f.Publish("production", f.state(rev, digest, o))
}

type answer struct {
	status int
	header http.Header
	body   string
}

// ask posts a body; headers are name, value pairs.
func (f *fixture) ask(t testing.TB, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(raw)}
}

const (
	one = "/ofrep/v1/evaluate/flags/"
	all = "/ofrep/v1/evaluate/flags"
)
