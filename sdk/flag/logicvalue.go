package flag

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// logicValue is a JavaScript value as JsonLogic knows it: kindNone is null; kindList an array, of the logic (items) or of
// the context (attr); kindJSON an object or array of the context, as text.
type logicValue struct {
	kind  attrKind
	truth bool
	num   float64
	str   string
	attr  *Attr
	items *[]logicValue
}

func textValue(s string) logicValue { return logicValue{kind: kindStr, str: s} }
func truthValue(b bool) logicValue  { return logicValue{kind: kindBool, truth: b} }
func numValue(f float64) logicValue { return logicValue{kind: kindNum, num: f} }

// valueOf returns an attribute's value.
func valueOf(a *Attr) logicValue {
	switch a.kind {
	case kindStr:
		return textValue(a.str)
	case kindNum:
		return numValue(math.Float64frombits(a.bits))
	case kindInt:
		return numValue(float64(int64(a.bits)))
	case kindBool:
		return truthValue(a.bits == 1)
	case kindList:
		return logicValue{kind: kindList, attr: a}
	case kindJSON:
		return rawValue(a.str)
	}
	return logicValue{}
}

// rawValue reads JSON that was checked before.
func rawValue(raw string) logicValue {
	switch raw[0] {
	case '{', '[':
		return logicValue{kind: kindJSON, str: raw}
	case 'n':
		return logicValue{}
	}
	s, ok := scalarOf([]byte(raw))
	switch {
	case ok && s.kind == kindStr:
		return textValue(s.str)
	case ok && s.kind == kindBool:
		return truthValue(s.truth)
	case ok:
		return numValue(s.num)
	}
	f, _ := strconv.ParseFloat(raw, 64) // an integer beyond 2^53: rounded, as JavaScript does
	return numValue(f)
}

func (v *logicValue) isArray() bool {
	return v.kind == kindList || v.kind == kindJSON && v.str[0] == '['
}

func (v *logicValue) isObject() bool { return v.kind == kindList || v.kind == kindJSON }

// len is the number of elements of an array.
func (v *logicValue) len() (n int) {
	v.each(func(logicValue) bool { n++; return true })
	return n
}

// each calls f with each element of an array until it returns false.
func (v *logicValue) each(f func(logicValue) bool) {
	switch {
	case v.items != nil:
		for _, e := range *v.items {
			if !f(e) {
				return
			}
		}
	case v.attr != nil:
		for _, s := range v.attr.list {
			if !f(textValue(s)) {
				return
			}
		}
	case v.kind == kindJSON && v.str[0] == '[':
		for _, raw := range jsonElements(v.str) {
			if !f(rawValue(raw)) {
				return
			}
		}
	}
}

// jsonElements splits an array that was checked before.
func jsonElements(text string) (parts []string) {
	p := contextParser{lexer: lexer{in: []byte(text)}, text: text}
	_ = p.elements(1, func() error { // it was read before
		if _, err := p.peek(); err != nil {
			return err
		}
		start := p.pos
		err := p.skip(1)
		parts = append(parts, text[start:p.pos])
		return err
	})
	return parts
}

// jsonMember returns a member of an object that was checked before; of two with one key the last.
func jsonMember(text, name string) (raw string, ok bool) {
	p := contextParser{lexer: lexer{in: []byte(text)}, text: text}
	_ = p.fields(1, func(key []byte) error { // it was read before
		if _, err := p.peek(); err != nil {
			return err
		}
		start := p.pos
		err := p.skip(1)
		if string(key) == name {
			raw, ok = text[start:p.pos], true
		}
		return err
	})
	return raw, ok
}

// member descends one step of a path; null where there is nothing.
func (v *logicValue) member(name string) logicValue {
	switch {
	case v.kind == kindJSON && v.str[0] == '{':
		if raw, ok := jsonMember(v.str, name); ok {
			return rawValue(raw)
		}
	case v.isArray():
		if name == "length" {
			return numValue(float64(v.len()))
		}
		return v.index(name)
	case v.kind == kindStr:
		units := utf16.Encode([]rune(v.str))
		if name == "length" {
			return numValue(float64(len(units)))
		}
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(units) && strconv.Itoa(i) == name {
			return textValue(string(utf16.Decode(units[i : i+1])))
		}
	}
	return logicValue{}
}

