package stat

// Flips compares two versions on the SAME inputs: of the pairs whose class differs, as many should change one way as the
// other. Pairs that agree say nothing and cost nothing, which is why this needs far fewer inputs than comparing two samples.
// The evidence is the beta-binomial mixture over the share of one way, an exact e-value at any time for pairs that are
// independent given the past; one-sided where only one way is harm. Source: McNemar, Psychometrika 12 (1947), made sequential
// by CountLogE.
type Flips struct {
	Pairs     uint64  // compared
	ToBad     uint64  // good before, bad now
	ToGood    uint64  // bad before, good now
	Tolerated float64 // share of the flips that may be to bad; 0 means one half
}

// Add counts pairs.
func (f *Flips) Add(pairs, toBad, toGood uint64) {
	f.Pairs, f.ToBad, f.ToGood = f.Pairs+pairs, f.ToBad+toBad, f.ToGood+toGood
}

// LogE is the evidence that more pairs flip to bad than tolerated; twoSided: that the two ways differ.
func (f *Flips) LogE(twoSided bool) float64 {
	q := f.Tolerated
	if q == 0 {
		q = 0.5
	}
	return CountLogE(f.ToBad, f.ToGood, q, 1, 1, twoSided)
}

// Share is the share of pairs that flipped, the measure of stability.
func (f *Flips) Share() float64 {
	if f.Pairs == 0 {
		return 0
	}
	return float64(f.ToBad+f.ToGood) / float64(f.Pairs)
}
