package stat

import (
	"math"

	"sluice.dev/sdk/evidence"
)

// power80 is how many standard deviations a mean must lie above a level to exceed it with probability 0.8.
const power80 = 0.8416212335729143

// betCost is what a mixture over the bets on rates loses against the best one, in nats: half of the weight, and a ratio that
// is not exactly right or an estimate that is still being learned.
const betCost = 2.2

// information describes a lane's data for a forecast: n requests, and how many nats one of them adds on average and with
// which variance.
type information struct{ n, mean, variance float64 }

// sees: the log evidence exceeds the level with probability 0.8, by the normal approximation for n/phi requests. cost is
// what is lost to the mixture.
func (i *information) sees(level, phi, cost float64) bool {
	n := i.n / phi
	return float64(n*i.mean)-float64(power80*math.Sqrt(float64(n*i.variance))) >= level+cost/phi
}

// Sees reports whether harm of the given size, on the scale of the margin and present in all data so far, would have raised
// LogE to the level with probability 0.8. Computed from n/phi; false for Count and where nothing could be compared.
func (l *Lane) Sees(effect, level float64) bool {
	if !l.comparable() {
		return false
	}
	if l.cfg.values() {
		bins, _ := shiftFor(l.cfg.side(), effect, l.st.Scale)
		return l.seesBins(bins, level)
	}
	return l.seesRate(effect, level)
}

// Detectable returns the smallest effect that Sees affirms; false if there is none.
func (l *Lane) Detectable(level float64) (float64, bool) {
	if !l.comparable() {
		return 0, false
	}
	if l.cfg.values() {
		return l.detectableBins(level)
	}
	c := l.baselineRate()
	lo, hi := l.cfg.Margin.Relative, 0.999/c-1
	if l.cfg.Margin.Absolute != 0 {
		lo, hi = l.cfg.Margin.Absolute, 0.999-c
	}
	if hi <= lo || !l.seesRate(hi, level) {
		return 0, false
	}
	for range 60 {
		mid := (lo + hi) / 2
		if l.seesRate(mid, level) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, true
}

func (l *Lane) comparable() bool {
	return l.cfg.Kind != Count && l.cfg.side() != Both && l.st.Effect.Weight > 0 && l.st.Effect.NT > 0
}

// data returns the requests compared and the exposed share that has the same information: nT (1-w) is the Mantel-Haenszel
// weight also when the share changed from stage to stage.
func (l *Lane) data() (n, w float64) {
	nT := float64(l.st.Effect.NT)
	w = min(max(1-l.st.Effect.Weight/nT, 1e-9), 1-1e-9)
	return nT / w, w
}

// startCost is what is lost because the harm may have begun at any stage start or restart.
func (l *Lane) startCost() float64 {
	return ln(float64(min(2*l.cfg.stages(), 40)))
}

func (l *Lane) baselineRate() float64 {
	p := l.ratePrior()
	rate := (float64(l.st.Totals.YC) + float64(p.Rate*p.Weight)) / (float64(l.st.Totals.NC) + p.Weight)
	return min(max(rate, tinyRate), 0.99)
}

func (l *Lane) seesRate(effect, level float64) bool {
	c := l.baselineRate()
	info, ok := l.rateInformation(l.cfg.gridMargin(effect).of(c), c, l.cfg.Margin)
	return ok && info.sees(level, l.st.Phi, betCost+l.startCost())
}

// rateInformation is that of exposed requests of which the share t is bad, against c of the baseline.
func (l *Lane) rateInformation(t, c float64, m Margin) (information, bool) {
	if t <= m.of(c) || t >= 1 || c <= 0 {
		return information{}, false
	}
	n, w := l.data()
	bet := rateBet{t, c}
	null := nullRate(w, 1-w, bet, m)
	limit := m.of(null)
	r := rateTerms{TBad: ln(t / limit), TGood: ln((1 - t) / (1 - limit)), CBad: ln(c / null), CGood: ln((1 - c) / (1 - null))}
	up, base := r.TBad-r.TGood, r.CBad-r.CGood
	return information{
		n:    n,
		mean: float64(w*(float64(t*r.TBad)+float64((1-t)*r.TGood))) + float64((1-w)*(float64(c*r.CBad)+float64((1-c)*r.CGood))),
		variance: float64(float64(w*float64(t*(1-t)))*float64(up*up)) +
			float64(float64((1-w)*float64(c*(1-c)))*float64(base*base)),
	}, true
}

// detectableBins searches upwards from the margin, at most eight octaves.
func (l *Lane) detectableBins(level float64) (float64, bool) {
	margin, _ := shiftFor(l.cfg.side(), l.cfg.Margin.Relative, l.st.Scale)
	sign := int32(1)
	if l.cfg.side() == Down {
		sign = -1
	}
	lo, hi := int32(0), int32(8<<l.st.Scale)
	if !l.seesBins(margin+sign*hi, level) {
		return 0, false
	}
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if l.seesBins(margin+sign*mid, level) {
			hi = mid
		} else {
			lo = mid
		}
	}
	factor := evidence.LowerBound(l.st.Scale, sign*margin+hi)
	if sign < 0 {
		return 1 - 1/factor, true
	}
	return factor - 1, true
}

