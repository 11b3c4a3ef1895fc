package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/plan"
)

func explainCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "explain [FIELD]", Short: "Say what a field of a Rollout spec means", Args: cobra.MaximumNArgs(1),
		Example: "  sluice explain\n  sluice explain spec.stages\n  sluice explain spec.guardrails.test.worseBy",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var paths []string
			for _, f := range plan.Fields() {
				paths = append(paths, plain(f.Path))
			}
			return paths, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			at := ""
			if len(args) == 1 {
				at = plain(args[0])
			}
			return g.explain(at)
		},
	}
}

// plain writes a path without the marks of lists and mappings: spec.stages[].bake is asked for as spec.stages.bake.
func plain(path string) string {
	path = strings.NewReplacer("[]", "", ".<name>", "", ".*", "").Replace(path)
	return strings.Trim(path, ".")
}

func (g *globals) explain(at string) error {
	var self *plan.Field
	var below []plan.Field
	var paths []string
	for _, f := range plan.Fields() {
		p := plain(f.Path)
		paths = append(paths, p)
		rest, under := strings.CutPrefix(p, at+".")
		switch {
		case p == at && self == nil:
			self = &f
		case at == "" && strings.Count(p, ".") <= 1, under && !strings.Contains(rest, "."):
			below = append(below, f)
		}
	}
	if self == nil && len(below) == 0 {
		near := ""
		if n := nearest(at, paths); n != "" {
			near = fmt.Sprintf("\n  did you mean: sluice explain %s", n)
		}
		return exit(exitUsage, "error: no field %q%s\n  see: sluice explain", at, near)
	}
	if g.output == "json" {
		return g.json(map[string]any{"field": self, "below": below})
	}
	if self != nil {
		g.printf("%s   %s\n", self.Path, facts(*self))
		g.printf("%s\n", self.Doc)
	}
	if len(below) == 0 {
		return nil
	}
	g.printf("\n")
	tw := tabwriter.NewWriter(g.out, 2, 8, 2, ' ', 0)
	for _, f := range below {
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", f.Path, facts(f), f.Doc)
	}
	return tw.Flush()
}

// facts are type, default and values of a field in one phrase.
func facts(f plan.Field) string {
	out := f.Type
	if len(f.Values) > 0 {
		out = strings.Join(f.Values, " | ")
	}
	switch {
	case f.Required:
		out += ", required"
	case f.Default != "":
		out += ", default " + f.Default
	}
	return out
}
