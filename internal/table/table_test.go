package table

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"sluice.dev/sluice/internal/profile"
)

// rows collects what is read, as text.
type rows struct {
	columns []string
	cells   [][]profile.Cell
}

func (r *rows) Grow(columns []string) error {
	r.columns = slices.Clone(columns)
	return nil
}

func (r *rows) Add(columns []string, cells []profile.Cell) error {
	r.columns = slices.Clone(columns)
	row := slices.Clone(cells)
	for i := range row {
		row[i].Text = bytes.Clone(row[i].Text)
	}
	r.cells = append(r.cells, row)
	return nil
}

func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func packed(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// record is a row in all three formats.
type record struct {
	ID    int64     `parquet:"id"`
	Price *float64  `parquet:"price,optional"`
	Word  string    `parquet:"word"`
	Paid  bool      `parquet:"paid"`
	At    time.Time `parquet:"at,timestamp(microsecond)"`
}

func inParquet(t testing.TB, list []record) string {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[record](&b, parquet.Compression(&parquet.Zstd))
	if _, err := w.Write(list); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestFormatsAgree: one table in every format gives the same figures, and the values that were written.
func TestFormatsAgree(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 500000000, time.UTC)
	csv, lines := "id,price,word,paid,at\n", ""
	var list []record
	for i := range 500 {
		price := float64(i) + 0.25
		r := record{ID: int64(i) - 5, Price: &price, Word: fmt.Sprintf("w\"%d,", i%7), Paid: i%3 == 0, At: at.Add(time.Duration(i) * time.Second)}
		cell := fmt.Sprint(price)
		if i%10 == 0 {
			r.Price, cell = nil, ""
		}
		list = append(list, r)
		csv += fmt.Sprintf("%d,%s,\"%s\",%t,%s\n", r.ID, cell, strings.ReplaceAll(r.Word, `"`, `""`), r.Paid, r.At.Format("2006-01-02 15:04:05.999999"))
		if cell == "" {
			cell = "null"
		}
		lines += fmt.Sprintf("{\"id\":%d,\"price\":%s,\"word\":%q,\"paid\":%t,\"at\":%q}\n", r.ID, cell, r.Word, r.Paid, r.At.Format(time.RFC3339Nano))
	}
	pq := inParquet(t, list)
	var want profile.Report
	for i, f := range []struct{ name, content string }{
		{"a.csv", csv}, {"a.csv.gz", packed(t, csv)}, {"bom.CSV", "\ufeff" + csv}, {"crlf.csv", strings.ReplaceAll(csv, "\n", "\r\n")},
		{"a.jsonl", lines}, {"a.ndjson", lines + "\n\n"}, {"a.jsonl.gz", packed(t, lines)},
		{"a.parquet", pq}, {"a.parquet.gz", packed(t, pq)},
	} {
		tab := profile.New()
		if err := Read(file(t, f.name, f.content), tab); err != nil {
			t.Fatal(err)
		}
		got := profile.Check(tab.Summary(at.Add(time.Hour)), profile.Config{})
		if i == 0 {
			want = got
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", f.name, got, want)
		}
	}
	price := want.Columns[1].Figures
	if price.Nulls != 50 || price.Type != "float" || *price.Min != 1.25 || *price.Max != 499.25 || *want.Columns[0].Figures.Min != -5 {
		t.Errorf("price: %+v, id: %+v", price, want.Columns[0].Figures)
	}
	if f := want.Columns[4].Figures; f.Type != "time" || *f.AgeSeconds != 3600-499 || f.Newest.Nanosecond() != 500000000 {
		t.Errorf("at: %+v", f)
	}
}

// TestScalars: what a field of text is taken for.
func TestScalars(t *testing.T) {
	for _, tt := range []struct {
		text string
		want profile.Kind
		num  float64
	}{
		{"", profile.Null, 0}, {"NULL", profile.Null, 0}, {`\N`, profile.Null, 0}, {"true", profile.Bool, 1}, {"FALSE", profile.Bool, 0},
		{"7", profile.Int, 7}, {"-7", profile.Int, -7}, {"+7", profile.Int, 7}, {"0", profile.Int, 0}, {"007", profile.Text, 0}, {"0.5", profile.Float, 0.5},
		{"-0.5", profile.Float, -0.5}, {".5", profile.Float, 0.5}, {"1e3", profile.Float, 1000}, {"1e999", profile.Float, math.Inf(1)}, {"-inf", profile.Float, math.Inf(-1)},
		{"9223372036854775808", profile.Float, 9223372036854775808}, {"0x10", profile.Text, 0}, {"1_000", profile.Text, 0}, {"-", profile.Text, 0}, {"1,5", profile.Text, 0},
		{"2026-03-01", profile.Time, 1772323200}, {"2026-03-01 00:00:01.5", profile.Time, 1772323201.5}, {"2026-03-01T01:00:00+01:00", profile.Time, 1772323200},
		{"2026-13-01", profile.Text, 0}, {"infinite", profile.Text, 0}, {"-x", profile.Text, 0},
	} {
		c := scalar([]byte(tt.text))
		got := c.Num
		if c.Kind == profile.Int || c.Kind == profile.Bool {
			got = float64(c.Int)
		}
		if c.Kind != tt.want || got != tt.num {
			t.Errorf("%q is %d %g, want %d %g", tt.text, c.Kind, got, tt.want, tt.num)
		}
	}
	if c := scalar([]byte("NaN")); c.Kind != profile.Float || !math.IsNaN(c.Num) {
		t.Errorf("NaN is %+v", c)
	}
}

// TestObjectsAndLists: inner objects are columns with a path, of lists the length counts, late columns were null before.
func TestObjectsAndLists(t *testing.T) {
	var r rows
	content := `{"a":{"b":1,"c":{"d":"x"}},"l":[1,[2,3],{"e":4}]}` + "\n" + `{"late":2.5,"a":{"b":null}}` + "\n"
	if err := Read(file(t, "a.jsonl", content), &r); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.b", "a.c.d", "l", "late"}; !slices.Equal(r.columns, want) {
		t.Fatalf("columns %q, want %q", r.columns, want)
	}
	first, second := r.cells[0], r.cells[1]
	if first[0].Int != 1 || string(first[1].Text) != "x" || first[2].Kind != profile.List || first[2].Int != 3 {
		t.Errorf("first row: %+v", first)
	}
	if second[0].Kind != profile.Null || second[1].Kind != profile.Null || second[2].Kind != profile.Null || second[3].Num != 2.5 {
		t.Errorf("second row: %+v", second)
	}
}

