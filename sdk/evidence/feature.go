package evidence

import "math"

// KindFeature declares an ML feature in a specification. It stands for several metrics, one for each way in which the data
// of a feature can go bad; none of them has this kind on the wire.
const KindFeature = "feature"

// What is counted of a feature beside the metric of its own name, which holds its values and says with badAbove and badBelow
// which of them are out of range.
const (
	FeatureNulls      = "-nulls"      // proportion: no value, NaN or infinite
	FeatureSchema     = "-schema"     // proportion: a value that is not of the declared type
	FeatureDuplicates = "-duplicates" // proportion: entity and event time were read before
	FeatureAge        = "-age"        // value, seconds: serve time less event time
	FeatureDrift      = "-drift"      // value: for comparing distributions, see Fold
)

// FeatureParts lists the suffixes of all metrics of a feature.
func FeatureParts() []string {
	return []string{FeatureNulls, FeatureSchema, FeatureDuplicates, FeatureAge, FeatureDrift}
}

// FeatureMetrics are the metrics of a feature by name. of has the limits and the histogram scale of its values; maxAge is the
// age in seconds above which a value is stale, 0 for none.
func FeatureMetrics(name string, of Metric, maxAge float64) map[string]Metric {
	rate := Metric{Kind: KindProportion, SettleMs: of.SettleMs, Once: of.Once}
	value := rate
	value.Kind, value.Scale = KindValue, max(of.Scale, MinScale)
	values, age := value, value
	values.BadAbove, values.BadBelow = of.BadAbove, of.BadBelow
	if maxAge > 0 {
		age.BadAbove = &maxAge
	}
	return map[string]Metric{
		name: values, name + FeatureNulls: rate, name + FeatureSchema: rate, name + FeatureDuplicates: rate,
		name + FeatureAge: age, name + FeatureDrift: value,
	}
}

// Reading is one value of an ML feature as a component got it.
type Reading struct {
	Value      float64 // NaN and the infinities count as null
	Category   string  // of a feature that has no number; Value is not looked at then
	Null       bool    // there is no value; the others are not looked at
	Invalid    bool    // it is not of the declared type: counted, its value is not
	Duplicate  bool    // the same entity and event time were read before
	AgeSeconds float64 // serve time less event time; negative: not known
}

// Fold maps all numbers to positive ones in the same order, so that a histogram for values above 0 keeps negative ones apart
// too: x + sqrt(x^2+1), e to the inverse hyperbolic sine. Far from 0 its bins are as wide, relatively, as those of x.
func Fold(x float64) float64 {
	if x < 0 {
		return 1 / (math.Abs(x) + math.Hypot(x, 1)) // the same without cancellation
	}
	return x + math.Hypot(x, 1)
}

// categoryCells is how many cells categories are spread over.
const categoryCells = 24

// FoldCategory gives a category one of 24 values that lie in bins of their own. Rare categories share one; a shift between two
// that do is not seen.
func FoldCategory(name string) float64 {
	h := uint64(0xcbf29ce484222325) // FNV-1a, 64 bits
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	h ^= h >> 32
	return math.Ldexp(1, int(h%categoryCells)-categoryCells/2)
}

// featureIDs are the metrics of a feature; a part that the rollout does not measure is absent.
type featureIDs struct {
	value, nulls, schema, duplicates, age, drift MetricID // 0: not measured
}

// feature numbers the parts of the metric with that name.
func (a *Accumulator) feature(name string) featureIDs {
	id := func(part string) MetricID {
		m, _ := a.Metric(name + part)
		return m // 0 is MetricError, which is no part of any feature
	}
	return featureIDs{id(""), id(FeatureNulls), id(FeatureSchema), id(FeatureDuplicates), id(FeatureAge), id(FeatureDrift)}
}

// ObserveFeature counts a reading of a feature under every part of it that the rollout measures.
func (s *Slot) ObserveFeature(name string, r Reading) {
	if s.entry == nil {
		return
	}
	ids, ok := s.acc.features[name]
	if !ok {
		return
	}
	value := r.Value
	if r.Category != "" {
		value = 0
	}
	null := r.Null || math.IsNaN(value) || math.IsInf(value, 0)
	s.count(ids.nulls, rate(null))
	s.count(ids.duplicates, rate(r.Duplicate))
	if !null {
		s.count(ids.schema, rate(r.Invalid))
	}
	if r.AgeSeconds >= 0 {
		s.count(ids.age, r.AgeSeconds)
	}
	switch {
	case null || r.Invalid:
	case r.Category != "":
		s.count(ids.drift, FoldCategory(r.Category))
	default:
		s.count(ids.value, value)
		s.count(ids.drift, Fold(value))
	}
}

// count observes a part that is measured.
func (s *Slot) count(m MetricID, value float64) {
	if m != ErrorMetric {
		s.Observe(m, value)
	}
}

func rate(bad bool) float64 {
	if bad {
		return 1
	}
	return 0
}
