package judge

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
	"sluice.dev/sdk/evidence"
)

const settle = 3 * time.Second

type message struct {
	instance, boot string
	seq            uint64
	through        int64
	blocks         []evidence.Block
}

func (in *Intake) take(m message) (uint64, int) {
	return in.Add(m.instance, m.boot, m.seq, m.through, 0, m.blocks)
}

func say(instance string, seq uint64, through int64, blocks ...evidence.Block) message {
	return message{instance, instance + "-boot", seq, through, blocks}
}

func seconds(secs []evidence.Second) []int64 {
	var out []int64
	for _, s := range secs {
		out = append(out, s.At)
	}
	return out
}

func TestASecondClosesWhenAllAreThroughIt(t *testing.T) {
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	in.Expect("b-boot", "b", start)
	forged := errorBlock(start, evidence.ArmBaseline, 5, 1)
	forged.Cells = append(forged.Cells, evidence.Cell{Dim: evidence.DimInstance, Value: "b", N: 5, Bad: 1})
	in.take(say("a", 1, start+1, forged, errorBlock(start+1, evidence.ArmBaseline, 4, 0)))
	in.take(say("b", 1, start, errorBlock(start, evidence.ArmBaseline, 3, 1)))
	got := in.Close(at(start + 2))
	if len(got) != 1 || got[0].At != start || got[0].Through != 2 || got[0].Members != 2 {
		t.Fatalf("got %+v", got)
	}
	if b := got[0].Blocks[0]; b.N != 8 || b.Bad != 2 || len(got[0].Blocks) != 1 {
		t.Errorf("blocks: got %+v", got[0].Blocks)
	}
	if c := got[0].Blocks[0].Cell(evidence.DimInstance, "b"); c == nil || c.N != 3 || c.Bad != 1 {
		t.Errorf("cell of instance b: got %+v", c)
	}
	if err := got[0].Check(); err != nil {
		t.Errorf("the closed second: %v", err)
	}
	if got := in.Close(at(start + 3)); len(got) != 0 {
		t.Errorf("closed without b: %v", seconds(got))
	}
	got = in.Close(at(start + 4))
	if len(got) != 1 || got[0].At != start+1 || got[0].Through != 1 || got[0].Members != 2 {
		t.Errorf("after the settle time: got %+v", got)
	}
}

func TestASecondThatIsNotOverDoesNotClose(t *testing.T) {
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	in.take(say("a", 1, start+10))
	if got := in.Close(at(start).Add(999 * time.Millisecond)); len(got) != 0 {
		t.Errorf("got %v", seconds(got))
	}
	if got := in.Close(at(start + 1)); len(got) != 1 {
		t.Errorf("got %v", seconds(got))
	}
}

func TestSecondsCloseInOrderWithoutHoles(t *testing.T) {
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	in.take(say("a", 1, start-1, errorBlock(start+7, evidence.ArmExposed, 1, 0)))
	in.Gap(start+3, start+4)
	var all []evidence.Second
	for i := range int64(20) {
		all = append(all, in.Close(at(start+i))...)
	}
	for i, sec := range all {
		if sec.At != start+int64(i) || sec.Gap != (i == 3 || i == 4) || (len(sec.Blocks) == 1) != (i == 7) {
			t.Errorf("position %d: got %+v", i, sec)
		}
	}
	if len(all) != 17 {
		t.Errorf("got %d seconds, want 17", len(all))
	}
}

func TestLateBlocksAreCountedAndNeverRewrite(t *testing.T) {
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	in.take(say("a", 1, start, errorBlock(start, evidence.ArmBaseline, 5, 1)))
	first := in.Close(at(start + 3))
	accepted, late := in.take(say("a", 2, start+1, errorBlock(start, evidence.ArmExposed, 7, 6), errorBlock(start+1, evidence.ArmExposed, 1, 0)))
	if accepted != 2 || late != 1 {
		t.Errorf("got accepted %d, late %d", accepted, late)
	}
	if got := in.Close(at(start + 4)); len(got) != 1 || got[0].At != start+1 || len(got[0].Blocks) != 1 {
		t.Errorf("the next second: got %+v", got)
	}
	if len(first) != 1 || first[0].Blocks[0].N != 5 {
		t.Errorf("the closed second: got %+v", first)
	}
	want := []LateCount{{Metric: evidence.MetricError, Arm: evidence.ArmExposed, Blocks: 1, N: 7, Bad: 6}}
	restored := NewIntake(settle)
	if err := json.Unmarshal(must(json.Marshal(in)), restored); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*Intake{in, restored} {
		if got := in.Late(); !reflect.DeepEqual(got, want) {
			t.Errorf("late: got %+v, want %+v", got, want)
		}
	}
}

