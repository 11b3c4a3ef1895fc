package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of what one request may carry.
const (
	MaxBlocks     = 4096    // blocks a request
	MaxCells      = 512     // cells a block
	MaxCount      = 1 << 53 // every count is below it, so every JSON reader holds it exactly
	MaxName       = 253     // bytes of a rollout, cohort or metric name
	MaxValue      = 256     // bytes of a cell's value
	MaxAge        = 86_400  // seconds a block's second may lie before now
	MaxAhead      = 5       // seconds it may lie after now
	MaxExposure   = 100_000 // parts of 100,000
	MaxBucketBins = UnitBuckets * MaxBins
)

// Codes of the errors of this package.
const (
	CodeJSON      = "evidence.json"       // not JSON of the expected shape
	CodeBlocks    = "evidence.blocks"     // more than MaxBlocks blocks
	CodeDuplicate = "evidence.duplicate"  // the same second and key, cell or bucket twice
	CodeSecond    = "evidence.second"     // a second that cannot be
	CodeName      = "evidence.name"       // an empty, long or unprintable name or value
	CodeExposure  = "evidence.exposure"   // more than MaxExposure
	CodeArm       = "evidence.arm"        // an unknown arm
	CodeLease     = "evidence.lease"      // an unknown lease state
	CodeDim       = "evidence.dim"        // an unknown dimension, or one the sender may not fill in
	CodeCount     = "evidence.count"      // a count of MaxCount or more
	CodeBad       = "evidence.bad"        // more bad than all
	CodeSum       = "evidence.sum"        // parts that do not add up to the whole
	CodeCells     = "evidence.cells"      // more than MaxCells cells, or no total
	CodeBuckets   = "evidence.buckets"    // unit buckets out of order or out of range
	CodeHistScale = "evidence.hist-scale" // a scale outside MinScale..MaxScale, or one that does not match
	CodeHistBins  = "evidence.hist-bins"  // more than MaxBins bins
	CodeHistRange = "evidence.hist-range" // bins outside the range of values
)

// Error names the field that was refused, the limit it broke and what was found there.
type Error struct {
	Code  string `json:"code"`
	Field string `json:"field"` // e.g. "blocks[3].cells[7].n"
	Limit string `json:"limit,omitempty"`
	Got   string `json:"got,omitempty"`
}

// Error says it in one line.
func (e *Error) Error() string {
	s := e.Field + ": " + e.Code
	if e.Limit != "" {
		s += ", limit " + e.Limit
	}
	if e.Got != "" {
		s += ", got " + e.Got
	}
	return s
}

// refuse builds an Error; limit and got are printed as they are.
func refuse(code, field string, limit, got any) *Error {
	return &Error{Code: code, Field: field, Limit: fmt.Sprint(limit), Got: fmt.Sprint(got)}
}

// DecodeBlocks reads a JSON array of blocks strictly (no unknown members, nothing behind it) and checks it with CheckBlocks.
func DecodeBlocks(data []byte, now int64) ([]Block, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var blocks []Block
	if err := dec.Decode(&blocks); err != nil {
		var known *Error
		if errors.As(err, &known) {
			return nil, known
		}
		return nil, &Error{Code: CodeJSON, Field: "blocks", Got: err.Error()}
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, &Error{Code: CodeJSON, Field: "blocks", Got: "data behind the array"}
	}
	if err := CheckBlocks(blocks, now); err != nil {
		return nil, err
	}
	return blocks, nil
}

// CheckBlocks checks what a component sent. now is the server's unix second; 0 leaves out the comparison with it.
// Instance cells are refused: only the server knows who sent a block. The first fault found is returned as *Error.
func CheckBlocks(blocks []Block, now int64) error {
	if len(blocks) > MaxBlocks {
		return refuse(CodeBlocks, "blocks", MaxBlocks, len(blocks))
	}
	seen := make(map[BlockKey]bool, len(blocks))
	for i := range blocks {
		b, at := &blocks[i], fmt.Sprintf("blocks[%d]", i)
		if seen[b.Key()] {
			return refuse(CodeDuplicate, at, "one block per second and key", b.Key())
		}
		seen[b.Key()] = true
		if now != 0 && (b.Second < now-MaxAge || b.Second > now+MaxAhead) {
			limit := fmt.Sprintf("%d..%d", now-MaxAge, now+MaxAhead)
			return refuse(CodeSecond, at+".second", limit, b.Second)
		}
		if err := b.check(at, false); err != nil {
			return err
		}
	}
	return nil
}

