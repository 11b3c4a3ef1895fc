package flag

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// goldenPath is outside of this module: the file is shared with the twins in other languages.
const goldenPath = "../../api/testdata/bucketing.json"

type bucketFile struct {
	About     string         `json:"about"`
	Exposures []Exposure     `json:"exposures"`
	Vectors   []bucketVector `json:"vectors"`
}

type bucketVector struct {
	Unit       string `json:"unit"`
	Salt       string `json:"salt"`
	B          uint32 `json:"b"`
	Exposed    []bool `json:"exposed"` // at each of exposures
	UnitBucket uint8  `json:"unitBucket"`
}

// goldenVectors makes the same 1,000 pairs on every run: units of every length up to 100 bytes, so that each tail of the
// hash is met with and without stripes; then typical ids, letters beyond ASCII and long keys.
func goldenVectors() bucketFile {
	f := bucketFile{
		About:     "u = xxhash64(unit), s = xxhash64(salt), seed 0, UTF-8; z = u xor s; z = (z xor z>>30)*0xbf58476d1ce4e5b9; z = (z xor z>>27)*0x94d049bb133111eb; b = (z xor z>>31) >> 32; exposed iff (b*100000)>>32 < exposure; unitBucket = (b with salt sluice/unit-bucket/1) >> 26",
		Exposures: []Exposure{0, 1, 100, 1_000, 5_000, 25_000, 50_000, 99_999, 100_000},
	}
	rng := rand.New(rand.NewPCG(20, 26))
	alphabet := []rune("abcdefghijklmnopqrstuvwxyz0123456789-_.:/@ÄéßжλД中文😀🚦")
	word := func(n int, letters []rune) string {
		var b bytes.Buffer
		for b.Len() < n {
			b.WriteRune(letters[rng.IntN(len(letters))])
		}
		return b.String()
	}
	for i := range 1_000 {
		var unit string
		switch {
		case i <= 100:
			unit = word(i, alphabet[:41])
		case i < 700:
			unit = fmt.Sprintf("user-%d", rng.Uint32())
		case i < 950:
			unit = word(1+rng.IntN(60), alphabet)
		default:
			unit = word(100+rng.IntN(400), alphabet)
		}
		v := bucketVector{Unit: unit, Salt: word(1+i%40, alphabet)}
		v.B, v.UnitBucket = Bucket(v.Unit, v.Salt), UnitBucket(v.Unit)
		for _, e := range f.Exposures {
			v.Exposed = append(v.Exposed, Exposed(v.B, e))
		}
		f.Vectors = append(f.Vectors, v)
	}
	return f
}

