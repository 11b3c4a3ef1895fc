package table

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/profile"
)

func readCSV(s source, sink Sink) error {
	in, err := s.text()
	if err != nil {
		return err
	}
	if bom, _ := in.Peek(3); string(bom) == "\ufeff" {
		_, _ = in.Discard(3) // it was just peeked at
	}
	bound := &bounded{from: in, left: MaxRow}
	r := csv.NewReader(bound)
	r.ReuseRecord, r.FieldsPerRecord = true, -1
	columns, err := header(r)
	if err != nil {
		return err
	}
	if err := sink.Grow(columns); err != nil {
		return err
	}
	cells := make([]profile.Cell, len(columns))
	for row := 1; ; row++ {
		bound.left = MaxRow
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvError(row, err)
		}
		if len(fields) != len(columns) {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("row %d (line %d) has %d fields, the header has %d: add the missing ones, or quote values with commas", row, line, len(fields), len(columns))
		}
		for i, f := range fields {
			cells[i] = scalar([]byte(f))
		}
		if err := sink.Add(columns, cells); err != nil {
			return err
		}
	}
}

// header reads the names of the columns and refuses what cannot be names.
func header(r *csv.Reader) ([]string, error) {
	first, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it has no header: write the names of the columns into the first line")
	}
	if err != nil {
		return nil, csvError(0, err)
	}
	columns := slices.Clone(first)
	if len(columns) == 1 && strings.ContainsAny(columns[0], ";\t|") {
		return nil, fmt.Errorf("the header %q has no comma: fields must be separated by commas; convert the file", short(columns[0]))
	}
	numbers := 0
	for i, name := range columns {
		name = strings.TrimSpace(name)
		columns[i] = name
		if name == "" {
			return nil, fmt.Errorf("column %d has no name in the header: give it one, or remove the column", i+1)
		}
		if j := slices.Index(columns[:i], name); j >= 0 {
			return nil, fmt.Errorf("columns %d and %d are both called %q: rename one", j+1, i+1, short(name))
		}
		if k := scalar([]byte(name)).Kind; k != profile.Text && k != profile.Null {
			numbers++
		}
	}
	if numbers == len(columns) {
		return nil, fmt.Errorf("the first line, %q, holds values, not names: add a header", short(strings.Join(columns, ",")))
	}
	return columns, nil
}

// csvError says what is wrong in the words of the file. Row 0 is the header.
func csvError(row int, err error) error {
	where := fmt.Sprintf("row %d", row)
	if row == 0 {
		where = "the header"
	}
	var parse *csv.ParseError
	switch {
	case errors.Is(err, errLongRow):
		return fmt.Errorf("%s is longer than %d KiB: is a quotation mark not closed?", where, MaxRow>>10)
	case errors.As(err, &parse):
		return fmt.Errorf("%s (line %d, byte %d): %w: write a quotation mark inside a value twice, and the whole value in quotation marks", where, parse.Line, parse.Column, parse.Err)
	}
	return fmt.Errorf("%s: %w", where, unpackError(err))
}

// short is a text for an error message.
func short(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:57], "") + "..."
}

var errLongRow = errors.New("row too long")

// bounded stops a reader that has taken more than a row may have, before it holds it in memory.
type bounded struct {
	from io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errLongRow
	}
	n, err := b.from.Read(p)
	b.left -= n
	return n, err
}
