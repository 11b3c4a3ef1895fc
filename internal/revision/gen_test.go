package revision

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// scopeNames are few, so that generated changes meet the same scopes again.
var scopeNames = []string{Base, Overlay, "spend7d-v15", "ranker-2", "flights-3"}

var genPath = rapid.Custom(func(t *rapid.T) string {
	kind := rapid.SampledFrom([]string{"flag", "segment", "exception", "pin", "kill"}).Draw(t, "kind")
	return fmt.Sprintf("%s/n%d", kind, rapid.IntRange(0, 4).Draw(t, "name"))
})

var genValue = rapid.Custom(func(t *rapid.T) map[string]any {
	v := map[string]any{"a": rapid.IntRange(0, 3).Draw(t, "a")}
	if rapid.Bool().Draw(t, "has text") {
		v["text"] = rapid.StringOfN(rapid.RuneFrom([]rune(`aé"\<&中😀`)), 0, 4, -1).Draw(t, "text")
	}
	if rapid.Bool().Draw(t, "has meta") {
		v["meta"] = map[string]any{"owner": rapid.SampledFrom([]string{"ann", "bo"}).Draw(t, "owner")}
	}
	return v
})

var genObjects = rapid.Custom(func(t *rapid.T) Objects {
	o := Objects{}
	for path, v := range rapid.MapOfN(genPath, genValue, 0, 6).Draw(t, "objects") {
		if err := o.Put(path, v); err != nil {
			t.Fatalf("put %s: %v", path, err)
		}
	}
	return o
})

// genChange draws a change that With accepts on e.
func genChange(t *rapid.T, e Env) Change {
	c := Change{Put: map[string]ScopeContent{}}
	exist := map[string]bool{}
	for name := range e.Scopes {
		exist[name] = true
	}
	for _, name := range scopeNames {
		switch rapid.IntRange(0, 5).Draw(t, name) {
		case 0, 1:
			c.Put[name] = ScopeContent{Objects: genObjects.Draw(t, "content"), Leased: rapid.Bool().Draw(t, "leased"), TTL: 10 * time.Second}
			exist[name] = true
		case 2: // the same content once more
			if s, ok := e.Scopes[name]; ok {
				c.Put[name] = ScopeContent{Objects: s.Objects, Leased: s.Leased, TTL: s.TTL}
			}
		case 3:
			if name != Base && name != Overlay {
				c.Remove = append(c.Remove, name)
				exist[name] = false
			}
		}
	}
	for _, name := range scopeNames {
		if exist[name] && rapid.IntRange(0, 4).Draw(t, "floor of "+name) == 0 {
			c.Floor = append(c.Floor, name)
		}
	}
	return c
}

func genEnv(t *rapid.T) Env {
	e := New("production")
	for i := range rapid.IntRange(0, 5).Draw(t, "revisions") {
		e = mustWith(t, e, genChange(t, e), t0.Add(time.Duration(i)*time.Second))
	}
	return e
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func mustWith(t fataler, e Env, c Change, now time.Time) Env {
	t.Helper()
	next, err := e.With(c, now)
	if err != nil {
		t.Fatalf("revision %d: %v", e.Number+1, err)
	}
	return next
}

// copyOf is a deep copy, to notice a change in place.
func copyOf(e Env) Env {
	e.Scopes, e.Floors = maps.Clone(e.Scopes), maps.Clone(e.Floors)
	for name, s := range e.Scopes {
		s.Objects = s.Objects.Clone()
		for path, raw := range s.Objects {
			s.Objects[path] = slices.Clone(raw)
		}
		e.Scopes[name] = s
	}
	return e
}

func sameEnv(t fataler, got, want Env) {
	t.Helper()
	if !got.At.Equal(want.At) {
		t.Fatalf("at is %s, want %s", got.At, want.At)
	}
	got.At, want.At = time.Time{}, time.Time{}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("environments differ:\ngot  %+v\nwant %+v", got, want)
	}
}

// blobs collects the stored form of every scope of the environments.
func blobs(t fataler, envs ...Env) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, e := range envs {
		for name, s := range e.Scopes {
			digest, body, err := s.Blob()
			if err != nil {
				t.Fatalf("blob of %s: %v", name, err)
			}
			out[digest] = body
		}
	}
	return out
}

func reader(m map[string][]byte) func(string) ([]byte, error) {
	return func(full string) ([]byte, error) {
		b, ok := m[full]
		if !ok {
			return nil, fmt.Errorf("no blob %s", full)
		}
		return b, nil
	}
}

func put(t testing.TB, o Objects, path string, v any) Objects {
	t.Helper()
	if err := o.Put(path, v); err != nil {
		t.Fatal(err)
	}
	return o
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }
