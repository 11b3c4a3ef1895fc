package stat

import (
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
)

// adjustScale makes the lane as coarse as the coarsest histogram it meets, and coarse enough for all values it has seen.
// That happens at most five times in its life.
func (l *Lane) adjustScale(b *Block) {
	if !l.cfg.values() {
		return
	}
	r := binRange{scale: l.st.Scale}
	r.include(l.st.Baseline)
	r.include(l.st.Exposed)
	for i := range b.Strata {
		for _, arm := range []*Arm{&b.Strata[i].Exposed, &b.Strata[i].Baseline} {
			for j := range arm.Parts {
				r.include(arm.Parts[j].Hist)
			}
		}
	}
	l.downscale(r.scale)
}

// binRange is the range of bins in use, at a scale at which it has at most MaxBins bins.
type binRange struct {
	scale  int
	lo, hi int32
	some   bool
}

func (r *binRange) include(h *evidence.Hist) {
	if h == nil || len(h.Counts) == 0 {
		return
	}
	if by := r.scale - h.Scale; by > 0 {
		r.scale, r.lo, r.hi = h.Scale, r.lo>>by, r.hi>>by
	}
	by := h.Scale - r.scale
	lo, hi := h.Offset>>by, (h.Offset+int32(len(h.Counts))-1)>>by
	if r.some {
		lo, hi = min(lo, r.lo), max(hi, r.hi)
	}
	r.lo, r.hi, r.some = lo, hi, true
	for r.hi-r.lo >= evidence.MaxBins && r.scale > evidence.MinScale {
		r.scale, r.lo, r.hi = r.scale-1, r.lo>>1, r.hi>>1
	}
}

func (l *Lane) downscale(scale int) {
	by := l.st.Scale - scale
	if by <= 0 {
		return
	}
	l.st.Scale = scale
	l.st.Baseline.Downscale(scale)
	l.st.Exposed.Downscale(scale)
	if r := l.st.ScoreRef; r != nil {
		r[0], r[1] = math.Ldexp(r[0], -by), math.Ldexp(r[1], -by)
	}
	l.st.Effect.Shift = math.Ldexp(l.st.Effect.Shift, -by)
	if l.st.Drift != nil {
		l.st.Drift.downscale(by)
	}
}

// binsOf merges the histograms of an arm at the lane's scale and counts what is in none of them.
func (l *Lane) binsOf(a *Arm) (h *evidence.Hist, worst uint64) {
	for i := range a.Parts {
		p := a.Parts[i].Hist
		switch {
		case p == nil:
		case h == nil && len(a.Parts) == 1 && p.Scale == l.st.Scale:
			h = p
		default:
			if h == nil {
				h = evidence.NewHist(l.st.Scale)
			}
			h.Merge(p)
		}
	}
	if h == nil {
		h = evidence.NewHist(l.st.Scale)
	}
	if n := h.Count(); a.N > n {
		worst = a.N - n
	}
	return h, worst
}

func (l *Lane) priorWeight() float64 {
	if l.cfg.Prior.Weight == 0 {
		return 100
	}
	return l.cfg.Prior.Weight
}

// warm: enough of the baseline's values are known to bet on.
func (l *Lane) warm() bool {
	return l.cfg.Prior.Hist != nil || l.st.Baseline.Count() >= warmUp
}

// pastQuantile is the bin of the past baseline's p99, or p01 where low values are the harm.
func (l *Lane) pastQuantile() int32 {
	q := 0.99
	if l.cfg.side() == Down {
		q = 0.01
	}
	if l.cfg.Prior.Hist == nil {
		bin, _ := l.st.Baseline.QuantileBin(q)
		return bin
	}
	p := l.past()
	p.moments()
	return p.quantile(q)
}

// past is the learned baseline together with the prior.
func (l *Lane) past() *pastTable {
	l.work.past.load(l.st.Baseline, l.priorHist(), l.priorWeight())
	return &l.work.past
}

// priorHist is the prior at the lane's scale.
func (l *Lane) priorHist() *evidence.Hist {
	h := l.cfg.Prior.Hist
	if h == nil || h.Scale == l.st.Scale {
		return h
	}
	h = h.Clone()
	h.Downscale(l.st.Scale)
	return h
}

func (l *Lane) share(s *Stratum) float64 {
	if l.cfg.ScoredOnce {
		return s.Share
	}
	return 0
}

