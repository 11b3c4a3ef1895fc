package audit

import (
	"fmt"
	"math"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxSize is the largest size of a log: stored hash indexes, about twice the size, must fit an int64.
const MaxSize = math.MaxInt64 / 4

// StoredCount returns how many hashes are stored for a log of n records: 2n less the number of ones in n, for the n
// leaves and each complete subtree above them.
func StoredCount(n uint64) int64 { return tlog.StoredHashCount(int64(n)) }

// StoredLeafIndex returns the index at which the hash of leaf n (counted from 0) is stored. The hashes of the subtrees
// that it completes follow it directly, smallest first.
func StoredLeafIndex(n uint64) int64 { return tlog.StoredHashIndex(0, int64(n)) }

// Append returns the hashes to store when leaf becomes leaf number n (counted from 0) of the log: its own and those of
// the complete subtrees it ends, to be stored at StoredCount(n) and following. It reads the at most log2(n) hashes left of it.
func Append(n uint64, leaf []byte, r HashReader) (hashes [][32]byte, err error) {
	if n >= MaxSize {
		return nil, fmt.Errorf("append leaf %d: the log is full", n)
	}
	stored, err := tlog.StoredHashes(int64(n), leaf, reader{r})
	if err != nil {
		return nil, fmt.Errorf("append leaf %d: %w", n, err)
	}
	return plain(stored), nil
}

// Root computes the head of the log at size from stored hashes. The head of size 0 is that of the empty tree.
func Root(size uint64, r HashReader) (TreeHead, error) {
	if size > MaxSize {
		return TreeHead{}, fmt.Errorf("tree head of size %d: larger than any log", size)
	}
	root, err := tlog.TreeHash(int64(size), reader{r})
	if err != nil {
		return TreeHead{}, fmt.Errorf("tree head of size %d: %w", size, err)
	}
	return TreeHead{Size: size, Root: root.String()}, nil
}

// ProveInclusion returns the audit path of leaf index (from 0) in the log of the given size (RFC 6962, section 2.1.1).
func ProveInclusion(size, index uint64, r HashReader) ([][32]byte, error) {
	if size > MaxSize || index >= size {
		return nil, fmt.Errorf("prove leaf %d in a log of %d: no such leaf", index, size)
	}
	p, err := tlog.ProveRecord(int64(size), int64(index), reader{r})
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d in a log of %d: %w", index, size, err)
	}
	return plain(p), nil
}

// VerifyInclusion checks that the canonical bytes leaf are leaf number index (from 0) of the log with the head.
func VerifyInclusion(proof [][32]byte, head TreeHead, index uint64, leaf []byte) error {
	root, err := head.hash()
	if err != nil {
		return err
	}
	if index >= head.Size {
		return fmt.Errorf("leaf %d is not below the size %d of the log", index, head.Size)
	}
	if err := tlog.CheckRecord(tlogs(proof), int64(head.Size), root, int64(index), tlog.RecordHash(leaf)); err != nil {
		return fmt.Errorf("leaf %d in the log of size %d: %w", index, head.Size, err)
	}
	return nil
}

// ProveConsistency returns the proof that the log of size old begins the log of size (RFC 6962, section 2.1.2).
// Every log continues the empty one, which needs no proof.
func ProveConsistency(old, size uint64, r HashReader) ([][32]byte, error) {
	if size > MaxSize || old > size {
		return nil, fmt.Errorf("prove that a log of %d begins one of %d: it is longer", old, size)
	}
	if old == 0 {
		return nil, nil
	}
	p, err := tlog.ProveTree(int64(size), int64(old), reader{r})
	if err != nil {
		return nil, fmt.Errorf("prove that a log of %d begins one of %d: %w", old, size, err)
	}
	return plain(p), nil
}

