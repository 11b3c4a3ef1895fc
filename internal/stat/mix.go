package stat

// Weighted is a lane with its weight in a rollout's evidence.
type Weighted struct {
	Weight float64
	Lane   *Lane
}

// Mix returns the log of the rollout's evidence, ln(sum of w E + rest): an average of e-values is an e-value whatever their
// dependence, and the rest of the weight, of lanes that do not exist yet, counts as itself. Weights must add up to at most 1.
// The alarm is Mix >= ln(1/alpha). Source: Vovk & Wang, "E-values", Annals of Statistics 49 (2021), proposition 3.1.
func Mix(lanes []Weighted) float64 {
	return mix(lanes, (*Lane).LogE)
}

// MixWithout returns the lowest Mix with any one unit bucket left out, by the lanes' additive shares, and that bucket. An
// alarm has to hold here too.
func MixWithout(lanes []Weighted) (bucket int, logE float64) {
	for k := range unitBuckets {
		e := mix(lanes, func(l *Lane) float64 { return l.LogEWithout(k) })
		if k == 0 || e < logE {
			bucket, logE = k, e
		}
	}
	return bucket, logE
}

func mix(lanes []Weighted, logE func(*Lane) float64) float64 {
	w, x := make([]float64, len(lanes)+1), make([]float64, len(lanes)+1)
	rest := 1.0
	for i, l := range lanes {
		w[i], x[i] = l.Weight, logE(l.Lane)
		rest -= l.Weight
	}
	// Rounding may leave a rest a hair below zero.
	w[len(lanes)] = max(rest, 0)
	return lnSum(w, x)
}

// SplitWeight divides a guardrail's weight over its lanes: half to the overall lane, half equally to the values listed. An
// open list keeps a tenth of that half for values first seen later. Without values the overall lane has all.
func SplitWeight(weight float64, listed int, open bool) (overall, each, late float64) {
	if listed == 0 && !open {
		return weight, 0, 0
	}
	half := weight / 2
	switch {
	case listed == 0:
		return weight - half/10, 0, half / 10
	case open:
		return half, float64(half*0.9) / float64(listed), half / 10
	}
	return half, half / float64(listed), 0
}

// LateWeight is the weight of the i-th value (0, 1, ...) that is first seen after the start: 1/((i+1)(i+2)) of what
// SplitWeight keeps for them, which adds up to all of it. The value's lane begins with the block after the one it is seen in.
func LateWeight(late float64, i int) float64 {
	return late / (float64(i+1) * float64(i+2))
}
