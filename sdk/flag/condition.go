package flag

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of conditions.
const (
	MaxDepth     = 16      // nesting of all, any, not and segments, with the segments' own conditions inserted
	MaxCost      = 10_000  // comparisons of one condition in the worst case, with segments inserted
	MaxFlagCost  = 200_000 // comparisons of one flag's rules, cohorts, exceptions and exclusions together
	MaxValues    = 10_000  // values of in and not-in
	maxTextBytes = 4 << 10 // of one text operand
	maxNameBytes = 128     // of an attribute's name
)

// Always matches everybody.
func Always() Condition { return Condition{Always: true} }

// kinds returns how many of the condition's fields are set.
func (c *Condition) kinds() (n int) {
	for _, set := range [6]bool{c.All != nil, c.Any != nil, c.Not != nil, c.Segment != "", c.Attr != nil, c.Always} {
		if set {
			n++
		}
	}
	return n
}

// scalarOf reads an operand: a JSON string, number or boolean.
func scalarOf(raw json.RawMessage) (v scalar, ok bool) {
	l := lexer{in: raw}
	b, err := l.peek()
	if err != nil {
		return v, false
	}
	switch b {
	case '"':
		s, err := l.str()
		v = scalar{kind: kindStr, str: string(s)}
		return v, err == nil && l.end() == nil
	case 't', 'f':
		w, err := l.word()
		v = scalar{kind: kindBool, truth: string(w) == "true"}
		return v, err == nil && l.end() == nil
	}
	text, err := l.number(nil)
	if err != nil || l.end() != nil {
		return v, false
	}
	v.kind = kindNum
	v.num, err = strconv.ParseFloat(string(text), 64)
	if err == nil && v.num == math.Trunc(v.num) && math.Abs(v.num) < 1<<63 {
		v.int, v.whole = int64(v.num), true
	}
	return v, err == nil
}

// checkCompare returns what is wrong with a comparison: a code and a text, "" when nothing is.
func checkCompare(c *Compare) (code, text string) {
	if !printable(c.Name, maxNameBytes) {
		return CodeAttrName, fmt.Sprintf("attribute name %s is not 1 to %d bytes of printable text", short(c.Name), maxNameBytes)
	}
	o, ok := operatorNamed(c.Op)
	if !ok {
		return CodeAttrOp, fmt.Sprintf("there is no operator %s", short(c.Op))
	}
	if o.operand == operandList {
		return checkValues(c)
	}
	if len(c.Values) > 0 {
		return CodeAttrValue, fmt.Sprintf("operator %s takes no list of values", c.Op)
	}
	if o.operand == operandNone {
		if len(c.Value) > 0 {
			return CodeAttrValue, fmt.Sprintf("operator %s takes no value", c.Op)
		}
		return "", ""
	}
	v, ok := scalarOf(c.Value)
	if !ok {
		return CodeAttrValue, fmt.Sprintf("value %s is not a string, a number or a boolean", short(string(c.Value)))
	}
	return checkScalar(o, v)
}

func checkScalar(o operator, v scalar) (code, text string) {
	switch {
	case o.operand == operandNumber && v.kind != kindNum:
		return CodeAttrValue, fmt.Sprintf("operator %s compares numbers only", o.name)
	case o.operand >= operandText && v.kind != kindStr:
		return CodeAttrValue, fmt.Sprintf("operator %s compares texts only", o.name)
	case len(v.str) > maxTextBytes:
		return CodeLimitValues, fmt.Sprintf("value has %d bytes, more than %d", len(v.str), maxTextBytes)
	}
	if o.operand == operandVersion {
		if _, ok := parseSemver(v.str); !ok {
			return CodeSemver, fmt.Sprintf("value %s is not a semantic version like 1.4.0", short(v.str))
		}
	}
	return "", ""
}

func checkValues(c *Compare) (code, text string) {
	switch {
	case len(c.Value) > 0:
		return CodeAttrValue, fmt.Sprintf("operator %s takes values, not value", c.Op)
	case len(c.Values) == 0:
		return CodeAttrValue, fmt.Sprintf("operator %s needs at least one value", c.Op)
	case len(c.Values) > MaxValues:
		return CodeLimitValues, fmt.Sprintf("operator %s has %d values, more than %d", c.Op, len(c.Values), MaxValues)
	}
	for i, s := range c.Values {
		if len(s) > maxTextBytes || !utf8.ValidString(s) {
			return CodeAttrValue, fmt.Sprintf("values[%d] has more than %d bytes or is not UTF-8", i, maxTextBytes)
		}
	}
	return "", ""
}

