package stat

import "math"

// Margin is how much worse the exposed rate may be: the null hypothesis is rate_exposed <= (1+Relative)*rate_baseline +
// Absolute. For values only Relative is used, as a factor on the value.
type Margin struct {
	Relative float64 `json:"relative,omitempty"`
	Absolute float64 `json:"absolute,omitempty"`
}

func (m Margin) slope() float64 { return 1 + m.Relative }

func (m Margin) of(x float64) float64 { return float64((1+m.Relative)*x) + m.Absolute }

// inverse is the rate whose limit is g.
func (m Margin) inverse(g float64) float64 { return (g - m.Absolute) / (1 + m.Relative) }

// Counts are requests and bad ones of the exposed arm (T) and the baseline (C).
type Counts struct {
	NT uint64 `json:"nT"`
	YT uint64 `json:"yT"`
	NC uint64 `json:"nC"`
	YC uint64 `json:"yC"`
}

func (c Counts) plus(o Counts) Counts {
	return Counts{c.NT + o.NT, c.YT + o.YT, c.NC + o.NC, c.YC + o.YC}
}

// Table is one stratum of one block. Share is the known share of units that are exposed when every unit is scored once;
// 0 uses the share found, NT/(NT+NC).
type Table struct {
	Counts
	Share float64 `json:"share,omitempty"`
}

// weights are the shares of the two arms.
func (t *Table) weights() (wT, wC float64) {
	if t.Share > 0 {
		return t.Share, 1 - t.Share
	}
	nT, nC := float64(t.NT), float64(t.NC)
	n := nT + nC
	return nT / n, nC / n
}

// Bets of the engines for rates: the plug-in and the ratios.
const rateBets = 7

var (
	rateRatios  = [rateBets - 1]float64{1.25, 1.5, 2, 3, 5, 10}
	rateWeights = [rateBets]float64{1.0 / 2, 1.0 / 12, 1.0 / 12, 1.0 / 12, 1.0 / 12, 1.0 / 12, 1.0 / 12}
)

const (
	pseudoExposed  = 50   // requests at the limit that the plug-in starts from
	pseudoBaseline = 200  // requests at the prior rate that the baseline's estimate starts from
	priorRate      = 0.01 // bad share of those, when nothing else is known
	tinyRate       = 1e-9 // rates are kept this far from 0 and 1
)

// rateBet is one alternative: the exposed rate T and the baseline rate C it bets on. T = 0 means no bet.
type rateBet struct{ T, C float64 }

// ratePrior is what is believed of the baseline before any data: Weight requests at Rate.
type ratePrior struct{ Rate, Weight float64 }

// betsOn chooses the bets of a block from the past alone. better bets that the exposed arm is better than the limit, to
// show that it is not worse. Where nothing lies beyond the limit, a bet is left out.
func betsOn(past Counts, prior ratePrior, m Margin, better bool) (bets [rateBets]rateBet) {
	c := (float64(past.YC) + float64(prior.Rate*prior.Weight)) / (float64(past.NC) + prior.Weight)
	c = min(max(c, tinyRate), 1-tinyRate)
	limit := m.of(c)
	if limit < tinyRate || limit > 1-tinyRate {
		return bets
	}
	plug := (float64(past.YT) + float64(pseudoExposed*limit)) / (float64(past.NT) + pseudoExposed)
	place := func(k int, t float64) {
		if better {
			t = max(t, float64(tinyRate*limit))
			if t < limit {
				bets[k] = rateBet{t, c}
			}
			return
		}
		// A ratio of 10 can lead beyond certainty: half the way to it is bold enough.
		if t = min(t, (1+limit)/2); t > limit {
			bets[k] = rateBet{t, c}
		}
	}
	place(0, plug)
	for k, r := range rateRatios {
		if better {
			r = 1 / r
		}
		place(k+1, float64(r*limit))
	}
	return bets
}

// rateTerms are the logarithms that one observation adds to ln e: bad and good, exposed and baseline.
type rateTerms struct{ TBad, TGood, CBad, CGood float64 }

func (b rateBet) terms(t *Table, m Margin) (rateTerms, float64) {
	wT, wC := t.weights()
	null := nullRate(wT, wC, b, m)
	limit := m.of(null)
	return rateTerms{
		TBad: ln(b.T / limit), TGood: ln((1 - b.T) / (1 - limit)),
		CBad: ln(b.C / null), CGood: ln((1 - b.C) / (1 - null)),
	}, null
}

func (r *rateTerms) sum(c *Counts) float64 {
	return float64(float64(c.YT)*r.TBad) + float64(float64(c.NT-c.YT)*r.TGood) +
		float64(float64(c.YC)*r.CBad) + float64(float64(c.NC-c.YC)*r.CGood)
}

