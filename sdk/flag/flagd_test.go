package flag

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

const flagdFile = `{"$schema":"https://flagd.dev/schema/v0/flags.json","metadata":{"flagSetId":"shop"},"$evaluators":{
	"fr":{"in":[{"var":"country"},["FR","BE"]]},"both":{"and":[{"$ref":"fr"},{"ends_with":[{"var":"email"},"@x.org"]}]}},
	"flags":{
		"Header.Colour":{"state":"ENABLED","variants":{"Red":"#f00","blue":"#00f"},"defaultVariant":"Red","targeting":{"if":[{"$ref":"both"},"blue",null]},"metadata":{"owner":"web"}},
		"ratio":{"state":"ENABLED","variants":{"a":1,"b":2.5},"defaultVariant":"a"},
		"limit":{"state":"ENABLED","variants":{"a":1,"b":2},"defaultVariant":null},
		"off":{"state":"DISABLED","variants":{"on":true},"defaultVariant":"on","targeting":{}}}}`

func mustFlagd(t testing.TB, raw string) Config {
	t.Helper()
	flags, err := ParseFlagd([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	cfg := NewConfig()
	for _, f := range flags {
		cfg.Flags[f.Key] = f
	}
	return cfg
}

func TestParseFlagd(t *testing.T) {
	cfg := mustFlagd(t, flagdFile)
	s, err := Compile(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	eval := func(key, ctx string) string {
		t.Helper()
		c, err := ParseContext([]byte(ctx))
		if err != nil {
			t.Fatal(err)
		}
		r := s.Flag(key).Eval(c, false)
		name := ""
		if r.Variant != nil {
			name = r.Variant.Name
		}
		return strings.TrimSpace(OpenFeatureReason(r.Reason) + " " + name + " " + r.ErrCode)
	}
	for _, tt := range []struct{ key, ctx, want string }{
		{"Header.Colour", `{"country":"FR","email":"a@x.org"}`, "TARGETING_MATCH blue"},
		{"Header.Colour", `{"country":"FR"}`, "DEFAULT Red"},
		{"ratio", `{}`, "DEFAULT a"},
		{"limit", `{}`, "DEFAULT"},
		{"off", `{}`, "DISABLED"},
	} {
		if got := eval(tt.key, tt.ctx); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.key, tt.ctx, got, tt.want)
		}
	}
	if cfg.Flags["ratio"].Type != Float || cfg.Flags["limit"].Type != Int || string(cfg.Flags["Header.Colour"].Meta) != `{"owner":"web"}` {
		t.Errorf("types and metadata: %+v", cfg.Flags)
	}
}

// TestParseFlagdRefuses: what has no counterpart is named, all of it.
func TestParseFlagdRefuses(t *testing.T) {
	one := func(f string) string { return `{"flags":{"f":{"state":"ENABLED","variants":{"a":"x"},` + f + `}}}` }
	for _, tt := range []struct{ name, raw, code string }{
		{"no JSON", `{`, CodeJSONSyntax},
		{"no flags", `{"flags":{}}`, CodeVariants},
		{"flags a list", `{"flags":[]}`, CodeFieldType},
		{"a key twice", `{"flags":{"f":1,"f":2}}`, CodeJSONKey},
		{"state", `{"flags":{"f":{"state":"on","variants":{"a":1}}}}`, CodeFieldType},
		{"no variants", `{"flags":{"f":{"state":"ENABLED","variants":{}}}}`, CodeVariantType},
		{"mixed variants", `{"flags":{"f":{"state":"ENABLED","variants":{"a":1,"b":"x"}}}}`, CodeVariantType},
		{"key with a space", `{"flags":{"f g":{"state":"ENABLED","variants":{"a":1}}}}`, CodeName},
		{"default", one(`"defaultVariant":"b"`), CodeRefVariant},
		{"unknown operator", one(`"targeting":{"reduce":[1]}`), CodeTargeting},
		{"two operators", one(`"targeting":{"if":[true,"a"],"in":[]}`), CodeTargeting},
		{"no operator inside", one(`"targeting":{"if":[{},"a"]}`), CodeTargeting},
		{"too few arguments", one(`"targeting":{"in":["a"]}`), CodeTargeting},
		{"var climbs", one(`"targeting":{"var":"../x"}`), CodeTargeting},
		{"var is computed", one(`"targeting":{"var":{"var":"x"}}`), CodeTargeting},
		{"never a number", one(`"targeting":{"+":["x",{"var":"a"}]}`), CodeTargeting},
		{"never a result", one(`"targeting":{"<":["x",5]}`), CodeTargeting},
		{"division by zero", one(`"targeting":{"/":[{"var":"a"},0]}`), CodeTargeting},
		{"unknown reference", one(`"targeting":{"$ref":"x"}`), CodeTargeting},
		{"circle", `{"$evaluators":{"a":{"!":{"$ref":"b"}},"b":{"!":{"$ref":"a"}}},"flags":{"f":{"state":"ENABLED","variants":{"a":"x"},"targeting":{"if":[{"$ref":"a"},"a"]}}}}`, CodeTargeting},
		{"deep", one(`"targeting":` + strings.Repeat(`{"!":`, 70) + `1` + strings.Repeat("}", 70)), CodeJSONDepth},
		{"large", one(`"targeting":{"in":[{"var":"a"},[` + strings.Repeat("1,", maxLogicNodes) + `1]]}`), CodeTargeting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseFlagd([]byte(tt.raw))
			if got := Errors(err); len(got) == 0 || got[0].Code != tt.code {
				t.Errorf("got %v, want code %s", err, tt.code)
			}
		})
	}
	_, err := ParseFlagd([]byte(`{"flags":{"a b":{"state":"ENABLED","variants":{"a":1}},"c":{"state":"x","variants":{"a":1}},"d":{"state":"ENABLED","variants":{}}}}`))
	if got := Errors(err); len(got) != 3 {
		t.Errorf("got %d errors, want all 3: %v", len(got), err)
	}
}

