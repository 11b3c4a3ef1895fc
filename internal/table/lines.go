package table

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sluice.dev/sluice/internal/profile"
)

// maxDepth is how deep the objects of a line may nest. Fields of inner objects are columns with a path: user.age.
const maxDepth = 16

func readLines(s source, sink Sink) error {
	in, err := s.text()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<16), MaxRow)
	l := line{index: map[string]int{}}
	row := 0
	for n := 1; lines.Scan(); n++ {
		text := bytes.TrimSpace(bytes.TrimPrefix(lines.Bytes(), []byte("\ufeff")))
		if len(text) == 0 {
			continue
		}
		row++
		if err := l.read(text); err != nil {
			return fmt.Errorf("row %d (line %d): %w", row, n, err)
		}
		if err := sink.Add(l.columns, l.cells); err != nil {
			return fmt.Errorf("row %d (line %d): %w", row, n, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("row %d is longer than %d KiB: one object a line, without embedded documents", row+1, MaxRow>>10)
	case err != nil:
		return fmt.Errorf("row %d: %w", row+1, unpackError(err))
	case row == 0:
		return errors.New("it has no row: write one JSON object a line")
	}
	return nil
}

// line is the row being read, and the columns of all rows so far.
type line struct {
	columns []string
	index   map[string]int
	cells   []profile.Cell
	given   []bool // cells that this line has set
}

func (l *line) read(text []byte) error {
	clear(l.cells)
	clear(l.given)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%q is not a JSON object: write {\"column\": value, ...}", short(string(text)))
	}
	if err := l.object(dec, "", 1); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more follows after the object: one object a line")
	}
	return nil
}

// object reads the fields of an object whose opening brace has been read.
func (l *line) object(dec *json.Decoder, path string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("column %q: objects nest deeper than %d: flatten them", short(path), maxDepth)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("not JSON: %w", err)
		}
		name, _ := t.(string) // a decoder gives strings only where keys belong
		if err := l.field(dec, path+name, depth); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return nil
}

func (l *line) field(dec *json.Decoder, path string, depth int) error {
	t, err := dec.Token()
	if err != nil {
		return fmt.Errorf("column %q: not JSON: %w", short(path), err)
	}
	if t == json.Delim('{') {
		return l.object(dec, path+".", depth+1)
	}
	c, err := l.value(dec, t)
	if err != nil {
		return fmt.Errorf("column %q: not JSON: %w", short(path), err)
	}
	return l.set(path, c)
}

func (l *line) set(path string, c profile.Cell) error {
	i, known := l.index[path]
	switch {
	case path == "":
		return errors.New("a field has no name: give it one")
	case known && l.given[i]:
		return fmt.Errorf("column %q is there twice: remove one", short(path))
	case !known && len(l.columns) == profile.MaxColumns:
		return fmt.Errorf("column %q is number %d: at most %d columns can be profiled; are values used as names?", short(path), len(l.columns)+1, profile.MaxColumns)
	case !known:
		i = len(l.columns)
		l.index[path] = i
		l.columns, l.cells, l.given = append(l.columns, path), append(l.cells, profile.Cell{}), append(l.given, false)
	}
	l.cells[i], l.given[i] = c, true
	return nil
}

// value reads what begins with t.
func (l *line) value(dec *json.Decoder, t json.Token) (profile.Cell, error) {
	switch t := t.(type) {
	case bool:
		if t {
			return profile.Cell{Kind: profile.Bool, Int: 1}, nil
		}
		return profile.Cell{Kind: profile.Bool}, nil
	case json.Number:
		c, _ := numeral([]byte(t)) // JSON's numbers are a part of ours
		return c, nil
	case string:
		if at, ok := clock([]byte(t)); ok {
			return moment(at), nil
		}
		return profile.Cell{Kind: profile.Text, Text: []byte(t)}, nil
	case json.Delim:
		n, err := skipList(dec)
		return profile.Cell{Kind: profile.List, Int: n}, err
	}
	return profile.Cell{}, nil // null
}

// skipList reads to the end of a list whose bracket has been read, and counts its elements.
func skipList(dec *json.Decoder) (n int64, err error) {
	for dec.More() {
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return 0, err
		}
		n++
	}
	_, err = dec.Token()
	return n, err
}
