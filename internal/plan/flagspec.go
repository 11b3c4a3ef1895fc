package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sdk/flag"
)

// FlagSpec is a flag as people write it: kind Flag.
type FlagSpec struct {
	Environment string // "" means the server's default
	Flag        flag.Flag
}

// KindOf returns the kind that a specification names, without checking anything else.
func KindOf(src []byte) (string, error) {
	root, findings := readYAML(src)
	if root == nil || root.kind != kindObject {
		if len(findings) > 0 {
			return "", fmt.Errorf("%s", findings[0].String())
		}
		return "", fmt.Errorf("the file is not a mapping")
	}
	for _, m := range root.members {
		if m.name == "kind" && m.val.kind == kindScalar {
			return m.val.text, nil
		}
	}
	return "", fmt.Errorf("the file names no kind")
}

// ParseFlag reads a Flag specification: metadata.name is the key; spec has type, variants, default, off, rules, owner and
// description. Like Parse it returns every mistake at once, and nil for the spec when one of them is an error.
func ParseFlag(file string, src []byte) (*FlagSpec, []Finding) {
	root, findings := readYAML(src)
	p := flagParser{}
	p.findings = findings
	var out FlagSpec
	if root != nil {
		out = p.flag(root)
	}
	if root != nil && !HasErrors(markErrors(p.findings)) {
		p.validate(root, out.Flag)
	}
	for i := range p.findings {
		p.findings[i].File = file
	}
	markErrors(p.findings)
	sortFindings(p.findings)
	if root == nil || HasErrors(p.findings) {
		return nil, p.findings
	}
	return &out, p.findings
}

func markErrors(list []Finding) []Finding {
	for i := range list {
		if list[i].Severity == "" {
			list[i].Severity = SevError
		}
	}
	return list
}

type flagParser struct{ findings []Finding }

func (p *flagParser) fail(n *node, path, code, text, fix string) {
	p.findings = append(p.findings, Finding{Line: n.line, Col: n.col, Path: path, Code: code, Text: text, Fix: fix})
}

// object returns the members of n by name and refuses those that are not known.
func (p *flagParser) object(n *node, path string, known ...string) map[string]*node {
	if n == nil || n.kind != kindObject {
		if n != nil && n.kind != kindNone {
			p.fail(n, path, "type.object", "want a mapping, got "+n.kind.String(), "write its fields below it")
		}
		return nil
	}
	out := map[string]*node{}
	for _, m := range n.members {
		if !slices.Contains(known, m.name) {
			at := &node{line: m.line, col: m.col}
			p.fail(at, join(path, m.name), "field.unknown", fmt.Sprintf("there is no field %q here", clip(m.name)), "use one of: "+strings.Join(known, ", "))
			continue
		}
		out[m.name] = m.val
	}
	return out
}

func (p *flagParser) text(in map[string]*node, name, path string, parent *node, required bool) string {
	n := in[name]
	if n == nil {
		if required && parent != nil {
			p.fail(parent, path, "field.missing", path+" is missing", "add it")
		}
		return ""
	}
	if n.kind != kindScalar || n.null() {
		p.fail(n, path, "type.text", "want text, got "+n.kind.String(), "write a single value")
		return ""
	}
	return n.text
}

func (p *flagParser) flag(root *node) FlagSpec {
	top := p.object(root, "", "apiVersion", "kind", "metadata", "spec")
	if v := p.text(top, "apiVersion", "apiVersion", root, true); v != "" && v != apiVersion {
		p.fail(top["apiVersion"], "apiVersion", "version.unknown", fmt.Sprintf("%q is not known", clip(v)), "write "+apiVersion)
	}
	meta := p.object(top["metadata"], "metadata", "name", "namespace", "labels")
	spec := top["spec"]
	s := p.object(spec, "spec", "environment", "type", "variants", "default", "off", "rules", "owner", "description")
	if s == nil && root.kind == kindObject {
		p.fail(root, "spec", "field.missing", "spec is missing", "add type, variants and default below spec")
		return FlagSpec{}
	}
	f := flag.Flag{
		Key: p.text(meta, "name", "metadata.name", root, true), Type: flag.Type(p.text(s, "type", "spec.type", spec, true)),
		Default: p.text(s, "default", "spec.default", spec, true), Off: p.text(s, "off", "spec.off", spec, false),
	}
	f.Variants = p.variants(s["variants"], spec, f.Type)
	f.Rules = p.rules(s["rules"])
	about := map[string]string{}
	for _, name := range []string{"owner", "description"} {
		if v := p.text(s, name, "spec."+name, spec, false); v != "" {
			about[name] = v
		}
	}
	if len(about) > 0 {
		f.Meta, _ = json.Marshal(about) // a map of text always has JSON
	}
	return FlagSpec{Environment: p.text(s, "environment", "spec.environment", spec, false), Flag: f}
}

