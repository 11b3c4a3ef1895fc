package flag

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Limits of targeting.
const (
	maxLogicNodes = 10_000
	maxLogicDepth = 64
)

// logic is a compiled JsonLogic expression as flagd's providers evaluate it: a tree that is walked, like matcher. The
// semantics, odd corners included, are those of npm @openfeature/flagd-core 4 (json-logic-engine 5, compiled mode), which
// is the oracle of the tests; so a configuration means the same here as in flagd's in-process providers. Strings are
// UTF-8 and fractional hashes their bytes, as flagd's daemon does.
type logic struct {
	op     logicOp
	simple bool
	args   []logic
	lit    logicValue
	path   []string // of opVar; simple: it is one name, without a default
	draw   *draw    // of an opFractional whose buckets are fixed
	than   *version // of an opSemVer whose operator and second version are fixed
}

// version is what a version is compared with.
type version struct {
	semver
	rel string
}

type logicOp uint8

const (
	opLit logicOp = iota
	opArray
	opVar
	opIf
	opAnd
	opOr
	opNegate
	opTruth
	opLooseEq
	opLooseNe
	opStrictEq
	opStrictNe
	opLess
	opLessEq
	opGreater
	opGreaterEq
	opMember
	opConcat
	opPlus
	opMinus
	opTimes
	opDivide
	opModulo
	opMinimum
	opMaximum
	opPrefix
	opSuffix
	opSemVer
	opFractional
)

// arity of an operator: how many arguments it takes, max -1 without limit. custom ones depend on more than their
// arguments and are never computed ahead.
type arity struct {
	op       logicOp
	min, max int
	custom   bool
}

var logicOps = map[string]arity{
	"if": {opIf, 1, -1, false}, "?:": {opIf, 1, -1, false}, "and": {opAnd, 1, -1, false}, "or": {opOr, 1, -1, false},
	"!": {opNegate, 1, 1, false}, "!!": {opTruth, 1, 1, false},
	"==": {opLooseEq, 2, 2, false}, "!=": {opLooseNe, 2, 2, false}, "===": {opStrictEq, 2, 2, false}, "!==": {opStrictNe, 2, 2, false},
	"<": {opLess, 2, 3, false}, "<=": {opLessEq, 2, 3, false}, ">": {opGreater, 2, 3, false}, ">=": {opGreaterEq, 2, 3, false},
	"in": {opMember, 2, 2, false}, "cat": {opConcat, 0, -1, false},
	"+": {opPlus, 1, -1, false}, "-": {opMinus, 1, -1, false}, "*": {opTimes, 1, -1, false}, "/": {opDivide, 2, -1, false}, "%": {opModulo, 2, -1, false},
	"min": {opMinimum, 1, -1, false}, "max": {opMaximum, 1, -1, false},
	"starts_with": {opPrefix, 0, -1, true}, "ends_with": {opSuffix, 0, -1, true}, "sem_ver": {opSemVer, 0, -1, true}, "fractional": {opFractional, 0, -1, true},
}

// logicParser reads a JsonLogic expression.
type logicParser struct {
	lexer
	nodes int
	timed bool // the time is asked for
}

// compileLogic compiles an expression. timed says whether it depends on the time. The error is an *Error with the code
// CodeTargeting, or one of syntax.
func compileLogic(raw json.RawMessage) (n *logic, timed bool, err error) {
	p := logicParser{lexer: lexer{in: raw}}
	root, err := p.node(0)
	if err == nil {
		err = p.end()
	}
	return &root, p.timed, err
}

func (p *logicParser) refuse(text string, args ...any) error {
	return p.fail(CodeTargeting, fmt.Sprintf(text, args...))
}

func (p *logicParser) node(depth int) (n logic, err error) {
	if p.nodes++; p.nodes > maxLogicNodes || depth > maxLogicDepth {
		return n, p.refuse("more than %d parts, or nested deeper than %d", maxLogicNodes, maxLogicDepth)
	}
	b, err := p.peek()
	if err != nil {
		return n, err
	}
	switch b {
	case '"':
		s, err := p.str()
		return literal(textValue(string(s))), err
	case 't', 'f':
		w, err := p.word()
		return literal(truthValue(string(w) == "true")), err
	case 'n':
		_, err := p.word()
		return literal(logicValue{}), err
	case '[':
		n, err := p.array(depth)
		return n.folded(), err
	case '{':
		return p.operation(depth)
	}
	text, err := p.number(nil)
	if err != nil {
		return n, err
	}
	f, err := strconv.ParseFloat(string(text), 64)
	return literal(numValue(f)), err
}

