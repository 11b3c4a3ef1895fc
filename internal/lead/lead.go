// Package lead elects the one server that decides and grants, among those that share a store.
//
// The leader renews a lease row; whoever has seen the row unchanged for longer than the lease, with a margin for clocks of
// another rate, claims it and so raises the store's epoch. The leader counts its lease from before it asked for it, and the
// others count it from when they saw the answer, so no two count themselves leader at the same time while their clocks run
// within rho of each other. Where clocks do worse, the epoch still refuses every write of the earlier one.
package lead

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sluice/internal/store"
)

// Store is what an election needs of a store.
type Store interface {
	Leader(ctx context.Context) (store.Leader, error)
	Claim(ctx context.Context, seen, me store.Leader) (uint64, error)
	Beat(ctx context.Context, epoch uint64) error
	Resign(ctx context.Context, epoch uint64) error
}

// Config says who stands for election. Store, Name and Address are required.
type Config struct {
	Store   Store
	Name    string        // of this server, different for each
	Address string        // where the others reach it
	Span    time.Duration // how long a renewal is worth; 0 means DefaultSpan
	Log     *slog.Logger  // nil discards
}

// DefaultSpan of a lease: a leader that is gone is followed after 5.1 s to 5.4 s, and 2 s later if it was frozen inside a
// write. Renewals are five to a span.
const DefaultSpan = 5 * time.Second

// rho is how far two clocks' rates may be apart, and granule what a reading may be off; as in the lease protocol.
const (
	rhoPercent = 1
	granule    = 10 * time.Millisecond
)

// patience is how long a row must have been unchanged before another server claims it.
func patience(span time.Duration) time.Duration {
	return span*(100+rhoPercent)/(100-rhoPercent) + 2*granule
}

// watch remembers since when the row has been as it is.
type watch struct {
	row   store.Leader
	since time.Duration
	known bool
}

// see takes note of the row read at now and reports whether it may be claimed. now must have been read after the row.
func (w *watch) see(row store.Leader, now time.Duration) bool {
	if !w.known || row != w.row {
		w.row, w.since, w.known = row, now, true
	}
	return row.Name == "" || now-w.since > patience(row.Span)
}

// Run follows and leads until ctx ends. It calls follow with each row it sees while another server leads, and
// become to begin to lead, which returns how to end it. A process that was stopped in between ends late: whoever answers for
// the leader asks Term.Leads first. An error of become gives the lease back.
func Run(ctx context.Context, cfg Config, follow func(store.Leader), become func(*Term) (end func(), err error)) {
	if cfg.Span == 0 {
		cfg.Span = DefaultSpan
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var w watch
	for ctx.Err() == nil {
		if t := stand(ctx, cfg, &w, follow); t != nil {
			serve(ctx, cfg, t, become)
		}
		wait(ctx, cfg.Span/20)
	}
}

// stand looks at the row once and claims it if that is due.
func stand(ctx context.Context, cfg Config, w *watch, follow func(store.Leader)) *Term {
	ctx, cancel := context.WithTimeout(ctx, cfg.Span)
	defer cancel()
	row, err := cfg.Store.Leader(ctx)
	if err != nil {
		cfg.Log.Warn("read the leader", "err", err)
		return nil
	}
	if !w.see(row, now()) {
		follow(row)
		return nil
	}
	t := &Term{cfg: cfg, lost: make(chan struct{})}
	begun := now()
	if t.epoch, err = cfg.Store.Claim(ctx, row, t.row()); err != nil {
		if !errors.Is(err, store.ErrFenced) { // somebody else was first
			cfg.Log.Warn("claim leadership", "err", err)
		}
		return nil
	}
	t.until(begun)
	return t
}

// serve leads until the lease is lost or ctx ends.
func serve(ctx context.Context, cfg Config, t *Term, become func(*Term) (func(), error)) {
	var wg sync.WaitGroup
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { t.beat(beating) })
	end, err := become(t)
	if err != nil {
		cfg.Log.Error("begin to lead", "epoch", t.Epoch(), "err", err)
		defer wait(ctx, cfg.Span) // let another one try
	} else {
		cfg.Log.Warn("leading", "epoch", t.Epoch())
		select {
		case <-t.lost:
			cfg.Log.Warn("leading no more", "epoch", t.Epoch())
		case <-ctx.Done():
		}
		end()
	}
	stop()
	wg.Wait()
	t.resign(context.WithoutCancel(ctx))
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
