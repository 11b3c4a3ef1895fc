package stat

import (
	"fmt"
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
)

// Kind names the engine of a lane.
type Kind string

// Engines.
const (
	Proportion   Kind = "proportion"   // bad of all, 2x2 with a margin on the rate
	Distribution Kind = "distribution" // the shape of a value's histogram, margin on the value
	P99          Kind = "p99"          // how often the past baseline's p99 is exceeded, margin on the value
	Count        Kind = "count"        // events that split by a known share, margin on the rate ratio
)

// Limits of a LaneConfig.
const (
	maxGrid     = 64
	warmUp      = 300 // baseline values before the engines for values bet, unless a prior is given
	phiEvery    = 5   // seconds between two estimates of the over-dispersion
	defaultStep = 3600
)

// Prior is what is believed of the baseline before the first block: for rates Weight requests at Rate (zero: 200 at 0.01);
// for values the shares of Hist, which weigh as much as Weight values (zero: 100). Without Hist an engine for values first
// waits for 300 values of the baseline.
type Prior struct {
	Rate   float64        `json:"rate,omitempty"`
	Weight float64        `json:"weight,omitempty"`
	Hist   *evidence.Hist `json:"hist,omitempty"`
}

// LaneConfig says what a lane tests. It must not change while the lane lives.
type LaneConfig struct {
	Kind       Kind      `json:"kind"`
	Margin     Margin    `json:"margin"`
	Side       Side      `json:"side,omitempty"`       // values: which way is harm; "" means Up. Both takes no margin
	ScoredOnce bool      `json:"scoredOnce,omitempty"` // one observation per unit and rollout: Stratum.Share is used, phi is 1
	Blocks     int64     `json:"blocks"`               // N: blocks of all declared maximum bakes; 0 means 3600
	Stages     int       `json:"stages,omitempty"`     // declared stages, each begins a process of its own; 0 means 1
	Scale      int       `json:"scale,omitempty"`      // of histograms; 0 means 5
	Prior      Prior     `json:"prior,omitzero"`
	Grid       []float64 `json:"grid,omitempty"` // margins for Lower and Upper, on the scale of Margin, ascending; none: no interval
}

// Part is some of an arm's observations as one cell holds them. Bins are at the scale of Hist. Nothing is kept or changed.
type Part struct {
	Hist    *evidence.Hist
	Buckets []evidence.UnitBucket
	Bins    []evidence.BucketBin
}

// Arm is what one arm did in one stratum of a block. N and Bad count everything; what is in N but in no histogram (requests
// that never ended, unusable values) counts as the worst value there is. The buckets of the parts may cover less than N.
type Arm struct {
	N, Bad uint64
	Parts  []Part
}

// Stratum is what two arms must share to be compared. Share is the known share of units (Count: of events under the
// null ratio 1) that are exposed; it is used by ScoredOnce and Count only.
type Stratum struct {
	Exposed, Baseline Arm
	Share             float64
}

// Block is the evidence of one lane in one second: its strata in one fixed order. Stage is the number of the stage (0, 1,
// ...), never falling; the first block of a stage begins a process.
type Block struct {
	Second int64
	Stage  int
	Strata []Stratum
}

// Lane is the evidence about one cell of one guardrail. It is not safe for concurrent use. Its JSON holds configuration and
// state; a lane read back continues bit for bit.
type Lane struct {
	cfg     LaneConfig
	st      laneState
	weights []float64 // of the bets
	defs    []testDef // like st.Tests
	logM    []float64 // like st.Tests, after the last block
	plan    schedule  // of the last block
	work    workspace
}

// laneState is everything a lane remembers.
type laneState struct {
	Second   int64          `json:"second"`
	Blocks   int64          `json:"blocks"`
	Begun    int            `json:"begun"` // stage starts so far
	Stage    int            `json:"stage"` // of the last block
	Scale    int            `json:"scale,omitempty"`
	Tests    []test         `json:"tests"`
	Totals   Counts         `json:"totals"`             // of all blocks; values: requests only
	Baseline *evidence.Hist `json:"baseline,omitempty"` // values learned
	Exposed  *evidence.Hist `json:"exposed,omitempty"`
	Phi      float64        `json:"phi"`
	PhiAt    int64          `json:"phiAt"`
	Spread   [2]spread      `json:"spread"` // exposed, baseline
	Shares   []float64      `json:"shares"` // of ln e, by unit bucket
	Effect   effectSums     `json:"effect"`
	ScoreRef *[2]float64    `json:"scoreRef,omitempty"` // mean and deviation of the bins, frozen, for the spread of values
	Drift    *driftSums     `json:"drift,omitempty"`    // of two-sided lanes
}

