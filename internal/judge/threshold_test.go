package judge

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
	"sluice.dev/sdk/evidence"
)

func TestThresholdFailsOnlyWhenMoreThanAllowOfTheLastLooksBreached(t *testing.T) {
	for _, tt := range []struct {
		name  string
		blips Blips
		looks string // x breaches, . does not, - has too few observations
		want  Result
	}{
		{"zero value needs three in a row", Blips{}, "xxx", Fail},
		{"two of three are tolerated but do not pass", Blips{}, "xx", Inconclusive},
		{"a good look between starts anew", Blips{}, "xx.xx", Inconclusive},
		{"full window without breach passes", Blips{}, "...", Pass},
		{"two good looks are no full window", Blips{}, "..", Inconclusive},
		{"an empty look is neither good nor bad", Blips{}, "x-x-x", Fail},
		{"empty looks do not fill the window", Blips{}, "..-", Inconclusive},
		{"one of one", Blips{Allow: 0, Of: 1}, "x", Fail},
		{"one of one passes", Blips{Allow: 0, Of: 1}, ".", Pass},
		{"two of six are not tolerated with one allowed", Blips{Allow: 1, Of: 6}, ".x..x.", Fail},
		{"one of six is tolerated", Blips{Allow: 1, Of: 6}, ".x....", Inconclusive},
		{"it leaves the window", Blips{Allow: 1, Of: 6}, ".x......", Pass},
		{"allow is at most of-1", Blips{Allow: 9, Of: 2}, "xx", Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := errorRail()
			g.Blips = tt.blips
			cfg := config(g)
			s, sec := judged(cfg), start
			var rep Report
			for _, c := range tt.looks {
				for range 5 {
					switch c {
					case 'x':
						rep = Step(cfg, s, both(sec, 100, 1, 20, 4))
					case '.':
						rep = Step(cfg, s, both(sec, 100, 1, 20, 1))
					default:
						rep = Step(cfg, s, both(sec, 100, 1, 1, 1))
					}
					sec++
				}
			}
			if rep.Result != tt.want {
				t.Errorf("looks %q: got %s (%s), want %s", tt.looks, rep.Result, rep.Verdicts[0].Rule, tt.want)
			}
			if want := map[Result]Action{Fail: ActRollback}[tt.want]; rep.Action != want {
				t.Errorf("looks %q: got action %q, want %q", tt.looks, rep.Action, want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	fast, slow := []float64{8, 9, 10, 11, 12, 10, 10, 9}, []float64{12, 13, 15, 16, 18, 15, 15, 14}
	values := func(metric string, b, e []float64) func(int64) evidence.Second {
		return func(sec int64) evidence.Second {
			bb, ee := valueBlock(sec, evidence.ArmBaseline, b...), valueBlock(sec, evidence.ArmExposed, e...)
			bb.Metric, ee.Metric = metric, metric
			return closed(sec, bb, ee)
		}
	}
	shares := func(badB, badE uint64) func(int64) evidence.Second {
		return func(sec int64) evidence.Second { return both(sec, 100, badB, 50, badE) }
	}
	for _, tt := range []struct {
		name   string
		stat   string
		metric string
		worse  Margin
		max    *float64
		world  func(int64) evidence.Second
		want   Result
	}{
		{"absolute inside", statProportion, "error", Margin{Absolute: 0.05}, nil, shares(10, 7), Pass},
		{"absolute outside", statProportion, "error", Margin{Absolute: 0.05}, nil, shares(10, 8), Fail},
		{"relative inside", statProportion, "error", Margin{Relative: 0.5}, nil, shares(10, 7), Pass},
		{"relative outside", statProportion, "error", Margin{Relative: 0.5}, nil, shares(10, 8), Fail},
		{"relative with a clean baseline", statProportion, "error", Margin{Relative: 0.5}, nil, shares(0, 1), Fail},
		{"relative with nothing at all", statProportion, "error", Margin{Relative: 0.5}, nil, shares(0, 0), Pass},
		{"max inside", statProportion, "error", Margin{}, ptr(0.2), shares(90, 9), Pass},
		{"max outside", statProportion, "error", Margin{}, ptr(0.1), shares(90, 9), Fail},
		{"either limit fails", statProportion, "error", Margin{Absolute: 0.5}, ptr(0.1), shares(10, 9), Fail},
		{"no limit never passes", statProportion, "error", Margin{}, nil, shares(1, 0), Inconclusive},
		{"mean outside", statMean, "latency", Margin{Relative: 0.2}, nil, values("latency", fast, slow), Fail},
		{"mean inside", statMean, "latency", Margin{Relative: 0.6}, nil, values("latency", fast, slow), Pass},
		{"median outside", statDistribution, "latency", Margin{Relative: 0.2}, nil, values("latency", fast, slow), Fail},
		{"median inside", statDistribution, "latency", Margin{Relative: 0.2}, nil, values("latency", slow, fast), Pass},
		{"p99 outside", "p99", "latency", Margin{Absolute: 3}, nil, values("latency", fast, slow), Fail},
		{"lower is worse", statMean, "score", Margin{Relative: 0.2}, nil, values("score", slow, fast), Fail},
		{"lower is worse, rising", statMean, "score", Margin{Relative: 0.2}, nil, values("score", fast, slow), Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(Guardrail{Name: "g", Metric: tt.metric, Stat: tt.stat, WorseBy: tt.worse, Max: tt.max, Window: 5 * time.Second, MinN: 20})
			rep := run(cfg, judged(cfg), start, 15, tt.world)
			if rep.Result != tt.want {
				t.Errorf("got %s: %s", rep.Result, Sentence(rep.Verdicts[0]))
			}
			if v := rep.Verdicts[0]; v.Result == Fail && v.Effect <= v.Limit {
				t.Errorf("fails with effect %v inside limit %v", v.Effect, v.Limit)
			}
		})
	}
}

func TestTailQuantilesNeedMoreObservations(t *testing.T) {
	for stat, want := range map[string]uint64{statProportion: 20, statMean: 20, statDistribution: 20, "p90": 30, "p95": 60, "p99": 300} {
		if got := (&Guardrail{Stat: stat}).minN(); got != want {
			t.Errorf("%s: got %d, want %d", stat, got, want)
		}
	}
}

// naive judges the whole history of one guardrail anew, from the definition.
func naive(g Guardrail, secs []evidence.Second) Result {
	var breaches []bool
	var ends []int
	for i := 0; i+5 <= len(secs); i += 5 {
		var n, bad [2]uint64
		for _, sec := range secs[i : i+5] {
			for _, b := range sec.Blocks {
				n[armOf(b.Assigned)] += b.N
				bad[armOf(b.Assigned)] += b.Bad
			}
		}
		if n[0] < 20 || n[1] < 20 {
			continue
		}
		breaches = append(breaches, float64(bad[1])/float64(n[1])-float64(bad[0])/float64(n[0]) > g.WorseBy.Absolute)
		ends = append(ends, i+5)
	}
	if extra := len(breaches) - g.Blips.Of; extra > 0 {
		breaches, ends = breaches[extra:], ends[extra:]
	}
	count := 0
	for _, b := range breaches {
		if b {
			count++
		}
	}
	switch {
	case count > g.Blips.Allow:
		return Fail
	case count == 0 && len(breaches) == g.Blips.Of && len(secs)-ends[0] < 2*5*g.Blips.Of:
		return Pass
	}
	return Inconclusive
}

func TestThresholdEqualsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := errorRail()
		g.Blips.Of = rapid.IntRange(1, 5).Draw(t, "of")
		g.Blips.Allow = rapid.IntRange(0, g.Blips.Of-1).Draw(t, "allow")
		cfg := config(g)
		s := judged(cfg)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var secs []evidence.Second
		for i := range rapid.IntRange(1, 60).Draw(t, "seconds") {
			nB, nE := 10+uint64(rng.IntN(30)), 1+uint64(rng.IntN(8))
			sec := both(start+int64(i), nB, uint64(rng.IntN(4)), nE, uint64(rng.IntN(2)))
			secs = append(secs, sec)
			rep := Step(cfg, s, sec)
			if want := naive(g, secs); rep.Result != want {
				t.Fatalf("second %d: got %s, want %s: %s", i, rep.Result, want, Sentence(rep.Verdicts[0]))
			}
		}
	})
}

