package stat

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/mathext"
)

// armSums is an arm as the sources give it.
type armSums struct {
	N          float64 `json:"n"`
	Sum        float64 `json:"sum"`
	SumSquares float64 `json:"sum_squares"`
}

func (a armSums) moments() Moments { return MomentsOf(a.N, a.Sum, a.SumSquares) }

type growthBookCase struct {
	Test, Type, Diff string
	A, B             armSums
	N                float64
	Want             struct {
		Expected, SE, P *float64
		CI              [2]*float64
	}
}

// checkGrowthBook: expected values are rounded to 5 decimals. Without N the default tuning of 5000 applies.
func checkGrowthBook(c *checker, raw json.RawMessage) {
	var cases []growthBookCase
	c.read(raw, &cases)
	for _, k := range cases {
		a, b := k.A.moments(), k.B.moments()
		if k.Type == "proportion" {
			a, b = ShareMoments(k.A.N, k.A.Sum), ShareMoments(k.B.N, k.B.Sum)
		}
		d := AbsoluteDifference(a, b)
		if k.Diff == "relative" {
			d = RelativeDifference(a, b)
		}
		got := k.interval(d)
		for _, v := range []struct {
			what string
			got  float64
			want *float64
		}{{"expected", d.Value, k.Want.Expected}, {"se", d.SE, k.Want.SE}, {"p", got.P, k.Want.P}, {"lower", got.Lo, k.Want.CI[0]}, {"upper", got.Hi, k.Want.CI[1]}} {
			if v.want != nil {
				c.near(k.Test+" "+v.what, v.got, *v.want, 1e-5)
			}
		}
	}
}

func (k *growthBookCase) interval(d Difference) Interval {
	alt := TwoSided
	switch {
	case strings.HasSuffix(k.Test, "greater"):
		alt = Greater
	case strings.HasSuffix(k.Test, "lesser"):
		alt = Less
	}
	if strings.HasPrefix(k.Test, "welch") {
		return d.Welch(0.05, alt)
	}
	if k.N == 0 {
		k.N = 5000
	}
	return d.GrowthBook(0.05, k.N, alt)
}

// checkKayentaInterval: the original's root finder stops at 1e-4.
func checkKayentaInterval(c *checker, raw json.RawMessage) {
	var cases []struct {
		Experiment, Control []float64
		Conf, Estimate      float64
		CI                  [2]float64
	}
	c.read(raw, &cases)
	for _, k := range cases {
		got, err := Shift(k.Control, k.Experiment, k.Conf)
		if err != nil {
			c.t.Errorf("%s: %v", c.at, err)
		}
		c.near("lower", got.Lo, k.CI[0], 1e-4)
		c.near("upper", got.Hi, k.CI[1], 1e-4)
		c.near("estimate", got.Estimate, k.Estimate, 1e-4)
	}
}

// kayentaCase has its parameters as the source's text has them: tolerance = 0.10, confLevel = 0.95, ...
type kayentaCase struct {
	Name, Params, Direction, Want string
	Control, Experiment           []float64
	Critical                      *bool
	IsCritical                    bool `json:"is_critical_metric"`
}

// number is what follows "name = " in the parameters, or the default.
func (k *kayentaCase) number(name string, otherwise float64) float64 {
	_, rest, ok := strings.Cut(k.Params, name+" = ")
	if !ok {
		return otherwise
	}
	v, _ := strconv.ParseFloat(strings.FieldsFunc(rest, func(r rune) bool { return r == ',' || r == ')' })[0], 64)
	return v
}

func (k *kayentaCase) two(name string) (out [2]float64) {
	_, rest, _ := strings.Cut(k.Params, name+" = (")
	rest, _, _ = strings.Cut(rest, ")")
	for i, part := range strings.SplitN(rest, ",", 2) {
		out[i], _ = strconv.ParseFloat(strings.TrimSpace(part), 64)
	}
	return out
}

func checkKayentaClassifier(c *checker, raw json.RawMessage) {
	var cases []kayentaCase
	c.read(raw, &cases)
	for _, k := range cases {
		judge := Kayenta{
			Tolerance: k.number("tolerance", 0), Confidence: k.number("confLevel", 0), Allowed: k.two("effectSizeThresholds"),
			Direction: map[string]Alternative{"Either": TwoSided, "Increase": Greater, "Decrease": Less}[k.Direction],
			CLES:      strings.Contains(k.Params, `"cles"`),
		}
		got, effect := judge.Classify(k.Control, k.Experiment)
		c.same(k.Name, string(got), k.Want)
		if k.Critical == nil {
			continue
		}
		limits := k.two("criticalThresholds")
		critical := k.IsCritical && (got == KayentaNoData || got == KayentaHigh && effect >= limits[1] || got == KayentaLow && effect <= limits[0])
		c.same(k.Name+", critical", strconv.FormatBool(critical), strconv.FormatBool(*k.Critical))
	}
}

