package engine

import (
	"encoding/json"
	"reflect"
	"testing"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
)

// TestCohorts: a cohort keeps what its last stage gave it, earlier ones leave the comparison, and nobody gets more than
// the holdback leaves.
func TestCohorts(t *testing.T) {
	internal := &flag.Condition{Segment: "employees"}
	p := shortPlan(t, func(p *plan.Plan) {
		p.Cohorts = []plan.Cohort{{Name: "internal", Match: internal}, {Name: "general"}}
		p.Stages = []plan.Stage{
			{Name: "a", Cohort: "internal", Exposure: 50_000},
			{Name: "b", Cohort: "internal", Exposure: flag.Full, Holdback: 5_000},
			{Name: "c", Cohort: "general", Exposure: 1_000},
			{Name: "d", Cohort: "general", Exposure: flag.Full, Holdback: 1_000},
		}
	})
	in := func(e flag.Exposure, closed bool) flag.CohortExposure {
		return flag.CohortExposure{Cohort: "internal", Match: internal, Exposure: e, Closed: closed}
	}
	want := [][]flag.CohortExposure{
		{in(50_000, false)},
		{in(95_000, false)},
		{in(95_000, true), {Cohort: "general", Exposure: 1_000}},
		{in(95_000, true), {Cohort: "general", Exposure: 99_000}},
	}
	for i := range p.Stages {
		if got := cohorts(p, i); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("stage %d: %+v, want %+v", i, got, want[i])
		}
	}
}

// TestStageContentHoldsBothVersions: while the rollout is open the stable version is kept beside the candidate.
func TestStageContentHoldsBothVersions(t *testing.T) {
	p := shortPlan(t, nil)
	base := revision.Objects{}
	for path, v := range map[string]any{
		"flag/spend7d": boolFlag("spend7d"), "flag/other": boolFlag("other"),
		"exception/a": flag.Exception{ID: "a", Flag: "spend7d"}, "exception/b": flag.Exception{ID: "b", Flag: "other"},
		"pin/checkout": Pin{Component: "checkout", Artifact: "flags:spend7d", Digest: from}, "pin/else": Pin{Component: "else"},
	} {
		if err := base.Put(path, v); err != nil {
			t.Fatal(err)
		}
	}
	kept := base.Clone()
	rest, scope, err := split(base, p)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(base, kept) {
		t.Error("split changed what it was given")
	}
	for path := range kept {
		_, moved := scope[path]
		_, stayed := rest[path]
		want := path == "flag/spend7d" || path == "exception/a" || path == "pin/checkout"
		if moved != want || stayed == want {
			t.Errorf("%s: moved %v, stayed %v", path, moved, stayed)
		}
	}
	objs, err := stageContent(scope, p, 1)
	if err != nil {
		t.Fatal(err)
	}
	var f flag.Flag
	var pin Pin
	var j flag.Judged
	for path, v := range map[string]any{"flag/spend7d": &f, "pin/checkout": &pin, "judge/" + name: &j} {
		if err := json.Unmarshal(objs[path], v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if pin.Digest != from || pin.Candidate != to {
		t.Errorf("pin %+v, want both versions", pin)
	}
	if f.Default != "v14" || f.Rollout == nil || f.Rollout.Candidate != "v15" || f.Rollout.ID != name || f.Rollout.Unit != "account" {
		t.Errorf("flag %+v, rollout %+v", f, f.Rollout)
	}
	if j.Rollout != name || len(j.Metrics) == 0 {
		t.Errorf("judged %+v", j)
	}
	if _, full, _ := scope.Digests(); full == "" {
		t.Error("no digest")
	}
	done, err := finished(scope, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := done["judge/"+name]; ok {
		t.Error("what was judged stays after the end")
	}
	if string(done["exception/a"]) != string(scope["exception/a"]) {
		t.Error("the end changed an exception")
	}
}