// TestRampWithMovingBaselineNeverFails is the trap of pooled totals: exposure grows 1 -> 5 -> 25 -> 50 % while both arms'
// error share grows 0.5 -> 40 %. Pooled over the ramp the exposed arm looks far worse; it is not.
func TestRampWithMovingBaselineNeverFails(t *testing.T) {
	g := errorRail()
	g.WorseBy, g.Window = Margin{Absolute: 0.02}, 8*time.Second
	cfg := config(g)
	s := New(cfg, testMetrics) // not entered: every stratum counts, looks straddle the steps of the ramp
	var pooled [2]sums
	sec := start
	for step, share := range []uint64{1, 5, 25, 50} {
		for i := range 30 {
			rate := 0.005 + 0.395*float64(30*step+i)/119
			var blocks []evidence.Block
			for arm, n := range []uint64{20 * (100 - share), 20 * share} {
				bad := uint64(rate*float64(n) + 0.5)
				b := errorBlock(sec, []string{evidence.ArmBaseline, evidence.ArmExposed}[arm], n, bad)
				b.Revision, b.Exposure = uint64(10+step), uint32(1000*share)
				blocks = append(blocks, b)
				pooled[arm].N, pooled[arm].Bad = pooled[arm].N+n, pooled[arm].Bad+bad
			}
			if rep := Step(cfg, s, closed(sec, blocks...)); rep.Result == Fail {
				t.Fatalf("step %d, second %d: %s", step, i, Sentence(*rep.Decider))
			}
			sec++
		}
	}
	b, e := float64(pooled[0].Bad)/float64(pooled[0].N), float64(pooled[1].Bad)/float64(pooled[1].N)
	if e-b < 2*g.WorseBy.Absolute {
		t.Errorf("the world is no trap: pooled shares %v and %v", b, e)
	}
}

