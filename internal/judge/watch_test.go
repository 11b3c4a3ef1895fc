package judge

import (
	"math"
	"strings"
	"testing"

	"sluice.dev/sdk/evidence"
)

// calm is a rollout of one always-valid guardrail with healthy traffic.
func calm(seed uint64) (Config, *State, *traffic) {
	cfg := alwaysConfig(alwaysErrors())
	w := &traffic{rng: seeded(seed), perSec: 100, exposure: 25_000, bad: func(int64, int, int) float64 { return 0.01 }}
	s := New(cfg, testMetrics)
	Enter(s, 0, w.exposure, "general")
	return cfg, s, w
}

func TestRequestsWithoutAnOutcomePauseTheRollout(t *testing.T) {
	for _, tt := range []struct {
		name string
		lost [2]uint64 // open at close in each second, baseline and exposed
		want Action
	}{
		{"none", [2]uint64{0, 0}, ""},
		{"the same share of both arms", [2]uint64{3, 1}, ""},
		{"of the exposed arm", [2]uint64{0, 2}, ActPause},
		{"of the baseline", [2]uint64{6, 0}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _, w := calm(5)
			cfg.Guardrails[0].Metric, cfg.Guardrails[0].Name = "latency", "other" // only the watch looks at the errors
			s := New(cfg, testMetrics)
			Enter(s, 0, w.exposure, "general")
			var rep Report
			for i := range int64(120) {
				sec := w.second(start + i)
				for j := range sec.Blocks {
					sec.Blocks[j].Open = tt.lost[armOf(sec.Blocks[j].Assigned)]
				}
				rep = Step(cfg, s, sec)
				found := false
				for _, v := range rep.Verdicts {
					if v.Rule == ruleSilence {
						found = true
						if tt.want == "" || v.Action != ActPause || v.Result != Fail {
							t.Fatalf("second %d: %s", i, Sentence(v))
						}
					}
				}
				if found {
					if rep.Clean {
						t.Error("clean beside lost requests")
					}
					return
				}
			}
			if tt.want != "" {
				t.Error("nothing was said in two minutes")
			}
		})
	}
}

func TestUnevenLatenessMakesTheMetricInconclusive(t *testing.T) {
	for _, tt := range []struct {
		name string
		late [2]uint64 // per second
		want bool
	}{
		{"even", [2]uint64{9, 3}, false},
		{"exposed", [2]uint64{0, 8}, true},
		{"baseline", [2]uint64{25, 0}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, s, w := calm(6)
			harm := func(int64, int, int) float64 { return 0.01 }
			w.bad = func(sec int64, arm, v int) float64 { return harm(sec, arm, v) }
			var rep Report
			for i := range int64(100) {
				NoteLate(s, []LateCount{
					{Metric: evidence.MetricError, Arm: evidence.ArmBaseline, N: uint64(i) * tt.late[0]},
					{Metric: evidence.MetricError, Arm: evidence.ArmExposed, N: uint64(i) * tt.late[1]},
				})
				rep = Step(cfg, s, w.second(start+i))
			}
			told := strings.Contains(rep.Verdicts[0].Detail, "late")
			if told != tt.want {
				t.Fatalf("uneven %v: %s", tt.want, Sentence(rep.Verdicts[0]))
			}
			// harm in what does arrive fails only a metric that can be trusted
			harm = func(_ int64, arm, _ int) float64 { return []float64{0.01, 0.5}[arm] }
			for i := range int64(60) {
				rep = Step(cfg, s, w.second(start+100+i))
			}
			if (rep.Result == Fail) == tt.want {
				t.Errorf("uneven %v: got %s", tt.want, rep.Result)
			}
		})
	}
}

func TestGapsAndLapsedLeasesSayNothing(t *testing.T) {
	for _, what := range []string{"gap", "lapsed"} {
		cfg, s, w := calm(7)
		for i := range int64(60) {
			Step(cfg, s, w.second(start+i))
		}
		before := s.Rails[0].Lanes[0].Always.Lane.Totals()
		w.bad = func(_ int64, arm, _ int) float64 { return float64(arm) }
		for i := range int64(30) { // the controller is away, or nobody holds a lease: what the members say does not count
			sec := w.second(start + 60 + i)
			sec.Gap = what == "gap"
			for j := range sec.Blocks {
				if what == "lapsed" {
					sec.Blocks[j].Lease = evidence.LeaseLapsed
				}
			}
			if rep := Step(cfg, s, sec); rep.Result == Fail {
				t.Fatalf("%s: %s", what, Sentence(*rep.Decider))
			}
		}
		if after := s.Rails[0].Lanes[0].Always.Lane.Totals(); after != before {
			t.Errorf("%s: counts went from %v to %v", what, before, after)
		}
	}
}

