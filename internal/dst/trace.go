package dst

import (
	"fmt"
	"hash"
	"time"
)

// trace is what happened, as a digest and, if anybody listens, as lines.
type trace struct {
	hash hash.Hash64
	log  func(string)
}

func (t *trace) add(at time.Duration, format string, args ...any) {
	line := fmt.Sprintf("%10.4f ", at.Seconds()) + fmt.Sprintf(format, args...)
	t.hash.Write([]byte(line))
	if t.log != nil {
		t.log(line)
	}
}

// Result is how one seed ended.
type Result struct {
	Seed      uint64
	Trace     string // digest of everything that happened
	Lived     time.Duration
	Faults    map[string]int // injected, by kind
	Seen      Seen
	Violation string // "" if everything held
}

// Seen counts what the oracle had to look at: a world in which nothing happens proves nothing.
type Seen struct {
	Evaluations, Exposed    int // of flags, and of those that got the candidate
	Proofs, ByAck, ByLapse  int // exposure proven off; members that acknowledged, and whose lease had to end
	RolledBack, Completed   int
	Cancelled, Incomplete   int
	Recoveries, Boots       int // of the controller, of members
	Writes, Records, Grants int
	Commits, Replayed       int // stages committed, seconds judged again
}

// Add sums two counts.
func (s Seen) Add(o Seen) Seen {
	return Seen{
		s.Evaluations + o.Evaluations, s.Exposed + o.Exposed, s.Proofs + o.Proofs, s.ByAck + o.ByAck, s.ByLapse + o.ByLapse,
		s.RolledBack + o.RolledBack, s.Completed + o.Completed, s.Cancelled + o.Cancelled, s.Incomplete + o.Incomplete,
		s.Recoveries + o.Recoveries, s.Boots + o.Boots, s.Writes + o.Writes, s.Records + o.Records, s.Grants + o.Grants,
		s.Commits + o.Commits, s.Replayed + o.Replayed,
	}
}
