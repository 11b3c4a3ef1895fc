package judge

import (
	goflag "flag"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/stat"
)

// A family is a kind of rollout that does no harm: the exposed arm is exactly as much worse as the margins tolerate.
// Whatever fails in it is a false rollback.
type family struct {
	name   string
	errors func(w *simulation, i int) float64 // baseline's share of errors in block i
	slower func(w *simulation, i int) float64 // factor on all latencies
	ramp   bool
	units  func(w *simulation) // draws the population; nil: every request is a new unit
	lagged bool                // the exposed arm's blocks arrive up to 20 s late, seconds close after 15 s
	spread bool                // ten instances, each with its own share of errors and speed
}

// simulation is one rollout of a family: 20 requests a second, three values of a source, two guardrails.
type simulation struct {
	rng      *rand.Rand
	family   *family
	n        int // blocks
	length   int // seconds of a block
	exposure uint32
	revision uint64
	units    []simUnit
	sum      []float64 // of the units' activity, cumulative
	instance [10][2]float64
	harm     [2]float64 // factor on errors and latency of the exposed arm, beyond which margins do not go
	from     int        // block from which it acts
}

type simUnit struct {
	hash uint64
	rate float64 // factor on the share of errors
	slow float64 // factor on latency
}

const (
	simPerSecond = 20
	simErrors    = 0.01
	simSpread    = 0.5 // of ln latency
)

var (
	simMargins = [2]float64{0.2, 0.1} // of errors and latency
	simStages  = []uint32{5_000, 10_000, 25_000, 50_000}
)

var families = []family{
	{name: "plain"},
	{name: "ramp, rising baseline", ramp: true, errors: func(w *simulation, i int) float64 { return simErrors * (1 + 3*float64(i)/float64(w.n)) }},
	{name: "ramp, falling baseline", ramp: true, errors: func(w *simulation, i int) float64 { return simErrors * (4 - 3*float64(i)/float64(w.n)) }},
	{name: "shared outage", ramp: true,
		errors: func(w *simulation, i int) float64 { return simErrors + 0.3*outage(w, i) },
		slower: func(w *simulation, i int) float64 { return 1 + 2*outage(w, i) }},
	{name: "one unit of 10 %", units: func(w *simulation) {
		w.population(2000, func(i int) float64 {
			if i == 0 {
				return 2000.0 / 9
			}
			return 1
		})
		w.units[0].rate, w.units[0].slow = 8, 1.5
	}},
	{name: "Zipf activity", ramp: true, units: func(w *simulation) { w.population(2000, func(i int) float64 { return 1 / float64(i+1) }) }},
	{name: "instances with spread", ramp: true, spread: true},
	{name: "lag on one arm", lagged: true},
}

func outage(w *simulation, i int) float64 {
	if i > w.n/2 && i <= w.n/2+w.n/30 {
		return 1
	}
	return 0
}

// population draws units whose errors are spread (mean 1) and whose latency differs.
func (w *simulation) population(n int, activity func(i int) float64) {
	total := 0.0
	for i := range n {
		total += activity(i)
		w.sum = append(w.sum, total)
		w.units = append(w.units, simUnit{w.rng.Uint64(), w.rng.ExpFloat64(), math.Exp(0.1 * w.rng.NormFloat64())})
	}
}

func newSimulation(f *family, seed uint64, n, length int) *simulation {
	w := &simulation{rng: rand.New(rand.NewPCG(seed, 77)), family: f, n: n, length: length, exposure: 25_000, harm: [2]float64{1, 1}}
	if f.units != nil {
		f.units(w)
	}
	for i := range w.instance {
		w.instance[i] = [2]float64{1, 1}
		if f.spread {
			w.instance[i] = [2]float64{w.rng.ExpFloat64(), math.Exp(0.3 * w.rng.NormFloat64())}
		}
	}
	return w
}

func simConfig(n int) (Config, map[string]evidence.Metric) {
	errors, latency := alwaysErrors(), alwaysErrors()
	errors.Segments, errors.Values = true, []Value{{evidence.DimSource, "feed=0"}, {evidence.DimSource, "feed=1"}, {evidence.DimSource, "feed=2"}}
	errors.WorseBy = Margin{Relative: simMargins[0]}
	latency.Name, latency.Metric, latency.Stat, latency.WorseBy = "latency", "latency", statDistribution, Margin{Relative: simMargins[1]}
	for _, g := range []*Guardrail{&errors, &latency} {
		g.NoDataAfter = time.Hour
	}
	return Config{Rollout: "r", Alpha: 0.01, Guardrails: []Guardrail{errors, latency}, Bakes: n, Stages: len(simStages)}, testMetrics
}

