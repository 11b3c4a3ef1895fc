package flag

import (
	"encoding/json"
	"strings"
)

// Flagd returns the configuration as flagd's JSON, in canonical form, for providers that evaluate it themselves. Rules,
// exceptions and exclusions become targeting, segments $evaluators. Such a provider holds no lease and draws by another
// hash: a flag with an open rollout therefore shows its stable variant, and so do exceptions that serve the candidate.
//
// Two things differ from evaluation here: list attributes do not match in and not-in, and versions are read as flagd reads
// them ("1.2" is one). setID is put into the set's metadata as flagSetId.
func (c Config) Flagd(setID string) ([]byte, error) {
	set := flagdSet{Flags: map[string]flagdFlag{}, Evaluators: map[string]json.RawMessage{}}
	var err error
	if set.Metadata, err = Canonical(map[string]string{"flagSetId": setID}); err != nil {
		return nil, err
	}
	comp := compiler{cfg: c}
	comp.overlay()
	e := exporter{cfg: c, comp: &comp}
	for name, s := range c.Segments {
		if set.Evaluators[name], err = Canonical(e.condition(&s.Match)); err != nil {
			return nil, err
		}
	}
	for key, f := range c.Flags {
		if set.Flags[key], err = e.flag(f); err != nil {
			return nil, err
		}
	}
	return Canonical(set)
}

type exporter struct {
	cfg  Config
	comp *compiler
}

func (e exporter) flag(f Flag) (flagdFlag, error) {
	out := flagdFlag{State: "ENABLED", Variants: f.Variants, Metadata: f.Meta}
	if len(f.Meta) > 0 && f.Meta[0] != '{' {
		out.Metadata = nil
	}
	serve := f.Default
	if f.Disabled {
		out.State = "DISABLED"
	}
	if _, killed := e.cfg.Kills[f.Key]; killed {
		out.State = "ENABLED" // a kill comes first and has a value
		if f.Off != "" {
			serve = f.Off
		}
	} else if logic := e.targeting(f); logic != nil {
		var err error
		if out.Targeting, err = Canonical(logic); err != nil {
			return out, err
		}
	}
	if serve != "" {
		out.Default = &serve
	}
	return out, nil
}

// targeting is what decides before the default, nil when nothing does.
func (e exporter) targeting(f Flag) any {
	var cases []any
	add := func(match *Condition, serve string) {
		if _, ok := f.Variants[serve]; ok {
			cases = append(cases, e.condition(match), serve)
		}
	}
	stable := func(serve string) string {
		if f.Rollout != nil && (f.Variants[serve] == nil || serve == f.Rollout.Candidate) {
			return f.Rollout.Stable
		}
		return serve
	}
	for _, x := range e.comp.exclusions[f.Key] {
		add(&x.Match, stable(x.Serve))
	}
	for _, x := range e.comp.exceptions[f.Key] {
		if f.Rollout != nil && x.Serve == f.Rollout.Candidate {
			x.Serve = f.Rollout.Stable
		}
		add(&x.Match, x.Serve)
	}
	for _, r := range f.Rules {
		add(&r.Match, r.Serve)
	}
	rest := any(nil)
	if len(f.Targeting) > 0 {
		rest = f.Targeting
	}
	if f.Rollout != nil && f.Rollout.Stable != f.Default {
		if rest == nil {
			rest = f.Rollout.Stable
		} else {
			rest = expr("if", expr("===", rest, nil), f.Rollout.Stable, rest)
		}
	}
	switch {
	case len(cases) > 0:
		return expr("if", append(cases, rest)...)
	case rest == nil || len(f.Targeting) > 0:
		return rest
	}
	return expr("if", true, rest, rest) // targeting is an object
}

// expr is one operation of JsonLogic.
func expr(name string, args ...any) map[string]any { return map[string]any{name: args} }

func (e exporter) condition(c *Condition) any {
	switch {
	case len(c.All) > 0:
		return expr("and", e.conditions(c.All)...)
	case len(c.Any) > 0:
		return expr("or", e.conditions(c.Any)...)
	case c.Not != nil:
		return expr("!", e.condition(c.Not))
	case c.Segment != "":
		if _, ok := e.cfg.Segments[c.Segment]; ok {
			return map[string]any{"$ref": c.Segment}
		}
		return false
	case c.Attr != nil:
		return comparisonLogic(c.Attr)
	}
	return c.Always
}

func (e exporter) conditions(list []Condition) []any {
	out := make([]any, len(list))
	for i := range list {
		out[i] = e.condition(&list[i])
	}
	return out
}

// comparisonLogic is one comparison with the guards that JavaScript's coercion needs: without them "10" would be less than 11.
func comparisonLogic(c *Compare) any {
	attr := map[string]any{"var": strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(c.Name)}
	isText := expr("===", expr("cat", attr), attr)
	o, _ := operatorNamed(c.Op)
	switch o.op {
	case opEq:
		return expr("===", attr, c.Value)
	case opNe:
		return expr("and", sameType(c.Value, attr, isText), expr("!==", attr, c.Value))
	case opLt, opLe, opGt, opGe:
		return expr("and", isNumber(attr, isText), expr(o.symbol, attr, c.Value))
	case opIn:
		return expr("in", attr, c.Values)
	case opNotIn:
		return expr("and", isText, expr("!", expr("in", attr, c.Values)))
	case opStartsWith:
		return expr("starts_with", attr, c.Value)
	case opEndsWith:
		return expr("ends_with", attr, c.Value)
	case opContains:
		return expr("in", c.Value, attr)
	case opExists:
		return expr("!==", attr, nil)
	}
	symbols := map[string]string{"semver-eq": "=", "semver-lt": "<", "semver-le": "<=", "semver-gt": ">", "semver-ge": ">="}
	return expr("and", isText, expr("sem_ver", attr, symbols[c.Op], c.Value))
}

func sameType(value json.RawMessage, attr, isText any) any {
	switch jsonType(value) {
	case String:
		return isText
	case Bool:
		return isBool(attr)
	}
	return isNumber(attr, isText)
}

func isBool(attr any) any { return expr("in", attr, []bool{true, false}) }

// isNumber says so by exclusion: there is no operator for it, and arithmetic on a text has no result at all.
func isNumber(attr, isText any) any {
	return expr("and", expr("!==", attr, nil), expr("!", isText), expr("!", isBool(attr)))
}
