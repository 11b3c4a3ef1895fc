package bench

import (
	"math"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// oracle is the sequential probability ratio test that knows both laws, the onset and where the harm is, and tests against the
// null laws nearest to the truth with the same margin. No rule with the same error probability is faster on average (Wald 1945).
type oracle struct {
	family *family
	metric *metric
	cell   int
	logE   float64
	bets   [][arms]float64 // values: ln of the factors of a value, by bin
	shift  int32
}

func newOracle(f *family) *oracle {
	o := &oracle{family: f, metric: f.harmed()}
	if f.harm.segment >= 0 {
		o.cell = 1 + f.harm.segment
	}
	if !o.metric.values {
		return o
	}
	o.cell = f.cells() - 1 // values come last and have one cell
	o.shift, _ = evidence.ShiftOf(histScale, 1+o.metric.margin)
	_, bets := f.shapeLimit(o.metric)
	o.bets = make([][arms]float64, len(bets))
	for i, b := range bets {
		// A bin that the laws leave out is only seen when rounding has moved a value.
		o.bets[i] = [arms]float64{exposed: math.Log(max(b[0], 1e-9)), base: math.Log(max(b[1], 1e-9))}
	}
	return o
}

func (o *oracle) look(t *tick) float64 {
	if t.at < t.world.onset {
		return 0
	}
	c := &t.cells[o.cell]
	if o.metric.values {
		o.logE += o.sum(c, exposed, o.shift) + o.sum(c, base, 0)
		return o.logE
	}
	table := stat.Table{Counts: stat.Counts{
		NT: uint64(c[exposed].n), YT: uint64(c[exposed].bad), NC: uint64(c[base].n), YC: uint64(c[base].bad),
	}}
	lnE, _ := stat.BlockLogE(table, stat.Margin{Relative: o.metric.margin}, o.family.share*o.family.harm.ratio, o.family.share)
	o.logE += lnE
	return o.logE
}

func (o *oracle) sum(c *cellTick, arm int, shift int32) (sum float64) {
	if c[arm].hist == nil {
		return 0
	}
	for bin, n := range c[arm].hist.All() {
		if i := int(bin-shift) + lawBins; i >= 0 && i < len(o.bets) {
			sum += float64(n) * o.bets[i][arm]
		}
	}
	return sum
}
