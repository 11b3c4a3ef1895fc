package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Limits of a specification's text. They are far above what people write and far below what hurts.
const (
	maxBytes = 1 << 20
	maxDepth = 64
	maxNodes = 10_000
)

// node is one value of the text with its place: the strict subset of YAML that specifications use. Scalars keep the
// characters as written; what they mean is decided by the field they stand in, never by YAML's guesses ("no" is not a
// boolean, 1:30 is not 90).
type node struct {
	kind      nodeKind
	line, col int
	text      string   // scalar, unescaped
	quoted    bool     // scalar in quotes or a block scalar
	items     []*node  // list
	members   []member // object, in order of writing, keys unique
}

type nodeKind uint8

const (
	kindNone nodeKind = iota // refused already: nothing more is said about it
	kindScalar
	kindList
	kindObject
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[k]
}

// member is one key with its value.
type member struct {
	name      string
	line, col int
	val       *node
}

// null reports whether a scalar says "nothing" in YAML.
func (n *node) null() bool {
	if n.kind != kindScalar || n.quoted {
		return false
	}
	switch n.text {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// readYAML turns src into nodes. It refuses everything outside the subset: anchors, aliases, tags, merge keys, directives,
// several documents, duplicate keys, keys that are not text, texts beyond the limits and text that is not UTF-8. A
// finding of syntax ends the reading (the root is nil then); the others do not hide what stands beside them.
func readYAML(src []byte) (*node, []Finding) {
	if f := checkText(src); f != nil {
		return nil, []Finding{*f}
	}
	docs, err := compose(src)
	c := converter{}
	if err != nil {
		c.findings = append(c.findings, within(src, syntaxFinding(err)))
	}
	if len(docs) == 0 {
		if err == nil {
			c.fail(1, 1, "yaml.empty", "the file holds no specification", "start with apiVersion: sluice/v1 and kind: Rollout")
		}
		return nil, c.findings
	}
	if len(docs) > 1 {
		// A document's own node stands on its "---" or on its first value.
		c.fail(docs[1].Line, docs[1].Column, "yaml.multi_document",
			"a second document begins here; a file holds one specification", "move it to a file of its own")
	}
	root := c.convert(docs[0].Content[0], 1)
	if c.nodes > maxNodes {
		return nil, c.findings
	}
	return root, c.findings
}

// checkText refuses what no parser should see.
func checkText(src []byte) *Finding {
	if len(src) > maxBytes {
		return &Finding{Line: 1, Col: 1, Code: "yaml.size", Text: fmt.Sprintf("the file has %d bytes; the limit is %d", len(src), maxBytes),
			Fix: "split it, or remove what is not needed"}
	}
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(src, []byte(mark)) {
			return badText(src, 0, "utf8.invalid", "a byte order mark")
		}
	}
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return badText(src, i, "utf8.invalid", fmt.Sprintf("byte 0x%02x, which is not UTF-8,", src[i]))
		case r == 0:
			return badText(src, i, "utf8.invalid", "a NUL byte")
		case r == '\u0085' || r == '\u2028' || r == '\u2029' || r == '\r' && !bytes.HasPrefix(src[i+1:], []byte("\n")):
			// YAML ends a line here and editors do not: every place after it would be wrong.
			return badText(src, i, "yaml.linebreak", fmt.Sprintf("the line break U+%04X", r))
		}
		i += size
	}
	return nil
}

func badText(src []byte, at int, code, what string) *Finding {
	before := src[:at]
	line := 1 + bytes.Count(before, []byte("\n"))
	col := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return &Finding{Line: line, Col: col, Code: code, Text: fmt.Sprintf("%s stands at offset %d", what, at),
		Fix: "save the file as UTF-8 without a byte order mark, with plain line breaks"}
}

// within moves a place behind the end of the text, where a parser notices that something is missing, to its last line.
func within(src []byte, f Finding) Finding {
	if last := 1 + bytes.Count(src, []byte("\n")); f.Line > last {
		f.Line, f.Col = last, 1+utf8.RuneCount(src[bytes.LastIndexByte(src, '\n')+1:])
	}
	return f
}

// errDirective is the refusal of %YAML and %TAG.
var errDirective = errors.New("directives are not allowed")

// compose parses at most two documents of src. The parser is a young library that panics inside on purpose and catches it;
// one that it does not catch is turned into an error here, so that no text can stop the server.
func compose(src []byte) (docs []*yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the text cannot be read: %v", p)
		}
	}()
	l, err := yaml.NewLoader(bytes.NewReader(src), yaml.WithUniqueKeys(false), yaml.WithStreamNodes(),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return nil, err
	}
	for len(docs) < 2 {
		n := new(yaml.Node)
		if err := l.Load(n); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return docs, err
		}
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			docs = append(docs, n)
		case n.Stream != nil && (n.Stream.Version != nil || len(n.Stream.TagDirectives) > 0):
			return docs, errDirective
		}
	}
	return docs, nil
}

