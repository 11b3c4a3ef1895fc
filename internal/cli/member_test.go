package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/slp"
)

// liveMember is a simulated member with traffic: 200 requests a second, reported each second as components do.
type liveMember struct {
	*simMember
	harm  atomic.Bool // every second request on the candidate ends with an error
	mu    sync.Mutex
	scope simScope
	acc   *evidence.Accumulator
	seq   uint64
}

// memberW bounds how long a request of a test's member uses a decision.
const memberW = 50 * time.Millisecond

// startLiveMember joins the fleet of the server at base and serves until ctx ends; done is closed when it has stopped.
func startLiveMember(ctx context.Context, base, token, component, class string) (*liveMember, <-chan struct{}, error) {
	m := &liveMember{simMember: newSimMember(newHTTPWire(base, token), component, component+"-1", class, memberW)}
	m.onCommit = m.committed
	if err := m.join(ctx); err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		wg.Go(func() { m.run(ctx) })
		wg.Go(func() { m.serve(ctx) })
		wg.Wait()
	}()
	return m, done, nil
}

// committed begins another stratum. Requests of the one before have ended: they are instantaneous here.
func (m *liveMember) committed(s simScope) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.acc == nil || s.Scope != m.scope.Scope {
		m.acc, _ = evidence.NewAccumulator(evidence.AccumulatorConfig{Rollout: s.Scope}) // a scope's name is a good one
	}
	m.scope = s
}

func (m *liveMember) serve(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.requests(n, time.Now().Unix())
		if n%10 == 0 {
			m.report(ctx)
		}
	}
}

// requests serves ten of them, spread over unit buckets; the exposed share of them by count.
func (m *liveMember) requests(n int, second int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.acc == nil || m.scope.Cohort == "" || m.isFrozen() {
		return
	}
	for i := range 10 {
		arm := evidence.ArmBaseline
		if 10*uint32(m.scope.Exposure) > uint32(i)*100_000 {
			arm = evidence.ArmExposed
		}
		key := m.acc.Key(evidence.SlotKey{
			Cohort: m.scope.Cohort, Revision: m.scope.Revision, Exposure: uint32(m.scope.Exposure), Lease: evidence.LeaseHeld, Assigned: arm, Served: arm,
		})
		slot := m.acc.Begin(second, key, evidence.Unit{Bucket: uint8((10*n + i) % evidence.UnitBuckets)}, &evidence.Values{})
		slot.End(arm == evidence.ArmExposed && m.harm.Load() && n%2 == 0)
	}
}

func (m *liveMember) report(ctx context.Context) {
	m.mu.Lock()
	if m.isFrozen() {
		m.mu.Unlock()
		return
	}
	q := slp.EvidenceRequest{Instance: m.hello.Instance, Boot: m.hello.Boot, Through: time.Now().Unix() - 1}
	if m.acc != nil && m.scope.Cohort != "" {
		q.Blocks, q.Through = m.acc.Flush(time.Now().Unix())
	}
	m.seq++
	q.Seq = m.seq
	m.mu.Unlock()
	var a slp.EvidenceAnswer
	var refused *errStatus
	if err := m.wire.post(ctx, "/v1/evidence", q, &a); errors.As(err, &refused) {
		panic(fmt.Sprintf("evidence of %s: %v", m.hello.Instance, err)) // what a test's member sends must be right
	}
}

func (m *simMember) isFrozen() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frozen
}
