package plan

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
	"sluice.dev/sdk/flag"
)

// checkPlan states what every plan that comes out of Parse promises to the state machine and to the judge.
func checkPlan(p *Plan) error {
	last := map[string]flag.Exposure{}
	for i, s := range p.Stages {
		switch {
		case s.Bake < time.Second || s.Bake%time.Second != 0:
			return fmt.Errorf("stage %d bakes %s", i, s.Bake)
		case s.Exposure > flag.Full || s.Holdback > flag.Full/2 || (s.Exposure == flag.Full) != (s.Holdback > 0):
			return fmt.Errorf("stage %d exposes %d and holds %d back", i, s.Exposure, s.Holdback)
		case s.effective() < last[s.Cohort]:
			return fmt.Errorf("stage %d exposes less of %s than the one before", i, s.Cohort)
		case (s.Exposure == 0) != (s.Mode == modeShadow):
			return fmt.Errorf("stage %d exposes %d in mode %q", i, s.Exposure, s.Mode)
		}
		last[s.Cohort] = s.effective()
	}
	if n := len(p.Stages); n == 0 || n > maxStages || p.Stages[n-1].Exposure != flag.Full {
		return fmt.Errorf("%d stages that do not end at 100%%", n)
	}
	if r := p.Rollback; r.CompleteWithin < horizon(r.LeaseTTL)+r.Drain || r.LeaseTTL < minLease || r.LeaseTTL > maxLease {
		return fmt.Errorf("the way back cannot be proven in time: %+v", r)
	}
	if p.Judge.Alpha <= 0 || p.Judge.Alpha > 0.05 || p.Judge.Bakes < 1 || len(p.Judge.Guardrails) == 0 {
		return fmt.Errorf("judge: %+v", p.Judge)
	}
	for _, g := range p.Judge.Guardrails {
		if _, known := p.Metrics[g.Metric]; !known || g.Weight <= 0 || g.Blips.Allow > g.Blips.Of || (g.Max == nil) == (g.WorseBy.Relative+g.WorseBy.Absolute == 0) {
			return fmt.Errorf("guardrail: %+v", g)
		}
	}
	if p.Flag.Stable == p.Flag.Candidate || !strings.HasPrefix(p.Digest, "sha256:") {
		return fmt.Errorf("flag %+v, digest %q", p.Flag, p.Digest)
	}
	return nil
}

// checkFindings states what findings promise to people.
func checkFindings(findings []Finding, src string) error {
	for i, f := range findings {
		if f.Line < 1 || f.Col < 1 || f.Line > 1+strings.Count(src, "\n") || f.Code == "" || f.Text == "" || f.Severity == "" {
			return fmt.Errorf("finding without a place or text: %+v", f)
		}
		if i > 0 && (f.Line < findings[i-1].Line || f.Line == findings[i-1].Line && f.Col < findings[i-1].Col) {
			return fmt.Errorf("findings out of order: %v, %v", findings[i-1], f)
		}
		if strings.ContainsAny(FormatFinding(f, src), "\x1b\x00\u202e") {
			return fmt.Errorf("a control character reaches the terminal: %+v", f)
		}
	}
	return nil
}

func TestPlansKeepTheirPromises(t *testing.T) {
	plans := 0
	rapid.Check(t, func(t *rapid.T) {
		src := genSpec(t)
		p, findings := Parse("", []byte(src))
		if (p == nil) != HasErrors(findings) {
			t.Fatalf("plan %v with findings %v", p != nil, findings)
		}
		if err := checkFindings(findings, src); err != nil {
			t.Fatal(err)
		}
		if p == nil {
			return
		}
		plans++
		if err := checkPlan(p); err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		again, _ := Parse("", []byte(src))
		if !reflect.DeepEqual(p, again) {
			t.Fatal("the same text gives another plan")
		}
	})
	if plans == 0 {
		t.Error("no generated specification became a plan: the property says nothing")
	}
}

