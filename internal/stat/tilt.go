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
// t = exp(lambda h)/Z; Z makes it a density against the past baseline, which matters for speed, not for validity. h is the log-value
// in standard deviations of the past baseline, clipped at 4 and rounded to quarters, which meets whatever moves as a whole; or what
// it has above 2 deviations, which meets tails and harm to few requests; or a step 1{above the past baseline's p50, p75, p90, p95,
// p99}, for laws that are nothing like a lognormal. Small lambdas have the most weight: large harm is found within seconds anyway.
var (
	bends = [...]bend{
		{lambda: 0.05, weight: 0.15}, {lambda: 0.1, weight: 0.19}, {lambda: 0.2, weight: 0.12}, {lambda: 0.4, weight: 0.07},
		{lambda: 0.8, weight: 0.04}, {lambda: 1.6, weight: 0.01},
		{lambda: 0.2, knee: true, weight: 0.08}, {lambda: 0.4, knee: true, weight: 0.10}, {lambda: 0.8, knee: true, weight: 0.08},
		{lambda: 1.6, knee: true, weight: 0.02},
	}
	stepLambdas   = [...]float64{0.4, 1.6}
	stepQuantiles = [...]float64{0.50, 0.75, 0.90, 0.95, 0.99}
)

// bend is a bet whose h depends on deviations.
type bend struct {
	lambda float64
	knee   bool // only what lies above 2 deviations
	weight float64
}

// exponent is lambda h at a number of quarters of a deviation.
func (b *bend) exponent(quarters int) float64 {
	if b.knee {
		quarters = max(quarters-kneeQuarters, 0)
	}
	return float64(b.lambda * float64(quarters) / 4)
}