// TestParquetTypes: decimals, dates, unsigned numbers, lists and inner groups.
func TestParquetTypes(t *testing.T) {
	type inner struct {
		N uint32 `parquet:"n"`
	}
	type row struct {
		Price int64     `parquet:"price,decimal(2:12)"`
		Day   int32     `parquet:"day,date"`
		Big   uint64    `parquet:"big"`
		Tags  []string  `parquet:"tags"`
		In    inner     `parquet:"in"`
		Small float32   `parquet:"small"`
		Raw   [16]byte  `parquet:"raw,uuid"`
		None  *string   `parquet:"none,optional"`
		Milli time.Time `parquet:"milli,timestamp"`
	}
	var b bytes.Buffer
	err := parquet.Write(&b, []row{{Price: -1999, Day: 20000, Big: math.MaxUint64, Tags: []string{"a", "b", "c"}, In: inner{7}, Small: 0.5, Raw: [16]byte{0xab, 15: 1}, Milli: time.Unix(100, 5e8)}})
	if err != nil {
		t.Fatal(err)
	}
	var r rows
	if err := Read(file(t, "a.parquet", b.String()), &r); err != nil {
		t.Fatal(err)
	}
	got := map[string]profile.Cell{}
	for i, name := range r.columns {
		got[name] = r.cells[0][i]
	}
	for name, want := range map[string]profile.Cell{
		"price": {Kind: profile.Float, Num: -19.99}, "day": {Kind: profile.Time, Num: 20000 * 86400}, "big": {Kind: profile.Float, Num: 1 << 64},
		"tags": {Kind: profile.List, Int: 3}, "in.n": {Kind: profile.Int, Int: 7}, "small": {Kind: profile.Float, Num: 0.5},
		"raw": {Kind: profile.Text, Text: []byte("ab000000000000000000000000000001")}, "none": {}, "milli": {Kind: profile.Time, Num: 100.5},
	} {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s is %+v, want %+v", name, got[name], want)
		}
	}
}

