package plan

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/judge"
)

const (
	modeShadow      = "shadow"
	defaultHoldback = 1_000 // 1 %
	maxHoldback     = 50_000
)

// stages expands the stages to one exposure each and checks the course they take.
func (c *compiler) stages(spec *value) {
	list := spec.get("stages")
	c.distinct(list, "name")
	for i, v := range list.list {
		if v.ok {
			c.stage(v, spec, cohortOf(list.list[i:]))
		}
	}
	if !list.ok {
		return
	}
	switch n := len(c.plan.Stages); {
	case len(list.list) == 0:
		c.fail(list, "plan.steps", "there is no stage", "add at least one stage with an exposure")
		return
	case n == 0:
		return // every entry was refused for its shape
	case n > maxStages && len(list.list) <= maxStages:
		c.fail(list, "plan.steps", fmt.Sprintf("%d stages with the lists written out; the limit is %d", n, maxStages), "write fewer")
	}
	c.cohorts(spec)
	c.last(list)
	c.plan.Judge.Bakes, c.plan.Judge.Stages = c.plan.bakeSeconds(), len(c.plan.Stages)
	c.fullLooks()
}

// cohortOf returns the cohort of the first of the stages. A shadow stage that names none prepares for the stage after it.
func cohortOf(stages []*value) string {
	for _, v := range stages {
		if c := v.get("cohort"); c.given {
			return textOr(c, everybody)
		}
		if v.get("mode").text != modeShadow {
			break
		}
	}
	return everybody
}

func (c *compiler) stage(v, spec *value, cohort string) {
	s := Stage{Name: v.get("name").text, Mode: v.get("mode").text, Cohort: cohort, Rollback: v.get("rollback").text}
	bake := v.get("bake")
	if bake.kind == kindObject {
		bake = bake.get("min")
	}
	c.seconds(bake, MaxDuration)
	s.Bake = bake.dur
	if !v.get("rollback").given && !spec.get("rollback").given {
		c.fail(v, "plan.rollback_target", fmt.Sprintf("stage %s has no documented way back", quote(s.Name)), "add spec.rollback, or rollback to this stage")
	}
	shares := c.shares(v, s.Mode == modeShadow)
	for i, share := range shares {
		one := s
		if len(shares) > 1 || v.get("exposure").kind == kindList {
			one.Name = s.Name + "/" + strconv.Itoa(i+1)
		}
		if share.ok {
			one.Exposure = share.share
			one.Holdback = c.holdback(v, one.Exposure, i == len(shares)-1)
			if ref := v.get("cohort"); ref.ok || ref.blank() {
				c.rising(share, one)
			}
		}
		c.plan.Stages = append(c.plan.Stages, one)
		c.bakes = append(c.bakes, bake)
	}
}

// shares returns the exposures of one stage as written; a shadow stage has exactly one, zero.
func (c *compiler) shares(v *value, shadow bool) []*value {
	e := v.get("exposure")
	all := []*value{e}
	if e.kind == kindList {
		all = e.list
		if e.ok && len(all) == 0 {
			c.fail(e, "plan.steps", "the list of exposures is empty", "write at least one share")
		}
	}
	switch {
	case e.blank() && shadow:
		return []*value{{path: e.path, line: e.line, col: e.col, ok: true}}
	case e.blank():
		c.fail(e, "field.required", "exposure is missing", "add exposure, such as 5%")
	}
	for _, share := range all {
		switch {
		case !share.ok:
		case shadow && share.share != 0:
			c.fail(share, "plan.shadow", fmt.Sprintf("a shadow stage exposes nobody, not %s", quote(share.text)), "write exposure: 0%, or remove mode")
		case !shadow && share.share == 0:
			c.fail(share, "plan.shadow", "a stage that exposes nobody needs mode: shadow", "write mode: shadow, or an exposure above 0%")
		}
	}
	return all
}

// holdback returns what the stage keeps on the baseline: only full exposure needs it, and always has it, because a
// comparison without a baseline arm is none.
func (c *compiler) holdback(v *value, e flag.Exposure, last bool) flag.Exposure {
	h := v.get("holdback")
	if e != flag.Full {
		if h.given && last {
			c.fail(h, "plan.holdback", "a holdback belongs to an exposure of 100%; below it the rest is the baseline", "remove it")
		}
		return 0
	}
	switch {
	case !h.ok:
		return defaultHoldback
	case h.share == 0:
		c.fail(h, "plan.baseline", "without a holdback nothing is left to compare with at 100%", "write holdback: 1%, or leave it out")
	case h.share > maxHoldback:
		c.fail(h, "percent.range", quote(h.text)+" is more than half", "write at most 50%")
	}
	return h.share
}

// effective is the share that really gets the candidate.
func (s Stage) effective() flag.Exposure { return min(s.Exposure, flag.Full-s.Holdback) }

