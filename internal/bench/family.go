package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/stat"
)

// family is a kind of rollout. Without harm both arms are alike, or the exposed arm is exactly as much worse as the margin
// tolerates, and whatever takes it back is wrong.
type family struct {
	name     string
	metrics  []metric
	product  bool // product defaults: only this product's judge and the oracle take part
	rate     int  // requests a second
	exposure uint32
	ramp     []uint32 // exposure of the stages, which are equally long
	share    float64  // of bad ones
	nominal  float64  // share known from before the rollout, for absolute thresholds; 0 means share
	law      law
	drift    func(part float64) (rate, slow float64) // factor on shares and summand of ln value, over the time from 0 to 1
	most     int                                     // seconds it lasts at most; 0 means no limit
	harm     *harm

	units           func(w *world) []float64 // makes the population and returns the weights of its activity; nil: each request is a new unit
	segments        int                      // values of the source
	firstSegment    float64                  // share of the first of them
	commonAR, ownAR float64                  // deviation of ln share
	instanceSpread  float64
	aheadOf         uint32 // exposure on the one instance that is ahead of the others
	delivery        delivery
}

// delivery says when evidence arrives.
type delivery uint8

const (
	deliverAtOnce    delivery = iota
	deliverLag                // the exposed arm's comes lagSeconds later
	deliverLate               // half of the exposed arm's seconds come lateSeconds later
	deliverByOutcome          // what is bad ends at once, what is good lagSeconds later
)

const (
	lagSeconds  = 10
	lateSeconds = 20
	settle      = 15 * time.Second
)

// metric is one thing that is observed at every request.
type metric struct {
	name   string
	values bool
	cells  int     // 1, or 1 and one per segment
	margin float64 // relative
}

// harm is what happens to the exposed arm from the onset on.
type harm struct {
	ratio   float64                                 // factor on the share of bad ones of the first metric
	move    func(rng *rand.Rand, x float64) float64 // what becomes of a ln value
	cdf     func(l law) func(x float64) float64     // the law of what becomes of it
	segment int                                     // the only segment harmed, or -1
	onset   func(rng *rand.Rand, length int) (at int)
	late    bool // onset is not the start
	goal    float64
}

const reference = 200 // requests a second where nothing else is said

func rates(name string, share float64) *family {
	return &family{name: name, metrics: []metric{{name: evidence.MetricError, cells: 1}}, rate: reference, exposure: 10_000, share: share}
}

func values(name string, l law) *family {
	return &family{name: name, metrics: []metric{{name: "latency", values: true, cells: 1}}, rate: reference, exposure: 10_000, law: l}
}

// productDefaults are the guardrails of a typical spec: errors in total and for three feeds, latency in total.
func productDefaults(name string, share float64, l law) *family {
	return &family{
		name: name, product: true, rate: reference, exposure: 10_000, share: share, law: l, segments: 3, firstSegment: 1.0 / 3,
		metrics: []metric{{evidence.MetricError, false, 4, errorMargin}, {"latency", true, 1, latencyMargin}},
	}
}

const (
	errorMargin   = 0.2
	latencyMargin = 0.1
)

// with changes a family and returns it.
func (f *family) with(change func(f *family)) *family { change(f); return f }

func (f *family) length(seconds int) int {
	if f.most > 0 {
		return min(f.most, seconds)
	}
	return seconds
}

func (f *family) cells() (n int) {
	for i := range f.metrics {
		n += f.metrics[i].cells
	}
	return n
}

// tests is how many cells are judged at once: K.
func (f *family) tests() int { return f.cells() }

// harmed is the metric that the harm is in.
func (f *family) harmed() *metric {
	if f.harm.move != nil {
		return &f.metrics[len(f.metrics)-1]
	}
	return &f.metrics[0]
}

func (f *family) stageAt(at, length int) int {
	if f.ramp == nil {
		return 0
	}
	return at * len(f.ramp) / length
}

func (f *family) exposureOf(stage int) uint32 {
	if f.ramp == nil {
		return f.exposure
	}
	return f.ramp[stage]
}

func (f *family) shareAt(at, length int) float64 {
	if f.drift == nil {
		return f.share
	}
	rate, _ := f.drift(float64(at) / float64(length))
	return f.share * rate
}

func (f *family) slowAt(at, length int) float64 {
	if f.drift == nil {
		return 0
	}
	_, slow := f.drift(float64(at) / float64(length))
	return slow
}

func (f *family) segmentOf(hash uint64) int {
	if f.segments < 2 {
		return 0
	}
	u := float64(hash>>20&0xffff) / 0x10000
	if u < f.firstSegment {
		return 0
	}
	return 1 + int((u-f.firstSegment)/(1-f.firstSegment)*float64(f.segments-1))
}

func (f *family) nominalShare() float64 {
	if f.nominal > 0 {
		return f.nominal
	}
	return f.share
}

// guardrail is the metric's always-valid guardrail as a spec would have it.
func (m *metric) guardrail(f *family) judge.Guardrail {
	g := judge.Guardrail{
		Name: m.name, Role: "guardrail", Metric: m.name, Class: judge.ClassE, Stat: "proportion", Test: judge.AlwaysValid,
		WorseBy: judge.Margin{Relative: m.margin}, OnBreach: judge.ActRollback, OnNoData: judge.ActPause, OnError: judge.ActPause,
		NoDataAfter: time.Hour, Segments: m.cells > 1,
	}
	if m.values {
		g.Stat = "distribution"
	}
	for i := range m.cells - 1 {
		g.Values = append(g.Values, judge.Value{Dim: evidence.DimSource, Value: sourceName(i)})
	}
	return g
}

func (m *metric) kind() evidence.Metric {
	if m.values {
		return evidence.Metric{Kind: evidence.KindValue, Scale: histScale}
	}
	return evidence.Metric{Kind: evidence.KindProportion, SettleMs: settle.Milliseconds()}
}

// effectiveMargin is the margin as it acts: for values in whole bins.
func (m *metric) effectiveMargin() float64 {
	if !m.values {
		return m.margin
	}
	_, eff := evidence.ShiftOf(histScale, 1+m.margin)
	return eff
}

// information is that of one request about the harm, in nats, for whoever knows both laws.
func (f *family) information() float64 {
	m := f.harmed()
	if m.values {
		info, _ := f.shapeLimit(m)
		return info
	}
	info := stat.RateLimit(f.exposedShare(), f.share*f.harm.ratio, f.share, stat.Margin{Relative: m.margin})
	if f.harm.segment >= 0 {
		info *= f.firstSegment
	}
	return info
}

func (f *family) exposedShare() float64 { return float64(f.exposure) / evidence.MaxExposure }

// shapeLimit is the information of a value, and the bets that reach it, with the exposed arm moved down by the margin.
func (f *family) shapeLimit(m *metric) (float64, [][2]float64) {
	return stat.OrderLimit(f.exposedShare(), shares(f.harm.cdf(f.law), -math.Log(1+m.effectiveMargin())), shares(f.law.cdf, 0))
}

// oracleSeconds is the least mean time in which anybody can prove the harm: ln(K/alpha) over the information of a second. Harm
// whose onset is unknown has to be told from N onsets: ln(N K/alpha).
func (f *family) oracleSeconds(length int) float64 {
	level := f.level()
	if f.harm.late {
		level += math.Log(float64(length))
	}
	return level / (float64(f.rate) * f.information())
}

// marginText says what is tolerated.
func (f *family) marginText() string {
	m := f.harmed()
	if m.margin == 0 {
		return "none"
	}
	return fmt.Sprintf("%.4g %%", 100*m.effectiveMargin())
}
