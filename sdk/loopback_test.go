package sluice

import (
	"context"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// loopback joins a client to a fake server over TCP.
func loopback(tb testing.TB, s *fake) *Client {
	tb.Helper()
	srv := httptest.NewServer(s)
	c, err := New(context.Background(), Config{URL: srv.URL, Token: "secret", Component: "shop", Instance: "shop-1"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			tb.Error(err)
		}
		srv.CloseClientConnections()
		srv.Close()
	})
	return c
}

// acked waits until the server has the acknowledgement.
func (s *fake) waitAck(boot, stage string, rev uint64) {
	for s.ack(boot, theRollout, stage) < rev {
		time.Sleep(50 * time.Microsecond)
	}
}

// BenchmarkRevokeToAck is from the moment a revoke is broadcast to the acknowledgement that nothing of it is in use, over
// TCP, with 10,000 flags beside it; the percentiles are what the exposure-off barrier waits for.
func BenchmarkRevokeToAck(b *testing.B) {
	s := large(9_999)
	delete(s.scopes, theRollout)
	s.t = &testing.T{}
	c := loopback(b, s)
	var took []time.Duration
	for b.Loop() {
		rev := s.open(flag.Full)
		s.waitAck(c.boot, slp.StageActivated, rev)
		ctx, req := c.Begin(context.Background(), "u")
		c.Flag("model").String(ctx, "")
		req.End(nil)
		rev = s.revoke()
		s.waitAck(c.boot, slp.StageDrained, rev)
		took = append(took, time.Since(s.told))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}

// TestLoopback is the whole life over TCP and in real time: it waits for events, never for time.
func TestLoopback(t *testing.T) {
	s := newFake(t)
	s.scopes["base"] = fakeScope{rev: 1, objects: baseObjects()}
	c := loopback(t, s)
	rev := s.open(flag.Full)
	s.waitAck(c.boot, slp.StageActivated, rev)
	for served := ""; served != "two"; { // the lease comes with the renewal that carries the acknowledgement
		ctx, req := c.Begin(t.Context(), "u")
		served = c.Flag("model").String(ctx, "?")
		req.End(nil)
	}
	rev = s.revoke()
	s.waitAck(c.boot, slp.StageDrained, rev)
	ctx, req := c.Begin(t.Context(), "u")
	defer req.End(nil)
	if got := c.Flag("model").String(ctx, "?"); got != "one" {
		t.Errorf("after the acknowledgement it serves %q", got)
	}
}
