package flag

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a condition's text.
const (
	maxConditionText = 64 << 10 // bytes
	maxParentheses   = 4 * MaxDepth
)

// ParseError is a mistake in a condition's text, at a byte offset.
type ParseError struct {
	Offset int
	Text   string
}

func (e *ParseError) Error() string { return fmt.Sprintf("condition at byte %d: %s", e.Offset, e.Text) }

// ParseCondition reads the language in which people write conditions:
//
//	true                                     everybody
//	segment:beta                             members of a segment
//	region == 'eu'    beta != true           string, number, boolean; other types never match
//	age >= 18         price < 2.5e3          numbers
//	country in ['fr', 'de']    not-in        lists of strings
//	email ends-with '@example.com'           starts-with, ends-with, contains
//	app.version semver-ge '1.4.0'            semver-eq, -lt, -le, -gt, -ge
//	plan exists                              the attribute is there, whatever its value
//	!(a) && (b || c)                         ! binds closest, then &&, then ||
//
// Strings stand in single or double quotes; \ escapes the quote, itself, n, r, t, and \xHH a byte below 80. Attribute
// names are letters, digits, '_', '.' and '-'; others stand in backticks. `targetingKey` is the unit itself. Errors are
// *ParseError; whether segments exist is seen only by Compile.
func ParseCondition(text string) (*Condition, error) {
	p := &parser{in: text}
	switch {
	case len(text) > maxConditionText:
		return nil, p.fail(0, fmt.Sprintf("%d bytes are more than %d", len(text), maxConditionText))
	case !utf8.ValidString(text):
		return nil, p.fail(invalidAt(text), "not valid UTF-8")
	}
	c, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); p.pos < len(p.in) {
		return nil, p.fail(p.pos, "expected && or || or the end")
	}
	if d := c.depth(); d > MaxDepth {
		return nil, p.fail(0, fmt.Sprintf("nested %d deep, more than %d", d, MaxDepth))
	}
	return &c, nil
}

func invalidAt(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return len(s)
}

// depth is the nesting of the condition itself; a segment counts 1.
func (c *Condition) depth() int {
	d := 0
	for i := range c.All {
		d = max(d, c.All[i].depth())
	}
	for i := range c.Any {
		d = max(d, c.Any[i].depth())
	}
	if c.Not != nil {
		d = max(d, c.Not.depth())
	}
	return d + 1
}

// parser is a recursive descent parser over the text.
type parser struct {
	in   string
	pos  int
	open int // parentheses and negations around pos
}

func (p *parser) fail(at int, text string) error { return &ParseError{Offset: at, Text: text} }

func (p *parser) space() {
	for p.pos < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.pos]) >= 0 {
		p.pos++
	}
}

