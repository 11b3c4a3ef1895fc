package plan

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestAllMistakesAtOnce(t *testing.T) {
	raw, err := os.ReadFile("testdata/many-mistakes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, places := marked(string(raw))
	codes := []string{"field.unknown", "name.charset", "ref.unknown", "plan.rollback_target", "field.unsupported", "number.range", "number.range",
		"duration.unit", "percent.precision", "duration.negative", "plan.monotone", "rollback.deadline"}
	if len(places) != len(codes) {
		t.Fatalf("%d marks, %d codes", len(places), len(codes))
	}
	var want []string
	for i := range places {
		want = append(want, places[i]+" "+codes[i])
	}
	p, findings := Parse("many-mistakes.yaml", []byte(text))
	if p != nil {
		t.Error("a specification with errors became a plan")
	}
	if got := errorsOf(findings); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	golden(t, "testdata/many-mistakes.txt", []byte(render(findings, text)))
}

func TestNoFieldIsIgnored(t *testing.T) {
	src, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, findings := Parse("", src)
	refused := map[string]bool{}
	var lines strings.Builder
	for _, f := range findings {
		fmt.Fprintln(&lines, f)
		if f.Code == "field.unsupported" {
			refused[anyIndex(f.Path)] = true
		} else if f.Severity == SevError && f.Code != "value.unsupported" {
			t.Errorf("unexpected %s", f)
		}
	}
	for _, row := range Fields() {
		if !row.Supported && !refused[row.Path] {
			t.Errorf("%s is not supported and was not refused", row.Path)
		}
	}
	golden(t, "testdata/every-field.txt", []byte(lines.String()))
}

// TestEveryFieldActs drops each supported field that may be dropped and wants another plan: a field that changes nothing
// would be one that is ignored.
func TestEveryFieldActs(t *testing.T) {
	src, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := withoutUnsupported(t, string(src))
	base := mustParse(t, text).Digest
	for _, drop := range []string{
		"namespace: shop, ", ", labels: {tier: \"2\"}", ", expect: [{metric: score, change: \">= +1%\", within: 7d}]", ", within: 7d", ", falsifiedBy: \"no change after a week\"",
		", deputies: [\"user:bob\"]", ", decides: [definitions]", ", teams: {engineering: ratings}", "    assumptions: [\"ratings arrive within a minute\"]\n",
		", freshness: 60s", ", schema: \"sha256:00aa\"", "    criticalPaths: [\"ratings -> store -> ranking\"]\n", "    unit: shopper_id\n", "country, ", ", {source: topic}",
		"unit: points, ", "badAbove: 9, ", "badBelow: 1, ", "scale: 6, ", "settle: 2s, ", ", scoredOnce: true", "      weight: 2\n", ", window: 10s", ", minN: 40",
		"      hard: {above: 50%, for: 10s}\n", "      blips: {allow: 1, of: 3}\n", "      perSegment: false\n", "      onNoData: hold\n", "      onError: hold\n", ", detect: 80%",
		", holdback: 2%", ", rollback: \"pin v2 by hand\"", "leaseTTL: 8s, ", ", unwindWithin: 11m", "    downstream: {drain: 5s}\n", "ackDeadline: 3s, ", "alpha: 0.02, ", "onInconclusive: hold, ",
	} {
		if got := mustParse(t, edit(t, text, drop, "")).Digest; got == base {
			t.Errorf("without %q the plan is the same", drop)
		}
	}
}

// withoutUnsupported removes the fields that are refused, and moves some values off their defaults.
func withoutUnsupported(t *testing.T, text string) string {
	t.Helper()
	text = cutLines(text, "  templateRef", "  escalation", "    state:", "    consistency", "    exclude", "    exceptions", "    minimumViable", "    holdback", "  baseline",
		"      window", "      dryRun", "  capacity", "  slo", "  calendar", "  governance", "    restore", "    data:", "    after", "  dryRun", "  notify")
	for _, e := range [][2]string{
		{", levels: [code, segment]", ""}, {"initialDelay: 60s, failureLimit: 2, inconclusiveLimit: 3, consecutiveErrorLimit: 6, powerFrom: 25%, ", ""},
		{", value: 1, minSamples: 5, pairedBy: request_id, method: mad, z: 6, betterBy: 1%, blips: {allow: 1, of: 2}", ""}, {"traffic: 20%, ", ""},
		{", until: evidence, max: 24h", ""}, {", require: [dry-run], approvals: [{role: owner}], checkIn: {every: 24h}", ""}, {"compareAtFull: previous-period, ", ""},
		{"budget-exhausted, ", ""}, {"onMissingAck: let-lease-expire, ", ""}, {", checks: [\"synthetic:checkout\"]", ""},
		{"ackDeadline: 2s", "ackDeadline: 3s"}, {"unwindWithin: 10m", "unwindWithin: 11m"}, {"completeWithin: 15s", "completeWithin: 16s"}, {"alpha: 0.01", "alpha: 0.02"}, {"onInconclusive: approve", "onInconclusive: hold"},
	} {
		text = edit(t, text, e[0], e[1])
	}
	return text
}

// anyIndex writes every list index as [].
func anyIndex(path string) string {
	var b strings.Builder
	inside := false
	for _, r := range path {
		inside = inside && r != ']'
		if !inside {
			b.WriteRune(r)
		}
		inside = inside || r == '['
	}
	return b.String()
}

func TestDidYouMean(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{"environment: production", "enviroment: production", "did you mean environment?"},
		{"leaseTTL: 8s", "leaseTtl: 8s", "did you mean leaseTTL?"},
		{"kind: always-valid", "kind: alwaysvalid", "did you mean always-valid?"},
		{"cohort: internal", "cohort: internl", "did you mean internal?"},
		{"sdk:read\", stat", "sdk:raed\", stat", "did you mean sdk:read?"},
		{"guards: [reads]", "guards: [raeds]", "did you mean reads?"},
	} {
		t.Run(tt.new, func(t *testing.T) {
			_, findings := Parse("", []byte(edit(t, small, tt.old, tt.new)))
			if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Fix == tt.want }) {
				t.Errorf("no finding says %q: %v", tt.want, findings)
			}
		})
	}
}

