package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Edit sets one field of a guardrail's test, or of a stage, in a specification's text.
type Edit struct {
	Guardrail string // or
	Stage     string
	Field     string // worseBy, max or detect of the guardrail's test; bake of the stage
	To        string
}

// Apply makes the edits in the text of a specification and leaves every other byte as it is. A field of a test that is not there
// is added after its kind where the test is written in one line. It returns an error naming what it could not find, and for
// a text that is no specification.
func Apply(src []byte, edits []Edit) ([]byte, error) {
	lines := strings.Split(string(src), "\n")
	for _, e := range edits {
		spec, err := specOf(strings.Join(lines, "\n"))
		if err != nil {
			return nil, err
		}
		if err := e.apply(spec, lines); err != nil {
			return nil, err
		}
	}
	return []byte(strings.Join(lines, "\n")), nil
}

func specOf(src string) (*value, error) {
	root, findings := readYAML([]byte(src))
	if root == nil {
		return nil, fmt.Errorf("not a specification: %v", findings)
	}
	c := compiler{plan: &Plan{}}
	return c.read(specification(), root, "", nil).get("spec"), nil
}

func (e Edit) apply(spec *value, lines []string) error {
	list, name, where := spec.get("guardrails").list, e.Guardrail, "guardrail"
	if e.Stage != "" {
		list, name, where = spec.get("stages").list, e.Stage, "stage"
	}
	i := slices.IndexFunc(list, func(v *value) bool { return v.get("name").text == name })
	if i < 0 {
		return fmt.Errorf("there is no %s %q in this text", where, name)
	}
	v := list[i].get("test", e.Field)
	if e.Stage != "" {
		if v = list[i].get(e.Field); v.kind == kindObject {
			v = v.get("min")
		}
	}
	if !v.given {
		return e.insert(list[i].get("test", "kind"), lines)
	}
	return replaceAt(lines, v, e.To)
}

// insert adds the field after the kind of a test in one line.
func (e Edit) insert(kind *value, lines []string) error {
	if kind.given {
		line := lines[kind.line-1]
		end := kind.col - 1 + len(kind.text)
		if rest := strings.TrimSpace(line[min(end, len(line)):]); strings.HasPrefix(rest, ",") || strings.HasPrefix(rest, "}") {
			lines[kind.line-1] = line[:end] + ", " + e.Field + ": " + e.To + line[end:]
			return nil
		}
	}
	return fmt.Errorf("guardrail %q has no %s in this text: add %s: %s to its test by hand", e.Guardrail, e.Field, e.Field, e.To)
}

func replaceAt(lines []string, v *value, to string) error {
	line := lines[v.line-1]
	rest := line[min(v.col-1, len(line)):]
	for _, quote := range []string{"", `"`, "'"} {
		if old := quote + v.text + quote; v.text != "" && strings.HasPrefix(rest, old) {
			lines[v.line-1] = line[:v.col-1] + to + rest[len(old):]
			return nil
		}
	}
	return fmt.Errorf("line %d: %s is not written as %q there: change it to %s by hand", v.line, v.path, v.text, to)
}
