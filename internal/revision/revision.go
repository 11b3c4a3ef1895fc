// Package revision holds an environment's configuration as values. An environment is made of scopes, one per consistency
// group: "base" for everything settled, "overlay" for kill switches and exclusions, and one scope per open rollout that
// carries its flag, exceptions, bundle pins and judged metrics. Each scope has a digest of its own, so that a rollback can
// return exactly one scope to exactly what it was and leave every other scope byte-identical.
//
// The obvious way, one digest over the whole environment and a restore of it, would revive a flag that was killed
// meanwhile and undo other rollouts.
package revision

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/mutant"
)

// Names of the two scopes that belong to no rollout. Rollout scopes are named after their rollout.
const (
	Base    = "base"
	Overlay = "overlay"
)

// Tags of the digest algorithms: a change of the canonical form needs a new tag.
const (
	tagServing = "sluice-scope-serving-v1"
	tagEnv     = "sluice-env-v1"
)

// Objects is the content of one scope: "<kind>/<name>" -> canonical JSON (RFC 8785).
type Objects map[string]json.RawMessage

// Put stores v in canonical form under path. It fails when v has no canonical JSON.
func (o Objects) Put(path string, v any) error {
	b, err := flag.Canonical(v)
	if err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	o[path] = b
	return nil
}

// Clone copies the map; the values are immutable and shared. It never returns nil, so that a clone can be written to.
func (o Objects) Clone() Objects {
	if o == nil {
		return Objects{}
	}
	return maps.Clone(o)
}

// Digests returns the serving digest (without the "meta" member of each object) and the full digest, the plain SHA-256 of
// the canonical content, under which it is stored.
// Both are "sha256:<hex>"; equal content gives equal digests whatever the order in which it was put.
func (o Objects) Digests() (serving, full string, err error) {
	stripped := make(map[string]json.RawMessage, len(o))
	for path, raw := range o {
		stripped[path], err = withoutMeta(raw)
		if err != nil {
			return "", "", fmt.Errorf("digest %s: %w", path, err)
		}
	}
	if serving, err = digestOf(tagServing, stripped); err != nil {
		return "", "", err
	}
	body, err := flag.Canonical(map[string]json.RawMessage(o.Clone()))
	if err != nil {
		return "", "", err
	}
	return serving, flag.ContentDigest(body), nil
}

func digestOf(tag string, v any) (string, error) {
	b, err := flag.Canonical(v)
	if err != nil {
		return "", err
	}
	return flag.Digest(tag, b), nil
}

func withoutMeta(raw json.RawMessage) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return raw, nil // not an object: nothing to strip
	}
	if _, ok := m["meta"]; !ok {
		return raw, nil
	}
	delete(m, "meta")
	return flag.Canonical(m)
}

// Scope is one consistency group at one revision.
type Scope struct {
	Rev     uint64        `json:"rev"`              // number of the last environment revision that changed it
	Digest  string        `json:"digest"`           // serving digest
	Full    string        `json:"full"`             // full digest; names the artifact that holds the content
	Leased  bool          `json:"leased,omitempty"` // class exposure: exposed arms need a live lease
	TTL     time.Duration `json:"ttl,omitempty"`    // lease length
	Objects Objects       `json:"-"`
}

// Env is an environment's configuration at revision Number. It is never changed in place: With returns the next one.
type Env struct {
	Name   string            `json:"name"`
	Number uint64            `json:"number"`
	Digest string            `json:"digest"` // over the sorted (scope, serving digest) list
	Scopes map[string]Scope  `json:"scopes"`
	Floors map[string]uint64 `json:"floors,omitempty"` // lowest revision of a scope that may be served; only grow
	At     time.Time         `json:"at"`
}

// New returns an environment at revision 0 with empty base and overlay scopes.
func New(name string) Env {
	e := Env{Name: name, Scopes: map[string]Scope{}, Floors: map[string]uint64{}}
	for _, s := range []string{Base, Overlay} {
		serving, full, err := Objects{}.Digests()
		if err != nil {
			panic("revision: empty scope has no digest: " + err.Error())
		}
		e.Scopes[s] = Scope{Digest: serving, Full: full, Objects: Objects{}}
	}
	e.Digest = e.digest()
	return e
}

// Change is what the next revision does to the environment. Scopes that it does not name stay byte-identical.
type Change struct {
	Put    map[string]ScopeContent // scopes written whole
	Remove []string                // scopes that end; Base and Overlay cannot
	Floor  []string                // scopes whose floor rises to the new number
	Adopt  uint64                  // the next number is above this one and every scope takes it, leased ones as their floor
}

// ScopeContent is the whole new content of a scope.
type ScopeContent struct {
	Objects Objects
	Leased  bool
	TTL     time.Duration
}

