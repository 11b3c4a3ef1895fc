package plan

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// codeCases change one place of the specification small; a mark ¦ stands before each place where the finding is expected.
var codeCases = []struct {
	code     string
	old, new string
	severity Severity // "" means error
}{
	// Text and YAML.
	{"utf8.invalid", "v2 counts", "v2 ¦\xff counts", ""},
	{"yaml.syntax", "metadata: {name: spend-v2}", "metadata: {name: spend-v2\nspex¦: 1", ""},
	{"yaml.alias_forbidden", "owner: \"user:ada\"", "owner: ¦*nobody", ""},
	{"yaml.anchor_forbidden", "environment: production", "environment: ¦&env production", ""},
	{"yaml.tag_forbidden", "environment: production", "environment: ¦!!str production", ""},
	{"yaml.merge_forbidden", "metadata: {name: spend-v2}", "metadata: {¦<<: {namespace: a}, name: spend-v2}", ""},
	{"yaml.key", "metadata: {name: spend-v2}", "metadata: {¦[a]: b, name: spend-v2}", ""},
	{"yaml.duplicate_key", "leaseTTL: 8s,", "leaseTTL: 8s, ¦leaseTTL: 9s,", ""},
	{"yaml.multi_document", "downstream: {drain: 5s}\n", "downstream: {drain: 5s}\n¦---\nkind: Flag\n", ""},
	{"yaml.directive_forbidden", "apiVersion: sluice/v1", "%YAML 1.1\n---\napiVersion: sluice/v1", ""},
	{"yaml.depth", "environment: production", "environment: " + strings.Repeat("[", 62) + "¦[a]" + strings.Repeat("]", 62), "also"},

	// Fields and types.
	{"field.required", "  ownership: {owner: \"user:ada\"}", "  ¦ownership: {}", ""},
	{"field.required", "kind: threshold, worseBy: 20%", "worseBy: 20%", "skip"},
	{"field.unknown", "drain: 5s", "¦drian: 5s", ""},
	{"field.unsupported", "candidate: v2}", "candidate: v2, ¦levels: [code]}", ""},
	{"field.unsupported", "signal: \"event:missing\"", "signal: ¦[\"event:missing\"]", ""},
	{"field.unsupported", "bake: 1d}", "bake: 1d, rollback: ¦{mode: instant}}", ""},
	{"field.unsupported", "bake: {min: 4h}", "bake: {min: 4h, ¦until: evidence}", ""},
	{"type.null", "environment: production", "environment:¦ ", ""},
	{"type.mapping", "audience:\n    cohorts: {internal: \"staff == true\", general: \"true\"}\n    segments: [region, {source: topic}]", "audience: ¦all", "skip"},
	{"type.mapping", "downstream: {drain: 5s}", "downstream: ¦5s", ""},
	{"type.list", "guards: [reads]", "guards: ¦reads", ""},
	{"type.value", "environment: production", "environment: ¦[production]", ""},
	{"type.number", "badAbove: 50", "badAbove: ¦fifty", ""},
	{"type.number", "badAbove: 50", "badAbove: ¦\"50\"", ""},
	{"type.integer", "worseBy: 20%}", "worseBy: 20%, minN: ¦1.5}", ""},
	{"type.bool", "worseBy: 20%}", "worseBy: 20%}, perSegment: ¦yes", ""},
	{"value.unknown", "kind: Rollout", "kind: ¦Rolout", ""},
	{"value.unsupported", "name: internal, cohort", "name: internal, mode: ¦mirror, cohort", ""},
	{"value.unsupported", "    cohorts:", "    bucketing: {nested: ¦false}\n    cohorts:", ""},
	{"number.range", "badAbove: 50", "badAbove: ¦1e400", ""},

	// Names and texts.
	{"name.charset", "name: spend-v2", "name: ¦sp\u0435nd", ""},
	{"name.length", "name: spend-v2", "name: ¦" + strings.Repeat("a", 64), ""},
	{"name.reserved", "name: spend-v2", "name: ¦overlay", ""},
	{"name.reserved", "missing: {kind: proportion}", "missing: {kind: proportion}\n    ¦errors: {kind: proportion}", ""},
	{"name.duplicate", "name: bad-reads", "name: ¦reads", ""},
	{"name.duplicate", "segments: [region,", "segments: [region, ¦region,", ""},
	{"text.empty", "\"v2 counts late events too\"", "¦\" \"", ""},
	{"text.length", "\"v2 counts late events too\"", "¦\"" + strings.Repeat("x", 2001) + "\"", ""},
	{"text.charset", "\"v2 counts late events too\"", "¦\"v2 \u202e counts\"", ""},
	{"list.length", "segments: [region,", "¦segments: [region, " + strings.Join(alphabet(21), ", ") + ",", ""},
	{"condition.syntax", "\"staff == true\"", "¦\"&&\"", ""},

	// Durations and percentages.
	{"duration.negative", "bake: 1d", "bake: ¦-5m", ""},
	{"duration.zero", "bake: 1d", "bake: ¦0s", ""},
	{"duration.range", "bake: 1d", "bake: ¦9999999h", ""},
	{"duration.range", "leaseTTL: 8s", "leaseTTL: ¦1s", ""},
	{"duration.syntax", "bake: 1d", "bake: ¦P1M", ""},
	{"duration.unit", "bake: 1d", "bake: ¦300", ""},
	{"duration.precision", "bake: 1d", "bake: ¦1500ms", ""},
	{"percent.unit", "exposure: 50%", "exposure: ¦0.5", ""},
	{"percent.syntax", "exposure: 50%", "exposure: ¦half", ""},
	{"percent.precision", "exposure: 50%", "exposure: ¦50.0001%", ""},
	{"percent.range", "exposure: 50%", "exposure: ¦101%", ""},
	{"percent.range", "bake: 1d}", "bake: 1d, holdback: ¦60%}", ""},

	// Metrics and guardrails.
	{"metric.bad", "badAbove: 50", "badAbove: 50, badBelow: ¦51", ""},
	{"metric.age", "missing: {kind: proportion}", "missing: {kind: proportion, maxAge: ¦1m}", ""},
	{"metric.scale", "missing: {kind: proportion}", "missing: {kind: proportion, scale: ¦6}", ""},
	{"metric.builtin", "missing: {kind: proportion}", "missing: {kind: proportion}\n    ¦error: {kind: value}", ""},
	{"signal.syntax", "\"event:missing\"", "¦\"null\"", ""},
	{"signal.unsupported", "{name: errors, signal: \"sdk:errors\"", "{name: errors, signal: ¦\"batch:errors\"", ""},
	{"ref.unknown", "\"event:missing\"", "¦\"event:missin\"", ""},
	{"ref.unknown", "guards: [reads]", "guards: [reads, ¦read]", ""},
	{"ref.unknown", "cohort: internal", "cohort: ¦intern", "also"},
	{"ref.unknown", "too\"}", "too\", expect: [{metric: ¦recall, change: up}]}", ""},
	{"test.unsupported", "kind: always-valid", "kind: ¦cusum", ""},
	{"test.field", "worseBy: 0.5pp", "worseBy: 0.5pp, window: ¦5s", ""},
	{"test.field", "worseBy: 20%", "worseBy: 20%, detect: ¦60%", ""},
	{"test.limit", "worseBy: 20%", "worseBy: 20%, max: ¦100", ""},
	{"test.limit", "test: {kind: threshold, worseBy: 20%}", "¦test: {kind: threshold}", ""},
	{"margin.unit", "worseBy: 20%", "worseBy: ¦20pp", ""},
	{"margin.unit", "worseBy: 0.5pp", "worseBy: ¦0.5", ""},
	{"margin.unit", "worseBy: 0.5pp", "worseBy: 0.5pp, detect: ¦20%", ""},
	{"margin.range", "worseBy: 0.5pp", "worseBy: ¦0pp", ""},
	{"margin.range", "worseBy: 20%", "worseBy: ¦0%", ""},
	{"margin.range", "worseBy: 20%", "worseBy: ¦-3", ""},
	{"margin.range", "worseBy: 0.5pp", "worseBy: 0.5pp, detect: ¦0.5pp", ""},
	{"limit.unit", "max: 5%", "max: ¦0.05", ""},
	{"limit.range", "above: 20%", "above: ¦100%", ""},
	{"guardrail.none", "", "", "skip"},
	{"guardrail.role", "worseBy: 20%}", "worseBy: 20%}, role: signal, onBreach: ¦rollback", ""},
	{"guardrail.blips", "worseBy: 20%}", "worseBy: 20%}, blips: {allow: ¦3, of: 3}", ""},
	{"guardrail.compare", "max: 5%}", "max: 5%}, compare: ¦concurrent", ""},
	{"guardrail.class", "worseBy: 0.5pp", "max: ¦5%", ""},
	{"guardrail.class", "\"event:missing\"", "¦¦\"otlp:missing\"", "also"},
	{"guardrail.stat", "signal: \"event:missing\"", "signal: \"event:missing\", stat: ¦p99", ""},
	{"guardrail.stat", "stat: proportion, test", "stat: ¦distribution, test", ""},
	{"guardrail.stat", "signal: \"sdk:read\", stat: proportion,", "signal: \"sdk:score\", stat: ¦proportion,", ""},

	// Stages.
	{"plan.steps", "exposure: [5%, 20%]", "¦exposure: []", ""},
	{"plan.steps", "exposure: 100%", "exposure: ¦50%", ""},
	{"plan.monotone", "exposure: [5%, 20%]", "exposure: [50%, ¦20%]", ""},
	{"plan.shadow", "exposure: 50%", "exposure: ¦0%", ""},
	{"plan.shadow", "exposure: 50%", "mode: shadow, exposure: ¦50%", ""},
	{"plan.baseline", "exposure: 100%", "holdback: ¦0%, exposure: 100%", ""},
	{"plan.holdback", "exposure: 50%", "holdback: ¦1%, exposure: 50%", ""},
	{"plan.cohorts", "{name: full, cohort: general,", "{name: full, cohort: ¦internal,", ""},
	{"plan.cohorts", "internal: \"staff == true\"", "internal: \"true\"", "skip"},

	// The way back.
	{"plan.rollback_target", "candidate: v2", "candidate: ¦v1", ""},
	{"rollback.deadline", "completeWithin: 15s", "completeWithin: ¦13s", ""},
	{"rollback.deadline", "leaseTTL: 8s", "leaseTTL: 8s, ackDeadline: ¦16s", ""},
	{"rollback.deadline", "leaseTTL: 8s", "leaseTTL: 8s, unwindWithin: ¦14s", ""},
	{"rollback.on", "  rollback:\n", "  rollback:\n    ¦on: [operator, component-lost]\n", ""},
	{"docs.guards", "guards: [reads]", "¦guards: []", ""},

	// Warnings and notes.
	{"docs.failure_modes", "  docs:\n    failureModes:\n      - {id: FM1, text: \"reads get slower\", guards: [reads]}\n", "", "skip"},
	{"bundle.digest", "candidate: v2}\n", "candidate: v2}\n    bundle: [{component: store/online, artifact: \"view:spend\", from: \"sha256:" + strings.Repeat("0", 64) + "\", to: ¦\"sha256:77ab\"}]\n", SevWarning},
	{"bundle.unchanged", "candidate: v2}\n", "candidate: v2}\n    bundle: [{component: store, artifact: \"view:spend\", from: \"sha256:" + strings.Repeat("0", 64) + "\", to: ¦\"sha256:" + strings.Repeat("0", 64) + "\"}]\n", SevWarning},
	{"cohort.unused", "general: \"true\"", "general: \"true\", ops: ¦\"team == 'ops'\"", SevWarning},
	{"guardrail.segments", "    segments: [region, {source: topic}]\n", "", "skip"},
	{"margin.effective", "worseBy: 20%", "worseBy: ¦20%", SevNote},
	{"guardrail.looks", "{min: 4h}", "{min: ¦14s}", SevNote},
	{"guardrail.looks", "bake: 1d", "bake: ¦14s", SevWarning},
	{"rollback.on", "  rollback:\n", "  rollback:\n    ¦on: [component-lost, \"guardrail:rollback\"]\n", SevNote},
}

