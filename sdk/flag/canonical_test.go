package flag

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

func TestCanonicalRaw(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"scalars", ` [ null , true,false , "" ] `, `[null,true,false,""]`},
		{"empty", `{ "a" : { } , "b" : [ ] }`, `{"a":{},"b":[]}`},
		{"members sort, nested too", `{"b":{"z":1,"y":[{"d":0,"c":0}]},"a":2}`, `{"a":2,"b":{"y":[{"c":0,"d":0}],"z":1}}`},
		{"a prefix comes first", `{"aa":1,"a":2,"":3}`, `{"":3,"a":2,"aa":1}`},
		{"literal and escaped keys sort alike", `{"\u0062":1,"a":2}`, `{"a":2,"b":1}`},
		{"control characters in keys", `{"\"":1,"\n":2,"\u0000":3}`, `{"\u0000":3,"\n":2,"\"":1}`},
		// The example of RFC 8785, section 3.2.3.
		{"utf-16 order", `{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"},
		// The example of section 3.2.2.
		{"rfc numbers and strings", `{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
		{"short escapes", `"\b\t\n\f\r\u001f\u007f</&>"`, "\"\\b\\t\\n\\f\\r\\u001f\u007f</&>\""},
		{"line separators stay", `"\u2028\u2029"`, "\"\u2028\u2029\""},
		{"surrogate pair", `"\ud83d\uDE00"`, `"😀"`},
		{"replacement character is a character", `"\ufffd"`, "\"\ufffd\""},
		{"minus zero", `[-0,-0.0,0e5,-0E-7]`, `[0,0,0,0]`},
		{"small", `[1e-6,1e-7,5e-324,1e-400]`, `[0.000001,1e-7,5e-324,0]`},
		{"large", `[1e20,1e21,9007199254740992,-9007199254740992,1.7976931348623157e308]`, `[100000000000000000000,1e+21,9007199254740992,-9007199254740992,1.7976931348623157e+308]`},
		{"large integer as ECMAScript prints it", `1152921504606847000`, `1152921504606847000`},
		{"sixty-four deep", strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 64) + strings.Repeat("]", 64)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := CanonicalRaw(json.RawMessage(tt.in))
			if err != nil || string(got) != tt.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestCanonicalRawRefuses(t *testing.T) {
	tests := []struct{ name, in, code string }{
		{"nothing", ``, CodeJSONSyntax},
		{"space", ` `, CodeJSONSyntax},
		{"byte order mark", "\ufeff1", CodeJSONSyntax},
		{"two values", `1 2`, CodeJSONSyntax},
		{"duplicate key", `{"a":1,"b":2,"a":3}`, CodeJSONKey},
		{"duplicate key, escaped", `{"a":1,"\u0061":3}`, CodeJSONKey},
		{"duplicate key, nested", `[{"x":{"a":1,"a":1}}]`, CodeJSONKey},
		{"sixty-five deep", strings.Repeat("[", 65) + strings.Repeat("]", 65), CodeJSONDepth},
		{"a million deep", strings.Repeat(`{"a":`, 1_000_000), CodeJSONDepth},
		{"nan", `NaN`, CodeJSONSyntax},
		{"infinity", `-Infinity`, CodeJSONSyntax},
		{"beyond a double", `1e309`, CodeJSONNumber},
		{"integer that rounds", `9007199254740993`, CodeJSONNumber},
		{"2^63", `9223372036854775808`, CodeJSONNumber},
		{"leading zero", `01`, CodeJSONSyntax},
		{"plus", `+1`, CodeJSONSyntax},
		{"no digits", `-`, CodeJSONSyntax},
		{"no fraction", `1.`, CodeJSONSyntax},
		{"no exponent", `1e+`, CodeJSONSyntax},
		{"hexadecimal", `0x10`, CodeJSONSyntax},
		{"invalid utf-8", "\"a\xff\"", CodeUTF8},
		{"invalid utf-8 after an escape", "\"\\n\xc3\"", CodeUTF8},
		{"overlong", "\"\xc0\x80\"", CodeUTF8},
		{"surrogate in utf-8", "\"\xed\xa0\x80\"", CodeUTF8},
		{"half a pair", `"\ud83d"`, CodeUTF8},
		{"wrong second half", `"\ud83d\u0041"`, CodeUTF8},
		{"second half first", `"\ude00\ud83d"`, CodeUTF8},
		{"newline in a string", "\"a\nb\"", CodeJSONSyntax},
		{"tab after an escape", "\"\\n\tb\"", CodeJSONSyntax},
		{"unknown escape", `"\x41"`, CodeJSONSyntax},
		{"short escape", `"\u00"`, CodeJSONSyntax},
		{"wrong digits", `"\u00zz"`, CodeJSONSyntax},
		{"unfinished string", `"abc`, CodeJSONSyntax},
		{"unfinished escape", `"abc\`, CodeJSONSyntax},
		{"unfinished escaped string", `"abc\n`, CodeJSONSyntax},
		{"unfinished word", `tru`, CodeJSONSyntax},
		{"single quotes", `'a'`, CodeJSONSyntax},
		{"bare key", `{a:1}`, CodeJSONSyntax},
		{"no colon", `{"a" 1}`, CodeJSONSyntax},
		{"trailing comma", `[1,]`, CodeJSONSyntax},
		{"trailing comma in an object", `{"a":1,}`, CodeJSONSyntax},
		{"wrong bracket", `[1}`, CodeJSONSyntax},
		{"open", `[1`, CodeJSONSyntax},
		{"open after a comma", `[1,`, CodeJSONSyntax},
		{"comment", `1 // one`, CodeJSONSyntax},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := CanonicalRaw(json.RawMessage(tt.in))
			var e *Error
			if !errors.As(err, &e) || e.Code != tt.code || got != nil {
				t.Errorf("got %q, %v, want code %s", got, err, tt.code)
			}
		})
	}
}

func TestCanonicalOfValues(t *testing.T) {
	type inner struct {
		B json.RawMessage `json:"b"`
		A string          `json:"a,omitempty"`
	}
	tests := []struct {
		name string
		in   any
		want string
	}{
		{"nil", nil, `null`},
		{"struct", inner{B: json.RawMessage(`{"z": 1.0, "y": "<&>"}`), A: "<&>"}, `{"a":"<&>","b":{"y":"<&>","z":1}}`},
		{"map", map[string]json.RawMessage{"b": json.RawMessage("1e0"), "a": json.RawMessage("[]")}, `{"a":[],"b":1}`},
		{"time", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), `"2026-01-02T03:04:05Z"`},
		{"replacement character", "\ufffd", "\"\ufffd\""},
		{"replacement character in JSON", json.RawMessage(`"\ufffd"`), "\"\ufffd\""},
		{"bytes", []byte{0xff}, `"/w=="`},
		{"float", math.Ldexp(1, 60), `1152921504606847000`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Canonical(tt.in); err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
	for name, v := range map[string]any{
		"NaN": math.NaN(), "infinity": []float64{math.Inf(-1)}, "channel": make(chan int), "2^53+1": uint64(1<<53 + 1), "2^64-1": uint64(math.MaxUint64),
		"invalid utf-8": "a\xff", "invalid utf-8 in a map": map[string]any{"k": []any{"a\xff"}}, "invalid key": map[string]int{"\xff": 1},
		"invalid utf-8 in a struct": &inner{A: "\xff", B: json.RawMessage("1")}, "invalid JSON inside": inner{B: json.RawMessage(`{`)},
		"duplicate key inside": inner{B: json.RawMessage(`{"a":1,"a":1}`)},
	} {
		if got, err := Canonical(v); err == nil {
			t.Errorf("%s: got %s, want an error", name, got)
		}
	}
}

// TestNumbersPrintAsInECMAScript compares with the output of testdata/numbers.js.
func TestNumbersPrintAsInECMAScript(t *testing.T) {
	text, err := os.ReadFile("testdata/numbers.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) < 1_000 {
		t.Fatalf("got %d numbers, want at least 1000", len(lines))
	}
	for _, line := range lines {
		digits, want, _ := strings.Cut(line, " ")
		raw, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		f := math.Float64frombits(binary.BigEndian.Uint64(raw))
		if got := string(appendNumber(nil, f)); got != want {
			t.Errorf("%s: got %s, want %s", digits, got, want)
		}
		// Reading what is printed gives the same double, by the lexer too.
		again, err := CanonicalRaw(json.RawMessage(want))
		if back, _ := strconv.ParseFloat(want, 64); err != nil || string(again) != want || back != f {
			t.Errorf("%s: read back as %s, %v", want, again, err)
		}
	}
}

func TestDigest(t *testing.T) {
	// printf 'tag-v1\n{"a":1}' | sha256sum
	const want = "sha256:3dc73a55f2dd64a95b370e281742d54d9e78cfc04eb71f0942bc67bcac303c7b"
	if got := Digest("tag-v1", []byte(`{"a":1}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// printf abc | sha256sum
	if got := ContentDigest([]byte("abc")); got != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("content digest is %s", got)
	}
	if Digest("x", []byte("y")) == Digest("z", []byte("y")) {
		t.Error("tags do not separate digests")
	}
}

func TestCompareUTF16(t *testing.T) {
	words := []string{"", "a", "ab", "é", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0001f600", "\U0010ffff", "a\ue000", "a\U00010000", "\U00010000a", "\U00010001"}
	for _, a := range words {
		for _, b := range words {
			x, y := utf16.Encode([]rune(a)), utf16.Encode([]rune(b))
			want := 0
			for i := 0; want == 0 && i < min(len(x), len(y)); i++ {
				want = int(x[i]) - int(y[i])
			}
			if want == 0 {
				want = len(x) - len(y)
			}
			if got := compareUTF16([]byte(a), []byte(b)); (got < 0) != (want < 0) || (got > 0) != (want > 0) {
				t.Errorf("compare %+q and %+q: got %d, want the sign of %d", a, b, got, want)
			}
		}
	}
}

// FuzzCanonicalRaw: what is accepted is JSON for encoding/json too and means the same, the form is a fixed point, and
// what encoding/json refuses is refused.
func FuzzCanonicalRaw(f *testing.F) {
	for _, s := range []string{`{"b":[1,2.50,-0,1e30],"a":"\u00e9\ud83d\ude00"}`, `{"\u20ac":1,"\r":2,"😀":3,"\ufb33":4}`, `[9007199254740993]`, "\"\xff\"", `{"a":1,"a":2}`, etaFlag} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		kept := string(in)
		out, err := CanonicalRaw(in)
		if string(in) != kept {
			t.Fatal("the input was changed")
		}
		if err != nil {
			return
		}
		again, err := CanonicalRaw(out)
		if err != nil || string(again) != string(out) {
			t.Fatalf("not a fixed point: %q became %q, %v", out, again, err)
		}
		var a, b any
		if err := json.Unmarshal(in, &a); err != nil {
			t.Fatalf("accepted %q: %v", in, err)
		}
		if err := json.Unmarshal(out, &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%q means %v, its canonical form %q means %v (%v)", in, a, out, b, err)
		}
		direct, err := Canonical(json.RawMessage(in))
		if err != nil || string(direct) != string(out) {
			t.Fatalf("Canonical gives %q, %v, CanonicalRaw gives %q", direct, err, out)
		}
	})
}
