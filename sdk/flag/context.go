package flag

import (
	"math"
	"strconv"
)

// Limits of a context. One that exceeds them is refused as a whole (ErrInvalidContext): every flag serves its default.
const (
	MaxTargetingKey = 4 << 10   // bytes of the targeting key
	MaxAttributes   = 256       // attributes
	MaxContextBytes = 256 << 10 // bytes of all attribute names and values together
)

// TargetingKey is the name under which conditions and rollouts refer to the targeting key itself.
const TargetingKey = "targetingKey"

// Context says for whom or what flags are evaluated: the targeting key (the unit) and typed attributes. It is built once
// per request and read by any number of evaluations at the same time; the unit is hashed once, here. The zero Context has
// no unit and no attributes.
type Context struct {
	key     Attr
	hash    uint64 // xxhash64 of the targeting key
	attrs   []Attr
	now     int64 // seconds since 1970; 0 when it was not said
	bucket  uint8
	invalid bool
}

// NewContext returns the context of a unit. "" means that there is no unit: rollouts over the targeting key then answer
// ErrTargetingKeyMissing. Of attributes with one name the first counts. attrs is kept and must not change any more.
func NewContext(targetingKey string, attrs ...Attr) *Context {
	c := new(Context)
	c.Reset(targetingKey, attrs...)
	return c
}

// Reset makes c the context of another unit, so that a pool of contexts allocates nothing. No evaluation may run on c.
func (c *Context) Reset(targetingKey string, attrs ...Attr) {
	*c = Context{attrs: attrs}
	if c.invalid = tooLarge(targetingKey, attrs); c.invalid || targetingKey == "" {
		return
	}
	c.key = Str(TargetingKey, targetingKey)
	c.hash = xxhash64(targetingKey)
	c.bucket = unitBucketOf(c.hash)
}

func tooLarge(targetingKey string, attrs []Attr) bool {
	if len(targetingKey) > MaxTargetingKey || len(attrs) > MaxAttributes {
		return true
	}
	size := 0
	for i := range attrs {
		size += len(attrs[i].name) + len(attrs[i].str)
		for _, s := range attrs[i].list {
			size += len(s)
		}
	}
	return size > MaxContextBytes
}

// At says what time it is, in seconds since 1970, to flags whose targeting asks (Snapshot.Timed). Until then such a flag
// sees no time. It is called before the context is shared.
func (c *Context) At(unixSeconds int64) { c.now = unixSeconds }

// Valid says whether the context is within the limits.
func (c *Context) Valid() bool { return !c.invalid }

// TargetingKey returns the unit, "" when there is none.
func (c *Context) TargetingKey() string { return c.key.str }

// UnitBucket returns UnitBucket of the targeting key, 0 when there is none.
func (c *Context) UnitBucket() uint8 { return c.bucket }

// Attr returns the attribute of that name; TargetingKey names the unit itself.
func (c *Context) Attr(name string) (Attr, bool) {
	if a := c.lookup(name); a != nil {
		return *a, true
	}
	return Attr{}, false
}

// lookup scans: contexts have a handful of attributes, and a scan over them beats a map and needs no second structure.
func (c *Context) lookup(name string) *Attr {
	if name == TargetingKey {
		if c.key.str == "" {
			return nil
		}
		return &c.key
	}
	for i := range c.attrs {
		if c.attrs[i].name == name {
			return &c.attrs[i]
		}
	}
	return nil
}

// Attr is one typed attribute of a context.
type Attr struct {
	name string
	str  string
	list []string
	bits uint64 // float64 bits, int64, or 0 and 1
	kind attrKind
}

type attrKind uint8

const (
	kindNone attrKind = iota
	kindStr
	kindNum
	kindInt
	kindBool
	kindList
	kindJSON // an object, an array that is no List, or null: its text is in str
)

// Str is a text attribute.
func Str(name, value string) Attr { return Attr{name: name, kind: kindStr, str: value} }

// Num is a number. Every comparison with NaN or an infinity is false, also ne.
func Num(name string, value float64) Attr {
	return Attr{name: name, kind: kindNum, bits: math.Float64bits(value)}
}

// IntNum is a whole number. It compares with numbers like Num, but exactly.
func IntNum(name string, value int64) Attr {
	return Attr{name: name, kind: kindInt, bits: uint64(value)}
}

// BoolAttr is a truth value.
func BoolAttr(name string, value bool) Attr {
	a := Attr{name: name, kind: kindBool}
	if value {
		a.bits = 1
	}
	return a
}

// List is a list of texts: in holds when one of them is listed, not-in when none is, contains when it has the element.
func List(name string, values ...string) Attr { return Attr{name: name, kind: kindList, list: values} }

// Name returns the attribute's name.
func (a Attr) Name() string { return a.name }

// Text returns the value as text, as it names a segment in evidence: a Str as it is, numbers as ECMAScript prints them,
// true or false. A List has no text: "".
func (a Attr) Text() string {
	switch a.kind {
	case kindStr:
		return a.str
	case kindInt:
		return strconv.FormatInt(int64(a.bits), 10)
	case kindBool:
		return strconv.FormatBool(a.bits == 1)
	case kindNum:
		f := math.Float64frombits(a.bits)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		return string(appendNumber(nil, f))
	}
	return ""
}