// Check checks a closed second: blocks as CheckBlocks wants them, all of one second, with instance cells allowed.
func (s *Second) Check() error {
	for i := range s.Blocks {
		b, at := &s.Blocks[i], fmt.Sprintf("blocks[%d]", i)
		if b.Second != s.At {
			return refuse(CodeSecond, at+".second", s.At, b.Second)
		}
		if i > 0 && compareBlocks(&s.Blocks[i-1], b) >= 0 {
			return refuse(CodeDuplicate, at, "ascending keys", b.Key())
		}
		if err := b.check(at, true); err != nil {
			return err
		}
	}
	return nil
}

func (b *Block) check(at string, server bool) error {
	if err := b.checkKey(at); err != nil {
		return err
	}
	if err := checkCounts(at, b.N, b.Bad); err != nil {
		return err
	}
	if b.Open >= MaxCount {
		return refuse(CodeCount, at+".open", uint64(MaxCount), b.Open)
	}
	if err := b.Hist.checkIn(at+".hist", b.N, b.Bad); err != nil {
		return err
	}
	return b.checkCells(at, server)
}

func (b *Block) checkKey(at string) error {
	switch {
	case b.Second <= 0 || b.Second >= 1<<40:
		return refuse(CodeSecond, at+".second", "1..2^40", b.Second)
	case b.Exposure > MaxExposure:
		return refuse(CodeExposure, at+".exposure", MaxExposure, b.Exposure)
	case b.Lease != LeaseHeld && b.Lease != LeaseLapsed:
		return refuse(CodeLease, at+".lease", LeaseHeld+" or "+LeaseLapsed, quoted(b.Lease))
	case !knownArm(b.Assigned):
		return refuse(CodeArm, at+".assigned", ArmBaseline+" or "+ArmExposed, quoted(b.Assigned))
	case !knownArm(b.Served):
		return refuse(CodeArm, at+".served", ArmBaseline+" or "+ArmExposed, quoted(b.Served))
	case b.Revision >= MaxCount:
		return refuse(CodeCount, at+".revision", uint64(MaxCount), b.Revision)
	}
	for _, n := range [...]struct{ field, name string }{{"rollout", b.Rollout}, {"cohort", b.Cohort}, {"metric", b.Metric}} {
		if !goodName(n.name, MaxName) {
			return refuse(CodeName, at+"."+n.field, fmt.Sprintf("1 to %d bytes of printable text", MaxName), quoted(n.name))
		}
	}
	return nil
}

// checkCells checks the cells and that they are parts of the block: the total equals it, the values of one attribute are
// at most all of it (a request may lack the attribute).
func (b *Block) checkCells(at string, server bool) error {
	if !server && len(b.Cells) > MaxCells {
		return refuse(CodeCells, at+".cells", MaxCells, len(b.Cells))
	}
	if b.N > 0 && len(b.Cells) == 0 {
		return refuse(CodeCells, at+".cells", "a total cell", "none")
	}
	total := 0
	sums := make(map[string][2]uint64)
	seen := make(map[[2]string]bool, len(b.Cells))
	for i := range b.Cells {
		c, at := &b.Cells[i], fmt.Sprintf("%s.cells[%d]", at, i)
		if seen[[2]string{c.Dim, c.Value}] {
			return refuse(CodeDuplicate, at, "one cell per dimension and value", quoted(c.Value))
		}
		seen[[2]string{c.Dim, c.Value}] = true
		if err := c.check(at, b, server); err != nil {
			return err
		}
		if c.Dim == DimTotal {
			total++
			if c.N != b.N || c.Bad != b.Bad {
				return refuse(CodeSum, at, fmt.Sprintf("n %d, bad %d as the block", b.N, b.Bad), fmt.Sprintf("n %d, bad %d", c.N, c.Bad))
			}
			continue
		}
		attr, _, _ := strings.Cut(c.Value, "=")
		if c.Dim == DimInstance {
			attr = ""
		}
		sum := sums[c.Dim+" "+attr]
		sum[0] += c.N
		sum[1] += c.Bad
		if sum[0] > b.N || sum[1] > b.Bad {
			return refuse(CodeSum, at, fmt.Sprintf("n %d, bad %d of the block for all values", b.N, b.Bad), fmt.Sprintf("n %d, bad %d", sum[0], sum[1]))
		}
		sums[c.Dim+" "+attr] = sum
	}
	if b.N > 0 && total != 1 {
		return refuse(CodeCells, at+".cells", "one total cell", total)
	}
	return nil
}

