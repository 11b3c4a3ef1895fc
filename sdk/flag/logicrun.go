package flag

import (
	"math"
	"strings"
)

// logicRun is one evaluation of an expression.
type logicRun struct {
	ctx *Context
	key string // of the flag
	// prev is the value that a compiled expression of json-logic-engine noted last. Its comparisons check the left operand
	// for being a number only if nothing was noted since; whether they have no result depends on it.
	prev logicValue
}

// eval returns the value; !ok when the expression has none (JavaScript throws).
func (r *logicRun) eval(n *logic) (v logicValue, ok bool) {
	switch n.op {
	case opLit:
		return n.lit, true
	case opVar:
		if n.simple {
			return r.note(r.attribute(n.path[0])) // by far the most frequent
		}
		return r.variable(n)
	case opIf:
		return r.choose(n)
	case opAnd, opOr:
		return r.connect(n)
	case opNegate, opTruth:
		v, ok := r.eval(&n.args[0])
		return truthValue(v.truthy() == (n.op == opTruth)), ok
	case opLooseEq, opLooseNe, opStrictEq, opStrictNe, opLess, opLessEq, opGreater, opGreaterEq:
		return r.compare(n)
	case opMember:
		return r.member(n)
	case opArray:
		items := make([]logicValue, 0, len(n.args))
		for i := range n.args {
			e, ok := r.eval(&n.args[i])
			if !ok {
				return v, false
			}
			items = append(items, e)
		}
		return logicValue{kind: kindList, items: &items}, true
	case opConcat:
		return r.concat(n)
	case opPrefix, opSuffix:
		return r.affix(n)
	case opSemVer:
		return r.semVer(n)
	case opFractional:
		return r.fractional(n)
	}
	return r.arithmetic(n)
}

func (r *logicRun) note(v logicValue) (logicValue, bool) {
	r.prev = v
	return v, true
}

func (r *logicRun) variable(n *logic) (v logicValue, ok bool) {
	v = r.attribute(n.path[0])
	rest := n.path[1:]
	if n.path[0] == "$flagd" {
		v, rest = r.injected(rest), nil
	}
	for _, name := range rest {
		v = v.member(name)
	}
	if v.kind == kindNone && len(n.args) > 0 {
		if v, ok = r.eval(&n.args[0]); !ok {
			return v, false
		}
	}
	return r.note(v)
}

func (r *logicRun) attribute(name string) logicValue {
	if a := r.ctx.lookup(name); a != nil {
		return valueOf(a)
	}
	return logicValue{}
}

// injected is what flagd adds to the context.
func (r *logicRun) injected(path []string) logicValue {
	switch {
	case len(path) != 1:
	case path[0] == "flagKey":
		return textValue(r.key)
	case path[0] == "timestamp" && r.ctx.now != 0:
		return numValue(float64(r.ctx.now))
	}
	return logicValue{}
}

// choose is if: pairs of condition and value, then what holds otherwise.
func (r *logicRun) choose(n *logic) (v logicValue, ok bool) {
	i := 0
	for ; i+1 < len(n.args); i += 2 {
		c, ok := r.eval(&n.args[i])
		if !ok {
			return v, false
		}
		if c.truthy() {
			return r.eval(&n.args[i+1])
		}
	}
	if i < len(n.args) {
		return r.eval(&n.args[i])
	}
	return v, true
}

func (r *logicRun) connect(n *logic) (v logicValue, ok bool) {
	for i := range n.args {
		if v, ok = r.eval(&n.args[i]); !ok {
			return v, false
		}
		r.prev = v
		if v.truthy() == (n.op == opOr) {
			break
		}
	}
	return v, true
}

