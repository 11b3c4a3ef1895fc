// Package bench measures rules that take rollouts back: how often a harmless one is taken back, and how long harm lives. All
// contenders see the same seeded streams of requests through one harness, with a decision clock of one second: thresholds as
// Argo Rollouts and Flagger use them, Kayenta's judge, a z test that is looked at again and again, the sequential test of
// GrowthBook, this product's judge itself (judge.Step, not a copy) and, as the limit, a test that knows both laws.
//
//	for _, j := range bench.Jobs(opts) {
//		outcomes = append(outcomes, j.Run()) // from as many goroutines as there are cores: jobs share nothing
//	}
//	result := bench.Summarise(opts, outcomes)
//
// Each contender runs at its documented default and tuned: one knob, set on seeds of its own to at most 1 % false rollbacks of
// plain streams without harm. A run notes when each level of a knob is crossed, so one run serves every setting of it, and the
// frontier of false rollbacks against delay comes with it.
package bench

import (
	"math"

	"sluice.dev/sluice/internal/judge"
)

// Alpha is the bound on false rollbacks that the product is judged with.
const Alpha = 0.01

// Series is a recorded series that the baseline of a stream follows.
type Series struct {
	Name   string
	Values []float64 // in their order, at least minSeries
}

const minSeries = 300

// Options say how much is simulated. The zero value is nothing.
type Options struct {
	Seed      uint64 // changes every stream
	NullRuns  int    // rollouts per null family
	HarmRuns  int    // rollouts per harm family
	TuneRuns  int    // rollouts without harm per kind of metric, on which the knobs are set
	NullTime  int    // seconds of a null rollout
	HarmTime  int    // seconds after which harm counts as missed
	Series    []Series
	MaxSeries int                      // of them at most; 0 means all
	Only      func(family string) bool // nil means every family; tuning is never left out
}

// Quick takes about two minutes of two cores.
func Quick(seed uint64) Options {
	return Options{Seed: seed, NullRuns: 10, HarmRuns: 10, TuneRuns: 100, NullTime: 900, HarmTime: 1800, MaxSeries: 4}
}

// Full is the whole benchmark: an hour per rollout.
func Full(seed uint64) Options {
	return Options{Seed: seed, NullRuns: 1000, HarmRuns: 200, TuneRuns: 400, NullTime: 3600, HarmTime: 3600}
}

// purpose of a job.
type purpose uint8

const (
	forNull purpose = iota
	forHarm
	forTuning
)

// Job is some rollouts of one family. Jobs share nothing.
type Job struct {
	purpose  purpose
	family   *family
	from, to int // rollouts
	seconds  int
	seed     uint64
}

// Outcome is what came of a job.
type Outcome struct {
	job  Job
	runs []run
}

// jobRuns is how many rollouts a job has at most.
const jobRuns = 10

// Jobs returns everything there is to do, in a fixed order.
func Jobs(o Options) []Job {
	var out []Job
	add := func(p purpose, f *family, runs, seconds int) {
		for from := 0; from < runs; from += jobRuns {
			out = append(out, Job{p, f, from, min(from+jobRuns, runs), seconds, o.Seed})
		}
	}
	for _, f := range tuningFamilies() {
		add(forTuning, f, o.TuneRuns, o.NullTime)
	}
	for _, f := range o.nulls() {
		add(forNull, f, o.NullRuns, f.length(o.NullTime))
	}
	for _, f := range o.harms() {
		add(forHarm, f, o.HarmRuns, f.length(o.HarmTime))
	}
	return out
}

func (o Options) nulls() []*family { return o.chosen(append(nullFamilies(), seriesFamilies(o)...)) }

func (o Options) harms() []*family { return o.chosen(harmFamilies(o.HarmTime)) }

func (o Options) chosen(all []*family) (out []*family) {
	for _, f := range all {
		if o.Only == nil || o.Only(f.name) {
			out = append(out, f)
		}
	}
	return out
}