func (c *Cell) check(at string, b *Block, server bool) error {
	switch c.Dim {
	case DimTotal:
		if c.Value != "" {
			return refuse(CodeDim, at+".value", "none for a total", quoted(c.Value))
		}
		if c.Hist != nil && !c.Hist.Equal(b.Hist) {
			return refuse(CodeSum, at+".hist", "the block's histogram or none", "another")
		}
	case DimSegment, DimSource:
		if attr, _, ok := strings.Cut(c.Value, "="); !ok || attr == "" || !goodName(c.Value, MaxValue) {
			return refuse(CodeName, at+".value", fmt.Sprintf("<attribute>=<value> of at most %d bytes", MaxValue), quoted(c.Value))
		}
	case DimInstance:
		if !server {
			return refuse(CodeDim, at+".dim", "total, segment or source", quoted(c.Dim))
		}
		if !goodName(c.Value, MaxValue) {
			return refuse(CodeName, at+".value", fmt.Sprintf("1 to %d bytes", MaxValue), quoted(c.Value))
		}
	default:
		return refuse(CodeDim, at+".dim", "total, segment, source or instance", quoted(c.Dim))
	}
	if err := checkCounts(at, c.N, c.Bad); err != nil {
		return err
	}
	if err := c.Hist.checkIn(at+".hist", c.N, c.Bad); err != nil {
		return err
	}
	if err := c.checkBuckets(at, b.HistOf(c)); err != nil {
		return err
	}
	return c.checkBucketBins(at, b)
}

// checkBuckets: ascending by K, adding up to the cell, and their sums, if there are any, to that of the histogram.
func (c *Cell) checkBuckets(at string, hist *Hist) error {
	last := -1
	var n, bad uint64
	var sum int64
	sums := false
	for i, u := range c.Buckets {
		at := fmt.Sprintf("%s.buckets[%d]", at, i)
		if int(u.K) <= last || u.K >= UnitBuckets {
			return refuse(CodeBuckets, at+".k", fmt.Sprintf("ascending, below %d", UnitBuckets), u.K)
		}
		last = int(u.K)
		if err := checkCounts(at, u.N, u.Bad); err != nil {
			return err
		}
		n += u.N
		bad += u.Bad
		sum += u.Sum
		sums = sums || u.Sum != 0
	}
	if sums {
		want := int64(0)
		if hist != nil {
			want, _ = hist.Scores()
		}
		if sum != want || c.Dim == DimInstance {
			return refuse(CodeSum, at+".buckets", fmt.Sprintf("sum %d of the histogram", want), sum)
		}
	}
	if n != c.N || bad != c.Bad {
		return refuse(CodeSum, at+".buckets", fmt.Sprintf("n %d, bad %d of the cell", c.N, c.Bad), fmt.Sprintf("n %d, bad %d", n, bad))
	}
	return nil
}