// rising refuses a stage that exposes less of its cohort than an earlier one.
func (c *compiler) rising(v *value, s Stage) {
	for _, before := range slices.Backward(c.plan.Stages) {
		if before.Cohort != s.Cohort {
			continue
		}
		if s.effective() < before.effective() {
			c.fail(v, "plan.monotone", fmt.Sprintf("exposure of cohort %s falls from %s in stage %s to %s in stage %s", quote(s.Cohort),
				formatPercent(uint32(before.effective())), quote(before.Name), formatPercent(uint32(s.effective())), quote(s.Name)),
				"order the stages so that exposure only rises; going back is what rollback is for")
		}
		return
	}
}

// cohorts lists the cohorts in order of first use; a unit belongs to the first that matches, so one that matches
// everybody must come last.
func (c *compiler) cohorts(spec *value) {
	declared := spec.get("audience", "cohorts")
	used := map[string]bool{}
	all := ""
	stages := spec.get("stages").list
	for i, v := range stages {
		ref := v.get("cohort")
		name := cohortOf(stages[i:])
		if used[name] || !v.ok || ref.given && !ref.ok {
			continue
		}
		used[name] = true
		d, found := declared.members[name]
		switch {
		case !found && name != everybody:
			fix := "declare it under spec.audience.cohorts"
			if n := nearest(name, append([]string{everybody}, declared.names...)); n != "" {
				fix = "did you mean " + n + "?"
			}
			c.fail(ref, "ref.unknown", "there is no cohort "+quote(name), fix)
			continue
		case all != "":
			c.fail(orElse(ref, v), "plan.cohorts", fmt.Sprintf("cohort %s comes after %s, which matches everybody: nobody is left for it", quote(name), quote(all)),
				"expose the narrower cohort first")
		}
		cohort := Cohort{Name: name}
		if found && d.match != nil && !d.match.Always {
			cohort.Match = d.match
		} else if !found || d.ok {
			all = name
		}
		c.plan.Cohorts = append(c.plan.Cohorts, cohort)
	}
	for _, name := range declared.names {
		if !used[name] {
			c.at(declared.members[name], SevWarning, "cohort.unused", fmt.Sprintf("cohort %s is exposed by no stage", quote(name)), "remove it, or add a stage")
		}
	}
}

func orElse(v, other *value) *value {
	if v.given {
		return v
	}
	return other
}

// last checks that what the rollout ends with is what Completed serves: everybody. Anything less would jump, unjudged.
func (c *compiler) last(list *value) {
	s := c.plan.Stages[len(c.plan.Stages)-1]
	v := list.list[len(list.list)-1]
	e := v.get("exposure")
	if !v.ok || e.given && !e.ok || e.kind == kindList && slices.ContainsFunc(e.list, func(x *value) bool { return !x.ok }) {
		return
	}
	if s.Exposure != flag.Full {
		c.fail(orElse(e, v), "plan.steps", fmt.Sprintf("the last stage exposes %s; completing would jump to 100%% unjudged", formatPercent(uint32(s.Exposure))),
			"end with a stage of exposure: 100%; a holdback stays the baseline")
	}
	if i := slices.IndexFunc(c.plan.Cohorts, func(x Cohort) bool { return x.Name == s.Cohort }); i >= 0 && c.plan.Cohorts[i].Match != nil {
		c.fail(orElse(v.get("cohort"), v), "plan.cohorts", fmt.Sprintf("the last stage exposes only cohort %s; completing would expose everybody unjudged", quote(s.Cohort)),
			"end with a stage for everybody")
	}
}

// fullLooks compares bakes with what thresholds need: they pass only when their last looks are all there, which takes
// that many windows. Below powerFrom an early stage may pass without (its harm is capped by its exposure), so that is only
// noted; a cohort none of whose wider stages is long enough would always end up waiting for a person.
func (c *compiler) fullLooks() {
	need, name := time.Duration(0), ""
	for _, g := range c.plan.Judge.Guardrails {
		if d := g.Window * time.Duration(g.Blips.Of); g.Test == judge.Threshold && g.Role == "guardrail" && d > need {
			need, name = d, g.Name
		}
	}
	enough := map[string]bool{}
	for _, s := range c.plan.Stages {
		enough[s.Cohort] = enough[s.Cohort] || s.share() >= c.plan.Judge.PowerFrom && s.Bake >= need
	}
	for i, s := range c.plan.Stages {
		if s.Exposure == 0 || s.Bake == 0 || s.Bake >= need || i > 0 && c.bakes[i] == c.bakes[i-1] {
			continue
		}
		sev := SevNote
		if s.share() >= c.plan.Judge.PowerFrom && !enough[s.Cohort] {
			sev = SevWarning
		}
		c.at(c.bakes[i], sev, "guardrail.looks", fmt.Sprintf("the bake of %s is shorter than the %s of full looks that guardrail %s needs", formatDuration(s.Bake), formatDuration(need), name),
			"bake at least "+formatDuration(need)+", or shorten the guardrail's window or blips.of")
	}
}

// share is the exposure as a fraction.
func (s Stage) share() float64 { return float64(s.Exposure) / float64(flag.Full) }

// bakeSeconds returns all bakes together in seconds, at least 1.
func (p *Plan) bakeSeconds() int {
	var total time.Duration
	for _, s := range p.Stages {
		total += s.Bake
	}
	return max(1, int(total/time.Second))
}