// One instance is at the next exposure, where the baseline is worse, while the others are not: their strata are two, and
// arms are compared within each only.
func TestOneInstanceAheadIsNoHarm(t *testing.T) {
	for seed := range uint64(20) {
		cfg, s, w := calm(100 + seed)
		Enter(s, 0, 50_000, "general")
		for i := range int64(120) {
			w.exposure, w.revision, w.perSec = 5_000, 0, 90
			w.bad = func(int64, int, int) float64 { return 0.01 }
			sec := w.second(start + i)
			w.exposure, w.revision, w.perSec = 50_000, 1, 10
			w.bad = func(int64, int, int) float64 { return 0.10 }
			ahead := w.second(start + i)
			sec.Blocks = append(sec.Blocks, ahead.Blocks...)
			evidence.SortBlocks(sec.Blocks)
			if rep := Step(cfg, s, sec); rep.Result == Fail {
				t.Fatalf("seed %d, second %d: %s", seed, i, Sentence(*rep.Decider))
			}
		}
	}
}

// One unit bucket that alone is bad must not fail a rollout, however bad it is. Each unit is scored once here, so that no
// over-dispersion tempers the evidence: only leaving the bucket out keeps the rollout going.
func TestOneGroupOfUnitsAloneDoesNotFail(t *testing.T) {
	metrics := map[string]evidence.Metric{evidence.MetricError: {Kind: evidence.KindProportion, Once: true}}
	for _, remembered := range []bool{true, false} {
		cfg, _, w := calm(8)
		s, k := New(cfg, metrics), &kept{}
		Enter(s, 0, w.exposure, "general")
		if remembered {
			Remember(s, k.between)
		}
		for i := range int64(200) {
			sec := w.second(start + i)
			for j := range sec.Blocks {
				spoil(&sec.Blocks[j], 1)
			}
			rep := Step(cfg, s, sec)
			k.secs = append(k.secs, sec)
			if rep.Result == Fail {
				t.Fatalf("second %d: %s", i, Sentence(*rep.Decider))
			}
		}
		if all := s.contenders(cfg); mixOf(all) < 2*math.Log(100) {
			t.Errorf("the evidence is only %.1f: nothing was tested", mixOf(all))
		}
		for i := range int64(100) { // the twin: four buckets
			sec := w.second(start + 200 + i)
			for j := range sec.Blocks {
				spoil(&sec.Blocks[j], 4)
			}
			rep := Step(cfg, s, sec)
			k.secs = append(k.secs, sec)
			if rep.Result == Fail {
				if s.Alarm.Exact != remembered || strings.Contains(Sentence(*rep.Decider), "additive shares") == remembered {
					t.Errorf("remembered %v: %+v: %s", remembered, s.Alarm, Sentence(*rep.Decider))
				}
				return
			}
		}
		t.Errorf("remembered %v: four bad buckets do not fail", remembered)
	}
}

// spoil makes the first unit buckets of the exposed arm bad.
func spoil(b *evidence.Block, buckets uint8) {
	if b.Assigned != evidence.ArmExposed {
		return
	}
	c := &b.Cells[0]
	c.Bad = 0
	for i := range c.Buckets {
		if u := &c.Buckets[i]; u.K < buckets {
			u.Bad = u.N
		}
		c.Bad += c.Buckets[i].Bad
	}
	b.Bad = c.Bad
}

func TestSlicesRankByEvidenceAndJoinTwins(t *testing.T) {
	g := alwaysErrors()
	g.Segments = true
	cfg := alwaysConfig(g)
	s := judged(cfg)
	w := &traffic{rng: seeded(9), perSec: 200, exposure: 25_000, values: 5, bad: func(_ int64, arm, value int) float64 {
		if arm == exposed && value == 2 {
			return 0.2
		}
		return 0.02
	}}
	Enter(s, 0, w.exposure, "general")
	for i := range int64(40) {
		sec := w.second(start + i)
		for j := range sec.Blocks { // a second attribute that says the same
			for _, c := range sec.Blocks[j].Cells[1:] {
				c.Dim, c.Value = evidence.DimSegment, "airline="+c.Value[len("origin="):]
				sec.Blocks[j].Cells = append(sec.Blocks[j].Cells, c)
			}
		}
		evidence.SortBlocks(sec.Blocks)
		Step(cfg, s, sec)
	}
	list := Slices(cfg, s)
	if len(list) != 6 {
		t.Fatalf("%d slices, want the total and five values", len(list))
	}
	top := list[0]
	if !strings.HasSuffix(top.Value, "=C") || len(top.Same) != 1 || !strings.HasSuffix(top.Same[0].Value, "=C") || top.Share < 0.5 {
		t.Errorf("first slice %+v", top)
	}
	for i := range list[1:] {
		if list[i].LogE < list[i+1].LogE {
			t.Errorf("slice %d has less evidence than the next", i)
		}
	}
}