// genSpec writes specifications of which about half are right.
func genSpec(t *rapid.T) string {
	share := rapid.SampledFrom([]string{"0%", "1%", "5%", "12.5%", "50%", "99%", "99.5%", "100%", "5", "-1%"})
	bake := rapid.SampledFrom([]string{"1s", "90s", "1h30m", "2d", "1w", "0s", "500ms", "366d"})
	cohort := rapid.SampledFrom([]string{"internal", "general", "general", "nobody"})
	var b strings.Builder
	for i := range rapid.IntRange(0, 4).Draw(t, "stages") {
		fmt.Fprintf(&b, "    - {name: s%d, cohort: %s, exposure: ", i, cohort.Draw(t, "cohort"))
		if n := rapid.IntRange(0, 3).Draw(t, "list"); n > 0 {
			fmt.Fprintf(&b, "[%s]", strings.Join(rapid.SliceOfN(share, n, n).Draw(t, "shares"), ", "))
		} else {
			b.WriteString(share.Draw(t, "share"))
		}
		if rapid.Bool().Draw(t, "held") {
			b.WriteString(", holdback: " + share.Draw(t, "holdback"))
		}
		if rapid.IntRange(0, 3).Draw(t, "mode") == 0 {
			b.WriteString(", mode: shadow")
		}
		fmt.Fprintf(&b, ", bake: %s}\n", bake.Draw(t, "bake"))
	}
	if rapid.Bool().Draw(t, "end") {
		b.WriteString("    - {name: end, exposure: 100%, bake: 1h}\n")
	}
	head, tail, _ := strings.Cut(small, "    - {name: internal,")
	_, tail, _ = strings.Cut(tail, "  rollback:\n")
	src := head + b.String() + "  rollback:\n" + tail
	if rapid.Bool().Draw(t, "clock") {
		src = strings.Replace(src, "leaseTTL: 8s, completeWithin: 15s", fmt.Sprintf("leaseTTL: %dms, completeWithin: %dms",
			rapid.IntRange(1000, 70_000).Draw(t, "ttl"), rapid.IntRange(1000, 90_000).Draw(t, "complete")), 1)
	}
	return src
}

// TestCutTextsNeverHurt removes, doubles and swaps lines of a right specification.
func TestCutTextsNeverHurt(t *testing.T) {
	lines := strings.SplitAfter(small, "\n")
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for _, line := range lines {
			switch rapid.IntRange(0, 12).Draw(t, "what") {
			case 0:
			case 1:
				b.WriteString(line + line)
			case 2:
				cut := rapid.IntRange(0, len(line)).Draw(t, "cut")
				b.WriteString(line[:cut] + "\n")
			default:
				b.WriteString(line)
			}
		}
		p, findings := Parse("", []byte(b.String()))
		if err := checkFindings(findings, b.String()); err != nil {
			t.Fatal(err)
		}
		if p != nil {
			if err := checkPlan(p); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestDurationsAgreeWithGo uses time.ParseDuration as the twin for what both understand.
func TestDurationsAgreeWithGo(t *testing.T) {
	part := rapid.StringMatching(`[0-9]{1,5}(\.[0-9]{1,10})?(ns|us|ms|s|m|h)`)
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "parts"), "")
		want, err := time.ParseDuration(s)
		got, p := parseDuration(s)
		if err != nil || want <= 0 || want > MaxDuration {
			if p == nil {
				t.Fatalf("%s: got %s, want a refusal", s, got)
			}
			return
		}
		if p != nil || got-want > 4 || want-got > 4 { // Go keeps fractions of a nanosecond per part in floating point
			t.Fatalf("%s: got %s %v, want %s", s, got, p, want)
		}
	})
}

// TestDurationsReadBack covers d and w, which Go does not know.
func TestDurationsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, d, h := rapid.Int64Range(0, 40).Draw(t, "w"), rapid.Int64Range(0, 30).Draw(t, "d"), rapid.Int64Range(1, 100).Draw(t, "h")
		want := time.Duration(w*7*24+d*24+h) * time.Hour
		if got, err := ParseDuration(fmt.Sprintf("%dw%dd%dh", w, d, h)); err != nil || got != want {
			t.Fatalf("got %s %v, want %s", got, err, want)
		}
		x := time.Duration(rapid.Int64Range(1, int64(MaxDuration)).Draw(t, "any"))
		if got, err := ParseDuration(formatDuration(x)); err != nil || got != x {
			t.Fatalf("%s: got %s %v, want %s", formatDuration(x), got, err, x)
		}
	})
}

