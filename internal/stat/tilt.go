package stat

import (
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
)

// The tilted histogram e-process bets on shapes of harm. With t_j > 0 per bin, non-decreasing in j, and w the exposed share,
//
//	ln e = sum over exposed of ln(t/(w t + 1 - w)) + sum over baseline of ln(1/(w t + 1 - w))
//
// is an e-value for EVERY law the two arms may have in common: w t/(wt+1-w) + (1-w)/(wt+1-w) = 1 in every bin, so the two
// expectations u and v satisfy w u + (1-w) v = 1, and u^nT v^nC <= 1 by the inequality of the means. An exposed arm that is
// stochastically smaller only lowers u. A margin is put on by moving the baseline's bins up. Values without a bin (requests
// that never ended) count in the highest one.
//
// t = exp(lambda h)/Z with h from: the log-value in standard deviations of the past baseline, clipped at 3 and rounded to
// quarters, and the steps 1{above the past baseline's p50, p75, p90, p95, p99}; Z makes it a density against the past
// baseline, which matters for speed, not for validity.
var (
	zLambdas      = [...]float64{0.1, 0.2, 0.4, 0.8, 1.6}
	stepLambdas   = [...]float64{0.2, 0.4, 0.8, 1.6, 2.4}
	stepQuantiles = [...]float64{0.50, 0.75, 0.90, 0.95, 0.99}
)

const (
	zQuarters = 12            // h is clipped at 3 deviations
	zBets     = len(zLambdas) // per sign
	stepBets  = len(stepQuantiles) * len(stepLambdas)
	tiltBets  = zBets + stepBets                     // per sign
	maxParts  = 2*zQuarters + len(stepQuantiles) + 1 // ranges of bins within which every bet is constant
)

// Side says which way of a value is harm.
type Side string

// Sides. Up is the default; both is for drift, where any change counts.
const (
	Up   Side = "up"
	Down Side = "down"
	Both Side = "both"
)

// shape is the past baseline, cut into parts of equal treatment. Coordinates are the baseline's own bins.
type shape struct {
	cuts  [maxParts - 1]int32 // part p holds bins in (cuts[p-1], cuts[p]]
	parts int
	h     [maxParts]int8              // quarters of a deviation
	step  [len(stepQuantiles)]int     // first part above the quantile
	mass  [maxParts]float64           // shares of the past baseline
	above [len(stepQuantiles)]float64 // share above the quantile
}

// newShape looks at the past baseline: counts and, if given, a prior whose shares weigh as much as weight values.
func newShape(past, prior *evidence.Hist, weight float64) *shape {
	unit := 0.0
	if prior != nil {
		unit = weight / float64(prior.Count())
	}
	p := pastTable{past: past, prior: prior, unit: unit}
	p.moments()
	s := new(shape)
	s.cut(&p)
	p.fill(s)
	return s
}

// pastTable adds up the learned counts and the prior.
type pastTable struct {
	past, prior     *evidence.Hist
	unit            float64 // weight of one value of the prior
	total, mean, sd float64
	quantiles       [len(stepQuantiles)]int32
}

// each visits all bins of both tables in ascending order, the zero bin first.
func (p *pastTable) each(visit func(bin int32, mass float64)) {
	a, b := p.past, p.prior
	if b == nil {
		b = &evidence.Hist{Scale: a.Scale}
	}
	if z := float64(a.Zero) + float64(p.unit*float64(b.Zero)); z > 0 {
		visit(evidence.ZeroBin, z)
	}
	lo, hi := a.Offset, a.Offset+int32(len(a.Counts))
	if len(b.Counts) > 0 {
		if len(a.Counts) == 0 {
			lo, hi = b.Offset, b.Offset
		}
		lo, hi = min(lo, b.Offset), max(hi, b.Offset+int32(len(b.Counts)))
	}
	for bin := lo; bin < hi; bin++ {
		m := 0.0
		if i := bin - a.Offset; i >= 0 && int(i) < len(a.Counts) {
			m = float64(a.Counts[i])
		}
		if i := bin - b.Offset; i >= 0 && int(i) < len(b.Counts) && b.Counts[i] > 0 {
			m += float64(p.unit * float64(b.Counts[i]))
		}
		if m > 0 {
			visit(bin, m)
		}
	}
}

func (p *pastTable) moments() {
	var values, sum, squares float64
	p.each(func(bin int32, m float64) {
		p.total += m
		if bin == evidence.ZeroBin {
			return
		}
		x := float64(bin)
		values += m
		sum += float64(m * x)
		squares += float64(m * float64(x*x))
	})
	if values > 0 {
		p.mean = sum / values
		p.sd = math.Sqrt(max(squares/values-float64(p.mean*p.mean), 0))
	}
	p.sd = max(p.sd, 1)
	seen, next := 0.0, 0
	p.each(func(bin int32, m float64) {
		seen += m
		for next < len(stepQuantiles) && seen >= float64(stepQuantiles[next]*p.total) {
			p.quantiles[next] = bin
			next++
		}
	})
}

// cut merges the quarters of deviations and the quantiles into one ascending list.
func (s *shape) cut(p *pastTable) {
	var quarters [2 * zQuarters]int32
	for i := range quarters {
		edge := float64(i-zQuarters) + 0.5
		quarters[i] = int32(math.Ceil(p.mean+float64(p.sd*edge)/4)) - 1
	}
	all := append(quarters[:], p.quantiles[:]...)
	slices.Sort(all)
	all = slices.Compact(all)
	s.parts = len(all) + 1
	copy(s.cuts[:], all)
	for part := range s.parts {
		s.h[part] = -zQuarters
		for _, q := range quarters {
			if part > 0 && q <= all[part-1] {
				s.h[part]++
			}
		}
	}
	for i, q := range p.quantiles {
		at, _ := slices.BinarySearch(all, q)
		s.step[i] = at + 1
	}
}

