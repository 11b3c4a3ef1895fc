package evidence

import (
	"math"
	"sync"
)

// shard holds the requests of the unit buckets k with k mod shardCount equal to its index.
type shard struct {
	index   int // in Accumulator.shards
	mu      sync.Mutex
	acc     *Accumulator
	entries map[entryKey]*entry // by second and key
	free    []*entry            // for reuse, emptied
	gen     uint64              // of the entry taken last
	once    []map[uint64]struct{}
}

type entryKey struct {
	second int64
	key    KeyID
}

// entry is one (second, key): the open requests and, per metric, what was counted since the last Flush.
type entry struct {
	gen      uint64 // changes with each use, so that a Slot notices that its entry is gone
	exposed  bool   // assigned to the exposed arm: bins are kept by unit bucket too
	open     uint64
	reported uint64 // open at the last Flush
	metrics  []metricCount
}

// metricCount holds the cells of one metric: [0] the total, then one per value seen.
type metricCount struct {
	cells []cellCount
	at    []uint16 // cell of a ValueID, 0 if it has none yet
	used  int      // cells in use; those behind are kept for their memory
}

type cellCount struct {
	value   ValueID // 0: total
	n, bad  [localBuckets]uint64
	sum     [localBuckets]int64 // of scores; baseline arm
	hist    Hist
	binned  []BucketBin // exposed arm; K within the shard, Bin at the metric's own scale
	ordered int         // length of binned after the last fold
}

type observation struct {
	value   float64
	bad     bool
	bucket  uint8 // within the shard
	scale   int   // 0: no histogram
	exposed bool
}

func (sh *shard) init(a *Accumulator, index int) {
	sh.acc, sh.index = a, index
	sh.entries = make(map[entryKey]*entry)
	for i := range a.metrics {
		if a.metrics[i].once >= 0 {
			sh.once = append(sh.once, make(map[uint64]struct{}))
		}
	}
}

func (sh *shard) entry(second int64, key KeyID) *entry {
	k := entryKey{second, key}
	if e := sh.entries[k]; e != nil {
		return e
	}
	var e *entry
	if n := len(sh.free); n > 0 {
		e, sh.free = sh.free[n-1], sh.free[:n-1]
	} else {
		e = &entry{metrics: make([]metricCount, len(sh.acc.metrics))}
	}
	sh.gen++
	e.gen, e.exposed = sh.gen, sh.acc.keys.Load().list[key].Assigned == ArmExposed
	sh.entries[k] = e
	return e
}

// release empties an entry that will not be needed again.
func (sh *shard) release(k entryKey, e *entry) {
	delete(sh.entries, k)
	e.gen, e.open, e.reported = 0, 0, 0
	for i := range e.metrics {
		e.metrics[i].reset()
	}
	if len(sh.free) < 64 {
		sh.free = append(sh.free, e)
	}
}

func (sh *shard) count(s *Slot, m MetricID, value float64, bad bool) {
	a := sh.acc
	def := &a.metrics[m]
	if def.once >= 0 && !sh.first(def.once, s.unit) {
		a.onceDropped.Add(1)
		return
	}
	if !def.seen.Load() {
		def.seen.Store(true)
	}
	mc := &s.entry.metrics[m]
	o := observation{value: value, bad: bad, bucket: s.bucket, scale: def.scale, exposed: s.entry.exposed}
	mc.add(0, o)
	for i := range a.dims {
		v := s.values[i]
		if v == 0 {
			continue
		}
		if v == a.dims[i].other {
			a.overflow.Add(1)
		}
		mc.add(v, o)
	}
}

// first reports whether the unit is observed for the first time. Once too many units are known it says no: a second
// observation of a unit would void the error bound, a missing one only costs time.
func (sh *shard) first(once int, unit uint64) bool {
	units := sh.once[once]
	if _, ok := units[unit]; ok || len(units) >= maxOnce/shardCount {
		return false
	}
	units[unit] = struct{}{}
	return true
}

// add counts one observation in the cell of the value; 0 is the total, which is always cell 0.
func (mc *metricCount) add(v ValueID, o observation) {
	c := mc.cell(v, o.scale)
	c.n[o.bucket]++
	if o.bad {
		c.bad[o.bucket]++
	}
	if o.scale == 0 || math.IsNaN(o.value) || math.IsInf(o.value, 0) {
		return
	}
	c.hist.Add(o.value)
	if bin := Index(o.scale, o.value); o.exposed {
		c.log(BucketBin{K: o.bucket, Bin: bin, Count: 1})
	} else {
		c.sum[o.bucket] += Score(o.scale, bin)
	}
}

func (mc *metricCount) cell(v ValueID, scale int) *cellCount {
	if mc.used == 0 {
		mc.take(0, scale)
	}
	if v == 0 {
		return &mc.cells[0]
	}
	for int(v) >= len(mc.at) {
		mc.at = append(mc.at, 0)
	}
	if mc.at[v] == 0 {
		mc.at[v] = uint16(mc.used)
		mc.take(v, scale)
	}
	return &mc.cells[mc.at[v]]
}

func (mc *metricCount) take(v ValueID, scale int) {
	if mc.used == len(mc.cells) {
		mc.cells = append(mc.cells, cellCount{})
	}
	c := &mc.cells[mc.used]
	c.value = v
	if scale != 0 {
		c.hist.Reset(scale)
	}
	mc.used++
}

func (mc *metricCount) reset() {
	clear(mc.at)
	for i := range mc.cells[:mc.used] {
		c := &mc.cells[i]
		c.value, c.ordered, c.binned = 0, 0, c.binned[:0]
		c.n, c.bad, c.sum = [localBuckets]uint64{}, [localBuckets]uint64{}, [localBuckets]int64{}
	}
	mc.used = 0
}

// log notes the bin of one observation. The list is folded before it would grow, so it stays as long as there are
// different (bucket, bin) pairs, times two.
func (c *cellCount) log(u BucketBin) {
	if len(c.binned) == cap(c.binned) && len(c.binned) >= 2*c.ordered && len(c.binned) > 0 {
		c.binned = foldBucketBins(c.binned)
		c.ordered = len(c.binned)
	}
	c.binned = append(c.binned, u)
}
