package flights

import "time"

// The data file is one gzip member. Decompressed it is a magic word and then columns, because numbers of one kind
// compress better side by side. All numbers are varints of package encoding/binary in their shortest form:
//
//	magic         "flights1"
//	rows          count
//	airports      count, then three capital letters each, by falling use as origin or destination, equal ones by code
//	minutes       since the row before; the first row's since 1970-01-01 00:00 UTC
//	delays        zigzag
//	origins       positions in the table of airports
//	destinations  the same
//	distances     one per route (pair of airports without direction), in the order in which the rows first use them
//
// Every set of rows has exactly one decompressed file, and the decoder accepts no other.
const magic = "flights1"

// Limits of what is encoded and decoded. They are far above the real file, and keep a hostile one from costing more
// memory than 64 bytes for each byte it has after decompression.
const (
	maxBytes    = 1 << 21 // decompressed
	maxRows     = 1 << 17
	maxAirports = 1 << 12
	maxMinutes  = 1 << 27 // since 1970: the year 2225
	maxDelay    = 2_880   // two days, either way
	maxDistance = 12_500  // miles, half way round the Earth
)

// route is a pair of airports without direction: positions in the table, the smaller first.
type route struct{ a, b int }

func routeOf(a, b int) route { return route{min(a, b), max(a, b)} }

// zigzag maps 0, -1, 1, -2, ... to 0, 1, 2, 3, ...
func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func atMinute(m int64) time.Time { return time.Unix(m*60, 0).UTC() }
