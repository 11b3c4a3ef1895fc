package flights

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"slices"
)

// Encode writes rows as a data file. Rows must be in order of time, in full minutes, and within the limits of the
// format; a route has one distance. It returns an *Error, with the row as Offset, for rows that have no such file. The
// same rows give the same columns everywhere; the compressed bytes depend on the Go release.
func Encode(rows []Row) ([]byte, error) {
	columns, err := encodeColumns(rows)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress %d bytes: %w", len(columns), err)
	}
	if _, err := z.Write(columns); err != nil {
		return nil, fmt.Errorf("compress %d bytes: %w", len(columns), err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress %d bytes: %w", len(columns), err)
	}
	return out.Bytes(), nil
}

func encodeColumns(rows []Row) ([]byte, error) {
	if err := checkRows(rows); err != nil {
		return nil, err
	}
	airports := airportsByUse(rows)
	if len(airports) > maxAirports {
		return nil, &Error{CodeLimit, 0, fmt.Sprintf("%d airports, more than %d", len(airports), maxAirports)}
	}
	out := binary.AppendUvarint([]byte(magic), uint64(len(rows)))
	out = binary.AppendUvarint(out, uint64(len(airports)))
	position := make(map[string]int, len(airports))
	for i, code := range airports {
		out = append(out, code...)
		position[code] = i
	}
	before := int64(0)
	for _, r := range rows {
		minute := r.At.Unix() / 60
		out = binary.AppendUvarint(out, uint64(minute-before))
		before = minute
	}
	for _, r := range rows {
		out = binary.AppendUvarint(out, zigzag(int64(r.Delay)))
	}
	for _, r := range rows {
		out = binary.AppendUvarint(out, uint64(position[r.Origin]))
	}
	for _, r := range rows {
		out = binary.AppendUvarint(out, uint64(position[r.Destination]))
	}
	return appendDistances(out, rows, position)
}

// checkRows says which row, if any, the format cannot hold. Distances are compared by appendDistances.
func checkRows(rows []Row) error {
	if len(rows) > maxRows {
		return &Error{CodeLimit, maxRows, fmt.Sprintf("%d rows, more than %d", len(rows), maxRows)}
	}
	for i, r := range rows {
		minute := r.At.Unix() / 60
		switch {
		case !r.At.Equal(atMinute(minute)) || r.At.Unix() < 0 || minute > maxMinutes:
			return &Error{CodeRange, i, fmt.Sprintf("time %v is not a full minute between 1970 and 2225", r.At)}
		case i > 0 && r.At.Before(rows[i-1].At):
			return &Error{CodeOrder, i, fmt.Sprintf("time %v is before that of the row before, %v", r.At, rows[i-1].At)}
		case r.Delay < -maxDelay || r.Delay > maxDelay:
			return &Error{CodeRange, i, fmt.Sprintf("delay is %d minutes, more than %d", r.Delay, maxDelay)}
		case r.Distance < 1 || r.Distance > maxDistance:
			return &Error{CodeRange, i, fmt.Sprintf("distance is %d miles, not 1 to %d", r.Distance, maxDistance)}
		case !isAirport(r.Origin) || !isAirport(r.Destination):
			return &Error{CodeAirport, i, fmt.Sprintf("%q to %q: no codes of three capital letters", r.Origin, r.Destination)}
		case r.Origin == r.Destination:
			return &Error{CodeRoute, i, "a flight from " + r.Origin + " to itself"}
		}
	}
	return nil
}

func airportsByUse(rows []Row) []string {
	count := map[string]int{}
	for _, r := range rows {
		count[r.Origin]++
		count[r.Destination]++
	}
	airports := make([]string, 0, len(count))
	for code := range count {
		airports = append(airports, code)
	}
	slices.SortFunc(airports, byUse(count))
	return airports
}

func appendDistances(out []byte, rows []Row, position map[string]int) ([]byte, error) {
	byRoute := map[route]int{}
	for i, r := range rows {
		key := routeOf(position[r.Origin], position[r.Destination])
		miles, ok := byRoute[key]
		if ok && miles != r.Distance {
			return nil, &Error{CodeRoute, i, fmt.Sprintf("%s to %s is %d miles here and %d before", r.Origin, r.Destination, r.Distance, miles)}
		}
		if !ok {
			byRoute[key] = r.Distance
			out = binary.AppendUvarint(out, uint64(r.Distance))
		}
	}
	return out, nil
}
