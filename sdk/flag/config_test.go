package flag

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// findings lists an error as "path code".
func findings(err error) []string {
	var list []string
	for _, e := range Errors(err) {
		list = append(list, e.Path+" "+e.Code)
	}
	return list
}

func TestParseObjects(t *testing.T) {
	cfg, err := ParseObjects(etaObjects())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Scope(KindFlag, "eta") != "eta-12" || cfg.Scope(KindSegment, "beta") != "base" || cfg.Scope(KindFlag, "x") != "" || len(cfg.Scopes) != 8 {
		t.Errorf("got scopes %v", cfg.Scopes)
	}
	// Strict decoding and encoding/json agree on what is valid.
	for path, raw := range etaObjects() {
		var got, want any
		switch name := path[strings.LastIndex(path, "/")+1:]; {
		case strings.Contains(path, "/flag/"):
			f := cfg.Flags[name]
			got, want = &f, &Flag{}
		case strings.Contains(path, "/segment/"):
			s := cfg.Segments[name]
			got, want = &s, &Segment{}
		case strings.Contains(path, "/exception/"):
			x := cfg.Exceptions[name]
			got, want = &x, &Exception{}
		case strings.Contains(path, "/exclude/"):
			x := cfg.Exclusions[name]
			got, want = &x, &Exclusion{}
		case strings.Contains(path, "/kill/"):
			k := cfg.Kills[name]
			got, want = &k, &Kill{}
		default:
			continue
		}
		if err := json.Unmarshal(raw, want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
	}
}

func TestParseObjectsRefuses(t *testing.T) {
	const small = `{'key':'f','type':'boolean','variants':{'on':true},'default':'on'}`
	tests := []struct {
		name string
		in   map[string]json.RawMessage
		want []string
	}{
		{"path without a name", objects("base/flag", small), []string{"base/flag " + CodePath}},
		{"path without a scope", objects("/flag/f", small), []string{"/flag/f " + CodePath}},
		{"name of a path", objects("base/segment/F", small), []string{"base/segment/F " + CodeName}},
		{"key of a path", objects("base/flag/_f", small), []string{"base/flag/_f " + CodeName}},
		{"slash in a name", objects("base/flag/a/b", small), []string{"base/flag/a/b " + CodeName}},
		{"dots", objects("base/flag/..", small), []string{"base/flag/.. " + CodeName}},
		{"name too long", objects("base/flag/"+strings.Repeat("a", 129), small), []string{"base/flag/" + strings.Repeat("a", 129) + " " + CodeName}},
		{"cyrillic", objects("base/flag/pаyments", small), []string{"base/flag/pаyments " + CodeName}},
		{"another name inside", objects("base/flag/g", small), []string{"base/flag/g " + CodeNameMismatch}},
		{"no name inside", objects("base/kill/g", `{}`), []string{"base/kill/g " + CodeNameMismatch}},
		{"one object in two scopes", objects("a/flag/f", small, "b/flag/f", small), []string{"b/flag/f " + CodeDuplicate}},
		{"too large", objects("base/segment/s", `{'name':'`+strings.Repeat("x", 1<<20)+`'}`), []string{"base/segment/s " + CodeLimitSize}},
		{"not JSON", objects("base/flag/f", `{'key':`), []string{"base/flag/f: key " + CodeJSONSyntax}},
		{"something after it", objects("base/flag/f", small+"1"), []string{"base/flag/f " + CodeJSONSyntax}},
		{"not an object", objects("base/flag/f", `[]`), []string{"base/flag/f " + CodeFieldType}},
		{"null", objects("base/flag/f", `null`), []string{"base/flag/f " + CodeFieldType}},
		{"duplicate key", objects("base/flag/f", `{'key':'f','key':'f'}`), []string{"base/flag/f: key " + CodeJSONKey}},
		{"duplicate variant", objects("base/flag/f", `{'key':'f','variants':{'a':1,'a':2}}`), []string{`base/flag/f: variants["a"] ` + CodeJSONKey}},
		{"duplicate key in a value", objects("base/flag/f", `{'key':'f','variants':{'a':{'x':1,'x':2}}}`), []string{`base/flag/f: variants["a"] ` + CodeJSONKey}},
		{"case of a field", objects("base/flag/f", `{'Key':'f'}`), []string{"base/flag/f: Key " + CodeFieldUnknown}},
		{"every error at once", objects("base/flag/f", `{'key':'f','typ':'x','rules':[{'match':{'attr':{'name':1,'opp':'eq'}}},{'serve':null}],'rollout':{'cohorts':[{'exposure':-1,'closed':'yes'},{'exposure':1.5},{'exposure':5000000000}]}}`,
			"base/segment/s", `{'nome':'s'}`),
			[]string{"base/flag/f: typ " + CodeFieldUnknown, "base/flag/f: rules[0].match.attr.name " + CodeFieldType, "base/flag/f: rules[0].match.attr.opp " + CodeFieldUnknown,
				"base/flag/f: rules[1].serve " + CodeFieldType, "base/flag/f: rollout.cohorts[0].exposure " + CodeFieldType, "base/flag/f: rollout.cohorts[0].closed " + CodeFieldType,
				"base/flag/f: rollout.cohorts[1].exposure " + CodeFieldType, "base/flag/f: rollout.cohorts[2].exposure " + CodeFieldType, "base/segment/s: nome " + CodeFieldUnknown}},
		{"null for a pointer", objects("base/flag/f", `{'key':'f','rollout':null}`), []string{"base/flag/f: rollout " + CodeFieldType}},
		{"deep", objects("base/segment/s", `{'name':'s','match':`+strings.Repeat(`{'not':`, 64)+`{}`+strings.Repeat(`}`, 65)), []string{"base/segment/s: match" + strings.Repeat(".not", 63) + " " + CodeJSONDepth}},
		{"utf-8", objects("base/segment/s", "{'name':'s\xff'}"), []string{"base/segment/s: name " + CodeUTF8}},
		{"number", objects("base/flag/f", `{'key':'f','variants':{'a':1e999}}`), []string{`base/flag/f: variants["a"] ` + CodeJSONNumber}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseObjects(tt.in)
			if got := findings(err); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %q\nwant %q\n%v", got, tt.want, err)
			}
		})
	}
}

