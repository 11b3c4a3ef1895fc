package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Severity says how much a finding matters.
type Severity string

// Severities. Only an error keeps a specification from becoming a plan.
const (
	SevError   Severity = "error"
	SevWarning Severity = "warning"
	SevNote    Severity = "note"
)

// HasErrors reports whether any finding is an error.
func HasErrors(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == SevError })
}

// String is the finding on one line: place, severity, code, path and text.
func (f Finding) String() string {
	place := fmt.Sprintf("%d:%d", f.Line, f.Col)
	if f.File != "" {
		place = f.File + ":" + place
	}
	if f.Path != "" {
		return fmt.Sprintf("%s: %s %s: %s: %s", place, f.Severity, f.Code, f.Path, f.Text)
	}
	return fmt.Sprintf("%s: %s %s: %s", place, f.Severity, f.Code, f.Text)
}

// maxShown is how much of a long source line is shown, in characters.
const maxShown = 100

// FormatFinding renders f for people: its line of String, the line of src it points at with a caret under the column, and
// the fix. src is the text that was parsed; a place outside it leaves the excerpt out. Characters that could move or
// recolour a terminal are replaced.
func FormatFinding(f Finding, src string) string {
	var b strings.Builder
	b.WriteString(printable(f.String()))
	if line, ok := lineOf(src, f.Line); ok {
		shown, caret := excerpt(line, f.Col)
		num := strconv.Itoa(f.Line)
		fmt.Fprintf(&b, "\n %s | %s\n %s | %s^", num, shown, strings.Repeat(" ", len(num)), strings.Repeat(" ", caret))
	}
	if f.Fix != "" {
		b.WriteString("\n fix: " + printable(f.Fix))
	}
	return b.String()
}

func lineOf(src string, n int) (string, bool) {
	for i := 1; n > 0; i++ {
		line, rest, more := strings.Cut(src, "\n")
		if i == n {
			return strings.TrimSuffix(line, "\r"), true
		}
		if !more {
			return "", false
		}
		src = rest
	}
	return "", false
}

// excerpt cuts line around column col (characters, from 1) and returns how many characters stand before the caret.
func excerpt(line string, col int) (string, int) {
	runes := []rune(printable(line))
	at := min(max(col-1, 0), len(runes))
	if len(runes) <= maxShown {
		return string(runes), at
	}
	from := max(0, min(at-maxShown/2, len(runes)-maxShown))
	to := min(len(runes), from+maxShown)
	head, tail := "", ""
	if from > 0 {
		head = "..."
	}
	if to < len(runes) {
		tail = "..."
	}
	return head + string(runes[from:to]) + tail, len(head) + at - from
}

// printable replaces every character that is not visible or a plain space by one visible character.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return '\u00b7'
	}, strings.ToValidUTF8(s, "\u00b7"))
}

// sortFindings orders by place, then code, so that the same text always gives the same list.
func sortFindings(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Path, b.Path))
	})
}

// clip shortens s for a message.
func clip(s string) string {
	const limit = 60
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit]) + "..."
}

// quote shows a value of the text: short, in quotes, anything invisible or outside ASCII that looks like ASCII escaped.
func quote(s string) string { return strconv.QuoteToASCII(clip(s)) }

// nearest returns the candidate that s is probably a misspelling of, or "".
func nearest(s string, candidates []string) string {
	if len(s) > 40 {
		return ""
	}
	best, at := "", 1+max(1, len(s)/3)
	for _, c := range candidates {
		if d := distance(strings.ToLower(s), strings.ToLower(c)); d < at {
			best, at = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
