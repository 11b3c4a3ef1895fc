package stat

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// sampleOf is a list of numbers, or "linspace(a,b,n)" with an optional "+c".
type sampleOf []float64

// UnmarshalJSON reads either form.
func (s *sampleOf) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, (*[]float64)(s))
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	var a, b, plus float64
	var n int
	if _, err := fmt.Sscanf(text, "linspace(%f,%f,%d)", &a, &b, &n); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	if _, tail, ok := strings.Cut(text, ")+"); ok {
		plus, _ = strconv.ParseFloat(tail, 64)
	}
	for i := range n {
		*s = append(*s, a+(b-a)*float64(i)/float64(n-1)+plus)
	}
	return nil
}

// drift reports an error of a measure as a failure.
func (c *checker) drift(d Drift, err error) Drift {
	if err != nil {
		c.t.Errorf("%s: %v", c.at, err)
	}
	return d
}

func checkKS(c *checker, raw json.RawMessage) {
	var file struct {
		Cases []struct {
			X, Y sampleOf
			D, P float64
		}
	}
	c.read(raw, &file)
	for i, k := range file.Cases {
		d := c.drift(KS(k.X, k.Y, Rule{}))
		c.near(fmt.Sprintf("D of case %d", i), d.Value, k.D, 1e-12)
		c.near(fmt.Sprintf("p of case %d", i), d.P, k.P, 1e-9)
	}
}

// checkWasserstein: weights are whole numbers, so values are repeated.
func checkWasserstein(c *checker, raw json.RawMessage) {
	var file struct {
		Cases []struct {
			U, V   []float64
			UW, VW []int
			Want   float64
		}
	}
	c.read(raw, &file)
	repeat := func(x []float64, w []int) (out []float64) {
		for i, v := range x {
			n := 1
			if w != nil {
				n = w[i]
			}
			for range n {
				out = append(out, v)
			}
		}
		return out
	}
	for _, k := range file.Cases {
		got, err := WassersteinDistance(repeat(k.U, k.UW), repeat(k.V, k.VW))
		c.drift(Drift{}, err)
		c.near("distance", got, k.Want, 1e-12)
	}
}

// checkContingency: independence of all three ways of a table.
func checkContingency(c *checker, raw json.RawMessage) {
	var file struct {
		Cases []struct {
			Table   [][][]float64 `json:"table_4x3x2"`
			Chi2, P float64
			DOF     float64
		}
	}
	c.read(raw, &file)
	for _, k := range file.Cases {
		var margins [3]map[int]float64
		for i := range margins {
			margins[i] = map[int]float64{}
		}
		total := 0.0
		each := func(f func(at [3]int, n float64)) {
			for a, plane := range k.Table {
				for b, row := range plane {
					for d, n := range row {
						f([3]int{a, b, d}, n)
					}
				}
			}
		}
		each(func(at [3]int, n float64) {
			total += n
			for i, v := range at {
				margins[i][v] += n
			}
		})
		x2 := 0.0
		each(func(at [3]int, n float64) {
			e := margins[0][at[0]] * margins[1][at[1]] * margins[2][at[2]] / (total * total)
			x2 += (n - e) * (n - e) / e
		})
		sizes := [3]float64{float64(len(margins[0])), float64(len(margins[1])), float64(len(margins[2]))}
		df := sizes[0]*sizes[1]*sizes[2] - sizes[0] - sizes[1] - sizes[2] + 2
		c.near("chi-square", x2, k.Chi2, 5e-3)
		c.near("freedom", df, k.DOF, 0)
		c.near("p", chiSquareTail(x2, df)/k.P, 1, 1e-3)
	}
}

func checkMannWhitney(c *checker, raw json.RawMessage) {
	var file struct {
		X, Y  []float64
		Cases []struct {
			Alt, Method string
			U, P        float64
		}
	}
	c.read(raw, &file)
	alternatives := map[string]Alternative{"two-sided": TwoSided, "greater": Greater, "less": Less}
	for _, k := range file.Cases {
		test := MannWhitney
		if k.Method == "exact" {
			test = MannWhitneyExact
		}
		u, p, err := test(file.Y, file.X, alternatives[k.Alt])
		c.drift(Drift{}, err)
		c.near("U", u, k.U, 0)
		c.near(k.Alt+" "+k.Method, p, k.P, 1e-12)
	}
}

