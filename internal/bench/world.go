package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"sluice.dev/sdk/evidence"
)

// Names and bounds of the simulated evidence.
const (
	rolloutName = "bench"
	cohortName  = "general"
	epoch       = 1_700_000_000 // unix second in which every rollout begins
	histScale   = 5
	binsPerUnit = 32 / math.Ln2 // bins of histScale per unit of ln value
	maxDelay    = 32            // seconds after which everything has arrived
)

// Arms in the order of the arrays.
const (
	base = iota
	exposed
	arms
)

// world makes the requests of one rollout, second by second.
type world struct {
	family   *family
	rng      *rand.Rand
	length   int
	onset    int
	units    []unit
	alias    aliasTable
	ahead    uint64 // instance that is ahead of the others
	stage    int
	exposure uint32
	common   ar1   // of both arms
	own      []ar1 // of each unit
	spells   []float64
	strata   []stratumCounts
	queue    [maxDelay][]cellTick // naive arrivals by second
	late     bool                 // of this second's exposed arm
}

// unit is who makes requests. hash decides its arm, its bucket and its segment.
type unit struct {
	hash uint64
	rate float64 // factor on shares of bad
	slow float64 // added to ln value
}

func newWorld(f *family, seed uint64, length int) *world {
	w := &world{family: f, rng: rand.New(rand.NewPCG(seed, 0x51_1ce)), length: length, stage: -1, exposure: f.exposure}
	if f.units != nil {
		weights := f.units(w)
		w.alias = newAlias(weights)
	}
	if f.ownAR > 0 {
		w.own = make([]ar1, len(w.units))
	}
	if f.harm != nil {
		w.onset = f.harm.onset(w.rng, length)
	}
	w.ahead = uint64(w.rng.IntN(instances))
	w.spells = make([]float64, instances)
	for i := range w.spells {
		w.spells[i] = math.Exp(f.instanceSpread * w.rng.NormFloat64())
	}
	n := 1
	if f.aheadOf > 0 {
		n = 2
	}
	for range n {
		w.strata = append(w.strata, newStratumCounts(f))
	}
	return w
}

const instances = 10

// tick is what happens in a second: seconds of evidence that the judge's intake would close by itself, and what other
// contenders are told, cell by cell.
type tick struct {
	at    int
	stage int
	begun bool // a stage begins
	made  evidence.Second
	late  bool // the exposed arm's evidence comes late
	cells []cellTick
	world *world
}

// cellTick is what arrives of one metric and cell.
type cellTick [arms]armTick

// armTick are an arm's counts; sums are of the values themselves.
type armTick struct {
	n, bad       float64
	sum, squares float64
	hist         *evidence.Hist
}

func (a *armTick) add(o *armTick) {
	a.n, a.bad, a.sum, a.squares = a.n+o.n, a.bad+o.bad, a.sum+o.sum, a.squares+o.squares
	if o.hist != nil {
		if a.hist == nil {
			a.hist = evidence.NewHist(histScale)
		}
		a.hist.Merge(o.hist)
	}
}

// tick makes the next second.
func (w *world) tick(at int) *tick {
	t := &tick{at: at, world: w}
	if s := w.family.stageAt(at, w.length); s != w.stage {
		w.stage, t.begun = s, true
		w.exposure = w.family.exposureOf(s)
	}
	t.stage = w.stage
	for i := range w.strata {
		w.strata[i].reset()
	}
	w.requests(at)
	w.late = w.family.delivery == deliverLate && w.rng.IntN(2) == 0
	t.late = w.late
	t.made = w.second(at)
	w.arrive(at)
	slot := &w.queue[at%maxDelay]
	t.cells = *slot
	*slot = nil
	if t.cells == nil {
		t.cells = make([]cellTick, w.family.cells())
	}
	return t
}

// requests draws the second's requests.
func (w *world) requests(at int) {
	f := w.family
	share, slow := f.shareAt(at, w.length), f.slowAt(at, w.length)
	if f.commonAR > 0 {
		x := w.common.next(w.rng, f.commonAR)
		share, slow = share*math.Exp(x), slow+x/4
	}
	for i := range w.own {
		w.own[i].next(w.rng, f.ownAR)
	}
	harmed := f.harm != nil && at >= w.onset
	for range f.rate {
		w.request(share, slow, harmed)
	}
}

