package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"pgregory.net/rapid"
)

// naiveRoot is RFC 6962, section 2.1, word by word.
func naiveRoot(leaves [][]byte) [32]byte {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	l, r := naiveRoot(leaves[:k]), naiveRoot(leaves[k:])
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}

func TestRootIsThatOfRFC6962(t *testing.T) {
	var leaves [][]byte
	var f Frontier
	l := &memLog{}
	for n := range 130 {
		root := naiveRoot(leaves)
		want := TreeHead{Size: uint64(n), Root: base64.StdEncoding.EncodeToString(root[:])}
		if got := l.head(t); got != want {
			t.Fatalf("stored hashes at size %d give %v, want %v", n, got, want)
		}
		if got := f.Head(); got != want {
			t.Fatalf("frontier at size %d gives %v, want %v", n, got, want)
		}
		leaf, err := Leaf(record(uint64(n) + 1))
		if err != nil {
			t.Fatal(err)
		}
		l.add(t, record(uint64(n)+1))
		leaves = append(leaves, leaf)
		f.Append(LeafHash(leaf))
	}
}

// A frontier read back from the store goes on exactly as one that was grown.
func TestFrontierAppendsWhatTheStoredTreeAppends(t *testing.T) {
	l := logOf(t, 200)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(0, 199).Draw(t, "size")
		f, err := LoadFrontier(n, l)
		if err != nil {
			t.Fatal(err)
		}
		before := f.Clone()
		leaf, _ := Leaf(l.records[n])
		got := f.Append(LeafHash(leaf))
		want := l.hashes[StoredCount(n):StoredCount(n+1)]
		if len(got) != len(want) || StoredLeafIndex(n) != StoredCount(n) {
			t.Fatalf("leaf %d stores %d hashes at %d, want %d at %d", n, len(got), StoredLeafIndex(n), len(want), StoredCount(n))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("leaf %d: hash %d differs", n, i)
			}
		}
		if before.Size() != n || f.Size() != n+1 {
			t.Fatalf("sizes %d and %d, want %d and %d: a clone shares memory", before.Size(), f.Size(), n, n+1)
		}
	})
}

func TestInclusionProofHoldsForItsLeafOnly(t *testing.T) {
	l := logOf(t, 100)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(1, 100).Draw(t, "size")
		index := rapid.Uint64Range(0, size-1).Draw(t, "index")
		head, err := Root(size, l)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := ProveInclusion(size, index, l)
		if err != nil {
			t.Fatal(err)
		}
		leaf, _ := Leaf(l.records[index])
		if err := VerifyInclusion(proof, head, index, leaf); err != nil {
			t.Fatal(err)
		}
		other := rapid.Uint64Range(0, 99).Draw(t, "other")
		if other == index {
			return
		}
		wrong, _ := Leaf(l.records[other])
		if VerifyInclusion(proof, head, index, wrong) == nil {
			t.Fatalf("leaf %d passes as leaf %d of %d", other, index, size)
		}
		if VerifyInclusion(proof, head, other, leaf) == nil {
			t.Fatalf("leaf %d passes at position %d of %d", index, other, size)
		}
	})
}

func TestConsistencyProofFailsForAnotherHistory(t *testing.T) {
	l := logOf(t, 64)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(0, 64).Draw(t, "size")
		old := rapid.Uint64Range(0, size).Draw(t, "old")
		was, _ := Root(old, l)
		is, _ := Root(size, l)
		proof, err := ProveConsistency(old, size, l)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyConsistency(proof, was, is); err != nil {
			t.Fatal(err)
		}
		if err := VerifyConsistency(proof, is, was); err == nil && old < size {
			t.Fatal("a log may not shrink")
		}
		was.Root = base64.StdEncoding.EncodeToString(make([]byte, 32))
		if VerifyConsistency(proof, was, is) == nil {
			t.Fatalf("another log of %d is continued by %d", old, size)
		}
	})
}

func TestTreeRefusesWhatDoesNotExist(t *testing.T) {
	l := logOf(t, 3)
	if _, err := ProveInclusion(3, 3, l); err == nil {
		t.Error("proved leaf 3 of 3")
	}
	if _, err := ProveConsistency(4, 3, l); err == nil {
		t.Error("proved that 4 begins 3")
	}
	if _, err := Root(8, l); err == nil {
		t.Error("gave a root for a size that is not stored")
	}
	if _, err := Root(MaxSize+1, l); err == nil {
		t.Error("gave a root beyond the largest size")
	}
	if _, err := LoadFrontier(MaxSize+1, l); err == nil {
		t.Error("gave a frontier beyond the largest size")
	}
	if _, err := Append(MaxSize, nil, l); err == nil {
		t.Error("appended to a full log")
	}
	bad := TreeHead{Size: 3, Root: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB="} // spare bits set
	if VerifyInclusion(nil, bad, 0, nil) == nil {
		t.Error("accepted a root with spare bits")
	}
}
