package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProfile: verdicts, exit codes and refusals of `sluice profile`.
func TestProfile(t *testing.T) {
	dir := t.TempDir()
	base, moved := "price,word\n", ""
	for i := range 1000 {
		base += fmt.Sprintf("%g,w%d\n", float64(i%211)+0.5, i%5)
		moved += fmt.Sprintf("{\"price\":%g,\"word\":\"w%d\"}\n", float64(i%211)+90, i%5)
	}
	for name, content := range map[string]string{
		"base.csv": base, "moved.jsonl": moved, "few.csv": "price,word\n1.5,w1\n2.5,w2\n", "ragged.csv": "a,b\n1,2\n3\n", "other.csv": "x,y\n1,2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for _, tt := range []struct {
		args     string
		code     int
		verdicts string // of price and word, in JSON
		text     string // in the table or in the error
	}{
		{"base.csv", exitOK, "pass pass", "● pass   float  1000  0 %"},
		{"base.csv --baseline base.csv", exitOK, "pass pass", "● pass"},
		{"moved.jsonl --baseline base.csv", exitRolledBack, "fail pass", "values are above the baseline's largest, 210.5"},
		{"few.csv --baseline base.csv", exitInconclusive, "inconclusive inconclusive", "2 rows against 1000 are too few: both need 30"},
		{"ragged.csv", exitError, "", "ragged.csv: row 2 (line 3) has 1 fields, the header has 2"},
		{"other.csv --baseline base.csv", exitError, "", "have no column in common"},
		{"base.csv --alpha 2", exitUsage, "", "want a probability"},
		{"base.csv --max-age -1h", exitUsage, "", "want a positive duration"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"profile"}, strings.Fields(tt.args)...)
		if code := Main(args, nil, &out, &errs); code != tt.code || !strings.Contains(out.String()+errs.String(), tt.text) {
			t.Errorf("%s: exit %d, want %d with %q:\n%s%s", tt.args, code, tt.code, tt.text, out.String(), errs.String())
		}
		out.Reset()
		errs.Reset()
		if code := Main(append(args, "-o", "json"), nil, &out, &errs); code != tt.code {
			t.Errorf("%s -o json: exit %d, want %d", tt.args, code, tt.code)
		}
		if got := verdicts(t, out.Bytes()); got != tt.verdicts {
			t.Errorf("%s: verdicts %q, want %q", tt.args, got, tt.verdicts)
		}
	}
}

// verdicts reads the answer strictly: columns with exactly column, verdict, reasons and figures.
func verdicts(t *testing.T, out []byte) string {
	t.Helper()
	if len(out) == 0 {
		return ""
	}
	var r struct {
		Columns []struct {
			Column  string         `json:"column"`
			Verdict string         `json:"verdict"`
			Reasons []string       `json:"reasons"`
			Figures map[string]any `json:"figures"`
		} `json:"columns"`
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var list []string
	for _, c := range r.Columns {
		if c.Column == "" || c.Reasons == nil || c.Figures["rows"] == nil {
			t.Errorf("column without name, reasons or rows: %+v", c)
		}
		list = append(list, c.Verdict)
	}
	return strings.Join(list, " ")
}