// spread repeats values as often as they were counted.
func spreadCounts(values []float64, counts []int) (out []float64) {
	for i, v := range values {
		for range counts[i] {
			out = append(out, v)
		}
	}
	return out
}

type evidentlyCase struct {
	Metric     string
	Values     []float64
	RefCounts  []int `json:"ref_counts"`
	CurCounts  []int `json:"cur_counts"`
	Ref, Cur   json.RawMessage
	Want, Tol  float64
	refN, curN []float64
}

func checkEvidently(c *checker, raw json.RawMessage) {
	var file struct {
		Cases    []evidentlyCase
		Defaults json.RawMessage
	}
	c.read(raw, &file)
	for _, k := range file.Cases {
		c.near(k.Metric, k.compute(c), k.Want, min(k.Tol, 0.01))
	}
	c.pinned("defaults", file.Defaults)
}

func (k *evidentlyCase) compute(c *checker) float64 {
	switch k.Metric {
	case "chi2_p":
		return fitP(k.RefCounts, k.CurCounts)
	case "mann_whitney_p":
		_, p, err := MannWhitney(spreadCounts(k.Values, k.RefCounts), spreadCounts(k.Values, k.CurCounts), TwoSided)
		c.drift(Drift{}, err)
		return p / 2 // the smaller tail, as scipy had it then
	case "anderson_darling_2samp_p":
		c.read(k.Ref, &k.refN)
		c.read(k.Cur, &k.curN)
		return andersonDarlingP(k.refN, k.curN)
	case "fisher_exact_p":
		var ref, cur map[string]int
		c.read(k.Ref, &ref)
		c.read(k.Cur, &cur)
		return fisherP(ref["a"], ref["b"], cur["a"], cur["b"])
	}
	c.t.Errorf("%s: unknown metric %q", c.at, k.Metric)
	return math.NaN()
}

// fitP is Pearson's test of the current counts against the shares of the reference, taken as exact.
func fitP(ref, cur []int) float64 {
	n, m := 0.0, 0.0
	for i := range ref {
		n, m = n+float64(ref[i]), m+float64(cur[i])
	}
	x2 := 0.0
	for i := range ref {
		e := float64(ref[i]) / n * m
		x2 += (float64(cur[i]) - e) * (float64(cur[i]) - e) / e
	}
	return chiSquareTail(x2, float64(len(ref)-1))
}

// fisherP is the two-sided exact test of a 2x2 table: all tables no more likely than this one.
func fisherP(a, b, c, d int) float64 {
	choose := func(n, k int) float64 {
		return lnGamma(float64(n+1)) - lnGamma(float64(k+1)) - lnGamma(float64(n-k+1))
	}
	weight := func(x int) float64 {
		return math.Exp(choose(a+b, x) + choose(c+d, a+c-x) - choose(a+b+c+d, a+c))
	}
	p := 0.0
	for x := max(0, a+c-c-d); x <= min(a+b, a+c); x++ {
		if w := weight(x); w <= weight(a)*(1+1e-9) {
			p += w
		}
	}
	return p
}

// andersonDarlingP is the k-sample test for two samples in its midrank form, P by the table and the quadratic of the source.
// Source: Scholz & Stephens, "K-sample Anderson-Darling tests", 1987.
func andersonDarlingP(x, y []float64) float64 {
	all := slices.Sorted(slices.Values(append(slices.Clone(x), y...)))
	n := float64(len(all))
	a2 := 0.0
	for _, sample := range [][]float64{x, y} {
		size, sum := float64(len(sample)), 0.0
		for _, at := range slices.Compact(slices.Clone(all)) {
			count := func(s []float64, f func(v float64) bool) (c float64) {
				for _, v := range s {
					if f(v) {
						c++
					}
				}
				return c
			}
			equal := func(v float64) bool { return v == at }
			below := func(v float64) bool { return v < at }
			l := count(all, equal)
			b := count(all, below) + l/2
			m := count(sample, below) + count(sample, equal)/2
			sum += l / n * (n*m - b*size) * (n*m - b*size) / (b*(n-b) - n*l/4)
		}
		a2 += sum / size
	}
	a2 *= (n - 1) / n
	h, hh, g := 0.0, 0.0, 0.0
	for i := 1; i < len(all); i++ {
		hh += 1 / float64(i)
		inner := 0.0
		for j := i + 1; j < len(all); j++ {
			inner += 1 / (float64(len(all)-i) * float64(j))
		}
		g += inner
	}
	h = 1/float64(len(x)) + 1/float64(len(y))
	const k = 2.0
	ca := (4*g-6)*(k-1) + (10-6*g)*h
	cb := (2*g-4)*k*k + 8*hh*k + (2*g-14*hh-4)*h - 8*hh + 4*g - 6
	cc := (6*hh+2*g-2)*k*k + (4*hh-4*g+6)*k + (2*hh-6)*h + 4*hh
	cd := (2*hh+6)*k*k - 4*hh*k
	sd := math.Sqrt((ca*n*n*n + cb*n*n + cc*n + cd) / ((n - 1) * (n - 2) * (n - 3)))
	return andersonDarlingTail((a2 - (k - 1)) / sd)
}