// Run simulates the job's rollouts.
func (j Job) Run() Outcome {
	out := Outcome{job: j}
	for i := j.from; i < j.to; i++ {
		out.runs = append(out.runs, j.one(uint64(i)))
	}
	return out
}

// run is one rollout: for each contender and level of its knob the second after which it was crossed, 0 if it never was.
type run struct {
	onset   int
	crossed [][]int32 // like contenders, like their levels
}

func (j Job) one(i uint64) run {
	seed := streamSeed(j.seed, j.purpose, j.family.name, i)
	w := newWorld(j.family, seed, j.seconds)
	list := j.family.contenders(seed, j.seconds)
	out := run{onset: w.onset, crossed: make([][]int32, len(list))}
	for c, s := range list {
		out.crossed[c] = make([]int32, len(s.levels))
	}
	for at := range j.seconds {
		t := w.tick(at)
		open := false
		for c, s := range list {
			if marks := out.crossed[c]; s.rule != nil && marks[len(marks)-1] == 0 {
				open = true
				mark(marks, s.levels, s.rule.look(t), int32(at+1))
			}
		}
		if !open {
			break
		}
	}
	return out
}

// mark notes the levels that are reached for the first time.
func mark(marks []int32, levels []float64, x float64, at int32) {
	for l, level := range levels {
		if marks[l] == 0 && x >= level {
			marks[l] = at
		}
	}
}

// streamSeed mixes everything that a stream depends on (FNV-1a).
func streamSeed(seed uint64, p purpose, family string, i uint64) uint64 {
	h := uint64(14695981039346656037)
	add := func(x uint64) { h = (h ^ x) * 1099511628211 }
	for _, c := range []byte(family) {
		add(uint64(c))
	}
	for _, x := range []uint64{seed, seed >> 32, uint64(p), i} {
		for range 4 {
			add(x & 255)
			x >>= 8
		}
	}
	return h
}

// slot is a contender in a run: a rule that returns a number at every second, and the ascending levels of it that are noted.
// A contender that cannot judge a family has no rule there.
type slot struct {
	levels []float64
	rule   rule
}

// rule is a contender's way of looking.
type rule interface {
	// look takes what arrives in a second and returns the number that is compared with the knob.
	look(t *tick) float64
}

var never = math.Inf(-1)

// contenders returns the rules of a family in the order of the list of contenders.
func (f *family) contenders(seed uint64, seconds int) []slot {
	out := make([]slot, len(contenders))
	for i := range contenders {
		out[i].levels = contenders[i].levels
	}
	o := newOurs(f, seed, seconds)
	out[ourStep].rule, out[ourEvidence].rule = &ourDecision{o}, &ourLevel{o}
	if f.harm != nil {
		out[oracleRule].rule = newOracle(f)
		out[oracleRule].levels = []float64{f.level()}
	}
	if f.product {
		return out
	}
	for i := range contenders {
		if make := contenders[i].cell; make != nil {
			p := panel{}
			for _, m := range f.metrics {
				for range m.cells {
					p = append(p, make(f, &m))
				}
			}
			out[i].rule = p
		}
	}
	return out
}

// level is the log evidence that the oracle needs for the family's tests.
func (f *family) level() float64 { return math.Log(float64(f.tests()) / Alpha) }

// panel judges every cell by itself; the loudest speaks.
type panel []cellRule

// cellRule judges one cell.
type cellRule interface {
	look(at int, c *cellTick) float64
}

func (p panel) look(t *tick) float64 {
	top := never
	for i, r := range p {
		top = max(top, r.look(t.at, &t.cells[i]))
	}
	return top
}

// guardrails are the judge's configuration for the family.
func (f *family) guardrails(seconds int) judge.Config {
	cfg := judge.Config{Rollout: rolloutName, Alpha: Alpha, Bakes: seconds, Stages: 1}
	if f.ramp != nil {
		cfg.Stages = len(f.ramp)
	}
	for i := range f.metrics {
		cfg.Guardrails = append(cfg.Guardrails, f.metrics[i].guardrail(f))
	}
	return cfg
}
