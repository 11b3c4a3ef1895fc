package plan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// hostile are texts that somebody writes to hurt, or by accident: each is refused with the code given, quickly.
var hostile = []struct{ name, text, code string }{
	{"alias bomb", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "yaml.alias_forbidden"},
	{"alias to itself", "a: &a [*a]\n", "yaml.alias_forbidden"},
	{"alias to nothing", "a: *b\n", "yaml.alias_forbidden"},
	{"anchor as a key", "? &a b\n: 1\n", "yaml.anchor_forbidden"},
	{"alias as a key", "a: &a b\n? *a\n: 1\n", "yaml.alias_forbidden"},
	{"five thousand brackets", strings.Repeat("[", 5000), "yaml.depth"},
	{"five thousand braces", strings.Repeat("{a: ", 5000), "yaml.depth"},
	{"five thousand dashes", strings.Repeat("- ", 5000), "yaml.depth"},
	{"five thousand keys", strings.Repeat("? ", 5000), "yaml.depth"},
	{"both ways of nesting", strings.Repeat("- ", 40) + strings.Repeat("[", 40) + strings.Repeat("]", 40), "yaml.depth"},
	{"a key twice", "weight: 1\nweight: 2\n", "yaml.duplicate_key"},
	{"a key twice in quotes", "weight: 1\n'weight': 2\n", "yaml.duplicate_key"},
	{"a key twice, escaped", "weight: 1\n\"w\\u0065ight\": 2\n", "yaml.duplicate_key"},
	{"not UTF-8", "a: \xc3\x28\n", "utf8.invalid"},
	{"a lone surrogate", "a: \xed\xa0\x80\n", "utf8.invalid"},
	{"an escaped lone surrogate", "a: \"\\ud800\"\n", "yaml.syntax"},
	{"a byte order mark", "\ufeffa: 1\n", "utf8.invalid"},
	{"UTF-16", "\xff\xfea\x00:\x00", "utf8.invalid"},
	{"an old line break", "a: 1\rb: 2\n", "yaml.linebreak"},
	{"a line break of Unicode", "a: \u2028b\n", "yaml.linebreak"},
	{"a NUL byte", "a: \x00\n", "utf8.invalid"},
	{"two documents", "a: 1\n---\nb: 2\n", "yaml.multi_document"},
	{"an empty second document", "a: 1\n---\n", "yaml.multi_document"},
	{"text after the end", "a: 1\n...\ngarbage\n", "yaml.multi_document"},
	{"text after a bracket", "{a: 1} garbage\n", "yaml.multi_document"},
	{"a tag of the language", "a: !!binary aGk=\n", "yaml.tag_forbidden"},
	{"a tag of one's own", "a: !include /etc/passwd\n", "yaml.tag_forbidden"},
	{"the tag that says no tag", "a: ! b\n", "yaml.tag_forbidden"},
	{"a merge key", "a: {<<: {b: 1}}\n", "yaml.merge_forbidden"},
	{"a tag directive", "%TAG ! tag:example.com,2000:\n---\na: 1\n", "yaml.directive_forbidden"},
	{"a million nothings", "[" + strings.Repeat(",", 1<<20-1), "yaml.syntax"},
	{"half a million values", "[" + strings.Repeat("1,", 1<<19-1) + "]", "yaml.nodes"},
	{"three hundred thousand items", strings.Repeat("- \n", 300_000), "yaml.nodes"},
	{"more than a mebibyte", strings.Repeat("# ", 1<<19) + "\n", "yaml.size"},
}

func TestHostileTextsAreRefusedQuickly(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			p, findings := Parse("", []byte(tt.text))
			took := time.Since(start)
			if p != nil || !slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == tt.code && f.Severity == SevError }) {
				t.Errorf("got plan %v and %v, want %s", p != nil, codesOf(findings), tt.code)
			}
			if took > 30*time.Second { // a guard against blow-up, far above what a busy machine needs
				t.Errorf("took %s", took)
			}
		})
	}
}