func TestOpenRequestsAtCloseAreBadForTheAssignedArm(t *testing.T) {
	slow := Guardrail{Name: "slow", Metric: "slow", Stat: statProportion, WorseBy: Margin{Absolute: 0.05}}
	other := Guardrail{Name: "nulls", Metric: "nulls", Stat: statProportion, WorseBy: Margin{Absolute: 0.05}}
	cfg := config(errorRail(), slow, other)
	s := New(cfg, map[string]evidence.Metric{
		evidence.MetricError: {Kind: evidence.KindProportion}, "slow": {Kind: evidence.KindValue, BadAbove: ptr(1.0)}, "nulls": {Kind: evidence.KindProportion},
	})
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	var rep Report
	for i := range int64(15) {
		var first, second []evidence.Block
		for _, metric := range []string{evidence.MetricError, "slow", "nulls"} {
			b, e := errorBlock(start+i, evidence.ArmBaseline, 100, 0), errorBlock(start+i, evidence.ArmExposed, 18, 0)
			b.Metric, e.Metric, e.Served, e.Open = metric, metric, evidence.ArmBaseline, 4 // assigned exposed, fallen back
			first = append(first, b, e)
			e.N, e.Cells, e.Open = 0, nil, 2 // two of the four have ended before the close: their counts came with the first
			second = append(second, e)
		}
		seq := uint64(2*i + 1)
		in.take(say("a", seq+1, start+i, second...)) // the newest number counts, whatever arrives first
		in.take(say("a", seq, start-1, first...))
		for _, sec := range in.Close(at(start + i + 3)) {
			rep = Step(cfg, s, sec)
		}
	}
	for _, tt := range []struct {
		rail string
		n    uint64
		want Result
	}{{"errors", 3 * 5 * 20, Fail}, {"slow", 3 * 5 * 20, Fail}, {"nulls", 3 * 5 * 18, Pass}} {
		if v := verdictOf(rep, tt.rail, evidence.DimTotal, ""); v.Result != tt.want || v.NExposed != tt.n || v.NBaseline != 1500 {
			t.Errorf("%s: got %s: %s", tt.rail, v.Result, Sentence(v))
		}
	}
}

func TestLapsedBootIsNotWaitedForAndItsOpenRequestsAreBad(t *testing.T) {
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	in.Expect("b-boot", "b", start)
	e := errorBlock(start, evidence.ArmExposed, 1, 0)
	e.Open = 3
	in.take(say("a", 1, start+1, errorBlock(start, evidence.ArmBaseline, 9, 0)))
	in.take(say("b", 1, start-1, e))
	in.Lapsed("b-boot", start+1)
	in.Lapsed("nobody", start+1)
	got := in.Close(at(start + 2))
	if len(got) != 2 || got[0].Members != 2 || got[0].Through != 1 || got[1].Members != 1 || got[1].Through != 1 {
		t.Fatalf("got %+v", got)
	}
	if b := got[0].Blocks[1]; b.Assigned != evidence.ArmExposed || b.Open != 3 {
		t.Errorf("the lapsed boot's open requests: got %+v", b)
	}
	in.Expect("b-boot", "b", start+4) // it is back
	in.take(say("a", 2, start+9))
	if got := in.Close(at(start + 5)); len(got) != 2 || got[1].At != start+3 {
		t.Errorf("waited for the seconds between: %v", seconds(got))
	}
}

func TestInstancesOffTheHeadLeaveTheComparison(t *testing.T) {
	in := NewIntake(settle)
	in.Head(6, start-100)
	in.Head(7, start)
	old := func(sec int64) evidence.Block {
		b := errorBlock(sec, evidence.ArmExposed, 3, 3)
		b.Revision = 6
		return b
	}
	ahead := errorBlock(start, evidence.ArmExposed, 50, 50)
	ahead.Revision = 8
	in.take(say("a", 1, start+20, errorBlock(start, evidence.ArmBaseline, 1, 0), old(start+10), errorBlock(start+11, evidence.ArmBaseline, 1, 0), old(start+11)))
	in.take(say("b", 1, start+20, old(start+10), old(start+11), ahead))
	for _, sec := range in.Close(at(start + 30)) {
		switch sec.At {
		case start + 10:
			if len(sec.Blocks) != 1 || sec.Blocks[0].N != 6 || sec.OffHead != nil {
				t.Errorf("10 s behind: got %+v", sec)
			}
		case start + 11:
			if len(sec.Blocks) != 1 || sec.Blocks[0].Revision != 7 || !reflect.DeepEqual(sec.OffHead, []string{"b"}) {
				t.Errorf("11 s behind: got %+v", sec)
			}
		}
	}
	if _, refused := in.Lost(); refused != 1 {
		t.Errorf("a revision nobody committed: refused %d", refused)
	}
}