// VerifyConsistency checks that the log with the head continues the log with the earlier head old: nothing that old
// covered was altered, cut or reordered.
func VerifyConsistency(proof [][32]byte, old, head TreeHead) error {
	from, err := old.hash()
	if err != nil {
		return err
	}
	to, err := head.hash()
	if err != nil {
		return err
	}
	if old.Size > head.Size {
		return fmt.Errorf("head of size %d is older than head of size %d", head.Size, old.Size)
	}
	if old.Size == 0 {
		if len(proof) != 0 || old != EmptyHead() {
			return fmt.Errorf("head of size 0 is %s, want %s without proof", old.Root, EmptyHead().Root)
		}
		return nil
	}
	if err := tlog.CheckTree(tlogs(proof), int64(head.Size), to, int64(old.Size), from); err != nil {
		return fmt.Errorf("log of size %d does not continue that of size %d: %w", head.Size, old.Size, err)
	}
	return nil
}

// EmptyHead is the head of a log without records.
func EmptyHead() TreeHead { return new(Frontier).Head() }

func (h TreeHead) hash() (tlog.Hash, error) {
	if h.Size > MaxSize {
		return tlog.Hash{}, fmt.Errorf("tree head of size %d: larger than any log", h.Size)
	}
	root, err := tlog.ParseHash(h.Root)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("tree head of size %d: root %q: %w", h.Size, h.Root, err)
	}
	if root.String() != h.Root { // base64 has spare bits that decoding ignores
		return tlog.Hash{}, fmt.Errorf("tree head of size %d: root %q is not the encoding of a hash", h.Size, h.Root)
	}
	return root, nil
}

// Frontier is the right edge of a tree: the complete subtrees from which its root and its growth follow without reading
// anything. The zero value is the empty log. It takes at most 2 KiB whatever the size; copy it with Clone.
type Frontier struct {
	size  uint64
	peaks []tlog.Hash // roots of the complete subtrees, largest (leftmost) first: one for each one-bit of size
}

// LoadFrontier reads the frontier of a log of the given size from its stored hashes.
func LoadFrontier(size uint64, r HashReader) (Frontier, error) {
	if size > MaxSize {
		return Frontier{}, fmt.Errorf("frontier of size %d: larger than any log", size)
	}
	var indexes []int64
	var before uint64
	for level := bits.Len64(size) - 1; level >= 0; level-- {
		if size>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, int64(before>>level)))
			before += 1 << level
		}
	}
	peaks, err := reader{r}.ReadHashes(indexes)
	if err != nil {
		return Frontier{}, fmt.Errorf("frontier of size %d: %w", size, err)
	}
	return Frontier{size: size, peaks: peaks}, nil
}

// Append adds the leaf hash and returns what Append returns for its leaf: the hashes to store at StoredCount(size).
func (f *Frontier) Append(leaf [32]byte) [][32]byte {
	h := tlog.Hash(leaf)
	stored := [][32]byte{leaf}
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.peaks) - 1
		h = tlog.NodeHash(f.peaks[last], h)
		f.peaks = f.peaks[:last]
		stored = append(stored, h)
	}
	f.peaks = append(f.peaks, h)
	f.size++
	return stored
}

// Size returns the number of leaves.
func (f *Frontier) Size() uint64 { return f.size }

// Head returns the tree head.
func (f *Frontier) Head() TreeHead {
	if f.size == 0 {
		empty, _ := tlog.TreeHash(0, nil) // reads nothing and cannot fail at size 0
		return TreeHead{Root: empty.String()}
	}
	h := f.peaks[len(f.peaks)-1]
	for i := len(f.peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.peaks[i], h)
	}
	return TreeHead{Size: f.size, Root: h.String()}
}

// Clone returns a copy that shares no memory with f.
func (f *Frontier) Clone() Frontier {
	return Frontier{size: f.size, peaks: append([]tlog.Hash(nil), f.peaks...)}
}

// reader gives tlog our port: the same, but without tlog's named hash type in the stores.
type reader struct{ r HashReader }

func (a reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	hashes, err := a.r.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	if len(hashes) != len(indexes) {
		return nil, fmt.Errorf("read %d stored hashes, got %d", len(indexes), len(hashes))
	}
	return tlogs(hashes), nil
}

func tlogs(hashes [][32]byte) []tlog.Hash {
	out := make([]tlog.Hash, len(hashes))
	for i, h := range hashes {
		out[i] = h
	}
	return out
}

func plain(hashes []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(hashes))
	for i, h := range hashes {
		out[i] = h
	}
	return out
}
