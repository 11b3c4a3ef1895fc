package flag

// Step is one thing that may decide about a flag, in order of precedence, as Trace finds it for one context.
type Step struct {
	Kind    string `json:"kind"`           // kill, disabled, exclusion, exception, rule, targeting, rollout or default
	Name    string `json:"name,omitempty"` // id of the exclusion or exception, name of the rule, rollout
	Holds   bool   `json:"holds"`          // it matches this context
	Decides bool   `json:"decides"`        // it is the first that does
	Serves  string `json:"serves,omitempty"`
}

// Trace returns everything that may decide about the flag, in the one order of precedence, and what each would serve; exactly
// one step decides, and Eval gives its result. An invalid context decides before everything but a kill switch.
func (h *Handle) Trace(ctx *Context, leased bool) []Step {
	if h == nil {
		return nil
	}
	if ctx == nil {
		ctx = &noContext
	}
	t := tracer{}
	if h.Killed {
		t.add("kill", h.Key, true, h.off)
	} else if h.off != nil {
		t.add("disabled", "", true, h.off)
	}
	if ctx.invalid {
		failed := h.failure(ErrInvalidContext)
		t.add("default", ErrInvalidContext, true, &failed)
		return t.steps
	}
	t.decisions("exclusion", h.exclusions, ctx, leased)
	t.decisions("exception", h.exceptions, ctx, leased)
	t.decisions("rule", h.rules, ctx, leased)
	if h.targeting != nil {
		r := h.targeting.decide(ctx)
		t.add("targeting", "", r != nil && r.Reason != ReasonDefault, r)
	}
	if h.rollout != nil {
		r, _ := h.rollout.decide(ctx, leased)
		t.add("rollout", h.RolloutID, true, r)
	}
	t.add("default", "", true, &h.fallback)
	return t.steps
}

type tracer struct {
	steps   []Step
	decided bool
}

func (t *tracer) add(kind, name string, holds bool, r *Result) {
	s := Step{Kind: kind, Name: name, Holds: holds, Decides: holds && !t.decided}
	if r != nil && r.Variant != nil {
		s.Serves = r.Variant.Name
	}
	t.decided = t.decided || holds
	t.steps = append(t.steps, s)
}

func (t *tracer) decisions(kind string, list []decision, ctx *Context, leased bool) {
	for i := range list {
		d := &list[i]
		r := &d.result
		if d.lapsed != nil && !leased {
			r = d.lapsed
		}
		t.add(kind, d.result.RuleName, d.match.match(ctx), r)
	}
}
