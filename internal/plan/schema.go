package plan

import (
	"encoding/json"
	"strings"
)

// SchemaID is the address under which editors know the schema.
const SchemaID = "https://sluice.dev/schema/rollout.schema.json"

// Schema returns the JSON Schema (2020-12) of the specifications this version accepts, made from the table that Parse
// walks. It knows shapes, names and patterns; rules that need two fields are Parse's alone. Fields that are not supported
// yet are absent and therefore refused.
func Schema() ([]byte, error) {
	s := specification().schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = SchemaID
	s["title"] = "Sluice rollout"
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

func (f field) schema() map[string]any {
	shapes := []map[string]any{f.oneSchema()}
	for _, alt := range f.alts {
		if alt.typ != tLater {
			shapes = append(shapes, alt.oneSchema())
		}
	}
	s := shapes[0]
	if len(shapes) > 1 {
		s = map[string]any{"anyOf": shapes}
	}
	if doc := f.describe(); doc != "" {
		s["description"] = doc
	}
	return s
}

func (f field) describe() string {
	if f.fallback == "" {
		return f.doc
	}
	return f.doc + " Default: " + f.fallback + "."
}

func (f field) oneSchema() map[string]any {
	s := map[string]any{}
	switch f.typ {
	case tObject:
		f.objectSchema(s)
	case tMap:
		s["type"], s["additionalProperties"], s["maxProperties"] = "object", f.elem.schema(), f.largest()
		s["propertyNames"] = map[string]any{"pattern": patterns[f.keys], "maxLength": maxName}
	case tList:
		s["type"], s["items"], s["maxItems"] = "array", f.elem.schema(), f.largest()
	case tNumber, tWhole:
		f.numberSchema(s)
	case tBool:
		s["type"] = "boolean"
	case tEnum:
		s["enum"] = f.enum
	case tQuantity:
		s["type"] = []string{"string", "number"}
	case tText, tCondition:
		s["type"], s["minLength"], s["maxLength"] = "string", 1, maxText
	default:
		s["type"], s["pattern"] = "string", patterns[f.typ]
	}
	return s
}

func (f field) largest() int {
	if f.most == 0 {
		return 100
	}
	return f.most
}

func (f field) objectSchema(s map[string]any) {
	props, need := map[string]any{}, []string{}
	for _, c := range f.fields {
		if c.typ == tLater {
			continue
		}
		props[c.name] = c.schema()
		if c.need {
			need = append(need, c.name)
		}
	}
	s["type"], s["properties"], s["additionalProperties"] = "object", props, false
	if len(need) > 0 {
		s["required"] = need
	}
}

func (f field) numberSchema(s map[string]any) {
	s["type"] = "number"
	if f.typ == tWhole {
		s["type"] = "integer"
	}
	s["maximum"] = f.in.hi
	if f.in.open {
		s["exclusiveMinimum"] = f.in.lo
	} else {
		s["minimum"] = f.in.lo
	}
}

// patterns are the grammars of scalar types, as the schema writes them.
var patterns = map[typ]string{
	tSlug: slugPattern, tIdent: identPattern, tComponent: componentPattern, tPrincipal: principalPattern, tDigest: digestPattern,
	tDuration: durationPattern, tShare: sharePattern,
}

// Field is one row of the reference: what may be written where.
type Field struct {
	Path      string   `json:"path"` // e.g. "spec.stages[].bake"; <name> stands for a free key
	Type      string   `json:"type"`
	Required  bool     `json:"required,omitempty"`
	Supported bool     `json:"supported"`
	Default   string   `json:"default,omitempty"`
	Values    []string `json:"values,omitempty"`
	Doc       string   `json:"doc,omitempty"`
}

// Fields lists every field of the language, the unsupported ones included, in the order of the table.
func Fields() []Field { return specification().rows("", nil) }

func (f field) rows(path string, out []Field) []Field {
	if path != "" {
		out = append(out, Field{Path: path, Type: f.typeName(), Required: f.need, Supported: f.typ != tLater, Default: f.fallback, Values: f.enum, Doc: f.doc})
	}
	for _, shape := range append([]field{f}, f.alts...) {
		for _, c := range shape.fields {
			out = c.rows(join(path, c.name), out)
		}
		if shape.elem == nil {
			continue
		}
		inner := path + "[]"
		if shape.typ == tMap {
			inner = path + ".<name>"
		}
		if shape.elem.typ == tObject || len(shape.elem.alts) > 0 {
			out = shape.elem.rows(inner, out)
		}
	}
	return out
}

// typeNames are the types as people read them.
var typeNames = map[typ]string{
	tObject: "object", tText: "text", tSlug: "name", tIdent: "identifier", tComponent: "component", tPrincipal: "person or role",
	tDigest: "digest", tCondition: "condition", tDuration: "duration", tShare: "percentage", tNumber: "number", tWhole: "integer",
	tBool: "boolean", tEnum: "one of", tQuantity: "quantity", tLater: "not supported yet",
}

func (f field) typeName() string {
	var names []string
	for _, shape := range append([]field{f}, f.alts...) {
		name := typeNames[shape.typ]
		switch shape.typ {
		case tList:
			name = "list of " + shape.elem.typeName()
		case tMap:
			name = "map of " + shape.elem.typeName()
		case tLater:
			if len(names) > 0 {
				continue
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, " or ")
}
