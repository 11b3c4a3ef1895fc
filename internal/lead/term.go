package lead

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/store"
)

// Term is one leadership of this server.
type Term struct {
	cfg  Config
	end  atomic.Int64 // when the lease ends on our clock, nanoseconds
	lost chan struct{}
	once sync.Once

	mu    sync.Mutex // held for each change of the row: a renewal and a new epoch exclude each other
	epoch uint64
	taken bool
}

func (t *Term) row() store.Leader {
	return store.Leader{Name: t.cfg.Name, Address: t.cfg.Address, Span: t.cfg.Span}
}

// until extends the lease that was asked for at begun.
func (t *Term) until(begun time.Duration) { t.end.Store(int64(begun + t.cfg.Span)) }

// Leads reports whether the lease is in force. Ask after a request has arrived and before answering from what the leader
// knows: the answer was then true at some moment in between.
func (t *Term) Leads() bool {
	select {
	case <-t.lost:
		return false
	default:
		return int64(now()) < t.end.Load()
	}
}

// Epoch is the one last taken.
func (t *Term) Epoch() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch
}

// Lost is closed when the term has ended.
func (t *Term) Lost() <-chan struct{} { return t.lost }

func (t *Term) lose() { t.once.Do(func() { close(t.lost) }) }

// Take returns the epoch to lead with: at first that of the election, then a new one for each call, which fences what the
// earlier one may still have under way. It returns store.ErrFenced when another server leads, and the term has ended.
func (t *Term) Take(ctx context.Context) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.taken {
		t.taken = true
		return t.epoch, nil
	}
	row, err := t.cfg.Store.Leader(ctx)
	if err != nil {
		return 0, err
	}
	if row.Epoch != t.epoch {
		t.lose()
		return 0, fmt.Errorf("lead again after epoch %d, the store is in epoch %d: %w", t.epoch, row.Epoch, store.ErrFenced)
	}
	begun := now()
	epoch, err := t.cfg.Store.Claim(ctx, row, t.row())
	if err != nil {
		if errors.Is(err, store.ErrFenced) {
			t.lose()
		}
		return 0, err
	}
	t.epoch = epoch
	t.until(begun)
	return epoch, nil
}

// beat renews the lease until it is lost or ctx ends.
func (t *Term) beat(ctx context.Context) {
	for {
		wait(ctx, t.cfg.Span/5)
		switch err := t.renew(ctx); {
		case ctx.Err() != nil:
			return
		case errors.Is(err, store.ErrFenced), int64(now()) >= t.end.Load():
			t.lose()
			return
		case err != nil:
			t.cfg.Log.Warn("renew leadership", "err", err)
		}
	}
}

func (t *Term) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Span/2)
	defer cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	begun := now()
	if err := t.cfg.Store.Beat(ctx, t.epoch); err != nil {
		return err
	}
	t.until(begun)
	return nil
}

// resign gives the lease back; a store that does not answer lets it run out.
func (t *Term) resign(ctx context.Context) {
	t.lose()
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Span/2)
	defer cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.cfg.Store.Resign(ctx, t.epoch); err != nil && !errors.Is(err, store.ErrFenced) {
		t.cfg.Log.Warn("resign", "err", err)
	}
}
