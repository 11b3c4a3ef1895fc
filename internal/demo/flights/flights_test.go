package flights

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"time"
)

// What is known about flights-20k.json from reading it with another program (Python's json, sum, Counter).
func TestLoadIsTheDataSet(t *testing.T) {
	rows := Load()
	if len(rows) != 20_000 {
		t.Fatalf("%d rows, want 20,000", len(rows))
	}
	first := Row{time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC), 66, 1750, "DTW", "LAS"}
	last := Row{time.Date(2001, 3, 31, 22, 27, 0, 0, time.UTC), -9, 83, "CLT", "GSO"}
	onset := Row{time.Date(2001, 1, 27, 20, 19, 0, 0, time.UTC), -9, 100, "OGG", "HNL"}
	for _, tt := range []struct {
		name      string
		got, want Row
	}{{"first", rows[0], first}, {"last", rows[19_999], last}, {"fault row", rows[FaultRow], onset}} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	delay, distance, lax := 0, 0, 0
	origins, airports := map[string]bool{}, map[string]bool{}
	for i, r := range rows {
		delay, distance = delay+r.Delay, distance+r.Distance
		origins[r.Origin], airports[r.Origin], airports[r.Destination] = true, true, true
		if r.Origin == "LAX" {
			lax++
		}
		if i > 0 && r.At.Before(rows[i-1].At) {
			t.Fatalf("row %d is before the row before", i)
		}
	}
	got := [...]int{delay, distance, lax, len(origins), len(airports)}
	if want := [...]int{154_078, 14_476_934, 777, 220, 224}; got != want {
		t.Errorf("delays, distances, LAX rows, origins, airports: got %v, want %v", got, want)
	}
}

func TestEmbeddedFileIsTheCommittedOne(t *testing.T) {
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != DataSHA256 {
		t.Errorf("flights.bin.gz has sha256 %s, want DataSHA256 %s", got, DataSHA256)
	}
	if len(data) > 70_000 {
		t.Errorf("flights.bin.gz has %d bytes, want at most 70,000", len(data))
	}
}

func TestLoadGivesEachCallerItsOwn(t *testing.T) {
	a := Load()
	a[0].Origin = "XXX"
	if b := Load(); b[0].Origin != "DTW" {
		t.Errorf("a change of one caller's rows is seen by the next: %v", b[0])
	}
}

func TestBusiestOrigins(t *testing.T) {
	rows := Load()
	want := []string{"DFW", "ORD", "ATL", "LAX", "PHX", "STL", "LAS", "DTW", "MSP", "DEN"} // DTW and MSP have 458 each
	if got := BusiestOrigins(rows, 10); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, tt := range []struct{ n, want int }{{-1, 0}, {0, 0}, {1_000, 220}} {
		if got := len(BusiestOrigins(rows, tt.n)); got != tt.want {
			t.Errorf("n %d: %d origins, want %d", tt.n, got, tt.want)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Load()
	}
}