// checkBucketBins: only for the exposed arm of a metric with values, ascending by (K, Bin), adding up to the histogram.
func (c *Cell) checkBucketBins(at string, b *Block) error {
	if len(c.ExposedHistByBucket) == 0 {
		return nil
	}
	at += ".exposedHistByBucket"
	hist := b.HistOf(c)
	if b.Assigned != ArmExposed || hist == nil {
		return refuse(CodeArm, at, "only for the exposed arm of a metric with values", quoted(b.Assigned))
	}
	if len(c.ExposedHistByBucket) > MaxBucketBins {
		return refuse(CodeHistBins, at, MaxBucketBins, len(c.ExposedHistByBucket))
	}
	sum := NewHist(hist.Scale)
	for i, u := range c.ExposedHistByBucket {
		at := fmt.Sprintf("%s[%d]", at, i)
		if u.K >= UnitBuckets || i > 0 && compareBucketBins(c.ExposedHistByBucket[i-1], u) >= 0 {
			return refuse(CodeBuckets, at, fmt.Sprintf("ascending by k and bin, k below %d", UnitBuckets), u)
		}
		if u.Count == 0 || u.Count >= MaxCount {
			return refuse(CodeCount, at+".count", uint64(MaxCount), u.Count)
		}
		if hist.Bin(u.Bin) < u.Count {
			return refuse(CodeSum, at, "the histogram's bin", u)
		}
		sum.AddBin(u.Bin, u.Count)
	}
	if !sum.Equal(hist) {
		return refuse(CodeSum, at, "the histogram", "other counts")
	}
	return nil
}

// Check checks a histogram by itself: scale, range of bins, counts.
func (h *Hist) Check() error {
	if h.Scale < MinScale || h.Scale > MaxScale {
		return refuse(CodeHistScale, "hist.scale", fmt.Sprintf("%d..%d", MinScale, MaxScale), h.Scale)
	}
	if len(h.Counts) > MaxBins {
		return refuse(CodeHistBins, "hist.counts", MaxBins, len(h.Counts))
	}
	if len(h.Counts) > 0 && (h.Offset < minBin(h.Scale) || h.Offset > maxBin(h.Scale)-int32(len(h.Counts))+1) {
		return refuse(CodeHistRange, "hist.offset", fmt.Sprintf("bins %d..%d", minBin(h.Scale), maxBin(h.Scale)), h.Offset)
	}
	n := h.Zero
	for i := 0; i < len(h.Counts) && n < MaxCount; i++ {
		// Both are below 2^63 here, so the sum cannot wrap.
		n += min(h.Counts[i], MaxCount)
	}
	if n >= MaxCount {
		return refuse(CodeCount, "hist", uint64(MaxCount), "more values")
	}
	return nil
}

// checkIn also checks the histogram against the counts around it: what is counted but not in the histogram had no usable
// value (NaN, infinite) and is bad.
func (h *Hist) checkIn(at string, n, bad uint64) error {
	if h == nil {
		return nil
	}
	if err := h.Check(); err != nil {
		e := err.(*Error)
		e.Field = at + strings.TrimPrefix(e.Field, "hist")
		return e
	}
	if c := h.Count(); c > n || n-c > bad {
		return refuse(CodeSum, at, fmt.Sprintf("%d values, at most %d of them unusable", n, bad), c)
	}
	return nil
}

func checkCounts(at string, n, bad uint64) error {
	if n >= MaxCount {
		return refuse(CodeCount, at+".n", uint64(MaxCount), n)
	}
	if bad > n {
		return refuse(CodeBad, at+".bad", n, bad)
	}
	return nil
}

func knownArm(arm string) bool { return arm == ArmBaseline || arm == ArmExposed }

// goodName: printable UTF-8, not empty, not longer than limit bytes.
func goodName(s string, limit int) bool {
	if s == "" || len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return false
		}
	}
	return true
}

// quoted cuts what a stranger sent before it gets into a message.
func quoted(s string) string {
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return strconv.Quote(s)
}

// IsBad reports whether an observation counts as bad: above BadAbove, below BadBelow, or not a finite number. A proportion
// without limits is bad unless it is 0.
func (m *Metric) IsBad(v float64) bool {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return true
	case m.BadAbove != nil && v > *m.BadAbove, m.BadBelow != nil && v < *m.BadBelow:
		return true
	}
	return m.Kind == KindProportion && m.BadAbove == nil && m.BadBelow == nil && v != 0
}
