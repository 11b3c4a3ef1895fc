package flag

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// flagWith returns the JSON of a boolean flag f with more members.
func flagWith(members string) string {
	return `{'key':'f','type':'boolean','variants':{'on':true,'off':false},'default':'off'` + members + `}`
}

func TestValidate(t *testing.T) {
	segment := func(match string) map[string]json.RawMessage {
		return objects("b/segment/s", `{'name':'s','match':`+match+`}`)
	}
	rollout := func(members string) map[string]json.RawMessage {
		return objects("r/flag/f", flagWith(`,'rollout':{'id':'r','stable':'off','candidate':'on','salt':'s','cohorts':[]`+members+`}`))
	}
	attrOf := func(members string) map[string]json.RawMessage { return segment(`{'attr':{` + members + `}}`) }
	const f, r, s = "b/flag/f", "r/flag/f: rollout", "b/segment/s: match"
	tests := []struct {
		name string
		in   map[string]json.RawMessage
		want []string
	}{
		{"everything in order", etaObjects(), nil},
		{"empty", nil, nil},
		{"type", objects(f, `{'key':'f','type':'bool','variants':{'on':true},'default':'on'}`), []string{f + ": type " + CodeFlagType}},
		{"null for a list", objects("r/flag/f", flagWith(`,'rules':null,'rollout':{'id':'r','stable':'off','candidate':'on','salt':'s','cohorts':null}`)), nil},
		{"no variants", objects(f, `{'key':'f','type':'boolean','default':'on'}`), []string{f + ": variants " + CodeVariants, f + ": default " + CodeRefVariant}},
		{"variant names", objects(f, `{'key':'f','type':'boolean','variants':{'o n':true},'default':'o n'}`), []string{f + `: variants["o n"] ` + CodeName}},
		{"keys that differ in case", objects(f, `{'key':'f','type':'boolean','variants':{'on':true},'default':'on'}`, "b/flag/F", `{'key':'F','type':'boolean','variants':{'On':true},'default':'On'}`), []string{f + " " + CodeNameCase}},
		{"targeting", objects(f, `{'key':'f','type':'boolean','variants':{'on':true},'default':'on','targeting':{'nosuch':[1]}}`), []string{f + ": targeting " + CodeTargeting}},
		{"boolean", objects(f, `{'key':'f','type':'boolean','variants':{'a':true,'b':'true','c':1,'d':null},'default':'a'}`), []string{f + `: variants["b"] ` + CodeVariantType, f + `: variants["c"] ` + CodeVariantType, f + `: variants["d"] ` + CodeVariantType}},
		{"string", objects(f, `{'key':'f','type':'string','variants':{'a':'x','b':1},'default':'a'}`), []string{f + `: variants["b"] ` + CodeVariantType}},
		{"integer", objects(f, `{'key':'f','type':'integer','variants':{'a':-3,'b':1.5,'c':1e30,'d':'1','e':2.0},'default':'a'}`), []string{f + `: variants["b"] ` + CodeVariantType, f + `: variants["c"] ` + CodeVariantType, f + `: variants["d"] ` + CodeVariantType}},
		{"float", objects(f, `{'key':'f','type':'float','variants':{'a':-3,'b':1.5,'c':'1'},'default':'a'}`), []string{f + `: variants["c"] ` + CodeVariantType}},
		{"object", objects(f, `{'key':'f','type':'object','variants':{'a':{},'b':[1],'c':'{}'},'default':'a'}`), []string{f + `: variants["c"] ` + CodeVariantType}},
		{"default", objects(f, `{'key':'f','type':'boolean','variants':{'on':true},'default':'off'}`), []string{f + ": default " + CodeRefVariant}},
		{"off", objects(f, flagWith(`,'off':'x'`)), []string{f + ": off " + CodeRefVariant}},
		{"serve", objects(f, flagWith(`,'rules':[{'match':{'always':true},'serve':'on'},{'match':{'always':true},'serve':'x'}]`)), []string{f + ": rules[1].serve " + CodeRefVariant}},
		{"rule name", objects(f, flagWith(`,'rules':[{'name':'a\u202eb','match':{'always':true},'serve':'on'}]`)), []string{f + ": rules[0].name " + CodeText}},
		{"stable and candidate", objects("r/flag/f", flagWith(`,'rollout':{'id':'r','stable':'x','candidate':'y','salt':'s','cohorts':[]}`)), []string{r + ".stable " + CodeRefVariant, r + ".candidate " + CodeRefVariant}},
		{"same arms", objects("r/flag/f", flagWith(`,'rollout':{'id':'r','stable':'on','candidate':'on','salt':'s','cohorts':[]}`)), []string{r + ".candidate " + CodeSameArms}},
		{"default is the candidate", objects("r/flag/f", flagWith(`,'off':'off','rollout':{'id':'r','stable':'on','candidate':'off','salt':'s','cohorts':[]}`)), []string{r + ".candidate " + CodeCandidate, r + ".candidate " + CodeCandidate}},
		{"rollout id", objects("r/flag/f", flagWith(`,'rollout':{'id':'','stable':'off','candidate':'on','salt':'s','cohorts':[]}`)), []string{r + ".id " + CodeName}},
		{"no salt", objects("r/flag/f", flagWith(`,'rollout':{'id':'r','stable':'off','candidate':'on','salt':'','cohorts':[]}`)), []string{r + ".salt " + CodeSalt}},
		{"unit", rollout(`,'unit':'\u0007'`), []string{r + ".unit " + CodeAttrName}},
		{"one rollout, two flags", objects("r/flag/f", flagWith(`,'rollout':{'id':'r','stable':'off','candidate':'on','salt':'s','cohorts':[]}`),
			"r/flag/g", strings.Replace(flagWith(`,'rollout':{'id':'r','stable':'off','candidate':'on','salt':'s','cohorts':[]}`), "'f'", "'g'", 1)), []string{"r/flag/g: rollout.id " + CodeRollout}},
		{"cohorts", objects("r/flag/f", flagWith(`,'rollout':{'id':'r','stable':'off','candidate':'on','salt':'s','cohorts':[{'cohort':'a','exposure':100000},{'cohort':'a','exposure':100001},{'cohort':'B','exposure':0,'match':{}}]}`)),
			[]string{r + ".cohorts[1].cohort " + CodeCohort, r + ".cohorts[1].exposure " + CodeExposure, r + ".cohorts[2].cohort " + CodeName, r + ".cohorts[2].match " + CodeCondition}},
		{"exception", objects(f, flagWith(``), "b/exception/x", `{'id':'x','flag':'f','match':{'always':true},'serve':'x','reason':'r','approvedBy':'a','expires':'soon'}`, "b/exception/y", `{'id':'y','flag':'g','match':{'always':true},'serve':'on','reason':'','approvedBy':''}`),
			[]string{"b/exception/x: serve " + CodeRefVariant, "b/exception/x: expires " + CodeExpires, "b/exception/y: flag " + CodeRefFlag}},
		{"exclusion and kill without flag", objects("o/exclude/x", `{'id':'x','flag':'g','match':{'always':true}}`, "o/kill/g", `{'flag':'g'}`), nil},
		{"exclusion", objects("o/exclude/x", `{'id':'x','flag':'g','match':{'segment':'none'}}`), []string{"o/exclude/x: match.segment " + CodeRefSegment}},
		{"kill", objects("o/kill/g", `{'flag':'g','reason':'a\nb'}`), []string{"o/kill/g: reason " + CodeText}},
		{"judge", objects("r/judge/r", `{'rollout':'r','segments':['ok','a\tb'],'sources':[''],'metrics':[]}`), []string{"r/judge/r: metrics " + CodeMetrics, "r/judge/r: segments[1] " + CodeAttrName, "r/judge/r: sources[0] " + CodeAttrName}},
		{"judge without metrics", objects("r/judge/r", `{'rollout':'r'}`), []string{"r/judge/r: metrics " + CodeMetrics}},

		{"no condition", segment(`{}`), []string{s + " " + CodeCondition}},
		{"always is not false", segment(`{'always':false}`), []string{s + " " + CodeCondition}},
		{"two conditions", segment(`{'always':true,'segment':'s'}`), []string{s + " " + CodeCondition}},
		{"empty all", segment(`{'all':[]}`), []string{s + ".all " + CodeCondition}},
		{"empty any", segment(`{'not':{'any':[]}}`), []string{s + ".not.any " + CodeCondition}},
		{"nested", segment(`{'all':[{'always':true},{'any':[{},{'segment':'none'}]}]}`), []string{s + ".all[1].any[0] " + CodeCondition, s + ".all[1].any[1].segment " + CodeRefSegment}},
		{"attribute name", attrOf(`'name':'','op':'exists'`), []string{s + ".attr " + CodeAttrName}},
		{"operator", attrOf(`'name':'a','op':'=='`), []string{s + ".attr " + CodeAttrOp}},
		{"regular expressions", attrOf(`'name':'a','op':'matches','value':'(a+)+$'`), []string{s + ".attr " + CodeAttrOp}},
		{"no value", attrOf(`'name':'a','op':'eq'`), []string{s + ".attr " + CodeAttrValue}},
		{"object value", attrOf(`'name':'a','op':'eq','value':{}`), []string{s + ".attr " + CodeAttrValue}},
		{"null value", attrOf(`'name':'a','op':'eq','value':null`), []string{s + ".attr " + CodeAttrValue}},
		{"values for eq", attrOf(`'name':'a','op':'eq','value':'x','values':['y']`), []string{s + ".attr " + CodeAttrValue}},
		{"value for in", attrOf(`'name':'a','op':'in','value':'x'`), []string{s + ".attr " + CodeAttrValue}},
		{"no values", attrOf(`'name':'a','op':'not-in','values':[]`), []string{s + ".attr " + CodeAttrValue}},
		{"value for exists", attrOf(`'name':'a','op':'exists','value':true`), []string{s + ".attr " + CodeAttrValue}},
		{"text for lt", attrOf(`'name':'a','op':'lt','value':'1'`), []string{s + ".attr " + CodeAttrValue}},
		{"number for contains", attrOf(`'name':'a','op':'contains','value':1`), []string{s + ".attr " + CodeAttrValue}},
		{"long text", attrOf(`'name':'a','op':'eq','value':'` + strings.Repeat("x", maxTextBytes+1) + `'`), []string{s + ".attr " + CodeLimitValues}},
		{"version", attrOf(`'name':'a','op':'semver-lt','value':'v1'`), []string{s + ".attr " + CodeSemver}},
		{"cycle", objects("b/segment/s", `{'name':'s','match':{'segment':'t'}}`, "b/segment/t", `{'name':'t','match':{'not':{'segment':'u'}}}`, "b/segment/u", `{'name':'u','match':{'all':[{'segment':'t'}]}}`), []string{"b/segment/t " + CodeRefCycle}},
		{"cycle of one", segment(`{'segment':'s'}`), []string{"b/segment/s " + CodeRefCycle}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := ParseObjects(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			err = Validate(cfg)
			if got := findings(err); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %q\nwant %q\n%v", got, tt.want, err)
			}
			if _, compiled := Compile(cfg, Options{}); fmt.Sprint(compiled) != fmt.Sprint(err) {
				t.Errorf("Compile: %v, Validate: %v", compiled, err)
			}
		})
	}
}

