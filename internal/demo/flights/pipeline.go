package flights

import "math"

const (
	// Window is the number of past flights that the feature averages.
	Window = 20
	// MinDepth is the number of past flights from an origin below which its feature says too little to be used: such
	// a flight has no prediction and is not scored (987 of the 20,000, in both versions alike).
	MinDepth = 5
	// LateMinutes is the error of a prediction above which a passenger would notice it.
	LateMinutes = 30
)

// Transformer computes the feature "mean delay of the last Window flights from this origin" in versions v11 and v12. Its
// state grows with the number of different origins only. It is for one goroutine. A transformer that starts again is
// brought back by observing the rows before.
type Transformer struct {
	fault    Fault
	seen     int
	byOrigin map[string]*ring
}

// ring holds the last Window delays of one origin. Version v12 is kept in units of 1/LeakMilesPerMinute minutes, which
// makes delays and leaks whole numbers: sums are exact, and without a leak the two quotients are the same double.
type ring struct {
	n        int // flights held, up to Window
	next     int // position of the oldest once full
	v11, v12 [Window]int
	sum11    int
	sum12    int
}

// NewTransformer returns a transformer that has seen no flight, with the given fault in v12. Only FaultFeed changes what
// it computes.
func NewTransformer(fault Fault) *Transformer {
	return &Transformer{fault: fault, byOrigin: map[string]*ring{}}
}

// Features returns both versions of the feature for r in minutes: the means over the flights from r.Origin observed so
// far, at most the last Window. Of r only the origin is used. With no flight observed both are 0; see MinDepth.
func (t *Transformer) Features(r Row) (v11, v12 float64) {
	h := t.byOrigin[r.Origin]
	if h == nil {
		return 0, 0
	}
	return float64(h.sum11) / float64(h.n), float64(h.sum12) / float64(h.n*LeakMilesPerMinute)
}

// Depth returns the number of flights that the feature of an origin is made from, 0 to Window.
func (t *Transformer) Depth(origin string) int {
	if h := t.byOrigin[origin]; h != nil {
		return h.n
	}
	return 0
}

// Observe adds a flight to the state; its position is the number of flights observed before.
func (t *Transformer) Observe(r Row) {
	h := t.byOrigin[r.Origin]
	if h == nil {
		h = &ring{}
		t.byOrigin[r.Origin] = h
	}
	leaky := r.Delay * LeakMilesPerMinute
	if t.fault == FaultFeed && t.fault.ActiveAt(t.seen) && r.Origin == FaultFeedOrigin {
		leaky += r.Distance
	}
	h.push(r.Delay, leaky)
	t.seen++
}

// Seen returns the number of flights observed: the position of the row that comes next.
func (t *Transformer) Seen() int { return t.seen }

func (h *ring) push(v11, v12 int) {
	h.sum11 += v11 - h.v11[h.next]
	h.sum12 += v12 - h.v12[h.next]
	h.v11[h.next], h.v12[h.next] = v11, v12
	h.next = (h.next + 1) % Window
	h.n = min(h.n+1, Window)
}

// Predict returns the predicted delay in minutes for a value of the feature. The model is persistence: a flight will be
// as late as the last flights from its airport were on average. There is nothing to train, and an error of the feature is
// an error of the prediction, minute by minute.
func Predict(feature float64) float64 { return feature }

// Score is what the consumer measures once a flight has arrived.
type Score struct {
	Error float64 // |delay - prediction| in minutes
	Late  bool    // Error > LateMinutes
}

// ScoreOf compares a prediction in minutes with the delay of r.
func ScoreOf(r Row, prediction float64) Score {
	e := math.Abs(float64(r.Delay) - prediction)
	return Score{Error: e, Late: e > LateMinutes}
}

// Outcome is one flight with the scores that each version would give it.
type Outcome struct {
	Row      int  // position
	Scored   bool // false below MinDepth: V11 and V12 are then zero
	V11, V12 Score
}

// Replay runs rows through transformer, model and consumer, and returns one outcome per row, in order. An arm is chosen
// afterwards: a flight's score does not depend on the arms of others.
func Replay(rows []Row, fault Fault) []Outcome {
	t := NewTransformer(fault)
	out := make([]Outcome, len(rows))
	for i, r := range rows {
		out[i].Row = i
		if t.Depth(r.Origin) >= MinDepth {
			v11, v12 := t.Features(r)
			out[i] = Outcome{i, true, ScoreOf(r, Predict(v11)), ScoreOf(r, Predict(v12))}
		}
		t.Observe(r)
	}
	return out
}
