package stat

// RateLimit is the information of one request about two rates, in nats: no test with error probability alpha that surely
// stops needs fewer than ln(1/alpha)/RateLimit requests on average (Wald 1945). w is the exposed share, m the margin that is
// still allowed. It is 0 where the exposed rate is within the margin.
func RateLimit(w, thetaT, thetaC float64, m Margin) float64 {
	if thetaT <= m.of(thetaC) {
		return 0
	}
	null := nullRate(w, 1-w, rateBet{thetaT, thetaC}, m)
	return float64(w*KL(thetaT, m.of(null))) + float64((1-w)*KL(thetaC, null))
}

// ShapeLimit is the information of one value about two laws given as shares of the same bins, in nats:
// w KL(P_T||P_0) + (1-w) KL(P_C||P_0) with P_0 = w P_T + (1-w) P_C.
func ShapeLimit(w float64, pT, pC []float64) float64 {
	sum := 0.0
	for i := range pT {
		p0 := float64(w*pT[i]) + float64((1-w)*pC[i])
		if pT[i] > 0 {
			sum += float64(float64(w*pT[i]) * ln(pT[i]/p0))
		}
		if pC[i] > 0 {
			sum += float64(float64((1-w)*pC[i]) * ln(pC[i]/p0))
		}
	}
	return sum
}

// OrderLimit is the information of one value about two laws, in nats, against every pair of laws of which the exposed one is not
// stochastically larger: what ShapeLimit is for "both laws are equal". It is less where the ratio of the laws does not rise
// throughout, since a smaller exposed arm is no harm. bets are, per bin, the factors of an exposed and of a baseline value with
// which the limit is reached. w is the exposed share; pT and pC are shares of the same bins, ascending.
// Source: the ratio's isotonic regression (Ayer et al., Ann. Math. Stat. 26 (1955)) makes ours the reverse information projection
// of Grünwald, de Heide & Koolen, "Safe testing", 2024, theorem 1.
func OrderLimit(w float64, pT, pC []float64) (info float64, bets [][2]float64) {
	t := isotonic(pT, pC)
	bets = make([][2]float64, len(pT))
	for i := range pT {
		mix := float64(w*t[i]) + (1 - w)
		bets[i] = [2]float64{t[i] / mix, 1 / mix}
		for arm, p := range [2]float64{float64(w * pT[i]), float64((1 - w) * pC[i])} {
			if p > 0 {
				info += float64(p * ln(bets[i][arm]))
			}
		}
	}
	return info, bets
}

// isotonic is the non-decreasing function nearest to pT/pC with weights pC: neighbours that fall are pooled.
func isotonic(pT, pC []float64) []float64 {
	type pool struct {
		t, c float64
		bins int
	}
	falls := func(a, b pool) bool { return float64(a.t*b.c) > float64(b.t*a.c) || b.t == 0 && b.c == 0 }
	var pools []pool
	for i := range pT {
		pools = append(pools, pool{pT[i], pC[i], 1})
		for n := len(pools); n > 1 && falls(pools[n-2], pools[n-1]); n = len(pools) {
			a, b := pools[n-2], pools[n-1]
			pools = append(pools[:n-2], pool{a.t + b.t, a.c + b.c, a.bins + b.bins})
		}
	}
	out := make([]float64, 0, len(pT))
	for _, p := range pools {
		ratio := 1.0
		if p.t+p.c > 0 {
			ratio = p.t / max(p.c, 1e-300)
		}
		for range p.bins {
			out = append(out, ratio)
		}
	}
	return out
}
