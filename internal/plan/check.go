package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sdk/flag"
)

// value is a field of the text after reading: typed, with its place. A field that is absent has a value too, so that
// questions about it can be asked without looking first; its place is that of the mapping it is missing from.
type value struct {
	path      string
	line, col int
	given     bool // stands in the text
	ok        bool // stands in the text and was accepted
	kind      nodeKind
	text      string
	num       float64
	whole     uint64
	dur       time.Duration
	share     flag.Exposure
	yes       bool
	match     *flag.Condition
	list      []*value
	names     []string // keys of an object or map, in order of writing
	members   map[string]*value
}

// get returns the value at a path of member names.
func (v *value) get(names ...string) *value {
	for _, name := range names {
		next, ok := v.members[name]
		if !ok {
			next = &value{path: join(v.path, name), line: v.line, col: v.col}
		}
		v = next
	}
	return v
}

// blank reports that a field is absent and may be filled in; one that was refused is neither blank nor ok, so that one
// mistake does not cause a second finding.
func (v *value) blank() bool { return !v.given }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + clip(name)
}

// reader collects findings while the text is walked along the table.
type reader struct{ findings []Finding }

func (r *reader) at(v *value, sev Severity, code, text, fix string) {
	r.findings = append(r.findings, Finding{Line: v.line, Col: v.col, Path: v.path, Code: code, Text: text, Fix: fix, Severity: sev})
}

func (r *reader) fail(v *value, code, text, fix string) { r.at(v, SevError, code, text, fix) }

func (r *reader) refuse(v *value, p *problem) {
	v.ok = false
	r.fail(v, p.code, p.text, p.fix)
}

// read walks n along f. Every mistake is a finding; none stops the walk. key is where the name of the field stands, nil
// for an element of a list: what is missing inside a mapping or list is reported there, where people look.
func (r *reader) read(f field, n *node, path string, key *member) *value {
	v := &value{path: path, line: n.line, col: n.col, given: true, kind: n.kind, text: n.text}
	if n.kind == kindNone {
		return v
	}
	if n.null() {
		r.fail(v, "type.null", "the value is empty", "write a value, or remove the field")
		return v
	}
	f, fits := f.shape(n.kind)
	if !fits {
		r.fail(v, "type."+wanted(f), fmt.Sprintf("this is %s; %s is wanted", n.kind, article(f)), "write "+article(f))
		return v
	}
	v.ok = true
	if key != nil && f.typ != tLater && n.kind != kindScalar {
		v.line, v.col = key.line, key.col
	}
	switch {
	case f.typ == tLater:
		v.ok = false
		r.unsupported(v)
	case f.typ == tObject:
		r.readObject(f, n, v)
	case f.typ == tMap:
		r.readMap(f, n, v)
	case f.typ == tList:
		r.readList(f, n, v)
	default:
		r.readScalar(f, n, v)
	}
	return v
}

func (r *reader) unsupported(v *value) {
	r.fail(v, "field.unsupported", "this field is not supported yet", "remove it; this version would not act on it")
}

// shape returns the alternative of f that has the kind of the node.
func (f field) shape(k nodeKind) (field, bool) {
	for _, alt := range append([]field{f}, f.alts...) {
		if alt.typ == tLater || alt.nodeKind() == k {
			return alt, true
		}
	}
	return f, false
}

func (f field) nodeKind() nodeKind {
	switch f.typ {
	case tObject, tMap:
		return kindObject
	case tList:
		return kindList
	}
	return kindScalar
}

func wanted(f field) string {
	switch f.nodeKind() {
	case kindObject:
		return "mapping"
	case kindList:
		return "list"
	}
	return "value"
}

func article(f field) string {
	switch f.nodeKind() {
	case kindObject:
		return "a mapping of fields"
	case kindList:
		return "a list"
	}
	return "a single value"
}

func (r *reader) readObject(f field, n *node, v *value) {
	v.members = make(map[string]*value, len(n.members))
	for _, m := range n.members {
		i := slices.IndexFunc(f.fields, func(c field) bool { return c.name == m.name })
		path := join(v.path, m.name)
		key := &value{path: path, line: m.line, col: m.col, given: true}
		switch {
		case i < 0:
			r.unknown(f, key, m.name)
			continue
		case f.fields[i].typ == tLater:
			r.unsupported(key)
			continue
		}
		v.members[m.name] = r.read(f.fields[i], m.val, path, &m)
		v.names = append(v.names, m.name)
	}
	for _, c := range f.fields {
		if c.need && !slices.ContainsFunc(n.members, func(m member) bool { return m.name == c.name }) {
			r.missing(c, v)
		}
	}
}

