package evidence

import (
	"cmp"
	"math"
	"slices"
)

// Flush returns what was counted since the last Flush, as blocks in canonical order, and the last second through which
// everything is told: no request that began at or before it is open, and none can begin there any more. now is the unix
// second of the server's clock; the seconds before it are closed. through never falls.
//
// A block's Open is the number of its requests open now. A block with Open 0 of a second before now is final. A metric's
// open requests are reported from its first observation in this process on: a component does not answer for metrics it
// never measures. A request open for more than MaxOpen seconds is given up: its block becomes final without it.
func (a *Accumulator) Flush(now int64) (blocks []Block, through int64) {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	if now-1 > a.closed.Load() {
		a.closed.Store(now - 1)
	}
	through = a.closed.Load()
	sum := &flushSum{acc: a, at: make(map[entryKey]int)}
	for i := range a.shards {
		oldest := a.shards[i].flush(sum, through, now-a.maxOpen)
		through = min(through, oldest-1)
	}
	return sum.blocks(), through
}

// flush moves the counts of the shard into sum and returns the oldest second with an open request.
func (sh *shard) flush(sum *flushSum, closed, giveUp int64) (oldest int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	oldest = math.MaxInt64
	for k, e := range sh.entries {
		if e.open > 0 && k.second < giveUp {
			sh.acc.abandoned.Add(e.open)
			e.open = 0
		}
		sum.add(k, e, sh.index)
		e.reported = e.open
		switch {
		case e.open > 0:
			oldest = min(oldest, k.second)
			e.forget()
		case k.second <= closed:
			sh.release(k, e)
		default:
			e.forget()
		}
	}
	return oldest
}

func (e *entry) forget() {
	for i := range e.metrics {
		e.metrics[i].reset()
	}
}

// flushSum adds up the shards. groups holds one per (second, key), each with one part per metric.
type flushSum struct {
	acc    *Accumulator
	at     map[entryKey]int
	groups []flushGroup
}

type flushGroup struct {
	key            entryKey
	open, reported uint64
	parts          []flushPart // by MetricID
}

type flushPart struct {
	cells []Cell
	at    map[ValueID]int
	some  bool
}

func (f *flushSum) add(k entryKey, e *entry, shard int) {
	i, ok := f.at[k]
	if !ok {
		i = len(f.groups)
		f.at[k] = i
		f.groups = append(f.groups, flushGroup{key: k, parts: make([]flushPart, len(f.acc.metrics))})
	}
	g := &f.groups[i]
	g.open += e.open
	g.reported += e.reported
	for m := range e.metrics {
		f.addMetric(g, MetricID(m), &e.metrics[m], shard)
	}
}

func (f *flushSum) addMetric(g *flushGroup, m MetricID, mc *metricCount, shard int) {
	p := &g.parts[m]
	if mc.used > 0 && !p.some {
		p.some, p.at = true, make(map[ValueID]int)
	}
	for i := range mc.cells[:mc.used] {
		from := &mc.cells[i]
		j, ok := p.at[from.value]
		if !ok {
			j = len(p.cells)
			p.at[from.value] = j
			p.cells = append(p.cells, f.newCell(from.value))
		}
		f.addCell(&p.cells[j], from, shard, f.acc.metrics[m].scale, f.exposed(g))
	}
}

func (f *flushSum) exposed(g *flushGroup) bool { return f.key(g).Assigned == ArmExposed }

func (f *flushSum) key(g *flushGroup) SlotKey { return f.acc.keys.Load().list[g.key.key] }

func (f *flushSum) newCell(v ValueID) Cell {
	if v == 0 {
		return Cell{Dim: DimTotal}
	}
	def := (*f.acc.values.Load())[v]
	return Cell{Dim: f.acc.dims[def.dim].dim, Value: def.name}
}

// addCell adds a shard's part of a cell. Bins stay at the metric's own scale until all parts are there.
func (f *flushSum) addCell(c *Cell, from *cellCount, shard, scale int, exposed bool) {
	for local := range from.n {
		if n := from.n[local]; n > 0 {
			c.N += n
			c.Bad += from.bad[local]
			c.Buckets = append(c.Buckets, UnitBucket{K: globalBucket(uint8(local), shard), N: n, Bad: from.bad[local], Sum: from.sum[local]})
		}
	}
	if scale == 0 {
		return
	}
	c.Hist = addHist(c.Hist, &from.hist)
	if !exposed {
		return
	}
	for _, u := range from.binned {
		u.K = globalBucket(u.K, shard)
		c.ExposedHistByBucket = append(c.ExposedHistByBucket, u)
	}
}

