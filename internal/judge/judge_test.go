package judge

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
	"sluice.dev/sdk/evidence"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestMissingLateOrFewDataNeverPass is I13.
func TestMissingLateOrFewDataNeverPass(t *testing.T) {
	good := func(sec int64) evidence.Second { return both(sec, 100, 1, 20, 0) }
	for _, tt := range []struct {
		name  string
		world func(sec int64) evidence.Second
	}{
		{"nothing", func(sec int64) evidence.Second { return closed(sec) }},
		{"no exposed arm", func(sec int64) evidence.Second { return closed(sec, errorBlock(sec, evidence.ArmBaseline, 100, 1)) }},
		{"no baseline arm", func(sec int64) evidence.Second { return closed(sec, errorBlock(sec, evidence.ArmExposed, 100, 1)) }},
		{"too few", func(sec int64) evidence.Second { return both(sec, 100, 1, 3, 0) }},
		{"half of the members", func(sec int64) evidence.Second { s := good(sec); s.Through, s.Members = 1, 2; return s }},
		{"gaps only", func(sec int64) evidence.Second { s := good(sec); s.Gap = true; return s }},
		{"without lease", func(sec int64) evidence.Second {
			s := good(sec)
			for i := range s.Blocks {
				s.Blocks[i].Lease = evidence.LeaseLapsed
			}
			return s
		}},
		{"arms of different strata", func(sec int64) evidence.Second { s := good(sec); s.Blocks[0].Revision++; return s }},
		{"another metric", func(sec int64) evidence.Second {
			s := good(sec)
			for i := range s.Blocks {
				s.Blocks[i].Metric = "other"
			}
			return s
		}},
		{"stops after two looks", func(sec int64) evidence.Second {
			if sec < start+10 {
				return good(sec)
			}
			return closed(sec)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(errorRail())
			s := judged(cfg)
			for i := range int64(120) {
				if rep := Step(cfg, s, tt.world(start+i)); rep.Result == Pass || rep.Result == Fail || rep.Powered {
					t.Fatalf("second %d: got %s: %s", i, rep.Result, Sentence(rep.Verdicts[0]))
				}
			}
		})
	}
	t.Run("the twin with data passes", func(t *testing.T) {
		cfg := config(errorRail())
		if rep := run(cfg, judged(cfg), start, 15, good); rep.Result != Pass || !rep.Powered {
			t.Errorf("got %s", rep.Result)
		}
	})
	t.Run("no guardrail", func(t *testing.T) {
		cfg := config()
		if rep := run(cfg, judged(cfg), start, 15, good); rep.Result == Pass {
			t.Error("passed without a guardrail")
		}
	})
	t.Run("a test without a rule", func(t *testing.T) {
		g := errorRail()
		g.Test = "psi"
		cfg := config(g)
		if rep := run(cfg, judged(cfg), start, 60, good); rep.Result != Inconclusive {
			t.Errorf("got %s", rep.Result)
		}
	})
}

func TestAPassGoesStale(t *testing.T) {
	cfg := config(errorRail())
	s := judged(cfg)
	run(cfg, s, start, 15, func(sec int64) evidence.Second { return both(sec, 100, 1, 20, 0) })
	// one exposed observation now and then is no silence, and too few for a look
	rep := run(cfg, s, start+15, 45, func(sec int64) evidence.Second { return both(sec, 10, 0, uint64(1-min(1, sec%5)), 0) })
	if rep.Result != Inconclusive || rep.Verdicts[0].Powered {
		t.Errorf("got %s: %s", rep.Result, Sentence(rep.Verdicts[0]))
	}
}

