package flag

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// decoder reads JSON into the types of this package by their json tags, strictly: names match byte by byte, and unknown
// fields, other JSON types and numbers out of range are errors, and so is null, except for an empty list or map, which Go
// writes so. It goes on after an error of meaning and collects
// all of them; an error of syntax ends the object. json.RawMessage fields receive the canonical form.
type decoder struct {
	*report
	*lexer
	object string   // path of the object that is read
	at     []string // fields and indexes down to the value that is read
	fields map[reflect.Type]map[string]int
}

// decode reads raw into the struct that out points to. It returns false when there was an error.
func (d *decoder) decode(object string, raw []byte, out any) bool {
	before := len(d.list)
	d.object, d.at, d.lexer = object, d.at[:0], &lexer{in: raw}
	err := d.value(reflect.ValueOf(out).Elem(), 0)
	if err == nil {
		err = d.end()
	}
	if e, ok := err.(*Error); ok {
		d.add(d.path(), e.Code, e.Text)
	}
	return len(d.list) == before
}

func (d *decoder) path() string {
	return d.object + at(strings.TrimPrefix(strings.Join(d.at, ""), "."))
}

// at returns ": field", or nothing without a field.
func at(field string) string {
	if field == "" {
		return ""
	}
	return ": " + field
}

var rawType = reflect.TypeFor[json.RawMessage]()

func (d *decoder) value(v reflect.Value, depth int) error {
	b, err := d.peek()
	if err != nil {
		return err
	}
	if v.Type() == rawType {
		raw, err := d.raw(depth)
		v.SetBytes(raw)
		return err
	}
	switch kind := v.Kind(); {
	case kind == reflect.Pointer && b != 'n':
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(v.Elem(), depth)
	case kind == reflect.Struct && b == '{':
		return d.structure(v, depth+1)
	case kind == reflect.Map && b == '{':
		return d.mapping(v, depth+1)
	case kind == reflect.Slice && b == '[':
		return d.slice(v, depth+1)
	case (kind == reflect.Map || kind == reflect.Slice) && b == 'n':
		_, err := d.word()
		return err
	case kind == reflect.String && b == '"':
		s, err := d.str()
		v.SetString(string(s))
		return err
	case kind == reflect.Bool && (b == 't' || b == 'f'):
		w, err := d.word()
		v.SetBool(string(w) == "true")
		return err
	case v.CanUint() && (b == '-' || b >= '0' && b <= '9'):
		return d.uint(v)
	}
	raw, err := d.raw(depth)
	if err == nil {
		d.add(d.path(), CodeFieldType, fmt.Sprintf("must be %s, not %s", describe(v.Type()), short(string(raw))))
	}
	return err
}

func (d *decoder) uint(v reflect.Value) error {
	text, err := d.number(nil)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(text), 10, v.Type().Bits())
	if err != nil {
		d.add(d.path(), CodeFieldType, fmt.Sprintf("must be %s, not %s", describe(v.Type()), text))
		return nil
	}
	v.SetUint(n)
	return nil
}

// raw reads a value of any type and returns its canonical form.
func (d *decoder) raw(depth int) ([]byte, error) {
	c := canonicaliser{lexer: d.lexer}
	err := c.value(depth)
	return c.out, err
}

func (d *decoder) structure(v reflect.Value, depth int) error {
	known := d.fieldsOf(v.Type())
	var seen uint64 // by field index; the types here have fewer than 64 fields
	return d.lexer.fields(depth, func(key []byte) error {
		return d.inside("."+string(key), func() error {
			i, ok := known[string(key)]
			if !ok {
				d.add(d.path(), CodeFieldUnknown, fmt.Sprintf("there is no field %s here", short(string(key))))
				_, err := d.raw(depth)
				return err
			}
			if seen&(1<<i) != 0 {
				return d.twice(key)
			}
			seen |= 1 << i
			return d.value(v.Field(i), depth)
		})
	})
}

func (d *decoder) mapping(v reflect.Value, depth int) error {
	v.Set(reflect.MakeMap(v.Type()))
	return d.lexer.fields(depth, func(key []byte) error {
		return d.inside("["+quote(string(key))+"]", func() error {
			k := reflect.ValueOf(string(key))
			if v.MapIndex(k).IsValid() {
				return d.twice(key)
			}
			e := reflect.New(v.Type().Elem()).Elem()
			err := d.value(e, depth)
			v.SetMapIndex(k, e)
			return err
		})
	})
}

func (d *decoder) slice(v reflect.Value, depth int) error {
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	return d.elements(depth, func() error {
		return d.inside("["+strconv.Itoa(v.Len())+"]", func() error {
			e := reflect.New(v.Type().Elem()).Elem()
			err := d.value(e, depth)
			v.Set(reflect.Append(v, e))
			return err
		})
	})
}

// inside reads one step further down. After an error of syntax the path stays where it happened.
func (d *decoder) inside(step string, read func() error) error {
	d.at = append(d.at, step)
	err := read()
	if err == nil {
		d.at = d.at[:len(d.at)-1]
	}
	return err
}

func (d *decoder) twice(key []byte) error {
	return d.fail(CodeJSONKey, fmt.Sprintf("key %s stands twice", short(string(key))))
}

// fieldsOf returns the type's fields by their JSON names.
func (d *decoder) fieldsOf(t reflect.Type) map[string]int {
	if m, ok := d.fields[t]; ok {
		return m
	}
	m := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		m[name] = i
	}
	if d.fields == nil {
		d.fields = map[reflect.Type]map[string]int{}
	}
	d.fields[t] = m
	return m
}

func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a whole number of at least 0"
}
