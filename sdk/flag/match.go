package flag

import (
	"math"
	"slices"
	"strings"
)

// op is what a compiled condition does.
type op uint8

const (
	opNever op = iota // a reference that leads nowhere (Options.AllowDangling)
	opAlways
	opAll
	opAny
	opNot
	opSegment
	opEqText // eq with a string
	opEq
	opNe
	opLt
	opLe
	opGt
	opGe
	opIn
	opNotIn
	opStartsWith
	opEndsWith
	opContains
	opExists
	opSemverEq
	opSemverLt
	opSemverLe
	opSemverGt
	opSemverGe
)

// operand says what an operator compares an attribute with.
type operand uint8

const (
	operandNone    operand = iota // nothing
	operandScalar                 // a string, a number or a boolean
	operandNumber                 // a number
	operandText                   // a string
	operandVersion                // a string that is a semantic version
	operandList                   // strings
)

// operator describes one operator: its name in JSON, its spelling in the condition language, and its operand.
type operator struct {
	op      op
	name    string
	symbol  string
	operand operand
}

// operators lists them; where a symbol begins another one, the longer comes first, for the lexer.
var operators = [...]operator{
	{opEq, "eq", "==", operandScalar},
	{opNe, "ne", "!=", operandScalar},
	{opLe, "le", "<=", operandNumber},
	{opGe, "ge", ">=", operandNumber},
	{opLt, "lt", "<", operandNumber},
	{opGt, "gt", ">", operandNumber},
	{opIn, "in", "in", operandList},
	{opNotIn, "not-in", "not-in", operandList},
	{opStartsWith, "starts-with", "starts-with", operandText},
	{opEndsWith, "ends-with", "ends-with", operandText},
	{opContains, "contains", "contains", operandText},
	{opExists, "exists", "exists", operandNone},
	{opSemverEq, "semver-eq", "semver-eq", operandVersion},
	{opSemverLt, "semver-lt", "semver-lt", operandVersion},
	{opSemverLe, "semver-le", "semver-le", operandVersion},
	{opSemverGt, "semver-gt", "semver-gt", operandVersion},
	{opSemverGe, "semver-ge", "semver-ge", operandVersion},
}

func operatorNamed(name string) (operator, bool) {
	for _, o := range operators {
		if o.name == name {
			return o, true
		}
	}
	return operator{}, false
}

// matcher is a compiled condition: a tree that is walked. Closures would be as fast, but a call through a function value
// moves the caller's Context to the heap.
type matcher struct {
	op      op
	name    string // attribute
	value   scalar
	kids    []matcher // all, any, not
	segment *matcher
	values  *values
	version *semver
}

// values is the operand of in and not-in: short lists are scanned, long ones hashed.
type values struct {
	list []string
	set  map[string]struct{} // nil for short ones
}

func newValues(list []string) *values {
	v := &values{list: list}
	if len(list) > shortList {
		v.set = make(map[string]struct{}, len(list))
		for _, s := range list {
			v.set[s] = struct{}{}
		}
	}
	return v
}

func (v *values) has(s string) bool {
	if v.set != nil {
		_, ok := v.set[s]
		return ok
	}
	return slices.Contains(v.list, s)
}

// scalar is an operand of eq, ne and the orderings.
type scalar struct {
	kind attrKind // kindStr, kindNum or kindBool; a kindNum with whole also has num
	str  string
	num  float64
	int  int64
	// whole: the number is an integer that int holds exactly.
	whole, truth bool
}

// shortList is how many values are scanned instead of hashed.
const shortList = 8

// match evaluates the condition; a nil matcher matches everybody. An attribute that is missing or of a type that the
// operator does not compare makes the comparison false, for ne and not-in too: there is no coercion.
func (m *matcher) match(c *Context) bool {
	if m == nil {
		return true
	}
	switch m.op {
	case opNever:
		return false
	case opAlways:
		return true
	case opAll:
		for i := range m.kids {
			if !m.kids[i].match(c) {
				return false
			}
		}
		return true
	case opAny:
		for i := range m.kids {
			if m.kids[i].match(c) {
				return true
			}
		}
		return false
	case opNot:
		return !m.kids[0].match(c)
	case opSegment:
		return m.segment.match(c)
	}
	a := c.lookup(m.name)
	switch {
	case a == nil:
		return false
	case m.op == opEqText: // by far the most frequent
		return a.kind == kindStr && a.str == m.value.str
	}
	return m.compare(a)
}

func (m *matcher) compare(a *Attr) bool {
	switch m.op {
	case opExists:
		return a.kind != kindJSON || a.str != "null"
	case opEq:
		order, ok := m.value.order(a)
		return ok && order == 0
	case opNe:
		order, ok := m.value.order(a)
		return ok && order != 0
	case opLt, opLe, opGt, opGe:
		order, ok := m.value.order(a)
		return ok && ordered(m.op-opLt, order)
	case opIn:
		any, ok := m.listed(a)
		return ok && any
	case opNotIn:
		any, ok := m.listed(a)
		return ok && !any
	case opContains:
		if a.kind == kindList {
			return slices.Contains(a.list, m.value.str)
		}
		return a.kind == kindStr && strings.Contains(a.str, m.value.str)
	case opStartsWith:
		return a.kind == kindStr && strings.HasPrefix(a.str, m.value.str)
	case opEndsWith:
		return a.kind == kindStr && strings.HasSuffix(a.str, m.value.str)
	}
	return a.kind == kindStr && m.compareVersion(a.str)
}

func (m *matcher) compareVersion(s string) bool {
	v, ok := parseSemver(s)
	if !ok {
		return false
	}
	order := v.compare(*m.version)
	if m.op == opSemverEq {
		return order == 0
	}
	return ordered(m.op-opSemverLt, order)
}

// ordered says whether an order (attribute against operand: -1, 0, 1) satisfies < (0), <= (1), > (2) or >= (3).
func ordered(rel op, order int) bool {
	switch rel {
	case 0:
		return order < 0
	case 1:
		return order <= 0
	case 2:
		return order > 0
	}
	return order >= 0
}

// listed says whether the attribute, or one of its elements, is in the operand's list; !ok for attributes without texts.
func (m *matcher) listed(a *Attr) (any, ok bool) {
	switch a.kind {
	case kindStr:
		return m.values.has(a.str), true
	case kindList:
		for _, s := range a.list {
			if m.values.has(s) {
				return true, true
			}
		}
		return false, true
	}
	return false, false
}

// order compares the attribute with the operand: -1, 0 or 1; texts and booleans only tell equal (0) from different (1).
// !ok: they are of different types, or the attribute is not finite.
func (v *scalar) order(a *Attr) (order int, ok bool) {
	switch {
	case a.kind == kindStr && v.kind == kindStr:
		return different(a.str != v.str), true
	case a.kind == kindBool && v.kind == kindBool:
		return different((a.bits == 1) != v.truth), true
	case a.kind == kindNum && v.kind == kindNum:
		f := math.Float64frombits(a.bits)
		return orderOf(f, v.num), !math.IsNaN(f) && !math.IsInf(f, 0)
	case a.kind == kindInt && v.kind == kindNum:
		if i := int64(a.bits); v.whole {
			return orderOf(i, v.int), true
		}
		// Not whole means below 2^53 with a fraction, or beyond int64: rounding i cannot change the order.
		return orderOf(float64(int64(a.bits)), v.num), true
	}
	return 0, false
}

func different(d bool) int {
	if d {
		return 1
	}
	return 0
}

func orderOf[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