func TestHolesInTheMessages(t *testing.T) {
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	in.Close(at(start))
	for _, tt := range []struct {
		seq      uint64
		accepted uint64
	}{{1, 1}, {3, 1}, {3, 1}, {4, 1}, {2, 4}, {2, 4}, {6, 4}} {
		if got, _ := in.take(say("a", tt.seq, start+int64(tt.seq))); got != tt.accepted {
			t.Errorf("seq %d: accepted %d, want %d", tt.seq, got, tt.accepted)
		}
	}
	in.Close(at(start + 1))
	if got := in.boots["a-boot"].Through; got != start+4 {
		t.Errorf("through %d although 5 is missing", got-start)
	}
	in.Close(at(start + 4))
	if got, _ := in.take(say("a", 7, start+7)); got != 7 {
		t.Errorf("the hole was not given up: accepted %d", got)
	}
	if _, late := in.take(say("a", 5, start+5, errorBlock(start+6, evidence.ArmBaseline, 5, 0))); late != 0 {
		t.Error("what was given up came in time and was late")
	}
	if _, late := in.take(say("a", 5, start+5, errorBlock(start+6, evidence.ArmBaseline, 5, 0))); late != 0 || in.OpenBlocks()[0].N != 5 {
		t.Error("what was given up counted twice")
	}
	if got, _ := in.take(say("a", 1<<60, start)); got != 1<<60-maxAhead || len(in.boots["a-boot"].Skipped) > maxAhead {
		t.Errorf("a jump: accepted %d, %d remembered", got, len(in.boots["a-boot"].Skipped))
	}
	if got, _ := in.take(say("a", 0, start)); got != 1<<60-maxAhead {
		t.Error("seq 0 was taken")
	}
}

func TestIntakeIsBounded(t *testing.T) {
	in := NewIntake(settle)
	in.Close(at(start))
	for i := range 1000 {
		in.take(say("a", uint64(i+1), 0, errorBlock(start+int64(i), evidence.ArmBaseline, 1, 0)))
	}
	if len(in.seconds) > maxOpen+1 {
		t.Errorf("%d open seconds", len(in.seconds))
	}
	b := errorBlock(start+1, evidence.ArmBaseline, 5000, 0)
	for i := range 5000 {
		b = segment(b, fmt.Sprint("u=", i), 1, 0)
	}
	in.take(say("b", 1, 0, b))
	if got := len(in.seconds[start+1].values); got > maxValues {
		t.Errorf("%d values", got)
	}
	for i := range int64(10000) {
		in.Expect(fmt.Sprint("x", i), "x", start)
		in.Lapsed(fmt.Sprint("x", i), start+1)
	}
	for range 5 {
		in.Close(at(start + 2000))
	}
	if len(in.boots) > maxLapsed+10 {
		t.Errorf("%d boots", len(in.boots))
	}
}

func TestResumeDoesNotCloseStoredSecondsAgain(t *testing.T) {
	in := NewIntake(settle)
	in.Expect("a-boot", "a", start)
	in.take(say("a", 1, start-1, errorBlock(start+1, evidence.ArmBaseline, 1, 0), errorBlock(start+8, evidence.ArmBaseline, 1, 0)))
	saved, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	restored := NewIntake(time.Second)
	if err := json.Unmarshal(saved, restored); err != nil {
		t.Fatal(err)
	}
	restored.Resume(start + 5) // 0..5 were stored after the checkpoint
	restored.Gap(start+6, start+7)
	got := restored.Close(at(start + 12))
	if fmt.Sprint(seconds(got)) != fmt.Sprint([]int64{start + 6, start + 7, start + 8, start + 9}) || !got[0].Gap || !got[1].Gap || got[2].Gap || len(got[2].Blocks) != 1 {
		t.Errorf("got %+v", got)
	}
}

