package dst

import (
	"context"
	"errors"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/store"
)

// disk is the memory store with a disk's faults around its writes. What Append has returned is durable; everything else a
// crash may take.
type disk struct {
	store.Store
	w *world
}

func newDisk(w *world) *disk { return &disk{Store: store.NewMemory(), w: w} }

// crashed unwinds the controller's stack where its process ends.
type crashed struct{}

var errDisk = errors.New("input/output error")

// Append takes time, in which the grant path and the members go on, and may fail or end the process before or after the
// batch is durable.
func (d *disk) Append(ctx context.Context, b store.Batch) (audit.TreeHead, error) {
	w := d.w
	w.srv.mayDie("crash before a write")
	d.stall()
	if !w.calm && w.chance(w.mood.refuse) {
		w.fault("write refused")
		w.logf("disk refuses")
		return audit.TreeHead{}, errDisk
	}
	head, err := d.Store.Append(ctx, b)
	if err != nil {
		return head, err
	}
	w.oracle.durable(b)
	d.stall()
	w.srv.mayDie("crash after a write")
	if !w.calm && w.chance(w.mood.refuse) {
		w.fault("write unanswered")
		w.logf("disk does not answer")
		return audit.TreeHead{}, errDisk
	}
	return head, nil
}

// stall lets a write take its time.
func (d *disk) stall() {
	if w := d.w; !w.calm && w.chance(w.mood.stall) {
		t := w.about(100 * time.Millisecond)
		if w.chance(0.1) {
			t = w.upTo(4 * time.Second)
			w.fault("disk stall")
		}
		w.srv.pass(t)
	}
}
