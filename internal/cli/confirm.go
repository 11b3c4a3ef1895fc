package cli

import (
	"bufio"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sluice.dev/sluice/internal/client"
)

// confirm lets a person see what is about to happen. Where nobody can be asked, --yes has to be given. Rolling back and
// kill switches never ask: they are the way to safety.
func (g *globals) confirm(yes bool, effect string) error {
	if yes {
		return nil
	}
	in, ok := g.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !g.err.terminal() {
		return exit(exitUsage, "error: %s: not a terminal, so nobody can be asked\n  to mend it: add --yes", effect)
	}
	g.say("%s. Go on? [y/N]", effect)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return exit(exitError, "nothing done")
}

// linked gives a command about one rollout the flag --url, which prints the address of its page instead.
func (g *globals) linked(cmd *cobra.Command) *cobra.Command {
	var only bool
	cmd.Flags().BoolVar(&only, "url", false, "print the address of the page that shows it, nothing else")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !only {
			return run(cmd, args)
		}
		c, err := g.client()
		if err != nil {
			return err
		}
		g.printf("%s\n", page(c, cmd.Name(), args))
		return nil
	}
	return cmd
}

// page is the address that shows what a command shows.
func page(c *client.Client, command string, args []string) string {
	if command == "get" && len(args) < 2 {
		return c.URL("/")
	}
	return c.URL("/r/" + url.PathEscape(args[len(args)-1]))
}
