// Package plan reads a rollout's specification and resolves it into a Plan: parsed strictly, linted, defaults filled in,
// durations and shares typed, guardrails compiled for package judge. A Plan never changes once its rollout has started;
// its digest is what approvals, rehearsals and records bind to.
package plan

import (
	"encoding/json"
	"fmt"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/judge"
)

// Plan is a resolved Rollout spec.
type Plan struct {
	Name        string                     `json:"name"`
	Namespace   string                     `json:"namespace,omitempty"`
	Labels      map[string]string          `json:"labels,omitempty"`
	Environment string                     `json:"environment"`
	Hypothesis  Hypothesis                 `json:"hypothesis"`
	Owner       string                     `json:"owner"`
	Deputies    []string                   `json:"deputies,omitempty"`
	Decides     []string                   `json:"decides,omitempty"` // duties of the owner
	Teams       map[string]string          `json:"teams,omitempty"`   // role -> team
	Docs        Docs                       `json:"docs"`
	Flag        FlagChange                 `json:"flag"`
	Bundle      []Member                   `json:"bundle,omitempty"` // forward order: writers, stores, hosts, readers
	Unit        string                     `json:"unit"`             // attribute that is bucketed
	Salt        string                     `json:"salt"`
	Cohorts     []Cohort                   `json:"cohorts"`            // in order of first use
	Segments    []string                   `json:"segments,omitempty"` // attributes judged per value
	Sources     []string                   `json:"sources,omitempty"`  // attributes that name a data source
	Metrics     map[string]evidence.Metric `json:"metrics"`            // the built-in "error" included
	Units       map[string]string          `json:"units,omitempty"`    // metric -> unit of its values, for people
	Judge       judge.Config               `json:"judge"`
	OnUnclear   string                     `json:"onInconclusive"` // a bake that ended without enough evidence: "approve" (a person decides) or "hold"
	Stages      []Stage                    `json:"stages"`         // one exposure each: a spec stage with a list is expanded to "expand/1", "expand/2", ...
	Rollback    Rollback                   `json:"rollback"`
	Digest      string                     `json:"digest"` // over the canonical JSON of everything above
}

// Hypothesis is what the rollout is expected to change and what would prove it wrong.
type Hypothesis struct {
	Statement   string        `json:"statement"`
	Expect      []Expectation `json:"expect,omitempty"`
	FalsifiedBy string        `json:"falsifiedBy,omitempty"`
}

// Expectation is one expected change, as written.
type Expectation struct {
	Metric string `json:"metric"`
	Change string `json:"change"`
	Within string `json:"within,omitempty"`
}

// Docs are the documents of a rollout (R2, R51).
type Docs struct {
	Assumptions      []string      `json:"assumptions,omitempty"`
	DataDependencies []Dependency  `json:"dataDependencies,omitempty"`
	CriticalPaths    []string      `json:"criticalPaths,omitempty"`
	FailureModes     []FailureMode `json:"failureModes,omitempty"`
}

// Dependency is a dataset the change reads.
type Dependency struct {
	Dataset   string `json:"dataset"`
	Freshness string `json:"freshness,omitempty"`
	Schema    string `json:"schema,omitempty"`
}

// FailureMode is a way in which the change may fail, with the guardrails that would notice.
type FailureMode struct {
	ID     string   `json:"id"`
	Text   string   `json:"text"`
	Guards []string `json:"guards"`
}

// FlagChange names the flag and its two variants.
type FlagChange struct {
	Key       string `json:"key"`
	Stable    string `json:"stable"`
	Candidate string `json:"candidate"`
}

// Member is one component of the bundle that moves together.
type Member struct {
	Component string `json:"component"`
	Artifact  string `json:"artifact"`
	From      string `json:"from"` // artifact digest before
	To        string `json:"to"`   // artifact digest after
}

// Cohort is a named group of units; Match nil means everybody.
type Cohort struct {
	Name  string          `json:"name"`
	Match *flag.Condition `json:"match,omitempty"`
}

// Stage is one step of exposure.
type Stage struct {
	Name     string        `json:"name"`
	Mode     string        `json:"mode,omitempty"` // "" or "shadow" (exposure 0, nothing is compared)
	Cohort   string        `json:"cohort"`
	Exposure flag.Exposure `json:"exposure"`
	Holdback flag.Exposure `json:"holdback,omitempty"` // kept on the baseline at full exposure, released at Completed
	Bake     time.Duration `json:"bake"`               // observed time, not wall time
	Rollback string        `json:"rollback,omitempty"` // the documented way back where it differs from the plan's
}

// Served is the share of the cohort that is exposed in the stage: its exposure less what the holdback keeps back.
func (s Stage) Served() flag.Exposure { return min(s.Exposure, flag.Full-s.Holdback) }

// Rollback says how the rollout is taken back.
type Rollback struct {
	On             []string      `json:"on"` // "guardrail:rollback", "component-lost", "operator"
	LeaseTTL       time.Duration `json:"leaseTTL"`
	AckDeadline    time.Duration `json:"ackDeadline"`
	CompleteWithin time.Duration `json:"completeWithin"` // to SAFE
	UnwindWithin   time.Duration `json:"unwindWithin"`   // to RolledBack
	Drain          time.Duration `json:"drain"`          // raises a member's W, never lowers it
}

// Body returns the canonical JSON of everything but the digest, whose SHA-256 the digest is: a plan is stored as its body
// under its digest. Load reads it back.
func (p *Plan) Body() ([]byte, error) {
	plain := *p
	plain.Digest = ""
	return flag.Canonical(plain)
}

// Load reads a plan from its body and checks it against its digest.
func Load(digest string, body []byte) (*Plan, error) {
	if got := flag.ContentDigest(body); got != digest {
		return nil, fmt.Errorf("plan %s: its content has digest %s", digest, got)
	}
	var p Plan
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("plan %s: %w", digest, err)
	}
	p.Digest = digest
	return &p, nil
}

// StageAt returns stage i, and false for an index outside the plan: -1 before the first stage, len(Stages) after the last.
func (p *Plan) StageAt(i int) (Stage, bool) {
	if i < 0 || i >= len(p.Stages) {
		return Stage{}, false
	}
	return p.Stages[i], true
}

// Finding is what a spec has to be told about one place. Only an error keeps it from becoming a plan.
type Finding struct {
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line"` // from 1
	Col      int      `json:"col"`  // in characters, from 1
	Path     string   `json:"path"` // e.g. "spec.stages[2].bake"
	Code     string   `json:"code"` // stable rule id, e.g. "duration.negative"
	Severity Severity `json:"severity"`
	Text     string   `json:"text"` // what is wrong, with the value
	Fix      string   `json:"fix"`  // what to write instead
}