// nested returns a condition of the given depth.
func nested(depth int) Condition {
	c := Always()
	for range depth - 1 {
		inner := c
		c = Condition{Not: &inner}
	}
	return c
}

func TestValidateLimits(t *testing.T) {
	base := Flag{Key: "f", Type: Bool, Variants: map[string]json.RawMessage{"on": json.RawMessage("true")}, Default: "on"}
	with := func(change func(c *Config, f *Flag)) Config {
		c := NewConfig()
		f := base
		change(&c, &f)
		c.Flags["f"] = f
		return c
	}
	rules := func(n int, match Condition) []Rule {
		list := make([]Rule, n)
		for i := range list {
			list[i] = Rule{Match: match, Serve: "on"}
		}
		return list
	}
	wide := func(n int) Condition {
		c := Condition{}
		for range n {
			c.Any = append(c.Any, Always())
		}
		return c
	}
	tests := []struct {
		name   string
		in     func(extra int) Config // valid with 0, one too much with 1
		code   string
		places int // how many errors
	}{
		{"flags", func(x int) Config {
			return with(func(c *Config, f *Flag) {
				for i := range MaxFlags - 1 + x {
					f := base
					f.Key = fmt.Sprint("f", i)
					c.Flags[f.Key] = f
				}
			})
		}, CodeLimitFlags, 1},
		{"rules", func(x int) Config {
			return with(func(c *Config, f *Flag) { f.Rules = rules(MaxRules+x, Always()) })
		}, CodeLimitRules, 1},
		{"variants", func(x int) Config {
			return with(func(c *Config, f *Flag) {
				f.Variants = map[string]json.RawMessage{"on": json.RawMessage("true")}
				for i := range MaxVariants - 1 + x {
					f.Variants[fmt.Sprint("v", i)] = json.RawMessage("true")
				}
			})
		}, CodeLimitVariants, 1},
		{"depth", func(x int) Config {
			return with(func(c *Config, f *Flag) { f.Rules = rules(1, nested(MaxDepth+x)) })
		}, CodeLimitDepth, 1},
		{"depth through a segment", func(x int) Config {
			return with(func(c *Config, f *Flag) {
				c.Segments["s"] = Segment{Name: "s", Match: nested(MaxDepth - 2 + x)}
				f.Rules = rules(1, Condition{Not: &Condition{Segment: "s"}})
			})
		}, CodeLimitDepth, 1},
		{"cost", func(x int) Config {
			return with(func(c *Config, f *Flag) { f.Rules = rules(1, wide(MaxCost+x)) })
		}, CodeLimitCost, 1},
		{"cost through a segment", func(x int) Config {
			return with(func(c *Config, f *Flag) {
				c.Segments["s"] = Segment{Name: "s", Match: wide(MaxCost/2 + x)}
				f.Rules = rules(1, Condition{All: []Condition{{Segment: "s"}, {Segment: "s"}}})
			})
		}, CodeLimitCost, 1},
		{"cost of a flag", func(x int) Config {
			return with(func(c *Config, f *Flag) {
				c.Exceptions["x"] = Exception{ID: "x", Flag: "f", Match: wide(1 + x), Serve: "on"}
				c.Exclusions["x"] = Exclusion{ID: "x", Flag: "f", Match: wide(99)}
				all := wide(MaxFlagCost / MaxRules)
				f.Rules = rules(MaxRules-1, all)
				f.Variants = map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")}
				all.Any = all.Any[:100]
				f.Rollout = &Rollout{ID: "r", Stable: "on", Candidate: "off", Salt: "s", Cohorts: []CohortExposure{{Cohort: "c", Match: &all}}}
			})
		}, CodeLimitCost, 1},
		{"values", func(x int) Config {
			return with(func(c *Config, f *Flag) {
				f.Rules = rules(1, Condition{Attr: &Compare{Name: "a", Op: "in", Values: make([]string, MaxValues+x)}})
			})
		}, CodeLimitValues, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := Validate(tt.in(0)); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			got := Errors(Validate(tt.in(1)))
			if len(got) != tt.places || got[0].Code != tt.code {
				t.Errorf("beyond the limit: got %v, want %s", got, tt.code)
			}
		})
	}
}

