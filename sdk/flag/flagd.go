package flag

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flagdSet is flagd's flag configuration (flagd.dev/schema/v0/flags.json).
type flagdSet struct {
	Flags      map[string]flagdFlag       `json:"flags"`
	Evaluators map[string]json.RawMessage `json:"$evaluators,omitempty"`
	Metadata   json.RawMessage            `json:"metadata,omitempty"`
}

type flagdFlag struct {
	State     string                     `json:"state"`
	Variants  map[string]json.RawMessage `json:"variants"`
	Default   *string                    `json:"defaultVariant,omitempty"`
	Targeting json.RawMessage            `json:"targeting,omitempty"`
	Metadata  json.RawMessage            `json:"metadata,omitempty"`
}

// ParseFlagd reads flagd's JSON and returns its flags, sorted by key. References to $evaluators are replaced by what they
// name, a flag's metadata becomes its Meta, and numbers make an integer flag when every variant is whole. It reports
// everything that has no counterpart here, joined (Errors lists it): a key or variant that is no key, an operator that is
// not supported, variants of different types, a reference that leads nowhere or in a circle. Nothing is left out silently.
func ParseFlagd(raw []byte) ([]Flag, error) {
	text, err := CanonicalRaw(raw) // refuses what two readers could read differently
	if err != nil {
		return nil, err
	}
	var set flagdSet
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, &Error{Code: CodeFieldType, Text: fmt.Sprintf("not a flagd configuration: %v", err)}
	}
	if len(set.Flags) == 0 {
		return nil, &Error{Code: CodeVariants, Text: "the member flags is missing or empty"}
	}
	cfg, rep := NewConfig(), &report{}
	for _, key := range slices.Sorted(maps.Keys(set.Flags)) {
		f, err := set.flag(key)
		if err != nil {
			rep.list = append(rep.list, Errors(err)...)
			continue
		}
		cfg.Flags[key] = f
	}
	if err := Validate(cfg); err != nil {
		rep.list = append(rep.list, Errors(err)...)
	}
	return slices.SortedFunc(maps.Values(cfg.Flags), func(a, b Flag) int { return strings.Compare(a.Key, b.Key) }), rep.err()
}

func (s flagdSet) flag(key string) (Flag, error) {
	in := s.Flags[key]
	f := Flag{Key: key, Variants: in.Variants, Meta: in.Metadata}
	path := "flags." + key
	switch in.State {
	case "ENABLED":
	case "DISABLED":
		f.Disabled = true
	default:
		return f, &Error{Path: path + ".state", Code: CodeFieldType, Text: fmt.Sprintf("state %s is neither ENABLED nor DISABLED", short(in.State))}
	}
	var ok bool
	if f.Type, ok = commonType(in.Variants); !ok {
		return f, &Error{Path: path + ".variants", Code: CodeVariantType, Text: "there are no variants, or of different types"}
	}
	if in.Default != nil {
		f.Default = *in.Default
	}
	if len(in.Targeting) == 0 || string(in.Targeting) == "{}" || string(in.Targeting) == "null" {
		return f, nil
	}
	var err error
	if f.Targeting, err = s.resolve(in.Targeting, nil); err != nil {
		return f, &Error{Path: path + ".targeting", Code: CodeTargeting, Text: err.Error()}
	}
	return f, nil
}

// commonType is the type of all the values.
func commonType(values map[string]json.RawMessage) (t Type, ok bool) {
	for _, raw := range values {
		own := jsonType(raw)
		switch {
		case t == "" || t == own:
			t = own
		case t == Int && own == Float || t == Float && own == Int:
			t = Float
		default:
			return "", false
		}
	}
	return t, t != ""
}

func jsonType(raw json.RawMessage) Type {
	switch raw[0] {
	case '"':
		return String
	case 't', 'f':
		return Bool
	case '{', '[':
		return Object
	}
	if _, err := newVariant("", Int, raw); err == nil {
		return Int
	}
	return Float
}

// resolve replaces {"$ref": name} by the evaluator of that name; open are the names that are being replaced.
func (s flagdSet) resolve(raw json.RawMessage, open []string) (json.RawMessage, error) {
	switch raw[0] {
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
		for i := range list {
			var err error
			if list[i], err = s.resolve(list[i], open); err != nil {
				return nil, err
			}
		}
		return Canonical(list)
	case '{':
		return s.resolveObject(raw, open)
	}
	return raw, nil
}

func (s flagdSet) resolveObject(raw json.RawMessage, open []string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	if ref, ok := object["$ref"]; ok && len(object) == 1 {
		var name string
		if err := json.Unmarshal(ref, &name); err != nil {
			return nil, fmt.Errorf("$ref %s is no name", short(string(ref)))
		}
		evaluator, ok := s.Evaluators[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("there is no evaluator %s", short(name))
		case slices.Contains(open, name):
			return nil, fmt.Errorf("evaluators refer to each other: %v -> %s", open, name)
		}
		return s.resolve(evaluator, append(slices.Clone(open), name))
	}
	for name := range object {
		var err error
		if object[name], err = s.resolve(object[name], open); err != nil {
			return nil, err
		}
	}
	return Canonical(object)
}
