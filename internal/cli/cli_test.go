package cli

import (
	"bytes"
	"math/rand"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"
)

// commands calls f with every command that people see.
func commands(f func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		f(c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&globals{out: newScreen(&bytes.Buffer{}), err: newScreen(&bytes.Buffer{}), output: "table"}))
}

// TestHelpStartsWithExamples: what a command is for, then lines to copy, then everything else.
func TestHelpStartsWithExamples(t *testing.T) {
	commands(func(c *cobra.Command) {
		t.Run(strings.ReplaceAll(c.CommandPath(), " ", "-"), func(t *testing.T) {
			var out bytes.Buffer
			args := append(strings.Fields(c.CommandPath())[1:], "--help")
			if code := Main(args, strings.NewReader(""), &out, &out); code != exitOK {
				t.Fatalf("exit code %d: %s", code, out.String())
			}
			about, rest, ok := strings.Cut(out.String(), "\n\nExamples:\n  sluice ")
			if !ok || about == "" || strings.Contains(about, "Usage:") {
				t.Errorf("help does not begin with its purpose and examples:\n%s", out.String())
			}
			if !strings.Contains(rest, "\n\nUsage:\n  "+c.CommandPath()) {
				t.Errorf("help has no usage after the examples:\n%s", out.String())
			}
		})
	})
}

// TestExamplesParse: every flag and command that an example shows exists.
func TestExamplesParse(t *testing.T) {
	commands(func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
			line, _, _ = strings.Cut(line, " > ")
			for _, part := range strings.Split(line, "&&") {
				words := exampleWords(part)
				if len(words) == 0 || words[0] != "sluice" {
					t.Errorf("example of %s: %q is no call of sluice", c.CommandPath(), part)
					continue
				}
				root := newRoot(&globals{out: newScreen(&bytes.Buffer{}), err: newScreen(&bytes.Buffer{}), output: "table"})
				cmd, rest, err := root.Find(words[1:])
				if err != nil {
					t.Errorf("example %q: %v", part, err)
					continue
				}
				if err := cmd.ParseFlags(rest); err != nil {
					t.Errorf("example %q: %v", part, err)
					continue
				}
				if cmd.Args != nil && !cmd.HasSubCommands() {
					if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
						t.Errorf("example %q: %v", part, err)
					}
				}
			}
		}
	})
}

// exampleWords splits a line as a shell would, with double quotes only.
func exampleWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 0 {
			words = append(words, strings.Fields(part)...)
		} else {
			words = append(words, part)
		}
	}
	return words
}

// TestEveryExitCodeIsListed: the help names each code that a command can end with.
func TestEveryExitCodeIsListed(t *testing.T) {
	for code, name := range exitNames {
		if !strings.Contains(exitCodesHelp, " "+strconv.Itoa(code)+"  ") {
			t.Errorf("exit code %d (%s) is not in the help", code, name)
		}
	}
}

func shown(s screen, parts ...[]byte) string {
	var out bytes.Buffer
	s.w = &out
	for _, p := range parts {
		if n, err := s.Write(p); n != len(p) || err != nil {
			panic("screen took less than it was given")
		}
	}
	return out.String()
}

// TestScreen shows what reaches a terminal.
func TestScreen(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    screen
		in   string
		want string
	}{
		{"plain", screen{}, "a b\tc\n", "a b\tc\n"},
		{"escape", screen{}, "a\x1b[31mb", "a·[31mb"},
		{"C1 control sequence introducer", screen{}, "a\u009b31mb", "a·31mb"},
		{"carriage return", screen{}, "safe\rNOT", "safe·NOT"},
		{"right-to-left override", screen{}, "a\u202eb", "a·b"},
		{"broken UTF-8", screen{}, "a\xffb", "a·b"},
		{"letters of other scripts stay", screen{}, "Zürich 東京", "Zürich 東京"},
		{"marks", screen{}, "● pass", "● pass"},
		{"marks in colour", screen{color: true}, "x ■ fail it  y\n", "x \x1b[1;31m■ fail it \x1b[0m y\n"},
		{"one mark after another", screen{color: true}, "● a 1, ▲ b\n", "\x1b[32m● a 1, \x1b[0m\x1b[33m▲ b\x1b[0m\n"},
		{"a mark at the end", screen{color: true}, "●\n", "\x1b[32m●\x1b[0m\n"},
		{"ASCII", screen{ascii: true}, "● pass ├─ 5 → 10 Zürich", "* pass |- 5 > 10 Z?rich"},
		{"ASCII in colour", screen{ascii: true, color: true}, "● pass  x", "\x1b[32m* pass \x1b[0m x"},
		{"JSON keeps the value", screen{json: true}, "{\"a\":\"\u009b\u202e\u007f\"}\n", `{"a":"\u009b\u202e\u007f"}` + "\n"},
		{"JSON above the basic plane", screen{json: true}, "\U000e0041", `\udb40\udc41`},
		{"JSON in ASCII", screen{json: true, ascii: true}, `"Zürich"`, `"Z\u00fcrich"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := shown(tt.s, []byte(tt.in)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestScreenLetsNothingThrough: whatever comes, however it is cut, what a terminal could act on is not in it, and the
// same text gives the same result in one piece and in many.
func TestScreenLetsNothingThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\x1b\u009b\u202e\r\b\x00●■")))
		text := []byte(rapid.StringOf(letters).Draw(t, "text"))
		s := screen{ascii: rapid.Bool().Draw(t, "ascii"), json: rapid.Bool().Draw(t, "json")}
		whole := shown(s, text)
		var parts [][]byte
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		if cut := shown(s, parts...); cut != whole {
			t.Fatalf("in pieces %q, whole %q", cut, whole)
		}
		for _, r := range whole {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) || s.ascii && r >= utf8.RuneSelf {
				t.Fatalf("%U went through: %q", r, whole)
			}
		}
	})
}

// TestEditDistanceAgreesWithItsDefinition: the recursive definition as a twin.
func TestEditDistanceAgreesWithItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	word := func() string {
		b := make([]byte, rng.Intn(6))
		for i := range b {
			b[i] = "abc"[rng.Intn(3)]
		}
		return string(b)
	}
	for range 2000 {
		a, b := word(), word()
		if got, want := editDistance(a, b), editDistanceTwin(a, b); got != want {
			t.Fatalf("editDistance(%q, %q) = %d, want %d", a, b, got, want)
		}
	}
}

func editDistanceTwin(a, b string) int {
	switch {
	case a == "":
		return len(b)
	case b == "":
		return len(a)
	case a[0] == b[0]:
		return editDistanceTwin(a[1:], b[1:])
	}
	return 1 + min(editDistanceTwin(a[1:], b), editDistanceTwin(a, b[1:]), editDistanceTwin(a[1:], b[1:]))
}

func TestNearest(t *testing.T) {
	names := []string{"flights-delay-v12", "spend7d-v15", "slow"}
	for typo, want := range map[string]string{
		"spend7d-v16": "spend7d-v15", "slwo": "slow", "flights-delay": "flights-delay-v12", "x": "", "": "", "nothing-like-it": "", "ab": "",
	} {
		if got := nearest(typo, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", typo, got, want)
		}
	}
}