// TestManySegmentsStayCheap: segments that each name the one before twice would cost 2^n; they are refused at once.
func TestManySegmentsStayCheap(t *testing.T) {
	c := NewConfig()
	for i := range 5_000 {
		name, before := fmt.Sprint("s", i), Condition{Segment: fmt.Sprint("s", i-1)}
		if i == 0 {
			before = Always()
		}
		c.Segments[name] = Segment{Name: name, Match: Condition{All: []Condition{before, before}}}
	}
	if got := Errors(Validate(c)); len(got) != maxErrors || got[0].Code != CodeLimitDepth {
		t.Errorf("got %d errors, first %v", len(got), got[0])
	}
}

func TestAllowDangling(t *testing.T) {
	low, _ := unitsOf(t, "s1")
	in := etaObjects("eta-12/exception/x0", `{'id':'x0','flag':'eta','match':{'always':true},'serve':'v99','reason':'','approvedBy':''}`,
		"eta-12/exception/x00", `{'id':'x00','flag':'gone','match':{'always':true},'serve':'v1','reason':'','approvedBy':''}`)
	delete(in, "base/segment/beta")
	cfg, err := ParseObjects(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := findings(Validate(cfg)); len(got) != 3 {
		t.Errorf("got %q, want three references that lead nowhere", got)
	}
	s, err := Compile(cfg, Options{AllowDangling: true})
	if err != nil {
		t.Fatal(err)
	}
	r := s.Flag("eta").Eval(NewContext(low, Str("country", "fr"), Str("group", "beta")), true)
	if r.Variant.Name != "v12" || r.Cohort != "general" {
		t.Errorf("got %+v, want the unknown segment to match nobody and the exception to do nothing", r)
	}
	// It tolerates nothing else.
	in["eta-12/flag/bad"] = json.RawMessage(`{"key":"bad","type":"boolean","variants":{"on":true},"default":"x"}`)
	if cfg, err = ParseObjects(in); err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(cfg, Options{AllowDangling: true}); len(Errors(err)) != 1 {
		t.Errorf("got %v, want the default refused", err)
	}
}

// TestHandMadeConfig: a configuration that was not parsed is checked as strictly.
func TestHandMadeConfig(t *testing.T) {
	c := NewConfig()
	c.Flags["a"] = Flag{Key: "b", Type: Int, Variants: map[string]json.RawMessage{"x": json.RawMessage("9007199254740993"), "y": nil}, Default: "x"}
	c.Segments["S"] = Segment{Name: "S", Match: Always()}
	want := []string{"segment/S " + CodeName, "flag/a " + CodeNameMismatch, `flag/a: variants["x"] ` + CodeVariantType, `flag/a: variants["y"] ` + CodeVariantType}
	if got := findings(Validate(c)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := Validate(Config{}); err != nil {
		t.Errorf("the zero configuration: %v", err)
	}
}