func checkKayentaEffect(c *checker, raw json.RawMessage) {
	var cases []struct {
		Name                string
		Control, Experiment []float64
		Want                float64
	}
	c.read(raw, &cases)
	for _, k := range cases {
		switch {
		case strings.Contains(k.Name, "Cohen"):
			c.near(k.Name, CohenD(k.Control, k.Experiment), k.Want, 1e-5)
		case strings.HasPrefix(k.Name, "CLES"):
			c.near(k.Name, CLES(k.Control, k.Experiment), k.Want, 1e-9)
		default:
			c.near(k.Name, MeanRatio(k.Control, k.Experiment), k.Want, 1e-9)
		}
	}
}

func checkSpending(c *checker, raw json.RawMessage) {
	var k struct{ Rho, Ztrun float64 }
	c.read(raw, &k)
	c.near("exponent of the spending", k.Rho, 2, 0)
	c.near("cut off", farBound, k.Ztrun, 0)
}

// checkManyDays: the original searches its far bounds to 1e-7 of probability, which far out is up to 0.07 of z.
func checkManyDays(c *checker, raw json.RawMessage) {
	var k struct {
		Alpha, Sides float64
		T            []float64
		Z            []float64 `json:"z_bounds"`
	}
	c.read(raw, &k)
	for i, z := range SpendingBounds(k.T, k.Alpha/k.Sides) {
		tolerance := 0.003
		switch p := normalTail(k.Z[i]); {
		case i < 6 && k.Z[i] < farBound && math.Abs(normalTail(z)-p) < 1e-7:
			tolerance = 0.1
		case i < 20:
			tolerance = 0.016
		}
		c.near("day "+strconv.Itoa(i+1), z, k.Z[i], tolerance)
	}
}

func checkRunOver(c *checker, raw json.RawMessage) {
	var k struct {
		Counts       []float64 `json:"counts_total"`
		Expected     float64   `json:"expected_final"`
		Alpha, Sides float64
		Want         []float64 `json:"want_adjusted_alpha_two_sided"`
		Tolerance    float64
		N            float64 `json:"n_comparisons"`
	}
	c.read(raw, &k)
	t := make([]float64, len(k.Counts))
	for i, n := range k.Counts {
		t[i] = n / max(k.Counts[len(k.Counts)-1], k.Expected)
	}
	for i, z := range SpendingBounds(t, k.Alpha/k.N/k.Sides) {
		c.near("level at look "+strconv.Itoa(i+1), k.Sides*normalTail(z), k.Want[i], min(k.Tolerance, 1e-4))
	}
}

func checkSequentialZ(c *checker, raw json.RawMessage) {
	var k struct {
		A, B     armSums
		Final    float64 `json:"final_expected_sample_size"`
		Interval float64
		Want     struct {
			Difference float64
			CI         [2]float64 `json:"adjusted_ci"`
		}
	}
	c.read(raw, &k)
	d := AbsoluteDifference(k.A.moments(), k.B.moments())
	// The original's z-test sums without Bessel's correction; it does not show in 3 decimals.
	z := SpendingBounds([]float64{d.N / k.Final}, (1-k.Interval)/2)[0]
	c.near("difference", d.Value, k.Want.Difference, 1e-3)
	c.near("lower", d.Value-z*d.SE, k.Want.CI[0], 1e-3)
	c.near("upper", d.Value+z*d.SE, k.Want.CI[1], 1e-3)
}

// checkNonInferiority: a margin is a share of the control's mean, and "increase is better" asks for the lower end only.
func checkNonInferiority(c *checker, raw json.RawMessage) {
	var file struct {
		A, B     armSums
		Interval float64
		Cases    []struct {
			Nim        *float64
			Difference *float64
			Lower      float64 `json:"ci_lower"`
			P          string
		}
	}
	c.read(raw, &file)
	d := AbsoluteDifference(file.A.moments(), file.B.moments())
	for _, k := range file.Cases {
		c.near("lower", d.ZTest(1-file.Interval, Greater).Lo, k.Lower, 1e-3)
		if k.Difference != nil {
			c.near("difference", d.Value, *k.Difference, 1e-3)
		}
		if k.Nim != nil && k.P != "" {
			shifted := d
			shifted.Value += *k.Nim * file.A.moments().Mean
			limit, _ := strconv.ParseFloat(k.P[1:], 64)
			p := shifted.ZTest(1-file.Interval, Greater).P
			c.same("p "+k.P, strconv.FormatBool(p > limit), strconv.FormatBool(k.P[0] == '>'))
		}
	}
}

// same compares words.
func (c *checker) same(what, got, want string) {
	c.compared++
	if got != want {
		c.t.Errorf("%s: %s = %q, want %q", c.at, what, got, want)
	}
}

// phi is the normal law.
func phi(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

func normalQuantile(p float64) float64 { return mathext.NormalQuantile(p) }