func TestFormatFinding(t *testing.T) {
	long := strings.Repeat("x", 200) + "!" + strings.Repeat("y", 200)
	for _, tt := range []struct {
		name string
		f    Finding
		src  string
		want string
	}{
		{"plain", Finding{File: "a.yaml", Line: 2, Col: 7, Path: "bake", Code: "duration.negative", Severity: SevError, Text: `"-5m" is not positive`, Fix: "write 5m"},
			"x: 1\nbake: -5m\n", "a.yaml:2:7: error duration.negative: bake: \"-5m\" is not positive\n 2 | bake: -5m\n   |       ^\n fix: write 5m"},
		{"wide characters count once", Finding{Line: 1, Col: 8, Code: "c", Severity: SevNote, Text: "t"}, "größe: -5m\r\n", "1:8: note c: t\n 1 | größe: -5m\n   |        ^"},
		{"escapes do not reach the terminal", Finding{Line: 1, Col: 4, Code: "c", Severity: SevError, Text: "t\x1b[31m"}, "a\t\x1b[2J\u202e: 1", "1:4: error c: t·[31m\n 1 | a ·[2J·: 1\n   |    ^"},
		{"a long line is cut", Finding{Line: 1, Col: 201, Code: "c", Severity: SevError, Text: "t"}, long,
			"1:201: error c: t\n 1 | ..." + strings.Repeat("x", 50) + "!" + strings.Repeat("y", 49) + "...\n   | " + strings.Repeat(" ", 53) + "^"},
		{"a place outside the text", Finding{Line: 9, Col: 1, Code: "c", Severity: SevError, Text: "t"}, "a: 1", "9:1: error c: t"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := FormatFinding(tt.f, tt.src); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
