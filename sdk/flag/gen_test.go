package flag

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// seeded runs f with n sources of chance; a failure names the seed, which repeats it alone.
func seeded(t *testing.T, n uint64, f func(t *testing.T, g gen)) {
	t.Helper()
	for seed := range n {
		f(t, gen{rand.New(rand.NewPCG(seed, 7))})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// gen draws configurations and contexts from small vocabularies, so that matches are frequent.
type gen struct{ *rand.Rand }

func pick[T any](g gen, list ...T) T { return list[g.IntN(len(list))] }

func (g gen) attrName() string {
	return pick(g, "country", "plan", "age", "beta", "tags", "app.version", "weird name", TargetingKey)
}

func (g gen) text() string {
	return pick(g, "fr", "de", "", "pro", "f", "1.2.3", "1.10.0-rc.1", "1.10.0", "it's", "Ä", "10", "u1")
}

func (g gen) num() float64 { return pick(g, 0, 1, -1, 10, 2.5, 1e300, 1<<53, math.Pi) }

func (g gen) compare() *Compare {
	o := pick(g, operators[:]...)
	c := &Compare{Name: g.attrName(), Op: o.name}
	var v any
	switch o.operand {
	case operandNone:
		return c
	case operandList:
		for range 1 + g.IntN(12) {
			c.Values = append(c.Values, g.text())
		}
		return c
	case operandScalar:
		v = pick[any](g, g.text(), g.num(), true, false)
	case operandNumber:
		v = g.num()
	case operandText:
		v = g.text()
	case operandVersion:
		v = pick(g, "1.2.3", "1.10.0", "1.10.0-rc.1", "1.10.0-rc.1.x+b7")
	}
	raw, err := Canonical(v)
	if err != nil {
		panic(err)
	}
	c.Value = raw
	return c
}

// condition draws a condition of at most the given depth; segments are drawn from the names.
func (g gen) condition(depth int, segments ...string) Condition {
	several := func() (list []Condition) {
		for range 1 + g.IntN(3) {
			list = append(list, g.condition(depth-1, segments...))
		}
		return list
	}
	switch k := g.IntN(10); {
	case depth > 1 && k == 0:
		return Condition{All: several()}
	case depth > 1 && k == 1:
		return Condition{Any: several()}
	case depth > 1 && k == 2:
		not := g.condition(depth-1, segments...)
		return Condition{Not: &not}
	case len(segments) > 0 && k == 3:
		return Condition{Segment: pick(g, segments...)}
	case k == 4:
		return Always()
	}
	return Condition{Attr: g.compare()}
}

// world is the naive form of a context: Go values by name.
type world struct {
	unit  string
	attrs map[string]any
}

func (g gen) world() world {
	w := world{unit: pick(g, "", "u1", fmt.Sprint("user-", g.IntN(1000)), fmt.Sprint("user-", g.IntN(1000))), attrs: map[string]any{}}
	for range g.IntN(6) {
		name := g.attrName()
		if name == TargetingKey {
			continue
		}
		w.attrs[name] = pick[any](g, g.text(), g.text(), g.num(), int64(g.IntN(12)), int64(1<<53+1), math.NaN(), math.Inf(1), true, false, []string{g.text(), g.text()}, []string{})
	}
	return w
}

func (w world) context() *Context {
	var attrs []Attr
	for name, v := range w.attrs {
		switch v := v.(type) {
		case string:
			attrs = append(attrs, Str(name, v))
		case float64:
			attrs = append(attrs, Num(name, v))
		case int64:
			attrs = append(attrs, IntNum(name, v))
		case bool:
			attrs = append(attrs, BoolAttr(name, v))
		case []string:
			attrs = append(attrs, List(name, v...))
		}
	}
	return NewContext(w.unit, attrs...)
}

// config draws a valid configuration with one flag "f" of four variants; a is stable and b the candidate.
func (g gen) config() Config {
	c := NewConfig()
	var names []string
	for i := range g.IntN(3) {
		name := fmt.Sprint("s", i)
		c.Segments[name] = Segment{Name: name, Match: g.condition(3, names...)}
		names = append(names, name)
	}
	serve := func() string { return pick(g, "a", "b", "c", "d") }
	f := Flag{Key: "f", Type: String, Variants: map[string]json.RawMessage{}, Default: pick(g, "a", "c", "d"), Off: pick(g, "", "a", "d")}
	for _, v := range []string{"a", "b", "c", "d"} {
		f.Variants[v] = json.RawMessage(`"` + v + `"`)
	}
	for i := range g.IntN(4) {
		f.Rules = append(f.Rules, Rule{Name: fmt.Sprint("r", i), Match: g.condition(3, names...), Serve: serve()})
	}
	if g.IntN(5) > 0 {
		f.Rollout = &Rollout{ID: "roll", Stable: "a", Candidate: "b", Salt: g.text() + "s", Unit: pick(g, "", "", TargetingKey, "plan")}
		for i := range g.IntN(4) {
			ce := CohortExposure{Cohort: fmt.Sprint("c", i), Exposure: pick(g, 0, 1_000, 50_000, Full), Closed: g.IntN(2) == 0}
			if g.IntN(2) == 0 {
				m := g.condition(2, names...)
				ce.Match = &m
			}
			f.Rollout.Cohorts = append(f.Rollout.Cohorts, ce)
		}
	}
	c.Flags["f"] = f
	for i := range g.IntN(3) {
		id := fmt.Sprint("x", i)
		c.Exceptions[id] = Exception{ID: id, Flag: "f", Match: g.condition(2, names...), Serve: serve()}
	}
	for i := range g.IntN(2) {
		id := fmt.Sprint("e", i)
		c.Exclusions[id] = Exclusion{ID: id, Flag: "f", Match: g.condition(2, names...)}
		if g.IntN(2) == 0 { // it outlived an earlier rollout, whose stable variant may be gone
			x := c.Exclusions[id]
			x.Serve = []string{serve(), "gone"}[g.IntN(2)]
			c.Exclusions[id] = x
		}
	}
	if g.IntN(12) == 0 {
		c.Kills["f"] = Kill{Flag: "f"}
	}
	c.Scopes["flag/f"] = "roll"
	return c
}

func compiled(t *testing.T, c Config) *Handle {
	t.Helper()
	s, err := Compile(c, Options{ScopeRev: map[string]uint64{"roll": 9}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Flag("f")
}
