package sluice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// Limits of what waits to be sent.
const (
	keepEvidence   = 60 * time.Second // then it is dropped and counted as lost
	maxBatchBlocks = 1024             // blocks in one message
	evidencePeriod = time.Second
	sendTimeout    = 5 * time.Second
)

// judged measures one rollout.
type judged struct {
	rollout string
	config  string // what it was made of, to notice a change
	unit    string // attribute that is assigned to arms, "" for the request's unit
	once    bool   // some metric counts a unit once
	dims    []string
	acc     *evidence.Accumulator
	retired bool // replaced, or its rollout is over: dropped once it is told
}

// evidenceBook holds what is measured and what waits to be sent. The sender alone touches batches and seq.
type evidenceBook struct {
	client *Client

	mu    sync.Mutex
	open  map[string]*judged // by rollout
	lists []*judged          // open and retired

	batches []*batch
	seq     uint64
	through int64
	lost    uint64 // to be told with the next message

	sent, dropped atomic.Uint64 // messages accepted, observations lost
	due           atomic.Bool   // a rollout is under way: send even when there is nothing to say

	quit     chan struct{} // ends run
	quitOnce sync.Once
	ended    chan struct{} // run has ended
}

// batch is one message. It gets its number at its first attempt, so that what was never tried can be dropped without a gap.
type batch struct {
	made    slp.Mono
	seq     uint64
	through int64
	lost    uint64
	blocks  []evidence.Block
}

func newEvidenceBook(c *Client) *evidenceBook {
	return &evidenceBook{client: c, open: map[string]*judged{}, quit: make(chan struct{}), ended: make(chan struct{})}
}

// judgedFor returns where the flag's open rollout is counted, nil when nothing of it is measured.
func (e *evidenceBook) judgedFor(h *flag.Handle, unit string) *judged {
	if h.Judged == nil {
		return nil
	}
	config := fmt.Sprintf("%q %q %q %s", unit, h.Judged.Segments, h.Judged.Sources, h.Judged.Metrics)
	e.mu.Lock()
	defer e.mu.Unlock()
	j := e.open[h.RolloutID]
	if j != nil && j.config == config {
		j.retired = false
		return j
	}
	made, err := newJudged(h, unit, config)
	if err != nil {
		e.client.cfg.Logf("sluice: rollout %s cannot be measured here: %v", h.RolloutID, err)
		return nil
	}
	if j != nil {
		j.retired = true
	}
	e.open[h.RolloutID] = made
	e.lists = append(e.lists, made)
	return made
}

