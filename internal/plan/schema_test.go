package plan

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

const schemaFile = "../../api/schema/rollout.schema.json"

func TestSchemaFileIsFresh(t *testing.T) {
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, schemaFile, got)
}

// compiled returns the schema as an independent validator understands it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var doc any
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	s := compiled(t)
	for name, text := range map[string]string{
		"small":   small,
		"flights": readExample(t, "flights.yaml"),
		"more":    edit(t, small, "  guardrails:", "  analysisDefaults: {alpha: 0.05, onInconclusive: hold, onError: rollback, onNoData: {after: 1w, do: hold}}\n  guardrails:"),
	} {
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, err)
		}
		if name != "more" {
			mustParse(t, text)
		}
	}
}

// TestSchemaRefusesWhatTheTableRefuses covers the codes that one field alone decides; rules between fields are Parse's.
func TestSchemaRefusesWhatTheTableRefuses(t *testing.T) {
	s := compiled(t)
	alone := map[string]bool{
		"field.required": true, "field.unknown": true, "field.unsupported": true, "type.null": true, "type.mapping": true, "type.list": true, "type.value": true,
		"type.number": true, "type.integer": true, "type.bool": true, "value.unknown": true, "name.charset": true, "text.length": true,
		"duration.negative": true, "duration.syntax": true, "duration.unit": true, "percent.unit": true, "percent.syntax": true, "percent.precision": true,
		"list.length": true,
	}
	tested := 0
	for _, tt := range codeCases {
		if tt.severity != "" || !alone[tt.code] {
			continue
		}
		text, _ := marked(edit(t, small, tt.old, tt.new))
		if err := validate(t, s, text); err == nil {
			t.Errorf("%s: the schema accepts %q", tt.code, tt.new)
		}
		tested++
	}
	if tested < 20 {
		t.Errorf("only %d cases tested", tested)
	}
}

func TestReferenceListsEveryField(t *testing.T) {
	rows := map[string]Field{}
	for _, f := range Fields() {
		if _, twice := rows[f.Path]; twice {
			t.Errorf("%s is listed twice", f.Path)
		}
		if f.Supported && f.Doc == "" {
			t.Errorf("%s has no description", f.Path)
		}
		rows[f.Path] = f
	}
	for path, want := range map[string]string{
		"spec.stages[].bake": "duration or object", "spec.stages[].bake.min": "duration", "spec.stages[].exposure": "percentage or list of percentage",
		"spec.metrics.<name>.kind": "one of", "spec.audience.segments": "list of identifier or object", "spec.capacity": "not supported yet",
		"spec.guardrails[].test.psi": "",
	} {
		if got := rows[path].Type; got != want {
			t.Errorf("%s: got type %q, want %q", path, got, want)
		}
	}
	if rows["spec.capacity"].Supported || !rows["spec.rollback"].Supported {
		t.Error("capacity must be listed as not supported, rollback as supported")
	}
}
