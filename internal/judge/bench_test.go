package judge

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"sluice.dev/sdk/evidence"
)

// BenchmarkStep judges seconds of 20 guardrails, half of them over histograms, with 10 segment values each, 1,000
// observations a second and metric.
func BenchmarkStep(b *testing.B) {
	cfg, metrics, secs := benchWorld(rand.New(rand.NewPCG(1, 2)))
	s := New(cfg, metrics)
	Enter(s, 0, 5000, "general")
	b.ReportAllocs()
	i := int64(0)
	for b.Loop() {
		sec := secs[i%int64(len(secs))]
		sec.At = start + i
		Step(cfg, s, sec)
		i++
	}
	b.ReportMetric(float64(len(must(MarshalState(s)))), "state-bytes")
}

// BenchmarkStepAlwaysValid is BenchmarkStep with always-valid guardrails: 220 lanes, half of them over histograms. The goal is
// 5 ms, so that 200 such rollouts take one core.
func BenchmarkStepAlwaysValid(b *testing.B) {
	for _, kinds := range []string{"rates", "half", "half-quiet"} {
		b.Run(kinds, func(b *testing.B) {
			cfg, metrics, secs := benchWorld(rand.New(rand.NewPCG(1, 2)))
			for i := range cfg.Guardrails {
				g := &cfg.Guardrails[i]
				g.Test, g.WorseBy = AlwaysValid, Margin{Relative: 0.2}
				if g.usesHist() {
					g.Stat = statDistribution
				}
				if kinds == "rates" {
					g.Stat = statProportion
				}
			}
			cfg.Alpha, cfg.Bakes, cfg.Stages = 0.01, 3600, 5
			s := New(cfg, metrics)
			Enter(s, 0, 5000, "general")
			for i := range int64(10) {
				sec := secs[i]
				sec.At = start + i
				Step(cfg, s, sec)
			}
			b.ReportAllocs()
			i := int64(10)
			for b.Loop() {
				sec := secs[i%int64(len(secs))]
				if sec.At = start + i; kinds == "half-quiet" && i%10 != 0 {
					sec.Blocks = nil
				}
				Step(cfg, s, sec)
				i++
			}
			b.ReportMetric(float64(len(must(MarshalState(s)))), "state-bytes")
		})
	}
}

// BenchmarkCheckpoint stores the state of BenchmarkStep.
func BenchmarkCheckpoint(b *testing.B) {
	cfg, metrics, secs := benchWorld(rand.New(rand.NewPCG(1, 2)))
	s := New(cfg, metrics)
	Enter(s, 0, 5000, "general")
	for i := range int64(33) {
		sec := secs[i%int64(len(secs))]
		sec.At = start + i
		Step(cfg, s, sec)
	}
	for b.Loop() {
		s.Digest()
	}
}

// BenchmarkIntake takes the second's messages of 100 boots, 8 blocks each, and closes it.
func BenchmarkIntake(b *testing.B) {
	_, _, secs := benchWorld(rand.New(rand.NewPCG(1, 2)))
	in := NewIntake(settle)
	for i := range 100 {
		in.Expect(fmt.Sprint("boot", i), fmt.Sprint("host", i), start)
	}
	blocks := secs[0].Blocks[:8]
	i := int64(0)
	for b.Loop() {
		for j := range blocks {
			blocks[j].Second = start + i
		}
		for k := range 100 {
			in.Add(fmt.Sprint("host", k), fmt.Sprint("boot", k), uint64(i+1), start+i, 0, blocks)
		}
		if got := in.Close(at(start + i + 1)); len(got) != 1 {
			b.Fatalf("closed %v", seconds(got))
		}
		i++
	}
}

func benchWorld(rng *rand.Rand) (Config, map[string]evidence.Metric, []evidence.Second) {
	var cfg Config
	metrics := map[string]evidence.Metric{}
	for i := range 20 {
		name := fmt.Sprint("metric", i)
		g := Guardrail{Name: name, Metric: name, Stat: statProportion, WorseBy: Margin{Absolute: 0.05}, Segments: true}
		metrics[name] = evidence.Metric{Kind: evidence.KindProportion}
		if i%2 == 1 {
			g.Stat, g.WorseBy = "p99", Margin{Relative: 0.2}
			metrics[name] = evidence.Metric{Kind: evidence.KindValue}
		}
		cfg.Guardrails = append(cfg.Guardrails, g)
	}
	secs := make([]evidence.Second, 10)
	for i := range secs {
		secs[i] = evidence.Second{At: start + int64(i), Through: 1, Members: 1}
		for _, g := range cfg.Guardrails {
			for _, arm := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
				secs[i].Blocks = append(secs[i].Blocks, benchBlock(rng, start+int64(i), arm, g))
			}
		}
		evidence.SortBlocks(secs[i].Blocks)
	}
	return cfg, metrics, secs
}

func benchBlock(rng *rand.Rand, sec int64, arm string, g Guardrail) evidence.Block {
	b := evidence.Block{
		Second: sec, Rollout: "r", Cohort: "general", Revision: 7, Exposure: 5000, Lease: evidence.LeaseHeld,
		Assigned: arm, Served: arm, Metric: g.Metric,
	}
	cells := make([]evidence.Cell, 10)
	for i := range cells {
		cells[i] = evidence.Cell{Dim: evidence.DimSegment, Value: fmt.Sprint("region=", i), Buckets: spread(50, 1), N: 50, Bad: 1}
		if g.usesHist() {
			cells[i].Hist = evidence.NewHist(5)
		}
	}
	if g.usesHist() {
		b.Hist = evidence.NewHist(5)
	}
	for i := range 500 {
		if g.usesHist() {
			v := 10 + rng.ExpFloat64()*20
			b.Hist.Add(v)
			cells[i%10].Hist.Add(v)
		}
	}
	b.N, b.Bad = 500, 10
	total := evidence.Cell{Dim: evidence.DimTotal, N: 500, Bad: 10}
	for k := range uint8(64) {
		total.Buckets = append(total.Buckets, evidence.UnitBucket{K: k, N: 7})
	}
	b.Cells = append([]evidence.Cell{total}, cells...)
	return b
}