// andersonDarlingTail fits ln P by a quadratic through the published points.
func andersonDarlingTail(t float64) float64 {
	b0 := []float64{0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085}
	b1 := []float64{-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615}
	b2 := []float64{-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154}
	sig := []float64{0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001}
	var s [5]float64
	var r [3]float64
	for i := range sig {
		x, y := b0[i]+b1[i]+b2[i], math.Log(sig[i]) // one degree of freedom: k-1 = 1
		for p := range s {
			s[p] += math.Pow(x, float64(p))
		}
		for p := range r {
			r[p] += y * math.Pow(x, float64(p))
		}
	}
	det := func(a, b, c, d, e, f, g, h, i float64) float64 { return a*(e*i-f*h) - b*(d*i-f*g) + c*(d*h-e*g) }
	all := det(s[0], s[1], s[2], s[1], s[2], s[3], s[2], s[3], s[4])
	p0 := det(r[0], s[1], s[2], r[1], s[2], s[3], r[2], s[3], s[4]) / all
	p1 := det(s[0], r[0], s[2], s[1], r[1], s[3], s[2], r[2], s[4]) / all
	p2 := det(s[0], s[1], r[0], s[1], s[2], r[1], s[2], s[3], r[2]) / all
	return math.Exp(p0 + p1*t + p2*t*t)
}

func checkTFDV(c *checker, raw json.RawMessage) {
	var file struct {
		LInfinity []shareCase `json:"l_infinity"`
		Abs       []shareCase `json:"normalized_abs_difference"`
		JSD       []struct {
			A, B [][3]float64
			Want float64
		} `json:"jsd_histograms"`
	}
	c.read(raw, &file)
	for _, k := range file.LInfinity {
		a, b := k.counts()
		c.near("L-infinity", c.drift(LInfinity(a, b, Rule{})).Value, k.Want, 1e-9)
	}
	for _, k := range file.Abs {
		// half of the summed differences, per value
		sum := 0.0
		for name, share := range k.A {
			sum += math.Abs(share-k.B[name]) / 2
		}
		c.near("normalised difference", sum/float64(len(k.A)), k.Want, 1e-9)
	}
	for _, k := range file.JSD {
		a, b := onUnion(k.A, k.B), onUnion(k.B, k.A)
		got, err := JSDivergence(a, b)
		c.drift(Drift{}, err)
		c.near("Jensen-Shannon", got, k.Want, 1e-5)
	}
}

type shareCase struct {
	A, B map[string]float64
	Want float64
}

// counts takes shares for counts of a million.
func (k *shareCase) counts() (a, b []uint64) {
	for name, share := range k.A {
		a, b = append(a, uint64(math.Round(share*1e6))), append(b, uint64(math.Round(k.B[name]*1e6)))
	}
	return a, b
}

