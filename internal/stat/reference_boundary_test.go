package stat

import (
	"encoding/json"
	"fmt"
)

// boundaryCase is one of confseq's; all have what their function takes.
type boundaryCase struct {
	S, V, C, G, H, Alpha, Eta, T, P, A, Delta, Want float64
	VOpt                                            float64 `json:"v_opt"`
	VMin                                            float64 `json:"v_min"`
	TOpt                                            float64 `json:"t_opt"`
	TMin                                            float64 `json:"t_min"`
	AlphaOpt                                        float64 `json:"alpha_opt"`
	One                                             bool    `json:"one_sided"`
}

func (k *boundaryCase) alt() Alternative {
	if k.One {
		return Greater
	}
	return TwoSided
}

// boundaryKinds compute confseq's cases, all to its own tolerance of 1e-5.
var boundaryKinds = map[string]func(k boundaryCase) float64{
	"two_sided_normal_best_rho":     func(k boundaryCase) float64 { return tuned(k.VOpt, k.AlphaOpt) },
	"normal_log_mixture":            func(k boundaryCase) float64 { return Normal(k.VOpt, k.AlphaOpt, k.alt()).LogM(k.S, k.V) },
	"normal_mixture_bound":          func(k boundaryCase) float64 { return Normal(k.VOpt, k.AlphaOpt, k.alt()).Bound(k.V, k.Alpha) },
	"gamma_exponential_log_mixture": func(k boundaryCase) float64 { return GammaExponential(k.VOpt, k.C, k.AlphaOpt).LogM(k.S, k.V) },
	"gamma_exponential_mixture_bound": func(k boundaryCase) float64 {
		return GammaExponential(k.VOpt, k.C, k.AlphaOpt).Bound(k.V, k.Alpha)
	},
	"gamma_poisson_log_mixture":   func(k boundaryCase) float64 { return GammaPoisson(k.VOpt, k.C, k.AlphaOpt).LogM(k.S, k.V) },
	"gamma_poisson_mixture_bound": func(k boundaryCase) float64 { return GammaPoisson(k.VOpt, k.C, k.AlphaOpt).Bound(k.V, k.Alpha) },
	"beta_binomial_log_mixture": func(k boundaryCase) float64 {
		return BetaBinomial(k.VOpt, k.G, k.H, k.AlphaOpt, k.alt()).LogM(k.S, k.V)
	},
	"beta_binomial_mixture_bound": func(k boundaryCase) float64 {
		return BetaBinomial(k.VOpt, k.G, k.H, k.AlphaOpt, k.alt()).Bound(k.V, k.Alpha)
	},
	"poly_stitching_bound":        func(k boundaryCase) float64 { return Stitched(k.V, k.Alpha, k.VMin, k.C, k.S, k.Eta) },
	"empirical_process_lil_bound": func(k boundaryCase) float64 { return AllQuantiles(k.T, k.Alpha, k.TMin, k.A) },
	"double_stitching_bound": func(k boundaryCase) float64 {
		return QuantileCountBound(k.P, k.T, k.Alpha, k.TOpt, k.Delta, k.S, k.Eta)
	},
}

func init() {
	for kind, compute := range boundaryKinds {
		referenceKinds[kind] = func(c *checker, raw json.RawMessage) {
			var cases []boundaryCase
			c.read(raw, &cases)
			for i, k := range cases {
				c.near(fmt.Sprint("case ", i), compute(k), k.Want, 1e-5)
			}
		}
	}
}

func checkQuantileAB(c *checker, raw json.RawMessage) {
	var file struct {
		TOpt  float64 `json:"t_opt"`
		Alpha float64 `json:"alpha_opt"`
		Cases []struct{ P, Offset, Want float64 }
	}
	c.read(raw, &file)
	for _, k := range file.Cases {
		a, b := make([]float64, 1000), make([]float64, 1000)
		for i := range a {
			a[i], b[i] = float64(i+1), k.Offset+float64(i+1)
		}
		c.near(fmt.Sprintf("p of offset %g", k.Offset), QuantilesDiffer(a, b, k.P, file.Alpha, file.TOpt), k.Want, 1e-5)
	}
}

