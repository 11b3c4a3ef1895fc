package fail

import "testing"

func TestPointsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range All() {
		if p.String() == "" || seen[p.String()] {
			t.Errorf("point %d is called %q", p, p)
		}
		seen[p.String()] = true
	}
	if len(seen) < 45 {
		t.Errorf("%d points", len(seen))
	}
}

func TestAt(t *testing.T) {
	var got []Point
	At(TxDone)
	Arm(func(p Point) { got = append(got, p) })
	At(TxBegun)
	Arm(nil)
	At(TxDone)
	if len(got) != 1 || got[0] != TxBegun {
		t.Errorf("got %v", got)
	}
}

func BenchmarkAt(b *testing.B) {
	for b.Loop() {
		At(TxDone)
	}
}
