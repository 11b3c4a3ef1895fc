package audit

import (
	"errors"
	"fmt"
	"iter"
)

// ErrNoHash is what a HashReader returns (wrapped) when an index holds no hash.
var ErrNoHash = errors.New("no stored hash")

// DamageKind says what is wrong with a log.
type DamageKind string

// Kinds of damage.
const (
	AlteredRecord   DamageKind = "altered record"   // its content is not what was logged
	MissingRecord   DamageKind = "missing record"   // cut out, or cut off the end
	ReorderedRecord DamageKind = "reordered record" // there, but later
	RepeatedRecord  DamageKind = "repeated record"  // there twice
	ExtraRecord     DamageKind = "extra record"     // after the last one the head covers
	AlteredHash     DamageKind = "altered hash"     // the record is right, a stored tree hash is not
	MissingHash     DamageKind = "missing hash"
	AlteredHead     DamageKind = "altered head" // records and hashes agree with each other, the head is of another log
)

// Damage is the first thing found wrong with a log.
type Damage struct {
	Kind   DamageKind
	Seq    uint64 // sequence number of the first record concerned; 0 for AlteredHead
	Detail string
}

func (d *Damage) Error() string {
	if d.Seq == 0 {
		return fmt.Sprintf("%s: %s", d.Kind, d.Detail)
	}
	return fmt.Sprintf("%s %d: %s", d.Kind, d.Seq, d.Detail)
}

