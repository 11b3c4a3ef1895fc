package stat

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sluice.dev/sdk/evidence"
)

// binomials returns P(Bin(n, p) = k) for all k.
func binomials(n int, p float64) []float64 {
	out := make([]float64, n+1)
	out[0] = 1
	for i := range n {
		for k := i + 1; k >= 0; k-- {
			out[k] *= 1 - p
			if k > 0 {
				out[k] += out[k-1] * p
			}
		}
	}
	return out
}

// twinNull finds the null rate by bisection of the derivative itself, without multiplying out.
func twinNull(wT, wC float64, b rateBet, m Margin) float64 {
	f := func(x float64) float64 {
		g := m.of(x)
		return wT*m.slope()*(b.T-g)/(g*(1-g)) + wC*(b.C-x)/(x*(1-x))
	}
	lo, hi := b.C, m.inverse(b.T)
	if hi < lo {
		lo, hi = hi, lo
	}
	// Inside the bracket g(x) lies in (0, 1).
	edge := func(p float64) float64 { return m.inverse(p) }
	lo, hi = math.Max(lo, math.Max(1e-13, edge(1e-13))), math.Min(hi, math.Min(1-1e-13, edge(1-1e-13)))
	for range 200 {
		mid := (lo + hi) / 2
		if f(mid) > 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return (lo + hi) / 2
}

func randomBet(rng *rand.Rand, better bool) (rateBet, Margin, bool) {
	m := Margin{}
	switch rng.IntN(4) {
	case 0:
		m.Relative = rng.Float64()
	case 1:
		m.Absolute = rng.Float64() * 0.2
	case 2:
		m = Margin{rng.Float64()*0.5 - 0.2, rng.Float64()*0.1 - 0.02}
	}
	b := rateBet{C: rng.Float64(), T: rng.Float64()}
	limit := m.of(b.C)
	if limit < 1e-6 || limit > 1-1e-6 || (b.T > limit) == better || b.T < 1e-6 {
		return b, m, false
	}
	return b, m, true
}

func TestNullRateAgreesWithBisection(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for n := 0; n < 20_000; {
		b, m, ok := randomBet(rng, rng.IntN(2) == 0)
		if !ok {
			continue
		}
		n++
		w := 0.001 + 0.998*rng.Float64()
		got, want := nullRate(w, 1-w, b, m), twinNull(w, 1-w, b, m)
		if math.Abs(got-want) > 1e-9 {
			t.Fatalf("bet %+v, margin %+v, w %g: null rate %.15g, want %.15g", b, m, w, got, want)
		}
	}
}

// TestRateFactorIsAnEValue adds up e over every outcome of small blocks, for rates on and inside the margin.
func TestRateFactorIsAnEValue(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	tight := 0.0
	for n := 0; n < 300; {
		better := rng.IntN(2) == 0
		b, m, ok := randomBet(rng, better)
		if !ok {
			continue
		}
		n++
		nT, nC := 1+rng.IntN(5), 1+rng.IntN(7)
		for range 20 {
			rateC := rng.Float64()
			limit := m.of(rateC)
			if limit < 0 || limit > 1 {
				continue
			}
			rateT := limit
			if rng.IntN(2) == 0 { // inside the null hypothesis
				rateT = limit * rng.Float64()
				if better {
					rateT = limit + (1-limit)*rng.Float64()
				}
			}
			mean := expectE(nT, nC, rateT, rateC, b, m)
			if mean > 1+1e-10 {
				t.Fatalf("bet %+v, margin %+v, rates %g and %g, %d and %d requests: expectation %.12g", b, m, rateT, rateC, nT, nC, mean)
			}
			tight = math.Max(tight, mean)
		}
	}
	if tight < 0.99 {
		t.Errorf("no expectation came near 1, only %g: the factors waste evidence", tight)
	}
}

func expectE(nT, nC int, rateT, rateC float64, b rateBet, m Margin) float64 {
	pT, pC := binomials(nT, rateT), binomials(nC, rateC)
	mean := 0.0
	for yT, p := range pT {
		for yC, q := range pC {
			e, _ := BlockLogE(Table{Counts: Counts{uint64(nT), uint64(yT), uint64(nC), uint64(yC)}}, m, b.T, b.C)
			mean += p * q * math.Exp(e)
		}
	}
	return mean
}

// TestKnownShareNeedsNoCommonRate: scored once, the factor of each single unit has mean at most 1 over the split alone,
// whatever the unit's own rate is.
func TestKnownShareNeedsNoCommonRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for n := 0; n < 2000; {
		b, m, ok := randomBet(rng, false)
		if !ok {
			continue
		}
		w, rateC := 0.01+0.98*rng.Float64(), rng.Float64()
		limit := m.of(rateC)
		if limit < 0 || limit > 1 {
			continue
		}
		n++
		r, _ := b.terms(&Table{Share: w}, m)
		mean := w*(limit*math.Exp(r.TBad)+(1-limit)*math.Exp(r.TGood)) + (1-w)*(rateC*math.Exp(r.CBad)+(1-rateC)*math.Exp(r.CGood))
		if math.Abs(mean-1) > 1e-9 {
			t.Fatalf("bet %+v, margin %+v, share %g, rate %g: mean %.12g, want 1", b, m, w, rateC, mean)
		}
	}
}

