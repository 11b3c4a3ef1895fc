package evidence

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// TestReadingsCountUnderEveryPart: each way in which a feature's data go bad is counted under its own metric, by source too.
func TestReadingsCountUnderEveryPart(t *testing.T) {
	above, below := 100.0, 0.0
	a, err := NewAccumulator(AccumulatorConfig{Rollout: "r", Sources: []string{"feed"},
		Metrics: FeatureMetrics("spend", Metric{BadAbove: &above, BadBelow: &below}, 60)})
	if err != nil {
		t.Fatal(err)
	}
	key := a.Key(SlotKey{Cohort: "general", Revision: 7, Exposure: 1000, Lease: LeaseHeld, Assigned: ArmBaseline, Served: ArmBaseline})
	for i, r := range []Reading{
		{Value: 5, AgeSeconds: 10}, {Value: -5, AgeSeconds: 90}, {Value: 500, AgeSeconds: -1}, {Null: true, AgeSeconds: -1},
		{Value: math.NaN(), AgeSeconds: -1}, {Value: 1, Invalid: true, AgeSeconds: -1}, {Value: 5, Duplicate: true, AgeSeconds: 10},
		{Category: "de", AgeSeconds: -1},
	} {
		values := Values{a.Value(0, []string{"A", "B"}[i%2])}
		slot := a.Begin(100, key, Unit{Hash: uint64(i), Bucket: uint8(i)}, &values)
		slot.ObserveFeature("spend", r)
		slot.ObserveFeature("other", r)
		slot.End(false)
	}
	got := map[string]string{}
	blocks, _ := a.Flush(200)
	for _, b := range blocks {
		got[b.Metric] = fmt.Sprintf("%d of %d", b.Bad, b.N)
		if b.Metric == "spend-nulls" {
			if c := b.Cell(DimSource, "feed=B"); c == nil || c.N != 4 || c.Bad != 1 {
				t.Errorf("nulls of feed B: %+v", c)
			}
		}
	}
	for metric, want := range map[string]string{
		"spend": "2 of 4", "spend-nulls": "2 of 8", "spend-schema": "1 of 6", "spend-duplicates": "1 of 8", "spend-age": "1 of 3", "spend-drift": "0 of 5", MetricError: "0 of 8",
	} {
		if got[metric] != want {
			t.Errorf("%s: %q bad, want %q", metric, got[metric], want)
		}
	}
}

// TestFoldKeepsOrder: folding is positive and rising, also where numbers are huge, tiny or negative.
func TestFoldKeepsOrder(t *testing.T) {
	xs := []float64{-1e12, -1e6, -3, -1, -0.1, 0, 0.1, 1, 3, 1e6, 1e12}
	var folded []float64
	for _, x := range xs {
		folded = append(folded, Fold(x))
	}
	if folded[0] <= 0 || !slices.IsSorted(folded) || len(slices.Compact(slices.Clone(folded))) != len(xs) {
		t.Errorf("got %v", folded)
	}
	bins := map[int32]bool{}
	for _, x := range xs {
		bins[Index(MinScale, Fold(x))] = true
	}
	if len(bins) != len(xs) {
		t.Errorf("%d numbers lie in %d bins", len(xs), len(bins))
	}
}

// TestCategoriesHaveBinsOfTheirOwn: categories spread over all cells, each in another bin.
func TestCategoriesHaveBinsOfTheirOwn(t *testing.T) {
	bins := map[int32]bool{}
	for i := range 1000 {
		name := fmt.Sprint("category-", i)
		if FoldCategory(name) != FoldCategory(name) || FoldCategory(name) <= 0 {
			t.Fatalf("%s has the value %g", name, FoldCategory(name))
		}
		bins[Index(MinScale, FoldCategory(name))] = true
	}
	if len(bins) != categoryCells {
		t.Errorf("1000 categories use %d cells, want %d", len(bins), categoryCells)
	}
}
