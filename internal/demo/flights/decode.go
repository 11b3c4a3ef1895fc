package flights

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Decode reads a file that Encode wrote. It is strict: errors are of type *Error, and columns that Encode would have
// written otherwise are refused; only how they are compressed is free.
func Decode(file []byte) ([]Row, error) {
	columns, err := decompress(file)
	if err != nil {
		return nil, err
	}
	return decodeColumns(columns)
}

// decompress returns the content of a single gzip member that ends where the file ends.
func decompress(file []byte) ([]byte, error) {
	in := bytes.NewReader(file)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, &Error{CodeGzip, 0, "no gzip header: " + err.Error()}
	}
	z.Multistream(false)
	out, err := io.ReadAll(io.LimitReader(z, maxBytes+1))
	if err != nil {
		return nil, &Error{CodeGzip, len(out), "decompress: " + err.Error()}
	}
	if len(out) > maxBytes {
		return nil, &Error{CodeLimit, maxBytes, fmt.Sprintf("more than %d bytes", maxBytes)}
	}
	if in.Len() > 0 {
		return nil, &Error{CodeTrailing, len(out), fmt.Sprintf("%d bytes follow the compressed data", in.Len())}
	}
	return out, nil
}

func decodeColumns(columns []byte) ([]Row, error) {
	d := &decoder{rest: columns, size: len(columns)}
	if !bytes.HasPrefix(columns, []byte(magic)) {
		return nil, &Error{CodeMagic, 0, fmt.Sprintf("no %q", magic)}
	}
	d.rest = d.rest[len(magic):]
	rows := make([]Row, d.count("rows", maxRows, 4)) // minutes, delay, origin and destination: a byte each at least
	airports := d.airports()
	d.minutes(rows)
	d.delays(rows)
	origins := d.positions(len(rows), len(airports))
	destinations := d.positions(len(rows), len(airports))
	d.distances(rows, origins, destinations)
	if d.err == nil && len(d.rest) > 0 {
		d.refuse(CodeTrailing, "%d bytes follow the last column", len(d.rest))
	}
	if d.err == nil {
		d.byUse(airports, origins, destinations)
	}
	if d.err != nil {
		return nil, d.err
	}
	for i := range rows {
		rows[i].Origin, rows[i].Destination = airports[origins[i]], airports[destinations[i]]
	}
	return rows, nil
}

// decoder reads columns. After the first error every read gives zero, and loops that ask for it stop.
type decoder struct {
	rest []byte
	size int
	err  error
}

func (d *decoder) refuse(code, format string, args ...any) {
	if d.err == nil {
		d.err = &Error{code, d.size - len(d.rest), fmt.Sprintf(format, args...)}
	}
}

// uvarint reads a number of at most limit.
func (d *decoder) uvarint(what string, limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	switch {
	case n == 0:
		d.refuse(CodeShort, "the file ends in %s", what)
		return 0
	case n < 0 || n > 1 && d.rest[n-1] == 0:
		d.refuse(CodeVarint, "%s is no varint in shortest form", what)
		return 0
	case v > limit:
		d.refuse(CodeRange, "%s is %d, more than %d", what, v, limit)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads a number of things of which each takes at least so many of the bytes that follow.
func (d *decoder) count(what string, limit uint64, bytesEach int) int {
	n := d.uvarint("the number of "+what, 1<<62)
	if n > limit {
		d.refuse(CodeLimit, "%d %s, more than %d", n, what, limit)
		return 0
	}
	if int(n)*bytesEach > len(d.rest) {
		d.refuse(CodeShort, "%d %s do not fit into %d bytes", n, what, len(d.rest))
		return 0
	}
	return int(n)
}

func (d *decoder) airports() []string {
	list := make([]string, d.count("airports", maxAirports, 3))
	seen := map[string]bool{}
	for i := range list {
		code := string(d.rest[:3])
		if !isAirport(code) || seen[code] {
			d.refuse(CodeAirport, "airport %d is %q, no code of three capital letters or listed before", i, code)
			return nil
		}
		d.rest, list[i], seen[code] = d.rest[3:], code, true
	}
	return list
}

func (d *decoder) minutes(rows []Row) {
	var at uint64
	for i := range rows {
		at += d.uvarint("minutes", maxMinutes)
		if at > maxMinutes {
			d.refuse(CodeRange, "row %d is at minute %d, more than %d", i, at, maxMinutes)
		}
		if d.err != nil {
			return
		}
		rows[i].At = atMinute(int64(at))
	}
}

func (d *decoder) delays(rows []Row) {
	for i := range rows {
		rows[i].Delay = int(unzigzag(d.uvarint("a delay", zigzag(maxDelay)))) // one less than -maxDelay is larger
	}
}

func (d *decoder) positions(rows, airports int) []int {
	list := make([]int, rows)
	for i := range list {
		list[i] = int(d.uvarint("an airport's position", uint64(max(airports-1, 0))))
	}
	return list
}

func (d *decoder) distances(rows []Row, origins, destinations []int) {
	byRoute := map[route]int{}
	for i := range rows {
		r := routeOf(origins[i], destinations[i])
		if r.a == r.b {
			d.refuse(CodeRoute, "row %d flies from airport %d to itself", i, r.a)
		}
		if d.err != nil {
			return
		}
		miles, ok := byRoute[r]
		if !ok {
			miles = int(d.uvarint("a distance", maxDistance))
			if miles == 0 {
				d.refuse(CodeRange, "row %d has no distance", i)
			}
			byRoute[r] = miles
		}
		rows[i].Distance = miles
	}
}

// byUse checks that the table of airports is the one Encode makes: by falling use, each used.
func (d *decoder) byUse(airports []string, origins, destinations []int) {
	count := make(map[string]int, len(airports))
	for i := range origins {
		count[airports[origins[i]]]++
		count[airports[destinations[i]]]++
	}
	if !slices.IsSortedFunc(airports, byUse(count)) {
		d.refuse(CodeOrder, "the table of %d airports is not sorted by use", len(airports))
	}
	for _, code := range airports {
		if count[code] == 0 {
			d.refuse(CodeAirport, "no row uses airport %s", code)
		}
	}
}

func isAirport(code string) bool {
	return len(code) == 3 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