// compare is a comparison of two values, or of three for "between".
func (r *logicRun) compare(n *logic) (v logicValue, ok bool) {
	left, ok := r.eval(&n.args[0])
	if !ok {
		return v, false
	}
	if right := &n.args[1]; n.op == opLooseEq && right.op == opLit && left.kind == kindStr && right.lit.kind == kindStr {
		r.prev = left
		return truthValue(left.str == right.lit.str), true // by far the most frequent
	}
	r.prev = left
	holds := true
	for i := 1; i < len(n.args) && holds; i++ {
		right, ok := r.eval(&n.args[i])
		if !ok {
			return v, false
		}
		if n.op != opStrictEq && n.op != opStrictNe {
			if right, ok = r.checked(right); !ok {
				return v, false
			}
		}
		holds = holdsBetween(n.op, &left, &right)
		if len(n.args) > 2 {
			r.prev = right
		}
		left = right
	}
	return truthValue(holds), true
}

// checked returns the right operand as it is compared; !ok when an operand is neither a number nor, with the other one, a
// text or null.
func (r *logicRun) checked(item logicValue) (logicValue, bool) {
	textual := func(v *logicValue) bool { return v.kind == kindStr || v.kind == kindNone }
	if textual(&item) && textual(&r.prev) {
		return item, true
	}
	isNumber := func(v *logicValue) bool { return !v.isObject() && !math.IsNaN(v.number()) }
	switch {
	case item.isObject() || !isNumber(&item) && r.prev.kind != kindNone, !isNumber(&r.prev):
		return item, false
	case r.prev.kind == kindNone && !jsTrue(&item):
		return logicValue{}, true
	case item.kind == kindNone && !jsTrue(&r.prev):
		return numValue(0), true
	}
	return item, true
}

// jsTrue is JavaScript's truth, to which every object is true.
func jsTrue(v *logicValue) bool { return v.isObject() || v.truthy() }

func holdsBetween(op logicOp, a, b *logicValue) bool {
	switch op {
	case opLooseEq:
		return a.looselyEqual(b)
	case opLooseNe:
		return !a.looselyEqual(b)
	case opStrictEq:
		return a.same(b)
	case opStrictNe:
		return !a.same(b)
	}
	order, ok := a.less(b)
	if !ok {
		return false
	}
	switch op {
	case opLess:
		return order < 0
	case opLessEq:
		return order <= 0
	case opGreater:
		return order > 0
	}
	return order >= 0
}

// member is in: of an array, or of a text. The container is evaluated first.
func (r *logicRun) member(n *logic) (v logicValue, ok bool) {
	in, ok := r.eval(&n.args[1])
	if !ok {
		return v, false
	}
	item, ok := r.eval(&n.args[0])
	if !ok {
		return v, false
	}
	switch {
	case !jsTrue(&in):
		return truthValue(false), true
	case in.kind == kindStr:
		s, _ := item.text()
		return truthValue(strings.Contains(in.str, s)), true
	case !in.isArray():
		return v, false
	case in.items != nil: // without a function value: this is the frequent case
		for i := range *in.items {
			if item.same(&(*in.items)[i]) {
				return truthValue(true), true
			}
		}
		return truthValue(false), true
	}
	found := false
	in.each(func(e logicValue) bool {
		found = item.same(&e)
		return !found
	})
	return truthValue(found), true
}

func (r *logicRun) concat(n *logic) (v logicValue, ok bool) {
	var b strings.Builder
	for i := range n.args {
		if v, ok = r.eval(&n.args[i]); !ok {
			return v, false
		}
		s, _ := v.text()
		b.WriteString(s)
	}
	return textValue(b.String()), true
}

// arithmetic reads every argument as a number. There is no result when one is none, or the result is not.
func (r *logicRun) arithmetic(n *logic) (v logicValue, ok bool) {
	res := 0.0
	for i := range n.args {
		if v, ok = r.eval(&n.args[i]); !ok {
			return v, false
		}
		extreme := n.op == opMinimum || n.op == opMaximum
		if v.isObject() || extreme && v.kind != kindNum || math.IsNaN(v.number()) {
			return v, false
		}
		f := v.number()
		if i == 0 {
			res = f
			continue
		}
		if n.op == opDivide && f == 0 {
			return v, false
		}
		res = calculate(n.op, res, f)
	}
	if n.op == opMinus && len(n.args) == 1 {
		res = -res
	}
	return numValue(res), !math.IsNaN(res)
}

