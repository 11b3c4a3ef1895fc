package fleet

import (
	"testing"
	"time"

	"sluice.dev/sdk/slp"
)

const scope = "spend7d-v15"

// ttl gives Y = 10.402 s.
const ttl = 10 * time.Second

var (
	t0     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	revoke = Revoke{Scope: scope, Floor: 7, Y: Y(ttl), At: t0}
)

// at is the time s seconds after the revoke.
func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

// hello is a boot of the reader checkout with W = 2 s that joined a minute before the revoke.
func hello(f *Fleet, instance, boot string) *Member {
	return f.Join(slp.Hello{Instance: instance, Boot: boot, Component: "checkout", Class: slp.ClassReader, WMs: 2000}, at(-60))
}

// old is a fleet whose leadership began an hour before the revoke.
func old() *Fleet { return New(at(-3600)) }

func ack(m *Member, stage string, rev uint64, s float64) {
	m.Acknowledge(slp.Ack{Scope: scope, Stage: stage, Rev: rev}, at(s))
}

func near(t *testing.T, what string, got, want time.Time) {
	t.Helper()
	if !got.Equal(want) {
		t.Errorf("%s is %s after the revoke, want %s", what, got.Sub(t0), want.Sub(t0))
	}
}
