package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/bench"
)

// TestGuardrailsOnAllCores: jobs run side by side give the same result as one after the other, in every form.
func TestGuardrailsOnAllCores(t *testing.T) {
	opts := bench.Options{Seed: 3, NullRuns: 11, TuneRuns: 3, NullTime: 60, HarmTime: 60, HarmRuns: 11, Only: func(f string) bool {
		return f == "plain errors" || f == "errors +2 pp, 50 % exposed"
	}}
	var one []bench.Outcome
	for _, j := range bench.Jobs(opts) {
		one = append(one, j.Run())
	}
	g := &globals{quiet: true}
	all, err := g.guardrails(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range guardrailForms {
		var got, want bytes.Buffer
		if err := write(all, &got); err != nil {
			t.Fatal(err)
		}
		if err := write(bench.Summarise(opts, one), &want); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() || got.Len() == 0 {
			t.Errorf("%s differs:\n%s\nwant\n%s", name, got.String(), want.String())
		}
	}
}

// TestBaselines: NAB's values in the order of time, taxi totals as means per hour, short series left out.
func TestBaselines(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var nab, taxi strings.Builder
	nab.WriteString("timestamp,value\n")
	taxi.WriteString("pickup_datetime,total_amount\n")
	for i := 400; i > 0; i-- { // newest first
		fmt.Fprintf(&nab, "2024-01-%02d %02d:00:00,%d\n", 1+i/24, i%24, i)
		fmt.Fprintf(&taxi, "2024-02-%02d %02d:10:00,%d\n2024-02-%02d %02d:50:00,%d.5\n", 1+i/24, i%24, i, 1+i/24, i%24, i+2)
	}
	write("nab/some/up.csv", nab.String())
	write("nab/some/short.csv", "timestamp,value\n2024-01-01 00:00:00,1\n")
	write("taxi/2024-02.csv", taxi.String())
	got, err := baselines(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Name != "up" || got[1].Name != "2024-02" {
		t.Fatalf("got %d series: %+v", len(got), got)
	}
	for i, v := range got[0].Values {
		if v != float64(i+1) || got[1].Values[i] != float64(i+1)+1.25 {
			t.Fatalf("hour %d: %g and %g", i, v, got[1].Values[i])
		}
	}
	if _, err := baselines(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no series of at least 300 values") {
		t.Errorf("an empty folder: %v", err)
	}
}

// TestGuardrailsRefuseNonsense: usage errors before anything is simulated.
func TestGuardrailsRefuseNonsense(t *testing.T) {
	for _, args := range [][]string{
		{"bench", "guardrails", "--quick", "--seeds", "-1"}, {"bench", "guardrails", "--quick", "-o", "yaml"},
		{"bench", "append", "-o", "csv"}, {"bench", "guardrails", "--quick", "--data", t.TempDir()},
	} {
		var out, errw bytes.Buffer
		if code := Main(args, strings.NewReader(""), &out, &errw); code != exitUsage || out.Len() > 0 {
			t.Errorf("%v: exit code %d, %s%s", args, code, out.String(), errw.String())
		}
	}
}

// TestGuardrailsOfNothing: no rollouts are empty lists, not null.
func TestGuardrailsOfNothing(t *testing.T) {
	r := bench.Summarise(bench.Options{}, nil)
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil || !json.Valid(b.Bytes()) || strings.Contains(b.String(), "null,") {
		t.Errorf("%v: %s", err, b.String())
	}
}