// TestProviderErrorsNeitherPromoteNorRollBack is I14.
func TestProviderErrorsNeitherPromoteNorRollBack(t *testing.T) {
	good := func(sec int64) evidence.Second { return both(sec, 100, 1, 20, 0) }
	cfg := config(errorRail())
	s := judged(cfg)
	run(cfg, s, start, 20, good)
	Provider(s, "errors", "query timed out after 10s")
	for i := range int64(60) {
		sec := closed(start + 20 + i)
		if i%2 == 0 {
			sec = good(start + 20 + i)
		}
		rep := Step(cfg, s, sec)
		if rep.Result != Error || rep.Action != ActPause || rep.Decider.Rule != ruleProvider {
			t.Fatalf("second %d: got %s, action %q", i, rep.Result, rep.Action)
		}
	}
	Provider(s, "errors", "")
	if rep := run(cfg, s, start+80, 20, good); rep.Result != Pass {
		t.Errorf("after the provider works again: got %s", rep.Result)
	}
	g := errorRail()
	g.OnError = ActRollback
	cfg = config(g)
	s = judged(cfg)
	Provider(s, "errors", "boom")
	if rep := Step(cfg, s, good(start)); rep.Action != ActRollback {
		t.Errorf("the specification says rollback: got %q", rep.Action)
	}
}

// story is a world with everything in it: three guardrails, segments, a gap, a stage change, a provider error, harm.
func story(seed uint64) (cfg Config, play func(s *State, i int) Report, n int) {
	hard := errorRail()
	hard.Hard = &Hard{Above: 0.6, For: 5 * time.Second}
	hard.Segments = true
	slow := Guardrail{Name: "latency", Metric: "latency", Stat: "p95", WorseBy: Margin{Relative: 0.3}, MinN: 40, Window: 3 * time.Second, OnBreach: ActPause}
	mean := Guardrail{Name: "mean", Role: "signal", Metric: "latency", Stat: statMean, WorseBy: Margin{Relative: 0.05}}
	cfg = config(hard, slow, mean)
	secs := make([]evidence.Second, 120)
	rng := rand.New(rand.NewPCG(seed, 7))
	for i := range secs {
		secs[i] = storySecond(rng, i)
	}
	return cfg, func(s *State, i int) Report {
		switch i {
		case 10:
			Enter(s, 0, 5000, "general")
		case 60:
			Provider(s, "latency", "no route to host")
		case 66:
			Provider(s, "latency", "")
		}
		return Step(cfg, s, secs[i])
	}, len(secs)
}

func storySecond(rng *rand.Rand, i int) evidence.Second {
	sec := start + int64(i)
	var blocks []evidence.Block
	for _, arm := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
		rate, scale := 0.05, 10.0
		if arm == evidence.ArmExposed && i > 80 {
			rate, scale = 0.3, 14
		}
		n, bad := 40+uint64(rng.IntN(20)), uint64(0)
		var values []float64
		for range n {
			if rng.Float64() < rate {
				bad++
			}
			values = append(values, scale*(0.5+rng.Float64()))
		}
		e := errorBlock(sec, arm, n, bad)
		e.Open = uint64(rng.IntN(3))
		for _, origin := range []string{"LAX", "ORD", "SFO"} {
			e = segment(e, "origin="+origin, n/3, bad/3)
		}
		blocks = append(blocks, e, valueBlock(sec, arm, values...))
	}
	out := closed(sec, blocks...)
	out.Gap = i == 30 || i == 31
	return out
}