func TestLostComponents(t *testing.T) {
	// note makes seconds of a component: lapsed and fresh by second of the rollout.
	type second struct{ lapsed, fresh int }
	for _, tt := range []struct {
		name      string
		instances int
		past      bool // an hour with one loss in ten minutes
		commit    bool
		away      bool
		events    func(i int64) second
		want      bool
	}{
		{"6 % of a hundred crash after the commit", 100, true, true, false, func(i int64) second { return second{b2i(i%5 == 0 && i < 30), 0} }, true},
		{"4 % do not", 100, false, true, false, func(i int64) second { return second{b2i(i%5 == 0 && i < 20), 0} }, false},
		{"one of ten is no proof", 10, false, true, false, func(i int64) second { return second{b2i(i == 3), b2i(i == 4)} }, false},
		{"two of ten are", 10, false, true, false, func(i int64) second { return second{b2i(i < 2), 0} }, true},
		{"one of one is", 1, false, true, false, func(i int64) second { return second{b2i(i == 3), 0} }, true},
		{"more than a minute after the commit", 10, false, true, false, func(i int64) second { return second{b2i(i > 70 && i < 73), 0} }, false},
		{"no commit", 10, false, false, false, func(i int64) second { return second{b2i(i < 5), 0} }, false},
		{"the controller was away", 10, true, true, true, func(i int64) second { return second{b2i(i < 9), b2i(i < 9)} }, false},
		{"more instances are no loss", 100, false, true, false, func(i int64) second { return second{0, b2i(i < 30)} }, false},
		{"crashes in a loop, later", 100, true, true, false, func(i int64) second { return second{0, b2i(i > 100 && i%5 == 0)} }, true},
		{"what is usual", 100, true, true, false, func(i int64) second { return second{b2i(i == 100), b2i(i == 101)} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _, w := calm(10)
			s := New(cfg, testMetrics)
			for i := range int64(3600) {
				if tt.past {
					NoteBoot(s, BootNote{At: start - 3600 + i, Component: "host", Instances: tt.instances, Lapsed: b2i(i%600 == 0), Fresh: b2i(i%600 == 5), SinceCommit: -1})
				}
			}
			Enter(s, 0, w.exposure, "general")
			got := false
			for i := range int64(400) {
				e, since := tt.events(i), i
				if !tt.commit {
					since = -1
				}
				NoteBoot(s, BootNote{At: start + i, Component: "host", Instances: tt.instances, Lapsed: e.lapsed, Fresh: e.fresh, SinceCommit: since, ControllerAway: tt.away})
				rep := Step(cfg, s, closed(start+i))
				for _, v := range rep.Verdicts {
					if v.Rule == RuleLost {
						got = true
						if v.Action != ActRollback || v.Result != Fail || rep.Action != ActRollback || !strings.HasPrefix(Sentence(v), "component-lost host: ") {
							t.Fatalf("%+v", v)
						}
					}
				}
			}
			if got != tt.want {
				t.Errorf("lost: got %v, want %v: %s", got, tt.want, must(MarshalState(s)))
			}
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The rate of losses against the hour before: harmless rollouts are stopped in less than one of a hundred.
func TestUsualLossesAreNoLoss(t *testing.T) {
	bad := 0
	for seed := range uint64(200) {
		rng := seeded(1000 + seed)
		s := New(alwaysConfig(alwaysErrors()), testMetrics)
		for i := range int64(3600 + 600) {
			if i == 3600 {
				Enter(s, 0, 5000, "general")
			}
			NoteBoot(s, BootNote{At: start - 3600 + i, Component: "host", Instances: 50, Fresh: b2i(rng.Float64() < 0.02), SinceCommit: -1})
		}
		bad += len(s.lostVerdicts())
	}
	if bad > 1 {
		t.Errorf("%d of 200", bad)
	}
}