// block makes the second that stands for block i.
func (w *simulation) block(i int) evidence.Second {
	share, slow := simErrors, 1.0
	if f := w.family.errors; f != nil {
		share = f(w, i)
	}
	if f := w.family.slower; f != nil {
		slow = f(w, i)
	}
	_, tolerated := evidence.ShiftOf(5, 1+simMargins[1])
	worse := [2][2]float64{{1, 1}, {1 + simMargins[0], 1 + tolerated}}
	if w.harm != [2]float64{1, 1} { // harm is measured against equal arms
		worse[1] = [2]float64{1, 1}
		if i >= w.from {
			worse[1] = w.harm
		}
	}
	var c simCounts
	for range w.rng.Int64N(int64(simPerSecond*w.length)) + int64(simPerSecond*w.length/2) {
		u := simUnit{w.rng.Uint64(), 1, 1}
		if w.units != nil {
			k, _ := slices.BinarySearch(w.sum, w.rng.Float64()*w.sum[len(w.sum)-1])
			u = w.units[k]
		}
		host := w.instance[w.rng.IntN(len(w.instance))]
		arm := 0
		if u.hash%evidence.MaxExposure < uint64(w.exposure) {
			arm = 1
		}
		bad := w.rng.Float64() < share*u.rate*host[0]*worse[arm][0]
		x := 20 * slow * u.slow * host[1] * worse[arm][1] * math.Exp(simSpread*w.rng.NormFloat64())
		c.add(arm, int(u.hash>>32%3), uint8(u.hash>>58), bad, x)
	}
	return c.second(start+int64(i*w.length), w.exposure, 7+w.revision)
}

// simCounts are the counts of one block.
type simCounts struct {
	n, bad [2][4][64]uint64 // arm, value (the last is the total), bucket
	sum    [64]int64        // of scores, baseline arm
	hist   [2]*evidence.Hist
	bins   map[[2]int32]uint64
}

func (c *simCounts) add(arm, value int, bucket uint8, bad bool, x float64) {
	for _, v := range [2]int{value, 3} {
		c.n[arm][v][bucket]++
		if bad {
			c.bad[arm][v][bucket]++
		}
	}
	if c.hist[arm] == nil {
		c.hist[arm] = evidence.NewHist(5)
	}
	bin := evidence.Index(5, x)
	c.hist[arm].AddBin(bin, 1)
	if arm == 0 {
		c.sum[bucket] += evidence.Score(5, bin)
	} else {
		if c.bins == nil {
			c.bins = map[[2]int32]uint64{}
		}
		c.bins[[2]int32{int32(bucket), bin}]++
	}
}

func (c *simCounts) cell(arm, value int) evidence.Cell {
	out := evidence.Cell{Dim: evidence.DimSource, Value: fmt.Sprintf("feed=%d", value)}
	if value == 3 {
		out = evidence.Cell{Dim: evidence.DimTotal}
	}
	for k, n := range c.n[arm][value] {
		if n > 0 {
			out.N, out.Bad = out.N+n, out.Bad+c.bad[arm][value][k]
			out.Buckets = append(out.Buckets, evidence.UnitBucket{K: uint8(k), N: n, Bad: c.bad[arm][value][k]})
		}
	}
	return out
}

func (c *simCounts) second(at int64, exposure uint32, revision uint64) evidence.Second {
	out := closed(at)
	for arm, name := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
		total := c.cell(arm, 3)
		if total.N == 0 {
			continue
		}
		b := errorBlock(at, name, total.N, total.Bad)
		b.Exposure, b.Revision = exposure, revision
		b.Cells = []evidence.Cell{total, c.cell(arm, 0), c.cell(arm, 1), c.cell(arm, 2)}
		l := b
		l.Metric, l.Bad, l.Hist = "latency", 0, c.hist[arm]
		own := total
		own.Bad, own.Buckets = 0, slices.Clone(own.Buckets)
		for i := range own.Buckets {
			own.Buckets[i].Bad = 0
			if arm == 0 {
				own.Buckets[i].Sum = c.sum[own.Buckets[i].K]
			}
		}
		if arm == 1 {
			for k, n := range c.bins {
				own.ExposedHistByBucket = append(own.ExposedHistByBucket, evidence.BucketBin{K: uint8(k[0]), Bin: k[1], Count: n})
			}
			slices.SortFunc(own.ExposedHistByBucket, func(a, b evidence.BucketBin) int { return (int(a.K)-int(b.K))<<20 + int(a.Bin-b.Bin) })
		}
		l.Cells = []evidence.Cell{own}
		out.Blocks = append(out.Blocks, b, l)
	}
	evidence.SortBlocks(out.Blocks)
	return out
}

