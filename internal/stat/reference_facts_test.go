package stat

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Facts about others that cannot be computed here are pinned by their digests; what they say about each other, or about
// this package, is checked beside.

func init() {
	for _, kind := range []string{
		"whylogs_defaults", "judge_defaults", "nab_scoreboard/corpus", "nab_scoreboard/profiles", "readme_scoreboard", "readme_additional",
		"final_results", "thresholds", "measured_here", "tsb_ad_u_vus_pr/rows",
		"AA_clustered_users", "AA_season_with_ramp_1_5_25_50_percent_15min_each", "AA_stress_more", "constant_z_boundary_crossing_under_null",
		"error_rate", "late_onset_at_1800s", "latency_lognormal_sigma_0.8_histogram_buckets_base_2^(1/8)", "margin_1.2x_at_boundary_AA",
		"methods", "p99 exceedance as a 2x2 test",
	} {
		referenceKinds[kind] = func(c *checker, raw json.RawMessage) {
			if check, ok := factChecks[kind]; ok {
				check(c, raw)
			}
			c.pinned("values", raw)
		}
	}
}

var factChecks = map[string]func(*checker, json.RawMessage){
	"judge_defaults": checkJudgeDefaults,
	"thresholds":     checkThresholds,
	"final_results":  checkFinalResults,
	"error_rate":     checkProbe,
}

// checkJudgeDefaults: the zero value of Kayenta has its judge's defaults. The interval that just clears the tolerance tells.
func checkJudgeDefaults(c *checker, raw json.RawMessage) {
	var k struct {
		Tolerance  float64
		ConfLevel  float64 `json:"confLevel"`
		Percentage float64 `json:"nodata_fail_percent"`
	}
	c.read(raw, &k)
	explicit := Kayenta{Tolerance: k.Tolerance, Confidence: k.ConfLevel}
	control := []float64{1, 2, 3, 4, 5, 6, 7, 8}
	for i := range 40 {
		treatment := make([]float64, len(control))
		for j, v := range control {
			treatment[j] = v + float64(i)/4
		}
		got, _ := Kayenta{}.Classify(control, treatment)
		want, _ := explicit.Classify(control, treatment)
		c.same(fmt.Sprint("shift ", i), string(got), string(want))
	}
}

// nabResult is a score by detector and profile.
type nabResult map[string]map[string]float64

// checkFinalResults: nobody is better than perfect, and the detector that says nothing has 0.
func checkFinalResults(c *checker, raw json.RawMessage) {
	var results nabResult
	c.read(raw, &results)
	for profile, score := range results["null"] {
		c.near("null, "+profile, score, 0, 0)
	}
	c.final = results
	for name, r := range results {
		for profile, score := range r {
			c.same(name+", "+profile, fmt.Sprint(score >= 0 && score <= 100), "true")
		}
	}
}

// checkThresholds: raw scores over the 116 windows of the corpus become the published ones, with the detector that says
// nothing at 0 and the perfect one at 100. The raw scores of some detectors are older than their results; they are left out.
func checkThresholds(c *checker, raw json.RawMessage) {
	var k map[string]map[string]struct{ Score float64 }
	c.read(raw, &k)
	for name, profiles := range k {
		if !slices.Contains([]string{"ARTime", "contextOSE", "expose", "null", "numenta", "randomCutForest", "relativeEntropy", "skyline", "earthgeckoSkyline"}, name) {
			continue
		}
		for profile, r := range profiles {
			want, ok := c.final[name][profile]
			if !ok {
				continue
			}
			missed := 1.0
			if profile == "reward_low_FN_rate" {
				missed = 2
			}
			got := 100 * (r.Score + 116*missed) / (116 * (1 + missed))
			c.near(name+", "+profile, got, want, 0.02)
		}
	}
}

// checkProbe runs the block e-process again on the probe's simplest streams: 200 requests a second, 10 % exposed.
func checkProbe(c *checker, raw json.RawMessage) {
	var k map[string]map[string]json.RawMessage
	c.read(raw, &k)
	for name, exposed := range map[string]float64{"1% -> 1.5%": 0.015, "1% -> 3%": 0.03} {
		var want struct{ Mean float64 }
		c.read(k[name]["eproc"], &want)
		got := probeDelay(exposed)
		c.near(name+", mean seconds over the published", got/want.Mean, 1, 0.15)
	}
}

// probeDelay is the mean number of seconds to an alarm at 1 % of 200 runs, with a baseline of 1 %.
func probeDelay(exposed float64) float64 {
	r := rand.New(rand.NewPCG(31, 32))
	bad := func(n int, rate float64) (y uint64) {
		for range n {
			if r.Float64() < rate {
				y++
			}
		}
		return y
	}
	const runs = 200
	seconds := 0
	for range runs {
		var p TwoByTwo
		for p.LogE() < ln(100) {
			p.Step(Table{Counts: Counts{20, bad(20, exposed), 180, bad(180, 0.01)}})
			seconds++
		}
	}
	return float64(seconds) / runs
}
