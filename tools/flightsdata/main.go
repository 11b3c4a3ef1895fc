// Command flightsdata makes internal/demo/flights/flights.bin.gz from the file flights-20k.json of the npm package
// vega-datasets. README.md says where to get that file. It refuses any other content, reads its own result back, and
// prints what it wrote.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"sluice.dev/sluice/internal/demo/flights"
)

func main() {
	in := flag.String("in", "flights-20k.json", "raw file of "+flights.Package)
	out := flag.String("out", "internal/demo/flights/flights.bin.gz", "file to write")
	flag.Parse()
	if err := run(*in, *out, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "flightsdata:", err)
		os.Exit(1)
	}
}

func run(in, out string, report io.Writer) error {
	raw, err := os.ReadFile(in)
	if err != nil {
		return fmt.Errorf("read the raw file: %w", err)
	}
	if got := digest(raw); got != flights.RawSHA256 {
		return fmt.Errorf("%s has sha256 %s, want %s (%s of %s)", in, got, flights.RawSHA256, flights.RawFile, flights.Package)
	}
	rows, err := parse(raw)
	if err != nil {
		return fmt.Errorf("parse %s: %w", in, err)
	}
	file, err := convert(rows)
	if err != nil {
		return fmt.Errorf("convert %d rows of %s: %w", len(rows), in, err)
	}
	if err := os.WriteFile(out, file, 0o644); err != nil {
		return fmt.Errorf("write the data file: %w", err)
	}
	_, err = fmt.Fprintf(report, "%d rows, %d bytes of JSON -> %d bytes\nsha256 %s  %s\n", len(rows), len(raw), len(file), digest(file), out)
	return err
}

// convert encodes rows and makes sure that they come back the same.
func convert(rows []flights.Row) ([]byte, error) {
	file, err := flights.Encode(rows)
	if err != nil {
		return nil, err
	}
	back, err := flights.Decode(file)
	if err != nil {
		return nil, fmt.Errorf("read the result back: %w", err)
	}
	if !slices.Equal(back, rows) {
		return nil, errors.New("the result reads back as other rows")
	}
	return file, nil
}

// dateLayout is that of the raw file. It has no zone; flights.Row says that it is read as UTC.
const dateLayout = "2006/01/02 15:04"

// parse reads an array of flights, in which every field is required and no other is known.
func parse(raw []byte) ([]flights.Row, error) {
	var list []struct {
		Date        *string `json:"date"`
		Delay       *int    `json:"delay"`
		Distance    *int    `json:"distance"`
		Origin      *string `json:"origin"`
		Destination *string `json:"destination"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the array")
	}
	rows := make([]flights.Row, len(list))
	for i, f := range list {
		if f.Date == nil || f.Delay == nil || f.Distance == nil || f.Origin == nil || f.Destination == nil {
			return nil, fmt.Errorf("row %d lacks a field", i)
		}
		at, err := time.ParseInLocation(dateLayout, *f.Date, time.UTC)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		rows[i] = flights.Row{At: at, Delay: *f.Delay, Distance: *f.Distance, Origin: *f.Origin, Destination: *f.Destination}
	}
	return rows, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
