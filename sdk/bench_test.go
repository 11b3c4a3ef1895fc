package sluice

import (
	"context"
	"net/http"
	"testing"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// still is a client without goroutines or server, with a configuration in force and leases for an hour.
func still(tb testing.TB, exposure flag.Exposure) *Client {
	tb.Helper()
	s := newFake(nil)
	s.scopes["base"] = fakeScope{rev: 1, objects: baseObjects()}
	s.scopes[theRollout] = fakeScope{rev: 1, objects: rolloutObjects(exposure), leased: true, ttl: ttl}
	wire := s.snapshot()
	c := &Client{origin: time.Now().Add(-time.Second), cells: cells{byID: map[string]*cell{}}, poke: make(chan struct{}, 1)}
	c.cfg.Logf = tb.Logf
	c.evidence = newEvidenceBook(c)
	c.residents.Store(new([]*resident))
	c.current.Store(&snapshot{wire: &slp.Snapshot{}})
	ready, err := c.compile(&wire)
	if err != nil {
		tb.Fatal(err)
	}
	c.current.Store(ready)
	v := &slp.View{Snapshot: &wire, LeaseEnd: map[string]slp.Mono{theRollout: time.Hour}, PinKeys: s.pinKeys}
	v.Clock.Observe(c.mono(), c.mono(), time.Now().UnixMicro())
	c.view.Store(v)
	c.setLeases(v)
	return c
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := still(t, 50_000)
	on, plan, model := c.Flag("on"), c.Flag("plan"), c.Flag("model")
	attrs := []flag.Attr{flag.Str("region", "eu")}
	ctx, req := c.Begin(context.Background(), "unit-1", attrs...)
	wrapped, cancel := context.WithCancel(ctx)
	defer cancel()
	model.String(ctx, "?")
	c.evidence.flush(c.second(c.mono()), c.mono())
	check := func(name string, want float64, f func()) {
		t.Helper()
		if got := testing.AllocsPerRun(200, f); got > want {
			t.Errorf("%s: %v allocations, want at most %v", name, got, want)
		}
	}
	check("settled flag", 0, func() { on.Bool(ctx, false) })
	check("settled flag, derived context", 0, func() { on.Bool(wrapped, false) })
	check("rule", 0, func() { plan.String(ctx, "") })
	check("without request", 0, func() { on.Bool(context.Background(), false) })
	check("rollout flag, again", 0, func() { model.String(ctx, "") })
	check("observe", 0, func() { req.Observe("latency", 0.2) })
	requests := make([]*Request, 0, 1100)
	contexts := make([]context.Context, 0, 1100)
	for range 1100 {
		x, q := c.Begin(context.Background(), "unit-1", attrs...)
		contexts, requests = append(contexts, x), append(requests, q)
	}
	i := 0
	check("rollout flag, first time", 0, func() { model.String(contexts[i], ""); i++ })
	i = 0
	check("end", 0, func() { requests[i].End(nil); i++ })
	check("begin", 2, func() { c.Begin(context.Background(), "unit-1", attrs...) })
}

func BenchmarkSettled(b *testing.B) {
	c := still(b, 50_000)
	on := c.Flag("on")
	ctx, req := c.Begin(context.Background(), "unit-1", flag.Str("region", "eu"))
	defer req.End(nil)
	b.Run("in a request", func(b *testing.B) {
		for b.Loop() {
			on.Bool(ctx, false)
		}
	})
	wrapped, cancel := context.WithCancel(ctx)
	defer cancel()
	b.Run("derived context", func(b *testing.B) {
		for b.Loop() {
			on.Bool(wrapped, false)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				on.Bool(ctx, false)
			}
		})
	})
}

func BenchmarkRule(b *testing.B) {
	c := still(b, 50_000)
	plan := c.Flag("plan")
	ctx, req := c.Begin(context.Background(), "unit-1", flag.Str("region", "eu"))
	defer req.End(nil)
	for b.Loop() {
		plan.String(ctx, "")
	}
}

func BenchmarkRolloutAgain(b *testing.B) {
	c := still(b, flag.Full)
	model := c.Flag("model")
	ctx, req := c.Begin(context.Background(), "unit-1", flag.Str("region", "eu"))
	defer req.End(nil)
	for b.Loop() {
		model.String(ctx, "")
	}
}

// BenchmarkRequest is a whole request with a rollout: begin, decide, observe, end.
func BenchmarkRequest(b *testing.B) {
	c := still(b, flag.Full)
	model := c.Flag("model")
	attrs := []flag.Attr{flag.Str("region", "eu")}
	b.ReportAllocs()
	for b.Loop() {
		ctx, req := c.Begin(context.Background(), "unit-1", attrs...)
		model.String(ctx, "")
		req.Observe("latency", 0.1)
		req.End(nil)
	}
}

func BenchmarkRequestSettled(b *testing.B) {
	c := still(b, flag.Full)
	c.current.Load().open = 0
	on := c.Flag("on")
	attrs := []flag.Attr{flag.Str("region", "eu")}
	b.ReportAllocs()
	for b.Loop() {
		ctx, req := c.Begin(context.Background(), "unit-1", attrs...)
		on.Bool(ctx, false)
		req.End(nil)
	}
}

func BenchmarkHop(b *testing.B) {
	c := still(b, flag.Full)
	list := c.newResidents(c.current.Load().wire, nil)
	c.residents.Store(&list)
	model := c.Flag("model")
	b.ReportAllocs()
	for b.Loop() {
		ctx, req := c.Begin(context.Background(), "unit-1")
		model.String(ctx, "")
		r := &http.Request{Header: http.Header{}}
		Inject(ctx, r.Header)
		ctx, next := c.BeginHTTP(r, "unit-1")
		model.String(ctx, "")
		next.End(nil)
		req.End(nil)
	}
}
