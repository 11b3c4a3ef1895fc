package flag

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a configuration.
const (
	MaxFlags    = 10_000
	MaxRules    = 1_000 // of one flag
	MaxVariants = 1_000 // of one flag
	maxCohorts  = 256   // of one rollout
	maxSalt     = 256   // bytes
)

// Validate checks what the objects of a configuration mean, each by itself and together, and reports everything that is
// wrong, joined, in a fixed order (Errors lists it; codes are stable). A configuration that Validate accepts compiles.
//
// A kill or an exclusion whose flag does not exist is no error but does nothing: these live in the overlay, which a
// rollback does not touch, and must never stand in a rollback's way.
func Validate(cfg Config) error { return validate(cfg, false).err() }

// validator walks a configuration. Segments are measured once; their depth and cost enter every condition that names them.
type validator struct {
	report
	cfg      Config
	dangling bool // references to segments, variants and flags may lead nowhere
	segments map[string]measure
	open     []string // segments that are being measured, outermost first
}

// measure is the size of a condition with the segments that it names inserted.
type measure struct{ depth, cost int }

func validate(cfg Config, dangling bool) *validator {
	v := &validator{cfg: cfg, dangling: dangling, segments: map[string]measure{}}
	if len(cfg.Flags) > MaxFlags {
		v.add("", CodeLimitFlags, fmt.Sprintf("there are %d flags, more than %d", len(cfg.Flags), MaxFlags))
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Segments)) {
		v.segment(name)
	}
	cost := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(cfg.Exceptions)) {
		v.exception(id, cost)
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Exclusions)) {
		v.exclusion(id, cost)
	}
	rollouts := map[string]string{}
	cases := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(cfg.Flags)) {
		if other, ok := cases[strings.ToLower(key)]; ok {
			v.add(cfg.path(KindFlag, key), CodeNameCase, fmt.Sprintf("flag %s differs in nothing but case", short(other)))
		}
		cases[strings.ToLower(key)] = key
		v.flag(key, rollouts, cost[key])
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Judged)) {
		v.judged(id)
	}
	for _, key := range slices.Sorted(maps.Keys(cfg.Kills)) {
		k := cfg.Kills[key]
		v.keyed(cfg.path(KindKill, key), key, k.Flag)
		v.text(cfg.path(KindKill, key)+": reason", k.Reason)
	}
	return v
}

// named checks an object's name and that the object calls itself so.
func (v *validator) named(path, name, own string) {
	if !isSlug(name) {
		v.add(path, CodeName, fmt.Sprintf("%s is not a name (%s)", short(name), slugForm))
	}
	if own != name {
		v.add(path, CodeNameMismatch, fmt.Sprintf("the object calls itself %s", short(own)))
	}
}

// keyed is named for the key of a flag.
func (v *validator) keyed(path, key, own string) {
	if !isKey(key) {
		v.add(path, CodeName, fmt.Sprintf("%s is not a key (%s)", short(key), keyForm))
	}
	if own != key {
		v.add(path, CodeNameMismatch, fmt.Sprintf("the object calls itself %s", short(own)))
	}
}

// text checks a text for people.
func (v *validator) text(path, s string) {
	if s != "" && !printable(s, 1<<10) {
		v.add(path, CodeText, fmt.Sprintf("%s is longer than 1024 bytes or has control characters", short(s)))
	}
}

func (v *validator) flag(key string, rollouts map[string]string, cost int) {
	f := v.cfg.Flags[key]
	path := v.cfg.path(KindFlag, key)
	v.keyed(path, key, f.Key)
	v.variants(path, f)
	if f.Default != "" {
		v.variant(path+": default", f, f.Default)
	}
	if len(f.Targeting) > 0 {
		if _, _, err := compileLogic(f.Targeting); err != nil {
			v.targeting(path+": targeting", err)
		}
	}
	if f.Off != "" {
		v.variant(path+": off", f, f.Off)
	}
	if len(f.Rules) > MaxRules {
		v.add(path+": rules", CodeLimitRules, fmt.Sprintf("there are %d rules, more than %d", len(f.Rules), MaxRules))
		return
	}
	for i, r := range f.Rules {
		at := path + ": rules[" + strconv.Itoa(i) + "]"
		v.text(at+".name", r.Name)
		v.variant(at+".serve", f, r.Serve)
		cost += v.condition(at+".match", &r.Match).cost
	}
	if f.Rollout != nil {
		if other, ok := rollouts[f.Rollout.ID]; ok {
			v.add(path+": rollout.id", CodeRollout, fmt.Sprintf("flag %s has rollout %s too", other, short(f.Rollout.ID)))
		}
		rollouts[f.Rollout.ID] = key
		cost += v.rollout(path+": rollout", f, f.Rollout)
	}
	if cost > MaxFlagCost {
		v.add(path, CodeLimitCost, fmt.Sprintf("evaluating it takes up to %d comparisons, more than %d", cost, MaxFlagCost))
	}
}

