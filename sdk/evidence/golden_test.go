package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/rand"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

const goldenFile = "../../api/testdata/evidence.json"

// golden holds the vectors that every implementation of the wire format shares. Values travel as decimal text that
// reads back to the same float64.
type golden struct {
	Comment string          `json:"comment"`
	Index   []goldenIndex   `json:"index"`
	Shift   []goldenShift   `json:"shift"`
	Hists   []goldenHist    `json:"hists"`
	Second  json.RawMessage `json:"second"` // canonical JSON of a closed second
	Digest  string          `json:"digest"` // of Second
	Blocks  json.RawMessage `json:"blocks"` // one request's blocks
	Refused []goldenRefused `json:"refused"`
}

type goldenIndex struct {
	Scale int     `json:"scale"`
	Value float64 `json:"value"`
	Bin   int32   `json:"bin"`
}

type goldenShift struct {
	Scale     int     `json:"scale"`
	Margin    float64 `json:"margin"`
	Bins      int32   `json:"bins"`
	Effective float64 `json:"effective"`
}

type goldenHist struct {
	Scale  int             `json:"scale"`
	Values []float64       `json:"values"`
	JSON   json.RawMessage `json:"json"`
	P50    float64         `json:"p50"`
	P99    float64         `json:"p99"`
}

type goldenRefused struct {
	Name   string          `json:"name"`
	Blocks json.RawMessage `json:"blocks"`
	Code   string          `json:"code"`
	Field  string          `json:"field"`
}

func buildGolden(t *testing.T) []byte {
	g := golden{Comment: "Vectors of the evidence wire format. A bin i holds values in (base^i, base^(i+1)], base = 2^(2^-scale); bin -2147483648 is the zero bin (values <= 2^-30). " +
		"In counts -k stands for k empty bins. A writer may write every bin out; a reader must understand both."}
	rng := rand.New(rand.NewSource(20))
	for _, scale := range []int{5, 7, 10} {
		for _, v := range []float64{0, 0x1p-30, 1, 2, 1000, 0x1p34, 1e300, math.Sqrt2, math.Nextafter(math.Sqrt2, 0), LowerBound(scale, 777), rng.ExpFloat64(), 100 * rng.ExpFloat64()} {
			g.Index = append(g.Index, goldenIndex{scale, v, Index(scale, v)})
		}
		for _, m := range []float64{0, 0.05, 0.1, 0.2, 1, -0.1} {
			bins, eff := ShiftOf(scale, 1+m)
			g.Shift = append(g.Shift, goldenShift{scale, m, bins, eff})
		}
		h := goldenHist{Scale: scale, Values: []float64{0, 2.5}}
		hist := NewHist(scale)
		for range 12 {
			h.Values = append(h.Values, math.Round(1e6*math.Exp(rng.NormFloat64()))/1e3)
		}
		for _, v := range h.Values {
			hist.Add(v)
		}
		h.JSON, _ = json.Marshal(hist)
		h.P50, _ = hist.Quantile(0.5)
		h.P99, _ = hist.Quantile(0.99)
		g.Hists = append(g.Hists, h)
	}
	s := Second{At: 1000, Through: 2, Members: 2}
	s.Add("model-1", randomBlocks(t, 51, 1000))
	s.Add("model-2", randomBlocks(t, 52, 1000))
	g.Second, g.Digest = AppendCanonical(nil, &s), SecondDigest(&s)
	g.Blocks, _ = json.Marshal([]Block{goodBlock()})
	for name, change := range map[string]func(*Block){
		"arm":     func(b *Block) { b.Served = "candidate" },
		"buckets": func(b *Block) { b.Cells[0].Buckets[1].K = 64 },
		"sum":     func(b *Block) { b.Cells[0].N = 2 },
		"dim":     func(b *Block) { b.Cells[1].Dim = "zone" },
	} {
		b := goodBlock()
		change(&b)
		var e *Error
		if !errors.As(CheckBlocks([]Block{b}, 0), &e) {
			t.Fatalf("%s is not refused", name)
		}
		data, _ := json.Marshal([]Block{b})
		g.Refused = append(g.Refused, goldenRefused{name, data, e.Code, e.Field})
	}
	sortRefused(g.Refused)
	out, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func sortRefused(list []goldenRefused) {
	for i := range list {
		for j := i; j > 0 && list[j].Name < list[j-1].Name; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}

func TestGoldenVectors(t *testing.T) {
	if *update {
		if err := os.WriteFile(goldenFile, buildGolden(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if want := buildGolden(t); !bytes.Equal(data, want) {
		t.Errorf("%s differs from what this code says; look at the difference, then: go test ./evidence -run Golden -update", goldenFile)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	for _, v := range g.Index {
		if got := Index(v.Scale, v.Value); got != v.Bin {
			t.Errorf("Index(%d, %g) = %d, want %d", v.Scale, v.Value, got, v.Bin)
		}
	}
	var s Second
	if err := json.Unmarshal(g.Second, &s); err != nil || SecondDigest(&s) != g.Digest || s.Check() != nil {
		t.Errorf("second: %v, digest %s, want %s, check %v", err, SecondDigest(&s), g.Digest, s.Check())
	}
	if _, err := DecodeBlocks(g.Blocks, 0); err != nil {
		t.Errorf("blocks: %v", err)
	}
	for _, r := range g.Refused {
		var e *Error
		if _, err := DecodeBlocks(r.Blocks, 0); !errors.As(err, &e) || e.Code != r.Code || e.Field != r.Field {
			t.Errorf("%s: got %v, want %s at %s", r.Name, err, r.Code, r.Field)
		}
	}
}