// seesBins is Sees for an exposed arm whose values are the baseline's, moved by a number of bins.
func (l *Lane) seesBins(bins int32, level float64) bool {
	h := l.st.Baseline
	if h.Count() == 0 || !l.warm() {
		return false
	}
	margin, _ := shiftFor(l.cfg.side(), l.cfg.Margin.Relative, l.st.Scale)
	if l.cfg.Kind == P99 {
		l.work.quantile = l.pastQuantile()
		at := l.work.quantile
		c, t := l.shareBeyond(at), l.shareBeyond(moved(at, margin-bins))
		info, ok := l.rateInformation(t, c, Margin{})
		return ok && info.sees(level, l.st.Phi, betCost+l.startCost())
	}
	return l.seesShape(margin-bins, level)
}

func (l *Lane) shareBeyond(at int32) float64 {
	h := l.st.Baseline
	above := h.CountAbove(at)
	if l.cfg.side() == Down {
		above = h.Count() - h.CountAbove(moved(at, -1))
	}
	return float64(above) / float64(h.Count())
}

// seesShape takes the best of the bets; the mixture loses at most its weight.
func (l *Lane) seesShape(shift int32, level float64) bool {
	n, w := l.data()
	h := l.st.Baseline
	past := newShape(l.past())
	var base, exposed [maxParts]float64
	past.count(h, 0, 0, l.cfg.side(), &base)
	past.count(h, shift, 0, l.cfg.side(), &exposed)
	sign := 1.0
	if l.cfg.side() == Down {
		sign = -1
	}
	var bets tilts
	bets.prepare(past, sign, w)
	for bet := range tiltBets {
		info := bets.information(bet, n, w, &exposed, &base, float64(h.Count()))
		if info.sees(level, l.st.Phi, l.startCost()-ln(l.weights[bet])) {
			return true
		}
	}
	return false
}

func (t *tilts) information(bet int, n, w float64, exposed, base *[maxParts]float64, total float64) information {
	var meanT, meanC, squareT, squareC float64
	for part := range t.shape.parts {
		pT, pC := exposed[part]/total, base[part]/total
		xT, xC := t.lnT[bet][part]-t.lnMix[bet][part], -t.lnMix[bet][part]
		meanT += float64(pT * xT)
		meanC += float64(pC * xC)
		squareT += float64(pT * float64(xT*xT))
		squareC += float64(pC * float64(xC*xC))
	}
	return information{
		n:        n,
		mean:     float64(w*meanT) + float64((1-w)*meanC),
		variance: float64(w*(squareT-float64(meanT*meanT))) + float64((1-w)*(squareC-float64(meanC*meanC))),
	}
}