func checkBernoulli(c *checker, raw json.RawMessage) {
	var cases []struct {
		K, N, Alpha, Lo, Hi float64
		TOpt                float64 `json:"t_opt"`
	}
	c.read(raw, &cases)
	for _, k := range cases {
		got := ProportionRange(k.K, k.N, k.Alpha, k.TOpt)
		c.near(fmt.Sprintf("lower of %g/%g", k.K, k.N), got.Lo, k.Lo, 1e-5)
		c.near(fmt.Sprintf("upper of %g/%g", k.K, k.N), got.Hi, k.Hi, 1e-5)
	}
}

func checkBernstein(c *checker, raw json.RawMessage) {
	var k struct {
		X, Lower, Upper   []float64
		Alpha, Truncation float64
	}
	c.read(raw, &k)
	c.near("boldest bet", boldest, k.Truncation, 0)
	b := Bernstein{Level: k.Alpha}
	for i, x := range k.X {
		got := b.Step(x)
		c.near(fmt.Sprint("lower at ", i+1), got.Lo, k.Lower[i], 1e-8)
		c.near(fmt.Sprint("upper at ", i+1), got.Hi, k.Upper[i], 1e-8)
	}
}

func checkMultinomial(c *checker, raw json.RawMessage) {
	var cases []struct {
		P0     []float64
		Alpha  []float64 `json:"dirichlet_alpha"`
		Data   [][]uint64
		M1, M0 []float64 `json:"-"`
		LogM1  []float64 `json:"log_marginal_M1"`
		LogM0  []float64 `json:"log_marginal_M0"`
	}
	c.read(raw, &cases)
	for _, k := range cases {
		m := NewMultinomial(k.P0, k.Alpha)
		for i, row := range k.Data {
			m.Step(row)
			mixture, null := m.Marginals()
			c.near("marginal of the mixture", mixture, k.LogM1[i], 1e-9)
			c.near("marginal of the null", null, k.LogM0[i], 1e-9)
			c.near("evidence", m.LogE(), k.LogM1[i]-k.LogM0[i], 1e-9)
		}
	}
}

func checkConcentration(c *checker, raw json.RawMessage) {
	var want float64
	c.read(raw, &want)
	sum := 0.0
	for _, a := range NewMultinomial([]float64{0.3, 0.7}, nil).prior {
		sum += a
	}
	c.near("weight of the default prior", sum, want, 1e-9)
}

// checkOverflow: evidence beyond what a float holds is infinite, not an error.
func checkOverflow(c *checker, raw json.RawMessage) {
	var k struct {
		M1 float64 `json:"log_marginal_M1"`
		M0 float64 `json:"log_marginal_M0"`
	}
	c.read(raw, &k)
	c.same("bayes factor", fmt.Sprint(exp(k.M1-k.M0)), "+Inf")
	c.near("probability", 1/(1+exp(k.M0-k.M1)), 1, 0)
	c.pinned("values", raw)
}

func checkFixedRatio(c *checker, raw json.RawMessage) {
	var k struct {
		Observed []float64
		Each     float64 `json:"expected_each"`
	}
	c.read(raw, &k)
	x2 := 0.0
	for _, o := range k.Observed {
		x2 += (o - k.Each) * (o - k.Each) / k.Each
	}
	c.same("p below 1e-4", fmt.Sprint(chiSquareTail(x2, float64(len(k.Observed)-1)) < 1e-4), "true")
	c.pinned("values", raw)
}

// checkDefaultPrior: the counts were drawn by a generator that is not at hand; what the figures have to do with each other is.
func checkDefaultPrior(c *checker, raw json.RawMessage) {
	var k struct {
		P         float64 `json:"p_value_last"`
		Posterior float64 `json:"posterior_prob_last"`
		Factor    float64 `json:"bayes_factor_last"`
	}
	c.read(raw, &k)
	c.near("posterior", k.Factor/(1+k.Factor), k.Posterior, 1e-12)
	c.same("p at most 1/factor", fmt.Sprint(k.P <= 1/k.Factor), "true")
	c.pinned("values", raw)
}
