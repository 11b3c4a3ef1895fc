package flag

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

const vectorFile = "../../api/testdata/evaluation.json"

// vectors are what this package answers; clients in other languages must answer the same.
type vectors struct {
	About     string            `json:"about"`
	Canonical [][2]string       `json:"canonical"` // JSON and its canonical form, "" where it is refused
	Worlds    []vectorWorld     `json:"worlds"`
	Now       int64             `json:"now"`       // of the targeting, seconds since 1970
	Targeting []vectorTargeting `json:"targeting"` // flags in scope roll at revision 9, under a lease
}

// vectorWorld is one configuration with contexts and, for each, the answers.
type vectorWorld struct {
	Objects map[string]json.RawMessage `json:"objects"`
	Cases   []vectorCase               `json:"cases"`
}

// vectorCase is a context. Answers lists, for each flag by key: without lease, with lease, pinned exposed without and with
// lease, pinned baseline, pinned to no cohort.
type vectorCase struct {
	Unit    string              `json:"unit"`
	Attrs   map[string][]any    `json:"attrs,omitempty"`
	Answers map[string][][]any  `json:"answers"`
	Drawn   map[string][]string `json:"drawn,omitempty"` // at 0, 1 %, 50 %, 100 %
}

func vectorObjects(t *testing.T, c Config) map[string]json.RawMessage {
	t.Helper()
	out := map[string]json.RawMessage{}
	put := func(kind, name string, v any) {
		raw, err := Canonical(v)
		if err != nil {
			t.Fatal(err)
		}
		scope := c.Scope(kind, name)
		if scope == "" {
			scope = "base"
		}
		out[scope+"/"+kind+"/"+name] = raw
	}
	for k, v := range c.Flags {
		put(KindFlag, k, v)
	}
	for k, v := range c.Segments {
		put(KindSegment, k, v)
	}
	for k, v := range c.Kills {
		put(KindKill, k, v)
	}
	for k, v := range c.Exceptions {
		put(KindException, k, v)
	}
	for k, v := range c.Exclusions {
		put(KindExclude, k, v)
	}
	return out
}

// typed adds flags of every type beside the drawn one.
func (g gen) typed(c Config) {
	values := map[Type][]string{
		Bool: {"true", "false"}, Int: {"-9007199254740991", "1e3"}, Float: {"1e-7", "12"}, Object: {`{"b":[1.0,null,"ü"],"a":{}}`, `[]`},
	}
	for _, kind := range slices.Sorted(maps.Keys(values)) {
		raw := values[kind]
		f := Flag{Key: "t-" + string(kind), Type: kind, Default: "x", Variants: map[string]json.RawMessage{"x": json.RawMessage(raw[0]), "y": json.RawMessage(raw[1])}}
		f.Rules = []Rule{{Match: g.condition(3), Serve: "y"}}
		c.Flags[f.Key] = f
		c.Scopes["flag/"+f.Key] = "base"
	}
}

func (w world) vectorAttrs() map[string][]any {
	out := map[string][]any{}
	for name, v := range w.attrs {
		switch v := v.(type) {
		case string:
			out[name] = []any{"text", v}
		case float64:
			out[name] = []any{"number", strconv.FormatFloat(v, 'g', -1, 64)}
		case int64:
			out[name] = []any{"integer", strconv.FormatInt(v, 10)}
		case bool:
			out[name] = []any{"truth", v}
		case []string:
			out[name] = []any{"list", v}
		}
	}
	return out
}

var vectorArms = [3]string{"", "baseline", "exposed"}

func vectorAnswer(r Result) []any {
	name, value := "", json.RawMessage("null")
	if r.Variant != nil {
		name, value = r.Variant.Name, r.Variant.Raw
	}
	return []any{
		name, value, r.Reason, r.RuleName, r.Cohort, r.Rollout, r.Scope, r.ErrCode, r.Revision, uint32(r.Exposure),
		vectorArms[r.Assigned], vectorArms[r.Served], r.Closed, r.UnitBucket, OpenFeatureReason(r.Reason),
	}
}