// nullRate returns the baseline rate of the null hypothesis that is hardest to tell from the bet: the root of
//
//	wT g'(T-g)/(g(1-g)) + wC (C-x)/(x(1-x)) = 0,  g = g(x)
//
// At the root the logarithm of the factor's expectation, concave in the common rate, has its maximum 0, so the factor is an
// e-value whatever the rate of the block is. Without margin it is the mixture wT*T + wC*C.
// Source: Turner, Ly & Grünwald, "Generic E-variables for exact sequential k-sample tests", 2024, widened by the margin.
func nullRate(wT, wC float64, b rateBet, m Margin) float64 {
	if m.Absolute != 0 {
		return searchNull(wT, wC, b, m)
	}
	// With g = r x the equation is r(wT+wC) x^2 - (wT(T+r) + wC(1+rC)) x + wT T + wC C = 0; the smaller root is the one below 1/r.
	r := m.slope()
	qa := float64(r * (wT + wC))
	qb := float64(wT*(b.T+r)) + float64(wC*(1+float64(r*b.C)))
	qc := float64(wT*b.T) + float64(wC*b.C)
	disc := max(float64(qb*qb)-float64(float64(4*qa)*qc), 0)
	return float64(2*qc) / (qb + math.Sqrt(disc))
}

// searchNull finds the root by Newton's method inside a bracket that is halved whenever Newton leaves it. Multiplied out
// the equation is a cubic that is positive at the lower end and negative at the upper one.
func searchNull(wT, wC float64, b rateBet, m Margin) float64 {
	lo, hi := b.C, min(m.inverse(b.T), 1)
	if hi < lo {
		lo, hi = max(hi, 0), lo
	}
	s := m.slope()
	x := (lo + hi) / 2
	for range 200 {
		g := m.of(x)
		u, du := float64(x*(1-x)), 1-float64(2*x)
		v, dv := float64(g*(1-g)), float64(s*(1-float64(2*g)))
		a, c := float64(float64(wT*s)*(b.T-g)), float64(wC*(b.C-x))
		f := float64(a*u) + float64(c*v)
		if f > 0 {
			lo = x
		} else {
			hi = x
		}
		df := float64(a*du) - float64(float64(float64(wT*s)*s)*u) + float64(c*dv) - float64(wC*v)
		next := x - f/df
		if !(next > lo && next < hi) {
			next = (lo + hi) / 2
		}
		if math.Abs(next-x) <= float64(1e-15*x) || next == x {
			return next
		}
		x = next
	}
	return x
}

// BlockLogE returns ln e of one stratum for given bets on the two rates, and the null rate it is taken against:
//
//	ln e = yT ln(T/g0) + (nT-yT) ln((1-T)/(1-g0)) + yC ln(C/x0) + (nC-yC) ln((1-C)/(1-x0)),  g0 = g(x0)
//
// It is 0 when one of the arms is empty. thetaT must lie beyond the limit of thetaC, all rates inside (0, 1).
func BlockLogE(t Table, m Margin, thetaT, thetaC float64) (lnE, theta0 float64) {
	if t.NT == 0 || t.NC == 0 {
		return 0, thetaC
	}
	terms, theta0 := rateBet{thetaT, thetaC}.terms(&t, m)
	return terms.sum(&t.Counts), theta0
}

// TwoByTwo is the plain e-process for rates: blocks multiply, bets are learned from the past, no restarts, no tempering.
// Lane builds upon the same bets. The zero value tests without margin against the default prior.
type TwoByTwo struct {
	Margin  Margin
	Better  bool // bet that the exposed arm is better than the limit
	Rate    float64
	Weight  float64 // prior of the baseline: Weight requests at Rate; 0 means 200 requests at 0.01
	Past    Counts
	LogBets [rateBets]float64 // log wealth per bet: the plug-in, then the ratios 1.25, 1.5, 2, 3, 5, 10
}

// Step takes one block of one stratum; further strata of the same block go into the same call, so that all are judged by
// bets from before the block.
func (p *TwoByTwo) Step(strata ...Table) {
	bets := betsOn(p.Past, p.prior(), p.Margin, p.Better)
	for i := range strata {
		t := &strata[i]
		if t.NT > 0 && t.NC > 0 {
			for k, b := range bets {
				if b.T != 0 {
					terms, _ := b.terms(t, p.Margin)
					p.LogBets[k] += terms.sum(&t.Counts)
				}
			}
		}
	}
	for i := range strata {
		p.Past = p.Past.plus(strata[i].Counts)
	}
}

func (p *TwoByTwo) prior() ratePrior {
	if p.Weight == 0 {
		return ratePrior{priorRate, pseudoBaseline}
	}
	return ratePrior{p.Rate, p.Weight}
}

// LogE returns the log of the mixture over bets.
func (p *TwoByTwo) LogE() float64 { return lnSum(rateWeights[:], p.LogBets[:]) }