func calculate(op logicOp, a, b float64) float64 {
	switch op {
	case opPlus:
		return a + b
	case opMinus:
		return a - b
	case opTimes:
		return a * b
	case opDivide:
		return a / b
	case opModulo:
		return math.Mod(a, b)
	case opMinimum:
		return min(a, b)
	}
	return max(a, b)
}

// affix is starts_with and ends_with: null unless there are two texts.
func (r *logicRun) affix(n *logic) (v logicValue, ok bool) {
	var two [2]logicValue
	for i := range n.args {
		if v, ok = r.eval(&n.args[i]); !ok {
			return v, false
		}
		if i < 2 {
			two[i] = v
		}
	}
	switch {
	case len(n.args) != 2 || two[0].kind != kindStr || two[1].kind != kindStr:
		return logicValue{}, true
	case n.op == opPrefix:
		return truthValue(strings.HasPrefix(two[0].str, two[1].str)), true
	}
	return truthValue(strings.HasSuffix(two[0].str, two[1].str)), true
}

// semVer is sem_ver: null for what is no version or operator.
func (r *logicRun) semVer(n *logic) (v logicValue, ok bool) {
	if n.than != nil {
		if v, ok = r.eval(&n.args[0]); !ok {
			return v, false
		}
		a, ok := lenientVersion(&v)
		if !ok {
			return logicValue{}, true
		}
		return n.than.holds(a)
	}
	var three [3]logicValue
	for i := range n.args {
		if v, ok = r.eval(&n.args[i]); !ok {
			return v, false
		}
		if i < 3 {
			three[i] = v
		}
	}
	if len(n.args) != 3 {
		return logicValue{}, true
	}
	a, ok1 := lenientVersion(&three[0])
	b, ok2 := lenientVersion(&three[2])
	if !ok1 || !ok2 {
		return logicValue{}, true
	}
	operator, _ := three[1].text()
	return version{b, operator}.holds(a)
}

// fixedVersion prepares a sem_ver whose operator and second version are literals; nil for any other.
func fixedVersion(n *logic) *version {
	if len(n.args) != 3 || n.args[1].op != opLit || n.args[2].op != opLit {
		return nil
	}
	v, ok := lenientVersion(&n.args[2].lit)
	if !ok {
		return nil
	}
	rel, _ := n.args[1].lit.text()
	return &version{v, rel}
}

// holds says whether a compares so with the version: null for an operator that there is not.
func (v version) holds(a semver) (logicValue, bool) {
	order := a.compare(v.semver)
	switch v.rel {
	case "=":
		return truthValue(order == 0), true
	case "!=":
		return truthValue(order != 0), true
	case "<":
		return truthValue(order < 0), true
	case "<=":
		return truthValue(order <= 0), true
	case ">":
		return truthValue(order > 0), true
	case ">=":
		return truthValue(order >= 0), true
	case "^":
		return truthValue(a.major == v.major), true
	case "~":
		return truthValue(a.major == v.major && a.minor == v.minor), true
	}
	return logicValue{}, true
}

// lenientVersion reads a version as flagd does: one "v" before it may stand, and "1" and "1.2" are versions.
func lenientVersion(v *logicValue) (semver, bool) {
	s, _ := v.text()
	if s != "" && s[0]|0x20 == 'v' {
		s = s[1:]
	}
	if major, minor, two := strings.Cut(s, "."); numeric(major) && len(major) <= 16 && (!two || numeric(minor) && len(minor) <= 16) {
		if !two {
			minor = "0"
		}
		w := semver{major: major, minor: minor, patch: "0"}
		return w, w.safe()
	}
	s = strings.TrimFunc(s, isJSSpace)
	w, ok := parseSemver(strings.TrimPrefix(s, "v"))
	return w, ok && w.safe() && len(s) <= maxSemver
}

// safe says whether the numbers are exact in a double: JavaScript's semver refuses others.
func (v semver) safe() bool {
	const largest = "9007199254740991"
	return compareNumeric(v.major, largest) <= 0 && compareNumeric(v.minor, largest) <= 0 && compareNumeric(v.patch, largest) <= 0
}
