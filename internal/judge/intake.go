package judge

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
)

// Bounds of an Intake. What does not fit is refused and counted, never kept.
const (
	maxAhead   = 128  // messages of one boot above its contiguous one
	maxOpen    = 300  // seconds between the next to close and the newest accepted
	maxPerCall = 600  // seconds one Close returns
	maxLapsed  = 4096 // lapsed boots that are remembered
	maxHeads   = 64   // revisions of which the time of their commit is remembered
	offHead    = 10   // seconds an instance may be behind the head and stay in the comparison
)

// Intake collects the evidence of one rollout from many boots and closes it second by second. Counts are increments, so
// neither the order of messages nor a message sent twice changes what closes; what arrives after its second closed is
// counted as late and never rewrites anything. It is not safe for concurrent use.
type Intake struct {
	settle  time.Duration
	next    int64 // the next second to close; 0 while nothing was expected or reported
	now     int64 // unix seconds of the last Close, 0 before it
	started bool  // something has closed: next only grows
	boots   map[string]*boot
	seconds map[int64]*openSecond
	gaps    []span
	heads   []head
	late    map[lateKey]LateCount
	lost    uint64
	refused uint64
}

type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

type head struct {
	Revision uint64 `json:"revision"`
	At       int64  `json:"at"`
}

type lateKey struct{ metric, arm string }

// LateCount is what arrived after its second had closed, for one metric and assigned arm.
type LateCount struct {
	Metric string `json:"metric"`
	Arm    string `json:"arm"`
	Blocks uint64 `json:"blocks"`
	N      uint64 `json:"n"`
	Bad    uint64 `json:"bad"`
}

// NewIntake returns an empty intake. A second closes at the latest settle after its start, where settle is the longest
// one of the rollout's metrics; less than one second counts as one second.
func NewIntake(settle time.Duration) *Intake {
	return &Intake{
		settle: max(settle, time.Second), boots: map[string]*boot{}, seconds: map[int64]*openSecond{}, late: map[lateKey]LateCount{},
	}
}

// Expect makes the seconds from on wait for the boot. Repeating it changes nothing; for a lapsed boot that is back it
// starts the waiting anew.
func (in *Intake) Expect(bootID, instance string, from int64) {
	b := in.boot(bootID, instance)
	if b.Expected && b.LapsedAt == 0 {
		return
	}
	b.Expected, b.From, b.LapsedAt = true, from, 0
	in.begin(from)
}

// Lapsed ends the waiting for a boot that lapsed, said Bye or was replaced: the seconds from at on do not expect it, and
// earlier ones no longer wait for it. Requests it left open count as open at close, for the arm they were assigned to.
func (in *Intake) Lapsed(bootID string, at int64) {
	b, ok := in.boots[bootID]
	if !ok || !b.Expected || b.LapsedAt != 0 || at < b.From {
		return
	}
	b.LapsedAt = max(at, 1)
}

// Gap marks the seconds from..to, both included, as the controller's own absence: they close as gaps, whatever arrived.
func (in *Intake) Gap(from, to int64) {
	if to < from {
		return
	}
	in.begin(from)
	if n := len(in.gaps); n > 0 && from >= in.gaps[n-1].From && from <= in.gaps[n-1].To+1 {
		in.gaps[n-1].To = max(in.gaps[n-1].To, to)
		return
	}
	in.gaps = append(in.gaps, span{from, to})
}

// Head says that the rollout's scope has the revision since second at. Blocks of a higher revision than any told are
// refused; blocks of a lower one are left out of the comparison once the head has been in force for more than 10 s, and
// their instances are named. Without any Head no block is left out.
func (in *Intake) Head(revision uint64, at int64) {
	if n := len(in.heads); n > 0 && revision <= in.heads[n-1].Revision {
		return
	}
	in.heads = append(in.heads, head{revision, at})
	if len(in.heads) > maxHeads {
		in.heads = slices.Delete(in.heads, 0, len(in.heads)-maxHeads)
	}
}

// Resume says that every second up to and including closed is already stored: after a restart from a checkpoint the
// intake must not close them again.
func (in *Intake) Resume(closed int64) {
	if closed >= in.next {
		in.skipTo(closed + 1)
	}
}

func (in *Intake) skipTo(next int64) {
	for at := range in.seconds {
		if at < next {
			delete(in.seconds, at)
		}
	}
	in.next, in.started = next, true
}

// begin lets the first second to close be no later than from.
func (in *Intake) begin(from int64) {
	if !in.started && (in.next == 0 || from < in.next) {
		in.next = from
	}
}

// Add takes message seq of a boot. It returns the highest contiguous seq received and how many of this message's blocks
// came after their second had closed; a message seen before changes nothing. Messages above the contiguous one count at
// once, but what they say of through waits for those before them. A hole that stays open longer than the settle time is
// given up, because its blocks would be late anyway.
func (in *Intake) Add(instance, bootID string, seq uint64, through int64, lost uint64, blocks []evidence.Block) (accepted uint64, late int) {
	b := in.boot(bootID, instance)
	fresh := b.take(seq, through)
	if !fresh {
		return b.Contiguous, 0
	}
	in.lost += lost
	for i := range blocks {
		if in.addBlock(b, seq, &blocks[i]) {
			late++
		}
	}
	return b.Contiguous, late
}