func alphabet(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "attr-" + string(rune('a'+i))
	}
	return names
}

func TestSmallHasNoFindings(t *testing.T) {
	p, findings := Parse("", []byte(small))
	for _, f := range findings {
		if f.Code != "margin.effective" {
			t.Errorf("unexpected finding %s", f)
		}
	}
	if p == nil {
		t.Fatal("no plan")
	}
}

func TestEachCodeAtItsPlace(t *testing.T) {
	for _, tt := range codeCases {
		if tt.severity == "skip" {
			continue
		}
		t.Run(tt.code+"/"+clip(tt.new), func(t *testing.T) {
			text, places := marked(edit(t, small, tt.old, tt.new))
			if len(places) == 0 {
				places = []string{"1:1"}
			}
			_, findings := Parse("", []byte(text))
			severity := tt.severity
			if severity == "" || severity == "also" {
				severity = SevError
			}
			var got []string
			for _, f := range findings {
				if f.Code == tt.code && f.Severity == severity {
					got = append(got, f.String())
				} else if f.Severity == SevError && tt.severity != "also" {
					t.Errorf("a further error: %s", f)
				}
				if f.Text == "" || f.Fix == "" {
					t.Errorf("a finding without text or fix: %+v", f)
				}
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], places[0]+":") {
				t.Errorf("got %q, want one %s %s at %s", got, severity, tt.code, places[0])
			}
		})
	}
}

