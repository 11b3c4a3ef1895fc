package flag

import "testing"

// TestTraceAgreesWithEval: exactly one step decides, and it serves what Eval serves, for the reason that Eval gives.
func TestTraceAgreesWithEval(t *testing.T) {
	kinds := map[string]string{
		ReasonKilled: "kill", ReasonDisabled: "disabled", ReasonExcluded: "exclusion", ReasonException: "exception", ReasonRule: "rule",
		ReasonTargeting: "targeting", ReasonRollout: "rollout", ReasonDefault: "default",
	}
	seen := map[string]int{}
	seeded(t, 400, func(t *testing.T, g gen) {
		cfg := g.config()
		f := cfg.Flags["f"]
		f.Disabled = g.IntN(10) == 0
		if g.IntN(3) == 0 {
			f.Targeting = []byte(`{"if":[{"in":[{"var":"country"},["fr","de"]]},"c",null]}`)
		}
		cfg.Flags["f"] = f
		h := compiled(t, cfg)
		for range 20 {
			c, leased := g.world().context(), g.IntN(2) == 0
			want := h.Eval(c, leased)
			var decides []Step
			for _, s := range h.Trace(c, leased) {
				if s.Decides {
					decides = append(decides, s)
				}
			}
			if len(decides) != 1 {
				t.Fatalf("%d steps decide: %+v", len(decides), decides)
			}
			s := decides[0]
			seen[s.Kind]++
			if want.Variant != nil && s.Serves != want.Variant.Name || want.Variant == nil && s.Serves != "" {
				t.Fatalf("step %+v, result %+v", s, want)
			}
			if kind, ok := kinds[want.Reason]; ok && kind != s.Kind || s.Kind != "default" && s.Name != want.RuleName && s.Kind != "kill" && s.Kind != "rollout" {
				t.Fatalf("step %+v, result %+v", s, want)
			}
		}
	})
	for _, kind := range kinds {
		if seen[kind] == 0 {
			t.Errorf("no %s decided: the generator proves nothing about it", kind)
		}
	}
	if (*Handle)(nil).Trace(nil, true) != nil {
		t.Error("a flag that does not exist has steps")
	}
}
