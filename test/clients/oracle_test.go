// Package clients holds tests against other people's clients and evaluators; this one compares our compiled targeting with
// flagd's own evaluator. `make test-clients` installs what it needs.
package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	"sluice.dev/sdk/flag"
)

const (
	rounds          = 100
	flagsPerRound   = 20
	contextsOfRound = 50 // 100 x 20 x 50 = 100,000 pairs
)

// TestFlagdCore: 0 differences to npm @openfeature/flagd-core over 100,000 random pairs of flag and context.
func TestFlagdCore(t *testing.T) {
	if _, err := os.Stat("node_modules/@openfeature/flagd-core"); err != nil {
		if os.Getenv("SLUICE_CLIENTS") != "" {
			t.Fatalf("npm packages are missing: %v", err)
		}
		t.Skip("SKIPPED: npm packages are missing; run make test-clients")
	}
	cmd := exec.CommandContext(t.Context(), "node", "oracle.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	answers.Buffer(nil, 64<<20)
	seen := map[string]int{}
	pairs := 0
	for round := range uint64(rounds) {
		g := gen{Rand: rand.New(rand.NewPCG(round, 11))}
		set, contexts := g.round()
		line, err := json.Marshal(map[string]any{"flags": set, "contexts": contexts})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
		if !answers.Scan() {
			t.Fatalf("the oracle ended: %v", answers.Err())
		}
		pairs += compare(t, round, set, contexts, answers.Bytes(), seen)
		if t.Failed() {
			break
		}
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d pairs: %v", pairs, seen)
	for _, reason := range []string{"STATIC", "DEFAULT", "TARGETING_MATCH", "ERROR", "DISABLED"} {
		if !t.Failed() && seen[reason] < pairs/500 {
			t.Errorf("reason %s came %d times in %d pairs: the generator proves little", reason, seen[reason], pairs)
		}
	}
}

// compare evaluates the round here and reports the first difference.
func compare(t *testing.T, round uint64, set map[string]any, contexts []map[string]any, answer []byte, seen map[string]int) (pairs int) {
	t.Helper()
	var want [][4]json.RawMessage
	if err := json.Unmarshal(answer, &want); err != nil {
		t.Fatal(err)
	}
	snap := compiled(t, set)
	for _, h := range snap.Handles() {
		for _, c := range contexts {
			raw, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			ctx, err := flag.ParseContext(raw)
			if err != nil {
				t.Fatalf("seed %d: %s: %v", round, raw, err)
			}
			w := want[pairs]
			pairs++
			got, reason := ours(h, h.Eval(ctx, false))
			seen[reason]++
			for i := range got {
				if !same(got[i], w[i]) {
					def, _ := json.Marshal(set["flags"].(map[string]any)[h.Key])
					ev, _ := json.Marshal(set["$evaluators"])
					t.Logf("evaluators %s", ev)
					t.Errorf("seed %d, flag %s\ncontext %s\ngot  %s\nwant %s", round, def, raw, got, w)
					return pairs
				}
			}
		}
	}
	return pairs
}

func same(a string, b json.RawMessage) bool {
	canonical, err := flag.CanonicalRaw(b)
	return err == nil && a == string(canonical)
}

// ours returns variant, reason, error code and value as JSON, as flagd would name them.
func ours(h *flag.Handle, r flag.Result) (out [4]string, reason string) {
	reason = flag.OpenFeatureReason(r.Reason)
	if r.Reason == flag.ReasonDefault && h.Static() && r.Variant != nil {
		reason = "STATIC"
	}
	out = [4]string{"null", `"` + reason + `"`, "null", "null"}
	switch {
	case r.ErrCode != "":
		out[2] = `"` + r.ErrCode + `"`
	case r.Variant != nil:
		out[0], out[3] = `"`+r.Variant.Name+`"`, string(r.Variant.Raw)
	}
	return out, reason
}

func compiled(t *testing.T, set map[string]any) *flag.Snapshot {
	t.Helper()
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	flags, err := flag.ParseFlagd(raw)
	if err != nil {
		t.Fatal(err)
	}
	cfg := flag.NewConfig()
	for _, f := range flags {
		cfg.Flags[f.Key] = f
	}
	snap, err := flag.Compile(cfg, flag.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// gen draws flags and contexts from small vocabularies, so that matches are frequent.
type gen struct {
	*rand.Rand
	names []string // variants of the flag that is being drawn
}

func pick[T any](g gen, list ...T) T { return list[g.IntN(len(list))] }

// round draws a set of flags that parse, and contexts.
func (g gen) round() (set map[string]any, contexts []map[string]any) {
	evaluators := map[string]any{"isFr": g.evaluator(2), "isPro": g.evaluator(1)}
	flags := map[string]any{}
	for len(flags) < flagsPerRound {
		key := fmt.Sprintf("flag-%d", len(flags))
		flags[key] = g.flag()
		raw, err := json.Marshal(map[string]any{"flags": map[string]any{key: flags[key]}, "$evaluators": evaluators})
		if err != nil {
			panic(err)
		}
		if _, err := flag.ParseFlagd(raw); err != nil { // a part that never has a result: flagd refuses it at evaluation
			delete(flags, key)
		}
	}
	for range contextsOfRound {
		contexts = append(contexts, g.context())
	}
	return map[string]any{"flags": flags, "$evaluators": evaluators}, contexts
}

// evaluator refers to no other one: flagd-core replaces references once, in the order of the names.
func (g gen) evaluator(depth int) any {
	for {
		e := g.truth(depth)
		if raw, err := json.Marshal(e); err == nil && !bytes.Contains(raw, []byte("$ref")) {
			return e
		}
	}
}

func (g gen) flag() map[string]any {
	variants := pick(g,
		map[string]any{"true": true, "false": false, "on": true, "off": false},
		map[string]any{"a": "alpha", "b": "b<\u00e9>", "fr": "", "5": "five"},
		map[string]any{"a": 1, "b": -7, "on": 0}, map[string]any{"a": 0.5, "b": 1e300},
		map[string]any{"a": map[string]any{"z": []any{1, nil}, "a": "x"}, "b": map[string]any{}})
	g.names = slices.Sorted(maps.Keys(variants))
	f := map[string]any{"state": "ENABLED", "variants": variants}
	if g.IntN(40) == 0 {
		f["state"] = "DISABLED"
	}
	if g.IntN(5) > 0 {
		f["defaultVariant"] = pick(g, g.names...)
	}
	if g.IntN(12) > 0 {
		f["targeting"] = g.decision(3)
	}
	return f
}

// decision is an expression that names a variant.
func (g gen) decision(depth int) any {
	if depth == 0 {
		if g.IntN(10) > 0 {
			return pick(g, g.names...)
		}
		return pick[any](g, "a", "on", "true", "nosuch", nil, true, 5)
	}
	switch g.IntN(8) {
	case 0:
		return op(pick(g, "if", "?:"), g.truth(2), g.decision(depth-1), g.decision(depth-1))
	case 1:
		return op("if", g.truth(2), g.decision(depth-1), g.truth(2), g.decision(depth-1), g.decision(0))
	case 2:
		return op("if", g.truth(2), g.decision(0), g.truth(1), g.decision(0))
	case 3, 4:
		return g.fractional()
	case 5:
		if g.IntN(3) == 0 {
			return g.truth(depth)
		}
		return op("if", g.truth(depth), g.decision(0), g.decision(0))
	case 6:
		return op(pick(g, "and", "or"), g.truth(depth), g.decision(depth-1))
	}
	return op("if", map[string]any{"$ref": pick(g, "isFr", "isPro")}, g.decision(0), g.decision(depth-1))
}

func (g gen) fractional() any {
	var args []any
	switch g.IntN(4) {
	case 0:
		args = append(args, op("var", "email"))
	case 1:
		args = append(args, op("cat", op("var", "$flagd.flagKey"), op("var", pick(g, "email", "country", "nosuch"))))
	}
	for range 1 + g.IntN(4) {
		variant := pick[any](g, g.decision(0), g.decision(0), g.decision(0), op("var", "plan"), op("if", g.truth(1), g.decision(0), g.decision(0)))
		weight := pick[any](g, 1, 25, 50, 0, -5, 100000, op("+", op("var", "age"), 1), op("*", op("var", "age"), 2), 1.5)
		args = append(args, pick(g, []any{variant, weight}, []any{variant, weight}, []any{variant}))
	}
	if g.IntN(30) == 0 {
		args = append(args, []any{"a", 2147483647})
	}
	return map[string]any{"fractional": args}
}

func op(name string, args ...any) map[string]any { return map[string]any{name: args} }

func (g gen) variable() any {
	path := pick(g, "country", "plan", "age", "beta", "tags", "tags.0", "tags.length", "email", "version", "user.tier", "user.ids.1", "user", "nosuch", "mixed", "n", "targetingKey", "$flagd.flagKey", "country.length", `a\.b`)
	if g.IntN(8) == 0 {
		return op("var", path, pick[any](g, "fr", 7, nil, false))
	}
	if g.IntN(2) == 0 {
		return op("var", path)
	}
	return map[string]any{"var": path}
}

func (g gen) literal() any {
	return pick[any](g, "fr", "de", "", "pro", "f", "1.2.3", "10", " 7 ", "0x10", "x", 0, 1, 10, 10, 2.5, -1, 42, true, false, nil, "é", "\U0001f600")
}

func (g gen) operand(depth int) any {
	switch {
	case depth > 0 && g.IntN(6) == 0:
		return g.number(depth - 1)
	case depth > 0 && g.IntN(10) == 0:
		return g.truth(depth - 1)
	case g.IntN(2) == 0:
		return g.literal()
	}
	return g.variable()
}

func (g gen) number(depth int) any {
	name := pick(g, "+", "-", "*", "/", "%", "min", "max")
	if g.IntN(4) == 0 && (name == "+" || name == "-") {
		return op(name, g.variable())
	}
	return op(name, g.variable(), g.operand(depth))
}

// truth is an expression that is mostly true or false.
func (g gen) truth(depth int) any {
	if depth <= 0 {
		return op(pick(g, "==", "===", "!=", "!=="), g.variable(), g.literal())
	}
	switch g.IntN(13) {
	case 0, 1, 2:
		return op(pick(g, "==", "!=", "===", "!==", "<", "<=", ">", ">="), g.variable(), g.operand(depth))
	case 3:
		return op(pick(g, "<", "<="), g.literal(), g.variable(), g.operand(depth))
	case 4:
		return op("in", g.operand(depth), pick[any](g, []any{"fr", "de", 10, true, nil}, []any{g.variable(), "fr"}, g.variable(), "france"))
	case 5:
		return op(pick(g, "starts_with", "ends_with"), g.operand(depth), pick[any](g, "f", "", "r", "@x.org", g.variable()))
	case 6, 7:
		return op("sem_ver", pick[any](g, map[string]any{"var": "version"}, g.variable()), pick[any](g, "=", "!=", "<", "<=", ">", ">=", "~", "^", "?"), pick[any](g, "1.2.3", "v1.10.0", "1", "1.2", "2.0.0-rc.1", "1.10.0+b", 1, "x", g.variable()))
	case 8:
		return op(pick(g, "and", "or"), g.truth(depth-1), g.truth(depth-1), g.truth(depth-1))
	case 9:
		return op(pick(g, "!", "!!"), g.operand(depth-1))
	case 10:
		return map[string]any{"$ref": pick(g, "isFr", "isPro")}
	case 11:
		return op("==", op("cat", g.variable(), pick[any](g, "x", 1, true, nil)), pick[any](g, "frx", "10x", "truex", "nullx", "pro1"))
	}
	return g.variable()
}

func (g gen) context() map[string]any {
	c := map[string]any{}
	if g.IntN(6) > 0 {
		c["targetingKey"] = fmt.Sprintf("user-%d", g.IntN(500))
	}
	fields := map[string][]any{
		"country": {"fr", "de", "France", ""}, "plan": {"pro", "free", "a", "b", 5}, "age": {0, 10, 42, -3, 2.5, "10", 1e21, 123456789012}, "beta": {true, false, "true", 1},
		"tags": {[]any{"fr", "x"}, []any{}, []any{"é"}}, "email": {"a@x.org", "b@y.org", "", 7}, "mixed": {[]any{1, "fr", nil, true}, []any{[]any{"fr"}}, map[string]any{}},
		"version": {"1.2.3", "v1.10.0", "1", "1.2", "2.0.0-rc.1", "2.0.0-rc.1.1", "1.2.3.4", "", "01.2.3", 1, "99999999999999999999.0.0", " 1.2.3 "},
		"user":    {map[string]any{"tier": "pro", "ids": []any{1, 10, "x"}}, map[string]any{"tier": nil}, "fr", []any{"a"}}, "n": {nil}, "a.b": {"fr", 10},
	}
	for _, name := range []string{"country", "plan", "age", "beta", "tags", "email", "mixed", "version", "user", "n", "a.b"} {
		if g.IntN(4) > 0 {
			c[name] = pick(g, fields[name]...)
		}
	}
	return c
}