// world makes the messages of some boots: random blocks, then their later increments.
func world(rng *rand.Rand) []message {
	var out []message
	for b := range 1 + rng.IntN(4) {
		instance := string(rune('a' + b/2)) // two boots may share an instance
		boot := fmt.Sprint("boot", b)
		for seq := range uint64(1 + rng.IntN(12)) {
			m := message{instance: instance, boot: boot, seq: seq + 1, through: start + int64(seq) - 2}
			for _, arm := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
				n := uint64(rng.IntN(20))
				blk := errorBlock(start+int64(rng.IntN(12)), arm, n, uint64(rng.IntN(int(n)+1)))
				blk.Open = uint64(rng.IntN(3))
				var values []float64
				for range rng.IntN(5) {
					values = append(values, rng.ExpFloat64()*100)
				}
				v := valueBlock(blk.Second, arm, values...)
				v.Cohort = []string{"general", "internal"}[rng.IntN(2)]
				v = segment(v, fmt.Sprint("x=", rng.IntN(3)), v.N, 0)
				v.Cells[1].Hist = v.Hist.Clone()
				m.blocks = append(m.blocks, blk, v)
			}
			out = append(out, m)
		}
	}
	return out
}

func closeAll(t interface{ Fatalf(string, ...any) }, in *Intake) []string {
	var out []string
	for _, sec := range in.Close(at(start + 60)) {
		if err := sec.Check(); err != nil {
			t.Fatalf("second %d: %v", sec.At, err)
		}
		out = append(out, evidence.SecondDigest(&sec))
	}
	return out
}

// TestOrderAndRepetitionOfMessagesChangeNothing closes the same messages in order; shuffled, with repetitions and stored
// and restored in between; and added up naively.
func TestOrderAndRepetitionOfMessagesChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 5))
		msgs := world(rng)
		expect := func(in *Intake) *Intake { in.Expect("boot0", "a", start); return in }
		plain, mixed := expect(NewIntake(settle)), expect(NewIntake(settle))
		for _, m := range msgs {
			plain.take(m)
		}
		shuffled := append(append([]message(nil), msgs...), msgs[:rng.IntN(len(msgs)+1)]...)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for _, m := range shuffled {
			mixed.take(m)
			if rng.IntN(8) == 0 {
				mixed = stored(t, mixed)
			}
		}
		want, got := closeAll(t, plain), closeAll(t, mixed)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("order or repetition changed the closed seconds:\n got %v\nwant %v", got, want)
		}
	})
}

func stored(t *rapid.T, in *Intake) *Intake {
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := NewIntake(time.Second)
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	if again := must(json.Marshal(out)); string(again) != string(b) {
		t.Fatalf("the intake changed in the store:\n%s\n%s", b, again)
	}
	return out
}

// TestClosedCountsAreTheSumOfAllBlocks is the naive twin of the merge.
func TestClosedCountsAreTheSumOfAllBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msgs := world(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 6)))
		type cell struct {
			key        evidence.BlockKey
			dim, value string
		}
		want, got := map[cell][3]uint64{}, map[cell][3]uint64{}
		in := NewIntake(settle)
		in.Expect("boot0", "a", start)
		for _, m := range msgs {
			in.take(m)
			for _, b := range m.blocks {
				count(want, cell{b.Key(), "", ""}, b.N, b.Bad, b.Hist)
				count(want, cell{b.Key(), evidence.DimInstance, m.instance}, b.N, b.Bad, nil)
				for _, c := range b.Cells {
					count(want, cell{b.Key(), c.Dim, c.Value}, c.N, c.Bad, c.Hist)
				}
			}
		}
		for _, sec := range in.Close(at(start + 60)) {
			for _, b := range sec.Blocks {
				count(got, cell{b.Key(), "", ""}, b.N, b.Bad, b.Hist)
				for _, c := range b.Cells {
					count(got, cell{b.Key(), c.Dim, c.Value}, c.N, c.Bad, c.Hist)
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	})
}

func count[K comparable](m map[K][3]uint64, k K, n, bad uint64, h *evidence.Hist) {
	values := uint64(0)
	if h != nil {
		values = h.Count()
	}
	if n == 0 && values == 0 {
		return
	}
	c := m[k]
	m[k] = [3]uint64{c[0] + n, c[1] + bad, c[2] + values}
}

func FuzzUnmarshalIntake(f *testing.F) {
	in := NewIntake(settle)
	in.Expect("boot0", "a", start)
	in.Head(7, start)
	for _, m := range world(rand.New(rand.NewPCG(1, 1))) {
		in.take(m)
	}
	f.Add(must(json.Marshal(in)))
	f.Add([]byte(`{"seconds":[{"at":1,"blocks":[{}],"open":[null]}],"boots":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := NewIntake(settle)
		if json.Unmarshal(b, in) != nil {
			return
		}
		first := must(json.Marshal(in))
		again := NewIntake(settle)
		if err := json.Unmarshal(first, again); err != nil {
			t.Fatalf("round trip: %v", err)
		}
	})
}
