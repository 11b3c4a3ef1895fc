package stat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var referenceDir = flag.String("reference", "", "folder with reference values (*.json); default $SLUICE_TESTDATA/reference")

// referenceKinds are the kinds of cases, by the name of their member in the files, with the file's name before it where the
// member's says nothing. Each computes its cases again, or checks the facts of others that cannot be computed here.
var referenceKinds = map[string]func(*checker, json.RawMessage){
	"conditional_count_e_value":             checkCounts,
	"two_by_two_block_e_value":              checkBlocks,
	"oracle_error_rate":                     checkErrorOracle,
	"oracle_latency_lognormal_scale":        checkLatencyOracle,
	"critical_multiplier_of_standard_error": checkMultipliers,
	"statsig_constant_multiplier":           checkStatsig,
	"psi_jsd_from_counts":                   checkDivergences,
	"psi_null_critical_values":              checkPSILaw,
	"normal_mean_shift_table":               checkShifts,

	"empirical_bernstein_cs":          checkBernstein,
	"bernoulli_confidence_interval":   checkBernoulli,
	"quantile_ab_p_value":             checkQuantileAB,
	"ssrm_multinomial/cases":          checkMultinomial,
	"default_dirichlet_concentration": checkConcentration,
	"overflow":                        checkOverflow,
	"published_fixed_chi2_example":    checkFixedRatio,
	"regression_default_prior":        checkDefaultPrior,
	"river":                           checkRiver,

	"growthbook_sequential/cases": checkGrowthBook,
	"mann_whitney_ci":             checkKayentaInterval,
	"classifier":                  checkKayentaClassifier,
	"effect_size":                 checkKayentaEffect,
	"spending":                    checkSpending,
	"many_days":                   checkManyDays,
	"adjusted_alpha_run_over":     checkRunOver,
	"ztest_two_sided_sequential":  checkSequentialZ,
	"ztest_noninferiority":        checkNonInferiority,

	"scipy_ks_2samp":         checkKS,
	"scipy_wasserstein_1d":   checkWasserstein,
	"scipy_chi2_contingency": checkContingency,
	"scipy_mannwhitneyu":     checkMannWhitney,
	"evidently":              checkEvidently,
	"tfdv":                   checkTFDV,
	"nannyml":                checkNannyML,
}

// remarks are members that hold no cases.
var remarks = []string{"source", "note", "property", "common", "rule", "known_artefact", "default_dirichlet_mean", "columns"}

// TestReference computes published and independently computed values again. It reads every JSON file of the folder and fails
// on a mismatch, a kind it does not know, a case that was not compared, and a folder without files or a file without cases.
func TestReference(t *testing.T) {
	dir := *referenceDir
	if dir == "" {
		base := os.Getenv("SLUICE_TESTDATA")
		if base == "" {
			t.Skip("SKIPPED: NO REFERENCE VALUES WERE CHECKED: set SLUICE_TESTDATA or give -reference DIR")
		}
		dir = filepath.Join(base, "reference")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no JSON files in %s: -reference or SLUICE_TESTDATA must name a folder that has some (%v)", dir, err)
	}
	slices.Sort(files)
	all := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := &checker{t: t}
		c.file(strings.TrimSuffix(filepath.Base(file), ".json"), data)
		t.Logf("%s: %d kinds, %d cases, %d values compared", filepath.Base(file), c.kinds, c.cases, c.compared)
		all += c.compared
	}
	t.Logf("%d files, %d values compared", len(files), all)
}

// file checks the members of a file.
func (c *checker) file(name string, data json.RawMessage) {
	c.at = name
	var members map[string]json.RawMessage
	c.read(data, &members)
	for _, member := range slices.Sorted(maps.Keys(members)) {
		if slices.Contains(remarks, member) {
			continue
		}
		c.at = name + "/" + member
		check, ok := referenceKinds[c.at]
		if !ok {
			check, ok = referenceKinds[member]
		}
		if !ok {
			c.t.Errorf("%s: no such kind of cases is known", c.at)
			continue
		}
		before, cases := c.compared, casesIn(members[member])
		check(c, members[member])
		if c.compared-before < cases {
			c.t.Errorf("%s: %d of %d cases were compared", c.at, c.compared-before, cases)
		}
		c.kinds, c.cases = c.kinds+1, c.cases+cases
	}
	if c.compared == 0 {
		c.t.Errorf("%s: no case was found in it", name)
	}
}

// casesIn is how many cases a member holds: the elements of its list, or of the lists inside; at least one.
func casesIn(raw json.RawMessage) int {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		return max(len(list), 1)
	}
	var parts map[string]json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return 1
	}
	n := 0
	for name, part := range parts {
		if name == "cases" || name == "rows" {
			n += casesIn(part)
		}
	}
	return max(n, 1)
}