// printable says whether s is 1 to limit bytes of UTF-8 without control, format and line-breaking characters: a bidi
// override in a name would make it read as another one.
func printable(s string, limit int) bool {
	if s == "" || len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return r != ' ' && !unicode.IsGraphic(r) || unicode.Is(unicode.Zs, r) && r != ' '
	}) < 0
}

// String returns the condition in the language of ParseCondition. Parsing it gives a condition that matches the same
// contexts; it is the same condition if it came from ParseCondition.
func (c Condition) String() string {
	var b strings.Builder
	c.write(&b)
	return b.String()
}

func (c Condition) write(b *strings.Builder) {
	switch {
	case len(c.All) > 0:
		writeJoined(b, c.All, " && ")
	case len(c.Any) > 0:
		writeJoined(b, c.Any, " || ")
	case c.Not != nil:
		b.WriteByte('!')
		c.Not.writeGrouped(b, c.Not.Attr != nil || len(c.Not.All)+len(c.Not.Any) > 0)
	case c.Segment != "":
		b.WriteString("segment:" + c.Segment)
	case c.Attr != nil:
		c.Attr.write(b)
	case c.Always:
		b.WriteString("true")
	default:
		b.WriteString("!true") // no field is set: such a condition is refused everywhere, and nobody matches it
	}
}

func writeJoined(b *strings.Builder, list []Condition, sep string) {
	for i, c := range list {
		if i > 0 {
			b.WriteString(sep)
		}
		// A conjunction inside a disjunction needs no parentheses, but a mixed line is read wrongly by people.
		c.writeGrouped(b, len(c.All)+len(c.Any) > 0)
	}
}

func (c Condition) writeGrouped(b *strings.Builder, group bool) {
	if group {
		b.WriteByte('(')
	}
	c.write(b)
	if group {
		b.WriteByte(')')
	}
}

func (c *Compare) write(b *strings.Builder) {
	if isIdentifier(c.Name) {
		b.WriteString(c.Name)
	} else {
		writeQuoted(b, c.Name, '`')
	}
	symbol := c.Op
	o, _ := operatorNamed(c.Op)
	if o.symbol != "" {
		symbol = o.symbol
	}
	b.WriteString(" " + symbol)
	switch {
	case o.operand == operandNone:
	case o.operand == operandList:
		b.WriteString(" [")
		for i, s := range c.Values {
			if i > 0 {
				b.WriteString(", ")
			}
			writeQuoted(b, s, '\'')
		}
		b.WriteByte(']')
	default:
		b.WriteByte(' ')
		writeScalar(b, c.Value)
	}
}

func writeScalar(b *strings.Builder, raw json.RawMessage) {
	v, ok := scalarOf(raw)
	switch {
	case ok && v.kind == kindStr:
		writeQuoted(b, v.str, '\'')
	case ok && v.kind == kindNum:
		b.Write(appendNumber(nil, v.num))
	default:
		b.Write(raw)
	}
}

// writeQuoted writes s between quotes; the quote, the backslash and control characters are escaped.
func writeQuoted(b *strings.Builder, s string, quote byte) {
	b.WriteByte(quote)
	for i := range len(s) {
		switch ch := s[i]; {
		case ch == quote || ch == '\\':
			b.WriteByte('\\')
			b.WriteByte(ch)
		case ch < 0x20 || ch == 0x7f:
			fmt.Fprintf(b, `\x%02x`, ch)
		default:
			b.WriteByte(ch)
		}
	}
	b.WriteByte(quote)
}

// isIdentifier says whether an attribute name can stand without backticks.
func isIdentifier(s string) bool {
	if s == "" || s == "true" {
		return false
	}
	for i := range len(s) {
		if !identByte(s[i], i == 0) {
			return false
		}
	}
	return true
}

func identByte(b byte, first bool) bool {
	switch {
	case b|0x20 >= 'a' && b|0x20 <= 'z' || b == '_':
		return true
	case first:
		return false
	}
	return b >= '0' && b <= '9' || b == '.' || b == '-'
}