func (v *validator) targeting(path string, err error) {
	for _, e := range Errors(err) {
		v.add(path, e.Code, e.Text)
	}
}

func (v *validator) variants(path string, f Flag) {
	switch f.Type {
	case Bool, String, Int, Float, Object:
	default:
		v.add(path+": type", CodeFlagType, fmt.Sprintf("type %s is none of boolean, string, integer, float, object", short(string(f.Type))))
		return
	}
	switch {
	case len(f.Variants) == 0:
		v.add(path+": variants", CodeVariants, "there are no variants")
	case len(f.Variants) > MaxVariants:
		v.add(path+": variants", CodeLimitVariants, fmt.Sprintf("there are %d variants, more than %d", len(f.Variants), MaxVariants))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(f.Variants)) {
		at := path + ": variants[" + quote(name) + "]"
		if !isKey(name) {
			v.add(at, CodeName, fmt.Sprintf("%s is not a name (%s)", short(name), keyForm))
		}
		if _, err := newVariant(name, f.Type, f.Variants[name]); err != nil {
			v.add(at, CodeVariantType, err.Error())
		}
	}
}

// variant checks that name is a variant of the flag.
func (v *validator) variant(path string, f Flag, name string) {
	if _, ok := f.Variants[name]; !ok {
		v.add(path, CodeRefVariant, fmt.Sprintf("there is no variant %s", short(name)))
	}
}

func (v *validator) rollout(path string, f Flag, r *Rollout) (cost int) {
	if !isSlug(r.ID) {
		v.add(path+".id", CodeName, fmt.Sprintf("%s is not a name (%s)", short(r.ID), slugForm))
	}
	v.variant(path+".stable", f, r.Stable)
	v.variant(path+".candidate", f, r.Candidate)
	if r.Stable == r.Candidate {
		v.add(path+".candidate", CodeSameArms, fmt.Sprintf("stable and candidate are both %s", short(r.Stable)))
	}
	// Both are served without asking for a lease; the candidate of an open rollout never is.
	if f.Default == r.Candidate {
		v.add(path+".candidate", CodeCandidate, fmt.Sprintf("the candidate %s is the flag's default", short(r.Candidate)))
	}
	if f.Off == r.Candidate {
		v.add(path+".candidate", CodeCandidate, fmt.Sprintf("the candidate %s is what a kill switch serves", short(r.Candidate)))
	}
	if r.Unit != "" && !printable(r.Unit, maxNameBytes) {
		v.add(path+".unit", CodeAttrName, fmt.Sprintf("%s is not an attribute name", short(r.Unit)))
	}
	if r.Salt == "" || len(r.Salt) > maxSalt {
		v.add(path+".salt", CodeSalt, fmt.Sprintf("the salt has %d bytes, not 1 to %d", len(r.Salt), maxSalt))
	}
	return v.cohorts(path+".cohorts", r.Cohorts)
}

func (v *validator) cohorts(path string, list []CohortExposure) (cost int) {
	if len(list) > maxCohorts {
		v.add(path, CodeLimitRules, fmt.Sprintf("there are %d cohorts, more than %d", len(list), maxCohorts))
		return 0
	}
	seen := map[string]bool{}
	for i, c := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		if !isSlug(c.Cohort) {
			v.add(at+".cohort", CodeName, fmt.Sprintf("%s is not a name (%s)", short(c.Cohort), slugForm))
		}
		if seen[c.Cohort] {
			v.add(at+".cohort", CodeCohort, fmt.Sprintf("cohort %s stands here twice", short(c.Cohort)))
		}
		seen[c.Cohort] = true
		if c.Exposure > Full {
			v.add(at+".exposure", CodeExposure, fmt.Sprintf("exposure %d is more than %d", c.Exposure, Full))
		}
		if c.Match != nil {
			cost += v.condition(at+".match", c.Match).cost
		}
	}
	return cost
}