// complaint is the part of testing.T that checks need, so that they can be checked too.
type complaint interface {
	Errorf(format string, args ...any)
}

type checker struct {
	t                      complaint
	at                     string
	kinds, cases, compared int
	final                  nabResult // of nab_scoreboard, which its thresholds lead to
}

func (c *checker) read(raw json.RawMessage, into any) {
	if err := json.Unmarshal(raw, into); err != nil {
		c.t.Errorf("%s: %v", c.at, err)
	}
}

func (c *checker) near(what string, got, want, tolerance float64) {
	c.compared++
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		c.t.Errorf("%s: %s = %.10g, want %.10g (within %g)", c.at, what, got, want, tolerance)
	}
}

func checkCounts(c *checker, raw json.RawMessage) {
	var cases []struct {
		A   float64 `json:"beta_a"`
		B   float64 `json:"beta_b"`
		C   uint64  `json:"events_C"`
		T   uint64  `json:"events_T"`
		One float64 `json:"log_e_one_sided_more_in_T"`
		Two float64 `json:"log_e_two_sided"`
		Q0  float64 `json:"q0"`
	}
	c.read(raw, &cases)
	for _, k := range cases {
		c.near(fmt.Sprintf("one-sided %d:%d", k.T, k.C), CountLogE(k.T, k.C, k.Q0, k.A, k.B, false), k.One, 1e-8)
		c.near(fmt.Sprintf("two-sided %d:%d", k.T, k.C), CountLogE(k.T, k.C, k.Q0, k.A, k.B, true), k.Two, 1e-8)
	}
}

func checkBlocks(c *checker, raw json.RawMessage) {
	var cases []struct {
		Abs    float64 `json:"abs_margin"`
		Ratio  float64 `json:"ratio_margin"`
		LogE   float64 `json:"log_e"`
		NC     uint64  `json:"nC"`
		NT     uint64  `json:"nT"`
		YC     uint64  `json:"yC"`
		YT     uint64  `json:"yT"`
		Theta0 float64 `json:"theta0"`
		ThetaC float64 `json:"thetaC"`
		ThetaT float64 `json:"thetaT"`
	}
	c.read(raw, &cases)
	for _, k := range cases {
		e, null := BlockLogE(Table{Counts: Counts{k.NT, k.YT, k.NC, k.YC}}, Margin{k.Ratio - 1, k.Abs}, k.ThetaT, k.ThetaC)
		c.near("log e", e, k.LogE, 1e-8)
		c.near("null rate", null, k.Theta0, 1e-9)
	}
}

func checkErrorOracle(c *checker, raw json.RawMessage) {
	var cases []struct {
		N01  float64 `json:"n_exposed_a.01"`
		N001 float64 `json:"n_exposed_a.001"`
		All  float64 `json:"n_total_a.01"`
		Nats float64 `json:"nats_per_request"`
		PC   float64 `json:"pC"`
		PT   float64 `json:"pT"`
		W    float64 `json:"w"`
	}
	c.read(raw, &cases)
	for _, k := range cases {
		i := RateLimit(k.W, k.PT, k.PC, Margin{})
		what := fmt.Sprintf("%g to %g at %g", k.PC, k.PT, k.W)
		c.near(what+", nats", i/k.Nats, 1, 1e-4)
		c.near(what+", exposed", k.W*math.Log(100)/i, k.N01, 1)
		c.near(what+", exposed at 0.001", k.W*math.Log(1000)/i, k.N001, 1)
		c.near(what+", all", math.Log(100)/i, k.All, 1)
	}
}

// checkLatencyOracle integrates the two log-normal laws over 40,000 bins of the log-value.
func checkLatencyOracle(c *checker, raw json.RawMessage) {
	var cases []struct {
		Full  float64 `json:"n_exposed_full_distribution_a.01"`
		P99   float64 `json:"n_exposed_p99_exceedance_only_a.01"`
		Scale float64 `json:"scale"`
		Sigma float64 `json:"sigma_log"`
		W     float64 `json:"w"`
	}
	c.read(raw, &cases)
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	const bins = 40_000
	for _, k := range cases {
		shift := math.Log(k.Scale) / k.Sigma
		pT, pC := make([]float64, bins), make([]float64, bins)
		for i := range bins {
			lo, hi := -12+24*float64(i)/bins, -12+24*float64(i+1)/bins
			pT[i], pC[i] = phi(hi-shift)-phi(lo-shift), phi(hi)-phi(lo)
		}
		what := fmt.Sprintf("x%g, sigma %g, w %g", k.Scale, k.Sigma, k.W)
		need := func(i float64) float64 { return k.W * math.Log(100) / i }
		full := need(ShapeLimit(k.W, pT, pC))
		c.near(what+", whole shape", full, k.Full, 1+2e-3*k.Full)
		z99 := 2.3263478740408408
		p99 := need(RateLimit(k.W, 1-phi(z99-shift), 0.01, Margin{}))
		c.near(what+", p99 only", p99, k.P99, 1+2e-3*k.P99)
	}
}

