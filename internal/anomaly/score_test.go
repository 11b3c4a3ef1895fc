package anomaly

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// start is a Monday.
var start = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// rows makes a series of n values five minutes apart, with windows given as rows.
func rows(n int, windows ...[2]int) *Series {
	s := &Series{Name: "made.csv"}
	for i := range n {
		s.At, s.Value = append(s.At, start.Add(time.Duration(i)*5*time.Minute)), append(s.Value, float64(i%7))
	}
	for _, w := range windows {
		s.Windows = append(s.Windows, [2]time.Time{s.At[w[0]], s.At[w[1]]})
	}
	return s
}

var profiles = []Profile{Standard, RewardLowFP, RewardLowFN}

// TestScoreFacts: the published ends of the scale. A detector that says nothing has 0, one that names the first row of every
// window and nothing else 100, and one that names every row has less than nothing.
func TestScoreFacts(t *testing.T) {
	s := []*Series{rows(1000, [2]int{300, 399}, [2]int{600, 699}), rows(500)}
	for _, one := range s {
		if err := one.Place(); err != nil {
			t.Fatal(err)
		}
	}
	silent := [][]float64{make([]float64, 1000), make([]float64, 500)}
	perfect := [][]float64{make([]float64, 1000), make([]float64, 500)}
	perfect[0][300], perfect[0][600] = 0.9, 0.8
	all := [][]float64{make([]float64, 1000), make([]float64, 500)}
	for _, list := range all {
		for i := range list {
			list[i] = 1
		}
	}
	for _, p := range profiles {
		list, windows := Detections(s, silent)
		if got, threshold := Best(list, windows, p); got != 0 || !math.IsInf(threshold, 1) {
			t.Errorf("%s: silent scores %v at %v, want 0", p.Name, got, threshold)
		}
		list, windows = Detections(s, perfect)
		if got, threshold := Best(list, windows, p); math.Abs(got-100) > 1e-9 || threshold != 0.8 {
			t.Errorf("%s: perfect scores %v at %v, want 100 at 0.8", p.Name, got, threshold)
		}
		list, windows = Detections(s, all)
		if got := At(list, windows, p, 0.5); got >= 0 {
			t.Errorf("%s: naming every row scores %v", p.Name, got)
		}
	}
}

// TestScoreTwin: against the definition, written down for one threshold without sharing anything with the code.
func TestScoreTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.IntRange(30, 60).Draw(t, "from")
		b := a + rapid.IntRange(1, 20).Draw(t, "long")
		c := b + rapid.IntRange(2, 30).Draw(t, "gap")
		d := c + rapid.IntRange(1, 20).Draw(t, "long2")
		s := rows(200, [2]int{a, b}, [2]int{c, d})
		if err := s.Place(); err != nil {
			t.Fatal(err)
		}
		scores := make([]float64, 200)
		for range rapid.IntRange(0, 15).Draw(t, "findings") {
			scores[rapid.IntRange(0, 199).Draw(t, "row")] = rapid.Float64Range(0.1, 1).Draw(t, "score")
		}
		threshold := rapid.Float64Range(0.1, 1).Draw(t, "threshold")
		list, windows := Detections([]*Series{s}, [][]float64{scores})
		for _, p := range profiles {
			want := naiveScore(scores, [][2]int{{a, b}, {c, d}}, 30, threshold, p)
			if got := At(list, windows, p, threshold); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s at %v: %v, want %v", p.Name, threshold, got, want)
			}
			best, at := Best(list, windows, p)
			if got := At(list, windows, p, at); math.Abs(got-best) > 1e-9 || best < want-1e-9 {
				t.Errorf("%s: best %v, at its threshold %v, another threshold has %v", p.Name, best, got, want)
			}
		}
	})
}

// naiveScore walks over the rows once per window and once for false alarms.
func naiveScore(scores []float64, windows [][2]int, probation int, threshold float64, p Profile) float64 {
	curve := func(y float64) float64 {
		if y > 3 {
			return -1
		}
		return 2/(1+math.Exp(5*y)) - 1
	}
	sum, inside := 0.0, map[int]bool{}
	for _, w := range windows {
		got := -p.Missed
		for row := w[1]; row >= w[0]; row-- {
			inside[row] = true
			if row >= probation && scores[row] >= threshold {
				got = p.Detected * curve(-float64(w[1]-row+1)/float64(w[1]-w[0]+1)) / curve(-1)
			}
		}
		sum += got
	}
	for row := probation; row < len(scores); row++ {
		if inside[row] || scores[row] < threshold {
			continue
		}
		worth := -1.0
		for _, w := range windows {
			if w[1] < row {
				worth = curve(float64(row-w[1]) / float64(w[1]-w[0]))
			}
		}
		sum += worth * p.FP
	}
	n := float64(len(windows))
	return 100 * (sum + n*p.Missed) / (n * (p.Detected + p.Missed))
}

// TestPlaceRefuses: windows that cannot be scored are named.
func TestPlaceRefuses(t *testing.T) {
	for name, s := range map[string]*Series{
		"overlap":  rows(100, [2]int{10, 20}, [2]int{20, 30}),
		"backward": rows(100, [2]int{20, 10}),
	} {
		if err := s.Place(); err == nil {
			t.Errorf("%s: windows are taken", name)
		}
	}
	empty := rows(100)
	empty.Windows = [][2]time.Time{{start.Add(-time.Hour), start.Add(-time.Minute)}}
	if err := empty.Place(); err == nil {
		t.Error("a window before the first row is taken")
	}
	if _, err := Bench([]*Series{rows(100)}); !errors.Is(err, ErrNoWindows) {
		t.Errorf("no windows: %v, want ErrNoWindows", err)
	}
}

// TestPlaceWhereTimesFall: an hour that comes twice lies in the window that it falls in, and no row in two.
func TestPlaceWhereTimesFall(t *testing.T) {
	s := rows(100, [2]int{40, 50}, [2]int{51, 60})
	for i := 46; i < 100; i++ {
		s.At[i] = s.At[i].Add(-20 * time.Minute) // rows 46 to 49 repeat 42 to 45
	}
	if err := s.Place(); err != nil {
		t.Fatal(err)
	}
	if got := s.spans; got[0] != [2]int{40, 54} || got[1] != [2]int{55, 64} {
		t.Errorf("rows %v, want 40 to 54 and 55 to 64", got)
	}
}

// TestBench: a clear spike in each of four files is found, nothing else is, and both halves are perfect but for the rows
// between the window's beginning and the spike.
func TestBench(t *testing.T) {
	var series []*Series
	for k := range 4 {
		s := rows(2000, [2]int{1200 + k, 1300})
		s.Name, s.Value[1210] = fmt.Sprint("spike", k, ".csv"), 50
		series = append(series, s)
	}
	r, err := Bench(series)
	if err != nil {
		t.Fatal(err)
	}
	if r.Standard < 95 || r.RewardLowFP < 95 || r.RewardLowFN < 95 || r.HeldOutHalf == nil || r.HeldOutHalf.Standard < 95 {
		t.Errorf("%+v, held out %+v: want nearly 100", r.Scores, r.HeldOutHalf)
	}
	for i, f := range r.Files {
		if f.Detected != 1 || f.FalseAlarms != 0 || f.Windows != 1 || f.Rows != 2000 || f.HeldOut != (i%2 == 1) {
			t.Errorf("%+v", f)
		}
	}
	if one, err := Bench(series[:1]); err != nil || one.HeldOutHalf != nil {
		t.Errorf("one file has no other half: %+v, %v", one.HeldOutHalf, err)
	}
}
