package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// labelled writes a benchmark folder of two files, one of them compressed, with a spike in each.
func labelled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var text bytes.Buffer
	text.WriteString("timestamp,value\n")
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 800 {
		x := i % 7
		if i == 610 {
			x = 90
		}
		fmt.Fprintf(&text, "%s,%d\n", start.Add(time.Duration(i)*time.Minute).Format(time.DateTime), x)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(text.Bytes()) // to memory
	_ = z.Close()
	window := fmt.Sprintf("[[%q, %q]]", start.Add(600*time.Minute).Format(time.DateTime), start.Add(650*time.Minute).Format(time.DateTime))
	for name, data := range map[string]string{
		"sub/a.csv": text.String(), "sub/b.csv.gz": zipped.String(),
		"windows.json": fmt.Sprintf(`{"sub/a.csv": %s, "sub/b.csv": %s}`, window, window),
	} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// command runs a command line without input and returns what it writes, and its exit code.
func command(args ...string) (out, errs string, code int) {
	var o, e bytes.Buffer
	code = Main(args, strings.NewReader(""), &o, &e)
	return o.String(), e.String(), code
}

// TestBenchAnomaly: a folder as the benchmark has it is scored, in a table and as JSON with the members people rely on.
func TestBenchAnomaly(t *testing.T) {
	dir := labelled(t)
	out, _, code := command("bench", "anomaly", "--data", dir, "-o", "json")
	var r map[string]any
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	for _, name := range []string{"standard", "rewardLowFP", "rewardLowFN"} {
		half, _ := r["heldOutHalf"].(map[string]any)
		for _, v := range []any{r[name], half[name]} {
			if score, ok := v.(float64); !ok || score < 80 || score > 100 {
				t.Errorf("%s: %v, want a score of nearly 100", name, v)
			}
		}
	}
	if files, ok := r["files"].([]any); !ok || len(files) != 2 {
		t.Errorf("files: %v", r["files"])
	}
	out, _, code = command("bench", "anomaly", "--data", dir)
	if code != 0 || !strings.Contains(out, "sub/b.csv") || !strings.Contains(out, "low FP") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestBenchAnomalyRefuses: what is wrong with a folder is named.
func TestBenchAnomalyRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ windows, want string }{
		"no labels":   {"", "windows.json"},
		"no file":     {`{"c.csv": []}`, "c.csv"},
		"outside":     {`{"../../etc/passwd": []}`, "passwd"},
		"no windows":  {`{"sub/a.csv": []}`, "nothing to detect"},
		"far windows": {`{"sub/a.csv": [["2023-01-01 00:00:00", "2023-01-02 00:00:00"]]}`, "no row lies in it"},
	} {
		dir := labelled(t)
		at := filepath.Join(dir, "windows.json")
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if tt.windows != "" {
			if err := os.WriteFile(at, []byte(tt.windows), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, errs, code := command("bench", "anomaly", "--data", dir)
		if code == 0 || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: exit %d, %q; want %q", name, code, errs, tt.want)
		}
	}
}
