package plan

import (
	"slices"
	"strings"
	"testing"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
)

// withQuality is a specification with metrics and guardrails of its own.
func withQuality(t *testing.T, metrics, guardrails string) (*Plan, []Finding) {
	t.Helper()
	return Parse("quality.yaml", []byte(`apiVersion: sluice/v1
kind: Rollout
metadata: {name: spend7d-v15}
spec:
  environment: production
  hypothesis: {statement: "Streaming spend lifts recall"}
  ownership: {owner: "user:ada"}
  change: {flag: {key: spend7d, stable: v14, candidate: v15}}
  metrics:
`+metrics+`  guardrails:
`+guardrails+`  stages:
    - {name: canary, exposure: 10%, bake: 1m}
    - {name: full, exposure: 100%, bake: 1m}
  rollback: {downstream: {drain: 2s}}
`))
}

// TestFeatureStandsForItsParts: a metric of kind feature declares one metric for each way in which its data can go bad, and
// guardrails over them compile.
func TestFeatureStandsForItsParts(t *testing.T) {
	p, findings := withQuality(t, "    spend: {kind: feature, unit: usd, badBelow: 0, badAbove: 100000, maxAge: 90s, settle: 2s}\n    score-flips: {kind: proportion}\n", `
    - {name: nulls, signal: "sdk:spend-nulls", test: {kind: always-valid, worseBy: 1pp}}
    - {name: range, signal: "sdk:spend", stat: proportion, test: {kind: always-valid, worseBy: 0.1pp}}
    - {name: stale, signal: "sdk:spend-age", stat: proportion, test: {kind: always-valid, worseBy: 1pp}}
    - {name: drift, signal: "sdk:spend-drift", test: {kind: psi, max: 0.2}}
    - {name: wide, signal: "sdk:spend-drift", test: {kind: psi}}
    - {name: stability, signal: "sdk:score-flips", stat: flips, test: {kind: always-valid, max: 2%}}
`)
	if p == nil {
		t.Fatalf("findings: %v", findings)
	}
	for name, want := range map[string]string{
		"spend": evidence.KindValue, "spend-nulls": evidence.KindProportion, "spend-schema": evidence.KindProportion,
		"spend-duplicates": evidence.KindProportion, "spend-age": evidence.KindValue, "spend-drift": evidence.KindValue,
	} {
		if m := p.Metrics[name]; m.Kind != want || m.SettleMs != 2000 {
			t.Errorf("metric %s is %+v, want kind %s", name, m, want)
		}
	}
	if age := p.Metrics["spend-age"]; age.BadAbove == nil || *age.BadAbove != 90 || p.Units["spend-age"] != "s" || p.Units["spend"] != "usd" {
		t.Errorf("age is %+v with units %v", age, p.Units)
	}
	if spend := p.Metrics["spend"]; spend.BadAbove == nil || *spend.BadAbove != 100000 || *spend.BadBelow != 0 {
		t.Errorf("spend is %+v", spend)
	}
	for _, tt := range []struct {
		name, stat  string
		max, detect float64
	}{{"drift", "drift", 0.2, 0.6000000000000001}, {"wide", "drift", 0.25, 0.75}, {"stability", "flips", 0.02, 0.06}} {
		i := slices.IndexFunc(p.Judge.Guardrails, func(g judge.Guardrail) bool { return g.Name == tt.name })
		if g := p.Judge.Guardrails[i]; g.Test != judge.AlwaysValid || g.Stat != tt.stat || g.Max == nil || *g.Max != tt.max || g.Detect.Absolute != tt.detect {
			t.Errorf("%s compiles to %+v", tt.name, g)
		}
	}
}

// TestQualityMistakes: each mistake has its place, code and remedy.
func TestQualityMistakes(t *testing.T) {
	feature := "    spend: {kind: feature}\n    errs: {kind: proportion}\n"
	for _, tt := range []struct{ metrics, guardrail, code string }{
		{feature, `signal: "sdk:errs", test: {kind: psi}`, "guardrail.stat"},
		{feature, `signal: "sdk:spend-drift", stat: p99, test: {kind: psi}`, "guardrail.stat"},
		{feature, `signal: "sdk:spend-drift", test: {kind: psi, max: 20%}`, "margin.unit"},
		{feature, `signal: "sdk:spend-drift", test: {kind: psi, max: 0.001}`, "margin.range"},
		{feature, `signal: "sdk:spend-drift", test: {kind: psi, max: 0.3, detect: 0.2}`, "margin.range"},
		{feature, `signal: "sdk:spend-drift", test: {kind: psi, worseBy: 1%}`, "test.field"},
		{feature, `signal: "sdk:spend-drift", stat: flips, test: {kind: always-valid}`, "guardrail.stat"},
		{feature, `signal: "sdk:errs", stat: flips, test: {kind: threshold}`, "guardrail.stat"},
		{feature, `signal: "sdk:errs", stat: flips, test: {kind: always-valid, max: 0%}`, "limit.range"},
		{feature, `signal: "sdk:errs", stat: flips, test: {kind: always-valid, max: 5%, detect: 2%}`, "margin.range"},
		{feature, `signal: "sdk:errs", stat: flips, test: {kind: always-valid, worseBy: 2pp}`, "test.field"},
		{feature, `signal: "sdk:spend-null", test: {kind: always-valid, worseBy: 2pp}`, "ref.unknown"},
		{"    spend: {kind: feature}\n    spend-age: {kind: value}\n", `signal: "sdk:errors", test: {kind: always-valid, worseBy: 2pp}`, "name.reserved"},
		{"    spend: {kind: value, maxAge: 1m}\n", `signal: "sdk:errors", test: {kind: always-valid, worseBy: 2pp}`, "metric.age"},
	} {
		p, findings := withQuality(t, tt.metrics, "    - {name: g, "+tt.guardrail+"}\n")
		i := slices.IndexFunc(findings, func(f Finding) bool { return f.Code == tt.code && f.Severity == SevError })
		if p != nil || i < 0 || findings[i].Line == 0 || strings.TrimSpace(findings[i].Fix) == "" {
			t.Errorf("%s: want %s, got %v", tt.guardrail, tt.code, findings)
		}
	}
}
