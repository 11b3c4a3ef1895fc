package stat

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// Drift measures say how far a current sample is from a reference. Two questions are answered apart: could chance alone have
// done it at these sizes (Critical, P), and is it large enough to matter (Effect). Only both together are drift: a measure
// alone alarms on small batches by chance and on large ones over nothing. They are for whole batches looked at once; what is
// watched second by second is a matter for a Lane, which may be looked at as often as one likes.

// ErrNoData is returned where one side of a comparison has nothing to compare.
var ErrNoData = errors.New("one side has no data")

// Rule says when a measure is drift. The zero value is alpha 0.01 and the measure's effect of 0.1.
type Rule struct {
	Alpha  float64 // probability of exceeding Critical where nothing drifts; 0 means 0.01
	Effect float64 // smallest effect that matters, on the measure's own scale; 0 means 0.1, below 0 means that any matters
}

func (r Rule) alpha() float64 {
	if r.Alpha <= 0 {
		return 0.01
	}
	return min(r.Alpha, 1)
}

func (r Rule) effect() float64 {
	if r.Effect == 0 {
		return 0.1
	}
	return r.Effect
}

// Drift is what one measure says of one comparison.
type Drift struct {
	Measure   string  `json:"measure"`
	Value     float64 `json:"value"`     // of the measure, in its unit
	Critical  float64 `json:"critical"`  // exceeded by chance with probability alpha, at these sizes
	P         float64 `json:"p"`         // probability of at least Value by chance
	Effect    float64 `json:"effect"`    // size of the shift, whatever the number of values
	Threshold float64 `json:"threshold"` // smallest effect that matters
	Drifted   bool    `json:"drifted"`   // not chance (P < alpha), and large enough to matter (Effect > Threshold)
}

func (r Rule) judge(d Drift) Drift {
	d.Threshold = r.effect()
	d.Drifted = d.P < r.alpha() && d.Effect > d.Threshold
	return d
}

// bothCounts checks two sets of counts over the same bins and returns their sums.
func bothCounts(reference, current []uint64) (n, m float64, err error) {
	if len(reference) != len(current) {
		return 0, 0, fmt.Errorf("%d bins of the reference and %d of the current counts: both must be over the same bins", len(reference), len(current))
	}
	n, m = sumOf(reference), sumOf(current)
	if n == 0 || m == 0 {
		return 0, 0, ErrNoData
	}
	return n, m, nil
}

func sumOf(counts []uint64) float64 {
	var sum uint64
	for _, c := range counts {
		sum += c
	}
	return float64(sum)
}

// chiSquareTail is the probability that chi-square with df degrees of freedom exceeds x.
func chiSquareTail(x, df float64) float64 { return mathext.GammaIncRegComp(df/2, max(x, 0)/2) }

// chiSquareQuantile is exceeded with probability alpha.
func chiSquareQuantile(alpha, df float64) float64 { return 2 * mathext.GammaIncRegCompInv(df/2, alpha) }

// normalTail is the probability that a standard normal exceeds z.
func normalTail(z float64) float64 { return float64(math.Erfc(z/math.Sqrt2) / 2) }

// PSI is the population stability index, the sum over bins of (q-p) ln(q/p) in nats, p and q being the shares of reference
// and current; 0 means equal, there is no upper bound, and a normal law moved by d deviations has about d^2. A bin that is
// empty on one side gets half a count there. Bins must come from the reference alone (NewBins). Without drift it follows
// chi-square with B-1 degrees of freedom times (1/n+1/m), B being the bins in use; because that law is too light for
// rare bins, P is no smaller than that of ChiSquare. The effect is the index itself.
// Sources: Kullback & Leibler, Ann. Math. Stat. 22 (1951); Yurdakul, "Statistical properties of population stability
// index", 2018.
func PSI(reference, current []uint64, rule Rule) (Drift, error) {
	n, m, err := bothCounts(reference, current)
	if err != nil {
		return Drift{}, err
	}
	bins := inUse(reference, current)
	d := chance(psi(bins), bins, n, m, 1/n+1/m, rule.alpha())
	d.Measure, d.Effect = "psi", d.Value
	return rule.judge(d), nil
}

// pair is one bin: counts of reference and current.
type pair [2]float64

// inUse are the bins that have something on either side.
func inUse(a, b []uint64) []pair {
	var bins []pair
	for i := range a {
		if a[i]+b[i] > 0 {
			bins = append(bins, pair{float64(a[i]), float64(b[i])})
		}
	}
	return bins
}

// chance takes a divergence of which value/scale follows chi-square. That law is too light for rare bins and small counts
// (measured: 3 % beyond the 1 % point with 100 values a side), so P is no smaller than Pearson's.
func chance(value float64, bins []pair, n, m, scale, alpha float64) Drift {
	df := max(float64(len(bins)-1), 1)
	_, _, p := pearson(bins, n, m)
	return Drift{Value: value, Critical: chiSquareQuantile(alpha, df) * scale, P: max(p, chiSquareTail(value/scale, df))}
}

func psi(bins []pair) float64 {
	halves := make([]pair, len(bins))
	var n, m, sum float64
	for i, c := range bins {
		halves[i] = pair{max(c[0], 0.5), max(c[1], 0.5)}
		n, m = n+halves[i][0], m+halves[i][1]
	}
	for _, c := range halves {
		p, q := c[0]/n, c[1]/m
		sum += float64((q - p) * ln(q/p))
	}
	return sum
}

