// Package flights is the model behind the demonstration: 20,000 real flights, an estimate of their delay made from one
// feature in two versions, the faults that can be put into it, and the schedule by which it is rolled out. The four
// components of `sluice demo` and the simulator run this very code, so what the simulator shows is what the components do.
//
// It is pure: rows come in, features, predictions and scores come out. A replay reads
//
//	tr := flights.NewTransformer(flights.FaultFeed)
//	for _, r := range flights.Load() {
//		v11, v12 := tr.Features(r) // what was known before this flight
//		if tr.Depth(r.Origin) >= flights.MinDepth {
//			flights.ScoreOf(r, flights.Predict(v12))
//		}
//		tr.Observe(r)
//	}
//
// The flights are those of United States carriers from January to March 2001; LICENSE-DATA.md says where they come from.
package flights

import (
	_ "embed"
	"slices"
	"strings"
	"time"
)

// Where the flights come from: the file of the npm package that tools/flightsdata reads, and what it makes of it.
const (
	Package    = "vega-datasets@3.2.1"
	RawFile    = "data/flights-20k.json"
	RawSHA256  = "52f0ddd892d4569284b845e17323abc9afb7d303ec8f63251634a20327a610bb" // of RawFile
	DataSHA256 = "92a180394302a489589fb0ae22e19ba7a49939efbf6cba4f0c2f2ed09a9de38c" // of flights.bin.gz
)

//go:embed flights.bin.gz
var data []byte

// Row is one flight. Everything but Destination is judged or enters the feature; Destination is for explanations.
type Row struct {
	At          time.Time // departure, full minutes. The data set has local times without a zone; they are read as UTC
	Delay       int       // of the arrival in minutes, negative when early
	Distance    int       // in statute miles; one per pair of airports, whatever the direction
	Origin      string    // airport code, three capital letters
	Destination string    // another airport code
}

// Load returns the 20,000 flights in the order of the data set, which is that of At (equal minutes keep the data set's
// order). A row's position is its number in Stages, UnitID and Fault.ActiveAt. Each call decodes the embedded file
// anew (a few milliseconds, about 2 MB); the slice is the caller's.
func Load() []Row {
	rows, err := Decode(data)
	if err != nil {
		panic("flights: the embedded flights.bin.gz is damaged: " + err.Error())
	}
	return rows
}

// Digest returns the SHA-256 of the raw file in the form "sha256:<hex>", to be shown beside what is computed from it.
func Digest() string { return "sha256:" + RawSHA256 }

// BusiestOrigins returns the n origins with the most flights among rows, busiest first, equal ones by code; fewer than n
// if rows has fewer origins.
func BusiestOrigins(rows []Row, n int) []string {
	count := map[string]int{}
	for _, r := range rows {
		count[r.Origin]++
	}
	origins := make([]string, 0, len(count))
	for o := range count {
		origins = append(origins, o)
	}
	slices.SortFunc(origins, byUse(count))
	return origins[:min(max(n, 0), len(origins))]
}

// byUse orders codes by falling count, equal ones by code.
func byUse(count map[string]int) func(a, b string) int {
	return func(a, b string) int {
		if d := count[b] - count[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	}
}
