package flag

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"unicode/utf8"
)

// maxJSONDepth is how deep arrays and objects may nest.
const maxJSONDepth = 64

// Canonical returns the JSON of v in the one form that digests are computed over (RFC 8785): members sorted by the UTF-16
// code units of their keys, numbers as ECMAScript prints the double, no space, and strings with the fewest escapes.
// Go's rules for JSON apply to v (tags, omitempty, Marshaler). It refuses what has no exact canonical form: NaN and
// infinities, integers that a double would round (beyond 2^53, unless they already read as ECMAScript prints them),
// strings that are not valid UTF-8, a key twice in one object, and nesting deeper than 64.
func Canonical(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("canonical json of %T: %w", v, err)
	}
	raw := buf.Bytes()
	// encoding/json writes this escape for bytes that are not UTF-8: two different strings would get one digest.
	if bytes.Contains(raw, []byte(`\ufffd`)) && !validStrings(reflect.ValueOf(v), 0) {
		return nil, &Error{Code: CodeUTF8, Text: fmt.Sprintf("a string in %T is not valid UTF-8", v)}
	}
	return CanonicalRaw(raw)
}

// CanonicalRaw is Canonical for a value that already is JSON. The error is an *Error that names the offset.
// raw is neither kept nor changed.
func CanonicalRaw(raw json.RawMessage) ([]byte, error) {
	c := canonicaliser{lexer: &lexer{in: raw}, out: make([]byte, 0, len(raw))}
	if err := c.value(0); err != nil {
		return nil, err
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return c.out, nil
}

// Digest returns "sha256:<hex>" over tag, a newline, and the canonical bytes. The tag names what is digested and the
// version of its form, so that digests of different things never meet.
func Digest(tag string, canonical []byte) string {
	h := sha256.New()
	h.Write([]byte(tag + "\n"))
	h.Write(canonical)
	var sum [sha256.Size]byte
	return "sha256:" + hex.EncodeToString(h.Sum(sum[:0]))
}

// ContentDigest returns "sha256:<hex>" over b alone: the name of content that is stored under its own digest, so that
// anybody can check it with sha256sum.
func ContentDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// canonicaliser writes the canonical form of what it reads. members is a stack shared by all levels.
type canonicaliser struct {
	*lexer
	out     []byte
	members []member
	scratch []byte
}

// member is one member of an object: its key and where its text `"key":value` lies in out.
type member struct {
	key        []byte
	start, end int
}

func (c *canonicaliser) value(depth int) error {
	b, err := c.peek()
	if err != nil {
		return err
	}
	switch b {
	case '{':
		return c.object(depth + 1)
	case '[':
		return c.array(depth + 1)
	case '"':
		s, err := c.str()
		if err != nil {
			return err
		}
		c.out = appendString(c.out, s)
		return nil
	case 't', 'f', 'n':
		word, err := c.word()
		c.out = append(c.out, word...)
		return err
	}
	c.out, err = c.number(c.out)
	return err
}

func (c *canonicaliser) array(depth int) error {
	c.out = append(c.out, '[')
	first := true
	err := c.elements(depth, func() error {
		if !first {
			c.out = append(c.out, ',')
		}
		first = false
		return c.value(depth)
	})
	c.out = append(c.out, ']')
	return err
}

func (c *canonicaliser) object(depth int) error {
	c.out = append(c.out, '{')
	begin, base := len(c.out), len(c.members)
	err := c.fields(depth, func(key []byte) error {
		if len(c.members) > base {
			c.out = append(c.out, ',')
		}
		start := len(c.out)
		c.out = appendString(c.out, key)
		c.out = append(c.out, ':')
		if err := c.value(depth); err != nil {
			return err
		}
		c.members = append(c.members, member{key, start, len(c.out)})
		return nil
	})
	if err != nil {
		return err
	}
	list := c.members[base:]
	sorted := slices.IsSortedFunc(list, func(a, b member) int { return compareUTF16(a.key, b.key) })
	if !sorted {
		slices.SortFunc(list, func(a, b member) int { return compareUTF16(a.key, b.key) })
	}
	for i := 1; i < len(list); i++ {
		if bytes.Equal(list[i-1].key, list[i].key) {
			return c.fail(CodeJSONKey, fmt.Sprintf("key %s stands twice in the object that ends here", short(string(list[i].key))))
		}
	}
	if !sorted {
		c.join(begin, list)
	}
	c.members = c.members[:base]
	c.out = append(c.out, '}')
	return nil
}

// join writes the members that stand in out from begin on once more, in the order of list.
func (c *canonicaliser) join(begin int, list []member) {
	c.scratch = append(c.scratch[:0], c.out[begin:]...)
	c.out = c.out[:begin]
	for i, m := range list {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, c.scratch[m.start-begin:m.end-begin]...)
	}
}

// compareUTF16 orders two UTF-8 strings by their UTF-16 code units. That is the order of the bytes, except that characters
// beyond U+FFFF (lead byte F0 and up, a surrogate pair in UTF-16) come before U+E000..U+FFFF (lead bytes EE and EF).
func compareUTF16(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if x, y := a[i], b[i]; x != y {
			if (x >= 0xf0) != (y >= 0xf0) && x >= 0xee && y >= 0xee {
				x, y = y, x
			}
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a canonical JSON string: only what must be escaped is.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i, b := range s {
		if b >= 0x20 && b != '"' && b != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// quote returns s as a JSON string, for messages.
func quote(s string) string { return string(appendString(nil, []byte(s))) }

// validStrings says whether every string that encoding/json would write for v is valid UTF-8. JSON already in v is
// checked by the canonicaliser.
func validStrings(v reflect.Value, depth int) bool {
	if depth > 4*maxJSONDepth {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || validStrings(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			if !validStrings(v.Field(i), depth+1) {
				return false
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return true
		}
		for i := range v.Len() {
			if !validStrings(v.Index(i), depth+1) {
				return false
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !validStrings(it.Key(), depth+1) || !validStrings(it.Value(), depth+1) {
				return false
			}
		}
	}
	return true
}
