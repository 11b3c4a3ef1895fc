package slp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice.dev/sdk/flag"
)

// Tags of the digests. They name the canonical form: another form needs other tags.
const (
	tagScope = "sluice-scope-serving-v1"
	tagEnv   = "sluice-env-v1"
)

// Limits of a snapshot; more is refused whole.
const (
	MaxScopes  = 1024
	MaxObjects = 200_000
	maxRev     = 1 << 53 // every JSON reader holds it exactly
)

// ScopeDigest returns the serving digest of a scope's objects, keyed "<kind>/<name>": SHA-256 over their canonical JSON
// (RFC 8785) without the member "meta" of each. Equal content gives equal digests, however it was written.
func ScopeDigest(objects map[string]json.RawMessage) (string, error) {
	stripped := make(map[string]json.RawMessage, len(objects))
	for path, raw := range objects {
		s, err := withoutMeta(raw)
		if err != nil {
			return "", fmt.Errorf("digest of %s: %w", path, err)
		}
		stripped[path] = s
	}
	b, err := flag.Canonical(stripped)
	if err != nil {
		return "", fmt.Errorf("digest of a scope: %w", err)
	}
	return flag.Digest(tagScope, b), nil
}

func withoutMeta(raw json.RawMessage) (json.RawMessage, error) {
	if !bytes.Contains(raw, []byte(`"meta"`)) {
		return raw, nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return raw, nil // not an object: it has no members
	}
	if _, ok := m["meta"]; !ok {
		return raw, nil
	}
	delete(m, "meta")
	return flag.Canonical(m)
}

// EnvDigest returns the digest of an environment: SHA-256 over the list of (scope, serving digest), sorted by scope.
func EnvDigest(scopes map[string]ScopeMeta) (string, error) {
	pairs := make([][2]string, 0, len(scopes))
	for _, name := range slices.Sorted(maps.Keys(scopes)) {
		pairs = append(pairs, [2]string{name, scopes[name].Digest})
	}
	b, err := flag.Canonical(pairs)
	if err != nil {
		return "", fmt.Errorf("digest of an environment: %w", err)
	}
	return flag.Digest(tagEnv, b), nil
}

// Verify computes every digest again and compares. It also refuses what is too large, objects of a scope that is not
// listed, and numbers that cannot be.
func (s *Snapshot) Verify() error { return s.verify(nil) }

// verify leaves out the scopes that stand in known with the same digest and were not touched; nil touched means all.
func (s *Snapshot) verify(touched map[string]bool) error {
	if len(s.Scopes) > MaxScopes {
		return fmt.Errorf("snapshot %d has %d scopes, at most %d are allowed", s.Head.Rev, len(s.Scopes), MaxScopes)
	}
	if len(s.Objects) > MaxObjects {
		return fmt.Errorf("snapshot %d has %d objects, at most %d are allowed", s.Head.Rev, len(s.Objects), MaxObjects)
	}
	if s.Head.Rev >= maxRev {
		return fmt.Errorf("snapshot: revision %d is out of range", s.Head.Rev)
	}
	parts, err := s.split(touched)
	if err != nil {
		return err
	}
	for name, meta := range s.Scopes {
		if meta.Rev > s.Head.Rev {
			return fmt.Errorf("snapshot %d: scope %s has revision %d, above the head", s.Head.Rev, name, meta.Rev)
		}
		if touched != nil && !touched[name] {
			continue
		}
		got, err := ScopeDigest(parts[name])
		if err != nil {
			return fmt.Errorf("snapshot %d, scope %s: %w", s.Head.Rev, name, err)
		}
		if got != meta.Digest {
			return fmt.Errorf("snapshot %d: scope %s has digest %s, announced was %s", s.Head.Rev, name, got, meta.Digest)
		}
	}
	got, err := EnvDigest(s.Scopes)
	if err == nil && got != s.Head.Digest {
		err = fmt.Errorf("snapshot %d has digest %s, announced was %s", s.Head.Rev, got, s.Head.Digest)
	}
	return err
}

