package evidence

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Limits of an Accumulator.
const (
	MaxDims      = 16      // declared segments and sources together
	MaxValues    = 256     // values of one of them kept apart; later ones count as "other"
	MaxValueName = 128     // bytes of a value; longer ones count as "other"
	maxOnce      = 1 << 18 // units remembered for metrics with Once
	shardCount   = 8       // divides UnitBuckets
	localBuckets = UnitBuckets / shardCount
)

// OtherValue is the value under which all values beyond the limits of a dimension are counted.
const OtherValue = "other"

// AccumulatorConfig says what one open rollout measures. It comes from the rollout's scope.
type AccumulatorConfig struct {
	Rollout  string
	Metrics  map[string]Metric // without MetricError, which is always there
	Segments []string          // attributes whose values get cells of their own
	Sources  []string          // attributes that name a data source
	MaxOpen  int64             // seconds after which an open request is given up and counted in Stats.Abandoned; 0 means 900
}

// SlotKey is under what a request counts: the stratum it was evaluated in, its arms and the lease it was served under.
type SlotKey struct {
	Cohort   string
	Revision uint64
	Exposure uint32
	Lease    string // LeaseHeld or LeaseLapsed
	Assigned string // ArmBaseline or ArmExposed
	Served   string
}

// KeyID, MetricID and ValueID stand for a SlotKey, a metric and a dimension's value in one Accumulator.
type (
	KeyID    uint32
	MetricID uint16
	ValueID  uint16
)

// ErrorMetric is the MetricID of MetricError in every Accumulator.
const ErrorMetric MetricID = 0

// Values holds the resolved value of each dimension, in the order of Accumulator.Dims; 0 where the request has none.
type Values [MaxDims]ValueID

// Unit is the unit of a request: its hash, for metrics with Once, and its unit bucket (package flag), below UnitBuckets.
type Unit struct {
	Hash   uint64
	Bucket uint8
}

// Stats counts what an Accumulator could not keep as declared. All grow only.
type Stats struct {
	Overflow  uint64 // observations counted under OtherValue, per dimension and metric
	Abandoned uint64 // requests open for longer than MaxOpen
	Once      uint64 // observations dropped because their unit had been observed, or too many units were
}

// Accumulator collects the evidence of one rollout in one process. All methods may be called at the same time.
//
// A request resolves what it knows beforehand: Key, Value and Metric turn names into numbers and are cheap once they have
// seen a name. Begin opens the request in the second it started, Slot.Observe counts, Slot.End closes it and counts
// MetricError. None of these allocate once a second is under way. Flush returns what has been counted since the last Flush.
//
// Requests are spread over shards by unit bucket, so that the parts of a cell's bucket list never meet in two shards.
type Accumulator struct {
	rollout  string
	maxOpen  int64
	metrics  []metricDef // [0] is MetricError, the others sorted by name
	features map[string]featureIDs
	dims     []*dimension
	values   atomic.Pointer[[]valueDef] // by ValueID; [0] unused
	keys     atomic.Pointer[keyTable]
	intern   sync.Mutex   // guards growing values and keys
	closed   atomic.Int64 // no request can begin at or before this second
	flushing sync.Mutex   // one Flush at a time
	shards   [shardCount]shard

	overflow, abandoned, onceDropped atomic.Uint64
}

type metricDef struct {
	name  string
	def   Metric
	scale int         // 0: no histogram
	once  int         // index among the metrics with Once, -1 for others
	seen  atomic.Bool // something was ever observed: from then on its open requests are reported
}

type dimension struct {
	dim    string // DimSegment or DimSource
	attr   string
	other  ValueID
	byName atomic.Pointer[map[string]ValueID]
}

type valueDef struct {
	dim   int
	name  string // "<attribute>=<value>"
	other ValueID
}

type keyTable struct {
	byKey map[SlotKey]KeyID
	list  []SlotKey
}

