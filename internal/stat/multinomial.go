package stat

import "slices"

// Multinomial tests that events fall into categories with given probabilities: a sample ratio or a split of reasons. Its
// wealth is a Dirichlet mixture over the alternatives; reject where LogE reaches ln(1/level), however often one looks.
// Source: Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.
type Multinomial struct {
	null, prior    []float64
	alternative, h float64 // log marginals of the counts under the mixture and the null
}

// DefaultConcentration is how many events the prior around the null weighs by default.
const DefaultConcentration = 10_000

// NewMultinomial tests the probabilities null, which sum to 1. prior is the Dirichlet's, nil for DefaultConcentration times
// null.
func NewMultinomial(null, prior []float64) *Multinomial {
	m := &Multinomial{null: slices.Clone(null), prior: slices.Clone(prior)}
	if prior == nil {
		for _, p := range null {
			m.prior = append(m.prior, float64(DefaultConcentration*p))
		}
	}
	return m
}

// Step adds the counts of a block, in the order of the probabilities.
func (m *Multinomial) Step(counts []uint64) {
	n, a := 0.0, 0.0
	for i, c := range counts {
		n, a = n+float64(c), a+m.prior[i]
	}
	ways := lnGamma(n + 1)
	m.alternative += ways + lnGamma(a) - lnGamma(a+n)
	m.h += ways
	for i, c := range counts {
		x := float64(c)
		m.alternative += lnGamma(m.prior[i]+x) - lnGamma(m.prior[i]) - lnGamma(x+1)
		m.h += float64(x*ln(m.null[i])) - lnGamma(x+1)
		m.prior[i] += x
	}
}

// LogE is the evidence against the null.
func (m *Multinomial) LogE() float64 { return m.alternative - m.h }

// Marginals are the log probabilities of all counts so far, of the mixture and of the null.
func (m *Multinomial) Marginals() (mixture, null float64) { return m.alternative, m.h }