// tableOf is one stratum as a 2x2 table; for P99 it counts what lies beyond the past quantile, moved by the margin for the
// exposed arm.
func (l *Lane) tableOf(s *Stratum, def *testDef) Table {
	t := Table{Counts: Counts{NT: s.Exposed.N, YT: s.Exposed.Bad, NC: s.Baseline.N, YC: s.Baseline.Bad}, Share: l.share(s)}
	if l.cfg.Kind == P99 {
		shift, _ := shiftFor(l.cfg.side(), def.margin.Relative, l.st.Scale)
		t.NT, t.YT = l.beyond(&s.Exposed, shift)
		t.NC, t.YC = l.beyond(&s.Baseline, 0)
	}
	return t
}

// beyond counts the values of an arm beyond the past quantile.
func (l *Lane) beyond(a *Arm, shift int32) (n, y uint64) {
	h, worst := l.binsOf(a)
	n = h.Count() + worst
	at := moved(l.work.quantile, shift)
	if l.cfg.side() == Down {
		return n, h.Count() - h.CountAbove(moved(at, -1)) + worst
	}
	return n, h.CountAbove(at) + worst
}

// moved shifts a bin; zero stays zero.
func moved(bin, by int32) int32 {
	if bin == evidence.ZeroBin {
		return bin
	}
	return bin + by
}

// rateMargin: P99 has its margin in the values, not in the rate.
func (l *Lane) rateMargin(def *testDef) Margin {
	if l.cfg.Kind == P99 {
		return Margin{}
	}
	return def.margin
}

func (l *Lane) ratePrior() ratePrior {
	switch {
	case l.cfg.Kind == P99 || l.cfg.Prior.Weight == 0:
		return ratePrior{priorRate, pseudoBaseline}
	}
	return ratePrior{l.cfg.Prior.Rate, l.cfg.Prior.Weight}
}

// rateFactors adds ln e of the bets on rates, and learns from the block for the next one.
func (l *Lane) rateFactors(i int, b *Block) {
	t, def := &l.st.Tests[i], &l.defs[i]
	margin := l.rateMargin(def)
	bets := betsOn(t.Past, l.ratePrior(), margin, def.better)
	for j := range b.Strata {
		s := &b.Strata[j]
		table := l.tableOf(s, def)
		t.Past = t.Past.plus(table.Counts)
		if table.NT == 0 || table.NC == 0 {
			continue
		}
		var blend rateTerms
		for k, bet := range bets {
			if bet.T == 0 {
				continue
			}
			terms, _ := bet.terms(&table, margin)
			l.work.lnE[i][k] += terms.sum(&table.Counts)
			if i == mainTest {
				blend.addPart(&terms, l.work.belief[k])
			}
		}
		if i == mainTest {
			l.shareRates(s, def, &blend)
		}
	}
}

func (r *rateTerms) addPart(o *rateTerms, share float64) {
	r.TBad += float64(share * o.TBad)
	r.TGood += float64(share * o.TGood)
	r.CBad += float64(share * o.CBad)
	r.CGood += float64(share * o.CGood)
}

// shareRates adds each unit bucket's part of ln e to its share.
func (l *Lane) shareRates(s *Stratum, def *testDef, r *rateTerms) {
	for arm, a := range []*Arm{&s.Exposed, &s.Baseline} {
		bad, good := r.TBad, r.TGood
		if arm == 1 {
			bad, good = r.CBad, r.CGood
		}
		l.eachBucket(a, arm, def, func(k uint8, n, y uint64) {
			l.st.Shares[k] += float64(float64(y)*bad) + float64(float64(n-y)*good)
		})
	}
}

// eachBucket visits the unit buckets of an arm with requests and bad ones; for P99 bad is beyond the past quantile, known
// only where bins are kept by unit bucket.
func (l *Lane) eachBucket(a *Arm, arm int, def *testDef, visit func(k uint8, n, y uint64)) {
	var at int32
	if l.cfg.Kind == P99 {
		shift := int32(0)
		if arm == 0 {
			shift, _ = shiftFor(l.cfg.side(), def.margin.Relative, l.st.Scale)
		}
		at = moved(l.work.quantile, shift)
	}
	for i := range a.Parts {
		p := &a.Parts[i]
		if l.cfg.Kind != P99 {
			for _, u := range p.Buckets {
				visit(u.K, u.N, u.Bad)
			}
			continue
		}
		for _, u := range p.Bins {
			y := uint64(0)
			if bin := l.rescaled(u.Bin, p.Hist); l.cfg.side() != Down && bin > at || l.cfg.side() == Down && bin < at {
				y = u.Count
			}
			visit(u.K, u.Count, y)
		}
	}
}