func TestFindingsThatNeedTheirOwnText(t *testing.T) {
	noRollback, _, _ := strings.Cut(small, "  rollback:\n")
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "# nothing\n", "1:1 yaml.empty"},
		{"byte order mark", "\ufeff" + small, "1:1 utf8.invalid"},
		{"large", strings.Repeat("#\n", 1<<19+1), "1:1 yaml.size"},
		{"many values", "a: [" + strings.Repeat("1,", 20_000) + "]", "1:20001 yaml.nodes"},
		{"no guardrail", edit(t, cutLines(small, "    - {name: reads,", "    - {name: bad-reads", "    - {name: errors", "    - {name: nulls"), "guardrails:", "guardrails: []"), "20:3 guardrail.none"},
		{"signals alone", edit(t, cutLines(small, "    - {name: bad-reads", "    - {name: errors", "    - {name: nulls"), "worseBy: 20%}", "worseBy: 20%}, role: signal"), "20:3 guardrail.none"},
		{"no rollback", noRollback, "26:7 plan.rollback_target"},
		{"no way back of one stage", strings.ReplaceAll(noRollback, "bake: 1d}", "bake: 1d, rollback: \"by hand\"}"), "26:7 plan.rollback_target"},
		{"a hundred and one stages", edit(t, small, "[5%, 20%]", "["+strings.Repeat("5%,", 100)+"]"), "25:3 plan.steps"},
		{"always-valid", small, ""},
		{"everybody first", edit(t, small, "internal: \"staff == true\"", "internal: \"true\""), "27:30 plan.cohorts"},
		{"a test without kind", edit(t, small, "kind: threshold, worseBy: 20%", "worseBy: 20%"), "21:41 field.required"},
		{"audience as text", edit(t, small, "audience:\n    cohorts: {internal: \"staff == true\", general: \"true\"}\n    segments: [region, {source: topic}]", "audience: all"), "13:13 type.mapping"},
		{"a key without a name", edit(t, small, "drain: 5s", "drain: 5s, \"\": 1"), "31:29 field.unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, findings := Parse("", []byte(tt.text))
			got := strings.Join(errorsOf(findings), "\n")
			if !strings.Contains(got+"\n", tt.want+"\n") {
				t.Errorf("got %q, want %q among them", got, tt.want)
			}
		})
	}
}