// syntaxFinding gives a parser's error its code; the texts are the library's and are compared in one place only.
func syntaxFinding(err error) Finding {
	f := Finding{Line: 1, Col: 1, Code: "yaml.syntax", Text: err.Error(), Fix: "check indentation, quotes and brackets near this place"}
	var le *yaml.LoadError
	if errors.As(err, &le) {
		f.Text = le.Message
		mark := le.Mark
		if mark.Line == 0 {
			mark = le.ContextMark
		}
		f.Line, f.Col = max(1, mark.Line), max(1, mark.Column)
	}
	switch {
	case errors.Is(err, errDirective):
		f.Code, f.Fix = "yaml.directive_forbidden", "remove the lines that begin with %"
	case strings.Contains(f.Text, "exceeded max depth"):
		f = depthFinding(f.Line, f.Col)
	case strings.Contains(f.Text, "<document start>"):
		f.Code, f.Text, f.Fix = "yaml.multi_document", "text follows after the end of the document", "remove it; a file holds one specification"
	case strings.Contains(f.Text, "unknown anchor"):
		f.Code, f.Text, f.Fix = "yaml.alias_forbidden", "an alias is used", "write the value out"
	}
	return f
}

func depthFinding(line, col int) Finding {
	return Finding{Line: line, Col: col, Code: "yaml.depth", Text: fmt.Sprintf("nested deeper than %d levels", maxDepth), Fix: "a specification needs fewer than ten"}
}

// converter turns the library's nodes into ours.
type converter struct {
	nodes    int
	findings []Finding
}

func (c *converter) fail(line, col int, code, text, fix string) {
	c.findings = append(c.findings, Finding{Line: line, Col: col, Code: code, Text: text, Fix: fix})
}

// convert returns the node of y, which lies depth levels deep. The parser bounds flow and block nesting one by one, so
// the sum is bounded here.
func (c *converter) convert(y *yaml.Node, depth int) *node {
	n := &node{line: y.Line, col: y.Column}
	if depth > maxDepth && len(y.Content) > 0 {
		f := depthFinding(y.Line, y.Column)
		c.fail(f.Line, f.Col, f.Code, f.Text, f.Fix)
		return n
	}
	if c.nodes++; c.nodes > maxNodes {
		if c.nodes == maxNodes+1 {
			c.fail(y.Line, y.Column, "yaml.nodes", fmt.Sprintf("more than %d values", maxNodes), "split the file")
		}
		return n
	}
	c.decorations(y)
	switch y.Kind {
	case yaml.AliasNode:
		c.fail(y.Line, y.Column, "yaml.alias_forbidden", fmt.Sprintf("alias *%s is used", clip(y.Value)), "write the value out")
	case yaml.ScalarNode:
		n.kind, n.text = kindScalar, y.Value
		n.quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	case yaml.SequenceNode:
		n.kind = kindList
		for _, item := range y.Content {
			n.items = append(n.items, c.convert(item, depth+1))
		}
	case yaml.MappingNode:
		n.kind = kindObject
		c.convertMembers(n, y, depth+1)
	}
	return n
}

// decorations refuses anchors and tags; the value itself is still read, so that its own mistakes are shown too.
func (c *converter) decorations(y *yaml.Node) {
	if y.Anchor != "" {
		c.fail(y.Line, y.Column, "yaml.anchor_forbidden", fmt.Sprintf("anchor &%s is set", clip(y.Anchor)), "remove it; aliases are not allowed either")
	}
	if y.Style&yaml.TaggedStyle != 0 || y.Tag == "!" {
		c.fail(y.Line, y.Column, "yaml.tag_forbidden", fmt.Sprintf("tag %s is set", clip(y.Tag)), "remove it; the field decides the type")
	}
}

func (c *converter) convertMembers(n *node, y *yaml.Node, depth int) {
	seen := make(map[string]member, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, val := y.Content[i], c.convert(y.Content[i+1], depth)
		c.decorations(key)
		if c.nodes++; c.nodes > maxNodes {
			return
		}
		switch {
		case key.Kind == yaml.AliasNode:
			c.fail(key.Line, key.Column, "yaml.alias_forbidden", "an alias is used as a key", "write the key out")
			continue
		case key.Kind != yaml.ScalarNode:
			c.fail(key.Line, key.Column, "yaml.key", "a key is not plain text", "use a name as the key")
			continue
		case key.Tag == "!!merge":
			c.fail(key.Line, key.Column, "yaml.merge_forbidden", "merge key << is used", "write the fields out")
			continue
		}
		m := member{name: key.Value, line: key.Line, col: key.Column, val: val}
		if first, again := seen[m.name]; again {
			c.fail(m.line, m.col, "yaml.duplicate_key", fmt.Sprintf("key %s stands twice: lines %d and %d", quote(m.name), first.line, m.line), "keep one of them")
			continue
		}
		seen[m.name] = m
		n.members = append(n.members, m)
	}
}