// With returns the next revision. Numbers and floors only grow; a scope's revision changes only when its content,
// class or floor does. It refuses to remove what cannot be removed and content without a canonical form.
func (e Env) With(c Change, now time.Time) (Env, error) {
	next := Env{Name: e.Name, Number: max(e.Number, c.Adopt) + 1, Scopes: maps.Clone(e.Scopes), Floors: maps.Clone(e.Floors), At: now.UTC()}
	if next.Floors == nil || mutant.Is(mutant.FloorsForgotten) {
		next.Floors = map[string]uint64{}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Put)) {
		content := c.Put[name]
		serving, full, err := content.Objects.Digests()
		if err != nil {
			return Env{}, fmt.Errorf("scope %s: %w", name, err)
		}
		old, had := e.Scopes[name]
		s := Scope{Rev: next.Number, Digest: serving, Full: full, Leased: content.Leased, TTL: content.TTL, Objects: content.Objects.Clone()}
		if had && old.Full == full && old.Leased == s.Leased && old.TTL == s.TTL && !slices.Contains(c.Floor, name) {
			s.Rev = old.Rev
		}
		next.Scopes[name] = s
	}
	for _, name := range c.Remove {
		if name == Base || name == Overlay {
			return Env{}, fmt.Errorf("scope %s cannot be removed", name)
		}
		delete(next.Scopes, name)
		delete(next.Floors, name)
	}
	for _, name := range c.Floor {
		s, ok := next.Scopes[name]
		if !ok {
			return Env{}, fmt.Errorf("floor of scope %s: no such scope", name)
		}
		s.Rev = next.Number
		next.Scopes[name] = s
		next.Floors[name] = next.Number
	}
	if c.Adopt != 0 {
		next.renumber()
	}
	next.Digest = next.digest()
	return next, nil
}

// renumber gives every scope the environment's number: members that have seen higher ones take all of it as new.
func (e Env) renumber() {
	for name, s := range e.Scopes {
		s.Rev = e.Number
		e.Scopes[name] = s
		if s.Leased {
			e.Floors[name] = e.Number
		}
	}
}

func (e Env) digest() string {
	pairs := make([][2]string, 0, len(e.Scopes))
	for _, name := range slices.Sorted(maps.Keys(e.Scopes)) {
		pairs = append(pairs, [2]string{name, e.Scopes[name].Digest})
	}
	d, err := digestOf(tagEnv, pairs)
	if err != nil {
		panic("revision: list of digests has no digest: " + err.Error())
	}
	return d
}

// Objects returns the whole environment as "<scope>/<kind>/<name>" -> canonical JSON.
func (e Env) Objects() map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, s := range e.Scopes {
		for path, raw := range s.Objects {
			out[name+"/"+path] = raw
		}
	}
	return out
}

// Find returns the scope that holds the object at path ("<kind>/<name>"), if one does. A path lies in at most one of
// base and the rollout scopes; the overlay has kinds of its own.
func (e Env) Find(path string) (scope string, raw json.RawMessage, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(e.Scopes)) {
		if raw, ok := e.Scopes[name].Objects[path]; ok {
			return name, raw, true
		}
	}
	return "", nil, false
}

// Compile parses and compiles the configuration as members do: what does not compile is never published. A reference that
// leads nowhere is no error here, because a rollback must take effect even if another scope has changed under it.
func (e Env) Compile() (*flag.Snapshot, error) { return e.compile(true) }

// Check compiles strictly, for configuration that people have just written.
func (e Env) Check() error {
	_, err := e.compile(false)
	return err
}

func (e Env) compile(dangling bool) (*flag.Snapshot, error) {
	cfg, err := flag.ParseObjects(e.Objects())
	if err != nil {
		return nil, err
	}
	revs := make(map[string]uint64, len(e.Scopes))
	for name, s := range e.Scopes {
		revs[name] = s.Rev
	}
	return flag.Compile(cfg, flag.Options{ScopeRev: revs, AllowDangling: dangling})
}

// WithContent returns the environment as it would be with the content in place of the scope's, for checks; it has no number of
// its own and is never published.
func (e Env) WithContent(scope string, content Objects) Env {
	e.Scopes = maps.Clone(e.Scopes)
	s := e.Scopes[scope]
	s.Objects = content
	e.Scopes[scope] = s
	return e
}

// DiffLine is one object that differs between two environments.
type DiffLine struct {
	Scope string          `json:"scope"`
	Path  string          `json:"path"`
	Old   json.RawMessage `json:"old,omitempty"`
	New   json.RawMessage `json:"new,omitempty"`
}

// Diff lists the objects that differ, sorted by scope and path.
func Diff(a, b Env) []DiffLine {
	oa, ob := a.Objects(), b.Objects()
	keys := maps.Clone(oa)
	maps.Copy(keys, ob)
	var out []DiffLine
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if string(oa[k]) == string(ob[k]) {
			continue
		}
		scope, path, _ := strings.Cut(k, "/")
		out = append(out, DiffLine{Scope: scope, Path: path, Old: oa[k], New: ob[k]})
	}
	return out
}