// rescaled is a bin of a part's histogram at the lane's scale.
func (l *Lane) rescaled(bin int32, h *evidence.Hist) int32 {
	if bin == evidence.ZeroBin || h == nil {
		return bin
	}
	return bin >> (h.Scale - l.st.Scale)
}

// tiltFactors adds ln e of the bets on shapes. The past is cut into parts once; a stratum's terms serve all margins, since
// a margin only moves the exposed arm's bins.
func (l *Lane) tiltFactors(b *Block) {
	if !l.warm() {
		return
	}
	var past *shape
	for j := range b.Strata {
		s := &b.Strata[j]
		if s.Exposed.N == 0 || s.Baseline.N == 0 {
			continue
		}
		if past == nil {
			past = newShape(l.past())
		}
		hT, worstT := l.binsOf(&s.Exposed)
		hC, worstC := l.binsOf(&s.Baseline)
		table := Table{Counts: Counts{NT: hT.Count() + worstT, NC: hC.Count() + worstC}, Share: l.share(s)}
		if table.NT == 0 || table.NC == 0 {
			continue
		}
		var base [maxParts]float64
		past.count(hC, 0, worstC, l.cfg.side(), &base)
		wT, _ := table.weights()
		for _, sign := range []float64{1, -1} {
			l.tiltSign(past, sign, wT, s, hT, worstT, &base)
		}
	}
}

// tiltSign adds the factors of all tests that bet in the direction of sign.
func (l *Lane) tiltSign(past *shape, sign, wT float64, s *Stratum, hT *evidence.Hist, worstT uint64, base *[maxParts]float64) {
	var bets tilts
	var exposed [maxParts]float64
	for i := range l.defs {
		def := &l.defs[i]
		at, ok := offsetOf(l.cfg.side(), def.better, sign)
		if !ok {
			continue
		}
		if bets.shape == nil {
			bets.prepare(past, sign, wT)
		}
		shift, _ := shiftFor(l.cfg.side(), def.margin.Relative, l.st.Scale)
		past.count(hT, shift, worstT, l.cfg.side(), &exposed)
		bets.add(&exposed, base, l.work.lnE[i][at:])
		if i == mainTest {
			l.shareTilts(&bets, at, &s.Exposed, shift)
			l.shareBase(&bets, at, &s.Baseline, base)
		}
	}
}

// shareTilts shares out the exposed arm's part, value by value.
func (l *Lane) shareTilts(bets *tilts, at int, a *Arm, shift int32) {
	var blend [maxParts]float64
	bets.blend(l.work.belief[at:], &blend, true)
	for i := range a.Parts {
		for _, u := range a.Parts[i].Bins {
			part := bets.shape.part(moved(l.rescaled(u.Bin, a.Parts[i].Hist), -shift))
			l.st.Shares[u.K] += float64(float64(u.Count) * blend[part])
		}
	}
}

// shareBase shares out the baseline's part. Of a bucket only the mean of its values is known: it gets what values there
// would add, and by size a share of what that leaves over.
func (l *Lane) shareBase(bets *tilts, at int, a *Arm, counts *[maxParts]float64) {
	var blend [maxParts]float64
	bets.blend(l.work.belief[at:], &blend, false)
	var n, placed, whole float64
	for part, c := range counts {
		whole += float64(c * blend[part])
	}
	place := func(u *evidence.UnitBucket) float64 {
		bin := math.Ldexp(float64(u.Sum)/float64(u.N), l.st.Scale-evidence.MinScale)
		return blend[bets.shape.part(int32(math.Round(bin)))]
	}
	a.eachSummed(func(u *evidence.UnitBucket) {
		n += float64(u.N)
		placed += float64(float64(u.N) * place(u))
	})
	if n == 0 {
		return
	}
	rest := (whole - placed) / n
	a.eachSummed(func(u *evidence.UnitBucket) {
		l.st.Shares[u.K] += float64(float64(u.N) * (place(u) + rest))
	})
}

func (a *Arm) eachSummed(visit func(u *evidence.UnitBucket)) {
	for i := range a.Parts {
		p := &a.Parts[i]
		if !p.summed() {
			continue
		}
		for j := range p.Buckets {
			if p.Buckets[j].N > 0 {
				visit(&p.Buckets[j])
			}
		}
	}
}

// countFactors adds ln e of the bets on the split of events.
func (l *Lane) countFactors(i int, b *Block) {
	t, def := &l.st.Tests[i], &l.defs[i]
	for j := range b.Strata {
		s := &b.Strata[j]
		if s.Share <= 0 || s.Share >= 1 || s.Exposed.N+s.Baseline.N == 0 {
			continue
		}
		if i == mainTest {
			l.shareCounts(t, def, s)
		}
		countFactors(&t.Splits, s.Exposed.N, s.Baseline.N, s.Share, def.margin, def.better, l.work.lnE[i])
	}
}