// test is one null hypothesis: a margin, in one direction.
type test struct {
	Wealth wealth       `json:"wealth"`
	Past   Counts       `json:"past"`             // rates: what the bets are learned from
	Splits []countSplit `json:"splits,omitempty"` // Count
	Peak   float64      `json:"peak"`             // highest tempered log evidence so far
}

// testDef is the unchanging part of a test.
type testDef struct {
	margin Margin
	better bool
}

// Order of the tests of a lane: against the margin, for non-inferiority, then the grid upwards twice.
const (
	mainTest = iota
	betterTest
	gridTests
)

// workspace is what a block needs for a moment.
type workspace struct {
	lnE      [][]float64 // per test and bet
	belief   []float64   // per bet of the main test
	quantile int32       // P99: bin of the past baseline
	past     pastTable
}

// NewLane returns a lane without evidence. It refuses a configuration that has no meaning, naming what is wrong.
func NewLane(cfg LaneConfig) (*Lane, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Lane{cfg: cfg}
	l.st.Phi, l.st.Shares = 1, make([]float64, evidence.UnitBuckets)
	if cfg.values() {
		l.st.Scale = cfg.scale()
		l.st.Baseline, l.st.Exposed = evidence.NewHist(cfg.scale()), evidence.NewHist(cfg.scale())
		if h := cfg.Prior.Hist; h != nil && h.Scale < l.st.Scale {
			l.downscale(h.Scale)
		}
	}
	l.st.Stage = -1
	l.derive()
	l.st.Tests = make([]test, len(l.defs))
	for i := range l.st.Tests {
		l.st.Tests[i] = test{Wealth: newWealth(len(l.weights))}
	}
	l.plan.notBegun, l.plan.unstarted = 1, 1
	return l, nil
}

func (c *LaneConfig) check() error {
	wrong := func(what string, got any) error { return fmt.Errorf("lane: %s: %v", what, got) }
	switch c.Kind {
	case Proportion, Distribution, P99, Count:
	default:
		return wrong("unknown kind", c.Kind)
	}
	switch c.Side {
	case "", Up, Down, Both:
	default:
		return wrong("unknown side", c.Side)
	}
	for _, m := range []float64{c.Margin.Relative, c.Margin.Absolute, c.Prior.Rate, c.Prior.Weight} {
		if math.IsNaN(m) || math.IsInf(m, 0) {
			return wrong("not a number", m)
		}
	}
	if c.Kind != Proportion && c.Margin.Absolute != 0 {
		return wrong("an absolute margin is for proportions only", c.Margin.Absolute)
	}
	if !c.possible(c.Margin) || c.Side == Both && (c.Kind != Distribution || c.Margin != Margin{}) {
		return wrong("impossible margin", c.Margin)
	}
	if c.Blocks < 0 || c.Stages < 0 || c.Blocks > 1<<40 || c.Stages > 1<<20 {
		return wrong("blocks and stages", [2]int64{c.Blocks, int64(c.Stages)})
	}
	if c.Scale != 0 && (c.Scale < evidence.MinScale || c.Scale > evidence.MaxScale) {
		return wrong("scale", c.Scale)
	}
	if c.Prior.Rate < 0 || c.Prior.Rate > 1 || c.Prior.Weight < 0 {
		return wrong("prior", c.Prior)
	}
	if h := c.Prior.Hist; h != nil && (h.Check() != nil || h.Count() == 0) {
		return wrong("prior histogram", h)
	}
	if len(c.Grid) > maxGrid || !slices.IsSorted(c.Grid) || len(c.Grid) > 0 && c.Side == Both {
		return wrong("grid", c.Grid)
	}
	for _, m := range c.Grid {
		if math.IsNaN(m) || math.IsInf(m, 0) || !c.possible(c.gridMargin(m)) {
			return wrong("impossible margin in the grid", m)
		}
	}
	return nil
}

// possible: some rates or values are beyond the margin and some are not.
func (c *LaneConfig) possible(m Margin) bool {
	if c.values() && c.side() == Down {
		return m.Relative < 1
	}
	return m.Relative > -1 && m.Relative <= 1e6 && math.Abs(m.Absolute) < 1
}

