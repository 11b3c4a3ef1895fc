package bench

import "math"

// contender is one way of looking, with its knob.
type contender struct {
	name     string
	knob     string    // what the levels are
	levels   []float64 // of the number that the rule returns, ascending: the knob's settings
	shown    func(level float64) float64
	defaults []preset // documented defaults; each is a row of its own
	cell     func(f *family, m *metric) cellRule
}

// preset is a documented setting of a knob.
type preset struct {
	name  string
	level int
}

// Indices into contenders.
const (
	argoRule = iota
	flaggerRule
	kayentaRule
	peekRule
	msprtRule
	ourStep
	ourEvidence
	oracleRule
)

func logLevels(alphas ...float64) []float64 {
	out := make([]float64, len(alphas))
	for i, a := range alphas {
		out[i] = math.Log(1 / a)
	}
	return out
}

func same(x float64) float64 { return x }

// asAlpha shows a log level as an error probability.
func asAlpha(level float64) float64 { return math.Exp(-level) }

// contenders is the list of all. Sources of the defaults: Argo Rollouts docs/features/analysis.md (failureLimit 0; 3 in its example);
// Flagger docs/gitbook/usage/deployment-strategies.md (interval 1m, threshold 10); Kayenta NetflixACAJudge (confidence 0.98,
// tolerance 0.25); GrowthBook gbstats/frequentist/tests.py (N* = 5000, alpha 0.05, one-sided for guardrails).
var contenders = [...]contender{
	argoRule: {
		name: "argo", knob: "failureLimit", levels: []float64{1, 2, 3, 4, 5, 6, 8, 11, 15, 20}, shown: func(l float64) float64 { return l - 1 },
		defaults: []preset{{"argo limit 0", 0}, {"argo limit 3", 3}, {"argo limit 10", 7}},
		cell:     func(f *family, m *metric) cellRule { return &threshold{values: m.values} },
	},
	flaggerRule: {
		name: "flagger", knob: "threshold", levels: []float64{1, 2, 3, 4, 5, 6, 8, 10, 15, 20}, shown: same, defaults: []preset{{"flagger", 7}},
		cell: func(f *family, m *metric) cellRule { return &threshold{values: m.values, limit: f.absoluteLimit(m)} },
	},
	kayentaRule: {
		name: "kayenta", knob: "confidence", levels: logLevels(0.1, 0.05, 1-kayentaConfidence, 0.01, 0.005, 0.002, 0.001, 3e-4, 1e-4, 1e-5),
		shown: func(l float64) float64 { return 1 - math.Exp(-l) }, defaults: []preset{{"kayenta", 2}},
		cell: func(_ *family, m *metric) cellRule { return &kayenta{minute: minute{values: m.values}} },
	},
	peekRule: {
		name: "peeked z", knob: "one-sided alpha", levels: logLevels(0.05, 0.025, peekLevel, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 3e-5, 1e-5, 1e-6),
		shown: asAlpha, defaults: []preset{{"peeked z", 2}},
		cell: func(_ *family, m *metric) cellRule { return &peeked{values: m.values, every: 10, judge: fixedSample} },
	},
	msprtRule: {
		name: "growthbook", knob: "alpha", levels: logLevels(0.2, 0.1, growthBookLevel, 0.02, 0.01, 0.005, 0.002, 0.001, 1e-4), shown: asAlpha,
		defaults: []preset{{"growthbook", 2}},
		cell:     func(_ *family, m *metric) cellRule { return &peeked{values: m.values, every: 1, judge: sequential} },
	},
	ourStep:     {name: "sluice", levels: []float64{1}, shown: same, defaults: []preset{{"sluice", 0}}},
	ourEvidence: {name: "sluice", knob: "alpha", levels: logLevels(0.5, 0.2, 0.1, 0.05, 0.03, 0.02, Alpha, 0.005, 0.001), shown: asAlpha},
	oracleRule:  {name: "oracle", levels: []float64{math.MaxFloat64}, shown: same, defaults: []preset{{"oracle", 0}}},
}

// absoluteLimit is what an operator who knows the baseline would write down: twice its share, or 1.2 times its p99.
func (f *family) absoluteLimit(m *metric) float64 {
	if m.values {
		return 1.2 * math.Exp(f.law.quantile(0.99))
	}
	return 2 * f.nominalShare()
}