// checkMultipliers: the multipliers of the standard error at which others' always-valid tests reject. Sources: GrowthBook
// gbstats/frequentist/tests.py; Eppo, statistical nitty-gritty.
func checkMultipliers(c *checker, raw json.RawMessage) {
	var cases []map[string]float64
	c.read(raw, &cases)
	growthBook := func(n, level float64, alt Alternative) float64 {
		return -Difference{SE: 1, N: n}.GrowthBook(level, 5000, alt).Lo
	}
	for _, k := range cases {
		n := k["n_total"]
		for name, want := range k {
			var got float64
			switch name {
			case "growthbook_2s_a.05_N5000":
				got = growthBook(n, 0.05, TwoSided)
			case "growthbook_1s_a.05_N5000":
				got = growthBook(n, 0.05, Greater)
			case "growthbook_1s_a.01_N5000":
				got = growthBook(n, 0.01, Greater)
			case "eppo_2s_c.95_N10000":
				got = Eppo(n, 0.05, 10000)
			default:
				continue
			}
			c.near(fmt.Sprintf("%s at n=%g", name, n), got, want, 2e-5)
		}
	}
}

func checkStatsig(c *checker, raw json.RawMessage) {
	var k map[string]any
	c.read(raw, &k)
	for name, got := range map[string]float64{
		"two_sided_a.05_balanced": Statsig(0.05, 0.5, TwoSided),
		"one_sided_a.05_balanced": Statsig(0.05, 0.5, Greater),
		"two_sided_a.05_10_90":    Statsig(0.05, 0.1, TwoSided),
	} {
		if want, ok := k[name].(float64); ok {
			c.near(name, got, want, 2e-5)
		}
	}
}

// pins are digests of facts that cannot be computed again: defaults, scoreboards and simulations of others.
var pins = map[string]string{
	"drift_reference/evidently/defaults":                                                 "11d4425514d90f86",
	"drift_reference/nannyml/defaults":                                                   "1e5497228a43cd42",
	"drift_reference/whylogs_defaults/values":                                            "cf45178638d630f2",
	"kayenta_mannwhitney/judge_defaults/values":                                          "6f2ba96194c3fdc6",
	"nab_scoreboard/corpus/values":                                                       "7008499f5465aade",
	"nab_scoreboard/final_results/values":                                                "d67984d77fc024bb",
	"nab_scoreboard/measured_here/values":                                                "290b70aecf3ed367",
	"nab_scoreboard/profiles/values":                                                     "7e5978d71c1c865f",
	"nab_scoreboard/readme_additional/values":                                            "be01c877ed746ab1",
	"nab_scoreboard/readme_scoreboard/values":                                            "3124ffab16c2d912",
	"nab_scoreboard/thresholds/values":                                                   "0aa84ffab0249f90",
	"simulation_probe/AA_clustered_users/values":                                         "8bf0ea5159a887f1",
	"simulation_probe/AA_season_with_ramp_1_5_25_50_percent_15min_each/values":           "0ad2d859f60c171a",
	"simulation_probe/AA_stress_more/values":                                             "60aafc89e74cf5ae",
	"simulation_probe/constant_z_boundary_crossing_under_null/values":                    "24c4dd6ec2abaa20",
	"simulation_probe/error_rate/values":                                                 "f481eeebd684345d",
	"simulation_probe/late_onset_at_1800s/values":                                        "f40951a2c65b949c",
	"simulation_probe/latency_lognormal_sigma_0.8_histogram_buckets_base_2^(1/8)/values": "95158f312435459f",
	"simulation_probe/margin_1.2x_at_boundary_AA/values":                                 "b58e69bf9569e733",
	"simulation_probe/methods/values":                                                    "1c39cd2783aac84b",
	"simulation_probe/p99 exceedance as a 2x2 test/values":                               "78bd636d454172ea",
	"ssrm_multinomial/overflow/values":                                                   "c4276366406b59c5",
	"ssrm_multinomial/published_fixed_chi2_example/values":                               "08ef108baf01b7ee",
	"ssrm_multinomial/regression_default_prior/values":                                   "7187002b727d01e8",
	"tsb_ad_u_vus_pr/rows/values":                                                        "18fa9a37bc01e048",
}

// pinned compares facts that are not computed here with the digest of what was published.
func (c *checker) pinned(what string, raw json.RawMessage) {
	var v any
	c.read(raw, &v)
	canonical, err := json.Marshal(v)
	if err != nil {
		c.t.Errorf("%s: %v", c.at, err)
	}
	sum := sha256.Sum256(canonical)
	c.compared += casesIn(raw) - 1 // the digest is of all of them
	c.same(what+" (digest)", hex.EncodeToString(sum[:8]), pins[c.at+"/"+what])
}
