package plan

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/judge"
)

func TestFlightsExampleLintsClean(t *testing.T) {
	src := readExample(t, "flights.yaml")
	p, findings := Parse("examples/flights.yaml", []byte(src))
	for _, f := range findings {
		if f.Severity != SevNote {
			t.Errorf("%s", FormatFinding(f, src))
		}
	}
	if p == nil {
		t.Fatal("no plan")
	}
	got, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/flights.plan.json", append(got, '\n'))
}

func TestPlanSurvivesItsJSON(t *testing.T) {
	p := mustParse(t, small)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*p, back) {
		t.Errorf("got %+v, want %+v", back, *p)
	}
}

func TestDefaults(t *testing.T) {
	p := mustParse(t, edit(t, small, "    signal: {leaseTTL: 8s, completeWithin: 15s}\n    downstream: {drain: 5s}\n", "    on: [\"guardrail:rollback\"]\n"))
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"alpha", p.Judge.Alpha, 0.01},
		{"powerFrom", p.Judge.PowerFrom, 0.25},
		{"bakes", p.Judge.Bakes, 3*4*3600 + 24*3600},
		{"onInconclusive", p.OnUnclear, "approve"},
		{"salt", p.Salt, "spend"},
		{"unit", p.Unit, ""},
		{"lease", p.Rollback.LeaseTTL, 10 * time.Second},
		{"drain", p.Rollback.Drain, 2 * time.Second},
		{"complete", p.Rollback.CompleteWithin, 15 * time.Second},
		{"unwind", p.Rollback.UnwindWithin, 10 * time.Minute},
		{"on", p.Rollback.On, []string{"guardrail:rollback", "operator"}},
		{"holdback", p.Stages[3].Holdback, defaultHoldbackOf(p)},
		{"error metric", p.Metrics["error"].SettleMs, int64(3000)},
		{"scale", p.Metrics["read"].Scale, 5},
		{"window", p.Judge.Guardrails[0].Window, 5 * time.Second},
		{"minN", p.Judge.Guardrails[0].MinN, uint64(20)},
		{"blips", p.Judge.Guardrails[0].Blips, judge.Blips{Allow: 2, Of: 3}},
		{"weight", p.Judge.Guardrails[0].Weight, 1.0},
		{"stat of a value", p.Judge.Guardrails[0].Stat, "mean"},
		{"stat of a proportion", p.Judge.Guardrails[2].Stat, "proportion"},
		{"segments", p.Judge.Guardrails[0].Segments, true},
		{"onBreach", p.Judge.Guardrails[0].OnBreach, judge.ActRollback},
		{"onNoData", p.Judge.Guardrails[0].OnNoData, judge.ActPause},
		{"noDataAfter", p.Judge.Guardrails[0].NoDataAfter, 10 * time.Minute},
		{"detect", p.Judge.Guardrails[3].Detect, judge.Margin{Absolute: 0.015}},
		{"always-valid has no window", p.Judge.Guardrails[3].Window, time.Duration(0)},
		{"everybody has no condition", p.Cohorts[1].Match == nil, true},
		{"cohorts in order of use", []string{p.Cohorts[0].Name, p.Cohorts[1].Name}, []string{"internal", "general"}},
		{"error as a signal", p.Judge.Guardrails[2].Metric, "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !reflect.DeepEqual(tt.got, tt.want) {
				t.Errorf("got %v, want %v", tt.got, tt.want)
			}
		})
	}
}

func defaultHoldbackOf(p *Plan) any { return p.Stages[0].Exposure / 50 } // 1 % of all, where stage 0 exposes 50 %

