package sluiceof_test

import (
	"context"
	"testing"

	"github.com/open-feature/go-sdk/openfeature"

	sluice "sluice.dev/sdk"
	sluiceof "sluice.dev/sdk/openfeature"
)

// The same evaluation through the OpenFeature SDK with its own no-op provider and with ours: the difference is what the
// provider costs.
func BenchmarkOpenFeatureNoop(b *testing.B) { bench(b, openfeature.NoopProvider{}) }

func BenchmarkOpenFeatureSluice(b *testing.B) {
	c, err := sluice.Fixed(map[string]any{"settled": true})
	if err != nil {
		b.Fatal(err)
	}
	bench(b, sluiceof.New(c))
}

func bench(b *testing.B, p openfeature.FeatureProvider) {
	if err := openfeature.SetProviderAndWait(p); err != nil {
		b.Fatal(err)
	}
	defer openfeature.Shutdown()
	of := openfeature.NewClient("bench")
	unit := openfeature.NewEvaluationContext("account-000000000000001", map[string]any{"country": "FR", "plan": "pro", "age": 41, "beta": true})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = of.BooleanValue(ctx, "settled", false, unit)
	}
}

// TestProviderAllocatesAtMostOnce more than the SDK does with its no-op provider.
func TestProviderAllocatesAtMostOnceMore(t *testing.T) {
	c, err := sluice.Fixed(map[string]any{"settled": true})
	if err != nil {
		t.Fatal(err)
	}
	p := sluiceof.New(c)
	flat := openfeature.FlattenedContext{"targetingKey": "account-000000000000001", "country": "FR", "plan": "pro", "age": 41}
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() { p.BooleanEvaluation(ctx, "settled", false, flat) }); n > 1 && !raceEnabled {
		t.Errorf("%v allocations for an evaluation, at most 1 is allowed", n)
	}
}

// BenchmarkProviderAlone is our part of BenchmarkOpenFeatureSluice.
func BenchmarkProviderAlone(b *testing.B) {
	c, err := sluice.Fixed(map[string]any{"settled": true})
	if err != nil {
		b.Fatal(err)
	}
	p := sluiceof.New(c)
	flat := openfeature.FlattenedContext{"targetingKey": "account-000000000000001", "country": "FR", "plan": "pro", "age": 41, "beta": true}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		p.BooleanEvaluation(ctx, "settled", false, flat)
	}
}
