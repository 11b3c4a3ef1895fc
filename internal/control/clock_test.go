package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/store"
)

// TestClockRunsEvenly: with the time that passes, never backwards.
func TestClockRunsEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(nil)
		a := c.Now()
		time.Sleep(time.Hour)
		if got := c.Now().Sub(a); got != time.Hour {
			t.Errorf("an hour took %s", got)
		}
		c.notBefore(a)
		if got := c.Now().Sub(a); got != time.Hour {
			t.Errorf("put back to %s", got)
		}
		c.notBefore(a.Add(2 * time.Hour))
		time.Sleep(time.Minute)
		if got, want := c.Now().Sub(a), 2*time.Hour+time.Minute; got != want {
			t.Errorf("put forward: got %s, want %s", got, want)
		}
	})
}

// TestClockGoesOnAfterTheLog: a wall clock that was put back between two lives neither stops the engine's time nor parts it
// from the grant path's. Found by the simulation: leases given after the restart counted as long over, and a rollback was
// proven at once.
func TestClockGoesOnAfterTheLog(t *testing.T) {
	ctx, wall := context.Background(), time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	s := store.NewMemory()
	open := func() (*Controller, *Clock) {
		clock := NewClock(func() time.Time { return wall })
		c, err := Open(ctx, Config{Store: s, Grants: &path{}, Version: "test", Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		return c, clock
	}
	c, _ := open()
	if err := c.Step(engine.CreateEnv{Name: "production", Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	last := wall
	wall = wall.Add(-time.Minute)
	c, clock := open()
	if got := clock.Now(); !got.Equal(last) {
		t.Errorf("after the restart it is %s, want %s", got, last)
	}
	wall = wall.Add(time.Second)
	if err := c.Step(engine.Tick{}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Engine().Now(), last.Add(time.Second); !got.Equal(want) || !clock.Now().Equal(want) {
		t.Errorf("a second later the engine has %s and the grant path %s, want %s", got, clock.Now(), want)
	}
}