func newJudged(h *flag.Handle, unit, config string) (*judged, error) {
	j := &judged{rollout: h.RolloutID, config: config, unit: unit}
	metrics := map[string]evidence.Metric{}
	if len(h.Judged.Metrics) > 0 {
		if err := json.Unmarshal(h.Judged.Metrics, &metrics); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	for _, m := range metrics {
		j.once = j.once || m.Once
	}
	var err error
	j.acc, err = evidence.NewAccumulator(evidence.AccumulatorConfig{
		Rollout: h.RolloutID, Metrics: metrics, Segments: h.Judged.Segments, Sources: h.Judged.Sources,
	})
	if err != nil {
		return nil, err
	}
	j.dims = j.acc.Dims()
	return j, nil
}

// keep retires the rollouts that neither a new snapshot has open nor a prepared content.
func (e *evidenceBook) keep(s *snapshot, residents []*resident) {
	open := map[string]bool{}
	note := func(s *snapshot) {
		for _, b := range s.bound {
			if b.judged != nil {
				open[b.judged.rollout] = true
			}
		}
	}
	note(s)
	for _, r := range residents {
		if r.retired == 0 {
			note(r.snap)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, j := range e.open {
		j.retired = !open[id]
	}
	e.due.Store(s.leased)
}

// flush turns what was counted into batches; second is the server's time now.
func (e *evidenceBook) flush(second int64, now slp.Mono) {
	e.mu.Lock()
	lists := slices.Clone(e.lists)
	e.mu.Unlock()
	if second == 0 || !e.due.Load() && len(lists) == 0 && len(e.batches) == 0 {
		return
	}
	through := second - 1
	var blocks []evidence.Block
	told := map[*judged]bool{}
	for _, j := range lists {
		b, t := j.acc.Flush(second)
		through = min(through, t)
		told[j] = len(b) == 0 && t == second-1
		blocks = evidence.MergeBlocks(blocks, b) // two accumulators of one rollout may share a second and key
	}
	e.drop(told)
	e.through = max(e.through, through)
	e.enqueue(blocks, now)
	e.expire(now)
}

// drop forgets the retired accumulators that have told everything.
func (e *evidenceBook) drop(told map[*judged]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lists = slices.DeleteFunc(e.lists, func(j *judged) bool {
		gone := j.retired && told[j]
		if gone && e.open[j.rollout] == j {
			delete(e.open, j.rollout)
		}
		return gone
	})
}

// enqueue appends the blocks in messages of bounded size; only the last of them speaks for the newest through.
func (e *evidenceBook) enqueue(blocks []evidence.Block, now slp.Mono) {
	before := int64(0)
	if n := len(e.batches); n > 0 {
		last := e.batches[n-1]
		before = last.through
		if last.seq == 0 && len(last.blocks)+len(blocks) == 0 { // nothing new to say but how far it is complete
			last.through = e.through
			return
		}
	}
	for len(blocks) > maxBatchBlocks {
		e.batches = append(e.batches, &batch{made: now, through: before, blocks: blocks[:maxBatchBlocks]})
		blocks = blocks[maxBatchBlocks:]
	}
	e.batches = append(e.batches, &batch{made: now, through: e.through, blocks: blocks})
}

// expire drops what is too old. A message that was tried may have arrived: it keeps its number and goes empty.
func (e *evidenceBook) expire(now slp.Mono) {
	e.batches = slices.DeleteFunc(e.batches, func(b *batch) bool {
		if now-b.made < keepEvidence {
			return false
		}
		n := observations(b.blocks)
		b.blocks = nil
		e.dropped.Add(n)
		if b.seq != 0 {
			b.lost += n
			return false
		}
		e.lost += n + b.lost
		return true
	})
}

func observations(blocks []evidence.Block) (n uint64) {
	for i := range blocks {
		n += blocks[i].N
	}
	return n
}

// send sends what waits, in order, one message at a time, until all is accepted or one is not. It returns how long to wait
// at least before the next attempt.
func (e *evidenceBook) send(ctx context.Context) time.Duration {
	c := e.client
	for len(e.batches) > 0 {
		b := e.batches[0]
		if b.seq == 0 {
			e.seq++
			b.seq = e.seq
			b.lost, e.lost = b.lost+e.lost, 0
		}
		q := slp.EvidenceRequest{Instance: c.cfg.Instance, Boot: c.boot, Seq: b.seq, Through: b.through, Lost: b.lost, Blocks: b.blocks}
		var a slp.EvidenceAnswer
		err := c.call(ctx, c.http.evidence, http.MethodPost, "/v1/evidence", sendTimeout, q, &a)
		var f *failure
		switch {
		case err == nil:
			e.sent.Add(1)
		case errors.As(err, &f) && (f.Status == http.StatusUnprocessableEntity || f.Status == http.StatusRequestEntityTooLarge || f.Status == http.StatusBadRequest):
			// It will not be taken the next time either. An empty message keeps the numbers whole.
			if len(b.blocks) > 0 {
				n := observations(b.blocks)
				c.failed("evidence", err)
				e.dropped.Add(n)
				b.lost, b.blocks = b.lost+n, nil
				continue
			}
		case errors.As(err, &f) && f.Status == http.StatusGone:
			c.post(slp.BootUnknown{})
			return evidencePeriod
		default:
			c.failed("evidence", err)
			if f != nil {
				return f.RetryAfter
			}
			return 0
		}
		e.batches = slices.Delete(e.batches, 0, 1)
	}
	return 0
}

// run flushes and sends once a second, a little after the server's second has turned: a phase of its own for each
// process spreads a fleet's messages.
func (e *evidenceBook) run(phase time.Duration) {
	c := e.client
	defer close(e.ended)
	timer := time.NewTimer(evidencePeriod)
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-e.quit:
			return
		case <-timer.C:
		}
		now := c.mono()
		e.flush(c.second(now), now)
		wait := e.send(c.ctx)
		timer.Reset(max(wait, c.untilSecond(phase)))
	}
}

// finish stops run and sends what is left, until ctx ends.
func (e *evidenceBook) finish(ctx context.Context) {
	e.quitOnce.Do(func() { close(e.quit) })
	select {
	case <-e.ended:
	case <-ctx.Done():
		return // run still sends: its message and ours must not cross
	}
	now := e.client.mono()
	e.flush(e.client.second(now), now)
	e.send(ctx)
}

// untilSecond is the time to phase past the server's next second.
func (c *Client) untilSecond(phase time.Duration) time.Duration {
	clock := c.view.Load().Clock
	if !clock.Known() {
		return evidencePeriod
	}
	into := time.Duration(clock.Micros(c.mono())%1e6) * time.Microsecond
	wait := evidencePeriod - into + phase
	if wait > evidencePeriod {
		wait -= evidencePeriod
	}
	return max(wait, evidencePeriod/10)
}
