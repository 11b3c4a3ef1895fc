package judge

import (
	"slices"

	"sluice.dev/sdk/evidence"
)

// Bounds of one open second.
const (
	maxPending = 4096 // blocks that wait to be merged; merging many at once sorts once
	maxValues  = 4096 // different values of segments and sources
)

// openSecond adds up the blocks of one second that has not closed.
type openSecond struct {
	at        int64
	merged    []evidence.Block // canonical order, without instance cells and open requests
	pending   []evidence.Block
	values    map[cellKey]bool
	instances map[evidence.BlockKey]map[string]*evidence.Cell // by instance
	open      map[evidence.BlockKey]map[string]openMark       // by boot
	on, off   map[string]bool                                 // instances with blocks in the comparison, and with blocks left out
}

type cellKey struct{ dim, value string }

// openMark is the absolute number of open requests of one boot, as its newest message says.
type openMark struct {
	Seq  uint64 `json:"seq"`
	Open uint64 `json:"open"`
}

func newOpenSecond(at int64) *openSecond {
	return &openSecond{
		at: at, values: map[cellKey]bool{}, on: map[string]bool{}, off: map[string]bool{},
		instances: map[evidence.BlockKey]map[string]*evidence.Cell{}, open: map[evidence.BlockKey]map[string]openMark{},
	}
}

// add adds the increments of one block of boot b, sent in message seq, and returns how many cells found no room. The cell
// by instance is the server's own: it holds the total's counts and unit buckets.
func (s *openSecond) add(b *boot, seq uint64, blk *evidence.Block) (refused uint64) {
	key := blk.Key()
	if s.open[key] == nil {
		s.open[key], s.instances[key] = map[string]openMark{}, map[string]*evidence.Cell{}
	}
	if mark := s.open[key][b.Boot]; seq >= mark.Seq {
		s.open[key][b.Boot] = openMark{seq, blk.Open}
	}
	own := blk.Clone()
	own.Open = 0
	own.Cells = slices.DeleteFunc(own.Cells, func(c evidence.Cell) bool {
		if c.Dim == evidence.DimInstance {
			return true
		}
		k := cellKey{c.Dim, c.Value}
		if !s.values[k] && len(s.values) >= maxValues {
			refused++
			return true
		}
		s.values[k] = true
		return false
	})
	s.addInstance(s.instances[key], b.Instance, &own)
	s.pending = append(s.pending, own)
	if len(s.pending) >= maxPending {
		s.flush()
	}
	return refused
}

func (s *openSecond) addInstance(cells map[string]*evidence.Cell, instance string, b *evidence.Block) {
	if b.N == 0 {
		return
	}
	c := cells[instance]
	if c == nil {
		c = &evidence.Cell{Dim: evidence.DimInstance, Value: instance}
		cells[instance] = c
	}
	c.N += b.N
	c.Bad += b.Bad
	if t := b.Cell(evidence.DimTotal, ""); t != nil {
		for _, u := range t.Buckets {
			i, ok := slices.BinarySearchFunc(c.Buckets, u.K, func(e evidence.UnitBucket, k uint8) int { return int(e.K) - int(k) })
			if !ok {
				c.Buckets = slices.Insert(c.Buckets, i, evidence.UnitBucket{K: u.K})
			}
			c.Buckets[i].N += u.N
			c.Buckets[i].Bad += u.Bad
		}
	}
}

func (s *openSecond) flush() {
	s.merged = evidence.MergeBlocks(s.merged, s.pending)
	s.pending = nil
}

// blocks returns the merged blocks in canonical order with the open requests of all boots, sharing nothing that changes.
// Without cells it saves the time of copying them.
func (s *openSecond) blocks(cells bool) []evidence.Block {
	s.flush()
	out := make([]evidence.Block, 0, len(s.merged))
	for i := range s.merged {
		b := s.merged[i]
		key := b.Key()
		if cells {
			b = b.Clone()
			for _, c := range s.instances[key] {
				own := *c
				own.Buckets = slices.Clone(c.Buckets)
				b.Cells = append(b.Cells, own)
			}
		} else {
			b.Hist, b.Cells = b.Hist.Clone(), nil
		}
		if b.Hist != nil {
			b.Hist.Trim()
		}
		for j := range b.Cells {
			if h := b.Cells[j].Hist; h != nil {
				h.Trim()
			}
		}
		for _, mark := range s.open[key] {
			b.Open += mark.Open
		}
		out = append(out, b)
	}
	evidence.SortBlocks(out)
	return out
}
