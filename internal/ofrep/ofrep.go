// Package ofrep answers clients that are not ours: the OpenFeature Remote Evaluation Protocol (OFREP 0.3.0), single and
// bulk, with entity tags and change hints by server-sent events. Flags are evaluated here, on the snapshot that was
// published last, by the very code that members run.
//
// These clients hold no lease. A candidate is served to them only while Leased says so at the moment of evaluation, and
// Stop withdraws that before anything else of a rollback happens; so an answer that was computed after a revoke can never
// carry the candidate. What a client keeps from an earlier bulk answer is its own: Clients says which revision each has.
//
// The obvious entity tag, a hash of the finished answer, costs as much as the answer. The tag here is made of what the
// answer depends on, the configuration and the request, and is compared before anything is evaluated.
package ofrep

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"sluice.dev/sdk/flag"
)

// Config says how to serve. Env and Caller are required.
type Config struct {
	// Env names the environment of a request that has already been authenticated.
	Env func(*http.Request) string
	// Caller names who asks, for rate limits and the list of clients.
	Caller func(*http.Request) string
	// Key signs the addresses of event streams, which browsers open without headers. Empty serves them to whoever asks.
	Key []byte
	// Rate is how many requests a caller may send per second, with bursts of the same number; 0 means no limit.
	Rate int
	// Log takes what an operator should see; nil discards it.
	Log *slog.Logger
}

// State is what an environment's flags are answered from.
type State struct {
	Rev    uint64 // of the environment
	Digest string // of the environment; one digest always names one content
	// Objects returns the configuration, "<scope>/<kind>/<name>" -> JSON. It is called once per digest.
	Objects func() map[string]json.RawMessage
	// ScopeRev is the revision of each scope.
	ScopeRev map[string]uint64
	// Leased says whether a flag of this scope may serve its candidate at this very moment.
	Leased func(scope string) bool
}

// Server answers. Publish an environment's State before it is asked; until then answers are 503.
type Server struct {
	cfg     Config
	limits  limits
	clients clients
	done    chan struct{}
	wg      sync.WaitGroup

	mu     sync.RWMutex
	envs   map[string]*environment
	closed bool
}

// New returns a server that knows no environment yet.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, limits: newLimits(cfg.Rate), done: make(chan struct{}), envs: map[string]*environment{}}
}

// Register adds the routes. Authentication is the caller's, but for the event stream, whose address is the secret.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /ofrep/v1/evaluate/flags/{key}", s.single)
	mux.HandleFunc("POST /ofrep/v1/evaluate/flags", s.bulk)
	mux.HandleFunc("GET "+StreamPath, s.stream)
}

// Close ends the event streams and waits for what compiles.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.done)
	s.wg.Wait()
}

// Publish makes a state the one in force. It does not wait for the configuration to compile: whoever asks meanwhile does,
// so that an answer is never older than the last Publish. A configuration that does not compile changes no values.
func (s *Server) Publish(env string, st State) {
	e := s.environment(env)
	if !e.publish(st) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.wg.Go(func() {
		if err := e.current().compile(); err != nil {
			s.cfg.Log.Error("compile", "env", env, "err", err)
		}
	})
}

// Revision is the head of an environment, 0 when it is unknown.
func (s *Server) Revision(env string) uint64 {
	if e := s.known(env); e != nil {
		return e.current().Rev
	}
	return 0
}

// Stop withdraws the scope's candidates until the next Publish. When it returns, no evaluation that begins can serve one.
func (s *Server) Stop(env, scope string) { s.environment(env).stop(scope) }

func (s *Server) environment(name string) *environment {
	s.mu.RLock()
	e := s.envs[name]
	s.mu.RUnlock()
	if e != nil {
		return e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.envs[name] == nil {
		s.envs[name] = &environment{name: name, uri: s.streamURI(name), watchers: map[chan struct{}]struct{}{}}
	}
	return s.envs[name]
}

// known returns an environment that has been published, nil for any other: a request does not make one.
func (s *Server) known(name string) *environment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.envs[name]; e != nil && e.current() != nil {
		return e
	}
	return nil
}

// compiled is a configuration ready to be evaluated.
type compiled struct {
	snap    *flag.Snapshot
	cfg     flag.Config
	objects map[string]string      // "<kind>/<name>" -> JSON
	open    []*flag.Handle         // flags with an open rollout
	flagd   func() (string, error) // as flagd's JSON, encoded once
}

func compile(env string, st State) (*compiled, error) {
	objects := st.Objects()
	cfg, err := flag.ParseObjects(objects)
	if err != nil {
		return nil, fmt.Errorf("parse revision %d: %w", st.Rev, err)
	}
	snap, err := flag.Compile(cfg, flag.Options{ScopeRev: st.ScopeRev, AllowDangling: true})
	if err != nil {
		return nil, fmt.Errorf("compile revision %d: %w", st.Rev, err)
	}
	c := &compiled{snap: snap, cfg: cfg, objects: make(map[string]string, len(objects))}
	for path, raw := range objects {
		_, name, _ := strings.Cut(path, "/")
		c.objects[name] = string(raw)
	}
	c.flagd = sync.OnceValues(func() (string, error) {
		b, err := cfg.Flagd(env)
		return string(b), err
	})
	for _, h := range snap.Handles() {
		if h.RolloutID != "" {
			c.open = append(c.open, h)
		}
	}
	return c, nil
}