func (w *world) request(share, slow float64, harmed bool) {
	f := w.family
	u := unit{hash: w.rng.Uint64(), rate: 1}
	if w.units != nil {
		k := w.alias.draw(w.rng)
		u = w.units[k]
		if w.own != nil {
			u.rate *= math.Exp(w.own[k].x)
		}
	}
	stratum, exposure := &w.strata[0], w.exposure
	if f.aheadOf > 0 || f.instanceSpread > 0 {
		host := w.rng.IntN(instances)
		u.rate *= w.spells[host]
		if f.aheadOf > 0 && uint64(host) == w.ahead {
			stratum, exposure = &w.strata[1], f.aheadOf
		}
	}
	arm := base
	if u.hash%evidence.MaxExposure < uint64(exposure) {
		arm = exposed
	}
	segment := f.segmentOf(u.hash)
	hit := harmed && arm == exposed && (f.harm.segment < 0 || f.harm.segment == segment)
	bucket := uint8(u.hash >> 58)
	for m := range f.metrics {
		if f.metrics[m].values {
			x := f.law.draw(w.rng) + u.slow + slow
			if hit && f.harm.move != nil {
				x = f.harm.move(w.rng, x)
			}
			stratum.addValue(m, arm, bucket, x)
			continue
		}
		p := share * u.rate
		if hit && m == 0 && f.harm.ratio > 0 {
			p *= f.harm.ratio
		}
		stratum.addRate(m, arm, segment, bucket, w.rng.Float64() < p)
	}
}

// arrive sorts the second's counts into the seconds in which the other contenders see them.
func (w *world) arrive(at int) {
	cell := 0
	for m := range w.family.metrics {
		for c := range w.family.metrics[m].cells {
			for arm := range arms {
				var a armTick
				for s := range w.strata {
					w.strata[s].tick(m, c, arm, &a)
				}
				w.deliver(at, cell, arm, &a)
			}
			cell++
		}
	}
}

func (w *world) deliver(at, cell, arm int, a *armTick) {
	switch d := w.family.delivery; {
	case d == deliverLag && arm == exposed:
		w.put(at+lagSeconds, cell, arm, a)
	case d == deliverLate && arm == exposed && w.late:
		w.put(at+lateSeconds, cell, arm, a)
	case d == deliverByOutcome:
		w.put(at, cell, arm, &armTick{n: a.bad, bad: a.bad})
		w.put(at+lagSeconds, cell, arm, &armTick{n: a.n - a.bad})
	default:
		w.put(at, cell, arm, a)
	}
}

func (w *world) put(at, cell, arm int, a *armTick) {
	slot := &w.queue[at%maxDelay]
	if *slot == nil {
		*slot = make([]cellTick, w.family.cells())
	}
	(*slot)[cell][arm].add(a)
}

// stratumCounts are the counts of one stratum in one second.
type stratumCounts struct {
	family *family
	rates  [][]([arms]bucketCounts) // metric, cell
	values [][arms]valueCounts      // metric
}

type bucketCounts struct{ n, bad [evidence.UnitBuckets]uint32 }

type valueCounts struct {
	hist         *evidence.Hist
	n            [evidence.UnitBuckets]uint32
	score        [evidence.UnitBuckets]int64
	bins         []uint64 // bucket and bin of the exposed arm's values
	sum, squares float64
}

func newStratumCounts(f *family) stratumCounts {
	s := stratumCounts{family: f, rates: make([][][arms]bucketCounts, len(f.metrics)), values: make([][arms]valueCounts, len(f.metrics))}
	for m := range f.metrics {
		s.rates[m] = make([][arms]bucketCounts, f.metrics[m].cells)
	}
	return s
}

func (s *stratumCounts) reset() {
	for m := range s.rates {
		if s.family.metrics[m].values {
			for arm := range arms {
				s.values[m][arm] = valueCounts{hist: evidence.NewHist(histScale), bins: s.values[m][arm].bins[:0]}
			}
			continue
		}
		clear(s.rates[m])
	}
}

func (s *stratumCounts) addRate(m, arm, segment int, bucket uint8, bad bool) {
	y := uint32(0)
	if bad {
		y = 1
	}
	cells := s.rates[m]
	c := &cells[0][arm]
	c.n[bucket]++
	c.bad[bucket] += y
	if len(cells) > 1 {
		c = &cells[1+segment][arm]
		c.n[bucket]++
		c.bad[bucket] += y
	}
}

