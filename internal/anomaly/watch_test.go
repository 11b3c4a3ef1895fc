package anomaly

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWatchLooksBackOnly: what is found in a stream's beginning does not depend on how it goes on.
func TestWatchLooksBackOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, 1))
		a := rows(600)
		for i := range a.Value {
			a.Value[i] = r.NormFloat64() * math.Exp(3*float64(r.IntN(50)/49))
		}
		b := &Series{Name: a.Name, At: a.At, Value: append([]float64(nil), a.Value...)}
		cut := rapid.IntRange(1, 599).Draw(t, "cut")
		for i := cut; i < 600; i++ {
			b.Value[i] = 100 * r.NormFloat64()
		}
		fa, fb := Findings(a), Findings(b)
		for i := range cut {
			if fa[i] != fb[i] {
				t.Fatalf("row %d of %d scores %v with one future and %v with another", i, cut, fa[i], fb[i])
			}
		}
	})
}

// TestWatchFinds: what shows in an aspect is found by it, among others, in a stream with a daily course.
func TestWatchFinds(t *testing.T) {
	day := func(i int) float64 { return 10 * math.Sin(2*math.Pi*float64(i)/288) }
	for _, tt := range []struct {
		aspect Aspect
		harm   func(since int, x float64) float64
	}{
		{Change, func(since int, x float64) float64 { return x + 4*float64(since%2) }},
		{Daily, func(since int, x float64) float64 { return x - min(float64(since)/20, 6) }},
		{Spread, func(int, float64) float64 { return 3 }},
	} {
		t.Run(string(tt.aspect), func(t *testing.T) {
			r := rand.New(rand.NewPCG(4, 2))
			w := NewWatch(1)
			const onset = 2952 // a quarter into day 11
			found := map[Aspect]bool{}
			for i := range 3300 {
				x := day(i) + 0.3*r.NormFloat64()
				if i >= onset {
					x = tt.harm(i-onset, x)
				}
				f := w.Step(start.Add(time.Duration(i)*5*time.Minute), x)
				if i >= onset && f.Score > 0 {
					found[f.Aspect] = true
				}
				if f.Score != 0 && (f.Score < 0.5 || f.Score >= 1) {
					t.Errorf("row %d: score %v", i, f.Score)
				}
			}
			if !found[tt.aspect] {
				t.Errorf("found %v, not %s", found, tt.aspect)
			}
		})
	}
}

// TestWatchIsQuiet: between two findings lie at least the quiet values, and values that are no numbers are passed over.
func TestWatchIsQuiet(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 3))
	w, last, findings := NewWatch(20), -1000, 0
	for i := range 3000 {
		x := math.Exp(float64(i)/300) * r.NormFloat64()
		if i%17 == 0 {
			x = math.NaN()
		}
		if f := w.Step(start.Add(time.Duration(i)*time.Minute), x); f.Score > 0 {
			if math.IsNaN(x) || i-last <= 20 {
				t.Errorf("finding at %d after one at %d (value %v)", i, last, x)
			}
			last = i
			findings++
		}
	}
	if findings < 3 {
		t.Errorf("%d findings in a stream that grows without end", findings)
	}
}