func (p *flagParser) variants(n, parent *node, t flag.Type) map[string]json.RawMessage {
	if n == nil || n.kind != kindObject {
		if parent != nil {
			p.fail(parent, "spec.variants", "field.missing", "spec.variants is missing", "write each variant's name and value")
		}
		return nil
	}
	out := map[string]json.RawMessage{}
	for _, m := range n.members {
		path := "spec.variants." + clip(m.name)
		raw, err := rawValue(m.val, t)
		if err != nil {
			p.fail(m.val, path, "variant.type", err.Error(), "write a value of the flag's type")
			continue
		}
		out[m.name] = raw
	}
	return out
}

// rawValue turns a YAML value into the JSON of a type; YAML's own guesses about types play no part.
func rawValue(n *node, t flag.Type) (json.RawMessage, error) {
	if t == flag.Object {
		return json.Marshal(plainValue(n))
	}
	if n.kind != kindScalar {
		return nil, fmt.Errorf("want a %s, got %s", t, n.kind)
	}
	switch t {
	case flag.Bool:
		if n.quoted || (n.text != "true" && n.text != "false") {
			return nil, fmt.Errorf("%q is not a boolean", clip(n.text))
		}
		return json.RawMessage(n.text), nil
	case flag.Int, flag.Float:
		if n.quoted || !json.Valid([]byte(n.text)) {
			return nil, fmt.Errorf("%q is not a number", clip(n.text))
		}
		return json.RawMessage(n.text), nil
	}
	return json.Marshal(n.text)
}

// plainValue is a value within an object flag: quoted scalars are text, others what JSON would read.
func plainValue(n *node) any {
	switch n.kind {
	case kindObject:
		out := map[string]any{}
		for _, m := range n.members {
			out[m.name] = plainValue(m.val)
		}
		return out
	case kindList:
		out := []any{}
		for _, item := range n.items {
			out = append(out, plainValue(item))
		}
		return out
	}
	if !n.quoted && json.Valid([]byte(n.text)) {
		return json.RawMessage(n.text)
	}
	return n.text
}

func (p *flagParser) rules(n *node) []flag.Rule {
	if n == nil {
		return nil
	}
	if n.kind != kindList {
		p.fail(n, "spec.rules", "type.list", "want a list, got "+n.kind.String(), "write one rule after each -")
		return nil
	}
	var out []flag.Rule
	for i, item := range n.items {
		path := "spec.rules[" + strconv.Itoa(i) + "]"
		in := p.object(item, path, "name", "match", "serve")
		text := p.text(in, "match", path+".match", item, true)
		r := flag.Rule{Name: p.text(in, "name", path+".name", item, false), Serve: p.text(in, "serve", path+".serve", item, true)}
		if text != "" {
			c, err := flag.ParseCondition(text)
			if err != nil {
				p.fail(in["match"], path+".match", "condition.syntax", err.Error(), "write e.g. region == 'eu' && orders >= 10")
				continue
			}
			r.Match = *c
		}
		out = append(out, r)
	}
	return out
}

// validate asks the evaluator whether it would take the flag; what it refuses is placed at the top of the file. Segments
// are known to the server alone, so references to them are checked there.
func (p *flagParser) validate(root *node, f flag.Flag) {
	cfg := flag.NewConfig()
	cfg.Flags[f.Key] = f
	for _, e := range flag.Errors(flag.Validate(cfg)) {
		if e.Code == flag.CodeRefSegment {
			continue
		}
		p.fail(root, "spec", e.Code, e.Error(), "mend the field named")
	}
}
