package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/demo/flights"
)

const one = `[{"date":"2001/01/01 00:47","delay":66,"distance":1750,"origin":"DTW","destination":"LAS"}]`

func TestParse(t *testing.T) {
	rows, err := parse([]byte(one))
	want := flights.Row{At: time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC), Delay: 66, Distance: 1750, Origin: "DTW", Destination: "LAS"}
	if err != nil || len(rows) != 1 || rows[0] != want {
		t.Errorf("got %v, %v, want %v", rows, err, want)
	}
	for _, tt := range []struct{ name, json, want string }{
		{"no array", `{}`, "cannot unmarshal"},
		{"more after the array", one + `1`, "follows the array"},
		{"a missing field", strings.Replace(one, `"delay":66,`, "", 1), "row 0 lacks a field"},
		{"an unknown field", strings.Replace(one, `"delay"`, `"late"`, 1), `unknown field "late"`},
		{"another date", strings.Replace(one, "2001/01/01 00:47", "2001-01-01", 1), "row 0: parsing time"},
	} {
		if _, err := parse([]byte(tt.json)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestRunRefusesAnotherFile(t *testing.T) {
	in, out := filepath.Join(t.TempDir(), "in.json"), filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(in, []byte(one), 0o600); err != nil {
		t.Fatal(err)
	}
	var report bytes.Buffer
	err := run(in, out, &report)
	if err == nil || !strings.Contains(err.Error(), flights.RawSHA256) {
		t.Errorf("got %v, want the expected digest", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) || report.Len() > 0 {
		t.Errorf("something was written: %v, %q", err, report.String())
	}
}

func TestConvert(t *testing.T) {
	rows, err := parse([]byte(one))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := convert(rows); err != nil {
		t.Error(err)
	}
	rows[0].Destination = rows[0].Origin
	if _, err := convert(rows); err == nil || !strings.Contains(err.Error(), flights.CodeRoute) {
		t.Errorf("a flight to itself: got %v", err)
	}
}