func (g gen) vectorWorld(t *testing.T, cases int) vectorWorld {
	c := g.config()
	g.typed(c)
	s, err := Compile(c, Options{ScopeRev: map[string]uint64{"roll": 9, "base": 4}})
	if err != nil {
		t.Fatal(err)
	}
	out := vectorWorld{Objects: vectorObjects(t, c)}
	for i := range cases {
		w := g.world()
		if i == 0 {
			w.unit = string(bytes.Repeat([]byte("k"), MaxTargetingKey+g.IntN(2)))
		}
		ctx := w.context()
		v := vectorCase{Unit: w.unit, Attrs: w.vectorAttrs(), Answers: map[string][][]any{}, Drawn: map[string][]string{}}
		for _, h := range s.Handles() {
			list := [][]any{vectorAnswer(h.Eval(ctx, false)), vectorAnswer(h.Eval(ctx, true))}
			if h.RolloutID != "" {
				for _, p := range []struct {
					arm    Arm
					leased bool
				}{{ArmExposed, false}, {ArmExposed, true}, {ArmBaseline, true}, {ArmNone, true}} {
					list = append(list, vectorAnswer(h.EvalPinned(ctx, p.arm, p.leased)))
				}
				for _, e := range []Exposure{0, 1_000, 50_000, Full} {
					v.Drawn[h.Key] = append(v.Drawn[h.Key], vectorArms[h.Drawn(ctx, e)])
				}
			}
			v.Answers[h.Key] = list
		}
		out.Cases = append(out.Cases, v)
	}
	return out
}

