package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sdk/evidence"
)

var update = flag.Bool("update", false, "rewrite golden files")

// everyFamily is each family once, with two recorded series.
func everyFamily() []*family {
	wave := Series{Name: "wave"}
	for i := range minSeries {
		wave.Values = append(wave.Values, math.Sin(float64(i)/20))
	}
	o := Options{Series: []Series{wave, {Name: "flat", Values: make([]float64, minSeries)}}}
	return slices.Concat(tuningFamilies(), nullFamilies(), seriesFamilies(o), harmFamilies(600))
}

// TestSeedChangesEveryStream: the same seed gives the same seconds, another seed others, in every family.
func TestSeedChangesEveryStream(t *testing.T) {
	first := func(f *family, seed uint64) (out [3]string) {
		w := newWorld(f, streamSeed(seed, forNull, f.name, 0), 600)
		for i := range out {
			sec := w.tick(i).made
			out[i] = evidence.SecondDigest(&sec)
		}
		return out
	}
	for _, f := range everyFamily() {
		a, b, c := first(f, 1), first(f, 1), first(f, 2)
		if a != b {
			t.Errorf("%s: the same seed gives another stream", f.name)
		}
		for i := range a {
			if a[i] == c[i] {
				t.Errorf("%s: second %d does not depend on the seed", f.name, i)
			}
		}
	}
}

// TestPurposesHaveSeedsOfTheirOwn: what is tuned is not tuned on what is measured.
func TestPurposesHaveSeedsOfTheirOwn(t *testing.T) {
	seen := map[uint64]bool{}
	for _, p := range []purpose{forNull, forHarm, forTuning} {
		for i := range uint64(1000) {
			s := streamSeed(1, p, tuneRates, i)
			if seen[s] {
				t.Fatalf("purpose %d, run %d: the seed %x is there already", p, i, s)
			}
			seen[s] = true
		}
	}
}

// TestStreamsAreAsDescribed: over some minutes each family has the requests, the exposure and, without harm, the equal shares that
// its description promises.
func TestStreamsAreAsDescribed(t *testing.T) {
	for _, f := range everyFamily() {
		w := newWorld(f, streamSeed(3, forNull, f.name, 1), 600)
		if f.harm != nil {
			w.onset = 600
		}
		var all cellTick
		seconds := 120
		if f.rate > reference || f.cells() > 10 {
			seconds = 20
		}
		for at := range seconds {
			for i := range w.strata {
				w.strata[i].reset()
			}
			w.requests(at)
			for arm := range arms {
				for i := range w.strata {
					w.strata[i].tick(0, 0, arm, &all[arm])
				}
			}
		}
		n := all[base].n + all[exposed].n
		if n != float64(f.rate*seconds) {
			t.Errorf("%s: %g requests in %d s, want %d a second", f.name, n, seconds, f.rate)
		}
		want := float64(f.exposure) / evidence.MaxExposure
		if got := all[exposed].n / n; f.units == nil && f.aheadOf == 0 && math.Abs(got-want) > 5*math.Sqrt(want/n) {
			t.Errorf("%s: %.4f of the requests are exposed, want %.4f", f.name, got, want)
		}
	}
}

// TestStreamsAreMadeAgain: an alarm is computed again from the very seconds that were judged.
func TestStreamsAreMadeAgain(t *testing.T) {
	for _, f := range []*family{nullFamilies()[2], harmFamilies(600)[14]} {
		w := newWorld(f, 42, 60)
		var want []string
		for at := range 40 {
			sec := w.tick(at).made
			want = append(want, evidence.SecondDigest(&sec))
		}
		var got []string
		for sec := range again(f, 42, 60, epoch+10, epoch+39) {
			got = append(got, evidence.SecondDigest(&sec))
		}
		if !slices.Equal(got, want[10:]) {
			t.Errorf("%s: seconds 10 to 39 are not the same again", f.name)
		}
	}
}

// TestOracleOfTheTables: the limits are those of computed tables (exposed requests needed at alpha 1 %, 10 % and 50 % exposed).
func TestOracleOfTheTables(t *testing.T) {
	rate := func(w uint32, from, ratio float64) *family {
		return rates("", from).with(func(f *family) { f.exposure, f.harm = w, more(ratio) })
	}
	value := func(w uint32, factor float64) *family {
		return values("", lognormal(0.8)).with(func(f *family) { f.exposure, f.harm = w, slower(factor) })
	}
	for _, tt := range []struct {
		name string
		f    *family
		want float64
	}{
		{".1 to .2 %", rate(10_000, 0.001, 2), 13611}, {".1 to .2 %, half", rate(50_000, 0.001, 2), 27065},
		{"1 to 1.5 %", rate(10_000, 0.01, 1.5), 4746}, {"1 to 2 %", rate(10_000, 0.01, 2), 1345},
		{"1 to 3 %", rate(10_000, 0.01, 3), 409}, {"1 to 3 %, half", rate(50_000, 0.01, 3), 863},
		{"x1.05", value(10_000, 1.05), 2752}, {"x1.1", value(10_000, 1.1), 721}, {"x1.1, half", value(50_000, 1.1), 1300},
		{"x1.2", value(10_000, 1.2), 197}, {"x1.5", value(10_000, 1.5), 40},
	} {
		got := tt.f.oracleSeconds(3600) * float64(tt.f.rate) * tt.f.exposedShare()
		if math.Abs(got-tt.want) > 0.02*tt.want {
			t.Errorf("%s: %.1f exposed requests, want %.0f", tt.name, got, tt.want)
		}
	}
}

