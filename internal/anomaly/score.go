package anomaly

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Series is a labelled stream of the benchmark.
type Series struct {
	Name    string
	At      []time.Time // as in the file; a clock may have been put back
	Value   []float64
	Windows [][2]time.Time // when something was wrong, both ends included
	spans   [][2]int       // the same as rows
}

// ErrNoWindows is returned where nothing is labelled, so that nothing can be scored.
var ErrNoWindows = errors.New("no file has a window with an anomaly: there is nothing to detect")

// Place finds the rows of the windows. It refuses windows that overlap or hold no row.
func (s *Series) Place() error {
	windows := slices.Clone(s.Windows)
	slices.SortFunc(windows, func(a, b [2]time.Time) int { return a[0].Compare(b[0]) })
	s.spans = nil
	for i, w := range windows {
		from := slices.IndexFunc(s.At, func(t time.Time) bool { return !t.Before(w[0]) })
		to := len(s.At) - 1
		for to >= 0 && s.At[to].After(w[1]) {
			to--
		}
		switch {
		case i > 0 && !w[0].After(windows[i-1][1]):
			return fmt.Errorf("%s: window %s to %s: it overlaps the one before", s.Name, w[0].Format(layout), w[1].Format(layout))
		case i > 0:
			from = max(from, s.spans[i-1][1]+1) // where times fall, a row may lie in both
		}
		if from < 0 || from > to {
			return fmt.Errorf("%s: window %s to %s: no row lies in it", s.Name, w[0].Format(layout), w[1].Format(layout))
		}
		s.spans = append(s.spans, [2]int{from, to})
	}
	return nil
}

// Probation is how many rows at the beginning are for learning and not scored: 15 %, at most 750.
func (s *Series) Probation() int { return min(len(s.Value)*15/100, 750) }

// Profile says what a detection, a miss and a false alarm are worth. Source: NAB, config/profiles.json.
type Profile struct {
	Name                 string
	Detected, Missed, FP float64
}

// Profiles of the benchmark.
var (
	Standard    = Profile{"standard", 1, 1, 0.11}
	RewardLowFP = Profile{"rewardLowFP", 1, 1, 0.22}
	RewardLowFN = Profile{"rewardLowFN", 1, 2, 0.11}
)

// sigmoid falls from 1 at the beginning of a window over 0 at its end to -1 three window lengths after it.
func sigmoid(y float64) float64 {
	if y > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*y)) - 1
}

// Detection is a row whose score may exceed a threshold, and what that is worth: in a window (numbered over all series) up to
// 1 for the earliest, outside of it a share, mostly negative, of a false alarm.
type Detection struct {
	Score  float64
	Window int // -1 outside
	Worth  float64
}

// Detections are the rows of all series after probation that have a score above 0; scores are like series and their rows.
// windows is the number of all.
func Detections(series []*Series, scores [][]float64) (list []Detection, windows int) {
	for k, s := range series {
		next := 0
		for row := range s.Value {
			for next < len(s.spans) && row > s.spans[next][1] {
				next++
			}
			if row < s.Probation() || scores[k][row] <= 0 {
				continue
			}
			list = append(list, s.detection(scores[k][row], row, next, windows))
		}
		windows += len(s.spans)
	}
	return list, windows
}

// detection of a row; next is the first window that does not end before it.
func (s *Series) detection(score float64, row, next, before int) Detection {
	if next < len(s.spans) && row >= s.spans[next][0] {
		w := s.spans[next]
		width := float64(w[1] - w[0] + 1)
		return Detection{score, before + next, sigmoid(-float64(w[1]-row+1)/width) / sigmoid(-1)}
	}
	if next == 0 {
		return Detection{score, -1, -1}
	}
	w := s.spans[next-1]
	return Detection{score, -1, sigmoid(float64(row-w[1]) / float64(w[1]-w[0]))}
}

// Best returns the highest score any threshold reaches, from 0 (like a detector that says nothing) to 100 (perfect; below 0
// cannot be, since the threshold may be infinite), and that threshold. Rows with a score of at least the threshold count. NAB
// chooses the threshold of a detector like this, on the whole corpus.
func Best(list []Detection, windows int, p Profile) (score, threshold float64) {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b Detection) int { return cmp.Compare(b.Score, a.Score) })
	t := newTally(windows, p)
	best, threshold := t.sum, math.Inf(1)
	for i, d := range sorted {
		t.add(d)
		if last := i+1 == len(sorted) || sorted[i+1].Score < d.Score; last && t.sum > best {
			best, threshold = t.sum, d.Score
		}
	}
	return t.normed(best), threshold
}

// At returns the score with a given threshold.
func At(list []Detection, windows int, p Profile, threshold float64) float64 {
	t := newTally(windows, p)
	for _, d := range list {
		if d.Score >= threshold {
			t.add(d)
		}
	}
	return t.normed(t.sum)
}

// tally adds up what detections are worth.
type tally struct {
	profile Profile
	best    []float64 // per window
	sum     float64
}

func newTally(windows int, p Profile) *tally {
	t := &tally{profile: p, best: make([]float64, windows), sum: -p.Missed * float64(windows)}
	for i := range t.best {
		t.best[i] = -p.Missed
	}
	return t
}

func (t *tally) add(d Detection) {
	if d.Window < 0 {
		t.sum += d.Worth * t.profile.FP
		return
	}
	if worth := d.Worth * t.profile.Detected; worth > t.best[d.Window] {
		t.sum += worth - t.best[d.Window]
		t.best[d.Window] = worth
	}
}

// normed puts the detector that says nothing at 0 and the perfect one at 100.
func (t *tally) normed(sum float64) float64 {
	n := float64(len(t.best))
	return 100 * (sum + t.profile.Missed*n) / (n * (t.profile.Detected + t.profile.Missed))
}