// NewAccumulator returns an empty Accumulator. It refuses names that CheckBlocks would refuse, more than MaxDims
// dimensions, and a scale outside MinScale..MaxScale.
func NewAccumulator(cfg AccumulatorConfig) (*Accumulator, error) {
	a := &Accumulator{rollout: cfg.Rollout, maxOpen: cfg.MaxOpen}
	if a.maxOpen <= 0 {
		a.maxOpen = 900
	}
	if !goodName(cfg.Rollout, MaxName) {
		return nil, refuse(CodeName, "rollout", fmt.Sprintf("1 to %d bytes", MaxName), quoted(cfg.Rollout))
	}
	if n := len(cfg.Segments) + len(cfg.Sources); n > MaxDims {
		return nil, refuse(CodeDim, "segments and sources", MaxDims, n)
	}
	if err := a.addMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	a.values.Store(&[]valueDef{{}})
	a.keys.Store(&keyTable{byKey: map[SlotKey]KeyID{}})
	for _, attr := range cfg.Segments {
		if err := a.addDim(DimSegment, attr); err != nil {
			return nil, err
		}
	}
	for _, attr := range cfg.Sources {
		if err := a.addDim(DimSource, attr); err != nil {
			return nil, err
		}
	}
	for i := range a.shards {
		a.shards[i].init(a, i)
	}
	return a, nil
}

