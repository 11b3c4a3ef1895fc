package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// MarshalJSON writes {"scale","offset","counts","zero"} in canonical form. In counts a negative number -k stands for k empty
// bins in a row (used for two and more), so a histogram with few values far apart stays small. Zero parts are left out.
func (h Hist) MarshalJSON() ([]byte, error) {
	h.Trim()
	b := append(make([]byte, 0, 64+3*len(h.Counts)), `{"scale":`...)
	b = strconv.AppendInt(b, int64(h.Scale), 10)
	if len(h.Counts) > 0 {
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, int64(h.Offset), 10)
		b = append(b, `,"counts":`...)
		b = appendCounts(b, h.Counts)
	}
	if h.Zero > 0 {
		b = append(b, `,"zero":`...)
		b = strconv.AppendUint(b, h.Zero, 10)
	}
	return append(b, '}'), nil
}

func appendCounts(b []byte, counts []uint64) []byte {
	b = append(b, '[')
	for i := 0; i < len(counts); {
		run := i
		for run < len(counts) && counts[run] == 0 {
			run++
		}
		if i > 0 {
			b = append(b, ',')
		}
		if run-i >= 2 {
			b = strconv.AppendInt(b, int64(i-run), 10)
			i = run
			continue
		}
		b = strconv.AppendUint(b, counts[i], 10)
		i++
	}
	return append(b, ']')
}

// UnmarshalJSON reads what MarshalJSON writes and the same with every bin written out. It refuses unknown members, a scale,
// an offset or a count outside the limits and more than MaxBins bins, without allocating more than those need.
func (h *Hist) UnmarshalJSON(data []byte) error {
	var raw struct {
		Scale  int     `json:"scale"`
		Offset int32   `json:"offset"`
		Counts []int64 `json:"counts"`
		Zero   uint64  `json:"zero"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&raw); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	bins := 0
	for _, c := range raw.Counts {
		step := int64(1)
		if c < 0 {
			step = -c
		}
		if step < 0 || step > MaxBins || bins+int(step) > MaxBins {
			return &Error{Code: CodeHistBins, Field: "hist.counts", Limit: strconv.Itoa(MaxBins), Got: "more bins"}
		}
		bins += int(step)
	}
	counts := make([]uint64, 0, bins)
	for _, c := range raw.Counts {
		if c < 0 {
			counts = append(counts, make([]uint64, -c)...)
			continue
		}
		counts = append(counts, uint64(c))
	}
	read := Hist{Scale: raw.Scale, Offset: raw.Offset, Counts: counts, Zero: raw.Zero}
	if err := read.Check(); err != nil {
		return err
	}
	read.Trim()
	*h = read
	return nil
}
