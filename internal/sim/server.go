// Package sim plays the demo's story in one thread under virtual time: the production engine, the SDK's protocol machine,
// the evaluator and the evidence codec, with members, network and traffic made of values and one seed. The same seed gives
// the same story, byte for byte.
package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/vtime"
)

// server is the engine with its grant path, as control and push run it, but for goroutines and disk.
type server struct {
	*vtime.Kernel
	rng     *rand.Rand
	delay   time.Duration // one way, at most; drawn anew for each message
	env     string
	eng     *engine.Engine
	grants  *fleet.Grants
	view    engine.View
	members []*member
	records []audit.Record
	err     error // first error that should not be
}

// tickEvery is how often the server lets time act.
const tickEvery = 50 * time.Millisecond

func newServer(k *vtime.Kernel, rng *rand.Rand, env string, delay time.Duration) *server {
	s := &server{Kernel: k, rng: rng, env: env, delay: delay, eng: engine.New("sim", 1, k.Now), grants: fleet.NewGrants()}
	s.must(engine.CreateEnv{Name: env, Actor: "sim"})
	k.Every(tickEvery, func() bool {
		s.must(engine.Tick{Seen: map[string][]engine.Seen{env: s.grants.Seen()}})
		return s.err != nil
	})
	return s
}

// must applies an event that cannot be refused in this world.
func (s *server) must(ev engine.Event) {
	if err := s.do(ev); err != nil && s.err == nil {
		s.err = fmt.Errorf("at %s: %T: %w", s.Now.Format(time.RFC3339Nano), ev, err)
	}
}

// do applies an event: stop grants, step, show the view, act.
func (s *server) do(ev engine.Event) error {
	out := s.eng.Step(s.Now, ev)
	for _, st := range out.Stop {
		s.grants.Stop(st.Scope)
	}
	s.records = append(s.records, out.Records...)
	for _, f := range out.Effects {
		s.publish()
		switch f.Kind {
		case engine.Broadcast:
			s.broadcast(f)
		case engine.Horizon:
			s.must(engine.Revoked{Rollout: f.Rollout, Seen: s.grants.Seen()})
		}
	}
	return out.Err
}

func (s *server) publish() {
	v, err := s.eng.View(s.env)
	if err != nil {
		s.err = err
		return
	}
	s.view = v
	s.grants.Show(v.GrantView)
}

func (s *server) broadcast(f engine.Effect) {
	e := s.view.Event
	e.Kind, e.Prepare = f.Event.Kind, f.Event.Prepare
	if f.Cause != nil {
		e.Delta = engine.Delta(*f.Cause, s.view.Config)
	}
	for _, m := range s.members {
		m.frozen = m.frozen || (m.freezeAtRevoke && e.Kind == slp.EventRevoke)
		s.send(func() { m.hear(slp.WatchEvent{Event: e}) })
	}
}

// send delivers something after a drawn delay.
func (s *server) send(do func()) {
	s.After(time.Duration(s.rng.Int64N(int64(s.delay)+1)), do)
}
