package flag

// targeting is a compiled expression with the results that it may name.
type targeting struct {
	logic  *logic
	key    string
	timed  bool
	named  []Result // by variant, in the order of the handle's
	failed Result   // no result, or one that names no variant
	miss   Result   // null, of a flag that nothing else decides
	rest   bool     // there is a rollout: null leaves it to decide
}

func newTargeting(h *Handle, n *logic, timed bool) *targeting {
	t := &targeting{logic: n, key: h.Key, timed: timed, failed: h.failure(ErrGeneral), miss: h.fallback, rest: h.rollout != nil}
	t.named = make([]Result, len(h.variants))
	for i := range h.variants {
		t.named[i] = h.result(h.variants[i].Name, ReasonTargeting)
	}
	return t
}

// decide returns the shared result for a context; nil when the expression leaves it to the rollout.
func (t *targeting) decide(ctx *Context) *Result {
	run := logicRun{ctx: ctx, key: t.key}
	v, ok := run.eval(t.logic)
	if !ok {
		return &t.failed
	}
	if v.kind == kindNone {
		if t.rest {
			return nil
		}
		return &t.miss
	}
	name := v.str
	switch {
	case v.kind == kindBool && v.truth:
		name = "true"
	case v.kind == kindBool:
		name = "false"
	case v.kind != kindStr:
		name, _ = v.text()
	}
	for i := range t.named {
		if t.named[i].Variant.Name == name {
			return &t.named[i]
		}
	}
	return &t.failed
}
