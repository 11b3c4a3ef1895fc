package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The canonical form is what old logs are verified against: a change here makes every existing log unverifiable.
func TestLeafGolden(t *testing.T) {
	got, err := Leaf(record(42))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/leaf.json", got)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs at byte %d:\ngot  %s\nwant %s", name, firstDifference(got, want), got, want)
	}
}

func drawRecord(t *rapid.T) Record {
	raw := rapid.SampledFrom([]string{"", "null", "7", `"<é&>"`, "\"\u2028\"", `{"b": [1, 2.50], "a" : {}}`, "[ ]"})
	r := Record{
		Seq: rapid.Uint64().Draw(t, "seq"), Epoch: rapid.Uint64().Draw(t, "epoch"), Rev: rapid.Uint64().Draw(t, "rev"),
		At:   time.Unix(rapid.Int64Range(-1<<33, 1<<36).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nsec")),
		Kind: rapid.String().Draw(t, "kind"), Env: rapid.String().Draw(t, "env"), Rollout: rapid.String().Draw(t, "rollout"),
		Actor: rapid.String().Draw(t, "actor"), Reason: rapid.String().Draw(t, "reason"), Engine: rapid.String().Draw(t, "engine"),
		Event: json.RawMessage(raw.Draw(t, "event")), State: json.RawMessage(raw.Draw(t, "state")),
	}
	if rapid.Bool().Draw(t, "zone") {
		r.At = r.At.In(time.FixedZone("x", 7200))
	}
	return r
}

func TestParseLeafIsTheInverseOfLeaf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		leaf, err := Leaf(r)
		if err != nil {
			t.Fatalf("leaf of %+v: %v", r, err)
		}
		back, err := ParseLeaf(leaf)
		if err != nil {
			t.Fatalf("parse %s: %v", leaf, err)
		}
		again, err := Leaf(back)
		if err != nil || !bytes.Equal(again, leaf) {
			t.Fatalf("leaf of the parsed record: %s (%v), want %s", again, err, leaf)
		}
		if !back.At.Equal(r.At) || back.Reason != r.Reason || back.Seq != r.Seq || back.At.Location() != time.UTC {
			t.Fatalf("parsed %+v, want %+v", back, r)
		}
	})
}

// Each field of Record enters the leaf: a field added later without effect on the hash would be unprotected.
func TestEveryFieldIsInTheLeaf(t *testing.T) {
	base := record(5)
	want, err := Leaf(base)
	if err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeFor[Record]()
	for i := range typ.NumField() {
		r := base.Clone()
		switch f := reflect.ValueOf(&r).Elem().Field(i).Addr().Interface().(type) {
		case *uint64:
			*f++
		case *string:
			*f += "x"
		case *time.Time:
			*f = f.Add(time.Nanosecond)
		case *json.RawMessage:
			*f = json.RawMessage(`{"other":1}`)
		default:
			t.Fatalf("field %s has a type that this test does not change", typ.Field(i).Name)
		}
		got, err := Leaf(r)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(got, want) {
			t.Errorf("field %s does not change the leaf", typ.Field(i).Name)
		}
	}
}

func TestLeafRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Record)
		want string
	}{
		{"bad UTF-8 in a string", func(r *Record) { r.Reason = "a\xff" }, "reason is not valid UTF-8"},
		{"bad UTF-8 in JSON", func(r *Record) { r.Event = json.RawMessage("\"\xc0\"") }, "event is not valid UTF-8"},
		{"no JSON", func(r *Record) { r.State = json.RawMessage("{") }, "unexpected end"},
		{"two values", func(r *Record) { r.State = json.RawMessage("1 2") }, "after top-level value"},
		{"too large", func(r *Record) { r.Reason = strings.Repeat("x", MaxLeafBytes) }, "at most 4194304 are allowed"},
		{"year 10000", func(r *Record) { r.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "year"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := record(9)
			tt.edit(&r)
			_, err := Leaf(r)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "record 9") {
				t.Errorf("got %v, want an error about record 9 with %q", err, tt.want)
			}
		})
	}
}

func TestParseLeafRefusesOtherSpellings(t *testing.T) {
	leaf, err := Leaf(record(1))
	if err != nil {
		t.Fatal(err)
	}
	s := string(leaf)
	for name, other := range map[string]string{
		"white space":    strings.Replace(s, `,"kind"`, `, "kind"`, 1),
		"case of a name": strings.Replace(s, `"kind"`, `"Kind"`, 1),
		"escape":         strings.Replace(s, `"prod"`, `"\u0070rod"`, 1),
		"empty field":    strings.Replace(s, `,"engine"`, `,"rev":0,"engine"`, 1),
		"repeated field": strings.Replace(s, `{"seq":1`, `{"seq":2,"seq":1`, 1),
		"time zone":      strings.Replace(s, "Z", "+00:00", 1),
		"line end":       s + "\n",
	} {
		if other == s {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := ParseLeaf([]byte(other)); !errors.Is(err, ErrNotCanonical) {
			t.Errorf("%s: got %v, want ErrNotCanonical", name, err)
		}
	}
	for name, bad := range map[string]string{"unknown field": `{"x":1}`, "trailing value": s + "{}", "nothing": ""} {
		if _, err := ParseLeaf([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseLeaf(f *testing.F) {
	leaf, _ := Leaf(record(3))
	f.Add(leaf)
	f.Add([]byte(`{"seq":1,"at":"2026-03-01T00:00:00Z","kind":"","actor":"","engine":"","epoch":0,"event":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseLeaf(b)
		if err != nil {
			return
		}
		again, err := Leaf(r)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("accepted %q, whose leaf is %q (%v)", b, again, err)
		}
	})
}
