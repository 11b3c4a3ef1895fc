package revision

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sdk/flag"
)

func TestWithLeavesUnnamedScopesByteIdentical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEnv(t)
		before := copyOf(e)
		c := genChange(t, e)
		next := mustWith(t, e, c, t0.Add(time.Minute))
		sameEnv(t, e, before)
		for name, s := range before.Scopes {
			_, put := c.Put[name]
			if put || slices.Contains(c.Remove, name) || slices.Contains(c.Floor, name) {
				continue
			}
			if got := next.Scopes[name]; !reflect.DeepEqual(got, s) {
				t.Fatalf("scope %s changed although the change does not name it:\ngot  %+v\nwant %+v", name, got, s)
			}
		}
	})
}

func TestNumbersAndFloorsOnlyGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEnv(t)
		c := genChange(t, e)
		next := mustWith(t, e, c, t0.Add(time.Minute))
		if next.Number != e.Number+1 {
			t.Fatalf("revision %d follows %d", next.Number, e.Number)
		}
		for name, s := range next.Scopes {
			old, had := e.Scopes[name]
			switch changed := !had || old.Full != s.Full || old.Leased != s.Leased || old.TTL != s.TTL || slices.Contains(c.Floor, name); {
			case slices.Contains(c.Remove, name):
				t.Fatalf("scope %s is there although it was removed", name)
			case changed && s.Rev != next.Number:
				t.Fatalf("scope %s changed in revision %d and says %d", name, next.Number, s.Rev)
			case !changed && s.Rev != old.Rev:
				t.Fatalf("scope %s did not change and went from revision %d to %d", name, old.Rev, s.Rev)
			}
			if next.Floors[name] < e.Floors[name] && had {
				t.Fatalf("floor of %s fell from %d to %d", name, e.Floors[name], next.Floors[name])
			}
			if next.Floors[name] > s.Rev {
				t.Fatalf("scope %s is at revision %d, below its floor %d", name, s.Rev, next.Floors[name])
			}
			if slices.Contains(c.Floor, name) && next.Floors[name] != next.Number {
				t.Fatalf("floor of %s is %d, want %d", name, next.Floors[name], next.Number)
			}
		}
		for name := range next.Floors {
			if _, ok := next.Scopes[name]; !ok {
				t.Fatalf("scope %s has a floor and is gone", name)
			}
		}
	})
}

// TestDigestOrder puts the same objects in two orders and with members in other orders.
func TestDigestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOfN(genPath, genValue, 0, 6).Draw(t, "values")
		paths := slices.Sorted(maps.Keys(values))
		a, b := Objects{}, Objects{}
		for _, p := range paths {
			if err := a.Put(p, values[p]); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range rapid.Permutation(paths).Draw(t, "order") {
			shuffled := `{`
			for i, k := range rapid.Permutation(slices.Sorted(maps.Keys(values[p]))).Draw(t, "members") {
				if i > 0 {
					shuffled += " ,\n"
				}
				v, err := json.Marshal(values[p][k])
				if err != nil {
					t.Fatal(err)
				}
				shuffled += ` "` + k + `" : ` + string(v)
			}
			if err := b.Put(p, raw(shuffled+"}")); err != nil {
				t.Fatal(err)
			}
		}
		as, af, err := a.Digests()
		if err != nil {
			t.Fatal(err)
		}
		bs, bf, err := b.Digests()
		if err != nil {
			t.Fatal(err)
		}
		if as != bs || af != bf {
			t.Fatalf("digests differ: %s %s and %s %s", as, af, bs, bf)
		}
	})
}

func TestNilAndEmptyContentAreOne(t *testing.T) {
	ns, nf, err := Objects(nil).Digests()
	if err != nil {
		t.Fatal(err)
	}
	es, ef, err := Objects{}.Digests()
	if err != nil {
		t.Fatal(err)
	}
	if ns != es || nf != ef {
		t.Errorf("nil content has digests %s %s, empty %s %s", ns, nf, es, ef)
	}
	e := mustWith(t, New("e"), Change{Put: map[string]ScopeContent{Base: {}}}, t0)
	put(t, e.Scopes[Base].Objects.Clone(), "flag/a", 1) // must be writable
	if got := e.Scopes[Base].Rev; got != 0 {
		t.Errorf("putting nothing into an empty scope gave it revision %d", got)
	}
}

