package flag

import (
	"fmt"
	"math"
	"strconv"
)

// ParseRequest reads the body of an evaluation request, {"context": {...}}, as OFREP sends it; other members are ignored.
// The error is an *Error: CodeContext when there is no context or it is no object, else as ParseContext.
// body is neither kept nor changed.
func ParseRequest(body []byte) (*Context, error) {
	p := contextParser{lexer: lexer{in: body}, text: string(body)}
	if b, err := p.peek(); err != nil || b != '{' {
		return nil, p.orForm(err, "the body must be an object with the member context")
	}
	var ctx *Context
	err := p.fields(1, func(key []byte) (err error) {
		if string(key) != "context" {
			return p.skip(1)
		}
		if ctx != nil {
			return p.fail(CodeJSONKey, "context stands twice")
		}
		ctx, err = p.context(2)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case ctx == nil:
		return nil, p.fail(CodeContext, "the member context is missing")
	}
	return ctx, p.end()
}

// ParseContext reads an evaluation context from a JSON object: targetingKey (a string) is the unit, every other member an
// attribute. Strings, booleans and numbers become typed attributes (whole numbers within int64 exactly), arrays of
// strings lists; null, objects and other arrays are kept for targeting rules that look into them and match no comparison.
//
// The error is an *Error: CodeContext for what is no object or has a targetingKey of another type, CodeContextSize beyond
// the limits of a Context, CodeJSONDepth, and the codes of syntax. Nothing is coerced or dropped without a word.
func ParseContext(raw []byte) (*Context, error) {
	p := contextParser{lexer: lexer{in: raw}, text: string(raw)}
	ctx, err := p.context(1)
	if err != nil {
		return nil, err
	}
	return ctx, p.end()
}

// contextParser reads from in; text is the same input, so that strings are pieces of it and need no memory of their own.
type contextParser struct {
	lexer
	text string
}

func (p *contextParser) orForm(err error, text string) error {
	if err != nil {
		return err
	}
	return p.fail(CodeContext, text)
}

func (p *contextParser) context(depth int) (*Context, error) {
	if b, err := p.peek(); err != nil || b != '{' {
		return nil, p.orForm(err, "the context must be an object")
	}
	key := ""
	attrs := make([]Attr, 0, 8)
	err := p.fields(depth, func(name []byte) error {
		if string(name) == TargetingKey {
			return p.targetingKey(&key)
		}
		if len(attrs) == MaxAttributes {
			return p.fail(CodeContextSize, fmt.Sprintf("the context has more than %d attributes", MaxAttributes))
		}
		a, err := p.attr(p.keyText(name), depth)
		for i := range attrs {
			if attrs[i].name == a.name {
				return p.fail(CodeJSONKey, fmt.Sprintf("attribute %s stands twice", short(a.name)))
			}
		}
		attrs = append(attrs, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	c := NewContext(key, attrs...)
	if !c.Valid() {
		return nil, p.fail(CodeContextSize, fmt.Sprintf("the targeting key has more than %d bytes or the context more than %d", MaxTargetingKey, MaxContextBytes))
	}
	return c, nil
}

func (p *contextParser) targetingKey(key *string) error {
	b, err := p.peek()
	if err != nil {
		return err
	}
	switch {
	case b == 'n':
		_, err = p.word()
		return err
	case b != '"':
		return p.fail(CodeContext, "targetingKey must be a string")
	case *key != "":
		return p.fail(CodeJSONKey, "targetingKey stands twice")
	}
	*key, err = p.strText()
	return err
}

// keyText returns a key that fields has just decoded: it ends before the colon, where only space may lie between.
func (p *contextParser) keyText(name []byte) string {
	end := p.pos - 1
	for end > 0 && p.in[end] != '"' {
		end--
	}
	if start := end - len(name); start > 0 && p.in[start-1] == '"' && p.text[start:end] == string(name) {
		return p.text[start:end]
	}
	return string(name)
}

// strText reads a string; without escapes it is a piece of the input.
func (p *contextParser) strText() (string, error) {
	start := p.pos + 1
	s, err := p.str()
	if err == nil && p.pos-1-start == len(s) {
		return p.text[start : p.pos-1], nil
	}
	return string(s), err
}

func (p *contextParser) attr(name string, depth int) (Attr, error) {
	b, err := p.peek()
	if err != nil {
		return Attr{}, err
	}
	start := p.pos
	switch b {
	case '"':
		s, err := p.strText()
		return Str(name, s), err
	case 't', 'f':
		w, err := p.word()
		return BoolAttr(name, string(w) == "true"), err
	case 'n':
		_, err := p.word()
		return Attr{name: name, kind: kindJSON, str: "null"}, err
	case '[':
		return p.list(name, depth+1)
	case '{':
		err := p.skip(depth)
		return Attr{name: name, kind: kindJSON, str: p.text[start:p.pos]}, err
	}
	return p.numAttr(name)
}

// numAttr reads a number: exactly when it is whole and fits, else as the nearest double, which must be finite.
func (p *contextParser) numAttr(name string) (Attr, error) {
	text, integer, err := p.numberText()
	if err != nil {
		return Attr{}, err
	}
	if integer {
		if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return IntNum(name, i), nil
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(f, 0) {
		return Attr{}, p.fail(CodeJSONNumber, "the number that ends here is beyond a double")
	}
	return Num(name, f), nil
}

// list reads an array: a List when it holds strings only, else JSON that is kept as it is.
func (p *contextParser) list(name string, depth int) (Attr, error) {
	start := p.pos
	texts := []string{}
	mixed := false
	err := p.elements(depth, func() error {
		if b, err := p.peek(); err != nil || b != '"' {
			mixed = true
			return p.skip(depth)
		}
		s, err := p.strText()
		texts = append(texts, s)
		return err
	})
	if mixed {
		return Attr{name: name, kind: kindJSON, str: p.text[start:p.pos]}, err
	}
	return List(name, texts...), err
}

// skip reads a value without keeping it. depth is that of what holds it.
func (p *contextParser) skip(depth int) error {
	b, err := p.peek()
	if err != nil {
		return err
	}
	switch b {
	case '"':
		_, err = p.str()
	case 't', 'f', 'n':
		_, err = p.word()
	case '[':
		return p.elements(depth+1, func() error { return p.skip(depth + 1) })
	case '{':
		return p.fields(depth+1, func([]byte) error { return p.skip(depth + 1) })
	default:
		_, err = p.numAttr("")
	}
	return err
}