func TestStagesAreWrittenOut(t *testing.T) {
	p := mustParse(t, small)
	var got []string
	for _, s := range p.Stages {
		got = append(got, s.Name)
	}
	if want := []string{"internal", "expand/1", "expand/2", "full"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if s, ok := p.StageAt(2); !ok || s.Exposure != 20_000 || s.Bake != 4*time.Hour {
		t.Errorf("got %+v, %v, want 20%% for 4h", s, ok)
	}
	for _, i := range []int{-1, 4} {
		if _, ok := p.StageAt(i); ok {
			t.Errorf("stage %d exists, want none", i)
		}
	}
}

func TestRolesInherit(t *testing.T) {
	text := edit(t, small, "worseBy: 2pp}}", "worseBy: 2pp}, role: signal, onNoData: {after: 7s, do: hold}, onError: hold}")
	text = edit(t, text, "  guardrails:", "  analysisDefaults: {alpha: 0.05, onInconclusive: hold, onError: rollback, onNoData: rollback}\n  guardrails:")
	p := mustParse(t, text)
	first, second := p.Judge.Guardrails[0], p.Judge.Guardrails[1]
	if first.OnError != judge.ActRollback || first.OnNoData != judge.ActRollback || first.NoDataAfter != 10*time.Minute {
		t.Errorf("the first does not inherit: %+v", first)
	}
	if second.OnBreach != judge.ActPause || second.OnNoData != judge.ActHold || second.NoDataAfter != 7*time.Second || second.OnError != judge.ActHold {
		t.Errorf("the second does not decide for itself: %+v", second)
	}
	if p.Judge.Alpha != 0.05 || p.OnUnclear != "hold" {
		t.Errorf("got alpha %g and %s, want 0.05 and hold", p.Judge.Alpha, p.OnUnclear)
	}
}

func TestLimitsInTheUnitOfTheMetric(t *testing.T) {
	for _, tt := range []struct {
		written string
		want    judge.Margin
	}{
		{"20%", judge.Margin{Relative: 0.2}},
		{"0.125%", judge.Margin{Relative: 0.00125}},
		{"3", judge.Margin{Absolute: 3}},
		{"3 ms", judge.Margin{Absolute: 3}},
		{"3ms", judge.Margin{Absolute: 3}},
		{"1s500ms", judge.Margin{Absolute: 1500}},
		{"250us", judge.Margin{Absolute: 0.25}},
	} {
		t.Run(tt.written, func(t *testing.T) {
			p := mustParse(t, edit(t, small, "worseBy: 20%", "worseBy: "+tt.written))
			if got := p.Judge.Guardrails[0].WorseBy; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDigestIsOfTheMeaning(t *testing.T) {
	base := mustParse(t, small).Digest
	same := map[string]string{
		"comment":    edit(t, small, "spec:\n", "spec: # what it does\n"),
		"order":      edit(t, small, "name: internal, cohort: internal", "cohort: internal, name: internal"),
		"quotes":     edit(t, small, "\"user:ada\"", "'user:ada'"),
		"default":    edit(t, small, "drain: 5s}", "drain: 5s}\n    on: [\"guardrail:rollback\", component-lost, operator]"),
		"other unit": edit(t, small, "exposure: 50%", "exposure: 50.000%"),
	}
	for name, text := range same {
		if got := mustParse(t, text).Digest; got != base {
			t.Errorf("%s changes the digest", name)
		}
	}
	for _, change := range [][2]string{
		{"exposure: 50%", "exposure: 50.001%"}, {"bake: 1d", "bake: 86401s"}, {"leaseTTL: 8s", "leaseTTL: 7s"}, {"worseBy: 20%", "worseBy: 21%"},
		{"user:ada", "user:bob"}, {"staff == true", "staff == false"}, {"badAbove: 50", "badAbove: 51"}, {"v2 counts", "v2 really counts"},
		{"[region,", "[area,"}, {"drain: 5s}", "drain: 5s}\n    on: [\"guardrail:rollback\", operator]"}, {"unit: ms", "unit: s"},
	} {
		if got := mustParse(t, edit(t, small, change[0], change[1])).Digest; got == base {
			t.Errorf("%q for %q keeps the digest", change[1], change[0])
		}
	}
	if !strings.HasPrefix(base, "sha256:") {
		t.Errorf("got digest %q, want sha256:...", base)
	}
}

func TestEffectiveMarginIsPrinted(t *testing.T) {
	text := edit(t, small, "signal: \"sdk:read\", test: {kind: threshold, worseBy: 20%}", "signal: \"sdk:read\", stat: distribution, test: {kind: always-valid, worseBy: 10%}")
	_, findings := Parse("", []byte(text))
	for _, f := range findings {
		if f.Code == "margin.effective" {
			// ceil(ln 1.1 / ln 2^(1/32)) = 5 buckets; 2^(5/32) = 1.1144.
			if !strings.Contains(f.Text, "acts as 11.4%") || !strings.Contains(f.Text, "5 buckets") {
				t.Errorf("got %q, want 5 buckets and 11.4%%", f.Text)
			}
			return
		}
	}
	t.Errorf("no note in %v", findings)
}

// TestHorizon compares with the formula in floating point: never shorter, never more than a nanosecond longer.
func TestHorizon(t *testing.T) {
	for ttl := minLease; ttl <= maxLease; ttl += 37 * time.Millisecond {
		exact := float64(ttl)*1.01/0.99 + 2e8
		if got := float64(horizon(ttl)); got < exact-1e-4 || got > exact+1 {
			t.Fatalf("horizon of %s: got %.2f, want %.2f", ttl, got, exact)
		}
	}
}