const (
	zQuarters    = 16 // h is clipped at 4 deviations
	kneeQuarters = 8
	stepWeight   = 0.014
	zBets        = len(bends) // per sign
	stepBets     = len(stepQuantiles) * len(stepLambdas)
	tiltBets     = zBets + stepBets                     // per sign
	maxParts     = 2*zQuarters + len(stepQuantiles) + 1 // ranges of bins within which every bet is constant
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

// newShape looks at the past baseline.
func newShape(p *pastTable) *shape {
	p.moments()
	s := new(shape)
	s.cut(p)
	s.fill(p)
	return s
}

// binMass is what is known of one bin: counts, and the prior's share of its weight.
type binMass struct {
	bin  int32
	mass float64
}

// pastTable is the past baseline as one ascending list of bins.
type pastTable struct {
	bins            []binMass
	total, mean, sd float64 // of the bins but ZeroBin, whose logarithm there is none of; total is of all
	quantiles       [len(stepQuantiles)]int32
}

// load adds up the learned counts and, if given, a prior whose shares weigh as much as weight values. Both have one scale.
func (p *pastTable) load(past, prior *evidence.Hist, weight float64) {
	p.bins = p.bins[:0]
	if prior == nil {
		for bin, c := range past.All() {
			p.bins = append(p.bins, binMass{bin, float64(c)})
		}
		return
	}
	unit := weight / float64(prior.Count())
	if z := float64(past.Zero) + float64(unit*float64(prior.Zero)); z > 0 {
		p.bins = append(p.bins, binMass{evidence.ZeroBin, z})
	}
	lo, hi := past.Offset, past.Offset+int32(len(past.Counts))
	if n := int32(len(prior.Counts)); n > 0 {
		if len(past.Counts) == 0 {
			lo, hi = prior.Offset, prior.Offset
		}
		lo, hi = min(lo, prior.Offset), max(hi, prior.Offset+n)
	}
	for bin := lo; bin < hi; bin++ {
		if m := float64(past.Bin(bin)) + float64(unit*float64(prior.Bin(bin))); m > 0 {
			p.bins = append(p.bins, binMass{bin, m})
		}
	}
}

func (p *pastTable) moments() {
	var values, sum, squares float64
	p.total = 0
	for _, b := range p.bins {
		p.total += b.mass
		if b.bin == evidence.ZeroBin {
			continue
		}
		x := float64(b.bin)
		values += b.mass
		sum += float64(b.mass * x)
		squares += float64(b.mass * float64(x*x))
	}
	p.mean, p.sd = 0, 0
	if values > 0 {
		p.mean = sum / values
		p.sd = math.Sqrt(max(squares/values-float64(p.mean*p.mean), 0))
	}
	p.sd = max(p.sd, 1)
	for i, q := range stepQuantiles {
		p.quantiles[i] = p.quantile(q)
	}
}

// quantile is the bin in which the masses reach a share q of the total.
func (p *pastTable) quantile(q float64) int32 {
	seen, level := 0.0, float64(q*p.total)
	for _, b := range p.bins {
		if seen += b.mass; seen >= level {
			return b.bin
		}
	}
	return p.bins[len(p.bins)-1].bin
}

// cut merges the quarters of deviations and the quantiles into one ascending list.
func (s *shape) cut(p *pastTable) {
	var quarters [2 * zQuarters]int32
	for i := range quarters {
		edge := float64(i-zQuarters) + 0.5
		quarters[i] = int32(math.Ceil(p.mean+float64(p.sd*edge/4))) - 1
	}
	// Both lists ascend; equal cuts become one.
	z, q := 0, 0
	for z < len(quarters) || q < len(p.quantiles) {
		var at int32
		if q == len(p.quantiles) || z < len(quarters) && quarters[z] <= p.quantiles[q] {
			at = quarters[z]
		} else {
			at = p.quantiles[q]
		}
		s.h[s.parts] = int8(z - zQuarters)
		s.cuts[s.parts] = at
		s.parts++
		for z < len(quarters) && quarters[z] == at {
			z++
		}
		for q < len(p.quantiles) && p.quantiles[q] == at {
			s.step[q] = s.parts
			q++
		}
	}
	s.h[s.parts] = zQuarters
	s.parts++
}

func (s *shape) fill(p *pastTable) {
	part := 0
	for _, b := range p.bins {
		for part < s.parts-1 && b.bin > s.cuts[part] {
			part++
		}
		s.mass[part] += b.mass / p.total
	}
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
	w := make([]float64, 0, 2*tiltBets)
	for i := range bends {
		w = append(w, bends[i].weight)
	}
	for range stepBets {
		w = append(w, stepWeight)
	}
	if side != Both {
		return w
	}
	for i := range w {
		w[i] /= 2
	}
	return append(w, w...)
}

// tiltTable holds e^(lambda h) for every bend and quarters from -zQuarters to zQuarters.
var tiltTable = func() (t [zBets][2*zQuarters + 1]float64) {
	for i := range bends {
		for q := range t[i] {
			t[i][q] = exp(bends[i].exponent(q - zQuarters))
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
	for i := range bends {
		t.prepareZ(i, w)
	}
	for q := range stepQuantiles {
		for i := range stepLambdas {
			t.prepareStep(zBets+q*len(stepLambdas)+i, q, i, w)
		}
	}
}

func (t *tilts) prepareZ(bet int, w float64) {
	s := t.shape
	sign := t.sign
	factor := func(part int) float64 { return tiltTable[bet][int(sign)*int(s.h[part])+zQuarters] }
	z := 0.0
	for part := range s.parts {
		z += float64(s.mass[part] * factor(part))
	}
	lnZ := ln(z)
	for part := range s.parts {
		t.lnT[bet][part] = bends[bet].exponent(int(sign)*int(s.h[part])) - lnZ
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

// blend adds, per part, what one exposed (or baseline) value adds to ln e under the mixture of bets with the given shares.
func (t *tilts) blend(shares []float64, out *[maxParts]float64, exposed bool) {
	for bet, share := range shares[:tiltBets] {
		for part := range t.shape.parts {
			x := -t.lnMix[bet][part]
			if exposed {
				x += t.lnT[bet][part]
			}
			out[part] += float64(share * x)
		}
	}
}
