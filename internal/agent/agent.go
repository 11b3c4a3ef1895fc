// Package agent holds leases for those that cannot: a local process that answers OFREP clients on the loopback interface
// (Agent), and a wrapper around a batch job (Job).
//
// Both are one member of the fleet each, through the Go client. What they serve of a candidate is served under that
// member's lease, looked at in every evaluation, so the programs behind them are covered by the proof of a rollback up to
// the answer they were given. What a program keeps of an answer is its own: one that asks once and remembers for an hour
// is a client of yesterday's answer, whoever gave it.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/ofrep"
)

// DefaultListen is where an agent answers unless told otherwise.
const DefaultListen = "127.0.0.1:8016"

// Config says how to run an agent. URL and Component are required.
type Config struct {
	URL, Token string // of the server
	Component  string // what the programs behind the agent are in the pipeline
	Instance   string // "" means the host's name
	CacheDir   string // for a start without server; "" keeps nothing
	Listen     string // loopback address; "" means DefaultListen
	Rate       int    // evaluations a second that one program may ask for; 0 means no limit
	Log        *slog.Logger
}

// Agent answers until Stop.
type Agent struct {
	sdk    *sluice.Client
	ofrep  *ofrep.Server
	server *http.Server
	url    string
	wg     sync.WaitGroup
}

// answerBound is how long an answer may be on its way to the program that asked: the agent's drain bound.
const answerBound = time.Second

// Start joins the fleet and answers. With a cache it starts without the server, on the last settled values; without both it
// fails. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Agent, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	ln, err := listen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	a := &Agent{url: "http://" + ln.Addr().String()}
	a.ofrep = ofrep.New(ofrep.Config{
		Env:    func(*http.Request) string { return environment },
		Caller: func(r *http.Request) string { return r.Header.Get("User-Agent") },
		Rate:   cfg.Rate, Log: cfg.Log,
	})
	a.sdk, err = sluice.New(ctx, sluice.Config{
		URL: cfg.URL, Token: cfg.Token, Component: cfg.Component, Instance: cfg.Instance, CacheDir: cfg.CacheDir, DrainBound: answerBound,
		OnSwap: a.publish, Logf: func(format string, args ...any) { cfg.Log.Warn(fmt.Sprintf(format, args...)) },
	})
	if err != nil {
		a.ofrep.Close()
		return nil, errors.Join(err, ln.Close())
	}
	a.server = &http.Server{Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
	a.wg.Go(func() {
		if err := a.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("serve", "err", err)
		}
	})
	return a, nil
}

// listen refuses addresses that other machines reach: an answer carries a value for whoever asks.
func listen(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("agent: listen address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("agent: listen address %q is not on the loopback interface; use 127.0.0.1:PORT", addr)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return ln, nil
}

// environment is the one that the agent's token names; programs need not know it.
const environment = "agent"

// publish puts a snapshot in force for whoever asks from now on. The lease is asked for the very revision that is compiled
// with it, so an older one that is still being evaluated serves nothing exposed once its floor is raised.
func (a *Agent) publish(s *slp.Snapshot) {
	revs := make(map[string]uint64, len(s.Scopes))
	for scope, meta := range s.Scopes {
		revs[scope] = meta.Rev
	}
	a.ofrep.Publish(environment, ofrep.State{
		Rev: s.Head.Rev, Digest: s.Head.Digest, ScopeRev: revs,
		Objects: func() map[string]json.RawMessage { return s.Objects },
		Leased:  func(scope string) bool { return a.sdk.Leased(scope, revs[scope]) },
	})
}

// URL is where the agent answers.
func (a *Agent) URL() string { return a.url }

// Status is the state of the agent's membership.
func (a *Agent) Status() sluice.Status { return a.sdk.Status() }

// Stop leaves the fleet and stops answering. The error says what the server was not told.
func (a *Agent) Stop(ctx context.Context) error {
	err := a.sdk.Close(ctx) // ends the leases first: what is still asked gets the baseline
	a.ofrep.Close()
	err = errors.Join(err, a.server.Shutdown(ctx))
	a.wg.Wait()
	return err
}

func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	a.ofrep.Register(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, a.sdk.Status()) })
	return localOnly(mux)
}

// ready is red before the first configuration and from a lease after the server was lost.
func (a *Agent) ready(w http.ResponseWriter, _ *http.Request) {
	body := map[string]any{"ready": true, "revision": a.ofrep.Revision(environment), "ageMs": a.sdk.Age().Milliseconds()}
	status := http.StatusOK
	if err := a.sdk.Ready(); err != nil {
		status, body["ready"], body["reason"] = http.StatusServiceUnavailable, false, err.Error()
	}
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the reader is gone: nothing to do
}

// localOnly refuses requests under a name that is not this machine's: a page in a browser can make its own name point here.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			writeJSON(w, http.StatusMisdirectedRequest, map[string]string{"errorCode": "GENERAL", "errorDetails": "ask the agent as 127.0.0.1 or localhost"})
			return
		}
		next.ServeHTTP(w, r)
	})
}
