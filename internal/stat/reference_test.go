package stat

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var referenceDir = flag.String("reference", "", "folder with reference values (*.json); default $SLUICE_TESTDATA/reference")

// referenceKinds are the kinds of cases that are computed again here, by the name of their member in the files. Each returns
// how many values it compared.
var referenceKinds = map[string]func(*checker, json.RawMessage){
	"conditional_count_e_value":             checkCounts,
	"two_by_two_block_e_value":              checkBlocks,
	"oracle_error_rate":                     checkErrorOracle,
	"oracle_latency_lognormal_scale":        checkLatencyOracle,
	"critical_multiplier_of_standard_error": checkMultipliers,
	"statsig_constant_multiplier":           checkStatsig,
	"beta_binomial_log_mixture":             checkBetaBinomial,
	"bernoulli_confidence_interval":         checkBernoulli,
	"ssrm_multinomial":                      checkMultinomial,
}

// TestReference computes published and independently computed values again. It reads every JSON file of the folder, says
// which kinds of cases it does not know, and fails on a mismatch and on a folder without cases.
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
	c := &checker{t: t}
	var unknown []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		unknown = append(unknown, c.file(strings.TrimSuffix(filepath.Base(file), ".json"), data, members)...)
	}
	if c.compared == 0 {
		t.Errorf("%d files in %s hold no case of a known kind", len(files), dir)
	}
	t.Logf("%d files, %d values compared; kinds not covered: %s", len(files), c.compared, strings.Join(unknown, ", "))
}

// file checks the members of a file, or the file as a whole where its name is a kind.
func (c *checker) file(name string, data json.RawMessage, members map[string]json.RawMessage) (unknown []string) {
	if check, ok := referenceKinds[name]; ok {
		c.at = name
		check(c, data)
		return nil
	}
	for _, kind := range slices.Sorted(func(yield func(string) bool) {
		for k := range members {
			if !yield(k) {
				return
			}
		}
	}) {
		if strings.Contains("source note property common", kind) {
			continue
		}
		check, ok := referenceKinds[kind]
		if !ok {
			unknown = append(unknown, name+"/"+kind)
			continue
		}
		c.at = name + "/" + kind
		before := c.compared
		check(c, members[kind])
		if c.compared == before {
			c.t.Errorf("%s: no case was found in it", c.at)
		}
	}
	return unknown
}

type checker struct {
	t        *testing.T
	at       string
	compared int
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
	for _, k := range cases {
		n := k["n_total"]
		for name, want := range k {
			var got float64
			switch name {
			case "growthbook_2s_a.05_N5000":
				got = growthBook(n, 0.05, 5000, true)
			case "growthbook_1s_a.05_N5000":
				got = growthBook(n, 0.05, 5000, false)
			case "growthbook_1s_a.01_N5000":
				got = growthBook(n, 0.01, 5000, false)
			case "eppo_2s_c.95_N10000":
				const a2 = 0.05 * 0.05
				rho := 10000 / (math.Log(math.Log(math.E/a2)) - 2*math.Log(0.05))
				got = math.Sqrt((n + rho) / n * math.Log((n+rho)/(rho*a2)))
			default:
				continue
			}
			c.near(fmt.Sprintf("%s at n=%g", name, n), got, want, 2e-5)
		}
	}
}

func growthBook(n, a, tuned float64, twoSided bool) float64 {
	if !twoSided {
		r := math.Sqrt((-2*math.Log(2*a) + math.Log(-2*math.Log(2*a)+1)) / tuned)
		return math.Sqrt(n) * math.Sqrt(2*(n*r*r+1)/(n*n*r*r)*math.Log(1+math.Sqrt(n*r*r+1)/(2*a)))
	}
	r := math.Sqrt((-2*math.Log(a) + math.Log(-2*math.Log(a)+1)) / tuned)
	return math.Sqrt(n) * math.Sqrt(2*(n*r*r+1)*math.Log(math.Sqrt(n*r*r+1)/a)/(n*n*r*r))
}

func checkStatsig(c *checker, raw json.RawMessage) {
	var k map[string]any
	c.read(raw, &k)
	// V/tau is constant: tau = z^2 (vT+vC)/(NT+NC), so V/tau = 1/(z^2 ratio).
	at := func(alpha, z, ratio float64) float64 {
		v := 1 / (z * z * ratio)
		return math.Sqrt((v + 1) * (-2*math.Log(alpha) - math.Log(v/(v+1))))
	}
	for name, got := range map[string]float64{
		"two_sided_a.05_balanced": at(0.025, 1.959963984540054, 0.5),
		"one_sided_a.05_balanced": at(0.05, 1.6448536269514722, 0.5),
		"two_sided_a.05_10_90":    at(0.025, 1.959963984540054, 0.18),
	} {
		if want, ok := k[name].(float64); ok {
			c.near(name, got, want, 2e-5)
		}
	}
}