// TestFlagdRoundTrip: what was imported is exported as it was, references resolved.
func TestFlagdRoundTrip(t *testing.T) {
	cfg := mustFlagd(t, flagdFile)
	raw, err := cfg.Flagd("shop")
	if err != nil {
		t.Fatal(err)
	}
	again := mustFlagd(t, string(raw))
	a, err := Canonical(cfg.Flags)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Canonical(again.Flags)
	if err != nil || string(a) != string(b) {
		t.Errorf("%v\ngot  %s\nwant %s", err, b, a)
	}
}

// TestFlagdExportEvaluatesAlike: rules, segments, exceptions, exclusions and kills mean the same as flagd's JSON, for
// clients without a lease, but for what Config.Flagd says of lists and versions.
func TestFlagdExportEvaluatesAlike(t *testing.T) {
	decided := 0
	seeded(t, 400, func(t *testing.T, g gen) {
		cfg := g.config()
		withoutVersions(cfg)
		ours, err := Compile(cfg, Options{AllowDangling: true})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := cfg.Flagd("x")
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := Compile(mustFlagd(t, string(raw)), Options{})
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		for range 20 {
			c := g.world().context()
			if slices.ContainsFunc(c.attrs, beyondJSON) {
				continue
			}
			for _, h := range ours.Handles() {
				want, got := h.Eval(c, false), theirs.Flag(h.Key).Eval(c, false)
				if want.Reason == ReasonError || want.Variant == nil {
					continue // the unit of a rollout is missing: flagd does not look for it
				}
				decided++
				if got.Variant != want.Variant && (got.Variant == nil || got.Variant.Name != want.Variant.Name) {
					t.Fatalf("flag %s in %s\ncontext %+v\ngot  %+v\nwant %+v", h.Key, raw, c, got, want)
				}
			}
		}
	})
	if decided < 1000 {
		t.Errorf("only %d evaluations were compared", decided)
	}
}

// beyondJSON says whether an attribute is a list, or a number that JavaScript reads from no JSON as it is.
func beyondJSON(a Attr) bool {
	f := math.Float64frombits(a.bits)
	return a.kind == kindList || a.kind == kindNum && (math.IsNaN(f) || math.IsInf(f, 0)) || a.kind == kindInt && int64(a.bits) > 1<<53
}

// withoutVersions replaces comparisons of versions and of texts that could throw for numbers.
func withoutVersions(cfg Config) {
	var walk func(c *Condition)
	walk = func(c *Condition) {
		for i := range c.All {
			walk(&c.All[i])
		}
		for i := range c.Any {
			walk(&c.Any[i])
		}
		if c.Not != nil {
			walk(c.Not)
		}
		if c.Attr != nil && (strings.HasPrefix(c.Attr.Op, "semver") || c.Attr.Op == "contains") {
			*c.Attr = Compare{Name: c.Attr.Name, Op: "exists"}
		}
	}
	for name, s := range cfg.Segments {
		walk(&s.Match)
		cfg.Segments[name] = s
	}
	for _, f := range cfg.Flags {
		for i := range f.Rules {
			walk(&f.Rules[i].Match)
		}
	}
	for id, e := range cfg.Exceptions {
		walk(&e.Match)
		cfg.Exceptions[id] = e
	}
	for id, x := range cfg.Exclusions {
		walk(&x.Match)
		cfg.Exclusions[id] = x
	}
}