func globalBucket(local uint8, shard int) uint8 { return local*shardCount + uint8(shard) }

// blocks builds the blocks that have something to tell: counts, or another number of open requests than last time.
func (f *flushSum) blocks() []Block {
	var out []Block
	for i := range f.groups {
		g := &f.groups[i]
		for m := range g.parts {
			def, p := &f.acc.metrics[m], &g.parts[m]
			if !p.some && (g.open == g.reported || !def.seen.Load()) {
				continue
			}
			k := f.key(g)
			b := Block{
				Second: g.key.second, Rollout: f.acc.rollout, Cohort: k.Cohort, Revision: k.Revision, Exposure: k.Exposure,
				Lease: k.Lease, Assigned: k.Assigned, Served: k.Served, Metric: def.name, Open: g.open,
			}
			b.Cells = f.limit(p)
			b.finish(def.scale)
			out = append(out, b)
		}
	}
	SortBlocks(out)
	return out
}

// finish moves the total's numbers into the block and brings the lists of its cells into order.
func (b *Block) finish(scale int) {
	for i := range b.Cells {
		c := &b.Cells[i]
		c.Buckets = sortBuckets(c.Buckets)
		if c.Hist != nil {
			c.rescale(scale, c.Hist.Scale)
			c.ExposedHistByBucket = foldBucketBins(c.ExposedHistByBucket)
		}
		if c.Dim == DimTotal {
			b.N, b.Bad, b.Hist = c.N, c.Bad, c.Hist
			c.Hist = nil
		}
	}
}

// limit returns the part's cells, at most MaxCells of them: if there are more, the values with the fewest observations
// are added to "other" of their dimension.
func (f *flushSum) limit(p *flushPart) []Cell {
	if len(p.cells) <= MaxCells {
		return p.cells
	}
	values := *f.acc.values.Load()
	order := make([]ValueID, 0, len(p.at))
	for v := range p.at {
		order = append(order, v)
	}
	// The total and the "other" cells come first and stay, then the values by size.
	rank := func(v ValueID) int {
		if v == 0 || values[v].other == v {
			return 0
		}
		return 1
	}
	slices.SortFunc(order, func(a, b ValueID) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(p.cells[p.at[b]].N, p.cells[p.at[a]].N), cmp.Compare(a, b))
	})
	kept := make([]Cell, 0, MaxCells)
	others := make(map[ValueID]int)
	for _, v := range order[:MaxCells-len(f.acc.dims)] {
		if rank(v) == 0 {
			others[v] = len(kept)
		}
		kept = append(kept, p.cells[p.at[v]])
	}
	for _, v := range order[MaxCells-len(f.acc.dims):] {
		other, from := values[v].other, &p.cells[p.at[v]]
		i, ok := others[other]
		if !ok {
			i = len(kept)
			others[other] = i
			kept = append(kept, f.newCell(other))
		}
		f.acc.overflow.Add(from.N)
		kept[i].absorb(from)
	}
	return kept
}

// absorb adds a cell whose lists are not in order yet and whose bins are at the metric's own scale.
func (c *Cell) absorb(o *Cell) {
	c.N += o.N
	c.Bad += o.Bad
	c.Buckets = append(c.Buckets, o.Buckets...)
	if o.Hist != nil {
		c.Hist = addHist(c.Hist, o.Hist)
	}
	c.ExposedHistByBucket = append(c.ExposedHistByBucket, o.ExposedHistByBucket...)
}

// sortBuckets sorts by K and adds up equal ones, in place.
func sortBuckets(list []UnitBucket) []UnitBucket {
	slices.SortFunc(list, func(a, b UnitBucket) int { return cmp.Compare(a.K, b.K) })
	n := 0
	for _, u := range list {
		if n > 0 && list[n-1].K == u.K {
			list[n-1].N += u.N
			list[n-1].Bad += u.Bad
			list[n-1].Sum += u.Sum
			continue
		}
		list[n] = u
		n++
	}
	return list[:n]
}