func TestMetaChangesOnlyTheFullDigest(t *testing.T) {
	with := func(v string) Env {
		return mustWith(t, New("e"), Change{Put: map[string]ScopeContent{Base: {Objects: put(t, Objects{}, "flag/a", raw(v))}}}, t0)
	}
	plain, meta, other := with(`{"key":"a","on":{"meta":1}}`), with(`{"key":"a","meta":{"owner":"x"},"on":{"meta":1}}`), with(`{"key":"a","on":{"meta":2}}`)
	if a, b := plain.Scopes[Base], meta.Scopes[Base]; a.Digest != b.Digest || a.Full == b.Full {
		t.Errorf("meta: serving digests equal %v (want true), full digests equal %v (want false)", a.Digest == b.Digest, a.Full == b.Full)
	}
	if plain.Digest != meta.Digest {
		t.Error("meta changed the environment's digest")
	}
	// Only the object's own meta is without meaning; a member of that name further down is served.
	if plain.Scopes[Base].Digest == other.Scopes[Base].Digest || plain.Digest == other.Digest {
		t.Error("a nested member called meta does not change the serving digest")
	}
	next := mustWith(t, plain, Change{Put: map[string]ScopeContent{Base: {Objects: meta.Scopes[Base].Objects}}}, t0)
	if next.Scopes[Base].Rev != next.Number {
		t.Error("a change of meta alone did not give the scope a new revision")
	}
}

func TestScopeDigestsAreToldApart(t *testing.T) {
	o := put(t, Objects{}, "flag/a", raw(`{"key":"a"}`))
	serving, full, err := o.Digests()
	if err != nil {
		t.Fatal(err)
	}
	if serving == full {
		t.Error("serving and full digest of one content are the same: a digest must say which it is")
	}
	_, body, err := Scope{Objects: o, Full: full}.Blob()
	if err != nil {
		t.Fatal(err)
	}
	if got := flag.ContentDigest(body); got != full {
		t.Errorf("the blob has digest %s, the scope says %s", got, full)
	}
}

func TestFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEnv(t)
		path := genPath.Draw(t, "path")
		var holders []string
		for name, s := range e.Scopes {
			if _, ok := s.Objects[path]; ok {
				holders = append(holders, name)
			}
		}
		scope, raw, ok := e.Find(path)
		if ok != (len(holders) > 0) {
			t.Fatalf("find %s says %v, holders are %v", path, ok, holders)
		}
		if ok && (!slices.Contains(holders, scope) || string(raw) != string(e.Scopes[scope].Objects[path])) {
			t.Fatalf("find %s gives %s in %s, holders are %v", path, raw, scope, holders)
		}
	})
}

func TestDiffAppliedGivesTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := genEnv(t)
		b := mustWith(t, a, genChange(t, a), t0.Add(time.Hour))
		got := a.Objects()
		lines := Diff(a, b)
		for _, l := range lines {
			key := l.Scope + "/" + l.Path
			if string(got[key]) != string(l.Old) {
				t.Fatalf("line %s says old is %s, it is %s", key, l.Old, got[key])
			}
			if l.New == nil {
				delete(got, key)
			} else {
				got[key] = l.New
			}
		}
		if want := b.Objects(); !reflect.DeepEqual(got, want) {
			t.Fatalf("diff applied gives %v, want %v", got, want)
		}
		if !slices.IsSortedFunc(lines, func(x, y DiffLine) int { return strings.Compare(x.Scope+"/"+x.Path, y.Scope+"/"+y.Path) }) {
			t.Fatalf("lines are not sorted: %v", lines)
		}
		if d := Diff(b, b); len(d) != 0 {
			t.Fatalf("an environment differs from itself: %v", d)
		}
	})
}

