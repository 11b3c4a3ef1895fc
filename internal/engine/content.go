package engine

import (
	"encoding/json"
	"fmt"
	"strings"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
)

// Pin says which artifact a component of a bundle uses: object "pin/<component>".
type Pin struct {
	Component string `json:"component"`
	Artifact  string `json:"artifact"`
	Digest    string `json:"digest"`
	Candidate string `json:"candidate,omitempty"` // computed beside it while the rollout is open
}

// split takes the flag, its exceptions and the bundle's pins out of base.
func split(base revision.Objects, p *plan.Plan) (rest, scope revision.Objects, err error) {
	rest, scope = base.Clone(), revision.Objects{}
	move := func(path string) {
		scope[path] = rest[path]
		delete(rest, path)
	}
	move("flag/" + p.Flag.Key)
	for path, raw := range base {
		if !strings.HasPrefix(path, "exception/") {
			continue
		}
		var x flag.Exception
		if err := json.Unmarshal(raw, &x); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		if x.Flag == p.Flag.Key {
			move(path)
		}
	}
	for _, m := range p.Bundle {
		path := "pin/" + m.Component
		if raw, ok := rest[path]; ok {
			var pin Pin
			if err := json.Unmarshal(raw, &pin); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", path, err)
			}
			if pin.Digest != m.From {
				return nil, nil, refusal("bundle.from", "set from to what is pinned today",
					"component %q is pinned to %s, the spec says from %s", m.Component, pin.Digest, m.From)
			}
			move(path)
			continue
		}
		if err := scope.Put(path, Pin{Component: m.Component, Artifact: m.Artifact, Digest: m.From}); err != nil {
			return nil, nil, err
		}
	}
	return rest, scope, nil
}

// stageContent is the scope's content in stage i: the flag with its exposure, the bundle with its candidate computed
// beside the stable version, and what is measured. Cohorts of earlier stages stay exposed and leave the comparison.
func stageContent(before revision.Objects, p *plan.Plan, i int) (revision.Objects, error) {
	objs := before.Clone()
	var f flag.Flag
	if err := json.Unmarshal(before["flag/"+p.Flag.Key], &f); err != nil {
		return nil, fmt.Errorf("flag %s: %w", p.Flag.Key, err)
	}
	f.Rollout = &flag.Rollout{
		ID: p.Name, Stable: p.Flag.Stable, Candidate: p.Flag.Candidate, Unit: p.Unit, Salt: p.Salt, Cohorts: cohorts(p, i),
	}
	if err := objs.Put("flag/"+p.Flag.Key, f); err != nil {
		return nil, err
	}
	for _, m := range p.Bundle {
		pin := Pin{Component: m.Component, Artifact: m.Artifact, Digest: m.From, Candidate: m.To}
		if err := objs.Put("pin/"+m.Component, pin); err != nil {
			return nil, err
		}
	}
	metrics, err := flag.Canonical(p.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", p.Name, err)
	}
	err = objs.Put("judge/"+p.Name, flag.Judged{Rollout: p.Name, Segments: p.Segments, Sources: p.Sources, Metrics: metrics})
	return objs, err
}

func cohorts(p *plan.Plan, i int) []flag.CohortExposure {
	reached := map[string]flag.Exposure{}
	for _, s := range p.Stages[:i+1] {
		reached[s.Cohort] = s.Served()
	}
	var out []flag.CohortExposure
	for _, c := range p.Cohorts {
		exposure, ok := reached[c.Name]
		if !ok {
			continue
		}
		out = append(out, flag.CohortExposure{Cohort: c.Name, Match: c.Match, Exposure: exposure, Closed: c.Name != p.Stages[i].Cohort})
	}
	return out
}

// keepExcluded lets the exclusions in force outlive the rollout (I11): what they keep from the candidate goes on to get
// the variant that was stable, after promotion too.
func keepExcluded(overlay revision.Objects, p *plan.Plan) (revision.Objects, error) {
	objs := overlay.Clone()
	for path, raw := range overlay {
		if !strings.HasPrefix(path, "exclude/") {
			continue
		}
		var x flag.Exclusion
		if err := json.Unmarshal(raw, &x); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if x.Flag != p.Flag.Key || x.Serve != "" {
			continue
		}
		x.Serve = p.Flag.Stable
		if err := objs.Put(path, x); err != nil {
			return nil, err
		}
	}
	return objs, nil
}

// finished is the scope's content when the candidate has become the stable variant.
func finished(before revision.Objects, p *plan.Plan) (revision.Objects, error) {
	objs := before.Clone()
	var f flag.Flag
	if err := json.Unmarshal(before["flag/"+p.Flag.Key], &f); err != nil {
		return nil, fmt.Errorf("flag %s: %w", p.Flag.Key, err)
	}
	f.Default, f.Rollout = p.Flag.Candidate, nil
	if err := objs.Put("flag/"+p.Flag.Key, f); err != nil {
		return nil, err
	}
	for _, m := range p.Bundle {
		if err := objs.Put("pin/"+m.Component, Pin{Component: m.Component, Artifact: m.Artifact, Digest: m.To}); err != nil {
			return nil, err
		}
	}
	return objs, nil
}