func (v *validator) exception(id string, cost map[string]int) {
	e := v.cfg.Exceptions[id]
	path := v.cfg.path(KindException, id)
	v.named(path, id, e.ID)
	if f, ok := v.cfg.Flags[e.Flag]; ok {
		if !v.dangling {
			v.variant(path+": serve", f, e.Serve)
		}
	} else if !v.dangling {
		v.add(path+": flag", CodeRefFlag, fmt.Sprintf("there is no flag %s", short(e.Flag)))
	}
	v.text(path+": reason", e.Reason)
	v.text(path+": approvedBy", e.ApprovedBy)
	if _, err := time.Parse(time.RFC3339, e.Expires); err != nil && e.Expires != "" {
		v.add(path+": expires", CodeExpires, fmt.Sprintf("%s is not a time like 2026-12-31T00:00:00Z", short(e.Expires)))
	}
	cost[e.Flag] += v.condition(path+": match", &e.Match).cost
}

func (v *validator) exclusion(id string, cost map[string]int) {
	x := v.cfg.Exclusions[id]
	path := v.cfg.path(KindExclude, id)
	v.named(path, id, x.ID)
	cost[x.Flag] += v.condition(path+": match", &x.Match).cost
}

func (v *validator) judged(id string) {
	j := v.cfg.Judged[id]
	path := v.cfg.path(KindJudge, id)
	v.named(path, id, j.Rollout)
	l := &lexer{in: j.Metrics}
	if b, err := l.peek(); err != nil || b != '{' {
		v.add(path+": metrics", CodeMetrics, "metrics must be an object")
	}
	v.attributes(path+": segments", j.Segments)
	v.attributes(path+": sources", j.Sources)
}

func (v *validator) attributes(path string, names []string) {
	for i, name := range names {
		if !printable(name, maxNameBytes) {
			v.add(path+"["+strconv.Itoa(i)+"]", CodeAttrName, fmt.Sprintf("%s is not an attribute name", short(name)))
		}
	}
}

// segment checks and measures a segment and those that it names. A circle is reported where it closes.
func (v *validator) segment(name string) measure {
	if m, ok := v.segments[name]; ok {
		return m
	}
	path := v.cfg.path(KindSegment, name)
	if i := slices.Index(v.open, name); i >= 0 {
		circle := append(slices.Clone(v.open[i:]), name)
		v.add(path, CodeRefCycle, "segments refer to each other: "+strings.Join(circle, " -> "))
		return measure{}
	}
	s := v.cfg.Segments[name]
	v.named(path, name, s.Name)
	v.open = append(v.open, name)
	m := v.condition(path+": match", &s.Match)
	v.open = v.open[:len(v.open)-1]
	v.segments[name] = m
	return m
}

// condition checks and measures a condition.
func (v *validator) condition(path string, c *Condition) measure {
	m := v.measure(path, c)
	if m.depth > MaxDepth {
		v.add(path, CodeLimitDepth, fmt.Sprintf("nested %d deep with the segments it names, more than %d", m.depth, MaxDepth))
	}
	if m.cost > MaxCost {
		v.add(path, CodeLimitCost, fmt.Sprintf("up to %d comparisons with the segments it names, more than %d", m.cost, MaxCost))
	}
	return m
}

func (v *validator) measure(path string, c *Condition) measure {
	if c.kinds() != 1 {
		v.add(path, CodeCondition, "exactly one of all, any, not, segment, attr and always must be set")
		return measure{}
	}
	switch {
	case c.Not != nil:
		m := v.measure(path+".not", c.Not)
		return measure{m.depth + 1, m.cost}
	case c.Segment != "":
		return v.reference(path+".segment", c.Segment)
	case c.Attr != nil:
		if code, text := checkCompare(c.Attr); code != "" {
			v.add(path+".attr", code, text)
		}
		return measure{1, 1}
	case c.Always:
		return measure{1, 1}
	case c.All != nil:
		return v.several(path+".all", c.All)
	}
	return v.several(path+".any", c.Any)
}

func (v *validator) several(path string, list []Condition) (sum measure) {
	if len(list) == 0 {
		v.add(path, CodeCondition, "there are no conditions in it")
	}
	for i := range list {
		m := v.measure(path+"["+strconv.Itoa(i)+"]", &list[i])
		sum.depth = max(sum.depth, m.depth)
		sum.cost = min(sum.cost+m.cost, 1<<30) // far beyond every limit, and no overflow
	}
	sum.depth++
	return sum
}

func (v *validator) reference(path, name string) measure {
	if _, ok := v.cfg.Segments[name]; !ok {
		if !v.dangling {
			v.add(path, CodeRefSegment, fmt.Sprintf("there is no segment %s", short(name)))
		}
		return measure{1, 1}
	}
	m := v.segment(name)
	return measure{m.depth + 1, m.cost}
}