// onUnion spreads the counts of buckets [low, high, count] over the union of both sides' edges; a bucket without width is a
// point of its own. Counts become millionths.
func onUnion(buckets, others [][3]float64) []uint64 {
	var edges []float64
	points := map[float64]bool{}
	for _, b := range append(slices.Clone(buckets), others...) {
		edges = append(edges, b[0], b[1])
		if b[0] == b[1] {
			points[b[0]] = true
		}
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	var out []uint64
	for i, e := range edges {
		if points[e] {
			sum := 0.0
			for _, b := range buckets {
				if b[0] == e && b[1] == e {
					sum += b[2]
				}
			}
			out = append(out, uint64(math.Round(sum*1e6)))
		}
		if i+1 == len(edges) {
			break
		}
		sum := 0.0
		for _, b := range buckets {
			if b[0] <= e && b[1] >= edges[i+1] && b[1] > b[0] {
				sum += b[2] * (edges[i+1] - e) / (b[1] - b[0])
			}
		}
		out = append(out, uint64(math.Round(sum*1e6)))
	}
	return out
}

func checkNannyML(c *checker, raw json.RawMessage) {
	var file struct {
		LInfinity []struct {
			Ref, Cur string
			Want     float64
		} `json:"l_infinity"`
		Defaults json.RawMessage
	}
	c.read(raw, &file)
	for _, k := range file.LInfinity {
		var a, b [26]uint64
		for _, r := range k.Ref {
			a[r-'a']++
		}
		for _, r := range k.Cur {
			b[r-'a']++
		}
		c.near(k.Ref+" "+k.Cur, c.drift(LInfinity(a[:], b[:], Rule{})).Value, k.Want, 5e-3)
	}
	c.pinned("defaults", file.Defaults)
}

func checkDivergences(c *checker, raw json.RawMessage) {
	var k struct {
		Ref  []uint64 `json:"ref_counts"`
		Cur  []uint64 `json:"cur_counts"`
		JS   float64  `json:"js_distance_base2"`
		JSD  float64  `json:"jsd_base2"`
		PSI  float64
		Note string
	}
	c.read(raw, &k)
	jsd, err := JSDivergence(k.Ref, k.Cur)
	c.drift(Drift{}, err)
	c.near("PSI", c.drift(PSI(k.Ref, k.Cur, Rule{})).Value, k.PSI, 1e-9)
	c.near("JS distance", c.drift(JensenShannon(k.Ref, k.Cur, Rule{})).Value, k.JS, 1e-9)
	c.near("JS divergence", jsd, k.JSD, 1e-9)
}

// checkPSILaw: critical values from counts of the given sizes over the given number of bins.
func checkPSILaw(c *checker, raw json.RawMessage) {
	var file struct {
		Rows []map[string]float64
	}
	c.read(raw, &file)
	for _, k := range file.Rows {
		n, bins := k["n_each"], k["bins"]
		c.near("mean", (bins-1)*2/n, k["mean"], 1e-5)
		counts := make([]uint64, int(bins))
		for i := range counts {
			counts[i] = uint64(n / bins)
		}
		for name, want := range k {
			if level, ok := strings.CutPrefix(name, "crit_a"); ok {
				alpha, _ := strconv.ParseFloat("0"+level, 64)
				c.near(name, c.drift(PSI(counts, counts, Rule{Alpha: alpha})).Critical, want, 1e-5)
			}
		}
	}
}

// checkShifts: the measures of a normal law against the same one moved, as counts of a thousand million. PSI is that of ten
// deciles, the others are taken over 4,000 bins.
func checkShifts(c *checker, raw json.RawMessage) {
	var file struct{ Rows [][]float64 }
	c.read(raw, &file)
	counts := func(cuts []float64, shift float64) (out []uint64) {
		before := 0.0
		for _, cut := range append(slices.Clone(cuts), math.Inf(1)) {
			now := phi(cut - shift)
			out = append(out, uint64(math.Round((now-before)*1e9)))
			before = now
		}
		return out
	}
	var deciles, fine []float64
	for i := range 9 {
		deciles = append(deciles, normalQuantile(float64(i+1)/10))
	}
	for i := range 4000 {
		fine = append(fine, -8+float64(i+1)/250)
	}
	for _, row := range file.Rows {
		shift := row[0]
		a, b := counts(fine, 0), counts(fine, shift)
		at := append(slices.Clone(fine), 8.004)
		c.near(fmt.Sprintf("PSI at %g", shift), c.drift(PSI(counts(deciles, 0), counts(deciles, shift), Rule{})).Value, row[1], 1e-5)
		c.near(fmt.Sprintf("D at %g", shift), c.drift(KSBins(a, b, Rule{})).Value, row[2], 1e-4)
		c.near(fmt.Sprintf("W1 at %g", shift), c.drift(WassersteinBins(at, a, b, Rule{})).Value, row[3], 1e-3)
		c.near(fmt.Sprintf("JS at %g", shift), c.drift(JensenShannon(a, b, Rule{})).Value, row[4], 2e-4)
	}
}