func TestErrorsAreBounded(t *testing.T) {
	in := map[string]json.RawMessage{}
	for i := range 1_000 {
		in[fmt.Sprintf("base/flag/f%d", i)] = json.RawMessage(`{"x":1}`)
	}
	_, err := ParseObjects(in)
	if n := len(Errors(err)); n != maxErrors {
		t.Errorf("got %d errors, want %d", n, maxErrors)
	}
}

func TestErrorsOfOthers(t *testing.T) {
	if Errors(nil) != nil {
		t.Error("nil has errors")
	}
	e := &Error{Code: "x", Text: "y"}
	got := Errors(errors.Join(fmt.Errorf("load: %w", e), errors.New("other")))
	if len(got) != 2 || got[0] != e || got[1].Text != "other" || got[1].Code != "" {
		t.Errorf("got %v", got)
	}
	if e.Error() != "y (x)" || (&Error{Path: "p", Code: "x", Text: "y"}).Error() != "p: y (x)" {
		t.Error("an error reads differently")
	}
}

// TestStrictEqualsEncodingJSON: what strict decoding accepts encodes to the same canonical form as it was read from.
func TestStrictEqualsEncodingJSON(t *testing.T) {
	seeded(t, 500, func(t *testing.T, g gen) {
		f := g.config().Flags["f"]
		raw, err := Canonical(f)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := ParseObjects(map[string]json.RawMessage{"base/flag/f": raw})
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if back, err := Canonical(cfg.Flags["f"]); err != nil || string(back) != string(raw) {
			t.Fatalf("%s became %s, %v", raw, back, err)
		}
	})
}

// FuzzParseObjects: no input panics, and what parses and validates compiles and evaluates without panic.
func FuzzParseObjects(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(etaFlag, "'", `"`)), []byte(`{"name":"beta","match":{"segment":"beta"}}`), []byte(`{"id":"x","flag":"eta","match":{"always":true},"serve":"v12","expires":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"key":"eta","type":"integer","variants":{"a":1},"default":"a"}`), []byte(`{"name":"beta","match":{"attr":{"name":"v","op":"semver-ge","value":"1.0.0"}}}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, flag, segment, exception []byte) {
		cfg, err := ParseObjects(map[string]json.RawMessage{"a/flag/eta": flag, "b/segment/beta": segment, "a/exception/x": exception})
		if err != nil {
			if len(Errors(err)) == 0 {
				t.Fatalf("error without parts: %v", err)
			}
			return
		}
		for _, dangling := range []bool{false, true} {
			s, err := Compile(cfg, Options{AllowDangling: dangling})
			if !dangling && (err == nil) != (Validate(cfg) == nil) {
				t.Fatalf("Validate and Compile disagree: %v", err)
			}
			if err != nil {
				continue
			}
			r := s.Flag("eta").Eval(NewContext("u", Str("country", "fr"), Num("v", 1)), true)
			if r.Variant == nil {
				t.Fatalf("no variant: %+v", r)
			}
		}
	})
}
