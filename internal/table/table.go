// Package table reads files of rows: CSV with a header, JSON lines and Parquet, each also compressed with gzip. It streams:
// memory does not grow with the file. Whatever is wrong with a file is refused with the file, the row, the column and what
// to do about it; nothing is skipped or guessed.
//
// Names tell the format: .csv, .jsonl or .ndjson, .parquet, and the same with .gz behind.
package table

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/internal/profile"
)

// Limits on what a file may ask for. A file beyond one is refused.
const (
	// MaxRow is the size of a row of text, in bytes.
	MaxRow = 1 << 20
	// MaxUnpacked is how much a compressed file may grow to, in bytes.
	MaxUnpacked = 64 << 30
	// MaxRatio is how many times larger a compressed file may become once it has passed freeRatio bytes.
	MaxRatio  = 250
	freeRatio = 64 << 20
	// MaxSpooled is the size up to which a compressed Parquet file is unpacked to a temporary file.
	MaxSpooled = 4 << 30
)

// Sink takes the rows, as a *profile.Table does: first the columns that are known before any row, then the rows. cells[i]
// belongs to columns[i]; columns only ever grow. No slice may be kept.
type Sink interface {
	Grow(columns []string) error
	Add(columns []string, cells []profile.Cell) error
}

// Read streams the rows of a file to sink and returns the first error, the sink's own included.
func Read(path string, sink Sink) error {
	name, packed := strings.CutSuffix(strings.ToLower(filepath.Base(path)), ".gz")
	read, ok := readers[filepath.Ext(name)]
	if !ok {
		return fmt.Errorf("%s: the name does not end in .csv, .jsonl, .ndjson or .parquet, each also with .gz: rename or convert it", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder: name one of its files", path)
	}
	if info.Size() == 0 {
		return fmt.Errorf("%s is empty: not even a header is there", path)
	}
	if err := read(source{file: f, size: info.Size(), packed: packed}, sink); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

var readers = map[string]func(source, Sink) error{".csv": readCSV, ".jsonl": readLines, ".ndjson": readLines, ".parquet": readParquet}

// source is an open file.
type source struct {
	file   *os.File
	size   int64
	packed bool
}

var (
	gzipMagic    = []byte{0x1f, 0x8b}
	parquetMagic = []byte("PAR1")
)

// text is the file's content, unpacked, with what its first bytes give away checked against its name.
func (s source) text() (*bufio.Reader, error) {
	r, err := s.stream()
	if err != nil {
		return nil, err
	}
	return r, plain(r)
}

// stream is the file's content, unpacked.
func (s source) stream() (*bufio.Reader, error) {
	raw := bufio.NewReaderSize(s.file, 1<<16)
	if !s.packed {
		return raw, nil
	}
	z, err := gzip.NewReader(raw)
	if err != nil {
		return nil, fmt.Errorf("the name ends in .gz, but it is not compressed with gzip (%w): rename it", err)
	}
	return bufio.NewReaderSize(&unpacked{from: z, packed: s.size}, 1<<16), nil
}

// plain refuses content that is compressed (once more) or Parquet where text belongs.
func plain(r *bufio.Reader) error {
	head, err := r.Peek(4)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return unpackError(err)
	case bytes.HasPrefix(head, gzipMagic):
		return errors.New("it is compressed with gzip, once more than its name says: unpack it, or add .gz to the name")
	case bytes.Equal(head, parquetMagic):
		return errors.New("it is a Parquet file: let its name end in .parquet")
	}
	return nil
}

// unpackError makes the errors of a broken gzip stream say so.
func unpackError(err error) error {
	if errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the compressed data are damaged or cut off (%w): fetch the file again", err)
	}
	return err
}

// unpacked counts what a compressed file becomes and stops where no honest file gets to.
type unpacked struct {
	from   io.Reader
	packed int64
	n      int64
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	u.n += int64(n)
	switch {
	case u.n > MaxUnpacked:
		return n, fmt.Errorf("unpacked it is larger than %d GiB: split it", MaxUnpacked>>30)
	case u.n > freeRatio && u.n/MaxRatio > u.packed:
		return n, fmt.Errorf("it becomes more than %d times larger when unpacked: that is no table; unpack it yourself if it is", MaxRatio)
	}
	return n, err
}