func literal(v logicValue) logic { return logic{op: opLit, lit: v} }

func (p *logicParser) array(depth int) (logic, error) {
	n := logic{op: opArray}
	err := p.elements(depth+1, func() error {
		arg, err := p.node(depth + 1)
		n.args = append(n.args, arg)
		return err
	})
	return n, err
}

// operation reads {"operator": arguments}. One argument may stand without brackets.
func (p *logicParser) operation(depth int) (n logic, err error) {
	count := 0
	err = p.fields(depth+1, func(key []byte) error {
		if count++; count > 1 {
			return p.refuse("an operation has one operator, here is a second one, %s", short(string(key)))
		}
		n, err = p.operator(string(key), depth)
		return err
	})
	if err == nil && count == 0 {
		err = p.refuse("an operation without an operator")
	}
	return n, err
}

func (p *logicParser) operator(name string, depth int) (n logic, err error) {
	if name == "var" {
		return p.variable(depth)
	}
	a, ok := logicOps[name]
	if !ok {
		return n, p.refuse("operator %s is not supported", short(name))
	}
	b, err := p.peek()
	if err != nil {
		return n, err
	}
	if b == '[' {
		n, err = p.array(depth + 1)
	} else {
		var arg logic
		arg, err = p.node(depth + 1)
		n.args = []logic{arg}
	}
	if err != nil {
		return n, err
	}
	n.op = a.op
	if len(n.args) < a.min || a.max >= 0 && len(n.args) > a.max {
		return n, p.refuse("operator %s with %d arguments", short(name), len(n.args))
	}
	switch n.op {
	case opFractional:
		n.draw = fixedDraw(&n)
	case opSemVer:
		n.than = fixedVersion(&n)
	}
	if n.hopeless() {
		return n, p.refuse("operator %s with an argument that is never a number", short(name))
	}
	if a.custom || !n.constant() {
		return n, nil
	}
	v, ok := new(logicRun).eval(&n)
	if !ok {
		return n, p.refuse("operator %s never has a result here", short(name))
	}
	return literal(v), nil
}

// variable reads what follows "var": a path, or a path and a default in brackets.
func (p *logicParser) variable(depth int) (n logic, err error) {
	arg, err := p.node(depth + 1)
	if err != nil {
		return n, err
	}
	path := arg.lit
	n = logic{op: opVar}
	if arg.op == opArray || path.items != nil {
		parts := arg.args
		if path.items != nil {
			for _, v := range *path.items {
				parts = append(parts, literal(v))
			}
		}
		if len(parts) == 0 || len(parts) > 2 || parts[0].op != opLit {
			return n, p.refuse("var takes a fixed path and at most one default")
		}
		path, n.args = parts[0].lit, parts[1:]
	}
	text, ok := path.text()
	if arg.op != opLit && arg.op != opArray || !ok || path.kind == kindNone || text == "" || strings.Contains(text, "../") {
		return n, p.refuse("var takes a fixed path that is not empty and does not climb")
	}
	n.path = splitPath(text)
	n.simple = len(n.path) == 1 && len(n.args) == 0 && n.path[0] != "$flagd"
	p.timed = p.timed || len(n.path) > 1 && n.path[0] == "$flagd" && n.path[1] == "timestamp"
	return n, nil
}

// splitPath splits at dots; a backslash keeps the dot, slash or backslash that follows.
func splitPath(s string) (parts []string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '\\' && i+1 < len(s) && strings.IndexByte(`./\`, s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		case ch == '.':
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteByte(ch)
		}
	}
	if len(parts) != len(s) {
		parts = append(parts, b.String())
	}
	return parts
}

// hopeless says whether arithmetic has a literal argument that makes it fail for every context.
func (n *logic) hopeless() bool {
	for i := range n.args {
		arg := &n.args[i]
		switch {
		case n.op < opPlus || n.op > opModulo:
		case arg.op == opArray, arg.op == opLit && (arg.lit.isObject() || math.IsNaN(arg.lit.number())):
			return true
		case n.op == opDivide && i > 0 && arg.op == opLit && arg.lit.number() == 0:
			return true
		}
	}
	return false
}

// constant says whether all arguments are literals.
func (n *logic) constant() bool {
	for i := range n.args {
		if n.args[i].op != opLit {
			return false
		}
	}
	return true
}

// folded returns a literal for an array of literals.
func (n logic) folded() logic {
	if !n.constant() {
		return n
	}
	items := make([]logicValue, len(n.args))
	for i := range n.args {
		items[i] = n.args[i].lit
	}
	return literal(logicValue{kind: kindList, items: &items})
}