// JSDivergence is the Jensen-Shannon divergence of two sets of counts in bits: the mean divergence from their middle, from 0
// (equal) to 1 (nothing in common). It is the square of the distance. Source: Lin, IEEE Trans. Inf. Theory 37 (1991).
func JSDivergence(reference, current []uint64) (float64, error) {
	if _, _, err := bothCounts(reference, current); err != nil {
		return 0, err
	}
	return jensenShannon(inUse(reference, current)), nil
}

func jensenShannon(bins []pair) float64 {
	var n, m, sum float64
	for _, c := range bins {
		n, m = n+c[0], m+c[1]
	}
	for _, c := range bins {
		p, q := c[0]/n, c[1]/m
		mid := (p + q) / 2
		if p > 0 {
			sum += float64(p * ln(p/mid))
		}
		if q > 0 {
			sum += float64(q * ln(q/mid))
		}
	}
	return max(sum/2/math.Ln2, 0)
}

// JensenShannon is the Jensen-Shannon distance to base 2, the root of JSDivergence, from 0 to 1; a normal law moved by d
// deviations has about 0.42 d. Without drift 8 times the divergence in nats follows chi-square with B-1 degrees of freedom
// times (1/n+1/m), with P no smaller than that of ChiSquare. The effect is the distance itself.
func JensenShannon(reference, current []uint64, rule Rule) (Drift, error) {
	n, m, err := bothCounts(reference, current)
	if err != nil {
		return Drift{}, err
	}
	bins := inUse(reference, current)
	d := chance(jensenShannon(bins), bins, n, m, (1/n+1/m)/8/math.Ln2, rule.alpha())
	d.Measure, d.Value, d.Critical = "jensen-shannon", math.Sqrt(d.Value), math.Sqrt(d.Critical)
	d.Effect = d.Value
	return rule.judge(d), nil
}

// leastExpected is the smallest expected count for which the chi-square law is close. Source: Cochran, Biometrics 10 (1954).
const leastExpected = 5

// ChiSquare is Pearson's statistic for "reference and current have one law". Bins in which fewer than 5 values would be
// expected on either side are joined, the rarest first, because the law does not hold for them; what is joined depends on
// the two samples together only. The effect is Cramer's V, the root of the statistic per value, from 0 to 1.
func ChiSquare(reference, current []uint64, rule Rule) (Drift, error) {
	n, m, err := bothCounts(reference, current)
	if err != nil {
		return Drift{}, err
	}
	d := Drift{Measure: "chi-square"}
	var df float64
	d.Value, df, d.P = pearson(inUse(reference, current), n, m)
	if df > 0 {
		d.Critical = chiSquareQuantile(rule.alpha(), df)
	}
	d.Effect = math.Sqrt(d.Value / (n + m))
	return rule.judge(d), nil
}

// pearson is the statistic of the bins that remain with the rare ones joined, its degrees of freedom and P. With one bin
// left there is nothing to say: P is 1.
func pearson(bins []pair, n, m float64) (x2, df, p float64) {
	joined := joinRare(bins, n, m)
	for _, c := range joined {
		share := (c[0] + c[1]) / (n + m)
		x2 += float64((c[0]-float64(n*share))*(c[0]-float64(n*share)))/(n*share) +
			float64((c[1]-float64(m*share))*(c[1]-float64(m*share)))/(m*share)
	}
	if df = float64(len(joined) - 1); df == 0 {
		return 0, 0, 1
	}
	return x2, df, chiSquareTail(x2, df)
}

// joinRare returns the bins with the rarest ones added together until every one promises enough on both sides.
func joinRare(bins []pair, n, m float64) []pair {
	bins = slices.Clone(bins)
	slices.SortStableFunc(bins, func(x, y pair) int { return cmp.Compare(x[0]+x[1], y[0]+y[1]) })
	need := leastExpected * (n + m) / min(n, m)
	for len(bins) > 1 && bins[0][0]+bins[0][1] < need {
		rare := bins[0]
		bins = bins[1:]
		bins[0] = pair{bins[0][0] + rare[0], bins[0][1] + rare[1]}
		slices.SortStableFunc(bins, func(x, y pair) int { return cmp.Compare(x[0]+x[1], y[0]+y[1]) })
	}
	return bins
}

// LInfinity is the largest difference of a bin's shares, from 0 to 1, for categories. Its critical value is that of the
// widest bin with the level shared by all bins in use (Bonferroni) and half a count for each side's steps. The effect is the
// measure itself.
func LInfinity(reference, current []uint64, rule Rule) (Drift, error) {
	n, m, err := bothCounts(reference, current)
	if err != nil {
		return Drift{}, err
	}
	bins := float64(len(inUse(reference, current)))
	z := mathext.NormalQuantile(1 - rule.alpha()/(2*bins))
	step := 0.5/n + 0.5/m
	d := Drift{Measure: "l-infinity"}
	widest := 0.0
	for i := range reference {
		p, q := float64(reference[i])/n, float64(current[i])/m
		pooled := float64(reference[i]+current[i]) / (n + m)
		d.Value = max(d.Value, math.Abs(p-q))
		widest = max(widest, math.Sqrt(float64(pooled*(1-pooled))*(1/n+1/m)))
	}
	d.Effect, d.Critical, d.P = d.Value, float64(z*widest)+step, 1
	if widest > 0 {
		d.P = min(1, 2*bins*normalTail((d.Value-step)/widest))
	}
	return rule.judge(d), nil
}
