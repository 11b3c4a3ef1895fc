package flag

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func attr(name, op, value string) Condition {
	c := &Compare{Name: name, Op: op}
	if value != "" {
		c.Value = json.RawMessage(value)
	}
	return Condition{Attr: c}
}

func TestParseCondition(t *testing.T) {
	a, b, c := attr("a", "exists", ""), attr("b", "exists", ""), attr("c", "exists", "")
	not := func(c Condition) Condition { return Condition{Not: &c} }
	tests := []struct {
		in   string
		want Condition
		text string // String(), when it is not in
	}{
		{`true`, Always(), ""},
		{` ( ( true ) ) `, Always(), "true"},
		{`segment:beta-merchants`, Condition{Segment: "beta-merchants"}, ""},
		{`segment == 'x'`, attr("segment", "eq", `"x"`), ""},
		{`account.type == 'employee'`, attr("account.type", "eq", `"employee"`), ""},
		{`a=="x\"y"`, attr("a", "eq", `"x\"y"`), `a == 'x"y'`},
		{`a != 'it\'s'`, attr("a", "ne", `"it's"`), ""},
		{`a == '\\\n\x07ü'`, attr("a", "eq", `"\\\n\u0007ü"`), `a == '\\\x0a\x07ü'`},
		{`beta == true`, attr("beta", "eq", `true`), ""},
		{`beta != false`, attr("beta", "ne", `false`), ""},
		{`age>=18`, attr("age", "ge", `18`), "age >= 18"},
		{`x < -2.50e0`, attr("x", "lt", `-2.5`), "x < -2.5"},
		{`x <= 1e30`, attr("x", "le", `1e+30`), "x <= 1e+30"},
		{`x > 0`, attr("x", "gt", `0`), ""},
		{`country in ['fr', "de"]`, Condition{Attr: &Compare{Name: "country", Op: "in", Values: []string{"fr", "de"}}}, `country in ['fr', 'de']`},
		{`country not-in [ 'fr' ]`, Condition{Attr: &Compare{Name: "country", Op: "not-in", Values: []string{"fr"}}}, `country not-in ['fr']`},
		{`email ends-with '@x.com'`, attr("email", "ends-with", `"@x.com"`), ""},
		{`app.version semver-ge '1.4.0-rc.1'`, attr("app.version", "semver-ge", `"1.4.0-rc.1"`), ""},
		{"`weird name` == 1", attr("weird name", "eq", `1`), ""},
		{"`true` exists", attr("true", "exists", ""), ""},
		{"`a` exists", a, "a exists"},
		{`in in ['in']`, Condition{Attr: &Compare{Name: "in", Op: "in", Values: []string{"in"}}}, ""},
		{`a exists && b exists && c exists`, Condition{All: []Condition{a, b, c}}, ""},
		{`a exists || b exists && c exists`, Condition{Any: []Condition{a, {All: []Condition{b, c}}}}, `a exists || (b exists && c exists)`},
		{`(a exists || b exists) && c exists`, Condition{All: []Condition{{Any: []Condition{a, b}}, c}}, ""},
		{`(a exists && b exists) && c exists`, Condition{All: []Condition{{All: []Condition{a, b}}, c}}, ""},
		{`!a exists && b exists`, Condition{All: []Condition{not(a), b}}, `!(a exists) && b exists`},
		{`!!segment:x`, not(not(Condition{Segment: "x"})), ""},
		{`!(a exists || true)`, not(Condition{Any: []Condition{a, Always()}}), ""},
		{"targetingKey == 'u1'", attr("targetingKey", "eq", `"u1"`), ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParseCondition(tt.in)
			if err != nil || !reflect.DeepEqual(*got, tt.want) {
				g, _ := json.Marshal(got)
				w, _ := json.Marshal(tt.want)
				t.Fatalf("got  %s, %v\nwant %s", g, err, w)
			}
			want := tt.text
			if want == "" {
				want = tt.in
			}
			if text := got.String(); text != want {
				t.Errorf("prints as %q, want %q", text, want)
			}
		})
	}
}