// TestTiltFactorIsAnEValue adds up e over every outcome of two exposed and three baseline values in four bins, under a law
// that has nothing to do with the past.
func TestTiltFactorIsAnEValue(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	const nT, nC, bins = 2, 3, 4
	for range 6 {
		past := evidence.NewHist(5)
		for range 600 {
			past.AddBin(int32(rng.IntN(40)), 1)
		}
		s := newShape(pastOf(past))
		law := randomLaw(rng, bins)
		smaller := shiftedDown(rng, law)
		at := [bins]int32{evidence.ZeroBin, 9, 20, 38}
		for _, sign := range []float64{1, -1} {
			var b tilts
			b.prepare(s, sign, float64(nT)/(nT+nC))
			checkTilts(t, &b, s, at[:], nT, nC, law, law)
			if sign > 0 {
				checkTilts(t, &b, s, at[:], nT, nC, smaller, law)
			} else {
				checkTilts(t, &b, s, at[:], nT, nC, law, smaller)
			}
		}
	}
}

func pastOf(h *evidence.Hist) *pastTable {
	p := new(pastTable)
	p.load(h, nil, 0)
	return p
}

func randomLaw(rng *rand.Rand, n int) []float64 {
	law, sum := make([]float64, n), 0.0
	for i := range law {
		law[i] = rng.ExpFloat64()
		sum += law[i]
	}
	for i := range law {
		law[i] /= sum
	}
	return law
}

// shiftedDown moves some of each bin's mass to the bin below: a stochastically smaller law.
func shiftedDown(rng *rand.Rand, law []float64) []float64 {
	out := append([]float64(nil), law...)
	for i := 1; i < len(out); i++ {
		m := out[i] * rng.Float64() * 0.5
		out[i] -= m
		out[i-1] += m
	}
	return out
}

func checkTilts(t *testing.T, b *tilts, s *shape, at []int32, nT, nC int, lawT, lawC []float64) {
	t.Helper()
	mean := make([]float64, tiltBets)
	outcome := make([]int, nT+nC)
	for {
		p := 1.0
		hT, hC := evidence.NewHist(5), evidence.NewHist(5)
		for i, o := range outcome {
			if i < nT {
				p *= lawT[o]
				hT.AddBin(at[o], 1)
			} else {
				p *= lawC[o]
				hC.AddBin(at[o], 1)
			}
		}
		var exposed, base [maxParts]float64
		s.count(hT, 0, 0, Up, &exposed)
		s.count(hC, 0, 0, Up, &base)
		e := make([]float64, tiltBets)
		b.add(&exposed, &base, e)
		for k := range e {
			mean[k] += p * math.Exp(e[k])
		}
		if !next(outcome, len(at)) {
			break
		}
	}
	for k, m := range mean {
		if m > 1+1e-10 {
			t.Fatalf("bet %d of sign %g: expectation %.12g", k, b.sign, m)
		}
	}
}

// next counts up in base n; false after the last.
func next(digits []int, n int) bool {
	for i := range digits {
		if digits[i]++; digits[i] < n {
			return true
		}
		digits[i] = 0
	}
	return false
}

