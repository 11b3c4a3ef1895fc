package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Limits on what a Parquet file may announce. The decoder takes memory by what is announced, before it looks at the data.
const (
	maxFooter = 64 << 20
	maxPage   = 256 << 20 // of a page, unpacked
	maxHeader = 1 << 20   // of a page, with its statistics
)

// footerFits refuses a file whose last bytes announce a footer that cannot be there.
func footerFits(in io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return errors.New("not a readable Parquet file (too short): write it again, or name it by what it is")
	}
	if _, err := in.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	footer := int64(binary.LittleEndian.Uint32(tail[:4]))
	if footer > min(size-12, maxFooter) {
		return fmt.Errorf("not a readable Parquet file (a footer of %d bytes in a file of %d, at most %d MiB): write it again, or name it by what it is", footer, size, maxFooter>>20)
	}
	return nil
}

// pagesFit walks the headers of all pages and refuses a file in which one announces more than a page can be.
func pagesFit(in io.ReaderAt, size int64, meta *format.FileMetaData) error {
	head := make([]byte, maxHeader)
	for g := range meta.RowGroups {
		for c := range meta.RowGroups[g].Columns {
			m := &meta.RowGroups[g].Columns[c].MetaData
			from := m.DataPageOffset
			if d := m.DictionaryPageOffset; d > 0 && d < from {
				from = d
			}
			if from < 4 || m.TotalCompressedSize < 0 || from > size-m.TotalCompressedSize {
				return fmt.Errorf("row group %d, column %d: damaged Parquet data (it lies outside the file): write the file again", g+1, c+1)
			}
			if err := chunkFits(in, from, from+m.TotalCompressedSize, head); err != nil {
				return fmt.Errorf("row group %d, column %d: %w", g+1, c+1, err)
			}
		}
	}
	return nil
}

func chunkFits(in io.ReaderAt, at, end int64, head []byte) error {
	for at < end {
		n, err := in.ReadAt(head[:min(int64(len(head)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		r := new(thrift.CompactProtocol).NewReaderFromBytes(head[:n])
		var h format.PageHeader
		if err := thrift.NewDecoder(r).Decode(&h); err != nil {
			return fmt.Errorf("damaged Parquet data (header of a page: %w): write the file again", err)
		}
		at += int64(r.(interface{ BytesRead() int }).BytesRead())
		if h.CompressedPageSize < 0 || int64(h.CompressedPageSize) > end-at || h.UncompressedPageSize < 0 || h.UncompressedPageSize > maxPage {
			return fmt.Errorf("damaged Parquet data (a page of %d bytes, %d unpacked, at most %d MiB): write the file again with smaller pages",
				h.CompressedPageSize, h.UncompressedPageSize, maxPage>>20)
		}
		at += int64(h.CompressedPageSize)
	}
	return nil
}

// openParquet opens a file that announces nothing it cannot hold.
func openParquet(in io.ReaderAt, size int64) (*parquet.File, error) {
	if err := footerFits(in, size); err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(in, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return nil, fmt.Errorf("not a readable Parquet file (%w): write it again, or name it by what it is", err)
	}
	return f, pagesFit(in, size, f.Metadata())
}
