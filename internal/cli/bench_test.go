package cli

import (
	"context"
	"strings"
	"testing"
	"time"
)

// BenchmarkBarrier rolls back with 1,000 members in this process, over and over: for profiles; figures come from `sluice bench barrier`.
func BenchmarkBarrier(b *testing.B) {
	r, err := benchBarrier(context.Background(), barrierOptions{members: 1000, rounds: max(2, b.N), ttl: 10 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(r.DecisionToProof.P50, "p50-ms")
	b.ReportMetric(r.CPUPerMemberUs, "cpu-us/member")
}

// TestBenchBarrier: a small one proves every round by acknowledgement, over both transports.
func TestBenchBarrier(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		r, err := benchBarrier(t.Context(), barrierOptions{members: 8, rounds: 2, loopback: loopback, ttl: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if r.DecisionToProof.N != 2 || r.DecisionToProof.P50 <= 0 || r.Unwound.P50 < r.DecisionToProof.P50 || r.Acked != 14 || r.Lapsed != 0 {
			t.Errorf("loopback %v: %+v; want 2 rounds of 7 readers proven by acknowledgement, and the store after them", loopback, r)
		}
	}
}

// TestBenchFleet: everybody hears, everybody comes back after the restart, and a silent member costs no more than its lease.
func TestBenchFleet(t *testing.T) {
	r, err := benchWholeFleet(t.Context(), barrierOptions{members: 8, rounds: 1, silent: 1, ttl: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.Push.N != 8 || r.Reconnect.N != 8 || r.DecisionToProof.N != 1 || r.Acked != 7 {
		t.Errorf("%+v; want 8 members that hear and come back, 7 readers proven", r)
	}
	if r.Silent != 1 || r.SilentMs < 1000 {
		t.Errorf("a silent member was proven after %.0f ms, its lease is 2 s", r.SilentMs)
	}
}

func TestBenchEvaluate(t *testing.T) {
	list, err := evaluations(10 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Ns <= 0 || e.Ns > 1e6 || e.Allocs > 0.01 {
			t.Errorf("%+v: want some time and no allocation", e)
		}
	}
}

func TestSpread(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, ms(100-i))
	}
	for _, tt := range []struct {
		ds   []time.Duration
		want spread
	}{
		{nil, spread{}},
		{[]time.Duration{ms(7)}, spread{1, 7, 7, 7}},
		{[]time.Duration{ms(2), ms(1)}, spread{2, 1, 2, 2}},
		{hundred, spread{100, 50, 99, 100}},
	} {
		if got := spreadOf(tt.ds); got != tt.want {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
	if s := (spread{N: 1, P50: 1.5, P99: 2, Max: 3}).String(); !strings.Contains(s, "p99 2.00 ms") {
		t.Error(s)
	}
}
