package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestReferenceIsFresh: docs/cli.md is made of the commands' own help; -update writes it.
func TestReferenceIsFresh(t *testing.T) {
	got := reference()
	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/cli.md is not what the commands say; write it with: go test ./internal/cli -run Reference -update")
	}
}

// reference is the CLI reference: each command with examples, usage and flags, then what holds for all of them.
func reference() []byte {
	var b bytes.Buffer
	b.WriteString("# Command line\n\nGenerated from the commands' own help: `go test ./internal/cli -run Reference -update`.\n\n")
	b.WriteString("Data goes to standard output, messages to standard error. `-o json` makes both JSON. Colour is used on a terminal only and never\n" +
		"alone: a shape and a word stand beside it. Names complete: `sluice completion bash --help`.\n\n")
	commands(func(c *cobra.Command) {
		if !c.HasParent() {
			fmt.Fprintf(&b, "```\n%s\n```\n\n## Flags of every command\n\n```\n%s```\n\n", exitCodesHelp, c.PersistentFlags().FlagUsages())
			return
		}
		fmt.Fprintf(&b, "## %s\n\n%s.\n", c.CommandPath(), strings.TrimSuffix(c.Short, "."))
		if c.Long != "" {
			fmt.Fprintf(&b, "%s\n", c.Long)
		}
		fmt.Fprintf(&b, "\n```\n%s\n```\n\n", unindent(c.Example))
		if len(c.Aliases) > 0 {
			fmt.Fprintf(&b, "Also: `%s`.\n\n", strings.Join(c.Aliases, "`, `"))
		}
		if c.HasSubCommands() {
			return
		}
		fmt.Fprintf(&b, "Usage: `%s`\n\n", c.UseLine())
		if flags := c.NonInheritedFlags(); flags.HasAvailableFlags() {
			fmt.Fprintf(&b, "```\n%s```\n\n", flags.FlagUsages())
		}
	})
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

func unindent(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, strings.TrimSpace(line))
	}
	return strings.Join(out, "\n")
}
