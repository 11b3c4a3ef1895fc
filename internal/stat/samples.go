package stat

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// points is two samples side by side: ascending places, and how many values each has there.
type points struct {
	at   []float64
	a, b []uint64
	n, m float64
}

// pointsOf leaves NaN out. Neither sample is changed.
func pointsOf(reference, current []float64) (points, error) {
	x, y := ascending(reference), ascending(current)
	if len(x) == 0 || len(y) == 0 {
		return points{}, ErrNoData
	}
	p := points{n: float64(len(x)), m: float64(len(y))}
	for i, j := 0, 0; i < len(x) || j < len(y); {
		var at float64
		if j == len(y) || i < len(x) && x[i] <= y[j] {
			at = x[i]
		} else {
			at = y[j]
		}
		var a, b uint64
		for ; i < len(x) && x[i] == at; i++ {
			a++
		}
		for ; j < len(y) && y[j] == at; j++ {
			b++
		}
		p.at, p.a, p.b = append(p.at, at), append(p.a, a), append(p.b, b)
	}
	return p, nil
}

func ascending(values []float64) []float64 {
	x := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) {
			x = append(x, v)
		}
	}
	slices.Sort(x)
	return x
}

// KS is the two-sample Kolmogorov-Smirnov test of the values; NaN is left out. D is the largest difference of the two
// cumulative shares, from 0 to 1; a normal law moved by d deviations has about 0.4 d. P is exact up to a hundred thousand pairs
// of values, beyond that the limit; ties only make it too large. The effect is D.
// Sources: Hodges, Arkiv för Matematik 3 (1958); Smirnov, Ann. Math. Stat. 19 (1948).
func KS(reference, current []float64, rule Rule) (Drift, error) {
	p, err := pointsOf(reference, current)
	if err != nil {
		return Drift{}, err
	}
	return p.ks(rule), nil
}

// KSBins is KS on counts over the same ascending bins: differences inside a bin are not seen, and P is too large for it.
func KSBins(reference, current []uint64, rule Rule) (Drift, error) {
	n, m, err := bothCounts(reference, current)
	if err != nil {
		return Drift{}, err
	}
	p := points{a: reference, b: current, n: n, m: m}
	return p.ks(rule), nil
}

func (p *points) ks(rule Rule) Drift {
	// |i m - j n| is a whole number, so equal differences are equal here.
	n, m := int64(p.n), int64(p.m)
	var i, j, most int64
	for k := range p.a {
		i, j = i+int64(p.a[k]), j+int64(p.b[k])
		most = max(most, i*m-j*n, j*n-i*m)
	}
	d := float64(most) / float64(p.n*p.m)
	return rule.judge(Drift{Measure: "ks", Value: d, Effect: d, P: ksTail(n, m, most), Critical: kolmogorovQuantile(rule.alpha()) / kolmogorovScale(p.n, p.m)})
}

// exactPairs is up to where the exact law of D is computed; beyond it the limit is right to three digits.
const exactPairs = 100_000

// ksTail is the probability that D of samples of n and m values is at least most/(n m).
func ksTail(n, m, most int64) float64 {
	if n > exactPairs/m {
		return kolmogorovTail(float64(most) / float64(n) / float64(m) * kolmogorovScale(float64(n), float64(m)))
	}
	// inside[j] is the probability that the path through i values of one and j of the other sample stays inside: the last
	// of i+j values is one of the i with probability i/(i+j).
	inside := make([]float64, m+1)
	for i := range n + 1 {
		for j := range m + 1 {
			switch {
			case i == 0 && j == 0:
				inside[0] = 1
				continue
			case i*m-j*n >= most || j*n-i*m >= most:
				inside[j] = 0
				continue
			}
			v := float64(float64(i) * inside[j])
			if j > 0 {
				v += float64(float64(j) * inside[j-1])
			}
			inside[j] = v / float64(i+j)
		}
	}
	return min(max(1-inside[m], 0), 1)
}

// kolmogorovScale takes D to Kolmogorov's law. Smirnov's limit as it stands: corrections made for one sample give a P that is
// 10 % too small for two samples of equal size.
func kolmogorovScale(n, m float64) float64 { return math.Sqrt(n * m / (n + m)) }

