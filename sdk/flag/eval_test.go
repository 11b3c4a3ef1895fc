package flag

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

// objects builds a configuration from path -> JSON, written with ' for ".
func objects(pairs ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(strings.ReplaceAll(pairs[i+1], "'", `"`))
	}
	return m
}

func mustCompile(t testing.TB, o map[string]json.RawMessage, revs map[string]uint64) *Snapshot {
	t.Helper()
	cfg, err := ParseObjects(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(cfg, Options{ScopeRev: revs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// etaFlag is a flag with everything: rules, an open rollout with three cohorts, exceptions and exclusions.
const etaFlag = `{'key':'eta','type':'string','variants':{'v11':'eleven','v12':'twelve','v10':'ten','none':''},'default':'v11','off':'none',
	'rules':[{'name':'legacy','match':{'attr':{'name':'plan','op':'eq','value':'legacy'}},'serve':'v10'}],
	'rollout':{'id':'eta-12','stable':'v11','candidate':'v12','salt':'s1','cohorts':[
		{'cohort':'internal','match':{'attr':{'name':'staff','op':'eq','value':true}},'exposure':100000,'closed':true},
		{'cohort':'nobody','match':{'segment':'beta'},'exposure':0},
		{'cohort':'general','match':{'attr':{'name':'country','op':'ne','value':'ch'}},'exposure':50000}]}}`

func etaObjects(extra ...string) map[string]json.RawMessage {
	return objects(append([]string{
		"eta-12/flag/eta", etaFlag,
		"base/segment/beta", `{'name':'beta','match':{'attr':{'name':'group','op':'in','values':['beta','alpha']}}}`,
		"eta-12/exception/x1", `{'id':'x1','flag':'eta','match':{'attr':{'name':'account','op':'eq','value':'4711'}},'serve':'v10','reason':'contract','approvedBy':'user:a'}`,
		"eta-12/exception/x2", `{'id':'x2','flag':'eta','match':{'attr':{'name':'account','op':'eq','value':'4712'}},'serve':'v12','reason':'wish','approvedBy':'user:a'}`,
		"overlay/exclude/e1", `{'id':'e1','flag':'eta','match':{'attr':{'name':'region','op':'eq','value':'eu'}}}`,
		"overlay/exclude/e2", `{'id':'e2','flag':'nosuch','match':{'always':true}}`,
		"overlay/kill/nosuch", `{'flag':'nosuch'}`,
		"eta-12/judge/eta-12", `{'rollout':'eta-12','segments':['region'],'metrics':{'err':{'kind':'value'}}}`,
		"eta-12/pin/eta", `not even JSON: another package's business`,
	}, extra...)...)
}

// units of the salt s1 whose buckets lie below and above one half.
func unitsOf(t testing.TB, salt string) (low, high string) {
	t.Helper()
	for i := range 100 {
		u := fmt.Sprint("unit-", i)
		if Exposed(Bucket(u, salt), 50_000) {
			low = u
		} else {
			high = u
		}
	}
	return low, high
}

func TestEvalPrecedence(t *testing.T) {
	low, high := unitsOf(t, "s1")
	fr := Str("country", "fr")
	tests := []struct {
		name     string
		ctx      *Context
		noLease  bool
		variant  string
		reason   string
		rule     string
		cohort   string
		assigned Arm
		served   Arm
	}{
		{"exposed", NewContext(low, fr), false, "v12", ReasonRollout, "", "general", ArmExposed, ArmExposed},
		{"baseline", NewContext(high, fr), false, "v11", ReasonRollout, "", "general", ArmBaseline, ArmBaseline},
		{"exposed without lease", NewContext(low, fr), true, "v11", ReasonLapsed, "", "general", ArmExposed, ArmBaseline},
		{"baseline without lease", NewContext(high, fr), true, "v11", ReasonRollout, "", "general", ArmBaseline, ArmBaseline},
		{"closed cohort at full", NewContext(high, BoolAttr("staff", true)), false, "v12", ReasonRollout, "", "internal", ArmExposed, ArmExposed},
		{"cohort at 0", NewContext(low, fr, Str("group", "beta")), false, "v11", ReasonRollout, "", "nobody", ArmBaseline, ArmBaseline},
		{"first cohort wins", NewContext(high, fr, Str("group", "beta"), BoolAttr("staff", true)), false, "v12", ReasonRollout, "", "internal", ArmExposed, ArmExposed},
		{"in no cohort", NewContext(low, Str("country", "ch")), false, "v11", ReasonRollout, "", "", ArmNone, ArmNone},
		{"rule before rollout", NewContext(low, fr, Str("plan", "legacy")), false, "v10", ReasonRule, "legacy", "", ArmNone, ArmNone},
		{"exception before rule", NewContext(low, Str("plan", "legacy"), Str("account", "4712")), false, "v12", ReasonException, "x2", "", ArmNone, ArmNone},
		{"exception to stable", NewContext(low, Str("account", "4711")), true, "v10", ReasonException, "x1", "", ArmNone, ArmNone},
		{"exception to candidate without lease", NewContext(low, Str("account", "4712")), true, "v11", ReasonLapsed, "x2", "", ArmNone, ArmNone},
		{"exclusion before exception", NewContext(low, Str("account", "4712"), Str("region", "eu")), false, "v11", ReasonExcluded, "e1", "", ArmNone, ArmNone},
		{"exclusion at full", NewContext(low, BoolAttr("staff", true), Str("region", "eu")), false, "v11", ReasonExcluded, "e1", "", ArmNone, ArmNone},
	}
	s := mustCompile(t, etaObjects(), map[string]uint64{"eta-12": 7, "base": 3})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := s.Flag("eta").Eval(tt.ctx, !tt.noLease)
			want := got
			want.Variant, want.Reason, want.RuleName = s.Flag("eta").Variant(tt.variant), tt.reason, tt.rule
			want.Cohort, want.Assigned, want.Served = tt.cohort, tt.assigned, tt.served
			want.Closed = tt.cohort == "internal"
			want.Exposure = map[string]Exposure{"internal": Full, "general": 50_000}[tt.cohort]
			want.Revision, want.Scope, want.Rollout, want.ErrCode = 7, "eta-12", "eta-12", ""
			want.UnitBucket = UnitBucket(tt.ctx.TargetingKey())
			if got != want {
				t.Errorf("got  %+v (%s)\nwant %+v", got, got.Variant.Name, want)
			}
		})
	}
}

func TestEvalKilled(t *testing.T) {
	low, _ := unitsOf(t, "s1")
	s := mustCompile(t, etaObjects("overlay/kill/eta", `{'flag':'eta','reason':'INC-1'}`), nil)
	huge := NewContext(strings.Repeat("x", MaxTargetingKey+1))
	for _, ctx := range []*Context{nil, huge, NewContext(low), NewContext(low, Str("region", "eu"), Str("account", "4712"))} {
		if r := s.Flag("eta").Eval(ctx, true); r.Variant.Name != "none" || r.Reason != ReasonKilled || r.Assigned != ArmNone || r.ErrCode != "" {
			t.Errorf("got %+v, want the off variant", r)
		}
	}
	s = mustCompile(t, objects("base/flag/f", `{'key':'f','type':'boolean','variants':{'on':true},'default':'on'}`, "overlay/kill/f", `{'flag':'f'}`), nil)
	if r := s.Flag("f").Eval(nil, true); r.Variant.Name != "on" || r.Reason != ReasonKilled {
		t.Errorf("got %+v, want the default variant, as there is no off", r)
	}
}

func TestEvalErrors(t *testing.T) {
	many := make([]Attr, MaxAttributes+1)
	for i := range many {
		many[i] = Num("n", 1)
	}
	tests := []struct {
		name string
		ctx  *Context
		code string
	}{
		{"no context", nil, ErrTargetingKeyMissing},
		{"empty context", &Context{}, ErrTargetingKeyMissing},
		{"no unit", NewContext("", Str("country", "fr")), ErrTargetingKeyMissing},
		{"key too long", NewContext(strings.Repeat("k", MaxTargetingKey+1)), ErrInvalidContext},
		{"too many attributes", NewContext("u", many...), ErrInvalidContext},
		{"attributes too large", NewContext("u", Str("a", strings.Repeat("x", MaxContextBytes))), ErrInvalidContext},
		{"list too large", NewContext("u", List("a", strings.Repeat("x", MaxContextBytes))), ErrInvalidContext},
	}
	s := mustCompile(t, etaObjects(), nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.Flag("eta").Eval(tt.ctx, true)
			if r.Reason != ReasonError || r.ErrCode != tt.code || r.Variant.Name != "v11" || r.Assigned != ArmNone {
				t.Errorf("got %+v, want %s and the default variant", r, tt.code)
			}
		})
	}
	huge := NewContext(strings.Repeat("k", MaxTargetingKey+1))
	if r := s.Flag("eta").EvalPinned(huge, ArmExposed, true); r.ErrCode != ErrInvalidContext || r.Variant.Name != "v11" || huge.Valid() {
		t.Errorf("pinned with an invalid context: got %+v", r)
	}
	if r := s.Flag("eta").Eval(NewContext("", Str("plan", "legacy")), true); r.Reason != ReasonRule {
		t.Errorf("a rule needs no unit: got %+v", r)
	}
	if r := s.Flag("nosuch").Eval(NewContext("u"), true); r.ErrCode != ErrFlagNotFound || r.String("def") != "def" || r.CheckType(String) != ErrFlagNotFound {
		t.Errorf("got %+v, want %s", r, ErrFlagNotFound)
	}
}