// VerifyLog checks the whole log that the head covers: records must be all of them, in order (1 to head.Size), and r must
// hold the hashes stored for them. Every leaf hash and every hash of a subtree is computed again and compared.
//
// It returns nil, a *Damage naming the first bad record and what happened to it, or the error with which records or r
// could not be read. It keeps O(log n) memory. The head must come from where the damage cannot: a signed one kept
// elsewhere proves more than the one beside the records, which somebody who rewrote everything would have rewritten too.
func VerifyLog(records iter.Seq2[Record, error], r HashReader, head TreeHead) error {
	if _, err := head.hash(); err != nil {
		return &Damage{Kind: AlteredHead, Detail: err.Error()}
	}
	c := checker{head: head, stored: cursor{r: r, end: StoredCount(head.Size)}}
	for rec, err := range records {
		if err != nil {
			return fmt.Errorf("read record %d: %w", c.own.Size()+1, err)
		}
		done, err := c.add(rec)
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	return c.finish()
}

// checker holds two trees over the same leaves: one grown from the records, one from the stored leaf hashes. The tree
// whose root is the head's is the authentic one, and the other side is what was altered.
type checker struct {
	head   TreeHead
	own    Frontier // from the records
	kept   Frontier // from the stored leaf hashes
	stored cursor

	gap  *Damage // sequence jumped; from then on only the search for the missing record goes on
	leaf *Damage // first record that is not what its stored leaf hash says
	node *Damage // first stored subtree hash that the stored leaf hashes below it do not give
}

// add takes the next record and reports whether nothing can be learnt from further ones.
func (c *checker) add(rec Record) (done bool, err error) {
	want := c.own.Size() + 1
	switch {
	case c.gap != nil:
		if rec.Seq == c.gap.Seq {
			c.gap.Kind = ReorderedRecord
			c.gap.Detail += ", it comes later"
			return true, nil
		}
		return false, nil
	case rec.Seq > want && want <= c.head.Size:
		c.gap = &Damage{Kind: MissingRecord, Seq: want, Detail: fmt.Sprintf("record %d is in its place", rec.Seq)}
		return false, nil
	case want > c.head.Size && rec.Seq >= want:
		return true, c.first(&Damage{Kind: ExtraRecord, Seq: rec.Seq, Detail: fmt.Sprintf("the head covers %d records", c.head.Size)})
	case rec.Seq < want && rec.Seq > 0:
		return true, c.first(&Damage{
			Kind: RepeatedRecord, Seq: rec.Seq, Detail: fmt.Sprintf("it stands again where record %d is expected", want),
		})
	case rec.Seq == 0:
		return true, c.first(&Damage{Kind: AlteredRecord, Seq: want, Detail: "its sequence number is 0"})
	}
	return false, c.compare(rec)
}

func (c *checker) compare(rec Record) error {
	leaf, err := Leaf(rec)
	if err != nil {
		return c.first(&Damage{Kind: AlteredRecord, Seq: rec.Seq, Detail: err.Error()})
	}
	hash := LeafHash(leaf)
	c.own.Append(hash)
	count := int(StoredCount(rec.Seq) - StoredCount(rec.Seq-1))
	stored, err := c.stored.next(count)
	if errors.Is(err, ErrNoHash) {
		return c.first(&Damage{Kind: MissingHash, Seq: rec.Seq, Detail: err.Error()})
	}
	if err != nil {
		return fmt.Errorf("read the stored hashes of record %d: %w", rec.Seq, err)
	}
	if stored[0] != hash && c.leaf == nil {
		c.leaf = &Damage{Kind: AlteredRecord, Seq: rec.Seq, Detail: "its hash is not the one stored when it was logged"}
	}
	for level, h := range c.kept.Append(stored[0]) {
		if h != stored[level] && c.node == nil {
			first := rec.Seq - 1<<level + 1
			c.node = &Damage{
				Kind: AlteredHash, Seq: first,
				Detail: fmt.Sprintf("stored hash over records %d to %d is not that of their hashes", first, rec.Seq),
			}
		}
	}
	return nil
}

// first returns the earlier of d and the record that did not have its stored hash. Without the whole log nobody can say
// which of those two was altered; then it counts as the record.
func (c *checker) first(d *Damage) error {
	if c.leaf != nil {
		return c.leaf
	}
	return d
}

func (c *checker) finish() error {
	if c.gap != nil {
		return c.first(c.gap)
	}
	if n := c.own.Size(); n < c.head.Size {
		return c.first(&Damage{
			Kind: MissingRecord, Seq: n + 1, Detail: fmt.Sprintf("the log ends after %d records, the head covers %d", n, c.head.Size),
		})
	}
	ownRight, keptRight := c.own.Head() == c.head, c.kept.Head() == c.head
	switch {
	case ownRight && c.leaf != nil:
		return &Damage{Kind: AlteredHash, Seq: c.leaf.Seq, Detail: "the record is proven by the head, its stored hash is not its own"}
	case ownRight && c.node != nil:
		return c.node
	case ownRight:
		return nil
	case c.leaf != nil && keptRight:
		return c.leaf
	case c.leaf != nil:
		c.leaf.Detail += "; neither gives the head"
		return c.leaf
	case c.node != nil:
		c.node.Kind = AlteredRecord
		c.node.Detail += "; a record and its hash were replaced together"
		return c.node
	}
	return &Damage{
		Kind:   AlteredHead,
		Detail: fmt.Sprintf("the %d records and their hashes give the root %s, the head says %s", c.head.Size, c.own.Head().Root, c.head.Root),
	}
}

// cursor reads stored hashes in the order of their indexes, a block at a time.
type cursor struct {
	r    HashReader
	at   int64 // index of the first hash not in buf
	end  int64
	buf  [][32]byte
	read int // hashes of buf already given out
}

// cursorBlock is how many hashes are read at once.
const cursorBlock = 1024

// next returns the next n hashes, valid until the next call.
func (c *cursor) next(n int) ([][32]byte, error) {
	if len(c.buf)-c.read < n {
		if err := c.fill(n); err != nil {
			return nil, err
		}
	}
	out := c.buf[c.read : c.read+n]
	c.read += n
	return out, nil
}

func (c *cursor) fill(n int) error {
	rest := append([][32]byte(nil), c.buf[c.read:]...)
	c.buf, c.read = rest, 0
	more, err := c.block(min(cursorBlock, c.end-c.at))
	if err != nil {
		// A hash that is missing further on must not be blamed on this record.
		more, err = c.block(int64(n - len(rest)))
	}
	if err != nil {
		return err
	}
	c.buf, c.at = append(c.buf, more...), c.at+int64(len(more))
	return nil
}

func (c *cursor) block(n int64) ([][32]byte, error) {
	indexes := make([]int64, n)
	for i := range indexes {
		indexes[i] = c.at + int64(i)
	}
	hashes, err := c.r.ReadHashes(indexes)
	if err == nil && len(hashes) != len(indexes) {
		err = fmt.Errorf("read %d stored hashes, got %d", len(indexes), len(hashes))
	}
	return hashes, err
}