func (in *Intake) addBlock(b *boot, seq uint64, blk *evidence.Block) (late bool) {
	if !validBlock(blk) || in.ahead(blk.Revision) || (in.now != 0 && blk.Second > in.now+maxOpen) {
		in.refused++
		return false
	}
	in.begin(blk.Second)
	if blk.Second < in.next {
		k := lateKey{blk.Metric, blk.Assigned}
		c := in.late[k]
		in.late[k] = LateCount{blk.Metric, blk.Assigned, c.Blocks + 1, c.N + blk.N, c.Bad + blk.Bad}
		return true
	}
	if blk.Second >= in.next+maxOpen {
		in.refused++
		return false
	}
	s := in.seconds[blk.Second]
	if s == nil {
		s = newOpenSecond(blk.Second)
		in.seconds[blk.Second] = s
	}
	if in.behind(blk.Revision, blk.Second) {
		s.off[b.Instance] = true
		return false
	}
	s.on[b.Instance] = true
	in.refused += s.add(b, seq, blk)
	return false
}

// validBlock refuses what would spoil a verdict; the wire codec has checked sizes and sums before.
func validBlock(b *evidence.Block) bool {
	arm := func(a string) bool { return a == evidence.ArmBaseline || a == evidence.ArmExposed }
	return arm(b.Assigned) && arm(b.Served) && b.Metric != "" && b.Bad <= b.N && b.Second > 0
}

// ahead reports whether a revision is newer than the committed one.
func (in *Intake) ahead(revision uint64) bool {
	n := len(in.heads)
	return n > 0 && revision > in.heads[n-1].Revision
}

// behind reports whether a newer revision had been in force for more than offHead seconds in second at.
func (in *Intake) behind(revision uint64, at int64) bool {
	for _, h := range slices.Backward(in.heads) {
		if h.At < at-offHead {
			return revision < h.Revision
		}
	}
	return false
}

// Close returns the seconds that are complete at now, in order and without holes, none twice: a second closes when every
// expected boot is through it, and at the latest settle after its start. One call returns at most 600 of them.
func (in *Intake) Close(now time.Time) []evidence.Second {
	in.now = max(in.now, now.Unix())
	for _, b := range in.boots {
		b.giveUp(in.now, in.patience())
	}
	var out []evidence.Second
	for in.next != 0 && len(out) < maxPerCall {
		members, through, waiting := in.coverage(in.next)
		overdue := !now.Before(time.Unix(in.next, 0).Add(in.settle))
		complete := members > 0 && waiting == 0 && now.Unix() > in.next
		if !overdue && !complete {
			break
		}
		out = append(out, in.close(members, through))
	}
	in.forget()
	return out
}

// patience is how long a hole in a boot's messages may delay it, in seconds.
func (in *Intake) patience() int64 { return int64((in.settle + time.Second - 1) / time.Second) }

// coverage counts the boots that should report second at, those whose messages say it is complete, and those it has to
// wait for: the incomplete ones that have not lapsed.
func (in *Intake) coverage(at int64) (members, through, waiting int) {
	for _, b := range in.boots {
		if !b.Expected || at < b.From || (b.LapsedAt != 0 && at >= b.LapsedAt) {
			continue
		}
		members++
		switch {
		case b.Through >= at:
			through++
		case b.LapsedAt == 0:
			waiting++
		}
	}
	return members, through, waiting
}

func (in *Intake) close(members, through int) evidence.Second {
	at := in.next
	sec := evidence.Second{At: at, Members: members, Through: through, Gap: in.gap(at)}
	if s := in.seconds[at]; s != nil {
		sec.Blocks = s.blocks(true)
		for name := range s.off {
			if !s.on[name] {
				sec.OffHead = append(sec.OffHead, name)
			}
		}
		slices.Sort(sec.OffHead)
		delete(in.seconds, at)
	}
	in.next, in.started = at+1, true
	return sec
}

func (in *Intake) gap(at int64) bool {
	return slices.ContainsFunc(in.gaps, func(g span) bool { return g.From <= at && at <= g.To })
}

// forget drops what can no longer matter: gaps that have closed and boots whose last second has.
func (in *Intake) forget() {
	in.gaps = slices.DeleteFunc(in.gaps, func(g span) bool { return g.To < in.next })
	var lapsed []*boot
	for _, b := range in.boots {
		if (b.LapsedAt != 0 && b.LapsedAt < in.next-maxOpen) || (!b.Expected && b.Latest < in.next-maxOpen) {
			lapsed = append(lapsed, b)
		}
	}
	if len(lapsed) <= maxLapsed {
		return
	}
	slices.SortFunc(lapsed, func(a, b *boot) int {
		return cmp.Or(cmp.Compare(max(a.LapsedAt, a.Latest), max(b.LapsedAt, b.Latest)), cmp.Compare(a.Boot, b.Boot))
	})
	for _, b := range lapsed[:len(lapsed)-maxLapsed] {
		delete(in.boots, b.Boot)
	}
}

// OpenBlocks returns the merged blocks of the seconds that have not closed, oldest first and without cells, for the hard trips.
func (in *Intake) OpenBlocks() []evidence.Block {
	var out []evidence.Block
	for _, at := range slices.Sorted(maps.Keys(in.seconds)) {
		if !in.gap(at) {
			out = append(out, in.seconds[at].blocks(false)...)
		}
	}
	return out
}

// Next returns the next second to close, 0 while there is none.
func (in *Intake) Next() int64 { return in.next }

// Late returns what arrived after its second had closed, by metric and arm.
func (in *Intake) Late() []LateCount {
	return slices.SortedFunc(maps.Values(in.late), func(a, b LateCount) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Arm, b.Arm))
	})
}

// Lost returns how many blocks the members say they dropped, and how many were refused here: malformed, of a revision
// nobody committed, too far in the future, or beyond the bounds of memory.
func (in *Intake) Lost() (lost, refused uint64) { return in.lost, in.refused }