func (v *logicValue) index(name string) (found logicValue) {
	want, err := strconv.Atoi(name)
	if err != nil || want < 0 || strconv.Itoa(want) != name {
		return found
	}
	i := 0
	v.each(func(e logicValue) bool {
		if i == want {
			found = e
		}
		i++
		return i <= want
	})
	return found
}

// truthy is JsonLogic's: empty arrays and objects are false.
func (v *logicValue) truthy() bool {
	switch v.kind {
	case kindStr:
		return v.str != ""
	case kindNum:
		return v.num != 0 && !math.IsNaN(v.num)
	case kindBool:
		return v.truth
	case kindList:
		return v.len() > 0
	case kindJSON:
		return strings.Trim(v.str, "[]{} \t\r\n") != ""
	}
	return false
}

// number is JavaScript's Number(v); NaN for what is none. An object is NaN to every operator.
func (v *logicValue) number() float64 {
	switch v.kind {
	case kindNone:
		return 0
	case kindNum:
		return v.num
	case kindBool:
		if v.truth {
			return 1
		}
		return 0
	case kindStr:
		return textNumber(v.str)
	}
	s, _ := v.text()
	return textNumber(s)
}

// textNumber is JavaScript's Number of a string.
func textNumber(s string) float64 {
	s = strings.TrimFunc(s, isJSSpace)
	if s == "" {
		return 0
	}
	if len(s) > 2 && s[0] == '0' && strings.IndexByte("xXoObB", s[1]) >= 0 {
		u, err := strconv.ParseUint(strings.ToLower(s), 0, 64)
		if err != nil || strings.Contains(s, "_") {
			return math.NaN()
		}
		return float64(u)
	}
	switch s {
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	for i := range len(s) {
		if strings.IndexByte("0123456789+-.eE", s[i]) < 0 {
			return math.NaN()
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return math.NaN()
	}
	return f
}

func isJSSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0xfeff, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return r >= 0x2000 && r <= 0x200a
}

// text is JavaScript's String(v); !ok for null.
func (v *logicValue) text() (s string, ok bool) {
	switch v.kind {
	case kindNone:
		return "null", false
	case kindStr:
		return v.str, true
	case kindBool:
		return strconv.FormatBool(v.truth), true
	case kindNum:
		return numberText(v.num), true
	}
	if !v.isArray() {
		return "[object Object]", true
	}
	var parts []string
	v.each(func(e logicValue) bool {
		t, ok := e.text()
		if !ok {
			t = ""
		}
		parts = append(parts, t)
		return true
	})
	return strings.Join(parts, ","), true
}

func numberText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return string(appendNumber(nil, f))
}

// same is JavaScript's ===, but that two arrays or objects are never the same.
func (v *logicValue) same(w *logicValue) bool {
	if v.kind != w.kind {
		return false
	}
	switch v.kind {
	case kindNone:
		return true
	case kindStr:
		return v.str == w.str
	case kindBool:
		return v.truth == w.truth
	case kindNum:
		return v.num == w.num
	}
	return false
}

// looselyEqual is JavaScript's ==.
func (v *logicValue) looselyEqual(w *logicValue) bool {
	switch {
	case v.kind == w.kind && !v.isObject():
		return v.same(w)
	case v.kind == kindNone || w.kind == kindNone:
		return v.kind == w.kind
	case v.isObject() && w.isObject():
		return false
	case v.isObject() || w.isObject():
		a, _ := v.text()
		b, _ := w.text()
		if v.kind == kindStr || w.kind == kindStr {
			return a == b
		}
	}
	return v.number() == w.number()
}

// less compares as JavaScript's relational operators do: texts by UTF-16 code units, all else as numbers. !ok with NaN.
func (v *logicValue) less(w *logicValue) (order int, ok bool) {
	a, b := v.kind == kindStr || v.isObject(), w.kind == kindStr || w.isObject()
	if a && b {
		x, _ := v.text()
		y, _ := w.text()
		if utf8.ValidString(x) && utf8.ValidString(y) {
			return compareUTF16([]byte(x), []byte(y)), true
		}
		return strings.Compare(x, y), true
	}
	f, g := v.number(), w.number()
	return orderOf(f, g), !math.IsNaN(f) && !math.IsNaN(g)
}