// marshalVectors writes one vector a line, so that a change can be read in a diff.
func marshalVectors(t *testing.T, f bucketFile) []byte {
	t.Helper()
	var b bytes.Buffer
	line := func(v any) string {
		raw, err := Canonical(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	fmt.Fprintf(&b, "{\n\"about\": %s,\n\"exposures\": %s,\n\"vectors\": [\n", line(f.About), line(f.Exposures))
	for i, v := range f.Vectors {
		b.WriteString(line(v))
		if i < len(f.Vectors)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n}\n")
	return b.Bytes()
}

func TestBucketGolden(t *testing.T) {
	made := goldenVectors()
	want := marshalVectors(t, made)
	if *update {
		if err := os.WriteFile(goldenPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code computes: units would move", goldenPath)
	}
	var f bucketFile
	if err := json.Unmarshal(got, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Vectors) != 1_000 {
		t.Fatalf("got %d vectors, want 1000", len(f.Vectors))
	}
}

// Published vectors: the sanity check of the xxHash reference implementation (buffer of 101 bytes made by squaring) and
// widely quoted ones; all were recomputed with the reference library.
func TestXXHash64(t *testing.T) {
	buf := make([]byte, 222)
	for i, g := 0, uint32(2654435761); i < len(buf); i++ {
		buf[i] = byte(g >> 24)
		g *= g
	}
	tests := []struct {
		in   string
		want uint64
	}{
		{"", 0xef46db3751d8e999},
		{"a", 0xd24ec4f1a98c6e5b},
		{"as", 0x1c330fb2d66be179},
		{"asd", 0x631c37ce72a97393},
		{"asdf", 0x415872f599cea71e},
		{"abc", 0x44bc2cf5ad770999},
		{"Call me Ishmael. Some years ago--never mind how long precisely-", 0x02a2e85470d6fd96},
		{string(buf[:1]), 0x4fce394cc88952d8},
		{string(buf[:14]), 0xcffa8db881bc3a3d},
		{string(buf[:101]), 0x0eab543384f878ad},
		{string(buf[:222]), 0x9dd507880debb03d},
	}
	for _, tt := range tests {
		if got := xxhash64(tt.in); got != tt.want {
			t.Errorf("xxhash64(%.20q, %d bytes) = %#x, want %#x", tt.in, len(tt.in), got, tt.want)
		}
	}
}

// Values of the finaliser: mix64(k·gamma) is the k-th output of splitmix64 seeded with 0.
func TestMix64(t *testing.T) {
	const gamma = 0x9e3779b97f4a7c15
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		if got := mix64(gamma * uint64(i+1)); got != want {
			t.Errorf("output %d of splitmix64 = %#x, want %#x", i, got, want)
		}
	}
}

func TestUnitSalt(t *testing.T) {
	for i := range 1_000 {
		unit := fmt.Sprint("u", i)
		if got, want := UnitBucket(unit), uint8(Bucket(unit, unitSalt)>>26); got != want {
			t.Fatalf("UnitBucket(%q) = %d, want %d", unit, got, want)
		}
	}
}

func TestExposedEdges(t *testing.T) {
	tests := []struct {
		bucket uint32
		e      Exposure
		want   bool
	}{
		{0, 0, false}, {0, 1, true}, {math.MaxUint32, Full - 1, false}, {math.MaxUint32, Full, true},
		{42_949, 1, true}, {42_950, 1, false}, // 2^32/100000 = 42949.67
		{1 << 31, 50_000, false}, {1<<31 - 1, 50_000, true},
	}
	for _, tt := range tests {
		if got := Exposed(tt.bucket, tt.e); got != tt.want {
			t.Errorf("Exposed(%d, %d) = %v, want %v", tt.bucket, tt.e, got, tt.want)
		}
	}
}

// TestExposedIsMonotone is the arithmetic half of invariant I10: it checks every exposure for buckets around each edge.
func TestExposedIsMonotone(t *testing.T) {
	for e := Exposure(1); e <= Full; e++ {
		edge := uint32((uint64(e) << 32) / uint64(Full))
		for _, b := range []uint32{edge - 1, edge, edge + 1} {
			if Exposed(b, e-1) && !Exposed(b, e) {
				t.Fatalf("bucket %d is exposed at %d and not at %d", b, e-1, e)
			}
		}
	}
}

// chiSquare returns the statistic of counts against equal shares; its mean is len(counts)-1, its variance twice that.
func chiSquare(counts []int) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	want := float64(n) / float64(len(counts))
	x := 0.0
	for _, c := range counts {
		x += (float64(c) - want) * (float64(c) - want) / want
	}
	return x
}

// bound is six standard deviations above the mean of chi-square with df degrees of freedom.
func bound(df int) float64 { return float64(df) + 6*math.Sqrt(2*float64(df)) }

// someUnits returns n, or a fifth of it under the race detector, which has nothing to find here and is slow.
func someUnits(n int) int {
	if raceEnabled {
		return n / 5
	}
	return n
}

var saltNames = []string{"spend7d", "spend7e", "spend8d", "eta", "eta2", "a", "b", "checkout-v2", "checkout-v3"}

func TestBucketsAreUniform(t *testing.T) {
	const cells = 1_000
	units := someUnits(100_000)
	for _, salt := range saltNames {
		counts, sixtyFour := make([]int, cells), make([]int, 64)
		for i := range units {
			unit := fmt.Sprintf("user-%d", i)
			counts[uint64(Bucket(unit, salt))*cells>>32]++
			sixtyFour[UnitBucket(unit)]++
		}
		if x := chiSquare(counts); x > bound(cells-1) {
			t.Errorf("salt %s: chi-square %.0f over %d cells, want at most %.0f", salt, x, cells, bound(cells-1))
		}
		if x := chiSquare(sixtyFour); x > bound(63) {
			t.Errorf("unit buckets: chi-square %.0f, want at most %.0f", x, bound(63))
		}
	}
}

// TestSaltsAreIndependent crosses deciles of each pair of salts, and of each salt with the unit buckets.
func TestSaltsAreIndependent(t *testing.T) {
	units := someUnits(50_000)
	decile := func(unit, salt string) int { return int(uint64(Bucket(unit, salt)) * 10 >> 32) }
	for i, a := range saltNames {
		for _, b := range saltNames[i+1:] {
			joint, withBucket := make([]int, 100), make([]int, 640)
			for u := range units {
				unit := fmt.Sprintf("user-%d", u)
				joint[10*decile(unit, a)+decile(unit, b)]++
				withBucket[64*decile(unit, a)+int(UnitBucket(unit))]++
			}
			if x := chiSquare(joint); x > bound(99) {
				t.Errorf("salts %s and %s: chi-square %.0f, want at most %.0f", a, b, x, bound(99))
			}
			if x := chiSquare(withBucket); x > bound(639) {
				t.Errorf("salt %s and the unit bucket: chi-square %.0f, want at most %.0f", a, x, bound(639))
			}
		}
	}
}