// addValue takes a value as its logarithm.
func (s *stratumCounts) addValue(m, arm int, bucket uint8, lnX float64) {
	v := &s.values[m][arm]
	bin := int32(math.Ceil(lnX*binsPerUnit)) - 1
	v.hist.AddBin(bin, 1)
	v.n[bucket]++
	x := math.Exp(lnX)
	v.sum += x
	v.squares += x * x
	if arm == base {
		v.score[bucket] += evidence.Score(histScale, bin)
		return
	}
	v.bins = append(v.bins, uint64(bucket)<<32|uint64(uint32(bin+1<<30)))
}

// tick adds what the other contenders are told of a cell.
func (s *stratumCounts) tick(m, cell, arm int, into *armTick) {
	if s.family.metrics[m].values {
		v := &s.values[m][arm]
		into.add(&armTick{n: float64(v.hist.Count()), sum: v.sum, squares: v.squares, hist: v.hist})
		return
	}
	c := &s.rates[m][cell][arm]
	for k, n := range c.n {
		into.n += float64(n)
		into.bad += float64(c.bad[k])
	}
}

// second is the evidence of the second as it is stored and judged.
func (w *world) second(at int) evidence.Second {
	out := evidence.Second{At: epoch + int64(at), Through: 1, Members: 1}
	for i := range w.strata {
		for m := range w.family.metrics {
			for arm := range arms {
				b, ok := w.strata[i].block(m, arm)
				if !ok {
					continue
				}
				b.Second, b.Rollout, b.Cohort, b.Lease = out.At, rolloutName, cohortName, evidence.LeaseHeld
				b.Revision, b.Exposure = uint64(10*(w.stage+1)+i), w.exposure
				if i > 0 {
					b.Exposure = w.family.aheadOf
				}
				out.Blocks = append(out.Blocks, b)
			}
		}
	}
	evidence.SortBlocks(out.Blocks)
	return out
}

var armNames = [arms]string{evidence.ArmBaseline, evidence.ArmExposed}

func (s *stratumCounts) block(m, arm int) (evidence.Block, bool) {
	metric := &s.family.metrics[m]
	b := evidence.Block{Metric: metric.name, Assigned: armNames[arm], Served: armNames[arm]}
	if metric.values {
		v := &s.values[m][arm]
		c := v.cell(arm)
		b.N, b.Hist, b.Cells = c.N, v.hist, []evidence.Cell{c}
		return b, b.N > 0
	}
	for cell := range s.rates[m] {
		c := s.rates[m][cell][arm].cell()
		c.Dim = evidence.DimTotal
		if cell > 0 {
			c.Dim, c.Value = evidence.DimSource, sourceName(cell-1)
		}
		if c.N > 0 {
			b.Cells = append(b.Cells, c)
		}
	}
	if len(b.Cells) == 0 {
		return b, false
	}
	b.N, b.Bad = b.Cells[0].N, b.Cells[0].Bad
	return b, true
}

func sourceName(i int) string { return "feed=" + strconv.Itoa(i) }

func (c *bucketCounts) cell() (out evidence.Cell) {
	for k, n := range c.n {
		if n > 0 {
			out.Buckets = append(out.Buckets, evidence.UnitBucket{K: uint8(k), N: uint64(n), Bad: uint64(c.bad[k])})
			out.N, out.Bad = out.N+uint64(n), out.Bad+uint64(c.bad[k])
		}
	}
	return out
}

func (v *valueCounts) cell(arm int) evidence.Cell {
	out := evidence.Cell{Dim: evidence.DimTotal}
	for k, n := range v.n {
		if n > 0 {
			out.Buckets = append(out.Buckets, evidence.UnitBucket{K: uint8(k), N: uint64(n), Sum: v.score[k]})
			out.N += uint64(n)
		}
	}
	if arm == exposed {
		out.ExposedHistByBucket = binsOf(v.bins)
	}
	return out
}

// binsOf sorts and counts equal entries.
func binsOf(list []uint64) []evidence.BucketBin {
	slices.Sort(list)
	var out []evidence.BucketBin
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && list[j] == list[i] {
			j++
		}
		out = append(out, evidence.BucketBin{K: uint8(list[i] >> 32), Bin: int32(uint32(list[i])) - 1<<30, Count: uint64(j - i)})
		i = j
	}
	return out
}