// TestTimestamp: targeting sees the time that the context was told, and nothing when it was told none.
func TestTimestamp(t *testing.T) {
	s, err := Compile(mustFlagd(t, `{"flags":{"f":{"state":"ENABLED","variants":{"a":"x","b":"y"},"defaultVariant":"a","targeting":{"if":[{">=":[{"var":"$flagd.timestamp"},1000]},"b",null]}}}}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Timed() {
		t.Error("the snapshot does not say that it asks for the time")
	}
	for at, want := range map[int64]string{0: "a", 999: "a", 1000: "b"} {
		c := NewContext("u")
		c.At(at)
		if r := s.Flag("f").Eval(c, false); r.Variant.Name != want {
			t.Errorf("at %d: %s, want %s", at, r.Variant.Name, want)
		}
	}
}

// TestMurmur3: reference values of MurmurHash3_x86_32, whole and in two pieces.
func TestMurmur3(t *testing.T) {
	for s, want := range map[string]uint32{"": 0, "a": 0x3c2569b2, "ab": 0x9bbfd75f, "abc": 0xb3dd93fa, "abcd": 0x43ed676a, "hello world": 0x5e928f0f, "The quick brown fox jumps over the lazy dog": 0x2e4ff723} {
		for i := range len(s) + 1 {
			if got := murmur3(s[:i], s[i:]); got != want {
				t.Errorf("%q + %q: %08x, want %08x", s[:i], s[i:], got, want)
			}
		}
	}
}

// FuzzParseFlagd: any file is refused with codes or gives flags that compile and evaluate without panic.
func FuzzParseFlagd(f *testing.F) {
	f.Add([]byte(flagdFile), `{"targetingKey":"u","country":"FR"}`)
	f.Add([]byte(`{"flags":{"f":{"state":"ENABLED","variants":{"a":"x"},"targeting":{"fractional":[{"var":"tags.0"},["a",{"*":[{"var":"n"},2]}],["a"]]}}}}`), `{"tags":["x",1,{"y":[]}],"n":1e300}`)
	f.Add([]byte(`{"flags":{"f":{"state":"ENABLED","variants":{"1":{}},"targeting":{"min":[{"var":["a.length",1]},{"-":{"var":"o"}}]}}}}`), `{"a":"\ud83d\ude00","o":{"length":[[]]}}`)
	f.Fuzz(func(t *testing.T, file []byte, ctx string) {
		flags, err := ParseFlagd(file)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code == "" {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		c, err := ParseContext([]byte(ctx))
		if err != nil {
			c = NewContext("u", Str("country", ctx), Num("n", float64(len(ctx))), List("tags", ctx))
		}
		cfg := NewConfig()
		for _, fl := range flags {
			cfg.Flags[fl.Key] = fl
		}
		s, err := Compile(cfg, Options{})
		if err != nil {
			t.Fatalf("it parses and does not compile: %v", err)
		}
		for _, h := range s.Handles() {
			_ = h.Eval(c, false)
		}
		if raw, err := cfg.Flagd("x"); err != nil || !json.Valid(raw) {
			t.Fatalf("export: %v", err)
		}
	})
}

// logicBench is a flag with a rule of every kind that the goal names.
func logicBench(b testing.TB, targeting string) (*Handle, *Context) {
	s, err := Compile(mustFlagd(b, fmt.Sprintf(`{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":%s}}}`, targeting)), Options{})
	if err != nil {
		b.Fatal(err)
	}
	c, err := ParseContext([]byte(`{"targetingKey":"user-0123456789abcdefghi","country":"FR","plan":"pro","age":42,"version":"2.5.1"}`))
	if err != nil {
		b.Fatal(err)
	}
	return s.Flag("f"), c
}

var logicBenches = map[string]string{
	"if==":       `{"if":[{"==":[{"var":"country"},"FR"]},"on","off"]}`,
	"in":         `{"if":[{"in":[{"var":"country"},["DE","BE","FR"]]},"on","off"]}`,
	"sem_ver":    `{"if":[{"sem_ver":[{"var":"version"},">=","2.0.0"]},"on","off"]}`,
	"fractional": `{"fractional":[["on",50],["off",50]]}`,
	"rule+split": `{"if":[{"==":[{"var":"country"},"FR"]},{"fractional":[["on",50],["off",50]]},null]}`,
}

func TestLogicAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are not counted under the race detector")
	}
	for name, targeting := range logicBenches {
		h, c := logicBench(t, targeting)
		if n := testing.AllocsPerRun(100, func() { r := h.Eval(c, false); _ = r.Bool(false) }); n > 1 {
			t.Errorf("%s allocates %.0f times", name, n)
		}
	}
}

func BenchmarkLogic(b *testing.B) {
	for _, name := range []string{"if==", "in", "sem_ver", "fractional", "rule+split"} {
		b.Run(name, func(b *testing.B) {
			h, c := logicBench(b, logicBenches[name])
			b.ReportAllocs()
			for b.Loop() {
				r := h.Eval(c, false)
				_ = r.Bool(false)
			}
		})
	}
}
