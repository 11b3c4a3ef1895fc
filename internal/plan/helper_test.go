package plan

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite golden files and the schema")

// small is a short specification without findings; tests change one place of it.
const small = `apiVersion: sluice/v1
kind: Rollout
metadata: {name: spend-v2}
spec:
  environment: production
  hypothesis: {statement: "v2 counts late events too"}
  ownership: {owner: "user:ada"}
  docs:
    failureModes:
      - {id: FM1, text: "reads get slower", guards: [reads]}
  change:
    flag: {key: spend, stable: v1, candidate: v2}
  audience:
    cohorts: {internal: "staff == true", general: "true"}
    segments: [region, {source: topic}]
  metrics:
    read: {kind: value, unit: ms, badAbove: 50}
    score: {kind: value}
    missing: {kind: proportion}
  guardrails:
    - {name: reads, signal: "sdk:read", test: {kind: threshold, worseBy: 20%}}
    - {name: bad-reads, signal: "sdk:read", stat: proportion, test: {kind: threshold, worseBy: 2pp}}
    - {name: errors, signal: "sdk:errors", test: {kind: threshold, max: 5%}, hard: {above: 20%, for: 10s}}
    - {name: nulls, signal: "event:missing", test: {kind: always-valid, worseBy: 0.5pp}}
  stages:
    - {name: internal, cohort: internal, exposure: 50%, bake: 4h}
    - {name: expand, cohort: general, exposure: [5%, 20%], bake: {min: 4h}}
    - {name: full, cohort: general, exposure: 100%, bake: 1d}
  rollback:
    signal: {leaseTTL: 8s, completeWithin: 15s}
    downstream: {drain: 5s}
`

// edit replaces old, which must stand exactly once in text.
func edit(t testing.TB, text, old, with string) string {
	t.Helper()
	if n := strings.Count(text, old); n != 1 {
		t.Fatalf("%q stands %d times in the specification, want once", old, n)
	}
	return strings.Replace(text, old, with, 1)
}

// marked removes the marks ^ that precede expected places and returns the places as "line:col".
func marked(text string) (string, []string) {
	var places []string
	for {
		before, after, found := strings.Cut(text, "¦")
		if !found {
			return text, places
		}
		line := 1 + strings.Count(before, "\n")
		col := 1 + utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:])
		places = append(places, fmt.Sprintf("%d:%d", line, col))
		text = before + after
	}
}

// errorsOf keeps the errors as "line:col code".
func errorsOf(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		if f.Severity == SevError {
			out = append(out, fmt.Sprintf("%d:%d %s", f.Line, f.Col, f.Code))
		}
	}
	return out
}

// mustParse parses text that has no error.
func mustParse(t testing.TB, text string) *Plan {
	t.Helper()
	p, findings := Parse("spec.yaml", []byte(text))
	if p == nil {
		t.Fatalf("the specification is refused:\n%s", render(findings, text))
	}
	return p
}

func render(findings []Finding, src string) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString(FormatFinding(f, src) + "\n")
	}
	return b.String()
}

// golden compares got with a file of the repository, path relative to this package; -update rewrites it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read golden file: %v (write it with -update)", err)
	}
	if string(want) != string(got) {
		t.Errorf("%s is not fresh; review the difference, then run with -update. got:\n%s", path, got)
	}
}

func readExample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
