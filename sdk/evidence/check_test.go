package evidence

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func goodBlock() Block {
	h := NewHist(5)
	h.Add(1)
	h.Add(2)
	return Block{
		Second: 1_800_000_000, Rollout: "spend", Cohort: "general", Revision: 7, Exposure: 5000, Lease: LeaseHeld,
		Assigned: ArmExposed, Served: ArmExposed, Metric: "latency", N: 3, Bad: 1, Hist: h, Open: 2,
		Cells: []Cell{
			{Dim: DimTotal, N: 3, Bad: 1, Buckets: []UnitBucket{{K: 0, N: 1, Bad: 1}, {K: 63, N: 2}},
				ExposedHistByBucket: []BucketBin{{K: 63, Bin: -1, Count: 1}, {K: 63, Bin: 31, Count: 1}}},
			{Dim: DimSegment, Value: "region=eu", N: 2, Buckets: []UnitBucket{{K: 63, N: 2}}, Hist: h.Clone(),
				ExposedHistByBucket: []BucketBin{{K: 63, Bin: -1, Count: 1}, {K: 63, Bin: 31, Count: 1}}},
		},
	}
}

func TestCheckBlocks(t *testing.T) {
	const now = 1_800_000_001
	for _, tt := range []struct {
		name, code, field string
		change            func(*Block)
	}{
		{"good", "", "", func(*Block) {}},
		{"nothing counted, requests ended", "", "", func(b *Block) { b.N, b.Bad, b.Open, b.Hist, b.Cells = 0, 0, 0, nil, nil }},
		{"too old", CodeSecond, "blocks[0].second", func(b *Block) { b.Second = now - MaxAge - 1 }},
		{"in the future", CodeSecond, "blocks[0].second", func(b *Block) { b.Second = now + MaxAhead + 1 }},
		{"no rollout", CodeName, "blocks[0].rollout", func(b *Block) { b.Rollout = "" }},
		{"long metric", CodeName, "blocks[0].metric", func(b *Block) { b.Metric = strings.Repeat("m", MaxName+1) }},
		{"control character", CodeName, "blocks[0].cohort", func(b *Block) { b.Cohort = "a\nb" }},
		{"broken UTF-8", CodeName, "blocks[0].cohort", func(b *Block) { b.Cohort = "a\xff" }},
		{"exposure above all", CodeExposure, "blocks[0].exposure", func(b *Block) { b.Exposure = MaxExposure + 1 }},
		{"unknown lease", CodeLease, "blocks[0].lease", func(b *Block) { b.Lease = "maybe" }},
		{"unknown arm", CodeArm, "blocks[0].served", func(b *Block) { b.Served = "both" }},
		{"count too high", CodeCount, "blocks[0].n", func(b *Block) { b.N = MaxCount }},
		{"open too high", CodeCount, "blocks[0].open", func(b *Block) { b.Open = math.MaxUint64 }},
		{"more bad than all", CodeBad, "blocks[0].bad", func(b *Block) { b.Bad = 4 }},
		{"no total", CodeCells, "blocks[0].cells", func(b *Block) { b.Cells = b.Cells[1:] }},
		{"too many cells", CodeCells, "blocks[0].cells", func(b *Block) { b.Cells = make([]Cell, MaxCells+1) }},
		{"total differs", CodeSum, "blocks[0].cells[0]", func(b *Block) { b.N++; b.Bad++ }},
		{"segment exceeds total", CodeSum, "blocks[0].cells[1]", func(b *Block) {
			b.Cells[1].N, b.Cells[1].Buckets[0].N, b.Cells[1].Bad, b.Cells[1].Buckets[0].Bad = 4, 4, 2, 2
		}},
		{"same cell twice", CodeDuplicate, "blocks[0].cells[2]", func(b *Block) { b.Cells = append(b.Cells, b.Cells[1]) }},
		{"unknown dimension", CodeDim, "blocks[0].cells[1].dim", func(b *Block) { b.Cells[1].Dim = "zone" }},
		{"instance from outside", CodeDim, "blocks[0].cells[1].dim", func(b *Block) { b.Cells[1].Dim = DimInstance }},
		{"value without attribute", CodeName, "blocks[0].cells[1].value", func(b *Block) { b.Cells[1].Value = "eu" }},
		{"bucket 64", CodeBuckets, "blocks[0].cells[0].buckets[1].k", func(b *Block) { b.Cells[0].Buckets[1].K = 64 }},
		{"buckets descend", CodeBuckets, "blocks[0].cells[0].buckets[1].k", func(b *Block) { b.Cells[0].Buckets[1].K = 0 }},
		{"buckets short", CodeSum, "blocks[0].cells[0].buckets", func(b *Block) { b.Cells[0].Buckets[1].N = 1 }},
		{"histogram exceeds n", CodeSum, "blocks[0].hist", func(b *Block) { b.Hist.Zero = 2 }},
		{"values missing but not bad", CodeSum, "blocks[0].hist", func(b *Block) { b.Hist.Counts = b.Hist.Counts[:1] }},
		{"scale", CodeHistScale, "blocks[0].hist.scale", func(b *Block) { b.Hist.Scale = 3 }},
		{"bins", CodeHistBins, "blocks[0].hist.counts", func(b *Block) { b.Hist.Counts = make([]uint64, MaxBins+1) }},
		{"range", CodeHistRange, "blocks[0].hist.offset", func(b *Block) { b.Hist.Offset = 5000 }},
		{"sums of the values", "", "", func(b *Block) { b.Cells[0].Buckets[0].Sum, b.Cells[0].Buckets[1].Sum = -1, 31 }},
		{"other sums than the values'", CodeSum, "blocks[0].cells[0].buckets", func(b *Block) { b.Cells[0].Buckets[0].Sum = 31 }},
		{"bins by bucket of the baseline", CodeArm, "blocks[0].cells[0].exposedHistByBucket", func(b *Block) { b.Assigned = ArmBaseline }},
		{"bins by bucket descend", CodeBuckets, "blocks[0].cells[0].exposedHistByBucket[1]", func(b *Block) { b.Cells[0].ExposedHistByBucket[1].Bin = -1 }},
		{"bins by bucket are others", CodeSum, "blocks[0].cells[0].exposedHistByBucket[1]", func(b *Block) { b.Cells[0].ExposedHistByBucket[1].Bin = 30 }},
		{"bins by bucket short", CodeSum, "blocks[0].cells[1].exposedHistByBucket", func(b *Block) {
			b.Cells[1].ExposedHistByBucket = b.Cells[1].ExposedHistByBucket[:1]
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := goodBlock()
			tt.change(&b)
			err := CheckBlocks([]Block{b}, now)
			if tt.code == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Code != tt.code || e.Field != tt.field {
				t.Errorf("got %v, want %s at %s", err, tt.code, tt.field)
			}
		})
	}
}