// shareCounts takes the posterior mean of the exposed share for the bet of the beta-binomial mixture.
func (l *Lane) shareCounts(t *test, def *testDef, s *Stratum) {
	q0 := NullShare(s.Share, def.margin)
	split := *splitOf(&t.Splits, q0)
	a, b := betaPrior(q0)
	q := max((a+float64(split.NT))/(a+b+float64(split.NT+split.NC)), q0)
	up, down := float64(l.work.belief[0]*ln(q/q0)), float64(l.work.belief[0]*ln((1-q)/(1-q0)))
	for k, r := range rateRatios {
		q := float64(r*q0) / (float64(r*q0) + (1 - q0))
		up += float64(l.work.belief[k+1] * ln(q/q0))
		down += float64(l.work.belief[k+1] * ln((1-q)/(1-q0)))
	}
	for arm, term := range []float64{up, down} {
		a := []*Arm{&s.Exposed, &s.Baseline}[arm]
		for i := range a.Parts {
			for _, u := range a.Parts[i].Buckets {
				l.st.Shares[u.K] += float64(float64(u.N) * term)
			}
		}
	}
}

// learn adds the block to what later blocks know.
func (l *Lane) learn(b *Block) {
	for i := range b.Strata {
		s := &b.Strata[i]
		l.st.Totals = l.st.Totals.plus(Counts{s.Exposed.N, s.Exposed.Bad, s.Baseline.N, s.Baseline.Bad})
		l.learnSpread(s)
		l.st.Effect.add(l, s)
		if l.cfg.side() == Both {
			l.learnDrift(s)
		}
		if l.cfg.values() {
			for j := range s.Exposed.Parts {
				l.st.Exposed.Merge(s.Exposed.Parts[j].Hist)
			}
			for j := range s.Baseline.Parts {
				l.st.Baseline.Merge(s.Baseline.Parts[j].Hist)
			}
		}
	}
}

// learnSpread adds the unit buckets to what the over-dispersion is estimated from.
func (l *Lane) learnSpread(s *Stratum) {
	if l.cfg.Kind == Distribution {
		l.learnScores(s)
		return
	}
	if l.cfg.Kind == Count {
		l.learnShares(s)
		return
	}
	if l.cfg.Kind == P99 && !l.warm() {
		return
	}
	def := &l.defs[mainTest]
	for arm, a := range []*Arm{&s.Exposed, &s.Baseline} {
		l.eachBucket(a, arm, def, func(k uint8, n, y uint64) { l.st.Spread[arm].add(k, n, int64(y), 0) })
	}
}

// learnScores uses scores that were fixed when the lane became warm, so that early and late values count alike.
func (l *Lane) learnScores(s *Stratum) {
	if l.st.ScoreRef == nil {
		if !l.warm() {
			return
		}
		p := l.past()
		p.moments()
		l.st.ScoreRef = &[2]float64{p.mean, p.sd}
	}
	for i := range s.Exposed.Parts {
		p := &s.Exposed.Parts[i]
		for _, u := range p.Bins {
			z := l.score(l.rescaled(u.Bin, p.Hist))
			l.st.Spread[0].add(u.K, u.Count, z*int64(u.Count), uint64(z*z)*u.Count)
		}
	}
	// The baseline's bins are not kept by unit bucket, only the sums of its scores; an unclipped log-value does as well.
	for i := range s.Baseline.Parts {
		p := &s.Baseline.Parts[i]
		if !p.summed() {
			continue
		}
		for _, u := range p.Buckets {
			l.st.Spread[1].add(u.K, u.N, u.Sum, 0)
		}
		_, squares := p.Hist.Scores()
		l.st.Spread[1].Q += squares
	}
}

// summed reports whether the unit buckets tell where their values lie.
func (p *Part) summed() bool {
	return p.Hist != nil && slices.ContainsFunc(p.Buckets, func(u evidence.UnitBucket) bool { return u.Sum != 0 })
}

// score is the log-value in quarters of a deviation, clipped at 3 deviations.
func (l *Lane) score(bin int32) int64 {
	if bin == evidence.ZeroBin {
		return -scoreQuarters
	}
	z := math.Round(float64(4*(float64(bin)-l.st.ScoreRef[0])) / l.st.ScoreRef[1])
	return int64(min(max(z, -scoreQuarters), scoreQuarters))
}
