package revision

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestManifestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEnv(t)
		m, err := e.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Load(m, reader(blobs(t, e)))
		if err != nil {
			t.Fatalf("load: %v", err)
		}
		sameEnv(t, got, e)
		again, err := got.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(m) {
			t.Fatalf("manifest of the loaded environment differs:\ngot  %s\nwant %s", again, m)
		}
		// What is loaded goes on like what was there.
		c := genChange(t, e)
		a, b := mustWith(t, e, c, t0.Add(time.Hour)), mustWith(t, got, c, t0.Add(time.Hour))
		sameEnv(t, b, a)
	})
}

// TestLoadNoticesEveryFlippedByte damages one byte of the manifest or of one blob.
func TestLoadNoticesEveryFlippedByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := mustWith(t, genEnv(t), Change{
			Put:   map[string]ScopeContent{"r": {Objects: genObjects.Draw(t, "content"), Leased: true, TTL: 10 * time.Second}},
			Floor: []string{"r"},
		}, t0)
		m, err := e.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		store := blobs(t, e)
		flip := func(b []byte) []byte {
			bad := slices.Clone(b)
			at := rapid.IntRange(0, len(bad)-1).Draw(t, "at")
			bad[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			return bad
		}
		if rapid.Bool().Draw(t, "in a blob") {
			digest := rapid.SampledFrom(slices.Sorted(maps.Keys(store))).Draw(t, "digest")
			store[digest] = flip(store[digest])
		} else {
			m = flip(m)
		}
		if _, err := Load(m, reader(store)); err == nil {
			t.Fatalf("unnoticed in manifest %s with blobs %s", m, store)
		}
	})
}

func TestLoadRefuses(t *testing.T) {
	e := mustWith(t, New("e"), Change{Put: map[string]ScopeContent{Base: {Objects: put(t, Objects{}, "flag/a", raw(`{"key":"a"}`))}}}, t0)
	m, err := e.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	store := blobs(t, e)
	delete(store, e.Scopes[Base].Full)
	tests := []struct {
		name     string
		manifest string
		want     string
	}{
		{"no JSON", "{", "manifest: "},
		{"nothing", "", "manifest: "},
		{"null", "null", "manifest"},
		{"an array", "[]", "manifest: "},
		{"another digest", strings.Replace(string(m), `"number":1`, `"number":2`, 1), "the store is damaged"},
		{"spaces", " " + string(m), "the store is damaged"},
		{"a blob that is gone", string(m), "content of scope base of e revision 1: read sha256:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load([]byte(tt.manifest), reader(store))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// FuzzLoad: no manifest may panic, and what loads must be a manifest that this package writes.
func FuzzLoad(f *testing.F) {
	e := mustWith(f, New("e"), Change{Put: map[string]ScopeContent{"r": {Leased: true, TTL: time.Second}}, Floor: []string{"r"}}, t0)
	m, err := e.Manifest()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m)
	f.Add([]byte(`{"env":{"scopes":null},"sum":""}`))
	f.Add([]byte(`{"env":null,"sum":"x"}`))
	store := blobs(f, e)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Load(b, reader(store))
		if err != nil {
			return
		}
		again, err := got.Manifest()
		if err != nil || string(again) != string(b) {
			t.Errorf("loads, and is written as %s (%v)", again, err)
		}
	})
}
