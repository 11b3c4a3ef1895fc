package dst

import (
	"math/rand/v2"
	"time"

	"sluice.dev/sluice/internal/fleet"
)

// mood is how a world treats its inhabitants. Each seed draws one: some faults are absent in it and others frequent, so
// that rare coincidences of a few kinds are met as well as everything at once.
type mood struct {
	members int
	liars   int
	chaos   time.Duration // how long faults happen
	every   time.Duration // between two misfortunes, mean
	between time.Duration // between two acts of people, mean

	loss, repeat, slow float64       // per message
	delay              time.Duration // of a usual message, at most
	late               time.Duration // of a slow one, at most

	crashWrite, refuse, stall float64 // per write of the controller
	lag                       float64 // per call of the grant path: the thread is held up before it

	ttl, drain time.Duration
	kinds      map[string]bool // misfortunes that happen
	harm       float64         // share of candidates that are harmful
}

// patience bounds the time in which a calm world must have taken everything back: the lease wait of a recovery, the drain,
// the unwinding with its retries, and the slowest backoff of a member.
func (m mood) patience() time.Duration {
	return fleet.Y(m.ttl) + m.drain + unwindWithin + 90*time.Second
}

func drawMood(rng *rand.Rand) mood {
	pick := func(list ...float64) float64 { return list[rng.IntN(len(list))] }
	wait := func(list ...time.Duration) time.Duration { return list[rng.IntN(len(list))] }
	m := mood{
		members: 4 + rng.IntN(4), chaos: time.Minute + time.Duration(rng.Int64N(int64(time.Minute))),
		every: wait(time.Second, 3*time.Second, 10*time.Second, 30*time.Second), between: wait(time.Second, 3*time.Second, 10*time.Second),
		loss: pick(0, 0.02, 0.1, 0.4), repeat: pick(0, 0.05, 0.2), slow: pick(0, 0.05, 0.25),
		delay: wait(2*time.Millisecond, 40*time.Millisecond), late: wait(time.Second, 5*time.Second, 20*time.Second),
		crashWrite: pick(0, 0, 0.005, 0.03), refuse: pick(0, 0, 0.005, 0.03), stall: pick(0, 0.05, 0.3), lag: pick(0, 0, 0.2),
		ttl: wait(2*time.Second, 5*time.Second, 8*time.Second), drain: wait(300*time.Millisecond, time.Second),
		harm: pick(0, 0.4, 1), kinds: map[string]bool{},
	}
	if rng.IntN(4) == 0 {
		m.liars = 1 + rng.IntN(2)
	}
	for _, k := range misfortunes {
		m.kinds[k.name] = rng.IntN(3) > 0
	}
	return m
}
