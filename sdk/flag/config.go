package flag

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Config is an environment's flags and what belongs to them, decoded. Keys are the objects' names.
type Config struct {
	Flags      map[string]Flag      // by flag key
	Segments   map[string]Segment   // by name
	Kills      map[string]Kill      // by flag key
	Exceptions map[string]Exception // by id
	Exclusions map[string]Exclusion // by id
	Judged     map[string]Judged    // by rollout id

	// Scopes names the scope in which each object lies, by "<kind>/<name>". Objects that it does not name lie in scope "".
	Scopes map[string]string
}

// Kinds of objects. ParseObjects ignores others: they configure other things than flags.
const (
	KindFlag      = "flag"
	KindSegment   = "segment"
	KindKill      = "kill"
	KindException = "exception"
	KindExclude   = "exclude"
	KindJudge     = "judge"
)

// maxObjectBytes bounds the JSON of one object.
const maxObjectBytes = 1 << 20

// NewConfig returns an empty configuration whose maps may be written.
func NewConfig() Config {
	return Config{
		Flags: map[string]Flag{}, Segments: map[string]Segment{}, Kills: map[string]Kill{},
		Exceptions: map[string]Exception{}, Exclusions: map[string]Exclusion{}, Judged: map[string]Judged{},
		Scopes: map[string]string{},
	}
}

// Scope returns the scope of an object, "" when it is unknown.
func (c Config) Scope(kind, name string) string { return c.Scopes[kind+"/"+name] }

// path names an object in messages.
func (c Config) path(kind, name string) string {
	if s := c.Scope(kind, name); s != "" {
		return s + "/" + kind + "/" + name
	}
	return kind + "/" + name
}

// ParseObjects decodes a configuration whose objects are keyed "<scope>/<kind>/<name>". Decoding is strict; all errors
// are reported, joined, in the order of the paths (Errors lists them). What an object means together with others is
// checked by Validate. The objects are neither kept nor changed.
func ParseObjects(objects map[string]json.RawMessage) (Config, error) {
	cfg := NewConfig()
	rep := &report{}
	d := &decoder{report: rep}
	for _, path := range slices.Sorted(maps.Keys(objects)) {
		cfg.parse(d, path, objects[path])
	}
	return cfg, rep.err()
}

func (c *Config) parse(d *decoder, path string, raw json.RawMessage) {
	scope, rest, ok1 := strings.Cut(path, "/")
	kind, name, ok2 := strings.Cut(rest, "/")
	if !ok1 || !ok2 || scope == "" {
		d.add(path, CodePath, "the path is not <scope>/<kind>/<name>")
		return
	}
	if !isKind(kind) {
		return
	}
	if len(raw) > maxObjectBytes {
		d.add(path, CodeLimitSize, fmt.Sprintf("the object has %d bytes, more than %d", len(raw), maxObjectBytes))
		return
	}
	if !isSlug(name) && !((kind == KindFlag || kind == KindKill) && isKey(name)) {
		d.add(path, CodeName, fmt.Sprintf("%s is not a name (%s)", short(name), slugForm))
		return
	}
	if other, ok := c.Scopes[kind+"/"+name]; ok {
		d.add(path, CodeDuplicate, fmt.Sprintf("scope %s has this object too", other))
		return
	}
	own, ok := c.read(d, kind, path, name, raw)
	if !ok {
		return
	}
	c.Scopes[kind+"/"+name] = scope
	if own != name {
		d.add(path, CodeNameMismatch, fmt.Sprintf("the object calls itself %s", short(own)))
	}
}

func isKind(kind string) bool {
	switch kind {
	case KindFlag, KindSegment, KindKill, KindException, KindExclude, KindJudge:
		return true
	}
	return false
}

// read decodes an object of a known kind and returns the name that it gives itself.
func (c *Config) read(d *decoder, kind, path, name string, raw []byte) (own string, ok bool) {
	switch kind {
	case KindFlag:
		return keep(d, c.Flags, path, name, raw, func(f Flag) string { return f.Key })
	case KindSegment:
		return keep(d, c.Segments, path, name, raw, func(s Segment) string { return s.Name })
	case KindKill:
		return keep(d, c.Kills, path, name, raw, func(k Kill) string { return k.Flag })
	case KindException:
		return keep(d, c.Exceptions, path, name, raw, func(e Exception) string { return e.ID })
	case KindExclude:
		return keep(d, c.Exclusions, path, name, raw, func(e Exclusion) string { return e.ID })
	}
	return keep(d, c.Judged, path, name, raw, func(j Judged) string { return j.Rollout })
}

func keep[T any](d *decoder, into map[string]T, path, name string, raw []byte, own func(T) string) (string, bool) {
	var v T
	ok := d.decode(path, raw, &v)
	if ok {
		into[name] = v
	}
	return own(v), ok
}

// slugForm is what isSlug accepts, for messages.
const slugForm = "[a-z0-9][a-z0-9._-]{0,127}"

// isSlug says whether s is a name: lower-case ASCII, so that no two names look alike and each is a file name everywhere.
func isSlug(s string) bool { return isKey(s) && s == strings.ToLower(s) }

// keyForm is what isKey accepts, for messages.
const keyForm = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

// isKey says whether s may be a flag's key or a variant's name: a slug that may have capitals, because flags come from
// systems whose keys do. Validate refuses two keys that differ in nothing else.
func isKey(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if !(b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' || i > 0 && (b == '.' || b == '_' || b == '-')) {
			return false
		}
	}
	return true
}