// TestReplayFindsTheSameBits is I15: from any checkpoint the stored seconds give the same state and reports, and the
// digest is the one that was written down (on every machine).
func TestReplayFindsTheSameBits(t *testing.T) {
	cfg, play, n := story(1)
	live := New(cfg, testMetrics)
	var digests []string
	var reports []Report
	for i := range n {
		reports = append(reports, play(live, i))
		digests = append(digests, live.Digest())
	}
	for _, from := range []int{0, 7, 31, 62, 99} {
		s := New(cfg, testMetrics)
		for i := range from {
			play(s, i)
		}
		b, err := MarshalState(s)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = UnmarshalState(b); err != nil {
			t.Fatal(err)
		}
		for i := from; i < n; i++ {
			rep := play(s, i)
			if got := s.Digest(); got != digests[i] {
				t.Fatalf("from checkpoint %d, second %d: got state %s, want %s", from, i, got, digests[i])
			}
			if !reflect.DeepEqual(rep, reports[i]) {
				t.Fatalf("from checkpoint %d, second %d: the reports differ:\n%+v\n%+v", from, i, rep, reports[i])
			}
		}
	}
	var b strings.Builder
	for i := 9; i < n; i += 10 {
		b.WriteString(digests[i] + " " + string(reports[i].Result) + " " + string(reports[i].Action) + "\n")
	}
	last := reports[n-1]
	b.WriteString(Sentence(*last.Decider) + "\n" + last.Decider.Evidence + "\n")
	golden(t, "story.txt", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestSecondsAreJudgedOnce(t *testing.T) {
	cfg, play, n := story(2)
	s := New(cfg, testMetrics)
	for i := range n {
		rep := play(s, i)
		before := s.Digest()
		if again := Step(cfg, s, both(start+int64(i)/2, 10, 10, 10, 10)); !reflect.DeepEqual(again, rep) || s.Digest() != before {
			t.Fatalf("second %d: a second that was judged before changed something", i)
		}
	}
}

func TestGapChangesNothing(t *testing.T) {
	cfg, play, n := story(3)
	s := New(cfg, testMetrics)
	for i := range n {
		rep := play(s, i)
		after, err := UnmarshalState(must(MarshalState(s)))
		if err != nil {
			t.Fatal(err)
		}
		bad := both(start+int64(i), 100, 0, 100, 100)
		bad.At, bad.Gap = s.At+1, true
		got := Step(cfg, after, bad)
		after.At = s.At
		if after.Digest() != s.Digest() {
			t.Fatalf("second %d: a gap changed the state", i)
		}
		// an action asked for before the gap stays asked for; nothing else may appear
		for j := range got.Verdicts {
			got.Verdicts[j].From, got.Verdicts[j].To, got.Verdicts[j].Evidence = 0, 0, ""
			rep.Verdicts[j].From, rep.Verdicts[j].To, rep.Verdicts[j].Evidence = 0, 0, ""
		}
		if rep.Verdicts[0].Rule != ruleHard && !reflect.DeepEqual(got.Verdicts, rep.Verdicts) {
			t.Fatalf("second %d: a gap changed a verdict", i)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestSilenceOfTheExposedArmIsNoData(t *testing.T) {
	cfg := config(errorRail())
	s := judged(cfg)
	world := func(sec int64) evidence.Second {
		if sec >= start+15 {
			return closed(sec, errorBlock(sec, evidence.ArmBaseline, 100, 1))
		}
		return both(sec, 100, 1, 3, 0) // 3 per second: 50 are promised within 17 s, longer than the limit
	}
	if rep := run(cfg, s, start, 24, world); rep.Result != Inconclusive {
		t.Errorf("after 9 s of silence: got %s", rep.Result)
	}
	rep := run(cfg, s, start+24, 1, world)
	if rep.Result != NoData || rep.Action != ActPause {
		t.Fatalf("after 10 s of silence: got %s, action %q", rep.Result, rep.Action)
	}
	if want := "errors: no data, no observation of the exposed arm for 10 s"; Sentence(*rep.Decider) != want {
		t.Errorf("got %q, want %q", Sentence(*rep.Decider), want)
	}
	if rep := Step(cfg, s, both(start+25, 100, 1, 3, 0)); rep.Result != Inconclusive {
		t.Errorf("when it is back: got %s", rep.Result)
	}
}

func TestWholeArmGoneIsNoData(t *testing.T) {
	for _, tt := range []struct {
		name   string
		silent string // arm
		n      uint64
		burst  int64 // observations come in one second of so many
		after  int64 // seconds of silence until no data; 0 means never within 9
	}{
		{"busy exposed arm", evidence.ArmExposed, 30, 1, 2},
		{"slower exposed arm", evidence.ArmExposed, 10, 1, 5},
		{"baseline arm", evidence.ArmBaseline, 30, 1, 2},
		{"an arm that always pauses as long", evidence.ArmExposed, 300, 8, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(errorRail())
			s := judged(cfg)
			stop := start + 33 // a second after a burst
			world := func(sec int64) evidence.Second {
				var blocks []evidence.Block
				for _, arm := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
					if (arm != tt.silent || sec < stop) && (sec-start)%tt.burst == 0 {
						blocks = append(blocks, errorBlock(sec, arm, tt.n, 0))
					}
				}
				return closed(sec, blocks...)
			}
			run(cfg, s, start, 33, world)
			for i := range int64(7) {
				rep := Step(cfg, s, world(stop+i))
				if got, want := rep.Result == NoData, tt.after > 0 && i+1 >= tt.after; got != want {
					t.Errorf("after %d s of silence: got %s", i+1, rep.Result)
				}
			}
		})
	}
}

func TestHardTrip(t *testing.T) {
	g := errorRail()
	g.Hard = &Hard{Above: 0.2, For: 10 * time.Second}
	cfg := config(g)
	t.Run("both arms bad, no comparison needed", func(t *testing.T) {
		s := judged(cfg)
		rep := run(cfg, s, start, 9, func(sec int64) evidence.Second { return both(sec, 100, 50, 20, 10) })
		if rep.Result == Fail {
			t.Fatal("tripped before the span was over")
		}
		rep = Step(cfg, s, both(start+9, 100, 50, 20, 10))
		if rep.Result != Fail || rep.Decider.Rule != ruleHard || rep.Action != ActRollback || rep.Decider.Exposed != 0.5 {
			t.Fatalf("got %s: %+v", rep.Result, rep.Decider)
		}
		if want := "errors: 50.0 % exposed over 10 s, hard limit 20.0 % (n 200); needs no comparison, not error-bounded"; Sentence(*rep.Decider) != want {
			t.Errorf("got %q", Sentence(*rep.Decider))
		}
	})
	t.Run("fewer than ten observations", func(t *testing.T) {
		if rep := run(cfg, judged(cfg), start, 30, func(sec int64) evidence.Second {
			return both(sec, 100, 1, uint64(1-min(1, (sec-start)%4)), uint64(1-min(1, (sec-start)%4)))
		}); rep.Result == Fail {
			t.Errorf("tripped on 3 observations: %+v", rep.Decider)
		}
	})
	t.Run("open blocks", func(t *testing.T) {
		s := judged(cfg)
		run(cfg, s, start, 20, func(sec int64) evidence.Second { return both(sec, 100, 1, 20, 0) })
		before := s.Digest()
		open := []evidence.Block{errorBlock(start+20, evidence.ArmExposed, 60, 60), errorBlock(start+20, evidence.ArmBaseline, 60, 60)}
		rep := Open(cfg, s, open, at(start+20))
		if rep.Result != Fail || rep.Action != ActRollback || rep.Decider.Evidence == "" || rep.Decider.To != start+20 {
			t.Errorf("got %s: %+v", rep.Result, rep.Decider)
		}
		if rep := Open(cfg, s, open, at(start+19)); rep.Action != "" {
			t.Error("a second that has not begun tripped")
		}
		open[0].Second = start + 19
		if rep := Open(cfg, s, open, at(start+20)); rep.Action != "" {
			t.Error("a block of a judged second counted twice")
		}
		open[0].Second, open[0].Lease = start+20, evidence.LeaseLapsed
		if rep := Open(cfg, s, open, at(start+20)); rep.Action != "" {
			t.Error("a block without a lease tripped")
		}
		if s.Digest() != before {
			t.Error("a look at open blocks changed the state")
		}
	})
}

func TestDeciderIsTheStrongestThenTheWorst(t *testing.T) {
	pause, roll, seg := errorRail(), errorRail(), errorRail()
	pause.Name, pause.OnBreach, pause.WorseBy = "a-pause", ActPause, Margin{Absolute: 0.001}
	roll.Name, roll.WorseBy = "b-roll", Margin{Absolute: 0.1}
	seg.Name, seg.WorseBy, seg.Segments = "c-seg", Margin{Absolute: 0.2}, true
	cfg := config(pause, seg, roll)
	world := func(sec int64) evidence.Second {
		b, e := errorBlock(sec, evidence.ArmBaseline, 100, 0), errorBlock(sec, evidence.ArmExposed, 40, 20)
		b, e = segment(b, "x=1", 50, 0), segment(e, "x=1", 20, 20)
		b, e = segment(b, "x=2", 50, 0), segment(e, "x=2", 20, 0)
		return closed(sec, b, e)
	}
	rep := run(cfg, judged(cfg), start, 15, world)
	var order []string
	for _, v := range rep.Verdicts {
		order = append(order, v.Guardrail+" "+v.Dim+" "+v.Value)
	}
	want := []string{"a-pause total ", "c-seg total ", "c-seg segment x=1", "c-seg segment x=2", "b-roll total "}
	if !slices.Equal(order, want) {
		t.Errorf("order: got %q", order)
	}
	// b-roll 0.5/0.1 and the lane x=1 1.0/0.2 are both five times over: the total comes first
	if d := rep.Decider; d.Guardrail != "b-roll" || d.Evidence == "" || rep.Verdicts[4].Evidence != d.Evidence {
		t.Errorf("decider: got %+v", *d)
	}
	cfg.Guardrails[2].OnBreach = ActHold
	if d := run(cfg, judged(cfg), start, 15, world).Decider; d.Guardrail != "c-seg" || d.Value != "x=1" {
		t.Errorf("decider without b-roll: got %+v", *d)
	}
}

func TestEvidenceDigestIsOfTheWindow(t *testing.T) {
	cfg := config(errorRail())
	s := judged(cfg)
	var secs []evidence.Second
	var rep Report
	for i := range int64(40) {
		bad := uint64(0)
		if i >= 20 {
			bad = 10
		}
		sec := both(start+i, 100, 0, 20, bad)
		sec.Gap = i == 27
		secs = append(secs, sec)
		if rep = Step(cfg, s, sec); rep.Decider != nil {
			break
		}
	}
	d := rep.Decider
	if d == nil || d.Evidence != WindowDigest(secs, d.From, d.To) {
		t.Fatalf("got %+v", d)
	}
	secs[25].Blocks[0].Bad++
	if d.Evidence == WindowDigest(secs, d.From, d.To) {
		t.Error("changed evidence has the same digest")
	}
}

func TestDefaultActions(t *testing.T) {
	for _, tt := range []struct {
		g    Guardrail
		r    Result
		want Action
	}{
		{Guardrail{Class: ClassE}, Fail, ActRollback},
		{Guardrail{Class: ClassH}, Fail, ActPause},
		{Guardrail{Class: ClassH, OnBreach: ActRollback}, Fail, ActRollback},
		{Guardrail{Role: "signal"}, Fail, ActHold},
		{Guardrail{}, NoData, ActPause},
		{Guardrail{}, Error, ActPause},
		{Guardrail{Role: "success"}, NoData, ""},
		{Guardrail{}, Pass, ""},
		{Guardrail{}, Inconclusive, ""},
	} {
		if got := tt.g.action(tt.r); got != tt.want {
			t.Errorf("%+v %s: got %q, want %q", tt.g, tt.r, got, tt.want)
		}
	}
}

// TestOnlyDataFail is a property over random worlds: no report asks for a rollback while no exposed observation is bad,
// and every report is in order.
func TestOnlyDataFail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := errorRail()
		g.Hard = &Hard{Above: 0.01, For: 3 * time.Second}
		cfg := config(g)
		s := New(cfg, testMetrics)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		for i := range int64(rapid.IntRange(1, 60).Draw(t, "seconds")) {
			if rng.IntN(15) == 0 {
				Enter(s, int(i), uint32(rng.IntN(3))*5000, "general")
			}
			sec := both(start+i, uint64(rng.IntN(100)), 0, uint64(rng.IntN(100)), 0)
			sec.Gap = rng.IntN(10) == 0
			sec.Through = rng.IntN(4)
			if rep := Step(cfg, s, sec); rep.Result == Fail || rep.Action == ActRollback {
				t.Fatalf("second %d: %s", i, Sentence(*rep.Decider))
			}
		}
	})
}

