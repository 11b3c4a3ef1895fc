package sluice

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sdk/fence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// broken is a fence whose disk does not take anything for a while.
type broken struct {
	*fence.Floors
	down atomic.Bool
}

func (b *broken) Raise(floors map[string]uint64) error {
	if b.down.Load() {
		return errors.New("no space left on device")
	}
	return b.Floors.Raise(floors)
}

// TestFenceIsRaisedBeforeItIsAcknowledged: what a reader goes on with after a rollback, its clock standing still, does not
// land; and a fence that cannot raise its floor acknowledges nothing until it can.
func TestFenceIsRaisedBeforeItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := &broken{Floors: fence.New()}
		reader := w.join(nil)
		guard := w.join(func(c *Config) { c.Component, c.Instance, c.Class, c.Fence = "gateway", "gateway-1", ClassRouter, f })
		defer w.leave(reader, guard)
		rev := w.open(flag.Full)
		soon()
		ctx, req := reader.Begin(t.Context(), "u")
		defer req.End(nil)
		if reader.Flag("model").String(ctx, "?") != "two" {
			t.Fatal("the reader is not exposed")
		}
		work := func() error {
			s := req.Stamps()[0]
			return f.Admit(fence.Stamp{Scope: s.Scope, Revision: s.Revision})
		}
		if err := work(); err != nil {
			t.Fatalf("before the rollback: %v", err)
		}
		f.down.Store(true)
		back := w.revoke()
		time.Sleep(20 * time.Second)
		if got := w.ack(guard.boot, theRollout, slp.StageActivated); got > rev {
			t.Errorf("a fence that is down has acknowledged %d", got)
		}
		f.down.Store(false)
		time.Sleep(10 * time.Second)
		if got := w.ack(guard.boot, theRollout, slp.StageActivated); got != back {
			t.Errorf("the fence stands and has acknowledged %d, want %d", got, back)
		}
		var refused *fence.Refused
		if err := work(); !errors.As(err, &refused) || refused.Floor != back {
			t.Errorf("work of the revoked revision: %v", err)
		}
		w.set(func() {
			for _, h := range w.hellos {
				if want := map[string]string{"gateway": slp.GuardFence, "shop": slp.GuardLease}[h.Component]; h.Caps.Guard != want {
					t.Errorf("%s declares guard %q, want %q", h.Component, h.Caps.Guard, want)
				}
			}
		})
	})
}
