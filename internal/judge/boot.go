package judge

import (
	"maps"
	"slices"
)

// boot is what an intake knows of one boot: which of its messages arrived and how far they are complete.
type boot struct {
	Boot       string           `json:"boot"`
	Instance   string           `json:"instance"`
	Expected   bool             `json:"expected,omitempty"`
	From       int64            `json:"from,omitempty"`
	LapsedAt   int64            `json:"lapsedAt,omitempty"`
	Contiguous uint64           `json:"contiguous"`
	Through    int64            `json:"through,omitempty"`   // of the contiguous messages
	Latest     int64            `json:"latest,omitempty"`    // newest through or second of any message
	Ahead      map[uint64]int64 `json:"ahead,omitempty"`     // seq above the contiguous one -> its through
	Skipped    []uint64         `json:"skipped,omitempty"`   // given up, ascending; their counts still count if they come in time
	HoleSince  int64            `json:"holeSince,omitempty"` // unix seconds; 0 without a hole
}

func (in *Intake) boot(id, instance string) *boot {
	b := in.boots[id]
	if b == nil {
		b = &boot{Boot: id, Instance: instance}
		in.boots[id] = b
	}
	return b
}

// take notes message seq and reports whether it is new.
func (b *boot) take(seq uint64, through int64) bool {
	if seq == 0 {
		return false
	}
	b.Latest = max(b.Latest, through)
	if seq <= b.Contiguous {
		i, ok := slices.BinarySearch(b.Skipped, seq)
		if ok {
			b.Skipped = slices.Delete(b.Skipped, i, i+1)
		}
		return ok
	}
	if _, ok := b.Ahead[seq]; ok {
		return false
	}
	if b.Ahead == nil {
		b.Ahead = map[uint64]int64{}
	}
	b.Ahead[seq] = through
	b.advance()
	if seq > b.Contiguous+maxAhead {
		b.skip(seq - maxAhead)
	}
	return true
}

// advance moves over the messages that have become contiguous.
func (b *boot) advance() {
	for {
		through, ok := b.Ahead[b.Contiguous+1]
		if !ok {
			break
		}
		b.Contiguous++
		b.Through = max(b.Through, through)
		delete(b.Ahead, b.Contiguous)
		b.HoleSince = 0
	}
	if len(b.Ahead) == 0 {
		b.Ahead, b.HoleSince = nil, 0
	}
}

// skip gives up what is missing up to and including seq. Only the last of the missing ones are remembered.
func (b *boot) skip(seq uint64) {
	first := b.Contiguous + 1
	if seq > maxAhead {
		first = max(first, seq-maxAhead+1)
	}
	for n := first; n <= seq; n++ {
		if _, ok := b.Ahead[n]; !ok {
			b.Skipped = append(b.Skipped, n)
		}
	}
	for n, through := range b.Ahead {
		if n <= seq {
			b.Through = max(b.Through, through)
			delete(b.Ahead, n)
		}
	}
	if n := len(b.Skipped); n > maxAhead {
		b.Skipped = slices.Delete(b.Skipped, 0, n-maxAhead)
	}
	b.Contiguous, b.HoleSince = max(b.Contiguous, seq), 0
	b.advance()
}

// giveUp ends a hole that has been open for the patience in seconds.
func (b *boot) giveUp(now, patience int64) {
	switch {
	case len(b.Ahead) == 0:
		b.HoleSince = 0
	case b.HoleSince == 0:
		b.HoleSince = now
	case now-b.HoleSince >= patience:
		first := slices.Min(slices.Collect(maps.Keys(b.Ahead)))
		b.skip(first - 1)
	}
}