func TestEvalUnitAttribute(t *testing.T) {
	low, high := unitsOf(t, "s1")
	flagOf := func(unit string) *Handle {
		return mustCompile(t, objects("r/flag/f", `{'key':'f','type':'boolean','variants':{'on':true,'off':false},'default':'off',
			'rollout':{'id':'r','stable':'off','candidate':'on','unit':'`+unit+`','salt':'s1','cohorts':[{'cohort':'all','exposure':50000}]}}`), nil).Flag("f")
	}
	r := flagOf("account").Eval(NewContext(high, Str("account", low)), true)
	if !r.Bool(false) || r.UnitBucket != UnitBucket(low) {
		t.Errorf("got %+v, want the account bucketed", r)
	}
	for _, ctx := range []*Context{NewContext(low), NewContext(low, Str("account", "")), NewContext(low, IntNum("account", 1))} {
		if r := flagOf("account").Eval(ctx, true); r.ErrCode != ErrTargetingKeyMissing || r.Bool(true) {
			t.Errorf("got %+v, want %s", r, ErrTargetingKeyMissing)
		}
	}
	if r := flagOf(TargetingKey).Eval(NewContext(low), true); !r.Bool(false) {
		t.Errorf("got %+v, want the targeting key bucketed", r)
	}
}

func TestTypedValues(t *testing.T) {
	s := mustCompile(t, objects(
		"base/flag/b", `{'key':'b','type':'boolean','variants':{'x':true},'default':'x'}`,
		"base/flag/s", `{'key':'s','type':'string','variants':{'x':'\u00e4'},'default':'x'}`,
		"base/flag/i", `{'key':'i','type':'integer','variants':{'x':-7},'default':'x'}`,
		"base/flag/f", `{'key':'f','type':'float','variants':{'x':1},'default':'x'}`,
		"base/flag/o", `{'key':'o','type':'object','variants':{'x':{'b':1,'a':[]}},'default':'x'}`,
	), nil)
	ctx := NewContext("u")
	eval := func(key string) Result { return s.Flag(key).Eval(ctx, false) }
	if !eval("b").Bool(false) || eval("s").String("") != "ä" || eval("i").Int(0) != -7 || eval("f").Float(0) != 1 || string(eval("o").Object(nil)) != `{"a":[],"b":1}` {
		t.Error("a typed value is not the one of the variant")
	}
	types := map[string]Type{"b": Bool, "s": String, "i": Int, "f": Float, "o": Object}
	for key, typ := range types {
		r := eval(key)
		for _, other := range types {
			if got := r.CheckType(other); (got == "") != (typ == other) {
				t.Errorf("%s.CheckType(%s) = %q", key, other, got)
			}
		}
		// Whatever the flag's type is, the other getters give the caller's default.
		if typ != Bool && r.Bool(true) != true || typ != String && r.String("d") != "d" || typ != Int && r.Int(3) != 3 ||
			typ != Float && r.Float(0.5) != 0.5 || typ != Object && string(r.Object(json.RawMessage("1"))) != "1" {
			t.Errorf("a getter of another type than %s did not return the default", typ)
		}
	}
}

