package flag

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Variant is one value of a flag. Raw is its canonical JSON; of the other values only the one of the flag's type is set.
type Variant struct {
	Name   string
	Type   Type
	Bool   bool
	String string
	Int    int64
	Float  float64
	Raw    json.RawMessage // must not be changed
}

// newVariant reads a value of the given type. An integer is a JSON number without fraction within int64; a float is any
// finite number; an object is a JSON object or array.
func newVariant(name string, t Type, raw json.RawMessage) (Variant, error) {
	text, err := CanonicalRaw(raw)
	if err != nil {
		return Variant{}, fmt.Errorf("value %s: %w", short(string(raw)), err)
	}
	v := Variant{Name: name, Type: t, Raw: text}
	var ok bool
	switch t {
	case Bool:
		v.Bool, ok = string(text) == "true", string(text) == "true" || string(text) == "false"
	case String:
		var s scalar
		s, ok = scalarOf(text)
		v.String, ok = s.str, ok && s.kind == kindStr
	case Int:
		v.Int, err = strconv.ParseInt(string(text), 10, 64)
		ok = err == nil
	case Float:
		v.Float, err = strconv.ParseFloat(string(text), 64)
		ok = err == nil && !math.IsInf(v.Float, 0) && !math.IsNaN(v.Float)
	case Object:
		ok = text[0] == '{' || text[0] == '['
	}
	if !ok {
		return Variant{}, fmt.Errorf("value %s is not of type %s", short(string(text)), t)
	}
	return v, nil
}