func FuzzUnmarshalState(f *testing.F) {
	cfg, play, _ := story(4)
	s := New(cfg, testMetrics)
	for i := range 40 {
		play(s, i)
	}
	f.Add(must(MarshalState(s)))
	always, world := rich()
	s = New(always, testMetrics)
	Enter(s, 0, 5000, "general")
	for i := range int64(3) {
		world.exposure = 5000
		Step(always, s, world.second(start+i))
	}
	NoteLate(s, []LateCount{{Metric: "latency", Arm: evidence.ArmExposed, N: 3}})
	NoteBoot(s, BootNote{At: start, Component: "host", Instances: 3, Lapsed: 1})
	f.Add(must(MarshalState(s)))
	f.Add([]byte(`{"format":1,"rails":[{"lanes":[]}]}`))
	f.Add([]byte(`{"format":1,"silence":{},"late":{"x":{}},"components":{"x":null}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := UnmarshalState(b)
		if err != nil {
			return
		}
		again, err := UnmarshalState(must(MarshalState(s)))
		if err != nil || again.Digest() != s.Digest() {
			t.Errorf("round trip: %v", err)
		}
	})
}

func TestABreachOutranksErrorsAndSilence(t *testing.T) {
	cfg := config(errorRail())
	s := judged(cfg)
	run(cfg, s, start, 15, func(sec int64) evidence.Second { return both(sec, 100, 0, 20, 10) })
	Provider(s, "errors", "query timed out")
	if rep := run(cfg, s, start+15, 12, func(sec int64) evidence.Second { return closed(sec) }); rep.Result != Fail || rep.Action != ActRollback {
		t.Errorf("got %s: %s", rep.Result, Sentence(rep.Verdicts[0]))
	}
}

func TestSignalsDoNotHoldBackAPass(t *testing.T) {
	signal := Guardrail{Name: "signal", Role: "signal", Metric: "latency", Stat: statMean, WorseBy: Margin{Relative: 0.1}}
	cfg := config(errorRail(), signal)
	rep := run(cfg, judged(cfg), start, 15, func(sec int64) evidence.Second { return both(sec, 100, 1, 20, 0) })
	if v := verdictOf(rep, "signal", evidence.DimTotal, ""); rep.Result != Pass || rep.Action != "" || v.Result != NoData {
		t.Errorf("got %s, action %q, the signal %s", rep.Result, rep.Action, v.Result)
	}
	cfg.Guardrails[1].Role = "guardrail"
	if rep := run(cfg, judged(cfg), start, 15, func(sec int64) evidence.Second { return both(sec, 100, 1, 20, 0) }); rep.Result != NoData {
		t.Errorf("a mandatory guardrail without data: got %s", rep.Result)
	}
}

func TestGoneNeedsAPastOfItsOwn(t *testing.T) {
	pulse := func(n uint64, units int) armPulse { return armPulse{N: n, Mask: 1<<units - 1} }
	for _, tt := range []struct {
		name   string
		past   int // seconds with observations
		pulse  armPulse
		silent int
		want   bool
	}{
		{"enough of everything", 10, pulse(50, 5), 2, true},
		{"unit buckets unknown", 10, pulse(50, 0), 2, true},
		{"one unit hammering", 10, pulse(500, 4), 2, false},
		{"one second", 10, pulse(500, 8), 1, false},
		{"shorter past than twice the silence", 3, pulse(500, 8), 2, false},
		{"too slow", 10, pulse(24, 8), 2, false},
		{"slow but long enough", 10, pulse(24, 8), 3, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w armWatch
			for range tt.past {
				w.observe(tt.pulse)
			}
			for range tt.silent {
				w.observe(armPulse{})
			}
			if got := w.gone(); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
