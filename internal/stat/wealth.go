package stat

import "math"

// wealth is the log wealth of a mixture of bets, each run from the start of every stage and, in parallel, from every block
// (restarts), so that harm which begins late is met by wealth that was not burnt before. Half of each bet's weight goes to
// the processes begun at stage starts, in equal parts of 1/stages; half to restarts: before block j, g_j is put in and
// R = (R + g_j) * e. g is 1/(2N) for the first N blocks and halves after each N, so all g together stay below 1. What is not
// started yet counts as itself. Nothing is renormalised, so the sum keeps an expectation of at most 1.
// Source: Shin, Ramdas & Rinaldo, "E-detectors", 2023, with summable weights instead of an average run length.
type wealth struct {
	A []float64 `json:"a"` // per bet: log of the wealth begun at stage starts
	R []float64 `json:"r"` // per bet: log of the wealth begun at restarts
}

func newWealth(bets int) wealth {
	w := wealth{A: make([]float64, bets), R: make([]float64, bets)}
	for k := range w.A {
		w.A[k], w.R[k] = lnZero, lnZero
	}
	return w
}

// schedule is what is put in at a block; it is the same for every wealth of a lane.
type schedule struct {
	lnStart   float64 // log of what is begun at a stage start, lnZero if none begins
	lnG       float64 // log of the restart's weight
	notBegun  float64 // share of the stage starts still to come, after this block
	unstarted float64 // share of the restarts still to come, after this block
}

// restartAt returns the weight g of block j (0, 1, ...) and what is left for later blocks, N blocks being declared.
func restartAt(j int64, n int64) (g, left float64) {
	halvings, within := j/n, j%n
	unit := math.Ldexp(1, -int(min(halvings, 1000)))
	g = unit / float64(2*n)
	return g, unit - float64(float64(within+1)*g)
}

// step puts in what the schedule says and multiplies by the block's factors; bets with lnE nil stand still.
func (w *wealth) step(s *schedule, lnE []float64) {
	for k := range w.A {
		e := 0.0
		if lnE != nil {
			e = lnE[k]
		}
		w.R[k] = lnAdd(w.R[k], s.lnG) + e
		if s.lnStart > lnZero {
			w.A[k] = lnAdd(w.A[k], s.lnStart)
		}
		if w.A[k] > lnZero {
			w.A[k] += e
		}
	}
}

const lnHalf = -0.693147180559945309417

// logM is the log of the mixture over bets, stage starts and restarts.
func (w *wealth) logM(weights []float64, s *schedule) float64 {
	top := 0.0
	for k := range w.A {
		top = max(top, w.A[k], w.R[k])
	}
	idle := float64((s.notBegun + s.unstarted) * exp(-top))
	sum := 0.0
	for k, wk := range weights {
		sum += float64(wk * (exp(w.A[k]-top) + exp(w.R[k]-top) + idle))
	}
	return top + ln(sum) + lnHalf
}

// belief returns, per bet, the share of the wealth at stake in this block, and what part of all of it is older than it.
// It must be called before step.
func (w *wealth) belief(weights []float64, s *schedule, out []float64) (older float64) {
	top := lnZero
	for k := range w.A {
		top = max(top, w.A[k], w.R[k])
	}
	top = max(top, s.lnG, s.lnStart)
	fresh := exp(s.lnG-top) + exp(s.lnStart-top)
	old, all := 0.0, 0.0
	for k, wk := range weights {
		was := float64(wk * (exp(w.A[k]-top) + exp(w.R[k]-top)))
		out[k] = was + float64(wk*fresh)
		old += was
		all += out[k]
	}
	if all == 0 {
		return 1
	}
	for k := range out[:len(weights)] {
		out[k] /= all
	}
	return old / all
}
