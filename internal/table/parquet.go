package table

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"sluice.dev/sluice/internal/profile"
)

// rowsAtOnce is how many rows are decoded together.
const rowsAtOnce = 128

func readParquet(s source, sink Sink) error {
	if s.packed {
		return spooled(s, sink)
	}
	return parquetRows(s.file, s.size, sink)
}

// spooled unpacks to a temporary file: Parquet is read from its end.
func spooled(s source, sink Sink) error {
	in, err := s.stream()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp("", "sluice-profile-")
	if err != nil {
		return err
	}
	defer func() { _ = tmp.Close(); _ = os.Remove(tmp.Name()) }() // a temporary file: nothing is lost
	n, err := io.Copy(tmp, io.LimitReader(in, MaxSpooled+1))
	if err != nil {
		return unpackError(err)
	}
	if n > MaxSpooled {
		return fmt.Errorf("unpacked it is larger than %d GiB: unpack it yourself, Parquet compresses its pages anyway", MaxSpooled>>30)
	}
	return parquetRows(tmp, n, sink)
}

// parquetRows reads the rows. A decoder that panics over damaged bytes must not take the program with it.
func parquetRows(in io.ReaderAt, size int64, sink Sink) (err error) {
	row := 0
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("after row %d: damaged Parquet data (%v): write the file again", row, p)
		}
	}()
	f, err := openParquet(in, size)
	if err != nil {
		return err
	}
	p, err := newParquetReader(f)
	if err != nil {
		return err
	}
	if err := sink.Grow(p.columns); err != nil {
		return err
	}
	for _, g := range f.RowGroups() {
		if err := p.group(g, &row, sink); err != nil {
			return err
		}
	}
	return nil
}

// parquetReader turns Parquet's values into cells, one column per leaf.
type parquetReader struct {
	columns []string
	decode  []func(parquet.Value) profile.Cell
	list    []bool
	cells   []profile.Cell
}

func newParquetReader(f *parquet.File) (*parquetReader, error) {
	p := &parquetReader{}
	var leaves func(c *parquet.Column)
	leaves = func(c *parquet.Column) {
		if !c.Leaf() {
			for _, child := range c.Columns() {
				leaves(child)
			}
			return
		}
		p.columns = append(p.columns, strings.Join(c.Path(), "."))
		p.decode, p.list = append(p.decode, decoder(c.Type())), append(p.list, c.MaxRepetitionLevel() > 0)
	}
	leaves(f.Root())
	if len(p.columns) > profile.MaxColumns {
		return nil, fmt.Errorf("it has %d columns: at most %d can be profiled; select some", len(p.columns), profile.MaxColumns)
	}
	if len(p.columns) == 0 {
		return nil, errors.New("it has no columns: write it again")
	}
	p.cells = make([]profile.Cell, len(p.columns))
	return p, nil
}

