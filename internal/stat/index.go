package stat

import (
	"math"

	"sluice.dev/sdk/evidence"
)

// driftCells is how many cells a two-sided lane sums the arms' shares in: deciles of the baseline as it was when the lane
// became warm, and one for values without a bin.
const driftCells = 10

// driftSums are the arms' shares of each cell within strata and blocks, each comparison weighing nT*nC/n as in effectSums:
// a baseline that moves while exposure grows is no drift.
type driftSums struct {
	Cuts     []int32   `json:"cuts"` // last bin of each cell but the last one with bins
	Weight   float64   `json:"weight"`
	Exposed  []float64 `json:"exposed"` // sums of weight times share, values without a bin last
	Baseline []float64 `json:"baseline"`
}

// learnDrift adds a stratum once the baseline is known well enough to cut it.
func (l *Lane) learnDrift(s *Stratum) {
	if !l.warm() || s.Exposed.N == 0 || s.Baseline.N == 0 {
		return
	}
	if l.st.Drift == nil {
		l.st.Drift = newDriftSums(l.past())
	}
	d := l.st.Drift
	hT, worstT := l.binsOf(&s.Exposed)
	hC, worstC := l.binsOf(&s.Baseline)
	nT, nC := float64(hT.Count()+worstT), float64(hC.Count()+worstC)
	if nT == 0 || nC == 0 {
		return
	}
	w := nT * nC / (nT + nC)
	d.Weight += w
	d.add(d.Exposed, hT, worstT, w/nT)
	d.add(d.Baseline, hC, worstC, w/nC)
}

func newDriftSums(p *pastTable) *driftSums {
	p.moments()
	d := &driftSums{}
	for i := range driftCells - 1 {
		cut := p.quantile(float64(i+1) / driftCells)
		if n := len(d.Cuts); n == 0 || cut > d.Cuts[n-1] {
			d.Cuts = append(d.Cuts, cut)
		}
	}
	d.Exposed, d.Baseline = make([]float64, len(d.Cuts)+2), make([]float64, len(d.Cuts)+2)
	return d
}

func (d *driftSums) add(sums []float64, h *evidence.Hist, worst uint64, unit float64) {
	at := 0
	for bin, c := range h.All() {
		for at < len(d.Cuts) && bin > d.Cuts[at] {
			at++
		}
		sums[at] += float64(unit * float64(c))
	}
	sums[len(sums)-1] += float64(unit * float64(worst))
}

// downscale follows the lane to coarser bins. Cells may end within a bin then, which only blurs the index.
func (d *driftSums) downscale(by int) {
	for i := range d.Cuts {
		if d.Cuts[i] != evidence.ZeroBin {
			d.Cuts[i] >>= by
		}
	}
}

// Index is the population stability index of a two-sided lane's arms over the deciles of its baseline, what chance adds to it
// on average taken off, and its standard error; false where nothing was compared. It says how large a difference is, not
// whether there is one: that is LogE. A normal law moved by d deviations has an index of about d^2.
func (l *Lane) Index() (psi, se float64, ok bool) {
	d := l.st.Drift
	if d == nil || d.Weight <= 0 {
		return 0, 0, false
	}
	least := 0.5 / d.Weight
	cells := 0
	for i := range d.Exposed {
		t, c := d.Exposed[i]/d.Weight, d.Baseline[i]/d.Weight
		if t <= 0 && c <= 0 {
			continue
		}
		cells++
		t, c = max(t, least), max(c, least)
		psi += float64((t - c) * ln(t/c))
	}
	unit := l.st.Phi / d.Weight // the variance of a difference of shares, per share
	df := float64(max(cells-1, 1))
	se = unit * math.Sqrt(float64(2*df)+float64(4*psi)/unit)
	return max(psi-float64(df*unit), 0), se, true
}

// driftCost is what a shape of drift that no bet fits loses against the best bet, as a factor of the evidence: measured, see
// TestDriftIsSeen.
const driftCost = 1.5

// DetectableIndex is the smallest index that would have raised LogE of a two-sided lane to the level by now with probability
// 0.8; false where nothing was compared. To second order the evidence grows by half of weight times index, and its variance
// is twice its mean.
func (l *Lane) DetectableIndex(level float64) (float64, bool) {
	if l.st.Drift == nil || l.st.Drift.Weight <= 0 {
		return 0, false
	}
	cost := level + (ln(float64(2*tiltBets))+l.startCost())/l.st.Phi
	root := power80 + math.Sqrt(power80*power80+2*cost)
	return float64(driftCost*float64(root*root)) * l.st.Phi / l.st.Drift.Weight, true
}
