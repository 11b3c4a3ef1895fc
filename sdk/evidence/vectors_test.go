package evidence

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

const vectorFile = "../../api/testdata/accumulator.json"

// accVectors is a run of an Accumulator as steps; clients in other languages must flush the same blocks.
//
//	["begin", second, [cohort, revision, exposure, lease, assigned, served], unit bucket, [value by dimension]]  opens slot 0, 1, 2, ...
//	["observe", slot, metric, value as text]    ["end", slot, failed]    ["flush", now, blocks, through]
type accVectors struct {
	Metrics  map[string]Metric `json:"metrics"`
	Segments []string          `json:"segments"`
	Sources  []string          `json:"sources"`
	Steps    [][]any           `json:"steps"`
}

func buildAccVectors(t *testing.T) []byte {
	t.Helper()
	above, below := 100.0, 0.25
	v := accVectors{
		Metrics: map[string]Metric{
			"latency": {Kind: KindValue, BadAbove: &above}, "score": {Kind: KindValue, Scale: 10, BadBelow: &below}, "hit": {Kind: KindProportion}, MetricAssignment: {Kind: KindProportion},
		},
		Segments: []string{"region"}, Sources: []string{"feed"},
	}
	acc, err := NewAccumulator(AccumulatorConfig{Rollout: "spend", Metrics: v.Metrics, Segments: v.Segments, Sources: v.Sources})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 9))
	var slots []*Slot
	open := map[int]bool{}
	now := int64(1_800_000_000)
	begin := func() {
		assigned := []string{ArmBaseline, ArmExposed}[rng.IntN(2)]
		served, lease := assigned, LeaseHeld
		if rng.IntN(5) == 0 {
			served, lease = ArmBaseline, LeaseLapsed
		}
		k := SlotKey{Cohort: "general", Revision: 7 + rng.Uint64N(2), Exposure: 5000, Lease: lease, Assigned: assigned, Served: served}
		texts := []string{[]string{"", "eu", "us", "bad\x01name"}[rng.IntN(4)], []string{"", "LAX", "other"}[rng.IntN(3)]}
		bucket, second := uint8(rng.IntN(UnitBuckets)), now-rng.Int64N(3)
		var values Values
		for i, text := range texts {
			if text != "" {
				values[i] = acc.Value(i, text)
			}
		}
		s := acc.Begin(second, acc.Key(k), Unit{Hash: uint64(len(slots)), Bucket: bucket}, &values)
		open[len(slots)] = true
		slots = append(slots, &s)
		v.Steps = append(v.Steps, []any{"begin", second, []any{k.Cohort, k.Revision, k.Exposure, k.Lease, k.Assigned, k.Served}, bucket, texts})
	}
	observe := func(slot int) {
		name := []string{"latency", "score", "hit", MetricAssignment}[rng.IntN(4)]
		value := []float64{0, 1, math.Exp(3 * rng.NormFloat64()), 1e300, -1, math.NaN(), math.Inf(1)}[rng.IntN(7)]
		m, _ := acc.Metric(name)
		slots[slot].Observe(m, value)
		v.Steps = append(v.Steps, []any{"observe", slot, name, strconv.FormatFloat(value, 'g', -1, 64)})
	}
	for i := range 400 {
		switch x := rng.IntN(10); {
		case x < 4 || len(slots) == 0:
			begin()
		case x < 7:
			observe(rng.IntN(len(slots)))
		case x < 9:
			slot, failed := rng.IntN(len(slots)), rng.IntN(3) == 0
			slots[slot].End(failed)
			delete(open, slot)
			v.Steps = append(v.Steps, []any{"end", slot, failed})
		default:
			now++
			if i == 350 {
				now += 2000 // what is still open is given up
			}
			blocks, through := acc.Flush(now)
			v.Steps = append(v.Steps, []any{"flush", now, blocks, through})
		}
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.ReplaceAll(out, []byte(`["flush"`), []byte("\n"+`["flush"`)), '\n')
}

// TestAccumulatorVectors holds api/testdata/accumulator.json, which clients in other languages replay, to this code.
func TestAccumulatorVectors(t *testing.T) {
	got := buildAccVectors(t)
	if *update {
		if err := os.WriteFile(vectorFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what this code does; look at the difference, then: go test ./evidence -run AccumulatorVectors -update, and mend the clients in other languages", vectorFile)
	}
	if n := bytes.Count(want, []byte("exposedHistByBucket")); n < 20 {
		t.Errorf("only %d cells with bins by bucket: the vectors show too little", n)
	}
}