// logBetaBinomial is the sub-Bernoulli mixture of Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence
// sequences", 2021, on lnIncBeta and lnBeta.
func logBetaBinomial(s, v, g, h, rho float64, oneSided bool) float64 {
	r := math.Max(rho-g*h, 1e-3*g*h)
	x := 1.0
	if oneSided {
		x = h / (g + h)
	}
	at := func(a, b float64) float64 { return lnBeta(a, b) + lnIncBeta(x, a, b) }
	return v/(g*h)*math.Log(g+h) - (v+h*s)/(h*(g+h))*math.Log(g) - (v-g*s)/(g*(g+h))*math.Log(h) +
		at((r+v-g*s)/(g*(g+h)), (r+v+h*s)/(h*(g+h))) - at(r/(g*(g+h)), r/(h*(g+h)))
}

// bestRho is two_sided_normal_mixture's tuning: v = v_opt, alpha.
func bestRho(v, alpha float64) float64 {
	l := 2 * math.Log(1/alpha)
	return v / (l + math.Log(1+l))
}

func checkBetaBinomial(c *checker, raw json.RawMessage) {
	var cases []struct {
		S, V, G, H, Want float64
		VOpt             float64 `json:"v_opt"`
		Alpha            float64 `json:"alpha_opt"`
		One              bool    `json:"one_sided"`
	}
	c.read(raw, &cases)
	for _, k := range cases {
		alpha := k.Alpha
		if k.One {
			alpha *= 2
		}
		c.near("log mixture", logBetaBinomial(k.S, k.V, k.G, k.H, bestRho(k.VOpt, alpha), k.One), k.Want, 1e-5)
	}
}

// checkBernoulli inverts the mixture over p, as the interval does.
func checkBernoulli(c *checker, raw json.RawMessage) {
	var cases []struct {
		K, N, Alpha, Lo, Hi float64
		TOpt                float64 `json:"t_opt"`
	}
	c.read(raw, &cases)
	for _, k := range cases {
		inside := func(p float64) bool {
			v := k.N * p * (1 - p)
			return logBetaBinomial(k.K-k.N*p, v, p, 1-p, bestRho(k.TOpt*p*(1-p), k.Alpha), false) < math.Log(1/k.Alpha)
		}
		edge := func(out, in float64) float64 {
			if inside(out) {
				return math.Round(out)
			}
			for range 60 {
				if mid := (out + in) / 2; inside(mid) {
					in = mid
				} else {
					out = mid
				}
			}
			return in
		}
		mid := math.Min(math.Max(k.K/k.N, 1e-6), 1-1e-6)
		c.near(fmt.Sprintf("lower of %g/%g", k.K, k.N), edge(1e-6, mid), k.Lo, 1e-5)
		c.near(fmt.Sprintf("upper of %g/%g", k.K, k.N), edge(1-1e-6, mid), k.Hi, 1e-5)
	}
}

// checkMultinomial: the Dirichlet mixture of Lindon & Malek, on lnGamma.
func checkMultinomial(c *checker, raw json.RawMessage) {
	var file struct {
		Cases []struct {
			P0    []float64
			Alpha []float64   `json:"dirichlet_alpha"`
			Data  [][]float64 `json:"data"`
			M1    []float64   `json:"log_marginal_M1"`
			M0    []float64   `json:"log_marginal_M0"`
		}
	}
	c.read(raw, &file)
	for _, k := range file.Cases {
		sums := make([]float64, len(k.P0))
		var m1, m0 float64
		for i, row := range k.Data {
			n, a := 0.0, 0.0
			for j, x := range row {
				a += k.Alpha[j] + sums[j]
				n += x
			}
			coef := lnGamma(n + 1)
			m1 += coef + lnGamma(a) - lnGamma(a+n)
			m0 += coef
			for j, x := range row {
				m1 += lnGamma(k.Alpha[j]+sums[j]+x) - lnGamma(k.Alpha[j]+sums[j]) - lnGamma(x+1)
				m0 += x*math.Log(k.P0[j]) - lnGamma(x+1)
				sums[j] += x
			}
			c.near("marginal of the mixture", m1, k.M1[i], 1e-9)
			c.near("marginal of the null", m0, k.M0[i], 1e-9)
		}
	}
}
