package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/demo/flights"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/vtime"
)

// Story is the demo under virtual time.
type Story struct {
	Seed  int64
	Fault flights.Fault
	Plan  *plan.Plan
	Flag  flag.Flag
	// Freeze stops the component of that name for good when the rollback begins: SAFE must come from its lease's end.
	Freeze string
	// During is called once, At into the story, with a way to apply events, e.g. an edit of another flag.
	At     time.Duration
	During func(apply func(engine.Event) error) error
}

// Outcome is how a story ended.
type Outcome struct {
	Status  rollout.Status
	Records []audit.Record
	Took    time.Duration // virtual
	Config  func(key string) (flag.Flag, bool)
}

// epoch of the virtual world: a fixed moment, so that equal seeds give equal stories.
var epoch = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// storyLimit bounds a story, virtual time.
const storyLimit = 3 * time.Minute

// Run plays the story to its end.
func (st Story) Run() (Outcome, error) {
	k := &vtime.Kernel{Now: epoch}
	rng := rand.New(rand.NewPCG(uint64(st.Seed), 0x5107ce))
	s := newServer(k, rng, st.Plan.Environment, 2*time.Millisecond)
	seed, err := engine.Seed(st.Plan.Environment, "sim", st.Flag)
	if err != nil {
		return Outcome{}, err
	}
	s.must(seed)
	members := map[string]*member{}
	for _, c := range []struct {
		name, class string
		skew        float64
	}{{"feature-store", slp.ClassStore, 1.002}, {"model-host", slp.ClassHost, 0.998}, {"consumer", slp.ClassReader, 1.001}, {"transformer", slp.ClassWriter, 0.999}} {
		members[c.name] = s.join(c.name, c.class, c.skew)
	}
	k.After(200*time.Millisecond, func() {
		s.must(engine.Apply{Plan: st.Plan, Actor: "sim"})
		st.traffic(k, members["consumer"])
	})
	st.disturb(s, members)
	ended := k.Run(epoch.Add(storyLimit), func() bool { return s.err != nil || over(s, st.Plan.Name) })
	if s.err != nil {
		return Outcome{}, s.err
	}
	status, err := s.eng.Rollout(st.Plan.Name)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Status: status, Records: s.records, Took: k.Now.Sub(epoch), Config: s.flag}
	if !ended {
		return out, fmt.Errorf("the story did not end within %s: it stands at %s/%s in stage %d", storyLimit, status.State.Phase, status.State.Sub, status.State.Stage)
	}
	return out, nil
}

// over: terminal, or waiting for a person, whom this world does not have.
func over(s *server, name string) bool {
	st, err := s.eng.Rollout(name)
	return err == nil && (st.State.Phase.Terminal() || st.State.Phase == rollout.Paused)
}

func (s *server) flag(key string) (flag.Flag, bool) {
	env, err := s.eng.Environment(s.env)
	if err != nil {
		return flag.Flag{}, false
	}
	cfg, err := flag.ParseObjects(env.Objects())
	if err != nil {
		return flag.Flag{}, false
	}
	f, ok := cfg.Flags[key]
	return f, ok
}

// traffic replays the flights: each is scored once by the version its arm gets, and read from a store whose time is drawn.
func (st Story) traffic(k *vtime.Kernel, consumer *member) {
	rows := flights.Load()
	outcomes := flights.Replay(rows, st.Fault)
	rng := rand.New(rand.NewPCG(uint64(st.Seed), 7))
	began, next := k.Now, 0
	k.Every(20*time.Millisecond, func() bool {
		for due := min(len(rows), flights.Due(k.Now.Sub(began))); next < due; next++ {
			o := outcomes[next]
			if !o.Scored {
				continue
			}
			row, unit := rows[next], flights.UnitID(st.Seed, next)
			attrs := []flag.Attr{flag.Str("flight", unit), flag.Str("origin", row.Origin), flag.Str("destination", row.Destination)}
			read := 12e-6 * (1 + rng.ExpFloat64()/4)
			consumer.request(st.Plan.Flag.Key, unit, attrs, func(variant string, seen func(string, float64)) {
				score := o.V11
				if variant == st.Plan.Flag.Candidate {
					score = o.V12
					if st.Fault == flights.FaultLatency && st.Fault.ActiveAt(o.Row) {
						read *= flights.ReadStretch
					}
				}
				seen("abs-error", score.Error)
				seen("read-time", read)
			})
		}
		return next == len(rows)
	})
}

// disturb plans what a story does to its world.
func (st Story) disturb(s *server, members map[string]*member) {
	if st.During != nil {
		s.After(st.At, func() {
			if err := st.During(s.do); err != nil && s.err == nil {
				s.err = err
			}
		})
	}
	if m := members[st.Freeze]; m != nil {
		m.freezeAtRevoke = true
	}
}