// take reads token if it comes next.
func (p *parser) take(token string) bool {
	p.space()
	if !strings.HasPrefix(p.in[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	return true
}

func (p *parser) or() (Condition, error) {
	list, err := p.list("||", p.and)
	if err != nil || len(list) == 1 {
		return first(list), err
	}
	return Condition{Any: list}, nil
}

func (p *parser) and() (Condition, error) {
	list, err := p.list("&&", p.unary)
	if err != nil || len(list) == 1 {
		return first(list), err
	}
	return Condition{All: list}, nil
}

func first(list []Condition) Condition {
	if len(list) == 0 {
		return Condition{}
	}
	return list[0]
}

func (p *parser) list(sep string, item func() (Condition, error)) ([]Condition, error) {
	var list []Condition
	for {
		c, err := item()
		if err != nil {
			return nil, err
		}
		list = append(list, c)
		if !p.take(sep) {
			return list, nil
		}
	}
}

func (p *parser) unary() (Condition, error) {
	if p.open++; p.open > maxParentheses {
		return Condition{}, p.fail(p.pos, fmt.Sprintf("more than %d parentheses and negations around this", maxParentheses))
	}
	defer func() { p.open-- }()
	switch {
	case p.take("!"):
		c, err := p.unary()
		return Condition{Not: &c}, err
	case p.take("("):
		at := p.pos - 1
		c, err := p.or()
		if err == nil && !p.take(")") {
			err = p.fail(p.pos, fmt.Sprintf("expected ) for the ( at byte %d", at))
		}
		return c, err
	}
	return p.primary()
}

func (p *parser) primary() (Condition, error) {
	p.space()
	at := p.pos
	name, err := p.name()
	if err != nil {
		return Condition{}, err
	}
	bare := p.in[at] != '`'
	switch {
	case bare && name == "true":
		return Always(), nil
	case bare && name == "segment" && p.pos < len(p.in) && p.in[p.pos] == ':':
		p.pos++
		return p.segment()
	}
	return p.comparison(name, at)
}

func (p *parser) segment() (Condition, error) {
	at := p.pos
	for p.pos < len(p.in) && (identByte(p.in[p.pos], false)) {
		p.pos++
	}
	name := p.in[at:p.pos]
	if !isSlug(name) {
		return Condition{}, p.fail(at, fmt.Sprintf("%s is not the name of a segment (%s)", short(name), slugForm))
	}
	return Condition{Segment: name}, nil
}

// name reads an attribute name, in backticks or bare.
func (p *parser) name() (string, error) {
	at := p.pos
	if p.pos == len(p.in) {
		return "", p.fail(at, "expected a condition, found the end")
	}
	if p.in[p.pos] == '`' {
		return p.quoted()
	}
	for p.pos < len(p.in) && identByte(p.in[p.pos], p.pos == at) {
		p.pos++
	}
	if p.pos == at {
		r, _ := utf8.DecodeRuneInString(p.in[at:])
		return "", p.fail(at, fmt.Sprintf("expected an attribute, segment:NAME, true, ! or (, found %q", r))
	}
	return p.in[at:p.pos], nil
}

func (p *parser) comparison(name string, at int) (Condition, error) {
	o, err := p.operator()
	if err != nil {
		return Condition{}, err
	}
	c := &Compare{Name: name, Op: o.name}
	p.space()
	valueAt := p.pos
	switch o.operand {
	case operandNone:
	case operandList:
		c.Values, err = p.values()
	default:
		c.Value, err = p.scalar()
	}
	if err != nil {
		return Condition{}, err
	}
	if code, text := checkCompare(c); code == CodeAttrName {
		return Condition{}, p.fail(at, text)
	} else if code != "" {
		return Condition{}, p.fail(valueAt, text)
	}
	return Condition{Attr: c}, nil
}

func (p *parser) operator() (operator, error) {
	p.space()
	at := p.pos
	for p.pos < len(p.in) && identByte(p.in[p.pos], p.pos == at) {
		p.pos++
	}
	if word := p.in[at:p.pos]; word != "" {
		for _, o := range operators {
			if o.symbol == word {
				return o, nil
			}
		}
	} else {
		for _, o := range operators {
			if strings.HasPrefix(p.in[at:], o.symbol) {
				p.pos += len(o.symbol)
				return o, nil
			}
		}
	}
	p.pos = at
	return operator{}, p.fail(at, "expected ==, !=, <, <=, >, >=, in, not-in, starts-with, ends-with, contains, exists or semver-...")
}

func (p *parser) values() ([]string, error) {
	if !p.take("[") {
		return nil, p.fail(p.pos, "expected [ and a list of strings")
	}
	var list []string
	for {
		p.space()
		s, err := p.quoted()
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		if p.take("]") {
			return list, nil
		}
		if !p.take(",") {
			return nil, p.fail(p.pos, "expected , or ]")
		}
	}
}

// scalar reads a string, a number or a boolean and returns it as canonical JSON.
func (p *parser) scalar() (json.RawMessage, error) {
	at := p.pos
	if at == len(p.in) {
		return nil, p.fail(at, "expected a value, found the end")
	}
	if b := p.in[at]; b == '\'' || b == '"' {
		s, err := p.quoted()
		return appendString(nil, []byte(s)), err
	}
	for p.pos < len(p.in) && (identByte(p.in[p.pos], false) || p.in[p.pos] == '+') {
		p.pos++
	}
	word := p.in[at:p.pos]
	if word == "true" || word == "false" {
		return json.RawMessage(word), nil
	}
	raw, err := CanonicalRaw(json.RawMessage(word))
	if err != nil || word == "null" {
		p.pos = at
		return nil, p.fail(at, "expected a string in quotes, a number, true or false")
	}
	return raw, nil
}

// quoted reads a text in ', " or ` quotes.
func (p *parser) quoted() (string, error) {
	at := p.pos
	if at == len(p.in) || strings.IndexByte("'\"`", p.in[at]) < 0 {
		return "", p.fail(at, "expected a string in quotes")
	}
	quote := p.in[at]
	var b strings.Builder
	for p.pos++; p.pos < len(p.in); p.pos++ {
		switch ch := p.in[p.pos]; ch {
		case quote:
			p.pos++
			return b.String(), nil
		case '\\':
			ch, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteByte(ch)
		default:
			b.WriteByte(ch)
		}
	}
	return "", p.fail(at, "the quote that opens here is never closed")
}

// escape reads an escape sequence up to its last byte.
func (p *parser) escape() (byte, error) {
	rest := p.in[p.pos+1:]
	if rest == "" {
		return 0, p.fail(p.pos, "unfinished escape")
	}
	switch ch := rest[0]; ch {
	case '\'', '"', '`', '\\':
		p.pos++
		return ch, nil
	case 'n', 'r', 't':
		p.pos++
		return map[byte]byte{'n': '\n', 'r': '\r', 't': '\t'}[ch], nil
	case 'x':
		if len(rest) >= 3 && rest[1] >= '0' && rest[1] <= '7' {
			if lo := strings.IndexByte(hexDigits, rest[2]|0x20); lo >= 0 && rest[2] > 0x1f {
				p.pos += 3
				return (rest[1]-'0')<<4 | byte(lo), nil
			}
		}
	}
	return 0, p.fail(p.pos, `expected \', \", \\, \n, \r, \t or \xHH`)
}