// TestRefusals: every refusal names file, place and remedy.
func TestRefusals(t *testing.T) {
	pq := inParquet(t, []record{{ID: 1}})
	wide := "{"
	for i := range profile.MaxColumns + 1 {
		wide += fmt.Sprintf("\"c%d\":1,", i)
	}
	wide = strings.TrimSuffix(wide, ",") + "}"
	bomb := packed(t, strings.Repeat("x", freeRatio+freeRatio/4))
	for _, tt := range []struct{ name, content, want string }{
		{"a.txt", "x", "does not end in .csv"}, {"a.csv", "", "is empty"}, {"a.csv", "\n", "no header"},
		{"a.csv", "a,b\n1,2\n3\n", "row 2 (line 3) has 1 fields, the header has 2"}, {"a.csv", "a,b\n1,2,3\n", "row 1 (line 2) has 3 fields"},
		{"a.csv", "a,a\n1,2\n", `columns 1 and 2 are both called "a": rename one`}, {"a.csv", "a,,b\n", "column 2 has no name"},
		{"a.csv", "1,2.5,2026-01-01\n1,2,3\n", "holds values, not names: add a header"}, {"a.csv", "a;b;c\n1;2;3\n", "separated by commas"},
		{"a.csv", "a,b\n1,\"2\n3,4\n", "row 1 (line"}, {"a.csv", "a,b\n1,x\"y\n", "row 1 (line 2, byte"},
		{"a.csv", "a\n\"" + strings.Repeat("x\n", MaxRow), "row 1 is longer than 1024 KiB: is a quotation mark not closed?"},
		{"a.csv", packed(t, "a\n1\n"), "add .gz to the name"}, {"a.csv.gz", "a\n1\n", "not compressed with gzip"},
		{"a.csv.gz", packed(t, packed(t, "a\n1\n")), "once more"}, {"a.csv", pq, "let its name end in .parquet"},
		{"a.csv.gz", packed(t, strings.Repeat("a,b\n", 5000))[:40], "damaged or cut off"}, {"a.parquet.gz", bomb, "more than 250 times larger"},
		{"a.jsonl", "\n \n", "has no row"}, {"a.jsonl", "{\"a\":1}\n[1]\n", `row 2 (line 2): "[1]" is not a JSON object`},
		{"a.jsonl", "{\"a\":1,\"a\":2}\n", `column "a" is there twice`}, {"a.jsonl", "{\"a\":1}{\"a\":2}\n", "one object a line"},
		{"a.jsonl", "{\"a\":NaN}\n", `row 1 (line 1): column "a": not JSON`}, {"a.jsonl", "{\"a\":1\n", "not JSON"}, {"a.jsonl", "{\"\":1}\n", "no name"},
		{"a.jsonl", strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), "nest deeper than 16"},
		{"a.jsonl", wide, "at most 1024 columns"}, {"a.jsonl", strings.Repeat("[", 1<<20+1), "longer than 1024 KiB"},
		{"a.jsonl", "{\"a\":" + strings.Repeat("[", 20000), "not JSON"},
		{"a.parquet", "PAR1 but not really PAR1", "not a readable Parquet file"}, {"a.parquet", "PAR1\xff\xff\xff\x7fPAR1", "a footer of 2147483647 bytes in a file of 12"}, {"a.parquet", "x", "not a readable Parquet file"},
		{"a.parquet.gz", packed(t, "x"), "not a readable Parquet file"},
	} {
		path := file(t, tt.name, tt.content)
		err := Read(path, profile.New())
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.name) {
			t.Errorf("%s %.40q: got %v, want %q", tt.name, tt.content, err, tt.want)
		}
	}
	if err := Read(t.TempDir()+"/x.csv", profile.New()); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestDamagedParquet: whatever bytes are damaged, the reader comes back, with rows or an error, and never takes memory for what a
