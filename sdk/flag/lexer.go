package flag

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// lexer reads JSON (RFC 8259) from left to right. Canonical forms and strict decoding share it, so both refuse the same
// texts. encoding/json is not used for reading: it takes the last of two equal keys, folds the case of names, and
// replaces invalid UTF-8, all without a word.
type lexer struct {
	in  []byte
	pos int
}

func (l *lexer) fail(code, text string) error {
	return &Error{Code: code, Text: fmt.Sprintf("json at byte %d: %s", l.pos, text)}
}

func (l *lexer) space() {
	for l.pos < len(l.in) {
		switch l.in[l.pos] {
		case ' ', '\t', '\n', '\r':
			l.pos++
		default:
			return
		}
	}
}

// peek skips space and returns the next byte without reading it.
func (l *lexer) peek() (byte, error) {
	l.space()
	if l.pos == len(l.in) {
		return 0, l.fail(CodeJSONSyntax, "unexpected end")
	}
	return l.in[l.pos], nil
}

// end reads trailing space and refuses anything else.
func (l *lexer) end() error {
	l.space()
	if l.pos < len(l.in) {
		return l.fail(CodeJSONSyntax, "something follows the value")
	}
	return nil
}

// word reads true, false or null.
func (l *lexer) word() ([]byte, error) {
	for _, w := range [3]string{"true", "false", "null"} {
		if bytes.HasPrefix(l.in[l.pos:], []byte(w)) {
			l.pos += len(w)
			return l.in[l.pos-len(w) : l.pos], nil
		}
	}
	return nil, l.fail(CodeJSONSyntax, "not a value")
}

// elements reads an array and calls f at the start of each element; f must read it. depth counts this array.
func (l *lexer) elements(depth int, f func() error) error {
	return l.sequence(depth, ']', f)
}

// fields reads an object and calls f with each decoded key, placed at the value; f must read that. Keys may repeat.
func (l *lexer) fields(depth int, f func(key []byte) error) error {
	return l.sequence(depth, '}', func() error {
		if b, err := l.peek(); err != nil || b != '"' {
			return l.fail(CodeJSONSyntax, "a key in double quotes must stand here")
		}
		key, err := l.str()
		if err != nil {
			return err
		}
		if b, err := l.peek(); err != nil || b != ':' {
			return l.fail(CodeJSONSyntax, "a colon must follow the key")
		}
		l.pos++
		return f(key)
	})
}

// sequence reads a list up to its closing bracket and calls f for each item.
func (l *lexer) sequence(depth int, closing byte, f func() error) error {
	if depth > maxJSONDepth {
		return l.fail(CodeJSONDepth, fmt.Sprintf("nested deeper than %d", maxJSONDepth))
	}
	l.pos++
	b, err := l.peek()
	if err != nil {
		return err
	}
	if b == closing {
		l.pos++
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		b, err := l.peek()
		switch {
		case err != nil:
			return err
		case b == closing:
			l.pos++
			return nil
		case b != ',':
			return l.fail(CodeJSONSyntax, fmt.Sprintf("a comma or %q must stand here", closing))
		}
		l.pos++
	}
}

// str reads a string and returns it decoded: a piece of the input when nothing in it is escaped.
func (l *lexer) str() ([]byte, error) {
	l.pos++
	start := l.pos
	for i := start; i < len(l.in); i++ {
		switch b := l.in[i]; {
		case b == '"':
			s := l.in[start:i]
			if !utf8.Valid(s) {
				return nil, l.fail(CodeUTF8, "the string that starts here is not valid UTF-8")
			}
			l.pos = i + 1
			return s, nil
		case b == '\\':
			return l.escaped(i)
		case b < 0x20:
			l.pos = i
			return nil, l.fail(CodeJSONSyntax, "control character in a string")
		}
	}
	l.pos = len(l.in)
	return nil, l.fail(CodeJSONSyntax, "unexpected end of a string")
}

// escaped reads on a string whose first backslash is at in[at].
func (l *lexer) escaped(at int) ([]byte, error) {
	s := append([]byte(nil), l.in[l.pos:at]...)
	for l.pos = at; l.pos < len(l.in); {
		switch b := l.in[l.pos]; {
		case b == '"':
			if !utf8.Valid(s) {
				return nil, l.fail(CodeUTF8, "the string that ends here is not valid UTF-8")
			}
			l.pos++
			return s, nil
		case b == '\\':
			var err error
			if s, err = l.escape(s); err != nil {
				return nil, err
			}
		case b < 0x20:
			return nil, l.fail(CodeJSONSyntax, "control character in a string")
		default:
			s = append(s, b)
			l.pos++
		}
	}
	return nil, l.fail(CodeJSONSyntax, "unexpected end of a string")
}