func TestSharedOutageDoesNotFail(t *testing.T) {
	g := errorRail()
	cfg := config(g)
	s := judged(cfg)
	for i := range int64(60) {
		bad := uint64(1)
		if i >= 20 && i < 45 {
			bad = 60
		}
		if rep := Step(cfg, s, both(start+i, 400, 4*bad, 100, bad)); rep.Result == Fail {
			t.Fatalf("second %d: %s", i, Sentence(*rep.Decider))
		}
	}
}

func TestHarmOfOneSegmentIsFoundInItsLane(t *testing.T) {
	g := errorRail()
	g.Segments, g.Window = true, 8*time.Second
	cfg := config(g)
	world := func(sec int64) evidence.Second {
		b, e := errorBlock(sec, evidence.ArmBaseline, 300, 30), errorBlock(sec, evidence.ArmExposed, 100, 12)
		b, e = segment(b, "origin=LAX", 26, 3), segment(e, "origin=LAX", 6, 4)
		b, e = segment(b, "origin=ORD", 274, 27), segment(e, "origin=ORD", 94, 8)
		return closed(sec, b, e)
	}
	rep := run(cfg, judged(cfg), start, 24, world)
	if rep.Result != Fail || rep.Decider == nil || rep.Decider.Value != "origin=LAX" {
		t.Fatalf("got %s by %+v", rep.Result, rep.Decider)
	}
	if v := verdictOf(rep, "errors", evidence.DimTotal, ""); v.Result != Pass {
		t.Errorf("the total: got %s: %s", v.Result, Sentence(v))
	}
	if v := verdictOf(rep, "errors", evidence.DimSegment, "origin=ORD"); v.Result != Pass {
		t.Errorf("the other segment: got %s: %s", v.Result, Sentence(v))
	}
	if rep.Decider.NExposed != 144 || rep.Decider.NBaseline != 624 || rep.Decider.From != start || rep.Decider.To != start+23 {
		t.Errorf("numbers of the decider: %+v", *rep.Decider)
	}
}

func TestLanesAreBounded(t *testing.T) {
	g := errorRail()
	g.Segments = true
	cfg := config(g)
	s := judged(cfg)
	e := errorBlock(start, evidence.ArmExposed, 1000, 0)
	for i := range 600 {
		e = segment(e, "u="+string(rune('a'+i%26))+string(rune('a'+i/26)), 1, 0)
	}
	Step(cfg, s, closed(start, e))
	if r := s.Rails[0]; len(r.Lanes) != maxLanes || r.Overflow != 600-(maxLanes-1) {
		t.Errorf("got %d lanes, overflow %d", len(r.Lanes), r.Overflow)
	}
}

func TestEarlierCohortsAndOlderEvidenceAreLeftOut(t *testing.T) {
	cfg := config(errorRail())
	s := judged(cfg)
	world := func(cohort string, exposure uint32) func(int64) evidence.Second {
		return func(sec int64) evidence.Second {
			out := both(sec, 100, 0, 50, 25)
			for i := range out.Blocks {
				out.Blocks[i].Cohort, out.Blocks[i].Exposure = cohort, exposure
			}
			return out
		}
	}
	if rep := run(cfg, s, start, 9, world("internal", 5000)); rep.Result == Fail || len(s.Rails[0].Lanes[0].Threshold.Looks) != 0 {
		t.Errorf("another cohort was compared: %s", Sentence(rep.Verdicts[0]))
	}
	if rep := run(cfg, s, start+9, 20, world("general", 1000)); rep.Result != Inconclusive {
		t.Errorf("the stage was judged before its own exposure: %s", Sentence(rep.Verdicts[0]))
	}
	if rep := run(cfg, s, start+29, 15, world("general", 5000)); rep.Result != Fail {
		t.Errorf("the stage's own evidence: got %s", rep.Result)
	}
	Enter(s, 1, 10000, "general")
	if rep := Step(cfg, s, evidence.Second{At: start + 100, Gap: true}); rep.Result != Inconclusive {
		t.Errorf("a stage began with the looks of another: %s", Sentence(rep.Verdicts[0]))
	}
}

// TestStrataWithoutBothArmsAreLeftOut: a fleet that is half way into the next stage has exposed requests there and no
// baseline yet.
func TestStrataWithoutBothArmsAreLeftOut(t *testing.T) {
	cfg := config(errorRail())
	rep := run(cfg, judged(cfg), start, 15, func(sec int64) evidence.Second {
		alone := errorBlock(sec, evidence.ArmExposed, 50, 10)
		alone.Revision = 8
		sec2 := both(sec, 100, 20, 20, 4)
		sec2.Blocks = append(sec2.Blocks, alone)
		return sec2
	})
	if v := rep.Verdicts[0]; rep.Result != Pass || v.NExposed != 300 || v.Exposed != 0.2 {
		t.Errorf("got %s: %s", rep.Result, Sentence(v))
	}
}