// kolmogorovTail is the probability that Kolmogorov's statistic exceeds x: 2 sum (-1)^(k-1) e^(-2 k^2 x^2).
func kolmogorovTail(x float64) float64 {
	if x < 0.2 {
		return 1
	}
	sum, sign := 0.0, 1.0
	for k := range 100 {
		term := exp(float64(-2 * float64(float64((k+1)*(k+1))*float64(x*x))))
		sum += float64(sign * term)
		if sign = -sign; term < 1e-17 {
			break
		}
	}
	return min(max(2*sum, 0), 1)
}

func kolmogorovQuantile(alpha float64) float64 {
	lo, hi := 0.2, 10.0
	for range 60 {
		if mid := (lo + hi) / 2; kolmogorovTail(mid) > alpha {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// WassersteinDistance is the area between the two cumulative shares, in the unit of the values: how far one sample's values
// have to be moved on average to become the other's. NaN is left out.
func WassersteinDistance(reference, current []float64) (float64, error) {
	p, err := pointsOf(reference, current)
	if err != nil {
		return 0, err
	}
	w, _ := p.areas()
	return w, nil
}

// Wasserstein is WassersteinDistance in standard deviations of the reference (of both together where the reference is
// constant); a law moved by d deviations has d. Without drift the distance is the area under a Brownian bridge, whose mean is
// sqrt(2/pi) times the integral of sqrt(F(1-F)) and which exceeds it by more than z deviations of the values with at most
// the probability that a normal variable exceeds z, because a law's mean is above its median and no 1-Lipschitz function
// varies more than the values. So P is an upper bound, up to the central limit, whatever the law. Infinite values are not
// allowed. The effect is the normed distance.
// Sources: del Barrio, Giné & Matrán, Ann. Probab. 27 (1999); Borell, Invent. Math. 30 (1975).
func Wasserstein(reference, current []float64, rule Rule) (Drift, error) {
	p, err := pointsOf(reference, current)
	if err != nil {
		return Drift{}, err
	}
	return p.wasserstein(rule), nil
}

// WassersteinBins is Wasserstein on counts over the same bins, whose values are taken to lie at the given ascending places.
func WassersteinBins(at []float64, reference, current []uint64, rule Rule) (Drift, error) {
	n, m, err := bothCounts(reference, current)
	if err != nil {
		return Drift{}, err
	}
	p := points{at: at, a: reference, b: current, n: n, m: m}
	return p.wasserstein(rule), nil
}

func (p *points) wasserstein(rule Rule) Drift {
	d := Drift{Measure: "wasserstein", P: 1}
	w, bridge := p.areas()
	sdA, sdAll := p.deviations()
	if sdA == 0 {
		sdA = sdAll
	}
	if sdA > 0 {
		scale := math.Sqrt(1/p.n + 1/p.m)
		mean := float64(math.Sqrt(2/math.Pi) * bridge)
		d.Value = w / sdA
		d.Critical = float64(scale*(mean+float64(mathext.NormalQuantile(1-rule.alpha())*sdAll))) / sdA
		d.P = normalTail((w/scale - mean) / sdAll)
	}
	d.Effect = d.Value
	return rule.judge(d)
}

// areas returns the area between the two cumulative shares and the integral of sqrt(F(1-F)) of both together.
func (p *points) areas() (between, bridge float64) {
	var i, j uint64
	for k := range p.at[:len(p.at)-1] {
		i, j = i+p.a[k], j+p.b[k]
		width := p.at[k+1] - p.at[k]
		f := float64(i+j) / (p.n + p.m)
		between += float64(width * math.Abs(float64(i)/p.n-float64(j)/p.m))
		bridge += float64(width * math.Sqrt(float64(f*(1-f))))
	}
	return between, bridge
}

// deviations are the standard deviations of the reference and of both together.
func (p *points) deviations() (reference, all float64) {
	of := func(weight func(k int) float64, n float64) float64 {
		mean, squares := 0.0, 0.0
		for k, x := range p.at {
			mean += float64(weight(k)*x) / n
		}
		for k, x := range p.at {
			squares += float64(weight(k) * float64((x-mean)*(x-mean)))
		}
		return math.Sqrt(squares / n)
	}
	return of(func(k int) float64 { return float64(p.a[k]) }, p.n),
		of(func(k int) float64 { return float64(p.a[k] + p.b[k]) }, p.n+p.m)
}
