package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is an output that people read. What comes from the server or from a file may hold anything, so every character
// that could move, recolour or reorder a terminal is replaced on its way; colour is added behind that, never before.
// In JSON such characters are escaped instead, which keeps the value.
type screen struct {
	w     io.Writer
	json  bool
	ascii bool // nothing but ASCII
	color bool // paint verdict marks and the word after them

	rest    []byte // an incomplete character at the end of the last Write
	raw     bool   // the terminal does not return the carriage by itself
	painted bool   // inside a painted mark
	space   bool   // the last character was a space
}

func newScreen(w io.Writer) *screen { return &screen{w: w} }

// terminal reports whether a person looks at it directly.
func (s *screen) terminal() bool {
	f, ok := s.w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// size is the terminal's width and height in characters, 0 where there is none.
func (s *screen) size() (width, height int) {
	if f, ok := s.w.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil {
			return w, h
		}
	}
	return 0, 0
}

// marks are the shapes of verdicts and states with their colours (SGR parameters); a word always stands beside them.
var marks = map[rune]string{'●': "32", '▲': "33", '■': "1;31", '◆': "35", '○': "2", '►': "36"}

// asciiFor replaces shapes one for one, so that columns stay columns.
var asciiFor = map[rune]rune{
	'●': '*', '▲': '^', '■': '#', '◆': '!', '○': 'o', '►': '>', '├': '|', '└': '`', '│': '|', '─': '-', '…': '.', '·': '.',
	'→': '>', '⟳': '@', '◎': 'o', '⏹': '#', '↶': '<', '±': '~', '≤': '<', '≥': '>', '–': '-', '—': '-', '“': '"', '”': '"', '’': '\'',
}

// Write prints b as it may be shown. It reports len(b) when all of it was taken.
func (s *screen) Write(b []byte) (int, error) {
	n := len(b)
	if len(s.rest) > 0 {
		b = append(s.rest, b...)
		s.rest = nil
	}
	var out bytes.Buffer
	for len(b) > 0 {
		if !utf8.FullRune(b) {
			s.rest = bytes.Clone(b)
			break
		}
		r, size := utf8.DecodeRune(b)
		s.put(&out, r, r == utf8.RuneError && size == 1)
		b = b[size:]
	}
	if _, err := s.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return n, nil
}

func (s *screen) put(out *bytes.Buffer, r rune, broken bool) {
	switch {
	case s.json:
		s.putJSON(out, r, broken)
		return
	case broken || r != '\n' && r != '\t' && !unicode.IsPrint(r):
		r = '·'
	}
	sgr := marks[r]
	if s.ascii && r >= utf8.RuneSelf {
		if a, ok := asciiFor[r]; ok {
			r = a
		} else {
			r = '?'
		}
	}
	if s.color {
		s.paint(out, r, sgr)
	}
	if r == '\n' && s.raw {
		out.WriteByte('\r')
	}
	out.WriteRune(r)
}

// paint begins colour at a mark and ends it where the cell ends: at two spaces, a tab, a line's end or another mark.
func (s *screen) paint(out *bytes.Buffer, r rune, sgr string) {
	space := r == ' '
	if s.painted && (r == '\n' || r == '\t' || sgr != "" || space && s.space) {
		out.WriteString("\x1b[0m")
		s.painted = false
	}
	if sgr != "" {
		out.WriteString("\x1b[" + sgr + "m")
		s.painted = true
	}
	s.space = space
}

func (s *screen) putJSON(out *bytes.Buffer, r rune, broken bool) {
	switch {
	case broken:
		out.WriteString(`\ufffd`)
	case r == '\n' || r == '\t' || unicode.IsPrint(r) && (!s.ascii || r < utf8.RuneSelf):
		out.WriteRune(r)
	case r > 0xffff:
		a, b := utf16.EncodeRune(r)
		fmt.Fprintf(out, `\u%04x\u%04x`, a, b)
	default:
		fmt.Fprintf(out, `\u%04x`, r)
	}
}

// visible replaces what a terminal could act on; the screen does it again, this is for measuring widths beforehand.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, strings.ToValidUTF8(text, "·"))
}
