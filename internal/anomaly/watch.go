// Package anomaly finds the unusual in one stream of values and measures how well it does so.
//
// A Watch sees one value at a time and reports findings: the value, its change, its moving averages, its spread or its
// distance from the same time of earlier days went beyond all it had been, by a margin. Findings are leads for people; nothing
// is rolled back on them, since a stream without a baseline has no error bound. Score is the Numenta Anomaly Benchmark's
// measure of any such detector. There is one set of parameters for all streams, and nothing looks ahead.
package anomaly

import (
	"math"
	"time"

	"sluice.dev/sluice/internal/stat"
)

// Aspect is what of a stream was unusual.
type Aspect string

// Aspects.
const (
	Value     Aspect = "value"
	Change    Aspect = "change"         // against the value before
	Level     Aspect = "level"          // mean of 12 values
	LongLevel Aspect = "long level"     // mean of 48 values
	Spread    Aspect = "spread"         // logarithm of the deviation of 48 values, so that stillness shows too
	Daily     Aspect = "daily residual" // against the median of the same time of up to 7 days before
	DailyMean Aspect = "daily level"    // mean of 12 daily residuals
)

// margins are how far beyond its past range an aspect has to go to be a finding, as a share of that range. Chosen on every
// other file of the benchmark's given half, and rounded (docs/benchmarks.md).
var margins = []struct {
	aspect Aspect
	margin float64
}{
	{Value, 1.0 / 15}, {Change, 1.0 / 15}, {Level, 1.0 / 15}, {LongLevel, 1.0 / 25}, {Spread, 1.0 / 100}, {Daily, 1.0 / 10}, {DailyMean, 1.0 / 10},
}

const (
	warm      = 30  // values of an aspect before it can be unusual
	youth     = 100 // values after which the margin is twice its share: among the first n, the next is a new extreme by chance 2 times in n
	farthest  = 5   // ranges beyond which all is the same
	shortMean = 12
	longMean  = 48
	days      = 7
	dayLong   = 24 * 60 * 60
	// DefaultQuiet is how many values after a finding there is no other, unless told otherwise.
	DefaultQuiet = 150
)

// Finding is an unusual value.
type Finding struct {
	Score  float64 // 0 none, from 1/2 on a finding, below 1
	Aspect Aspect  // the one that went farthest beyond its margin
}

// Watch follows one stream. It is not safe for concurrent use.
type Watch struct {
	quiet    int
	since    int // values since the last finding
	last     time.Time
	before   float64
	n        int
	short    *stat.Moving
	long     *stat.Moving
	season   *stat.Season
	residual *stat.Moving
	past     []stat.Extremes // like margins
}

// NewWatch returns a watch that has seen nothing. quiet is the number of values after a finding in which there is no other;
// 0 means DefaultQuiet, since what is unusual stays so for a while.
func NewWatch(quiet int) *Watch {
	if quiet == 0 {
		quiet = DefaultQuiet
	}
	return &Watch{quiet: quiet, since: quiet, short: stat.NewMoving(shortMean), long: stat.NewMoving(longMean),
		residual: stat.NewMoving(shortMean), past: make([]stat.Extremes, len(margins))}
}

// Step takes the next value; times may repeat or fall where a clock was put back. Values that are not finite are passed over.
func (w *Watch) Step(at time.Time, x float64) Finding {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return Finding{}
	}
	var most Finding
	for i, v := range w.aspects(at, x) {
		m := margins[i]
		n := w.past[i].N
		beyond := min(w.past[i].Step(v), farthest) / (m.margin * (1 + youth/float64(n)))
		if n >= warm && beyond > most.Score {
			most = Finding{beyond, m.aspect}
		}
	}
	w.since++
	if most.Score <= 1 || w.since <= w.quiet {
		return Finding{}
	}
	w.since = 0
	most.Score /= 1 + most.Score
	return most
}

// aspects are in the order of margins; NaN is not known yet.
func (w *Watch) aspects(at time.Time, x float64) []float64 {
	out := []float64{x, math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	if w.n > 0 {
		out[1] = x - w.before
	}
	if mean, _, ok := w.short.Step(x); ok {
		out[2] = mean
	}
	if mean, sd, ok := w.long.Step(x); ok {
		out[3], out[4] = mean, math.Log(sd+1e-9*(1+math.Abs(mean)))
	}
	if w.n == 1 {
		// The first two values say how often there is one.
		w.season = stat.NewSeason(dayLong, max(int64(at.Sub(w.last).Seconds()), 60), days)
	}
	if w.season != nil {
		if r, _, ok := w.season.Step(at.Unix(), x); ok {
			out[5] = r
			if mean, _, ok := w.residual.Step(r); ok {
				out[6] = mean
			}
		}
	}
	w.last, w.before, w.n = at, x, w.n+1
	return out
}