// escape reads one escape sequence and appends what it stands for.
func (l *lexer) escape(s []byte) ([]byte, error) {
	if l.pos+1 >= len(l.in) {
		return nil, l.fail(CodeJSONSyntax, "unexpected end of a string")
	}
	b := l.in[l.pos+1]
	if b == 'u' {
		r, err := l.escapedRune()
		return utf8.AppendRune(s, r), err
	}
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	i := bytes.IndexByte([]byte(from), b)
	if i < 0 {
		return nil, l.fail(CodeJSONSyntax, "unknown escape")
	}
	l.pos += 2
	return append(s, to[i]), nil
}

// escapedRune reads \uXXXX, or two of them that make a surrogate pair.
func (l *lexer) escapedRune() (rune, error) {
	r, ok := l.hex4(l.pos)
	if !ok {
		return 0, l.fail(CodeJSONSyntax, `four hexadecimal digits must follow \u`)
	}
	if !utf16.IsSurrogate(r) {
		l.pos += 6
		return r, nil
	}
	low, ok := l.hex4(l.pos + 6)
	pair := utf16.DecodeRune(r, low)
	if !ok || pair == utf8.RuneError {
		return 0, l.fail(CodeUTF8, "half a surrogate pair")
	}
	l.pos += 12
	return pair, nil
}

// hex4 returns the code unit of the sequence \uXXXX at in[at].
func (l *lexer) hex4(at int) (rune, bool) {
	if at+6 > len(l.in) || l.in[at] != '\\' || l.in[at+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, b := range l.in[at+2 : at+6] {
		switch {
		case b >= '0' && b <= '9':
			r = r<<4 | rune(b-'0')
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			r = r<<4 | rune(b|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// number reads a number and appends its canonical form.
func (l *lexer) number(dst []byte) ([]byte, error) {
	text, integer, err := l.numberText()
	if err != nil {
		return dst, err
	}
	if integer && len(text) <= 15 && string(text) != "-0" {
		return append(dst, text...), nil // fewer than 2^53: prints as it stands
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(f, 0) {
		return dst, l.fail(CodeJSONNumber, "the number that ends here is beyond a double")
	}
	start := len(dst)
	dst = appendNumber(dst, f)
	if integer && math.Abs(f) >= 1<<53 && string(dst[start:]) != string(text) {
		return dst, l.fail(CodeJSONNumber, "the integer that ends here would be rounded: write it as a string")
	}
	return dst, nil
}

// numberText reads a number by the grammar of JSON; integer means no fraction and no exponent.
func (l *lexer) numberText() (text []byte, integer bool, err error) {
	start := l.pos
	if l.at('-') {
		l.pos++
	}
	if l.at('0') {
		l.pos++
	} else if l.digits() == 0 {
		return nil, false, l.fail(CodeJSONSyntax, "not a value")
	}
	integer = true
	if l.at('.') {
		l.pos++
		integer = false
		if l.digits() == 0 {
			return nil, false, l.fail(CodeJSONSyntax, "a digit must follow the point")
		}
	}
	if l.at('e') || l.at('E') {
		l.pos++
		integer = false
		if l.at('+') || l.at('-') {
			l.pos++
		}
		if l.digits() == 0 {
			return nil, false, l.fail(CodeJSONSyntax, "a digit must follow the exponent sign")
		}
	}
	return l.in[start:l.pos], integer, nil
}

func (l *lexer) at(b byte) bool { return l.pos < len(l.in) && l.in[l.pos] == b }

func (l *lexer) digits() (n int) {
	for l.pos < len(l.in) && l.in[l.pos] >= '0' && l.in[l.pos] <= '9' {
		l.pos++
		n++
	}
	return n
}

// appendNumber appends f as ECMAScript's Number::toString does (ECMA-262, 6.1.6.1.20): the shortest digits that read back
// as f, in decimals from 1e-6 up to below 1e21, else with an exponent. f is finite; -0 prints as 0.
func appendNumber(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0')
	}
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go writes at least two digits of exponent, ECMAScript one.
	if i := start + bytes.IndexByte(dst[start:], 'e') + 2; dst[i] == '0' {
		dst = append(dst[:i], dst[i+1:]...)
	}
	return dst
}
