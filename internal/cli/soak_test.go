//go:build soak

package cli

import (
	"bytes"
	goflag "flag"
	"regexp"
	"testing"

	"sluice.dev/sluice/internal/bench"
)

// Parts of the full benchmark: seeds do not depend on them, so that parts of it can be run one after the other.
var (
	soakSeed     = goflag.Uint64("guardrail-seed", 1, "seed of every stream")
	soakNulls    = goflag.Int("guardrail-nulls", 1000, "rollouts per family without harm")
	soakHarms    = goflag.Int("guardrail-harms", 200, "rollouts per family with harm")
	soakTunes    = goflag.Int("guardrail-tunes", 400, "rollouts on which the knobs are set")
	soakSeconds  = goflag.Int("guardrail-seconds", 3600, "seconds of a rollout")
	soakFamilies = goflag.String("guardrail-families", "", "regular expression of the families; empty means all")
	soakData     = goflag.String("guardrail-data", "", "folder with recorded series")
	soakSVG      = goflag.String("guardrail-svg", "", "file for the frontier")
)

// TestSoakGuardrails is the whole of `sluice bench guardrails` and prints its table; missed goals are in it and fail nothing, a
// null family whose lower 95 % bound of false rollbacks exceeds alpha does.
func TestSoakGuardrails(t *testing.T) {
	opts := bench.Full(*soakSeed)
	opts.NullRuns, opts.HarmRuns, opts.TuneRuns = *soakNulls, *soakHarms, *soakTunes
	opts.NullTime, opts.HarmTime = *soakSeconds, *soakSeconds
	opts.Only = regexp.MustCompile(*soakFamilies).MatchString
	if *soakData != "" {
		var err error
		if opts.Series, err = baselines(*soakData); err != nil {
			t.Fatal(err)
		}
	}
	r, err := (&globals{quiet: true}).guardrails(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %d rollouts without harm, %d with harm, %d for tuning, %d s each\n%s", *soakSeed, *soakNulls, *soakHarms, *soakTunes, *soakSeconds, b.String())
	if *soakSVG != "" {
		if err := writeFile(*soakSVG, r.WriteSVG); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range r.Goals {
		if !g.Met && g.Unsafe {
			t.Errorf("%s: %s, want %s", g.Name, g.Measured, g.Limit)
		}
	}
}
