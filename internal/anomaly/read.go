package anomaly

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// layout of timestamps in the benchmark's files, UTC; fractions of a second may follow.
const layout = "2006-01-02 15:04:05"

// ReadSeries reads a CSV file with the columns timestamp and value and a line of headings. Rows keep their order, also where
// clocks were put back; values must be finite numbers. Errors name the line.
func ReadSeries(name string, r io.Reader) (*Series, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord, in.ReuseRecord = 2, true
	s := &Series{Name: name}
	for line := 1; ; line++ {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if line == 1 {
			continue
		}
		at, x, err := readRow(row)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		s.At, s.Value = append(s.At, at), append(s.Value, x)
	}
	if len(s.Value) == 0 {
		return nil, fmt.Errorf("%s: no rows: a line of headings and then timestamp,value are needed", name)
	}
	return s, nil
}

func readRow(row []string) (time.Time, float64, error) {
	at, err := time.Parse(layout, row[0])
	if err != nil {
		return at, 0, fmt.Errorf("timestamp %q is not like %q: %w", row[0], layout, err)
	}
	x, err := strconv.ParseFloat(row[1], 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return at, 0, fmt.Errorf("value %q is not a finite number", row[1])
	}
	return at, x, nil
}

// ReadWindows reads windows.json: for each file's name a list of [begin, end].
func ReadWindows(r io.Reader) (map[string][][2]time.Time, error) {
	var raw map[string][][2]string
	if err := json.NewDecoder(r).Decode(&raw); err != nil {
		return nil, fmt.Errorf("windows.json: %w", err)
	}
	out := make(map[string][][2]time.Time, len(raw))
	for name, list := range raw {
		windows := make([][2]time.Time, len(list))
		for i, w := range list {
			for end := range w {
				at, err := time.Parse(layout, w[end])
				if err != nil {
					return nil, fmt.Errorf("windows.json: %s: %q is not like %q: %w", name, w[end], layout, err)
				}
				windows[i][end] = at
			}
		}
		out[name] = windows
	}
	return out, nil
}