// TestPercentagesAreExact uses rational numbers as the twin.
func TestPercentagesAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[0-9]{1,4}(\.[0-9]{1,6})?`).Draw(t, "number")
		x, _ := new(big.Rat).SetString(s)
		x.Mul(x, big.NewRat(1000, 1))
		exact := x.IsInt() && x.Cmp(big.NewRat(100_000, 1)) <= 0
		got, p := parsePercent(s+"%", 100_000)
		if (p == nil) != exact || exact && big.NewRat(int64(got), 1).Cmp(x) != 0 {
			t.Fatalf("%s%%: got %d %v, want %s parts (accepted %v)", s, got, p, x, exact)
		}
		if exact {
			if back, p := parsePercent(formatPercent(got), 100_000); p != nil || back != got {
				t.Fatalf("%s: got %d %v, want %d", formatPercent(got), back, p, got)
			}
		}
	})
}

// TestNumbersAreNeverRounded uses the JSON decoder as the twin.
func TestNumbersAreNeverRounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,8})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
		var want float64
		err := json.Unmarshal([]byte(s), &want)
		got, p := parseNumber(s, span{lo: -1e300, hi: 1e300})
		if p == nil && (err != nil || got != want) {
			t.Fatalf("%s: got %g, want %g %v", s, got, want, err)
		}
		n, p := parseWhole(s, span{lo: 0, hi: 1 << 53})
		if p == nil && strconv.FormatUint(n, 10) != s {
			t.Fatalf("%s: got %d", s, n)
		}
	})
}

// TestDistanceAgreesWithItsDefinition uses the recursive definition as the twin.
func TestDistanceAgreesWithItsDefinition(t *testing.T) {
	var slow func(a, b string) int
	slow = func(a, b string) int {
		if a == "" || b == "" {
			return len(a) + len(b)
		}
		cost := 1
		if a[len(a)-1] == b[len(b)-1] {
			cost = 0
		}
		d := min(slow(a[:len(a)-1], b)+1, slow(a, b[:len(b)-1])+1, slow(a[:len(a)-1], b[:len(b)-1])+cost)
		if n, m := len(a), len(b); n > 1 && m > 1 && a[n-1] == b[m-2] && a[n-2] == b[m-1] {
			d = min(d, slow(a[:n-2], b[:m-2])+1)
		}
		return d
	}
	word := rapid.StringMatching(`[abc]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if got, want := distance(a, b), slow(a, b); got != want {
			t.Fatalf("%q, %q: got %d, want %d", a, b, got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	for _, tt := range hostile {
		if len(tt.text) < 4096 {
			f.Add([]byte(tt.text))
		}
	}
	for _, tt := range codeCases {
		if tt.severity != "skip" {
			text, _ := marked(strings.Replace(small, tt.old, tt.new, 1))
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		p, findings := Parse("", src)
		if (p == nil) != HasErrors(findings) {
			t.Fatalf("plan %v with findings %v", p != nil, findings)
		}
		if err := checkFindings(findings, string(src)); err != nil {
			t.Fatal(err)
		}
		if p != nil {
			if err := checkPlan(p); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzScalars(f *testing.F) {
	for _, s := range []string{"5m", "-5m", "P1M", "1h30m", "0.5%", "5pp", "1e400", "2^53", "9007199254740993", "1_000", "3 ms", "\u00b5s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, p := parseDuration(s); p == nil && (d <= 0 || d > MaxDuration) {
			t.Errorf("%q: got %s", s, d)
		}
		if n, p := parsePercent(s, 100_000); p == nil && n > 100_000 {
			t.Errorf("%q: got %d", s, n)
		}
		if x, p := parseValue(s, "ms"); p == nil && !(x >= -1e15 && x <= 1e15) {
			t.Errorf("%q: got %g", s, x)
		}
	})
}
