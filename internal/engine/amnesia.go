package engine

import (
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// Lost says what a member has proven to be forgotten: the store was restored from before it.
type Lost struct {
	Instance string    `json:"instance"` // that proved it
	Epoch    uint64    `json:"epoch"`
	Rev      uint64    `json:"rev"` // signed by this server's key, above the head
	Digest   string    `json:"digest"`
	At       time.Time `json:"at"`
}

// Unproven is a member that claims to have seen what this server does not know, without a signature for it.
type Unproven struct {
	Hello slp.Hello
	At    time.Time
}

// Forgotten is a Hello with a head that this server's own key has signed and that is above the one here: amnesia. From then
// on nothing is granted and nothing written in the environment, but rollbacks are accepted; Adopt ends it.
type Forgotten struct {
	Env  string
	Lost Lost
}

func (f Forgotten) apply(e *Engine, o *Output) error {
	env, err := e.env(f.Env)
	if err != nil {
		return err
	}
	if f.Lost.Rev <= env.rev.Number || env.lost != nil && env.lost.Rev >= f.Lost.Rev {
		return nil
	}
	first := env.lost == nil
	f.Lost.At = e.now
	env.lost = &f.Lost
	if first {
		e.record(o, audit.Record{Kind: "env.amnesia", Env: f.Env, Actor: "engine", Rev: env.rev.Number}, f.Lost, nil)
	}
	o.Effects = append(o.Effects, Effect{Kind: Broadcast, Env: f.Env, Event: slp.Event{Kind: slp.EventState}})
	return nil
}

// held is why nothing may be written in the environment.
func (env *environment) held() error {
	if env.lost == nil {
		return nil
	}
	return refusal("amnesia", "restore the newest store, or go on from this one with: sluice recover --adopt",
		"instance %s holds revision %d of %s signed by this server, which stands at %d: it has forgotten something",
		env.lost.Instance, env.lost.Rev, env.rev.Name, env.rev.Number)
}

// maxQuarantined bounds the members listed as quarantined; further ones are refused all the same.
const maxQuarantined = 1000

// Claimed is a Hello that claims a revision above the head and proves nothing: only this member is kept out.
type Claimed struct {
	Env   string
	Hello slp.Hello
}

func (c Claimed) apply(e *Engine, o *Output) error {
	env, err := e.env(c.Env)
	if err != nil {
		return err
	}
	_, known := env.quarantined[c.Hello.Instance]
	if known || len(env.quarantined) >= maxQuarantined {
		return nil
	}
	if env.quarantined == nil {
		env.quarantined = map[string]Unproven{}
	}
	env.quarantined[c.Hello.Instance] = Unproven{Hello: c.Hello, At: e.now}
	e.record(o, audit.Record{Kind: "member.quarantined", Env: c.Env, Actor: "engine", Rev: env.rev.Number},
		map[string]any{"instance": c.Hello.Instance, "component": c.Hello.Component, "claims": c.Hello.Seen.Rev}, nil)
	return nil
}

// Adopt ends an amnesia: what this server holds becomes the environment's truth under numbers above everything members
// have seen. What was exposed is taken back, because nobody knows what had become of it.
type Adopt struct {
	Env, Actor, Reason string
}

func (a Adopt) apply(e *Engine, o *Output) error {
	env, err := e.env(a.Env)
	if err != nil {
		return err
	}
	if env.lost == nil {
		return refusal("amnesia.none", "nothing is to be done", "environment %q has forgotten nothing that a member could prove", a.Env)
	}
	lost := *env.lost
	env.lost = nil
	if err := e.publish(o, env, revision.Change{Adopt: lost.Rev}, slp.EventCommit); err != nil {
		env.lost = &lost
		return err
	}
	e.record(o, audit.Record{Kind: "env.adopt", Env: a.Env, Actor: a.Actor, Reason: a.Reason, Rev: env.rev.Number}, lost, nil)
	for _, name := range e.names() {
		r := e.runs[name]
		if r.plan.Environment != a.Env || r.state.Phase.Terminal() || r.state.Back() {
			continue
		}
		if err := e.feed(o, r, rollout.Event{Kind: rollout.Rollback, Actor: a.Actor, Reason: a.Reason}); err != nil {
			return err
		}
	}
	if lost.Epoch >= e.epoch {
		o.Effects = append(o.Effects, Effect{Kind: Reelect, Epoch: lost.Epoch})
	}
	return nil
}

// Amnesia returns what members of the environment have proven to be forgotten, nil when that is nothing.
func (e *Engine) Amnesia(name string) *Lost {
	if env := e.envs[name]; env != nil && env.lost != nil {
		l := *env.lost
		return &l
	}
	return nil
}

// kept out members are listed beside the others.
func (env *environment) keptOut() []Component {
	var out []Component
	for _, instance := range slices.Sorted(maps.Keys(env.quarantined)) {
		q := env.quarantined[instance]
		out = append(out, Component{
			Component: q.Hello.Component, Instance: instance, Boot: q.Hello.Boot, Class: q.Hello.Class, Impl: q.Hello.Caps.Impl,
			Status: "quarantined", Joined: q.At, Renewed: q.At, Acked: map[string]uint64{},
		})
	}
	return out
}

// admit takes a member off the quarantine: its Hello has been accepted.
func (env *environment) admit(m *fleet.Member) { delete(env.quarantined, m.Instance) }
