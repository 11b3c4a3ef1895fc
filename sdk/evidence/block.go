// Package evidence holds what a component knows of the requests it served, in the only form in which Sluice judges it:
// counts of one UTC second of request START time, split by stratum (revision, exposure), arm and one dimension at a time.
// Never raw events, never totals pooled over stages. Counts are increments and add up, so blocks of many instances merge.
package evidence

// Unit buckets per cell: a fixed, salted hash of the unit (package flag) in 0..UnitBuckets-1.
const UnitBuckets = 64

// Dimensions of a cell.
const (
	DimTotal    = "total"
	DimSegment  = "segment"  // value "<attribute>=<value>"
	DimSource   = "source"   // value "<attribute>=<value>" of a data source
	DimInstance = "instance" // filled in by the server
)

// Arms as they stand on the wire.
const (
	ArmBaseline = "baseline"
	ArmExposed  = "exposed"
)

// Lease states as they stand on the wire.
const (
	LeaseHeld   = "held"
	LeaseLapsed = "lapsed"
)

// Metric kinds.
const (
	KindProportion = "proportion" // each observation is good or bad
	KindValue      = "value"      // each observation is a value, kept as a histogram; badAbove/badBelow add a proportion
)

// MetricError is the built-in proportion "the request ended with an error or never ended".
const MetricError = "error"

// MetricAssignment is the built-in proportion of requests whose arm is not the one that the unit's hash gives. Only
// mismatches are observed; the requests are those of MetricError.
const MetricAssignment = "assignment"

// Metric says how observations of one name are kept. It travels in the rollout's scope.
type Metric struct {
	Kind     string   `json:"kind"`
	BadAbove *float64 `json:"badAbove,omitempty"` // an observation above it counts as bad
	BadBelow *float64 `json:"badBelow,omitempty"` // an observation below it counts as bad
	Scale    int      `json:"scale,omitempty"`    // histogram scale, 5..10; 0 means 5
	SettleMs int64    `json:"settleMs,omitempty"` // a block closes at the latest this long after its start; 0 means 3000
	Once     bool     `json:"once,omitempty"`     // one observation per unit and rollout (scoredOnce)
}

// Block is one (second, rollout, cohort, revision, exposure, lease, assigned, served, metric) of one boot.
// A (second, key) never changes its revision or arm; N, Bad, Hist and Cells are increments since the last block sent for it.
type Block struct {
	Second   int64  `json:"second"` // unix seconds of request start, server time
	Rollout  string `json:"rollout"`
	Cohort   string `json:"cohort"`
	Revision uint64 `json:"revision"`
	Exposure uint32 `json:"exposure"` // parts of 100,000
	Lease    string `json:"lease"`
	Assigned string `json:"assigned"`
	Served   string `json:"served"`
	Metric   string `json:"metric"`
	N        uint64 `json:"n"`
	Bad      uint64 `json:"bad"`
	Hist     *Hist  `json:"hist,omitempty"`
	Cells    []Cell `json:"cells,omitempty"`
	Open     uint64 `json:"open"` // requests begun in Second and not ended at sending; an absolute number
}

// Cell is one value of one dimension within a block. Buckets is sparse and ordered by K; its N and Bad sum to the cell's.
type Cell struct {
	Dim                 string       `json:"dim"`
	Value               string       `json:"value,omitempty"`
	N                   uint64       `json:"n"`
	Bad                 uint64       `json:"bad"`
	Hist                *Hist        `json:"hist,omitempty"`
	Buckets             []UnitBucket `json:"buckets,omitempty"`
	ExposedHistByBucket []BucketBin  `json:"exposedHistByBucket,omitempty"` // exposed arm of value metrics only, ordered by (K, Bin)
}

// UnitBucket holds the counts of one unit bucket. Sum is there for values of the baseline arm only, whose bins are not kept
// by unit bucket: the sum of Score over the values. Without it one heavy baseline unit would pass for harm of the exposed arm.
type UnitBucket struct {
	K   uint8  `json:"k"`
	N   uint64 `json:"n"`
	Bad uint64 `json:"bad"`
	Sum int64  `json:"sum,omitempty"`
}

// BucketBin is the count of one histogram bin within one unit bucket.
type BucketBin struct {
	K     uint8  `json:"k"`
	Bin   int32  `json:"bin"`
	Count uint64 `json:"count"`
}

// Hist is a sparse base-2 exponential histogram in the OTLP layout for values >= 0: bin i (absolute index Offset+i) holds
// values in (base^(i), base^(i+1)] with base = 2^(2^-Scale); Zero holds values <= 0 (and below the smallest index).
type Hist struct {
	Scale  int      `json:"scale"`
	Offset int32    `json:"offset"`
	Counts []uint64 `json:"counts,omitempty"`
	Zero   uint64   `json:"zero,omitempty"`
}