func (a *Accumulator) addMetrics(metrics map[string]Metric) error {
	names := make([]string, 0, len(metrics))
	for name, m := range metrics {
		if name == MetricError {
			continue
		}
		if !goodName(name, MaxName) {
			return refuse(CodeName, "metrics", fmt.Sprintf("1 to %d bytes", MaxName), quoted(name))
		}
		if m.Kind != KindProportion && m.Kind != KindValue {
			return refuse(CodeDim, "metrics."+name+".kind", KindProportion+" or "+KindValue, quoted(m.Kind))
		}
		if m.Scale != 0 && (m.Scale < MinScale || m.Scale > MaxScale) {
			return refuse(CodeHistScale, "metrics."+name+".scale", fmt.Sprintf("%d..%d", MinScale, MaxScale), m.Scale)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	a.metrics = make([]metricDef, 1+len(names))
	a.metrics[0].name, a.metrics[0].def, a.metrics[0].once = MetricError, Metric{Kind: KindProportion}, -1
	a.metrics[0].seen.Store(true)
	once := 0
	for i, name := range names {
		m := &a.metrics[i+1]
		m.name, m.def, m.once = name, metrics[name], -1
		if m.def.Kind == KindValue {
			m.scale = max(m.def.Scale, MinScale)
		}
		if m.def.Once {
			m.once = once
			once++
		}
	}
	a.features = map[string]featureIDs{}
	for _, name := range names {
		a.features[name] = a.feature(name)
		for _, part := range FeatureParts() {
			if of, ok := strings.CutSuffix(name, part); ok {
				a.features[of] = a.feature(of)
			}
		}
	}
	return nil
}

func (a *Accumulator) addDim(dim, attr string) error {
	if !goodName(attr, MaxValueName-len("=")-len(OtherValue)) || strings.Contains(attr, "=") {
		return refuse(CodeName, dim, "an attribute's name without =", quoted(attr))
	}
	values := append(slices.Clone(*a.values.Load()), valueDef{dim: len(a.dims), name: attr + "=" + OtherValue})
	other := ValueID(len(values) - 1)
	values[other].other = other
	a.values.Store(&values)
	d := &dimension{dim: dim, attr: attr, other: other}
	d.byName.Store(&map[string]ValueID{OtherValue: other})
	a.dims = append(a.dims, d)
	return nil
}

// Dims returns the declared attributes in the order of Values: segments, then sources.
func (a *Accumulator) Dims() []string {
	names := make([]string, len(a.dims))
	for i, d := range a.dims {
		names[i] = d.attr
	}
	return names
}

// Metric returns the number of a metric; false if the rollout does not measure it.
func (a *Accumulator) Metric(name string) (MetricID, bool) {
	for i := range a.metrics {
		if a.metrics[i].name == name {
			return MetricID(i), true
		}
	}
	return 0, false
}

// Value returns the number of a value of the dimension with index dim. The first MaxValues values get numbers of their own,
// all others that of OtherValue, as do empty, long and unprintable ones. It allocates only for a value it has not seen.
func (a *Accumulator) Value(dim int, value string) ValueID {
	d := a.dims[dim]
	if id, ok := (*d.byName.Load())[value]; ok {
		return id
	}
	return a.newValue(dim, value)
}

func (a *Accumulator) newValue(dim int, value string) ValueID {
	a.intern.Lock()
	defer a.intern.Unlock()
	d := a.dims[dim]
	known := *d.byName.Load()
	if id, ok := known[value]; ok {
		return id
	}
	if len(known) > MaxValues || !goodName(value, MaxValueName) {
		return d.other
	}
	values := append(slices.Clone(*a.values.Load()), valueDef{dim: dim, name: d.attr + "=" + strings.Clone(value), other: d.other})
	id := ValueID(len(values) - 1)
	a.values.Store(&values)
	grown := make(map[string]ValueID, len(known)+1)
	for k, v := range known {
		grown[k] = v
	}
	grown[strings.Clone(value)] = id
	d.byName.Store(&grown)
	return id
}

// Key returns the number of a key. It allocates only for a key it has not seen; keys are few: strata times arms.
func (a *Accumulator) Key(k SlotKey) KeyID {
	if id, ok := a.keys.Load().byKey[k]; ok {
		return id
	}
	a.intern.Lock()
	defer a.intern.Unlock()
	old := a.keys.Load()
	if id, ok := old.byKey[k]; ok {
		return id
	}
	grown := &keyTable{byKey: make(map[SlotKey]KeyID, len(old.list)+1), list: append(slices.Clone(old.list), k)}
	for i, k := range grown.list {
		grown.byKey[k] = KeyID(i)
	}
	a.keys.Store(grown)
	return KeyID(len(grown.list) - 1)
}

// Begin opens a request in the second in which it started (unix seconds, server time). If that second is closed already,
// because the clock was read just before a Flush, the request counts in the first one that is not. Each Slot must be
// ended once, or its second stays open until MaxOpen has passed.
func (a *Accumulator) Begin(second int64, key KeyID, unit Unit, values *Values) Slot {
	bucket := unit.Bucket % UnitBuckets
	sh := &a.shards[bucket%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// Read under the lock: Flush raises it before it visits the shards, so it either shows here or Flush sees the request.
	if closed := a.closed.Load(); second <= closed {
		second = closed + 1
	}
	e := sh.entry(second, key)
	e.open++
	return Slot{acc: a, shard: sh, entry: e, gen: e.gen, unit: unit.Hash, bucket: bucket / shardCount, values: *values}
}

// Stats returns the counters.
func (a *Accumulator) Stats() Stats {
	return Stats{Overflow: a.overflow.Load(), Abandoned: a.abandoned.Load(), Once: a.onceDropped.Load()}
}

// Slot is one open request. It belongs to one goroutine at a time and must not be copied after use. The zero Slot ignores
// everything.
type Slot struct {
	acc    *Accumulator
	shard  *shard
	entry  *entry
	gen    uint64
	unit   uint64
	bucket uint8 // within the shard
	values Values
}

// Observe counts a value of a metric. NaN and infinite values count as bad and enter no histogram.
func (s *Slot) Observe(m MetricID, value float64) {
	if s.entry == nil || int(m) >= len(s.acc.metrics) {
		return
	}
	def := &s.acc.metrics[m].def
	s.observe(m, value, def.IsBad(value))
}

func (s *Slot) observe(m MetricID, value float64, bad bool) {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if s.entry.gen == s.gen {
		s.shard.count(s, m, value, bad)
	}
}

// End closes the request and counts MetricError, bad if failed. A second End does nothing.
func (s *Slot) End(failed bool) {
	if s.entry == nil {
		return
	}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	// A request that was given up finds its entry reused by another second.
	if s.entry.gen == s.gen {
		s.shard.count(s, ErrorMetric, 0, failed)
		s.entry.open--
	}
	s.entry = nil
}