// gridMargin is a margin of the grid on the scale of the lane's own.
func (c *LaneConfig) gridMargin(m float64) Margin {
	if c.Margin.Absolute != 0 {
		return Margin{Absolute: m}
	}
	return Margin{Relative: m}
}

func (c *LaneConfig) values() bool { return c.Kind == Distribution || c.Kind == P99 }

func (c *LaneConfig) side() Side {
	if c.Side == "" {
		return Up
	}
	return c.Side
}

func (c *LaneConfig) scale() int { return max(c.Scale, evidence.MinScale) }

func (c *LaneConfig) blocks() int64 {
	if c.Blocks == 0 {
		return defaultStep
	}
	return c.Blocks
}

func (c *LaneConfig) stages() int { return max(c.Stages, 1) }

// derive builds what follows from the configuration.
func (l *Lane) derive() {
	l.weights = rateWeights[:]
	if l.cfg.Kind == Distribution {
		l.weights = tiltWeights(l.cfg.side())
	}
	l.defs = append(l.defs[:0], testDef{margin: l.cfg.Margin})
	if l.cfg.side() != Both {
		l.defs = append(l.defs, testDef{margin: l.cfg.Margin, better: true})
	}
	for _, better := range []bool{false, true} {
		for _, m := range l.cfg.Grid {
			l.defs = append(l.defs, testDef{margin: l.cfg.gridMargin(m), better: better})
		}
	}
	l.logM = make([]float64, len(l.defs))
	l.work.belief = make([]float64, len(l.weights))
	l.work.lnE = make([][]float64, len(l.defs))
	for i := range l.work.lnE {
		l.work.lnE[i] = make([]float64, len(l.weights))
	}
}

// Step takes the next block, also an empty one: restarts are counted in blocks. Bets are chosen from the blocks before.
func (l *Lane) Step(b Block) {
	l.adjustScale(&b)
	l.schedule(b.Stage)
	l.fadeShares()
	l.factors(&b)
	for i := range l.st.Tests {
		t := &l.st.Tests[i]
		t.Wealth.step(&l.plan, l.work.lnE[i])
		l.logM[i] = t.Wealth.logM(l.weights, &l.plan)
	}
	l.learn(&b)
	l.st.Second = b.Second
	l.st.Blocks++
	if l.st.Blocks == 1 || b.Second >= l.st.PhiAt+phiEvery {
		l.st.PhiAt = b.Second
		l.updatePhi()
	}
	for i := range l.st.Tests {
		l.st.Tests[i].Peak = max(l.st.Tests[i].Peak, l.logM[i]/l.st.Phi)
	}
}

// schedule says what is begun at this block.
func (l *Lane) schedule(stage int) {
	g, left := restartAt(l.st.Blocks, l.cfg.blocks())
	l.plan = schedule{lnStart: lnZero, lnG: ln(g), unstarted: left}
	if stage > l.st.Stage {
		l.st.Stage = stage
		if l.st.Begun < l.cfg.stages() {
			l.st.Begun++
			l.plan.lnStart = -ln(float64(l.cfg.stages()))
		}
	}
	l.plan.notBegun = l.notBegun()
}

func (l *Lane) notBegun() float64 {
	return float64(l.cfg.stages()-l.st.Begun) / float64(l.cfg.stages())
}

// fadeShares prepares the sharing out of the main test's evidence over unit buckets: the shares belong to the processes now
// alive, so they fade with the part of the wealth that is new.
func (l *Lane) fadeShares() {
	older := l.st.Tests[mainTest].Wealth.belief(l.weights, &l.plan, l.work.belief)
	for k := range l.st.Shares {
		l.st.Shares[k] = float64(l.st.Shares[k] * older)
	}
}

// factors fills in ln e of every test and bet for the block.
func (l *Lane) factors(b *Block) {
	for _, row := range l.work.lnE {
		clear(row)
	}
	switch l.cfg.Kind {
	case Distribution:
		l.tiltFactors(b)
		return
	case P99:
		if !l.warm() {
			return
		}
		l.work.quantile = l.pastQuantile()
	}
	for i := range l.st.Tests {
		if l.cfg.Kind == Count {
			l.countFactors(i, b)
			continue
		}
		l.rateFactors(i, b)
	}
}