// TestRollbackRestoresOneScope (I8): whatever is edited elsewhere while a rollout is open, putting its scope's content
// back gives the digests it had before and touches nothing else.
func TestRollbackRestoresOneScope(t *testing.T) {
	const scope = "spend7d-v15"
	rapid.Check(t, func(t *rapid.T) {
		before := genObjects.Draw(t, "before")
		open := ScopeContent{Objects: before, Leased: true, TTL: 10 * time.Second}
		e := mustWith(t, genEnv(t), Change{Put: map[string]ScopeContent{scope: open}}, t0.Add(time.Hour))
		digestBefore := e.Scopes[scope].Full
		for i := range rapid.IntRange(0, 6).Draw(t, "edits") {
			c := genChange(t, e)
			c.Remove = slices.DeleteFunc(c.Remove, func(s string) bool { return s == scope })
			e = mustWith(t, e, c, t0.Add(time.Hour+time.Duration(i)*time.Second))
		}
		back := mustWith(t, e, Change{Put: map[string]ScopeContent{scope: open}, Floor: []string{scope}}, t0.Add(2*time.Hour))
		if got := back.Scopes[scope].Full; got != digestBefore {
			t.Fatalf("digest after rollback %s, before the start %s", got, digestBefore)
		}
		if back.Floors[scope] != back.Number || back.Scopes[scope].Rev != back.Number {
			t.Fatalf("floor %d and revision %d of the scope, want %d", back.Floors[scope], back.Scopes[scope].Rev, back.Number)
		}
		for name, s := range e.Scopes {
			if name != scope && !reflect.DeepEqual(back.Scopes[name], s) {
				t.Fatalf("rollback of %s changed scope %s", scope, name)
			}
		}
	})
}

func TestWithRefuses(t *testing.T) {
	e := mustWith(t, New("e"), Change{Put: map[string]ScopeContent{"r1": {}}}, t0)
	tests := []struct {
		name string
		c    Change
		want string
	}{
		{"removing base", Change{Remove: []string{Base}}, "scope base cannot be removed"},
		{"removing overlay", Change{Remove: []string{Overlay}}, "scope overlay cannot be removed"},
		{"floor of an unknown scope", Change{Floor: []string{"r2"}}, "floor of scope r2: no such scope"},
		{"floor of a scope that ends", Change{Remove: []string{"r1"}, Floor: []string{"r1"}}, "floor of scope r1: no such scope"},
		{"content without canonical form", Change{Put: map[string]ScopeContent{"r1": {Objects: Objects{"flag/a": raw(`{"a":1,"a":2}`)}}}}, "scope r1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			was := copyOf(e)
			_, err := e.With(tt.c, t0)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			sameEnv(t, e, was)
		})
	}
}

func TestPutRefusesWhatHasNoCanonicalForm(t *testing.T) {
	for _, v := range []any{math.NaN(), raw(`{"a":1,"a":2}`), raw(`{`), "\xff"} {
		o := Objects{}
		if err := o.Put("flag/a", v); err == nil || !strings.HasPrefix(err.Error(), "put flag/a: ") {
			t.Errorf("put %v: got error %v", v, err)
		}
		if len(o) != 0 {
			t.Errorf("put %v left %v", v, o)
		}
	}
}

func TestCompileGivesScopeRevisions(t *testing.T) {
	f := flag.Flag{Key: "a", Type: flag.Bool, Variants: map[string]json.RawMessage{"on": raw("true"), "off": raw("false")}, Default: "off"}
	e := mustWith(t, New("e"), Change{Put: map[string]ScopeContent{Base: {Objects: put(t, Objects{}, "flag/a", f)}}}, t0)
	if _, err := e.Compile(); err != nil {
		t.Errorf("compile: %v", err)
	}
	f.Default = "gone"
	bad := mustWith(t, e, Change{Put: map[string]ScopeContent{Base: {Objects: put(t, Objects{}, "flag/a", f)}}}, t0)
	if _, err := bad.Compile(); err == nil {
		t.Error("a flag whose default is no variant compiles")
	}
}
