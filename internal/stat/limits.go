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