// run judges the whole rollout and returns the block that failed, or -1, and the last report.
func (w *simulation) run() (failed int, rep Report) {
	cfg, metrics := simConfig(w.n)
	s, k := New(cfg, metrics), &kept{}
	Remember(s, k.between)
	in, waiting := NewIntake(15*time.Second), []evidence.Block(nil)
	in.Expect("a", "a", start)
	in.Expect("b", "b", start)
	seq := uint64(0)
	for i := range w.n {
		if stage := i * len(simStages) / w.n; i == stage*w.n/len(simStages) {
			if w.family.ramp {
				w.exposure, w.revision = simStages[stage], w.revision+1
			}
			Enter(s, stage, w.exposure, "general")
		}
		secs := []evidence.Second{w.block(i)}
		if w.family.lagged {
			seq++
			secs, waiting = w.lag(in, secs[0], waiting, seq)
			NoteLate(s, in.Late())
		}
		for _, sec := range secs {
			rep = Step(cfg, s, sec)
			k.secs = append(k.secs, sec)
			if rep.Result == Fail {
				return i, rep
			}
		}
	}
	return -1, rep
}

// lag sends the second through an intake: the exposed arm's blocks come with the next message in half of the cases, which
// is too late in half of those again.
func (w *simulation) lag(in *Intake, sec evidence.Second, waiting []evidence.Block, seq uint64) ([]evidence.Second, []evidence.Block) {
	var base, exp []evidence.Block
	for _, b := range sec.Blocks {
		if b.Assigned == evidence.ArmExposed {
			exp = append(exp, b)
		} else {
			base = append(base, b)
		}
	}
	in.Add("a", "a", seq, sec.At, 0, base)
	send, through := append(waiting, exp...), sec.At
	waiting = nil
	if w.rng.IntN(2) == 0 {
		send, waiting, through = send[:len(send)-len(exp)], exp, sec.At-int64(w.length)
	}
	now := at(sec.At + int64(w.length))
	if w.rng.IntN(2) == 0 {
		now = now.Add(20 * time.Second)
	}
	in.Add("b", "b", seq, through, 0, send)
	var out []evidence.Second
	for _, c := range in.Close(now) {
		if len(c.Blocks) > 0 { // blocks of several seconds: those between are no seconds of their own
			out = append(out, c)
		}
	}
	return out, waiting
}

// clopper returns the lower end of the one-sided 95 % Clopper-Pearson interval for k of n.
func clopper(k, n int) float64 {
	if k == 0 {
		return 0
	}
	lo, hi := 0.0, float64(k)/float64(n)
	for range 60 {
		p := (lo + hi) / 2
		tail, term := 1.0, math.Pow(1-p, float64(n)) // P(X >= k)
		for i := range k {
			tail -= term
			term *= float64(n-i) / float64(i+1) * p / (1 - p)
		}
		if tail < 0.05 {
			lo = p
		} else {
			hi = p
		}
	}
	return lo
}

// onlyFamilies lets a long run be divided: seeds do not depend on it, so the parts add up to the whole.
var onlyFamilies = goflag.String("families", "", "regular expression of the families to simulate; empty means all")