func (p *parquetReader) group(g parquet.RowGroup, row *int, sink Sink) error {
	rows := g.Rows()
	defer func() { _ = rows.Close() }() // only read from
	buf := make([]parquet.Row, rowsAtOnce)
	for {
		n, err := rows.ReadRows(buf)
		for _, r := range buf[:n] {
			*row++
			p.row(r)
			if err := sink.Add(p.columns, p.cells); err != nil {
				return fmt.Errorf("row %d: %w", *row, err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("after row %d: damaged Parquet data (%w): write the file again", *row, err)
		case n == 0:
			return fmt.Errorf("after row %d: damaged Parquet data (no row where one is announced): write the file again", *row)
		}
	}
}

func (p *parquetReader) row(r parquet.Row) {
	clear(p.cells)
	for _, v := range r {
		i := v.Column()
		switch {
		case v.IsNull():
		case p.list[i]:
			p.cells[i].Kind = profile.List
			p.cells[i].Int++
		default:
			p.cells[i] = p.decode[i](v)
		}
	}
}

// decoder is how values of a type become cells.
func decoder(t parquet.Type) func(parquet.Value) profile.Cell {
	if l := t.LogicalType(); l != nil {
		switch l := l.Value.(type) {
		case *format.TimestampType:
			return timestamps(l.Unit)
		case *format.DateType:
			return func(v parquet.Value) profile.Cell {
				return profile.Cell{Kind: profile.Time, Num: 86400 * float64(v.Int32())}
			}
		case *format.DecimalType:
			return decimals(t.Kind(), l.Scale)
		case *format.UUIDType:
			return func(v parquet.Value) profile.Cell {
				return profile.Cell{Kind: profile.Text, Text: hex.AppendEncode(nil, v.ByteArray())}
			}
		case *format.IntType:
			if !l.IsSigned {
				return unsigned(t.Kind())
			}
		}
	}
	return physical(t.Kind())
}

func timestamps(unit format.TimeUnit) func(parquet.Value) profile.Cell {
	perSecond := 1e9
	if unit.Value != nil {
		perSecond = float64(time.Second / unit.Value.Duration())
	}
	return func(v parquet.Value) profile.Cell {
		return profile.Cell{Kind: profile.Time, Num: float64(v.Int64()) / perSecond}
	}
}

func decimals(kind parquet.Kind, scale int32) func(parquet.Value) profile.Cell {
	unit := math.Pow10(int(scale))
	return func(v parquet.Value) profile.Cell {
		x := 0.0
		switch kind {
		case parquet.Int32:
			x = float64(v.Int32())
		case parquet.Int64:
			x = float64(v.Int64())
		default:
			x = twosComplement(v.ByteArray())
		}
		return profile.Cell{Kind: profile.Float, Num: x / unit}
	}
}

// twosComplement reads a signed integer of any length, highest byte first.
func twosComplement(b []byte) float64 {
	i := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		i.Sub(i, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	x, _ := new(big.Float).SetInt(i).Float64()
	return x
}

func unsigned(kind parquet.Kind) func(parquet.Value) profile.Cell {
	return func(v parquet.Value) profile.Cell {
		u := uint64(v.Uint32())
		if kind == parquet.Int64 {
			u = v.Uint64()
		}
		if u > math.MaxInt64 {
			return profile.Cell{Kind: profile.Float, Num: float64(u)}
		}
		return profile.Cell{Kind: profile.Int, Int: int64(u)}
	}
}

func physical(kind parquet.Kind) func(parquet.Value) profile.Cell {
	switch kind {
	case parquet.Boolean:
		return func(v parquet.Value) profile.Cell {
			c := profile.Cell{Kind: profile.Bool}
			if v.Boolean() {
				c.Int = 1
			}
			return c
		}
	case parquet.Int32:
		return func(v parquet.Value) profile.Cell { return profile.Cell{Kind: profile.Int, Int: int64(v.Int32())} }
	case parquet.Int64:
		return func(v parquet.Value) profile.Cell { return profile.Cell{Kind: profile.Int, Int: v.Int64()} }
	case parquet.Int96:
		return func(v parquet.Value) profile.Cell { return julian(v.Int96()) }
	case parquet.Float:
		return func(v parquet.Value) profile.Cell {
			return profile.Cell{Kind: profile.Float, Num: float64(v.Float())}
		}
	case parquet.Double:
		return func(v parquet.Value) profile.Cell { return profile.Cell{Kind: profile.Float, Num: v.Double()} }
	}
	return func(v parquet.Value) profile.Cell { return profile.Cell{Kind: profile.Text, Text: v.ByteArray()} }
}

// julian reads the old timestamps of Impala and Hive: nanoseconds of the day, then the Julian day.
func julian(v deprecated.Int96) profile.Cell {
	const epoch = 2440588 // the Julian day of 1970-01-01
	ns := int64(v[1])<<32 | int64(v[0])
	day := int64(v[2]) - epoch
	return profile.Cell{Kind: profile.Time, Num: float64(day)*86400 + float64(ns)/float64(time.Second)}
}