// split sorts the objects by scope, keyed "<kind>/<name>"; only of the touched scopes unless that is nil.
func (s *Snapshot) split(touched map[string]bool) (map[string]map[string]json.RawMessage, error) {
	parts := make(map[string]map[string]json.RawMessage, len(s.Scopes))
	for path, raw := range s.Objects {
		scope, rest, ok := strings.Cut(path, "/")
		if _, listed := s.Scopes[scope]; !ok || !listed {
			return nil, fmt.Errorf("snapshot %d: object %.80q is in no listed scope", s.Head.Rev, path)
		}
		if touched != nil && !touched[scope] {
			continue
		}
		if parts[scope] == nil {
			parts[scope] = map[string]json.RawMessage{}
		}
		parts[scope][rest] = raw
	}
	return parts, nil
}

// Apply returns the snapshot that the delta makes of s, named by head, with the digests of every scope it touches
// verified. s is not changed. Values are shared.
func (s *Snapshot) Apply(d *Delta, head Head) (*Snapshot, error) {
	if d.Base != s.Head.Digest {
		return nil, fmt.Errorf("delta to %d starts from %.20s, held is %.20s", head.Rev, d.Base, s.Head.Digest)
	}
	next := &Snapshot{Env: s.Env, Head: head, Scopes: maps.Clone(d.Scopes), Objects: maps.Clone(s.Objects)}
	if next.Objects == nil {
		next.Objects = map[string]json.RawMessage{}
	}
	touched := map[string]bool{}
	touch := func(path string) {
		scope, _, _ := strings.Cut(path, "/")
		touched[scope] = true
	}
	for path, raw := range d.Upsert {
		next.Objects[path] = raw
		touch(path)
	}
	for _, path := range d.Delete {
		delete(next.Objects, path)
		touch(path)
	}
	for name, meta := range next.Scopes {
		if s.Scopes[name].Digest != meta.Digest {
			touched[name] = true
		}
	}
	if err := next.verify(touched); err != nil {
		return nil, fmt.Errorf("delta from %d: %w", s.Head.Rev, err)
	}
	return next, nil
}

// withScope returns a copy of s in which one scope's objects (keyed "<kind>/<name>") are replaced, under its old number.
func (s *Snapshot) withScope(scope, digest string, objects map[string]json.RawMessage) *Snapshot {
	next := &Snapshot{Env: s.Env, Head: s.Head, Scopes: maps.Clone(s.Scopes), Objects: make(map[string]json.RawMessage, len(s.Objects))}
	prefix := scope + "/"
	for path, raw := range s.Objects {
		if !strings.HasPrefix(path, prefix) {
			next.Objects[path] = raw
		}
	}
	for path, raw := range objects {
		next.Objects[prefix+path] = raw
	}
	meta := next.Scopes[scope]
	meta.Digest = digest
	next.Scopes[scope] = meta
	return next
}

// Compile compiles the snapshot's flags for a member: references that lead nowhere do nothing, because what the server
// publishes, above all a rollback, must take effect. The configuration is returned too.
func (s *Snapshot) Compile() (*flag.Snapshot, flag.Config, error) {
	cfg, err := flag.ParseObjects(s.Objects)
	if err != nil {
		return nil, cfg, fmt.Errorf("snapshot %d: %w", s.Head.Rev, err)
	}
	revs := make(map[string]uint64, len(s.Scopes))
	for name, meta := range s.Scopes {
		revs[name] = meta.Rev
	}
	compiled, err := flag.Compile(cfg, flag.Options{ScopeRev: revs, AllowDangling: true})
	if err != nil {
		return nil, cfg, fmt.Errorf("snapshot %d: %w", s.Head.Rev, err)
	}
	return compiled, cfg, nil
}