// falseRollbacks judges rollouts of every family and checks that false rollbacks are as rare as alpha says.
func falseRollbacks(t *testing.T, rollouts, n, length int, seed uint64) {
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 4, 2, ' ', 0)
	fmt.Fprintf(tw, "family\trollouts\tfalse\trate\tlower 95 %%\n")
	all, wrong := 0, 0
	for fi := range families {
		f := &families[fi]
		if ok, err := regexp.MatchString(*onlyFamilies, f.name); err != nil || !ok {
			continue
		}
		bad := 0
		for i := range rollouts {
			w := newSimulation(f, seed+uint64(fi*1_000_000+i), n, length)
			if at, rep := w.run(); at >= 0 {
				bad++
				t.Logf("%s, rollout %d, block %d: %s", f.name, i, at, Sentence(*rep.Decider))
			}
		}
		low := clopper(bad, rollouts)
		fmt.Fprintf(tw, "%s\t%d\t%d\t%.2f %%\t%.2f %%\n", f.name, rollouts, bad, 100*float64(bad)/float64(rollouts), 100*low)
		if low > 0.01 {
			t.Errorf("%s: %d of %d, lower bound %.2f %%", f.name, bad, rollouts, 100*low)
		}
		all, wrong = all+rollouts, wrong+bad
	}
	fmt.Fprintf(tw, "all\t%d\t%d\t%.2f %%\t%.2f %%\n", all, wrong, 100*float64(wrong)/float64(all), 100*clopper(wrong, all))
	tw.Flush()
	t.Logf("alpha 1 %%, exposed arm at the margin (errors +%.0f %%, latency +%.0f %%), %d blocks of %d s\n%s", 100*simMargins[0], 100*simMargins[1], n, length, &text)
	if clopper(wrong, all) > 0.01 {
		t.Errorf("pooled: %d of %d", wrong, all)
	}
}

func TestFalseRollbacksAreRarerThanAlpha(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("simulates 1,600 rollouts: run without -short and -race")
	}
	falseRollbacks(t, 200, 180, 10, 50_000_000)
}

// oracle is the least expected time in seconds in which anybody can prove the harm at level nats: the null law nearest to the
// truth is beaten by the divergence per request. It knows both laws; it pays for the number of tests, not for bets.
func oracle(level, perRequest float64) float64 { return level / (simPerSecond * perRequest) }

// latencyInformation is that of a shift of ln latency beyond the margin, in bins of the histogram.
func latencyInformation(factor, w, margin float64) float64 {
	law := func(shift float64) []float64 {
		out := make([]float64, 400)
		for i := range out {
			lo, hi := evidence.LowerBound(5, int32(i-200)), evidence.LowerBound(5, int32(i-199))
			out[i] = normal((math.Log(hi)-shift)/simSpread) - normal((math.Log(lo)-shift)/simSpread)
		}
		return out
	}
	return stat.ShapeLimit(w, law(math.Log(factor/(1+margin))), law(0))
}

func normal(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// harmDelays measures how long harm lives, against the oracle with the same margin, level ln(K/alpha) and K tests.
func harmDelays(t *testing.T, rollouts, n, length int, seed uint64) {
	const tests, w = 5, 0.25 // errors in total and three values, latency
	level := math.Log(tests / 0.01)
	_, tolerated := evidence.ShiftOf(5, 1+simMargins[1])
	for _, tt := range []struct {
		name string
		harm [2]float64
		info float64
		most float64 // times the oracle's time, mean; a block more is the grid's
	}{
		{"errors 1 % -> 3 %", [2]float64{3, 1}, stat.RateLimit(w, 3*simErrors, simErrors, stat.Margin{Relative: simMargins[0]}), 2.5},
		{"latency x1.5", [2]float64{1, 1.5}, latencyInformation(1.5, w, tolerated), 3},
	} {
		limit := oracle(level, tt.info)
		var delays []float64
		missed := 0
		for i := range rollouts {
			sim := newSimulation(&families[0], seed+uint64(i), n, length)
			sim.harm, sim.from = tt.harm, n/5
			at, rep := sim.run()
			if at < sim.from {
				missed++
				t.Logf("%s, rollout %d: block %d, %s", tt.name, i, at, rep.Result)
				continue
			}
			delays = append(delays, float64((at-sim.from+1)*length))
		}
		mean := 0.0
		for _, d := range delays {
			mean += d / float64(len(delays))
		}
		slices.Sort(delays)
		t.Logf("%s from block %d on, margins +%.0f %%/+%.1f %%, %d tests, alpha 1 %%: mean %.0f s, median %.0f s, p90 %.0f s, missed %d of %d; oracle %.0f s, ratio %.2f",
			tt.name, n/5, 100*simMargins[0], 100*tolerated, tests, mean, delays[len(delays)/2], delays[len(delays)*9/10], missed, rollouts, limit, mean/limit)
		if missed > rollouts/100 || mean > tt.most*limit+float64(length) {
			t.Errorf("%s: mean %.0f s, missed %d of %d; the oracle needs %.0f s", tt.name, mean, missed, rollouts, limit)
		}
	}
}

func TestHarmIsFoundNearTheOraclesTime(t *testing.T) {
	harmDelays(t, 40, 300, 5, 90_000_000)
}
