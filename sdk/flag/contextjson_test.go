package flag

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestParseContext: each JSON type arrives as what it is; nothing is coerced (H24).
func TestParseContext(t *testing.T) {
	c, err := ParseContext([]byte(`{"targetingKey":"u-1","s":"a\u0062\"c","i":10,"f":10.5,"e":1e2,"big":9007199254740993,"huge":12345678901234567890,
		"t":true,"n":null,"l":["a","b\n"],"empty":[],"mixed":["a",1,{"x":[]}],"o":{"a":{"b":[1,2]}},"k\u00e9y":"v","__proto__":"p"}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.TargetingKey() != "u-1" || c.UnitBucket() != UnitBucket("u-1") {
		t.Errorf("unit %q, bucket %d", c.TargetingKey(), c.UnitBucket())
	}
	for name, want := range map[string]Attr{
		"s": Str("s", `ab"c`), "i": IntNum("i", 10), "f": Num("f", 10.5), "e": Num("e", 100), "big": IntNum("big", 9007199254740993),
		"huge": Num("huge", 12345678901234567890), "t": BoolAttr("t", true), "kéy": Str("kéy", "v"), "__proto__": Str("__proto__", "p"),
		"l": List("l", "a", "b\n"), "empty": List("empty"),
		"n": {name: "n", kind: kindJSON, str: "null"}, "mixed": {name: "mixed", kind: kindJSON, str: `["a",1,{"x":[]}]`},
		"o": {name: "o", kind: kindJSON, str: `{"a":{"b":[1,2]}}`},
	} {
		got, ok := c.Attr(name)
		if !ok || got.kind != want.kind || got.name != want.name || got.str != want.str || got.bits != want.bits || strings.Join(got.list, "|") != strings.Join(want.list, "|") {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// TestParseRequestRefuses: hostile bodies (H21 to H24) are refused with a code and a place.
func TestParseRequestRefuses(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"a%d":%d`, i, i)
		}
		return b.String()
	}
	for _, tt := range []struct{ name, body, code string }{
		{"nothing", ``, CodeJSONSyntax},
		{"no JSON", `x`, CodeContext},
		{"an array", `[]`, CodeContext},
		{"no context", `{}`, CodeContext},
		{"context null", `{"context":null}`, CodeContext},
		{"context a list", `{"context":[]}`, CodeContext},
		{"context twice", `{"context":{},"context":{}}`, CodeJSONKey},
		{"attribute twice", `{"context":{"a":1,"\u0061":2}}`, CodeJSONKey},
		{"key twice", `{"context":{"targetingKey":"a","targetingKey":"b"}}`, CodeJSONKey},
		{"key a number", `{"context":{"targetingKey":7}}`, CodeContext},
		{"rest", `{"context":{}} x`, CodeJSONSyntax},
		{"cut", `{"context":{"a":`, CodeJSONSyntax},
		{"infinite number", `{"context":{"a":1e309}}`, CodeJSONNumber},
		{"infinite number inside", `{"context":{"a":{"b":[-1e999]}}}`, CodeJSONNumber},
		{"NaN", `{"context":{"a":NaN}}`, CodeJSONSyntax},
		{"not UTF-8", "{\"context\":{\"a\":\"\xff\"}}", CodeUTF8},
		{"half a pair", `{"context":{"a":"\ud800"}}`, CodeUTF8},
		{"key of 1 MiB", `{"context":{"targetingKey":"` + strings.Repeat("k", 1<<20) + `"}}`, CodeContextSize},
		{"10,000 attributes", `{"context":{"x":0` + many(10_000) + `}}`, CodeContextSize},
		{"too many bytes", `{"context":{"x":"` + strings.Repeat("v", MaxContextBytes) + `"}}`, CodeContextSize},
		{"1,000 deep", `{"context":{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}}`, CodeJSONDepth},
		{"1,000 deep beside it", `{"y":` + strings.Repeat(`{"a":`, 1000) + `1` + strings.Repeat("}", 1000) + `,"context":{}}`, CodeJSONDepth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseRequest([]byte(tt.body))
			var e *Error
			if !errors.As(err, &e) || e.Code != tt.code {
				t.Errorf("got %v, want code %s", err, tt.code)
			}
			if e != nil && len(e.Text) > 400 {
				t.Errorf("the message has %d bytes", len(e.Text))
			}
		})
	}
}

func TestParseRequestLimitsAreIncluded(t *testing.T) {
	body := `{"other":[1,{"a":null}],"context":{"targetingKey":"` + strings.Repeat("k", MaxTargetingKey) + `"`
	for i := range MaxAttributes {
		body += fmt.Sprintf(`,"a%d":%d`, i, i)
	}
	c, err := ParseRequest([]byte(body + "}}"))
	if err != nil || !c.Valid() {
		t.Fatalf("%v, valid %v", err, c != nil && c.Valid())
	}
}

// TestExistsIsFalseForNull: null says that there is no value.
func TestExistsIsFalseForNull(t *testing.T) {
	s := mustCompile(t, objects("base/flag/f", `{'key':'f','type':'boolean','variants':{'on':true,'off':false},'default':'off','rules':[{'match':{'attr':{'name':'x','op':'exists'}},'serve':'on'}]}`), nil)
	for raw, want := range map[string]bool{`{"x":null}`: false, `{}`: false, `{"x":{}}`: true, `{"x":[1]}`: true, `{"x":0}`: true} {
		c, err := ParseContext([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Flag("f").Eval(c, false).Bool(!want); got != want {
			t.Errorf("%s: got %v, want %v", raw, got, want)
		}
	}
}

// FuzzParseRequest: whatever arrives is refused with a code or is a context within its limits that every flag evaluates.
func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{`{"context":{"targetingKey":"u","a":[1,"x"],"b":{"c":null}}}`, `{"context":{"a":"\u00e9\n"}}`, `{"x":1e308,"context":{"i":-9223372036854775808}}`, `{"context":{}}x`} {
		f.Add([]byte(s))
	}
	s := mustCompile(f, etaObjects(), nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		c, err := ParseRequest(body)
		if string(body) != before {
			t.Fatal("the input was changed")
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code == "" {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		if !c.Valid() || len(c.attrs) > MaxAttributes {
			t.Fatal("a context beyond the limits was accepted")
		}
		for _, h := range s.Handles() {
			_ = h.Eval(c, true)
		}
	})
}

func BenchmarkParseRequest(b *testing.B) {
	body := []byte(`{"context":{"targetingKey":"user-0123456789abcdefghi","country":"FR","plan":"pro","age":42,"app.version":"2.5.1"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}