func TestHandleInfo(t *testing.T) {
	s := mustCompile(t, etaObjects("base/flag/aa", `{'key':'aa','type':'boolean','variants':{'on':true},'default':'on'}`), map[string]uint64{"eta-12": 7, "base": 3})
	h := s.Flag("eta")
	if h.Key != "eta" || h.Type != String || h.Scope != "eta-12" || h.Revision != 7 || h.RolloutID != "eta-12" || h.Killed ||
		h.Judged == nil || h.Judged.Segments[0] != "region" || string(h.Judged.Metrics) != `{"err":{"kind":"value"}}` {
		t.Errorf("got %+v", h)
	}
	if list := h.Variants(); len(list) != 4 || list[0].Name != "none" || list[3].Name != "v12" || h.Variant("v99") != nil {
		t.Errorf("got variants %v", list)
	}
	if s.Rollout("eta-12") != h || s.Rollout("x") != nil || s.Flag("x") != nil {
		t.Error("lookups differ")
	}
	if list := s.Handles(); len(list) != 2 || list[0].Key != "aa" || list[1] != h || list[0].Judged != nil || list[0].Revision != 3 {
		t.Errorf("got handles %v", list)
	}
}

func TestOpenFeatureReason(t *testing.T) {
	for reason, want := range map[string]string{
		ReasonKilled: "DISABLED", ReasonExcluded: "TARGETING_MATCH", ReasonException: "TARGETING_MATCH", ReasonRule: "TARGETING_MATCH",
		ReasonRollout: "SPLIT", ReasonDefault: "DEFAULT", ReasonLapsed: "STALE", ReasonError: "ERROR", "": "UNKNOWN",
	} {
		if got := OpenFeatureReason(reason); got != want {
			t.Errorf("OpenFeatureReason(%q) = %q, want %q", reason, got, want)
		}
	}
}

