package stat

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSeriesTwins: every detector against the whole past, looked at anew for each value.
func TestSeriesTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float64Range(-9, 9), 1, 40).Draw(t, "x")
		width := rapid.IntRange(1, 6).Draw(t, "width")
		var e Extremes
		m, s := NewMoving(width), NewSeason(50, 10, 3)
		for i, v := range x {
			past := x[:i]
			want := 0.0
			if i > 0 {
				lo, hi := slices.Min(past), slices.Max(past)
				r := hi - lo
				if r == 0 {
					r = 1e-9 * (1 + math.Abs(hi))
				}
				want = max(v-hi, lo-v, 0) / r
			}
			if got := e.Step(v); math.Abs(got-want) > 1e-9*(1+want) {
				t.Errorf("beyond %v, want %v", got, want)
			}
			mean, sd, full := m.Step(v)
			if full != (i+1 >= width) {
				t.Errorf("full %v after %d of %d", full, i+1, width)
			}
			if full {
				sum, squares := 0.0, 0.0
				for _, w := range x[i+1-width : i+1] {
					sum, squares = sum+w, squares+w*w
				}
				n := float64(width)
				if math.Abs(mean-sum/n) > 1e-9 || math.Abs(sd*sd-(squares/n-sum*sum/n/n)) > 1e-9 {
					t.Errorf("mean %v, deviation %v of %v", mean, sd, x[i+1-width:i+1])
				}
			}
			checkSeason(t, s, x, i)
		}
	})
}

// checkSeason: values come every 5 seconds, so a slot of 10 seconds has two of them in each period of 50.
func checkSeason(t *rapid.T, s *Season, x []float64, i int) {
	var past []float64
	for j := range i {
		if (j*5%50)/10 == (i*5%50)/10 {
			past = append(past, x[j])
		}
	}
	past = past[max(0, len(past)-3):]
	residual, z, ok := s.Step(int64(i*5), x[i])
	if ok != (len(past) >= 2) {
		t.Errorf("season answers %v with %d values", ok, len(past))
	}
	if !ok {
		return
	}
	mid := Median(past)
	var away []float64
	for _, v := range past {
		away = append(away, math.Abs(v-mid))
	}
	want := 0.0
	if mad := Median(away); mad > 0 {
		want = (x[i] - mid) / (1.4826 * mad)
	}
	if residual != x[i]-mid || math.Abs(z-want) > 1e-9*(1+math.Abs(want)) {
		t.Errorf("residual %v, z %v; want %v, %v", residual, z, x[i]-mid, want)
	}
}

// TestAlarmRates: without a change the mean time between alarms is at least what is promised; a change is found in about
// ln(Every) over the information of a value.
func TestAlarmRates(t *testing.T) {
	const every = 200.0
	r := rand.New(rand.NewPCG(8, 9))
	logE := func(z float64) float64 { return z - 0.5 } // a shift of one deviation against none
	alarms, steps := map[string]int{}, 200_000
	c, e := CUSUM{Shift: 1, Every: every}, EDetector{Every: every}
	for range steps {
		z := r.NormFloat64()
		if c.Step(z) {
			alarms["cusum"]++
		}
		if e.Step(logE(z)) {
			alarms["e-detector"]++
		}
	}
	for name, n := range alarms {
		if rate := float64(steps) / float64(n); rate < every*0.95 {
			t.Errorf("%s: an alarm each %.0f values, promised %v", name, rate, every)
		}
	}
	if len(alarms) != 2 {
		t.Errorf("alarms of %v: both should have had some", alarms)
	}
	delays := map[string]float64{}
	const runs = 500
	for range runs {
		c, e := CUSUM{Shift: 1, Every: every}, EDetector{Every: every}
		found := map[string]bool{}
		for step := 1.0; len(found) < 2; step++ {
			z := 1 + r.NormFloat64()
			if c.Step(z) && !found["cusum"] {
				delays["cusum"], found["cusum"] = delays["cusum"]+step/runs, true
			}
			if e.Step(logE(z)) && !found["e-detector"] {
				delays["e-detector"], found["e-detector"] = delays["e-detector"]+step/runs, true
			}
		}
	}
	for name, d := range delays {
		if best := math.Log(every) / 0.5; d > 1.6*best {
			t.Errorf("%s: found after %.1f values on average, the limit is about %.1f", name, d, best)
		}
	}
}

// TestEDetectorTwin: M is the sum over all beginnings of the product of what came after.
func TestEDetectorTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float64Range(-1, 0.5), 1, 30).Draw(t, "ln e")
		d := EDetector{Every: math.Inf(1)}
		for i, v := range x {
			d.Step(v)
			sum := 0.0
			for j := range i + 1 {
				product := 0.0
				for _, w := range x[j : i+1] {
					product += w
				}
				sum += math.Exp(product)
			}
			if math.Abs(d.LogM-math.Log(sum)) > 1e-9 {
				t.Errorf("ln M %v, want %v", d.LogM, math.Log(sum))
			}
		}
	})
}
