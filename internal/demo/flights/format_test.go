package flights

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// someRows draws rows that the format can hold: few airports, so that routes repeat in both directions.
func someRows(t *rapid.T) []Row {
	codes := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z]{3}`), 2, 6, rapid.ID[string]).Draw(t, "airports")
	minute := rapid.Int64Range(0, maxMinutes-1_000_000).Draw(t, "start")
	miles := map[route]int{}
	rows := make([]Row, rapid.IntRange(0, 40).Draw(t, "rows"))
	for i := range rows {
		minute += rapid.Int64Range(0, 20_000).Draw(t, "gap")
		from := rapid.IntRange(0, len(codes)-1).Draw(t, "from")
		to := (from + rapid.IntRange(1, len(codes)-1).Draw(t, "to")) % len(codes)
		if miles[routeOf(from, to)] == 0 {
			miles[routeOf(from, to)] = rapid.IntRange(1, maxDistance).Draw(t, "miles")
		}
		rows[i] = Row{atMinute(minute), rapid.IntRange(-maxDelay, maxDelay).Draw(t, "delay"), miles[routeOf(from, to)], codes[from], codes[to]}
	}
	return rows
}

func TestDecodeGivesBackWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := someRows(t)
		file, err := Encode(rows)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		got, err := Decode(file)
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if !slices.Equal(got, rows) {
			t.Fatalf("got %v, want %v", got, rows)
		}
	})
}

func TestRealRowsRoundTrip(t *testing.T) {
	rows := Load()
	columns, err := encodeColumns(rows)
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := decompress(data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(columns, embedded) {
		t.Errorf("encoding the decoded rows gives other columns: %d bytes, want %d", len(columns), len(embedded))
	}
}

// two is the smallest file with everything in it: AAA to BBB and back.
var two = []Row{
	{time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC), 3, 300, "AAA", "BBB"},
	{time.Date(1970, 1, 1, 0, 3, 0, 0, time.UTC), -2, 300, "BBB", "AAA"},
}

// twoColumns is two written by hand after the description of the format.
const twoColumns = magic + "\x02" + "\x02AAABBB" + "\x01\x02" + "\x06\x03" + "\x00\x01" + "\x01\x00" + "\xac\x02"

func TestFormatIsAsDescribed(t *testing.T) {
	got, err := encodeColumns(two)
	if err != nil || string(got) != twoColumns {
		t.Errorf("got %q, %v; want %q", got, err, twoColumns)
	}
}

func codeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestDecodeRefuses(t *testing.T) {
	head := magic + "\x02" + "\x02AAABBB"
	huge := string(binary.AppendUvarint(nil, 1<<40))
	for _, tt := range []struct{ name, columns, want string }{
		{"nothing", "", CodeMagic},
		{"another magic word", "flights2" + twoColumns[8:], CodeMagic},
		{"no rows given", magic, CodeShort},
		{"a byte after the end", twoColumns + "\x00", CodeTrailing},
		{"rows beyond the limit", magic + huge, CodeLimit},
		{"rows beyond the file", magic + "\x7f\x00", CodeShort},
		{"airports beyond the limit", magic + "\x02" + huge + "AAABBBCCCDDD", CodeLimit},
		{"airports beyond the file", magic + "\x02\x09AAABBBCCCDDD", CodeShort},
		{"a lower-case airport", magic + "\x02\x02AaABBB" + twoColumns[16:], CodeAirport},
		{"an airport twice", magic + "\x02\x02AAAAAA" + twoColumns[16:], CodeAirport},
		{"an airport without flights", magic + "\x02\x03AAABBBCCC" + twoColumns[16:], CodeAirport},
		{"airports not by use", magic + "\x02\x02BBBAAA" + twoColumns[16:], CodeOrder},
		{"a number with a superfluous byte", head + "\x81\x00\x02" + "\x06\x03\x00\x01\x01\x00\xac\x02", CodeVarint},
		{"a number of more than 64 bits", head + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", CodeVarint},
		{"a time beyond the limit", head + huge + "\x02\x06\x03\x00\x01\x01\x00\xac\x02", CodeRange},
		{"times that add up beyond the limit", head + "\x81\x80\x80\x40\x02" + "\x06\x03\x00\x01\x01\x00\xac\x02", CodeRange},
		{"a delay beyond the limit", head + "\x01\x02" + "\x81\x2d\x03" + "\x00\x01\x01\x00\xac\x02", CodeRange},
		{"an airport beyond the table", head + "\x01\x02\x06\x03" + "\x02\x01\x01\x00\xac\x02", CodeRange},
		{"a flight to where it is", head + "\x01\x02\x06\x03" + "\x00\x01\x00\x01\xac\x02", CodeRoute},
		{"no distance", head + "\x01\x02\x06\x03\x00\x01\x01\x00\x00", CodeRange},
		{"a distance beyond the limit", head + "\x01\x02\x06\x03\x00\x01\x01\x00\xff\x7f", CodeRange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if rows, err := decodeColumns([]byte(tt.columns)); codeOf(err) != tt.want || rows != nil {
				t.Errorf("got %v, %v; want code %s", rows, err, tt.want)
			}
		})
	}
}

func TestDecodeRefusesEveryPrefix(t *testing.T) {
	for n := range len(twoColumns) {
		if _, err := decodeColumns([]byte(twoColumns[:n])); codeOf(err) == "" {
			t.Errorf("first %d of %d bytes: got %v, want an error with a code", n, len(twoColumns), err)
		}
	}
	for n := 0; n < len(data); n += 997 {
		if _, err := Decode(data[:n]); codeOf(err) != CodeGzip {
			t.Errorf("first %d bytes of the real file: got %v, want %s", n, err, CodeGzip)
		}
	}
}

func TestDecodeRefusesOtherGzip(t *testing.T) {
	compress := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.Bytes()
	}
	good := compress([]byte(twoColumns))
	if rows, err := Decode(good); err != nil || !slices.Equal(rows, two) {
		t.Fatalf("the good file: got %v, %v", rows, err)
	}
	damaged := slices.Clone(good)
	damaged[len(damaged)-8] ^= 1
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"no gzip", []byte(twoColumns), CodeGzip},
		{"wrong checksum", damaged, CodeGzip},
		{"a second member", append(slices.Clone(good), good...), CodeTrailing},
		{"a byte after the end", append(slices.Clone(good), 0), CodeTrailing},
		{"a bomb", compress(make([]byte, maxBytes+1)), CodeLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Decode(tt.file); codeOf(err) != tt.want {
				t.Errorf("got %v, want code %s", err, tt.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	change := func(f func(*Row)) []Row {
		rows := slices.Clone(two)
		f(&rows[1])
		return rows
	}
	for _, tt := range []struct {
		name string
		rows []Row
		want string
	}{
		{"too many rows", make([]Row, maxRows+1), CodeLimit},
		{"seconds", change(func(r *Row) { r.At = r.At.Add(time.Second) }), CodeRange},
		{"before 1970", change(func(r *Row) { r.At = r.At.AddDate(-1, 0, 0) }), CodeRange},
		{"after 2225", change(func(r *Row) { r.At = r.At.AddDate(300, 0, 0) }), CodeRange},
		{"back in time", change(func(r *Row) { r.At = r.At.Add(-3 * time.Minute) }), CodeOrder},
		{"early by three days", change(func(r *Row) { r.Delay = -maxDelay - 1 }), CodeRange},
		{"late by three days", change(func(r *Row) { r.Delay = maxDelay + 1 }), CodeRange},
		{"no distance", change(func(r *Row) { r.Distance = 0 }), CodeRange},
		{"to the moon", change(func(r *Row) { r.Distance = maxDistance + 1 }), CodeRange},
		{"no code", change(func(r *Row) { r.Origin = "B" }), CodeAirport},
		{"to itself", change(func(r *Row) { r.Destination = "BBB" }), CodeRoute},
		{"two distances", change(func(r *Row) { r.Distance = 301 }), CodeRoute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := Encode(tt.rows)
			if codeOf(err) != tt.want || file != nil {
				t.Errorf("got %d bytes, %v; want code %s", len(file), err, tt.want)
			}
		})
	}
}

func TestErrorSaysWhatWhereAndCode(t *testing.T) {
	_, err := decodeColumns([]byte(twoColumns + "xy"))
	want := "2 bytes follow the last column at 26 (flights.trailing)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Whatever is accepted is what Encode would have written: no two files mean the same rows.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(twoColumns))
	f.Add([]byte(magic + "\x00\x00"))
	f.Add([]byte(magic + "\x01\x02AAABBB\x80\x80\x80\x40\x81\x2d\x00\x01\x01"))
	real, err := encodeColumns(Load()[:60]) // all 20,000 would make every mutation slow
	if err != nil {
		f.Fatal(err)
	}
	f.Add(real)
	f.Fuzz(func(t *testing.T, columns []byte) {
		rows, err := decodeColumns(columns)
		if err != nil {
			if codeOf(err) == "" || rows != nil {
				t.Fatalf("got %d rows and an error without a code: %v", len(rows), err)
			}
			return
		}
		again, err := encodeColumns(rows)
		if err != nil || !bytes.Equal(again, columns) {
			t.Fatalf("%d accepted bytes are encoded as %d others, %v", len(columns), len(again), err)
		}
	})
}
