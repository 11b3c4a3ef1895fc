package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// nameTime bounds what looking names up for a completion or a suggestion may take: nobody waits for those.
const nameTime = 200 * time.Millisecond

// rolloutNames lists the rollouts, nil when the server does not answer in time.
func (g *globals) rolloutNames(ctx context.Context) []string {
	c, err := g.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	var out struct {
		Rollouts []struct{ Name, Sentence string }
	}
	if c.Get(ctx, "/v1/rollouts", &out) != nil {
		return nil
	}
	var names []string
	for _, r := range out.Rollouts {
		names = append(names, r.Name)
	}
	return names
}

func (g *globals) flagKeys(ctx context.Context) []string {
	c, err := g.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	var out struct{ Flags []struct{ Key string } }
	if c.Get(ctx, g.query("/v1/flags"), &out) != nil {
		return nil
	}
	var keys []string
	for _, f := range out.Flags {
		keys = append(keys, f.Key)
	}
	return keys
}

// nearRollout returns the rollout that an unknown name is probably a misspelling of, or "".
func (g *globals) nearRollout(ctx context.Context) string {
	if len(g.names) == 0 {
		return ""
	}
	return nearest(g.names[len(g.names)-1], g.rolloutNames(ctx))
}

// completeFirst completes the first argument from a list that the server gives.
func completeFirst(list func(context.Context) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		return list(ctx), cobra.ShellCompDirectiveNoFileComp
	}
}

// nearest returns the candidate that s is probably a misspelling of, or "": two letters differ, or a third of a long name's.
func nearest(s string, candidates []string) string {
	best, at := "", min(len(s), max(2, len(s)/3)+1)
	for _, c := range candidates {
		if d := editDistance(s, c); d < at {
			best, at = c, d
		}
	}
	return best
}

// editDistance is the number of insertions, deletions and replacements that turn a into b (Levenshtein), over bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
