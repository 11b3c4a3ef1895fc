// Package sluicetest runs a real Sluice server inside a test: the same code as `sluice serve`, in memory, on a port of its
// own. Use it where a test must see a change, a kill switch or a rollout; sluice.Fixed is enough where values stand still.
//
//	s := sluicetest.Start(t)
//	s.Apply(flagYAML)
//	client := s.Client("checkout")
//	s.Kill("spend7d")
//	s.Settled(client) // what was changed is in force in the client
package sluicetest

import (
	"context"
	"testing"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

// Server is a running server. Its methods fail the test when the server refuses.
type Server struct {
	t     testing.TB
	app   *app.App
	admin *client.Client
	token string // of components
}

// Start starts a server with the environment production; it ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	ctx := context.Background()
	a, err := app.Start(ctx, app.Config{Listen: "127.0.0.1:0", Version: "sluicetest", Tick: 50 * time.Millisecond})
	if err != nil {
		t.Fatalf("sluicetest: %v", err)
	}
	t.Cleanup(func() {
		if err := a.Stop(ctx); err != nil {
			t.Errorf("sluicetest: stop: %v", err)
		}
	})
	s := &Server{t: t, app: a}
	if s.admin, err = client.New(a.URL(), a.AdminToken()); err != nil {
		t.Fatalf("sluicetest: %v", err)
	}
	if s.token, err = a.Token(ctx, "sluicetest", policy.Component, ""); err != nil {
		t.Fatalf("sluicetest: %v", err)
	}
	return s
}

// URL is the server's address.
func (s *Server) URL() string { return s.app.URL() }

// Token authenticates components of the environment production.
func (s *Server) Token() string { return s.token }

// Client joins as a component and leaves when the test ends.
func (s *Server) Client(component string) *sluice.Client {
	s.t.Helper()
	c, err := sluice.New(context.Background(), sluice.Config{URL: s.URL(), Token: s.token, Component: component, Instance: component + "-1", DrainBound: 100 * time.Millisecond})
	if err != nil {
		s.t.Fatalf("sluicetest: %v", err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			s.t.Logf("sluicetest: %v", err)
		}
	})
	return c
}

// Apply submits a Flag or a Rollout in YAML, as `sluice apply` does.
func (s *Server) Apply(source string) {
	s.t.Helper()
	s.post("/v1/apply", map[string]any{"source": source, "file": "sluicetest.yaml"})
}

// Kill switches a flag off for everybody.
func (s *Server) Kill(flag string) {
	s.t.Helper()
	s.post("/v1/flags/"+flag+"/kill", map[string]any{"reason": "sluicetest"})
}

// Revive ends a Kill.
func (s *Server) Revive(flag string) {
	s.t.Helper()
	s.post("/v1/flags/"+flag+"/revive", map[string]any{})
}

// Rollback takes a rollout back. It returns at once; Settled waits for what a client does of it.
func (s *Server) Rollback(rollout string) {
	s.t.Helper()
	s.post("/v1/rollouts/"+rollout+"/rollback", map[string]any{"reason": "sluicetest"})
}

func (s *Server) post(path string, body any) {
	s.t.Helper()
	if err := s.admin.Post(context.Background(), path, body, nil); err != nil {
		s.t.Fatalf("sluicetest: %s: %v", path, err)
	}
}

// Settled waits until the newest configuration that the server tells is in force in the client.
func (s *Server) Settled(c *sluice.Client) {
	s.t.Helper()
	var head struct{ Head struct{ Rev uint64 } }
	if err := s.component().Get(context.Background(), "/v1/snapshot", &head); err != nil {
		s.t.Fatalf("sluicetest: %v", err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if c.Status().Head.Rev >= head.Head.Rev {
			return
		}
	}
	s.t.Fatalf("sluicetest: the client stands at revision %d, the server at %d", c.Status().Head.Rev, head.Head.Rev)
}

func (s *Server) component() *client.Client {
	s.t.Helper()
	c, err := client.New(s.URL(), s.token)
	if err != nil {
		s.t.Fatalf("sluicetest: %v", err)
	}
	return c
}
