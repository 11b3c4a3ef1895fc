package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/revision"
)

// CreateEnv adds an environment; one that exists is left alone.
type CreateEnv struct {
	Name  string
	Actor string
}

func (c CreateEnv) apply(e *Engine, o *Output) error {
	if _, ok := e.envs[c.Name]; ok {
		return nil
	}
	env := &environment{rev: revision.New(c.Name), fleet: fleet.New(e.now)}
	e.envs[c.Name] = env
	if err := e.publish(o, env, revision.Change{Put: map[string]revision.ScopeContent{revision.Base: {}, revision.Overlay: {}}}, slp.EventCommit); err != nil {
		delete(e.envs, c.Name)
		return err
	}
	e.record(o, audit.Record{Kind: "env.create", Env: c.Name, Actor: c.Actor, Rev: env.rev.Number}, map[string]string{"name": c.Name}, nil)
	return nil
}

// Edit changes settled configuration: objects by path ("flag/<key>", "segment/<name>", "exception/<id>") go to the base
// scope, "kill/<flag>" and "exclude/<id>" to the overlay, which no rollback touches. An edit of an object that an open
// rollout holds is refused, naming the rollout.
type Edit struct {
	Env    string
	Put    map[string]json.RawMessage
	Delete []string
	Actor  string
	Reason string
	IfHead uint64 // when set, the edit applies only to this head
}

// overlayKinds live beside every rollout.
var overlayKinds = []string{"kill", "exclude"}

// baseKinds are what people may edit.
var baseKinds = []string{"flag", "segment", "exception"}

func (c Edit) apply(e *Engine, o *Output) error {
	env, err := e.env(c.Env)
	if err != nil {
		return err
	}
	if err := env.held(); err != nil {
		return err
	}
	if c.IfHead != 0 && c.IfHead != env.rev.Number {
		return refusal("revision.stale", "read the flag again and repeat the edit", "the edit was made against revision %d, the head is %d", c.IfHead, env.rev.Number)
	}
	change, err := c.change(e, env)
	if err != nil {
		return err
	}
	if err := e.checkEdit(env, change); err != nil {
		return err
	}
	if err := e.publish(o, env, change, slp.EventCommit); err != nil {
		return err
	}
	e.record(o, audit.Record{Kind: "config.edit", Env: c.Env, Actor: c.Actor, Reason: c.Reason, Rev: env.rev.Number},
		map[string]any{"put": c.Put, "delete": c.Delete}, map[string]any{"revision": env.rev.Number, "digest": env.rev.Digest})
	return nil
}

// checkEdit compiles strictly what people have written, and what each open rollout would go back to beside it: an edit
// must not take away what a rollback needs.
func (e *Engine) checkEdit(env *environment, c revision.Change) error {
	next, err := env.rev.With(c, e.now)
	if err != nil {
		return err
	}
	if err := next.Check(); err != nil {
		return refusal("config.invalid", "mend the object named", "the configuration does not compile: %v", err)
	}
	for _, name := range e.names() {
		r := e.runs[name]
		if _, open := next.Scopes[name]; !open || r.plan.Environment != next.Name {
			continue
		}
		if err := next.WithContent(name, r.before).Check(); err != nil {
			return refusal("config.rollback", "wait for the rollout to end", "rollout %q could not be taken back beside this: %v", name, err)
		}
	}
	return nil
}

func (c Edit) change(e *Engine, env *environment) (revision.Change, error) {
	content := map[string]revision.Objects{
		revision.Base:    env.rev.Scopes[revision.Base].Objects.Clone(),
		revision.Overlay: env.rev.Scopes[revision.Overlay].Objects.Clone(),
	}
	touched := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(c.Put)) {
		scope, err := c.scopeOf(e, env, path, c.Put[path])
		if err != nil {
			return revision.Change{}, err
		}
		if _, retired := content[revision.Base][retiredPath(path)]; retired {
			return revision.Change{}, refusal("flag.retired", "choose another key: programs of old releases may still ask for this one", "%s was deleted; its key is never used again", path)
		}
		if err := content[scope].Put(path, c.Put[path]); err != nil {
			return revision.Change{}, refusal("json.invalid", "send one JSON object", "%s: %v", path, err)
		}
		touched[scope] = true
	}
	for _, path := range c.Delete {
		scope, err := c.scopeOf(e, env, path, nil)
		if err != nil {
			return revision.Change{}, err
		}
		if _, ok := content[scope][path]; !ok {
			return revision.Change{}, refusal("object.unknown", "list the flags of the environment", "%s does not exist in %s", path, c.Env)
		}
		delete(content[scope], path)
		if tomb := retiredPath(path); tomb != "" {
			if err := content[revision.Base].Put(tomb, map[string]string{"reason": c.Reason}); err != nil {
				return revision.Change{}, err
			}
		}
		touched[scope] = true
	}
	ch := revision.Change{Put: map[string]revision.ScopeContent{}}
	for scope := range touched {
		ch.Put[scope] = revision.ScopeContent{Objects: content[scope]}
	}
	return ch, nil
}

// retiredPath is where a deleted flag's key is remembered for ever, "" for what is no flag. A key that meant one thing and
// then another would switch on, in programs that still ask for it, what nobody meant.
func retiredPath(path string) string {
	if key, ok := strings.CutPrefix(path, "flag/"); ok {
		return "retired/" + key
	}
	return ""
}

func (c Edit) scopeOf(e *Engine, env *environment, path string, raw json.RawMessage) (string, error) {
	kind, name, ok := strings.Cut(path, "/")
	if !ok || name == "" {
		return "", refusal("path.invalid", `write "<kind>/<name>"`, "object path %q has no kind and name", path)
	}
	if slices.Contains(overlayKinds, kind) {
		return revision.Overlay, nil
	}
	if !slices.Contains(baseKinds, kind) {
		return "", refusal("path.kind", "use flag, segment, exception, kill or exclude", "objects of kind %q cannot be edited", kind)
	}
	if scope, _, found := env.rev.Find(path); found && scope != revision.Base {
		return "", scopeOpen(path, scope)
	}
	if kind == "flag" {
		var f flag.Flag
		if json.Unmarshal(raw, &f) == nil && f.Rollout != nil {
			return "", refusal("flag.rollout", "apply a Rollout spec instead", "flag %q: exposure is set by rollouts, not by edits", name)
		}
	}
	if kind == "exception" {
		var x flag.Exception
		if json.Unmarshal(raw, &x) == nil {
			if scope, _, found := env.rev.Find("flag/" + x.Flag); found && scope != revision.Base {
				return "", scopeOpen("flag/"+x.Flag, scope)
			}
		}
	}
	return revision.Base, nil
}

func scopeOpen(path, scope string) error {
	return refusal("scope.open", "wait for it to end or roll it back; kill switches and exclusions are always possible",
		"%s belongs to the open rollout %q", path, scope)
}

// Seed fills a new environment's base scope in one revision; used by tests and the demo.
func Seed(env, actor string, flags ...flag.Flag) (Edit, error) {
	put := map[string]json.RawMessage{}
	for _, f := range flags {
		b, err := flag.Canonical(f)
		if err != nil {
			return Edit{}, fmt.Errorf("seed flag %s: %w", f.Key, err)
		}
		put["flag/"+f.Key] = b
	}
	return Edit{Env: env, Put: put, Actor: actor}, nil
}