// TestOracleOfTheReference is TestOracleOfTheTables over a whole file of computed limits.
func TestOracleOfTheReference(t *testing.T) {
	dir := os.Getenv("SLUICE_TESTDATA")
	if dir == "" {
		t.Skip("SLUICE_TESTDATA is not set: the computed limits are not compared")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "reference", "computed_reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Rates []struct {
			PC    float64 `json:"pC"`
			PT    float64 `json:"pT"`
			W     float64 `json:"w"`
			Total float64 `json:"n_total_a.01"`
		} `json:"oracle_error_rate"`
		Values []struct {
			Scale   float64 `json:"scale"`
			Sigma   float64 `json:"sigma_log"`
			W       float64 `json:"w"`
			Exposed float64 `json:"n_exposed_full_distribution_a.01"`
		} `json:"oracle_latency_lognormal_scale"`
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	if len(ref.Rates) < 5 || len(ref.Values) < 5 {
		t.Fatalf("%d and %d cases: the file is not what it was", len(ref.Rates), len(ref.Values))
	}
	share := func(w float64) uint32 { return uint32(math.Round(w * evidence.MaxExposure)) }
	for _, c := range ref.Rates {
		f := rates("", c.PC).with(func(f *family) { f.exposure, f.harm = share(c.W), more(c.PT/c.PC) })
		if got := f.oracleSeconds(1) * float64(f.rate); math.Abs(got-c.Total) > max(0.001*c.Total, 1) {
			t.Errorf("%+v: %.0f requests", c, got)
		}
	}
	for _, c := range ref.Values {
		f := values("", lognormal(c.Sigma)).with(func(f *family) { f.exposure, f.harm = share(c.W), slower(c.Scale) })
		if got := f.oracleSeconds(1) * float64(f.rate) * c.W; math.Abs(got-c.Exposed) > max(0.02*c.Exposed, 1) {
			t.Errorf("%+v: %.1f exposed requests", c, got)
		}
	}
}

// tiny is a benchmark of seconds.
func tiny(t *testing.T) *Result {
	t.Helper()
	names := []string{"plain errors", frontierFamily, "latency x1.5"}
	o := Options{Seed: 5, NullRuns: 2, HarmRuns: 2, TuneRuns: 4, NullTime: 300, HarmTime: 300, Only: func(f string) bool { return slices.Contains(names, f) }}
	var outcomes []Outcome
	for _, j := range Jobs(o) {
		outcomes = append(outcomes, j.Run())
	}
	slices.Reverse(outcomes) // the order in which they are done does not matter
	return Summarise(o, outcomes)
}

// TestTinyRun keeps the whole output of a small benchmark, in the forms for people and for programs.
func TestTinyRun(t *testing.T) {
	r := tiny(t)
	for _, tt := range []struct {
		name  string
		write func(*Result, *bytes.Buffer) error
	}{
		{"tiny.txt", func(r *Result, b *bytes.Buffer) error { return r.WriteTable(b) }},
		{"tiny.csv", func(r *Result, b *bytes.Buffer) error { return r.WriteCSV(b) }},
	} {
		var got bytes.Buffer
		if err := tt.write(r, &got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", tt.name)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs; if that was meant: -update\n%s", tt.name, got.String())
		}
	}
}

// TestForms: JSON has exactly the members that readers rely on, JUnit a case per goal, the picture a curve per knob.
func TestForms(t *testing.T) {
	r := tiny(t)
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var form map[string][]map[string]any
	if err := json.Unmarshal(b.Bytes(), &form); err != nil {
		t.Fatal(err)
	}
	members := map[string]string{
		"nulls": "ci95 contender falseRollbacks family rate runs tuned",
		"harms": "contender family margin meanSeconds medianSeconds missed oracleSeconds ratioToOracle runs tests tuned",
	}
	if len(form) != len(members) {
		t.Errorf("members %v", form)
	}
	for kind, want := range members {
		if len(form[kind]) < 8 {
			t.Errorf("%s has %d rows", kind, len(form[kind]))
		}
		for _, row := range form[kind] {
			var names []string
			for n := range row {
				names = append(names, n)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want {
				t.Fatalf("%s: members %s, want %s", kind, got, want)
			}
		}
	}
	b.Reset()
	var suite junitSuite
	if err := r.WriteJUnit(&b); err != nil || xml.Unmarshal(b.Bytes(), &suite) != nil || len(suite.Cases) != len(r.Goals) || suite.Tests != len(r.Goals) {
		t.Errorf("JUnit: %v, %d cases for %d goals", err, len(suite.Cases), len(r.Goals))
	}
	b.Reset()
	if err := r.WriteSVG(&b); err != nil || strings.Count(b.String(), "<path d=\"M") < 6 || xml.Unmarshal(b.Bytes(), new(struct{})) != nil {
		t.Errorf("SVG: %v\n%s", err, b.String())
	}
}

// TestStepAndEvidenceAgree: judge.Step never asks for a rollback before the evidence is there, and the evidence of a plain harm
// does not wait for it long.
func TestStepAndEvidenceAgree(t *testing.T) {
	f := harmFamilies(300)[4]
	at := slices.Index(contenders[ourEvidence].levels, math.Log(1/Alpha))
	for _, r := range (Job{forHarm, f, 0, 5, 300, 9}).Run().runs {
		step, level := r.crossed[ourStep][0], r.crossed[ourEvidence][at]
		if step == 0 || level == 0 || step < level || step > 2*level+5 {
			t.Errorf("Step rolls back after %d s, the evidence is there after %d s", step, level)
		}
	}
}
