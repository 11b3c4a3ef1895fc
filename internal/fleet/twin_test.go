package fleet

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sdk/slp"
)

// proofsOf lists every moment at which contract 2 and protocol L4 call the boot proven, written from their sentences:
// it acknowledged and drained, it acknowledged and W passed, it said Bye, or W passed after the end of the last lease
// that may have been given to it: min(granted + Y, horizon), and the horizon where no grant is known.
func proofsOf(m *Member, started time.Time, r Revoke) (moments []time.Time) {
	w := m.W
	if r.Drain > w {
		w = r.Drain
	}
	activated := m.Acked[r.Scope][slp.StageActivated]
	drained := m.Acked[r.Scope][slp.StageDrained]
	if activated.Rev >= r.Floor {
		moments = append(moments, activated.At.Add(w))
		if drained.Rev >= r.Floor {
			moments = append(moments, slices.MaxFunc([]time.Time{activated.At, drained.At}, time.Time.Compare))
		}
	}
	if !m.Bye.IsZero() {
		moments = append(moments, m.Bye)
	}
	end := r.At.Add(r.Y)
	if g, ok := m.Granted[r.Scope]; ok {
		if g.Add(r.Y).Before(end) {
			end = g.Add(r.Y)
		}
	} else if none := started.Add(r.Y + w); none.Before(r.At) {
		moments = append(moments, none) // no lease of an earlier leadership, nor a request under it, outlived the revoke
	}
	return append(moments, end.Add(w))
}

var genSeconds = rapid.Custom(func(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(-300, 300).Draw(t, "tenths")) * 100 * time.Millisecond
})

// genFleet draws members with everything that can be known of them around the revoke.
func genFleet(t *rapid.T) *Fleet {
	f := New(t0.Add(-genSeconds.Draw(t, "started").Abs()))
	for i := range rapid.IntRange(0, 5).Draw(t, "members") {
		m := f.Join(slp.Hello{
			Component: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "component"),
			Instance:  rapid.SampledFrom([]string{"1", "2"}).Draw(t, "instance"),
			Boot:      fmt.Sprint("b", i),
			Class:     rapid.SampledFrom([]string{slp.ClassReader, slp.ClassRouter, slp.ClassHost, slp.ClassStore}).Draw(t, "class"),
			WMs:       int64(rapid.IntRange(0, 5000).Draw(t, "w")),
		}, t0.Add(genSeconds.Draw(t, "joined")))
		if rapid.Bool().Draw(t, "was granted") {
			m.Granted[scope] = t0.Add(genSeconds.Draw(t, "granted"))
		}
		for _, stage := range []string{slp.StageActivated, slp.StageDrained} {
			for range rapid.IntRange(0, 2).Draw(t, stage) {
				m.Acknowledge(slp.Ack{Scope: scope, Stage: stage, Rev: uint64(rapid.IntRange(5, 9).Draw(t, "rev"))}, t0.Add(genSeconds.Draw(t, "acked")))
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "says bye") == 0 {
			m.Bye = t0.Add(genSeconds.Draw(t, "bye"))
		}
	}
	return f
}

// TestBarrierAgreesWithItsTwin looks at a drawn fleet at several moments. Nothing but time passes between them, and facts
// of the future are removed before each look.
func TestBarrierAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFleet(t)
		r := revoke
		r.Drain = time.Duration(rapid.IntRange(0, 4).Draw(t, "drain")) * time.Second
		var last Proof
		for i := range 12 {
			now := t0.Add(time.Duration(i) * 3 * time.Second)
			known := until(f, now)
			p := known.Barrier(r, Exposed, now)
			check(t, known, r, p, now)
			if last.Complete && !reflect.DeepEqual(p, last) && reflect.DeepEqual(known, until(f, now.Add(-3*time.Second))) {
				t.Fatalf("a complete proof changed by time alone:\nwas %+v\nis  %+v", last, p)
			}
			last = p
		}
		if end := t0.Add(r.Y + 10*time.Second); !f.Barrier(r, Exposed, end).Complete {
			t.Fatal("not complete when every lease and request must have ended")
		}
	})
}

// until is the fleet with the acks and Byes up to now.
func until(f *Fleet, now time.Time) *Fleet {
	g := New(f.Started)
	for _, m := range f.Sorted() {
		c := *m
		g.Add(&c)
		for s, at := range m.Granted {
			c.Granted[s] = at
		}
		for _, stage := range []string{slp.StageActivated, slp.StageDrained} {
			if a, ok := m.Acked[scope][stage]; ok && !a.At.After(now) {
				c.Acknowledge(slp.Ack{Scope: scope, Stage: stage, Rev: a.Rev}, a.At)
			}
		}
		if c.Bye.After(now) {
			c.Bye = time.Time{}
		}
	}
	return g
}

func check(t *rapid.T, f *Fleet, r Revoke, p Proof, now time.Time) {
	complete := true
	for _, m := range f.Sorted() {
		if m.Class == slp.ClassStore || m.Joined.After(r.At) {
			if lineOf(p, m.Boot) != nil {
				t.Fatalf("%s of class %s, joined %s, is part of the barrier", m.Boot, m.Class, m.Joined)
			}
			continue
		}
		first := slices.MinFunc(proofsOf(m, f.Started, r), time.Time.Compare)
		l := lineOf(p, m.Boot)
		switch {
		case l == nil && !first.Before(r.At):
			t.Fatalf("%s is left out, and is proven only %s after the revoke", m.Boot, first.Sub(r.At))
		case l == nil:
		case first.After(now):
			complete = false
			if l.How != Waiting || !l.Until.Equal(first) {
				t.Fatalf("%s: got %+v at %s, it is proven only at %s", m.Boot, *l, now.Sub(t0), first.Sub(t0))
			}
		case l.How == Waiting || !l.At.Equal(first):
			t.Fatalf("%s: got %+v at %s, it was proven at %s", m.Boot, *l, now.Sub(t0), first.Sub(t0))
		}
	}
	if p.Complete != complete {
		t.Fatalf("complete is %v, want %v: %+v", p.Complete, complete, p.Lines)
	}
	if c := p.Counts; c.Acked+c.Lapsed+c.Fenced+c.Unproven != c.Total || (c.Unproven == 0) != p.Complete {
		t.Fatalf("counts %+v of a barrier that is complete: %v", c, p.Complete)
	}
	if !p.Complete && !p.Next.After(now) {
		t.Fatalf("next look at %s is not after now %s", p.Next.Sub(t0), now.Sub(t0))
	}
}

func lineOf(p Proof, boot string) *Line {
	for i := range p.Lines {
		if p.Lines[i].Boot == boot {
			return &p.Lines[i]
		}
	}
	return nil
}
