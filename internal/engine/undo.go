package engine

import (
	"bytes"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/rollout"
)

// AllOff takes back everything that is exposed in an environment and cancels what has exposed nothing yet: one decision for
// all open rollouts, which asks nobody, as a rollback does. Repeating it changes nothing more.
type AllOff struct {
	Env, Actor, Reason string
}

func (a AllOff) apply(e *Engine, o *Output) error {
	if _, err := e.env(a.Env); err != nil {
		return err
	}
	open := []string{}
	for _, name := range e.names() {
		r := e.runs[name]
		if r.plan.Environment != a.Env || r.state.Phase.Terminal() {
			continue
		}
		open = append(open, name)
		if err := e.feed(o, r, rollout.Event{Kind: rollout.Rollback, Actor: a.Actor, Reason: a.Reason}); err != nil {
			return err
		}
	}
	e.record(o, audit.Record{Kind: "env.off", Env: a.Env, Actor: a.Actor, Reason: a.Reason}, map[string]any{"rollouts": open}, nil)
	return nil
}

// undo puts the flag and the pins of a completed rollout back in base, as they were before its start. What people have
// changed since is not overwritten: then the undo is refused.
func (e *Engine) undo(o *Output, env *environment, r *run) error {
	done, err := finished(r.before, r.plan)
	if err != nil {
		return err
	}
	base := env.rev.Scopes[revision.Base].Objects.Clone()
	for path, was := range r.before {
		left := done[path]
		if bytes.Equal(was, left) {
			continue // an exception: the rollout left it alone
		}
		if scope, _, ok := env.rev.Find(path); ok && scope != revision.Base {
			return scopeOpen(path, scope)
		}
		if !bytes.Equal(base[path], left) {
			return refusal("undo.changed", "edit it by hand, or start a rollout back to the earlier variant",
				"%s is not what rollout %q left: it has been changed since", path, r.plan.Name)
		}
		base[path] = was
	}
	if err := e.publish(o, env, revision.Change{Put: map[string]revision.ScopeContent{revision.Base: {Objects: base}}}, slp.EventCommit); err != nil {
		return err
	}
	return e.feed(o, r, rollout.Event{Kind: rollout.Reverted, Actor: "engine", Revision: env.rev.Number})
}

// undone looks whether every member has acknowledged an undo. There is no lease that could end in place of an answer.
func (e *Engine) undone(o *Output, r *run) error {
	if r.state.Sub != rollout.Undoing || r.state.UndoRev == 0 {
		return nil
	}
	env, err := e.env(r.plan.Environment)
	if err != nil {
		return err
	}
	p := env.fleet.Settled(revision.Base, r.state.UndoRev, r.state.Since)
	r.undoing = &p
	if !p.Complete {
		return nil
	}
	return e.feed(o, r, rollout.Event{Kind: rollout.Undone, Actor: "engine", Revision: r.state.UndoRev})
}