func TestParseConditionErrors(t *testing.T) {
	tests := []struct {
		in     string
		offset int
		text   string // part of the message
	}{
		{``, 0, "found the end"},
		{`  `, 2, "found the end"},
		{`a`, 1, "expected =="},
		{`a = 'x'`, 2, "expected =="},
		{`a == `, 5, "expected a value"},
		{`a == x`, 5, "expected a string in quotes"},
		{`a == null`, 5, "expected a string in quotes"},
		{`a == 01`, 5, "expected a string in quotes"},
		{`a == 9007199254740993`, 5, "expected a string in quotes"},
		{`a == 'x`, 5, "never closed"},
		{`a == 'x\q'`, 7, "expected \\'"},
		{`a == 'x\x9f'`, 7, "expected \\'"},
		{`a == 'x\`, 7, "unfinished escape"},
		{`a < 'x'`, 4, "compares numbers only"},
		{`a starts-with 3`, 14, "compares texts only"},
		{`a semver-lt '1.0'`, 12, "not a semantic version"},
		{`a in 'x'`, 5, "expected ["},
		{`a in []`, 6, "expected a string in quotes"},
		{`a in [1]`, 6, "expected a string in quotes"},
		{`a in ['x' 'y']`, 10, "expected , or ]"},
		{`a like 'x'`, 2, "expected =="},
		{`a == 'x' &&`, 11, "found the end"},
		{`a == 'x' & b exists`, 9, "expected && or || or the end"},
		{`a == 'x' b exists`, 9, "expected && or || or the end"},
		{`(a == 'x'`, 9, "expected ) for the ( at byte 0"},
		{`a == 'x')`, 8, "expected && or"},
		{`&& true`, 0, `found '&'`},
		{`segment:`, 8, "not the name of a segment"},
		{`segment:Beta`, 8, "not the name of a segment"},
		{`segment: beta`, 8, "not the name of a segment"},
		{"`` exists", 0, "attribute name"},
		{"`a\u202eb` exists", 0, "attribute name"},
		{strings.Repeat("n", 129) + ` exists`, 0, "attribute name"},
		{`Ä exists`, 0, `found 'Ä'`},
		{"a == '\xff'", 6, "not valid UTF-8"},
		{strings.Repeat("(", 65) + `true`, 64, "parentheses"},
		{strings.Repeat("!", 17) + `true`, 0, "nested 18 deep"},
		{`a == '` + strings.Repeat("x", 64<<10) + `'`, 0, "are more than"},
	}
	for _, tt := range tests {
		t.Run(tt.in[:min(20, len(tt.in))], func(t *testing.T) {
			got, err := ParseCondition(tt.in)
			var e *ParseError
			if !errors.As(err, &e) || got != nil {
				t.Fatalf("got %v, %v, want a ParseError", got, err)
			}
			if !strings.HasPrefix(err.Error(), "condition at byte ") {
				t.Errorf("got message %q", err)
			}
			if e.Offset != tt.offset || !strings.Contains(e.Text, tt.text) {
				t.Errorf("got %q at %d, want %q at %d", e.Text, e.Offset, tt.text, tt.offset)
			}
		})
	}
}

// TestParenthesesSideBySide: the bound is on nesting, not on number.
func TestParenthesesSideBySide(t *testing.T) {
	if _, err := ParseCondition(strings.Repeat("(!true) || ", 200) + "true"); err != nil {
		t.Error(err)
	}
	if _, err := ParseCondition(strings.Repeat("(", 60) + "true" + strings.Repeat(")", 60)); err != nil {
		t.Error(err)
	}
}

// equivalent compares two conditions on random contexts.
func equivalent(t *testing.T, g gen, a, b Condition) {
	t.Helper()
	cfg := NewConfig()
	for range 20 {
		w := g.world()
		if x, y := naiveMatch(cfg, a, w), naiveMatch(cfg, b, w); x != y {
			t.Fatalf("%s gives %v, %s gives %v on %+v", a, x, b, y, w)
		}
	}
}

// TestConditionRoundTrip: any valid condition prints as a text that parses to one of the same meaning, and from then on
// text and condition stay the same.
func TestConditionRoundTrip(t *testing.T) {
	seeded(t, 5_000, func(t *testing.T, g gen) {
		c := g.condition(5)
		text := c.String()
		back, err := ParseCondition(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		equivalent(t, g, c, *back)
		again, err := ParseCondition(back.String())
		if err != nil || !reflect.DeepEqual(again, back) || again.String() != back.String() {
			t.Fatalf("%s became %s, %v", back, again, err)
		}
	})
}

func FuzzParseCondition(f *testing.F) {
	for _, s := range []string{`true`, `!(a == 'x' || b in ['y',"z"]) && segment:s`, "`n` >= -1.5e3", `a semver-ge '1.0.0'`, `a == '\x41\''`, `a exists`, `((((`, `a == 1e400`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c, err := ParseCondition(in)
		if err != nil {
			var e *ParseError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(in) || c != nil {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		text := c.String()
		back, err := ParseCondition(text)
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("%q prints as %q, which parses as %v, %v", in, text, back, err)
		}
		// What people write is what the configuration accepts, apart from segments that must exist there.
		cfg := NewConfig()
		cfg.Segments["x"] = Segment{Name: "x", Match: *c}
		for _, e := range Errors(Validate(cfg)) {
			if e.Code != CodeRefSegment && e.Code != CodeRefCycle {
				t.Fatalf("%q is refused: %v", in, e)
			}
		}
	})
}