func (p *pastTable) fill(s *shape) {
	p.each(func(bin int32, m float64) { s.mass[s.part(bin)] += m / p.total })
	for i, first := range s.step {
		for part := first; part < s.parts; part++ {
			s.above[i] += s.mass[part]
		}
	}
}

// part returns the part a bin of the baseline belongs to.
func (s *shape) part(bin int32) int {
	at, _ := slices.BinarySearch(s.cuts[:s.parts-1], bin)
	return at
}

// count sorts the counts of a histogram into parts, its bins moved down by shift first. worst values have no bin and go to
// the part at the harmful end.
func (s *shape) count(h *evidence.Hist, shift int32, worst uint64, side Side, out *[maxParts]float64) {
	*out = [maxParts]float64{}
	part := 0
	for bin, c := range h.All() {
		if bin != evidence.ZeroBin {
			bin -= shift
		}
		for part < s.parts-1 && bin > s.cuts[part] {
			part++
		}
		out[part] += float64(c)
	}
	if side == Down {
		out[0] += float64(worst)
		return
	}
	out[s.parts-1] += float64(worst)
}

// tilts holds the bets of one sign in a stratum: per bet ln t and ln(w t + 1 - w) per part.
type tilts struct {
	shape *shape
	sign  float64 // +1 bets on larger values, -1 on smaller ones
	lnT   [tiltBets][maxParts]float64
	lnMix [tiltBets][maxParts]float64
}

// offsetOf returns where a test's bets of the sign begin among its factors; false if it makes no such bets. better turns
// the direction round, to show that the exposed arm is not worse.
func offsetOf(side Side, better bool, sign float64) (int, bool) {
	if side == Both {
		if sign < 0 {
			return tiltBets, true
		}
		return 0, true
	}
	return 0, (side == Down) != better == (sign < 0)
}

func tiltWeights(side Side) []float64 {
	w := make([]float64, tiltBets)
	if side == Both {
		w = make([]float64, 2*tiltBets)
	}
	for i := range w {
		w[i] = 1 / float64(len(w))
	}
	return w
}

// tiltTable holds e^(lambda*quarters/4) for every lambda and quarters from -zQuarters to zQuarters.
var tiltTable = func() (t [zBets][2*zQuarters + 1]float64) {
	for i, l := range zLambdas {
		for q := range t[i] {
			t[i][q] = exp(float64(l*float64(q-zQuarters)) / 4)
		}
	}
	return t
}()

// stepFactor holds e^lambda for the steps.
var stepFactor = func() (t [len(stepLambdas)]float64) {
	for i, l := range stepLambdas {
		t[i] = exp(l)
	}
	return t
}()

// prepare computes the terms of all bets of a sign for an exposed share w.
func (t *tilts) prepare(s *shape, sign, w float64) {
	t.shape, t.sign = s, sign
	for i := range zLambdas {
		t.prepareZ(i, i, w)
	}
	for q := range stepQuantiles {
		for i := range stepLambdas {
			t.prepareStep(zBets+q*len(stepLambdas)+i, q, i, w)
		}
	}
}

func (t *tilts) prepareZ(bet, lambda int, w float64) {
	s := t.shape
	sign := t.sign
	factor := func(part int) float64 { return tiltTable[lambda][int(sign)*int(s.h[part])+zQuarters] }
	z := 0.0
	for part := range s.parts {
		z += float64(s.mass[part] * factor(part))
	}
	lnZ := ln(z)
	for part := range s.parts {
		t.lnT[bet][part] = float64(float64(sign*zLambdas[lambda])*float64(s.h[part]))/4 - lnZ
		if part > 0 && s.h[part] == s.h[part-1] {
			t.lnMix[bet][part] = t.lnMix[bet][part-1]
			continue
		}
		t.lnMix[bet][part] = ln(float64(w*factor(part))/z + (1 - w))
	}
}

func (t *tilts) prepareStep(bet, q, lambda int, w float64) {
	s := t.shape
	sign := t.sign
	share, f := s.above[q], stepFactor[lambda]
	if sign < 0 {
		share = 1 - share
	}
	z := 1 + float64(share*(f-1))
	lnZ := ln(z)
	raised, mixRaised := stepLambdas[lambda]-lnZ, ln(float64(w*f)/z+(1-w))
	low, mixLow := -lnZ, ln(w/z+(1-w))
	for part := range s.parts {
		if (part >= s.step[q]) == (sign > 0) {
			t.lnT[bet][part], t.lnMix[bet][part] = raised, mixRaised
			continue
		}
		t.lnT[bet][part], t.lnMix[bet][part] = low, mixLow
	}
}

// add adds ln e of every bet for the counts per part to out.
func (t *tilts) add(exposed, base *[maxParts]float64, out []float64) {
	for bet := range tiltBets {
		lnT, lnMix := &t.lnT[bet], &t.lnMix[bet]
		sum := 0.0
		for part := range t.shape.parts {
			nT, nC := exposed[part], base[part]
			if nT != 0 {
				sum += float64(nT * lnT[part])
			}
			if n := nT + nC; n != 0 {
				sum -= float64(n * lnMix[part])
			}
		}
		out[bet] += sum
	}
}

// blend adds, per part, what one exposed value adds to ln e under the mixture of bets with the given shares.
func (t *tilts) blend(shares []float64, out *[maxParts]float64) {
	for bet, share := range shares[:tiltBets] {
		for part := range t.shape.parts {
			out[part] += float64(share * (t.lnT[bet][part] - t.lnMix[bet][part]))
		}
	}
}
