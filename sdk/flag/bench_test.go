package flag

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// benchContext is a request's context: a key of 24 bytes and four attributes.
func benchContext() *Context {
	return NewContext("user-0123456789abcdefghi", Str("country", "fr"), Str("plan", "pro"), IntNum("age", 42), Str("app.version", "2.5.1"))
}

// benchObjects is an environment of 100 flags with three more that the benchmarks evaluate.
func benchObjects() map[string]json.RawMessage {
	var rules []string
	for i := range 10 {
		rules = append(rules, fmt.Sprintf(`{'name':'r%d','match':{'all':[{'attr':{'name':'plan','op':'eq','value':'pro'}},{'attr':{'name':'country','op':'eq','value':'c%d'}}]},'serve':'off'}`, i, i))
	}
	o := objects(
		"base/flag/plain", `{'key':'plain','type':'boolean','variants':{'on':true,'off':false},'default':'on'}`,
		"base/flag/rules10", `{'key':'rules10','type':'boolean','variants':{'on':true,'off':false},'default':'on','rules':[`+strings.Join(rules, ",")+`]}`,
		"r/flag/rollout", `{'key':'rollout','type':'boolean','variants':{'on':true,'off':false},'default':'off','rollout':{'id':'r','stable':'off','candidate':'on','salt':'s',
			'cohorts':[{'cohort':'general','match':{'attr':{'name':'country','op':'eq','value':'fr'}},'exposure':50000}]}}`,
	)
	for i := range 100 {
		o[fmt.Sprintf("base/flag/f%d", i)] = json.RawMessage(fmt.Sprintf(`{"key":"f%d","type":"boolean","variants":{"on":true,"off":false},"default":"on"}`, i))
	}
	return o
}

func benchmarkEval(b *testing.B, key string) {
	s := mustCompile(b, benchObjects(), nil)
	h, ctx := s.Flag(key), benchContext()
	b.ReportAllocs()
	on := 0
	for b.Loop() {
		if r := h.Eval(ctx, true); r.Bool(false) {
			on++
		}
	}
}

func BenchmarkEvalDefault(b *testing.B) { benchmarkEval(b, "plain") }
func BenchmarkEvalRules10(b *testing.B) { benchmarkEval(b, "rules10") }
func BenchmarkEvalRollout(b *testing.B) { benchmarkEval(b, "rollout") }

// BenchmarkEvalLookup includes finding the flag by its key among 103.
func BenchmarkEvalLookup(b *testing.B) {
	s, ctx := mustCompile(b, benchObjects(), nil), benchContext()
	b.ReportAllocs()
	for b.Loop() {
		r := s.Flag("plain").Eval(ctx, true)
		_ = r.Bool(false)
	}
}

func BenchmarkBucket(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Bucket("user-0123456789abcdefghi", "spend7d")
	}
}

func BenchmarkContextReset(b *testing.B) {
	var c Context
	attrs := []Attr{Str("country", "fr"), Str("plan", "pro"), IntNum("age", 42), Str("app.version", "2.5.1")}
	b.ReportAllocs()
	for b.Loop() {
		c.Reset("user-0123456789abcdefghi", attrs...)
	}
}

func BenchmarkNewContext(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		benchContext()
	}
}

// BenchmarkCompile parses and compiles 100 flags; ns/op is for all of them.
func BenchmarkCompile(b *testing.B) {
	o := benchObjects()
	b.ReportAllocs()
	for b.Loop() {
		mustCompile(b, o, nil)
	}
}

func BenchmarkCanonicalRaw(b *testing.B) {
	raw, err := Canonical(benchObjects())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CanonicalRaw(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEvalDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are not counted under the race detector")
	}
	low, high := unitsOf(t, "s1")
	s := mustCompile(t, etaObjects(
		"base/flag/many", `{'key':'many','type':'boolean','variants':{'on':true,'off':false},'default':'off','rules':[
			{'match':{'attr':{'name':'country','op':'in','values':['a','b','c','d','e','f','g','h','i','j']}},'serve':'on'},
			{'match':{'attr':{'name':'tags','op':'in','values':['a','b','c','d','e','f','g','h','i','j']}},'serve':'on'},
			{'match':{'attr':{'name':'tags','op':'contains','value':'zz'}},'serve':'on'},
			{'match':{'not':{'attr':{'name':'app','op':'semver-ge','value':'1.2.3-rc.1'}}},'serve':'on'},
			{'match':{'any':[{'attr':{'name':'age','op':'lt','value':1.5}},{'attr':{'name':'w','op':'gt','value':3}}]},'serve':'on'}]}`,
		"base/flag/byaccount", `{'key':'byaccount','type':'boolean','variants':{'on':true,'off':false},'default':'off',
			'rollout':{'id':'acc','stable':'off','candidate':'on','unit':'account','salt':'s1','cohorts':[{'cohort':'all','exposure':50000}]}}`,
	), nil)
	contexts := []*Context{
		nil, NewContext(low, Str("country", "fr")), NewContext(high, Str("country", "fr")), NewContext(low, Str("account", "4712")),
		NewContext(low, Str("region", "eu")), NewContext("u", Str("app", "1.2.3-rc.1+b"), IntNum("age", 3), Num("w", 1), List("tags", "x", "y"), Str("country", "k")),
	}
	for _, h := range append(s.Handles(), nil) {
		for i, ctx := range contexts {
			for _, leased := range []bool{true, false} {
				if n := testing.AllocsPerRun(10, func() { r := h.Eval(ctx, leased); _ = r.String("") }); n != 0 {
					t.Errorf("evaluating context %d allocates %.0f times", i, n)
				}
			}
		}
	}
	if n := testing.AllocsPerRun(10, func() { UnitBucket(low); Bucket(high, "salt") }); n != 0 {
		t.Errorf("bucketing allocates %.0f times", n)
	}
	var c Context
	attrs := []Attr{Str("a", "b")}
	if n := testing.AllocsPerRun(10, func() { c.Reset(low, attrs...) }); n != 0 {
		t.Errorf("Reset allocates %.0f times", n)
	}
}