func buildVectors(t *testing.T) []byte {
	t.Helper()
	v := vectors{About: "Answers of evaluation. An answer is [variant, value, reason, rule, cohort, rollout, scope, error, revision, exposure, assigned, served, closed, unit bucket, OpenFeature reason]."}
	g := gen{rand.New(rand.NewPCG(11, 7))}
	for _, in := range []string{
		`{"b":1,"a":[1.0,1e3,-0,1e21,1e-7,123456789.125]}`, `"é\u0007\"\\\/\ud83d\ude00"`, `{"😀":1,"\uffee":2}`, `{"a":1,"a":2}`,
		`9007199254740993`, `9007199254740992`, `1e400`, `"\ud800"`, `[1,]`, ` [ true , false , null ] `, `NaN`, `01`, `1.`, `""`, `5e-324`,
	} {
		out, err := CanonicalRaw(json.RawMessage(in))
		if err != nil {
			out = nil
		}
		v.Canonical = append(v.Canonical, [2]string{in, string(out)})
	}
	for range 60 {
		f := math.Float64frombits(g.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		in := strconv.FormatFloat(f, 'e', -1, 64)
		out, err := CanonicalRaw(json.RawMessage(in))
		if err != nil {
			t.Fatal(err)
		}
		v.Canonical = append(v.Canonical, [2]string{in, string(out)})
	}
	for range 40 {
		v.Worlds = append(v.Worlds, g.vectorWorld(t, 5))
	}
	v.Now = vectorNow
	for range 250 {
		v.Targeting = append(v.Targeting, g.vectorTargeting(t))
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	out := bytes.ReplaceAll(b.Bytes(), []byte(`{"objects"`), []byte("\n"+`{"objects"`))
	return bytes.ReplaceAll(out, []byte(`{"flag":`), []byte("\n"+`{"flag":`))
}

// TestEvaluationVectors holds api/testdata/evaluation.json, to which clients in other languages are held, to this code.
func TestEvaluationVectors(t *testing.T) {
	got := buildVectors(t)
	if *update {
		if err := os.WriteFile(vectorFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what this code answers; look at the difference, then: go test ./flag -run EvaluationVectors -update, and mend the clients in other languages", vectorFile)
	}
	var v vectors
	if err := json.Unmarshal(want, &v); err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int{}
	for _, w := range v.Worlds {
		for _, c := range w.Cases {
			for _, list := range c.Answers {
				reasons[fmt.Sprint(list[0][2])]++
			}
		}
	}
	for _, r := range []string{ReasonKilled, ReasonExcluded, ReasonException, ReasonRule, ReasonRollout, ReasonDefault, ReasonLapsed, ReasonError} {
		if reasons[r] < 5 {
			t.Errorf("only %d answers with reason %s: the vectors would not tell implementations apart", reasons[r], r)
		}
	}
	if names := slices.Sorted(maps.Keys(reasons)); len(names) != 8 {
		t.Errorf("reasons %v", names)
	}
}

// vectorTargeting is one flag with targeting, contexts as JSON, and what it answers at the time now.
type vectorTargeting struct {
	Flag     json.RawMessage   `json:"flag"`
	Contexts []json.RawMessage `json:"contexts"`
	Answers  [][]any           `json:"answers"`
}

const vectorNow = 1_764_000_000

// value draws what a context or an expression may hold.
func (g gen) value(depth int) any {
	if depth > 0 && g.IntN(4) == 0 {
		if g.IntN(2) == 0 {
			return map[string]any{"a": g.value(depth - 1), "length": 1}
		}
		list := []any{}
		for range g.IntN(4) {
			list = append(list, g.value(depth-1))
		}
		return list
	}
	return pick[any](g, nil, true, false, 0, 1, -2.5, 1e21, 9007199254740993.0, "", "a", "10", " 7 ", "0x1f", "1.2.3", "v1.2", "1.10.0-rc.1", "😀ü", "Infinity", []any{"a", "10"}, []any{[]any{}}, []any{})
}

// expression draws JsonLogic.
func (g gen) expression(depth int) any {
	if depth == 0 || g.IntN(6) == 0 {
		path := pick(g, "x", "y", "x.a", "x.0", "y.length", "targetingKey", "$flagd.flagKey", "$flagd.timestamp", "none", "x.a.1")
		switch g.IntN(5) {
		case 0:
			return map[string]any{"var": []any{path, g.expression(0)}}
		case 1, 2:
			return map[string]any{"var": path}
		}
		if v := g.value(1); !isMap(v) {
			return v
		}
		return "a"
	}
	args := func(n int) []any {
		list := make([]any, n)
		for i := range list {
			list[i] = g.expression(depth - 1)
		}
		return list
	}
	op := pick(g, "if", "and", "or", "!", "!!", "==", "!=", "===", "!==", "<", "<=", ">", ">=", "in", "cat", "+", "-", "*", "/", "%", "min", "max", "starts_with", "ends_with", "sem_ver", "fractional", "fractional", "sem_ver")
	switch op {
	case "!", "!!":
		return map[string]any{op: args(1)}
	case "sem_ver":
		return map[string]any{op: []any{g.expression(depth - 1), pick(g, "=", "!=", "<", "<=", ">", ">=", "^", "~", "?"), pick(g, "1.2.3", "1.2", "v1", "1.10.0-rc.1", "x")}}
	case "fractional":
		list := []any{}
		if g.IntN(2) == 0 {
			list = append(list, map[string]any{"cat": []any{map[string]any{"var": "$flagd.flagKey"}, map[string]any{"var": "x"}}})
		}
		for i := range 1 + g.IntN(3) {
			list = append(list, []any{[]string{"a", "b", "true"}[i], pick[any](g, 1, 50, 0, 25, -3, 2.5)})
		}
		return map[string]any{op: list}
	case "<", "<=", ">", ">=":
		return map[string]any{op: args(2 + g.IntN(2))}
	case "if", "and", "or", "cat", "+", "*", "min", "max":
		return map[string]any{op: args(1 + g.IntN(4))}
	}
	return map[string]any{op: args(2)}
}

func isMap(v any) bool { _, ok := v.(map[string]any); return ok }

// vectorTargeting draws an expression that compiles, and asks it.
func (g gen) vectorTargeting(t *testing.T) vectorTargeting {
	f := Flag{Key: "Some.Flag", Type: String, Default: pick(g, "a", ""), Variants: map[string]json.RawMessage{"a": json.RawMessage(`"A"`), "b": json.RawMessage(`"B"`), "true": json.RawMessage(`"T"`), "10": json.RawMessage(`"ten"`)}}
	for len(f.Targeting) == 0 {
		raw, err := Canonical(g.expression(3))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := compileLogic(raw); err == nil {
			f.Targeting = raw
		}
	}
	if g.IntN(4) == 0 {
		f.Rollout = &Rollout{ID: "roll", Stable: "a", Candidate: "b", Salt: "s", Cohorts: []CohortExposure{{Cohort: "all", Exposure: 50_000}}}
	}
	f.Disabled = g.IntN(25) == 0
	cfg := NewConfig()
	cfg.Flags[f.Key], cfg.Scopes["flag/"+f.Key] = f, "roll"
	s, err := Compile(cfg, Options{ScopeRev: map[string]uint64{"roll": 9}})
	if err != nil {
		t.Fatal(err)
	}
	out := vectorTargeting{}
	if out.Flag, err = Canonical(f); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		o := map[string]any{"targetingKey": pick(g, "", "u1", fmt.Sprint("user-", g.IntN(1000)))}
		for _, name := range []string{"x", "y"} {
			if g.IntN(5) > 0 {
				o[name] = g.value(2)
			}
		}
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, err := ParseContext(raw)
		if err != nil {
			t.Fatal(err)
		}
		ctx.At(vectorNow)
		out.Contexts, out.Answers = append(out.Contexts, raw), append(out.Answers, vectorAnswer(s.Flag(f.Key).Eval(ctx, true)))
	}
	return out
}
