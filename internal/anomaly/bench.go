package anomaly

// Scores are those of the three profiles.
type Scores struct {
	Standard    float64 `json:"standard"`
	RewardLowFP float64 `json:"rewardLowFP"`
	RewardLowFN float64 `json:"rewardLowFN"`
}

// FileResult is what the watch did on one file, at the threshold of the standard profile.
type FileResult struct {
	File        string `json:"file"`
	Rows        int    `json:"rows"`
	Windows     int    `json:"windows"`
	Detected    int    `json:"detected"`    // windows with at least one finding
	FalseAlarms int    `json:"falseAlarms"` // findings outside of windows, after probation
	HeldOut     bool   `json:"heldOut"`     // in the half that is scored with the other half's threshold
}

// Result is a whole run. HeldOutHalf is the score of every second file with the thresholds that were best on the others; it is
// nil where one of the halves has no window.
type Result struct {
	Scores
	HeldOutHalf *Scores      `json:"heldOutHalf"`
	Files       []FileResult `json:"files"`
}

// Bench runs a new watch over every series and scores all of them. Series should be in order of their names: the halves are
// every other one. It returns ErrNoWindows if nothing is labelled.
func Bench(series []*Series) (Result, error) {
	scores := make([][]float64, len(series))
	for i, s := range series {
		if err := s.Place(); err != nil {
			return Result{}, err
		}
		scores[i] = Findings(s)
	}
	list, windows := Detections(series, scores)
	if windows == 0 {
		return Result{}, ErrNoWindows
	}
	var out Result
	var threshold float64
	out.Standard, threshold = Best(list, windows, Standard)
	out.RewardLowFP, _ = Best(list, windows, RewardLowFP)
	out.RewardLowFN, _ = Best(list, windows, RewardLowFN)
	out.HeldOutHalf = heldOut(series, scores)
	for i, s := range series {
		out.Files = append(out.Files, fileResult(s, scores[i], threshold, i%2 == 1))
	}
	return out, nil
}

// Findings runs a new watch over a series and returns the score of each row, 0 where there is no finding. After a finding it
// is quiet for 75 rows and a fifth of the probation.
func Findings(s *Series) []float64 {
	w := NewWatch(75 + s.Probation()/5)
	out := make([]float64, len(s.Value))
	for i, x := range s.Value {
		out[i] = w.Step(s.At[i], x).Score
	}
	return out
}

// heldOut scores every second series with the thresholds that are best on the others.
func heldOut(series []*Series, scores [][]float64) *Scores {
	var half [2][]*Series
	var of [2][][]float64
	for i, s := range series {
		half[i%2], of[i%2] = append(half[i%2], s), append(of[i%2], scores[i])
	}
	tuning, n := Detections(half[0], of[0])
	list, m := Detections(half[1], of[1])
	if n == 0 || m == 0 {
		return nil
	}
	at := func(p Profile) float64 {
		_, threshold := Best(tuning, n, p)
		return At(list, m, p, threshold)
	}
	return &Scores{at(Standard), at(RewardLowFP), at(RewardLowFN)}
}

func fileResult(s *Series, scores []float64, threshold float64, heldOut bool) FileResult {
	out := FileResult{File: s.Name, Rows: len(s.Value), Windows: len(s.spans), HeldOut: heldOut}
	list, _ := Detections([]*Series{s}, [][]float64{scores})
	seen := map[int]bool{}
	for _, d := range list {
		switch {
		case d.Score < threshold:
		case d.Window < 0:
			out.FalseAlarms++
		default:
			seen[d.Window] = true
		}
	}
	out.Detected = len(seen)
	return out
}