func codesOf(findings []Finding) []string {
	var codes []string
	for _, f := range findings {
		if !slices.Contains(codes, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

// TestHostileValues puts one hostile value into a field and wants exactly one error, of that field.
func TestHostileValues(t *testing.T) {
	for _, tt := range []struct{ field, value, code string }{
		// YAML 1.1 would read these as booleans, octal and sexagesimal numbers.
		{"perSegment", "yes", "type.bool"}, {"perSegment", "on", "type.bool"}, {"perSegment", "1", "type.bool"}, {"perSegment", "True", "type.bool"},
		{"weight", "1_000", "type.number"}, {"weight", "0o14", "type.number"}, {"weight", "014", "type.number"}, {"weight", "1:30", "type.number"}, {"weight", "0x10", "type.number"},
		{"weight", "+5", "type.number"}, {"weight", "\"5\"", "type.number"}, {"weight", "1.", "type.number"}, {"weight", "yes", "type.number"},
		{"weight", "100.0000001", "number.range"}, {"weight", "-0", "number.range"}, {"weight", "-0.0", "number.range"}, {"weight", "0", "number.range"},
		{"weight", "1e400", "number.range"}, {"weight", "1e-400", "number.range"}, {"weight", ".nan", "number.range"}, {"weight", ".inf", "number.range"}, {"weight", "-.INF", "number.range"},
		{"minN", "9007199254740993", "number.range"}, {"minN", "9223372036854775808", "number.range"}, {"minN", "18446744073709551616", "number.range"}, {"minN", "-1", "number.range"},
		{"minN", "1e3", "type.integer"}, {"minN", "20.0", "type.integer"}, {"minN", "0x10", "type.integer"}, {"minN", "0", "number.range"},
		{"environment", "p\u0430yments", "name.charset"}, {"environment", "\"pay\u202ements\"", "name.charset"}, {"environment", "..", "name.charset"}, {"environment", "a/b", "name.charset"},
		{"environment", "a..b", "name.charset"}, {"environment", "CON", "name.charset"}, {"environment", "con", "name.charset"}, {"environment", "lpt1.txt", "name.charset"}, {"environment", "-a", "name.charset"},
		{"environment", "\"\"", "name.length"}, {"environment", strings.Repeat("k", 1<<16), "name.length"}, {"environment", "~", "type.null"}, {"environment", "null", "type.null"},
		{"statement", "\"a\\0b\"", "text.charset"}, {"statement", "\"a\\eb\"", "text.charset"}, {"statement", "\"\u2066a\"", "text.charset"},
		{"bake", "-5m", "duration.negative"}, {"bake", "0", "duration.zero"}, {"bake", "0s", "duration.zero"}, {"bake", "0h0m", "duration.zero"}, {"bake", "9999999h", "duration.range"},
		{"bake", "5 m", "duration.syntax"}, {"bake", "P1M", "duration.syntax"}, {"bake", "5M", "duration.syntax"}, {"bake", "1y", "duration.syntax"}, {"bake", "m", "duration.syntax"},
		{"bake", "5", "duration.unit"}, {"bake", "99999999999999999999999999s", "duration.range"}, {"bake", "366d", "duration.range"}, {"bake", "52w2d", "duration.range"}, {"bake", "\"\"", "duration.syntax"},
		{"bake", "1e3s", "duration.syntax"}, {"bake", ".5h", "duration.syntax"}, {"bake", "999ms", "duration.range"}, {"bake", "--5m", "duration.syntax"}, {"bake", "inf", "duration.syntax"},
		{"exposure", "-5%", "percent.range"}, {"exposure", "100.001%", "percent.range"}, {"exposure", "99999999999999999999%", "percent.range"}, {"exposure", "5 %", "percent.syntax"},
		{"exposure", "5", "percent.unit"}, {"exposure", "0.05", "percent.unit"}, {"exposure", "5.0000001%", "percent.precision"}, {"exposure", "five", "percent.syntax"}, {"exposure", "1e1%", "percent.syntax"},
	} {
		t.Run(tt.field+"="+clip(tt.value), func(t *testing.T) {
			old := map[string]string{"weight": "signal: \"sdk:read\", test", "perSegment": "signal: \"sdk:read\", test", "minN": "worseBy: 20%", "environment": "environment: production",
				"statement": "statement: \"v2 counts late events too\"", "bake": "bake: 1d", "exposure": "exposure: 50%"}[tt.field]
			with := tt.field + ": " + tt.value
			if !strings.HasPrefix(old, tt.field) {
				with += ", " + old
			}
			_, findings := Parse("", []byte(edit(t, small, old, with)))
			var got []string
			for _, f := range findings {
				if f.Severity == SevError {
					got = append(got, f.Path[strings.LastIndex(f.Path, ".")+1:]+" "+f.Code)
				}
			}
			if len(got) != 1 || got[0] != tt.field+" "+tt.code {
				t.Errorf("got %q, want %s alone, of %s", got, tt.code, tt.field)
			}
		})
	}
}

// TestStringsStayStrings puts words that YAML likes to convert where text is wanted.
func TestStringsStayStrings(t *testing.T) {
	for _, word := range []string{"no", "yes", "on", "off", "y", "1_000", "0o14", "1.10", "010", "1e3", "2001-01-01", "true"} {
		p := mustParse(t, edit(t, small, "candidate: v2", "candidate: "+word))
		if p.Flag.Candidate != word {
			t.Errorf("got %q, want %q as written", p.Flag.Candidate, word)
		}
	}
	p := mustParse(t, edit(t, small, "metadata: {name: spend-v2}", "metadata: {name: spend-v2, labels: {on: yes, null: no, 1.0: \"~\"}}"))
	for key, want := range map[string]string{"on": "yes", "null": "no", "1.0": "~"} {
		if got := p.Labels[key]; got != want {
			t.Errorf("label %s: got %q, want %q", key, got, want)
		}
	}
}

func TestLongNamesOfKeys(t *testing.T) {
	for _, tt := range []struct{ key, code string }{
		{strings.Repeat("k", 1<<16), "name.length"}, {"\"\"", "name.length"}, {"..", "name.charset"}, {"a/b", "name.charset"}, {"CON", "name.charset"}, {"p\u0430y", "name.charset"},
	} {
		_, findings := Parse("", []byte(edit(t, small, "metadata: {name: spend-v2}", "metadata:\n  name: spend-v2\n  labels:\n    "+tt.key+": x")))
		if got := errorsOf(findings); len(got) != 1 || got[0] != "6:5 "+tt.code {
			t.Errorf("%s: got %q, want 6:5 %s", clip(tt.key), got, tt.code)
		}
	}
}

func TestCoursesOfExposure(t *testing.T) {
	many := strings.Repeat("    - {name: s, exposure: 1%, bake: 1s}\n", 10_000)
	for _, tt := range []struct{ name, stages, code string }{
		{"up and down", "    - {name: a, exposure: [1%, 50%, 20%, 100%], bake: 1h}\n", "plan.monotone"},
		{"a holdback that takes back", "    - {name: a, exposure: 99%, bake: 1h}\n    - {name: b, exposure: 100%, holdback: 5%, bake: 1h}\n", "plan.monotone"},
		{"shadow after exposure", "    - {name: a, exposure: 1%, bake: 1h}\n    - {name: b, mode: shadow, bake: 1h}\n    - {name: c, exposure: 100%, bake: 1h}\n", "plan.monotone"},
		{"no stage", "    []\n", "plan.steps"},
		{"ten thousand stages", many, "yaml.nodes"},
		{"a thousand stages", many[:len(many)/10], "plan.steps"},
		{"not to the end", "    - {name: a, exposure: 90%, bake: 1h}\n", "plan.steps"},
		{"nothing exposed", "    - {name: a, mode: shadow, bake: 1h}\n", "plan.steps"},
		{"stages that are text", "    - all\n", "type.mapping"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			head, tail, _ := strings.Cut(small, "    - {name: internal,")
			_, tail, _ = strings.Cut(tail, "  rollback:\n")
			_, findings := Parse("", []byte(head+tt.stages+"  rollback:\n"+tail))
			if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == tt.code }) {
				t.Errorf("got %v, want %s", codesOf(findings), tt.code)
			}
		})
	}
}

func TestShadowNeedsNoExposure(t *testing.T) {
	p := mustParse(t, edit(t, small, "  stages:\n", "  stages:\n    - {name: dark, mode: shadow, bake: 10m}\n"))
	if s := p.Stages[0]; s.Mode != "shadow" || s.Exposure != 0 || s.Holdback != 0 {
		t.Errorf("got %+v, want a shadow stage at 0%%", s)
	}
}