func TestCheckBlocksOfARequest(t *testing.T) {
	var e *Error
	if err := CheckBlocks(make([]Block, MaxBlocks+1), 0); !errors.As(err, &e) || e.Code != CodeBlocks {
		t.Errorf("too many blocks: %v", err)
	}
	if err := CheckBlocks([]Block{goodBlock(), goodBlock()}, 0); !errors.As(err, &e) || e.Code != CodeDuplicate {
		t.Errorf("the same key twice: %v", err)
	}
}

func TestDecodeBlocksIsStrict(t *testing.T) {
	good, err := json.Marshal([]Block{goodBlock()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeBlocks(good, 0); err != nil {
		t.Fatalf("%s: %v", good, err)
	}
	for name, in := range map[string]string{
		"unknown member":          strings.Replace(string(good), `"open"`, `"opened"`, 1),
		"unknown member of hist":  strings.Replace(string(good), `"offset"`, `"shift"`, 1),
		"data behind":             string(good) + "[]",
		"negative count":          strings.Replace(string(good), `"n":3`, `"n":-3`, 1),
		"fraction":                strings.Replace(string(good), `"n":3`, `"n":3.5`, 1),
		"number beyond 64 bit":    strings.Replace(string(good), `"open":2`, `"open":99999999999999999999`, 1),
		"not an array":            `{"second":1}`,
		"bucket does not fit":     strings.Replace(string(good), `"k":63`, `"k":256`, 1),
		"histogram has a bad run": strings.Replace(string(good), `"counts":[1,`, `"counts":[1,-9999,`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			var e *Error
			if blocks, err := DecodeBlocks([]byte(in), 0); !errors.As(err, &e) {
				t.Errorf("%s was read as %+v, %v", in, blocks, err)
			}
		})
	}
}

func FuzzDecodeBlocks(f *testing.F) {
	good, err := json.Marshal([]Block{goodBlock()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[{"second":1,"rollout":"r","cohort":"c","lease":"held","assigned":"exposed","served":"baseline","metric":"m"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks, err := DecodeBlocks(data, 0)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code == "" || e.Field == "" {
				t.Fatalf("an error without code or field: %v", err)
			}
			return
		}
		// What was accepted can be merged with itself, is accepted again and keeps its sums.
		sum := MergeBlocks(MergeBlocks(nil, blocks), blocks)
		for i := range sum {
			if sum[i].N < MaxCount && sum[i].Open < MaxCount && sum[i].Bad < MaxCount {
				if err := CheckBlocks(sum[i:i+1], 0); err != nil {
					t.Fatalf("%s merged with itself: %v", data, err)
				}
			}
		}
	})
}