// damaged length announces.
func TestDamagedParquet(t *testing.T) {
	var list []record
	for i := range 200 {
		x := float64(i)
		list = append(list, record{ID: int64(i), Price: &x, Word: fmt.Sprint(i % 3)})
	}
	good := inParquet(t, list)
	rng := rand.New(rand.NewPCG(1, 1))
	refused := 0
	for range 500 {
		bad := []byte(good)
		for range 1 + rng.IntN(4) {
			bad[rng.IntN(len(bad))] = byte(rng.IntN(256))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := parquetRows(bytes.NewReader(bad), int64(len(bad)), profile.New())
		runtime.ReadMemStats(&after)
		if err != nil {
			refused++
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
			t.Fatalf("%d MiB taken for a file of %d bytes: %v", took>>20, len(bad), err)
		}
	}
	if refused < 250 {
		t.Errorf("%d of 500 damaged files were refused", refused)
	}
}

// FuzzText: no content makes a reader of text panic, and what it accepts has rows as wide as its columns.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"a\n", "{\"a\":[1,{\"b\":2}]}\n", "{\"a\":{\"b\":1e999}}", "a\xff,b\n,\n", "\ufeffx\n\"\"\"\"\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		for _, name := range []string{"a.csv", "a.jsonl"} {
			tab := profile.New()
			if err := Read(file(t, name, content), tab); err == nil {
				for _, c := range tab.Summary(time.Unix(0, 0)).Columns {
					if c.Name == "" || c.Distinct+c.Duplicates+c.Nulls+c.NaN+c.Inf != c.Rows {
						t.Fatalf("%s: %+v does not add up", name, c.Figures)
					}
				}
			}
		}
	})
}

func months(t *testing.T) func(month string) profile.Summary {
	base := os.Getenv("SLUICE_TESTDATA")
	if base == "" {
		t.Skip("SKIPPED: NO TAXI MONTH WAS COMPARED: set SLUICE_TESTDATA")
	}
	known := map[string]profile.Summary{}
	return func(month string) profile.Summary {
		if s, ok := known[month]; ok {
			return s
		}
		tab := profile.New()
		if err := Read(filepath.Join(base, "taxi", month+".csv.gz"), tab); err != nil {
			t.Fatal(err)
		}
		known[month] = tab.Summary(time.Date(2019, 3, 1, 0, 0, 0, 0, time.UTC))
		return known[month]
	}
}

// TestTaxiMonths: quiet months stay quiet against each other, one fare of 429,490 dollars is no drift, and a new surcharge
// is found in its own column and in the total. Data: New York taxi records, samples of 10,000 rows.
func TestTaxiMonths(t *testing.T) {
	month := months(t)
	quiet := []string{"2018-01", "2018-02", "2018-03", "2018-04"}
	for _, a := range append([]string{"2018-08"}, quiet...) {
		for _, b := range quiet {
			if v := profile.Compare(month(a), month(b), profile.Config{}).Verdict(); a != b && v != profile.Pass {
				t.Errorf("%s against %s: %s", a, b, v)
			}
		}
	}
	failed := map[string]bool{}
	for _, f := range profile.Compare(month("2019-02"), month("2019-01"), profile.Config{}).Columns {
		failed[f.Column] = f.Verdict == profile.Fail
	}
	if !failed["total_amount"] || !failed["congestion_surcharge"] {
		t.Errorf("2019-02 against 2019-01 fails %v: total_amount and congestion_surcharge are missing", failed)
	}
	for _, column := range []string{"trip_distance", "pickup_location_id", "fare_amount", "payment_type", "vendor_id"} {
		if failed[column] {
			t.Errorf("2019-02 against 2019-01: %s fails, it has not changed", column)
		}
	}
}