// updatePhi takes the running maximum over time and arms.
func (l *Lane) updatePhi() {
	if l.cfg.ScoredOnce {
		return
	}
	for arm := range l.st.Spread {
		l.st.Phi = max(l.st.Phi, l.st.Spread[arm].phi(l.cfg.Kind == Distribution))
	}
}

// LogM is the log of the mixture over bets and restarts, before tempering.
func (l *Lane) LogM() float64 { return l.logM[mainTest] }

// Phi is the over-dispersion in force.
func (l *Lane) Phi() float64 { return l.st.Phi }

// LogE is the log evidence, ln(M)/phi, that the exposed arm is worse than the margin.
func (l *Lane) LogE() float64 { return l.logM[mainTest] / l.st.Phi }

// PeakLogE is the highest LogE after any block so far.
func (l *Lane) PeakLogE() float64 { return l.st.Tests[mainTest].Peak }

// LogENotWorse is the log evidence that the exposed arm is NOT worse than the margin (non-inferiority); 0 for Side Both.
func (l *Lane) LogENotWorse() float64 {
	if l.cfg.side() == Both {
		return 0
	}
	return l.logM[betterTest] / l.st.Phi
}

// LogEWithout is LogE without the additive share of one unit bucket: a filter, cheap and near, not exact. An alarm that does
// not survive it rests on the units of one bucket; for one that does, LeaveOut recomputes exactly.
func (l *Lane) LogEWithout(bucket int) float64 {
	return (l.logM[mainTest] - l.st.Shares[bucket]) / l.st.Phi
}

// HeaviestBuckets returns up to n unit buckets with a positive share of the evidence, heaviest first.
func (l *Lane) HeaviestBuckets(n int) []int {
	var list []int
	for k, s := range l.st.Shares {
		if s > 0 {
			list = append(list, k)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int {
		switch {
		case l.st.Shares[a] > l.st.Shares[b]:
			return -1
		case l.st.Shares[a] < l.st.Shares[b]:
			return 1
		}
		return 0
	})
	return list[:min(n, len(list))]
}

// Lower returns the largest margin of the grid such that it and all below it have been rejected at some time: the exposed
// arm is worse than by this much, with error probability e^-level whatever the true effect is. False if none has been.
// It comes from the same process as LogE. For values it is the margin the bins act as.
func (l *Lane) Lower(level float64) (float64, bool) {
	n := len(l.cfg.Grid)
	last := -1
	for i := range n {
		if l.st.Tests[len(l.st.Tests)-2*n+i].Peak < level {
			break
		}
		last = i
	}
	if last < 0 {
		return 0, false
	}
	return l.effective(l.cfg.Grid[last]), true
}

// Upper returns the smallest margin of the grid such that "worse by it or more" and all above it have been rejected.
func (l *Lane) Upper(level float64) (float64, bool) {
	n := len(l.cfg.Grid)
	first := n
	for i := n - 1; i >= 0; i-- {
		if l.st.Tests[len(l.st.Tests)-n+i].Peak < level {
			break
		}
		first = i
	}
	if first == n {
		return 0, false
	}
	return l.effective(l.cfg.Grid[first]), true
}

// Margin returns the margin the lane acts as: for values the configured one rounded up to whole bins.
func (l *Lane) Margin() Margin {
	if !l.cfg.values() {
		return l.cfg.Margin
	}
	return Margin{Relative: l.effective(l.cfg.Margin.Relative)}
}

func (l *Lane) effective(m float64) float64 {
	if !l.cfg.values() {
		return m
	}
	_, eff := shiftFor(l.cfg.side(), m, l.st.Scale)
	return eff
}

// shiftFor returns by how many bins a margin moves the baseline, and what that acts as.
func shiftFor(side Side, m float64, scale int) (bins int32, effective float64) {
	if side == Down {
		bins, _ = evidence.ShiftOf(scale, 1/(1-m))
		return -bins, 1 - 1/evidence.LowerBound(scale, bins)
	}
	return evidence.ShiftOf(scale, 1+m)
}

// Blocks is the number of blocks taken.
func (l *Lane) Blocks() int64 { return l.st.Blocks }

// Totals are the requests of all blocks, pooled: for display, never for a test.
func (l *Lane) Totals() Counts { return l.st.Totals }

// Config returns the lane's configuration.
func (l *Lane) Config() LaneConfig { return l.cfg }