func cutLines(text string, prefixes ...string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestWarningsThatNeedTheirOwnText(t *testing.T) {
	for _, tt := range []struct{ name, text, code string }{
		{"no failure modes", cutLines(small, "  docs:", "    failureModes", "      - {id"), "docs.failure_modes"},
		{"nothing to judge one by one", edit(t, cutLines(small, "    segments:"), "worseBy: 20%}", "worseBy: 20%}, perSegment: true"), "guardrail.segments"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, findings := Parse("", []byte(tt.text))
			if p == nil || !slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == tt.code && f.Severity == SevWarning }) {
				t.Errorf("got %v, want a warning %s and a plan", findings, tt.code)
			}
		})
	}
}

// TestEveryCodeHasACase reads the codes out of the package's own text, so that a new rule of rollouts comes with its test.
func TestEveryCodeHasACase(t *testing.T) {
	code := regexp.MustCompile(`"((?:yaml|utf8|field|type|value|name|text|number|duration|percent|margin|limit|list|plan|guardrail|test|signal|ref|metric|docs|rollback|bundle|cohort|condition)\.[a-z_0-9]+)"`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var tested strings.Builder
	for _, name := range []string{"codes_test.go", "hostile_test.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tested.Write(b)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "flagspec.go" { // flags have codes of their own
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range code.FindAllStringSubmatch(string(src), -1) {
			if m[1] != "plan.digest" && !strings.Contains(tested.String(), m[1]) { // plan.digest guards against our own bugs
				t.Errorf("%s raises %s, which no case tests", file, m[1])
			}
		}
	}
}