// twinTilt computes ln e value by value, from the definition.
func twinTilt(lambda float64, h func(bin int32) float64, past map[int32]float64, hT, hC *evidence.Hist, w float64) float64 {
	z := 0.0
	for bin, m := range past {
		z += m * math.Exp(lambda*h(bin))
	}
	e := 0.0
	for bin, c := range hT.All() {
		x := math.Exp(lambda*h(bin)) / z
		e += float64(c) * math.Log(x/(w*x+1-w))
	}
	for bin, c := range hC.All() {
		x := math.Exp(lambda*h(bin)) / z
		e -= float64(c) * math.Log(w*x+1-w)
	}
	return e
}

func TestTiltAgreesWithItsDefinition(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		rng := rand.New(rand.NewPCG(6, seed))
		draw := func(n int) *evidence.Hist {
			h := evidence.NewHist(5)
			for range n {
				if rng.IntN(12) == 0 {
					h.Add(0)
				} else {
					h.Add(math.Exp(rng.NormFloat64()))
				}
			}
			return h
		}
		past, hT, hC := draw(700), draw(20), draw(150)
		s := newShape(pastOf(past))
		w := 20.0 / 170
		shares := map[int32]float64{}
		var n, sum, squares float64
		for bin, c := range past.All() {
			shares[bin] = float64(c) / float64(past.Count())
			if bin != evidence.ZeroBin {
				n += float64(c)
				sum += float64(c) * float64(bin)
				squares += float64(c) * float64(bin) * float64(bin)
			}
		}
		mean := sum / n
		sd := math.Sqrt(squares/n - mean*mean)
		z := func(bin int32) float64 {
			if bin == evidence.ZeroBin {
				return -4
			}
			// Ties go up to the next quarter only above the edge, as the cuts have it.
			q := math.Ceil((float64(bin)-mean)/sd*4+0.5) - 1
			if (float64(bin)-mean)/sd*4+0.5 == math.Floor((float64(bin)-mean)/sd*4+0.5) {
				q++
			}
			return math.Min(math.Max(q, -16), 16) / 4
		}
		for _, sign := range []float64{1, -1} {
			var b tilts
			b.prepare(s, sign, w)
			var exposed, base [maxParts]float64
			s.count(hT, 0, 0, Up, &exposed)
			s.count(hC, 0, 0, Up, &base)
			got := make([]float64, tiltBets)
			b.add(&exposed, &base, got)
			for i, b := range bends {
				h := func(bin int32) float64 {
					if b.knee {
						return max(sign*z(bin)-2, 0)
					}
					return sign * z(bin)
				}
				near(t, "bend", got[i], twinTilt(b.lambda, h, shares, hT, hC, w), 1e-9)
			}
			for q, p := range stepQuantiles {
				at, _ := past.QuantileBin(p)
				step := func(bin int32) float64 {
					if (bin > at) == (sign > 0) {
						return 1
					}
					return 0
				}
				for i, l := range stepLambdas {
					near(t, "step bet", got[zBets+q*len(stepLambdas)+i], twinTilt(l, step, shares, hT, hC, w), 1e-9)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestCountFactorIsAnEValue(t *testing.T) {
	for _, q0 := range []float64{0.01, 0.1, 0.5, 0.9} {
		a, b := betaPrior(q0)
		for _, n := range []int{1, 5, 40} {
			for _, q := range []float64{q0, q0 * 0.9, q0 * 0.3} {
				var one, two float64
				for k, p := range binomials(n, q) {
					one += p * math.Exp(CountLogE(uint64(k), uint64(n-k), q0, a, b, false))
					if q == q0 {
						two += p * math.Exp(CountLogE(uint64(k), uint64(n-k), q0, a, b, true))
					}
				}
				if one > 1+1e-9 || two > 1+1e-9 || q == q0 && (one < 1-1e-9 || two < 1-1e-9) {
					t.Errorf("q0 %g, q %g, n %d: expectations %.10g (one-sided), %.10g (two-sided)", q0, q, n, one, two)
				}
			}
		}
	}
}

// TestLaneIsASupermartingale walks every path of a whole lane, mixture, stage starts and restarts together, and adds up M
// after each block: its expectation is at most 1 at the margin, in both directions.
func TestLaneIsASupermartingale(t *testing.T) {
	for _, cfg := range []LaneConfig{
		{Kind: Proportion, Margin: Margin{Relative: 0.5}, Blocks: 3, Stages: 2},
		{Kind: Proportion, Margin: Margin{Absolute: 0.1}, Blocks: 1},
		{Kind: Count, Margin: Margin{Relative: 0.2}, Blocks: 2, Stages: 1},
	} {
		const blocks = 5
		rateC := 0.3
		rateT := cfg.Margin.of(rateC)
		share := 0.4
		sums := make([][2]float64, blocks)
		var walk func(l *Lane, p float64, i int)
		walk = func(l *Lane, p float64, i int) {
			if i == blocks {
				return
			}
			for o := range 4 {
				yT, yC := uint64(o&1), uint64(o>>1)
				q := p * pick(yT == 1, rateT) * pick(yC == 1, rateC)
				s := Stratum{Exposed: Arm{N: 1, Bad: yT}, Baseline: Arm{N: 1, Bad: yC}}
				if cfg.Kind == Count {
					if o > 1 {
						continue
					}
					q0 := NullShare(share, cfg.Margin)
					q = p * pick(yT == 1, q0)
					s = Stratum{Exposed: Arm{N: yT}, Baseline: Arm{N: 1 - yT}, Share: share}
				}
				c := l.Clone()
				c.Step(Block{Second: int64(i + 1), Stage: i / 3, Strata: []Stratum{s}})
				sums[i][0] += q * math.Exp(c.LogM())
				sums[i][1] += q * math.Exp(c.logM[betterTest])
				walk(c, q, i+1)
			}
		}
		walk(mustLane(t, cfg), 1, 0)
		for i, s := range sums {
			if s[0] > 1+1e-9 || s[1] > 1+1e-9 {
				t.Errorf("%s, block %d: expectations %.10g and %.10g", cfg.Kind, i, s[0], s[1])
			}
			if s[0] < 0.5 {
				t.Errorf("%s, block %d: expectation %.10g: wealth is thrown away", cfg.Kind, i, s[0])
			}
		}
	}
}

func pick(yes bool, p float64) float64 {
	if yes {
		return p
	}
	return 1 - p
}

func mustLane(t testing.TB, cfg LaneConfig) *Lane {
	t.Helper()
	l, err := NewLane(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestOrderLimit: where the ratio of the laws rises it is ShapeLimit; elsewhere it is less, no non-decreasing bet has more, and its
// own bets reach it.
func TestOrderLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(61, 62))
	law := func(n int) []float64 {
		p, sum := make([]float64, n), 0.0
		for i := range p {
			p[i] = rng.ExpFloat64()
			sum += p[i]
		}
		for i := range p {
			p[i] /= sum
		}
		return p
	}
	info := func(w float64, pT, pC, bet []float64) (sum float64) {
		z := 0.0
		for i := range bet {
			z += pC[i] * bet[i]
		}
		for i := range bet {
			mix := w*bet[i]/z + 1 - w
			sum += w*pT[i]*math.Log(bet[i]/z/mix) - (1-w)*pC[i]*math.Log(mix)
		}
		return sum
	}
	for range 200 {
		n, w := 2+rng.IntN(8), 0.05+0.9*rng.Float64()
		pT, pC := law(n), law(n)
		got, bets := OrderLimit(w, pT, pC)
		if full := ShapeLimit(w, pT, pC); got > full+1e-12 || got < -1e-12 {
			t.Fatalf("limit %g against the order, %g against equality", got, full)
		}
		var reached float64
		for i, b := range bets {
			reached += w*pT[i]*math.Log(b[0]) + (1-w)*pC[i]*math.Log(b[1])
			if i > 0 && (b[0] < bets[i-1][0]-1e-12 || b[1] > bets[i-1][1]+1e-12) {
				t.Fatalf("bets fall: %v", bets)
			}
			if e := w*b[0] + (1-w)*b[1]; math.Abs(e-1) > 1e-12 {
				t.Fatalf("a common law has expectation %g", e)
			}
		}
		near(t, "reached", reached, got, 1e-12)
		for range 50 {
			bet, level := make([]float64, n), 0.0
			for i := range bet {
				level += rng.ExpFloat64() * rng.ExpFloat64()
				bet[i] = level
			}
			if x := info(w, pT, pC, bet); x > got+1e-9 {
				t.Fatalf("the bet %v has %g, more than the limit %g", bet, x, got)
			}
		}
		slices.SortFunc(pT, func(a, b float64) int { return cmp.Compare(a, b) })
		slices.SortFunc(pC, func(a, b float64) int { return cmp.Compare(b, a) })
		got, _ = OrderLimit(w, pT, pC)
		near(t, "rising ratio", got, ShapeLimit(w, pT, pC), 1e-12)
	}
}