func TestAttrText(t *testing.T) {
	c := NewContext("u", Str("s", "x"), Num("n", 1e21), IntNum("i", math.MinInt64), BoolAttr("b", true), List("l", "a"), Num("nan", math.NaN()), Str("s", "second"))
	for name, want := range map[string]string{"s": "x", "n": "1e+21", "i": "-9223372036854775808", "b": "true", "l": "", "nan": "NaN", TargetingKey: "u"} {
		if a, ok := c.Attr(name); !ok || a.Text() != want || a.Name() != name {
			t.Errorf("attribute %s: got %q, %v, want %q", name, a.Text(), ok, want)
		}
	}
	if c.UnitBucket() != UnitBucket("u") || !c.Valid() {
		t.Error("the context does not describe its unit")
	}
	if _, ok := c.Attr("none"); ok {
		t.Error("an attribute that is not there was found")
	}
	if _, ok := NewContext("").Attr(TargetingKey); ok {
		t.Error("an empty targeting key counts as an attribute")
	}
}

// TestDrawnIsTheHashsArm: for a unit that the rollout decided the drawn arm is the assigned one; a pin to the other arm shows.
func TestDrawnIsTheHashsArm(t *testing.T) {
	h := mustCompile(t, etaObjects(), map[string]uint64{"eta-12": 7, "base": 3}).Flag("eta")
	seen := map[Arm]int{}
	for i := range 2000 {
		ctx := NewContext("unit-"+strconv.Itoa(i), Str("country", "fr"))
		r := h.Eval(ctx, true)
		if r.Assigned == ArmNone {
			continue
		}
		seen[r.Assigned]++
		if got := h.Drawn(ctx, r.Exposure); got != r.Assigned {
			t.Fatalf("unit %d: drawn %v, assigned %v", i, got, r.Assigned)
		}
		other := ArmBaseline + ArmExposed - r.Assigned
		if p := h.EvalPinned(ctx, other, true); p.Assigned == other && h.Drawn(ctx, p.Exposure) == other {
			t.Fatalf("unit %d: pinned to %v, and drawn there", i, other)
		}
	}
	if seen[ArmBaseline] == 0 || seen[ArmExposed] == 0 {
		t.Errorf("units seen on the arms: %v", seen)
	}
	var none *Handle
	if none.Drawn(NewContext("u"), Full) != ArmNone || h.Drawn(NewContext(""), Full) != ArmNone {
		t.Error("without a rollout or a unit nothing is drawn")
	}
}