func (r *reader) missing(c field, v *value) {
	lost := v.get(c.name)
	fix := "add " + c.name + ": " + strings.TrimSuffix(lowerFirst(c.doc), ".")
	if len(c.enum) == 1 {
		fix = "add " + c.name + ": " + c.enum[0]
	}
	r.fail(lost, "field.required", c.name+" is missing", fix)
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'a' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func (r *reader) unknown(f field, key *value, name string) {
	var known []string
	for _, c := range f.fields {
		known = append(known, c.name)
	}
	fix := "remove it; known here: " + strings.Join(known, ", ")
	if c := nearest(name, known); c != "" {
		fix = "did you mean " + c + "?"
	}
	r.fail(key, "field.unknown", "there is no field "+quote(name), fix)
}

func (r *reader) readMap(f field, n *node, v *value) {
	v.members = make(map[string]*value, len(n.members))
	r.size(f, len(n.members), v)
	for _, m := range n.members {
		key := &value{path: join(v.path, m.name), line: m.line, col: m.col, given: true}
		syntax, what := identSyntax, "ASCII letters, digits, - _ and ."
		if f.keys == tSlug {
			syntax, what = slugSyntax, "lower-case ASCII letters, digits, - _ and ."
		}
		if p := checkName(m.name, syntax, maxName, what); p != nil {
			r.fail(key, p.code, p.text, p.fix)
		}
		v.members[m.name] = r.read(*f.elem, m.val, key.path, &m)
		v.names = append(v.names, m.name)
	}
}

func (r *reader) readList(f field, n *node, v *value) {
	r.size(f, len(n.items), v)
	for i, item := range n.items {
		v.list = append(v.list, r.read(*f.elem, item, v.path+"["+strconv.Itoa(i)+"]", nil))
	}
}

func (r *reader) size(f field, n int, v *value) {
	most := f.most
	if most == 0 {
		most = 100
	}
	if n > most {
		code := "list.length"
		if f.name == "stages" {
			code = "plan.steps"
		}
		r.fail(v, code, fmt.Sprintf("%d entries; the limit is %d", n, most), "write fewer")
	}
}

// readScalar reads one value by its type.
func (r *reader) readScalar(f field, n *node, v *value) {
	var p *problem
	switch f.typ {
	case tDuration:
		v.dur, p = parseDuration(n.text)
	case tShare:
		var parts uint32
		parts, p = parsePercent(n.text, uint32(flag.Full))
		v.share = flag.Exposure(parts)
	case tNumber, tWhole, tBool:
		p = readPlain(f, n, v)
	case tEnum:
		p = checkEnum(f, n.text)
	case tCondition:
		p = readCondition(n.text, v)
	case tText:
		v.text = strings.TrimRight(n.text, "\n")
		p = checkFreeText(v.text)
	case tQuantity:
		p = checkFreeText(n.text)
	default:
		g := nameGrammars[f.typ]
		p = checkName(n.text, g.syntax, g.limit, g.what)
	}
	if p != nil {
		r.refuse(v, p)
	}
}

// nameGrammars are the grammars of the name types.
var nameGrammars = map[typ]struct {
	syntax *regexp.Regexp
	limit  int
	what   string
}{
	tSlug:      {slugSyntax, maxName, "lower-case ASCII letters, digits, - _ and ."},
	tIdent:     {identSyntax, maxName, "ASCII letters, digits, - _ and ."},
	tComponent: {componentSyntax, 2*maxName + 1, "kind or kind/name of lower-case ASCII letters, digits, - _ and ."},
	tPrincipal: {principalSyntax, 2 * maxName, "a name such as user:ada or oncall:sre"},
	tDigest:    {digestSyntax, 71, "sha256: and 64 lower-case hex digits"},
}

// readPlain reads numbers and booleans, which must stand without quotes.
func readPlain(f field, n *node, v *value) *problem {
	if n.quoted {
		want := map[typ]string{tNumber: "number", tWhole: "integer", tBool: "bool"}[f.typ]
		return &problem{"type." + want, quote(n.text) + " stands in quotes and is text", "remove the quotes"}
	}
	var p *problem
	switch f.typ {
	case tBool:
		if n.text != "true" && n.text != "false" {
			return &problem{"type.bool", quote(n.text) + " is neither true nor false", "write true or false"}
		}
		v.yes = n.text == "true"
	case tWhole:
		v.whole, p = parseWhole(n.text, f.in)
	default:
		v.num, p = parseNumber(n.text, f.in)
	}
	return p
}

func checkEnum(f field, s string) *problem {
	if slices.Contains(f.enum, s) {
		return nil
	}
	allowed := "write " + strings.Join(f.enum, " or ")
	if slices.Contains(f.later, s) {
		code := f.laterAs
		if code == "" {
			code = "value.unsupported"
		}
		return &problem{code, quote(s) + " is not supported yet", allowed}
	}
	if c := nearest(s, append(slices.Clone(f.enum), f.later...)); c != "" {
		allowed = "did you mean " + c + "?"
	}
	return &problem{"value.unknown", fmt.Sprintf("%s is none of %s", quote(s), strings.Join(f.enum, ", ")), allowed}
}

func readCondition(s string, v *value) *problem {
	if p := checkFreeText(s); p != nil {
		return p
	}
	c, err := flag.ParseCondition(s)
	if err != nil {
		return &problem{"condition.syntax", quote(s) + " is no condition: " + err.Error(), "write a condition such as account.type == 'employee', segment:beta or true"}
	}
	v.match = c
	return nil
}
