package flights

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// sums are the figures of a set of outcomes.
type sums struct{ n, err11, err12, late11, late12 float64 }

func (s *sums) add(o Outcome) {
	s.n++
	s.err11, s.err12 = s.err11+o.V11.Error, s.err12+o.V12.Error
	if o.V11.Late {
		s.late11++
	}
	if o.V12.Late {
		s.late12++
	}
}

// figures sums the scored rows from <= i < to, over all and over the origins from LAX.
func figures(rows []Row, fault Fault, from, to int) (all, lax sums) {
	for i, o := range Replay(rows, fault)[from:to] {
		if o.Scored {
			all.add(o)
			if rows[from+i].Origin == FaultFeedOrigin {
				lax.add(o)
			}
		}
	}
	return all, lax
}

// The figures of an independent program (Python, deque and mean) over the raw JSON, which the story of the demonstration
// is told with: 19.66 and 20.75 minutes without the fault; +5.1 % overall, LAX 19.8 -> 45.0 minutes and 18 % -> 77 % off
// by more than 30 minutes with it.
func TestFiguresOfTheStory(t *testing.T) {
	rows := Load()
	clean, cleanLAX := figures(rows, FaultNone, 0, 20_000)
	all, lax := figures(rows, FaultFeed, FaultRow, 17_000)
	for _, tt := range []struct {
		name            string
		got, want, slip float64
	}{
		{"scored rows", clean.n, 19_013, 0},
		{"scored rows from LAX", cleanLAX.n, 772, 0},
		{"share of LAX among scored rows", cleanLAX.n / clean.n, 0.0406, 0.00005},
		{"mean error", clean.err11 / clean.n, 19.663, 0.0005},
		{"mean error from LAX", cleanLAX.err11 / cleanLAX.n, 20.755, 0.0005},
		{"25 % stage after the fault: rows", all.n, 10_766, 0},
		{"rows from LAX", lax.n, 442, 0},
		{"mean error v12/v11", all.err12 / all.err11, 1.0514, 0.00005},
		{"LAX mean error v11", lax.err11 / lax.n, 19.777, 0.0005},
		{"LAX mean error v12", lax.err12 / lax.n, 44.988, 0.0005},
		{"LAX share off by > 30 min, v11", lax.late11 / lax.n, 0.181, 0.0005},
		{"LAX share off by > 30 min, v12", lax.late12 / lax.n, 0.767, 0.0005},
		{"share off by > 30 min, v11", all.late11 / all.n, 0.174, 0.0005},
		{"share off by > 30 min, v12", all.late12 / all.n, 0.198, 0.0005},
	} {
		if math.Abs(tt.got-tt.want) > tt.slip {
			t.Errorf("%s: got %.5f, want %.5f", tt.name, tt.got, tt.want)
		}
	}
}

func TestOnlyTheFeedFaultChangesV12AndOnlyItsFeed(t *testing.T) {
	rows := Load()
	for _, fault := range []Fault{FaultNone, FaultFeed, FaultLatency} {
		changed := 0
		for i, o := range Replay(rows, fault) {
			if o.V11 == o.V12 {
				continue
			}
			changed++
			if fault != FaultFeed || rows[i].Origin != FaultFeedOrigin || i <= FaultRow {
				t.Fatalf("fault %s: row %d from %s has scores %v and %v", fault, i, rows[i].Origin, o.V11, o.V12)
			}
		}
		if (changed > 0) != (fault == FaultFeed) {
			t.Errorf("fault %s: %d rows with different scores", fault, changed)
		}
	}
}

// naiveFeatures computes the features of row i from the rows before it, by reading them all again.
func naiveFeatures(rows []Row, i int, fault Fault) (v11, v12 float64, depth int) {
	for j := i - 1; j >= 0 && depth < Window; j-- {
		if rows[j].Origin != rows[i].Origin {
			continue
		}
		depth++
		v11 += float64(rows[j].Delay)
		v12 += float64(rows[j].Delay)
		if fault == FaultFeed && j >= FaultRow && rows[j].Origin == "LAX" {
			v12 += 0.04 * float64(rows[j].Distance)
		}
	}
	if depth == 0 {
		return 0, 0, 0
	}
	return v11 / float64(depth), v12 / float64(depth), depth
}

func TestTransformerAgreesWithNaiveTwin(t *testing.T) {
	rows := Load()
	for _, fault := range []Fault{FaultNone, FaultFeed} {
		tr := NewTransformer(fault)
		for i, r := range rows[:9_000] {
			if i%7 == 0 || r.Origin == "LAX" {
				v11, v12 := tr.Features(r)
				want11, want12, depth := naiveFeatures(rows, i, fault)
				if v11 != want11 || math.Abs(v12-want12) > 1e-9 || tr.Depth(r.Origin) != depth {
					t.Fatalf("fault %s row %d: got %v, %v of %d; want %v, %v of %d", fault, i, v11, v12, tr.Depth(r.Origin), want11, want12, depth)
				}
			}
			tr.Observe(r)
		}
		if tr.Seen() != 9_000 {
			t.Errorf("seen %d rows, want 9,000", tr.Seen())
		}
	}
}

func TestFeatureDoesNotKnowTheFlightItself(t *testing.T) {
	tr := NewTransformer(FaultFeed)
	for _, r := range Load()[:8_000] {
		tr.Observe(r)
	}
	r := Row{Origin: "LAX", Delay: 10, Distance: 100}
	v11, v12 := tr.Features(r)
	r.Delay, r.Distance, r.Destination = 500, 4_000, "JFK"
	if a, b := tr.Features(r); a != v11 || b != v12 {
		t.Errorf("features depend on the flight: %v, %v and %v, %v", v11, v12, a, b)
	}
	if v12 <= v11 {
		t.Errorf("2,000 rows after the fault v12 is %v, not above v11 %v", v12, v11)
	}
}

func TestFeatureForgetsAfterWindowFlights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := NewTransformer(FaultNone)
		delays := rapid.SliceOfN(rapid.IntRange(-100, 500), 0, 60).Draw(t, "delays")
		for _, d := range delays {
			tr.Observe(Row{Origin: "AAA", Delay: d, Distance: 10})
			tr.Observe(Row{Origin: "BBB", Delay: 7 * d, Distance: 10})
		}
		recent := delays[max(0, len(delays)-Window):]
		sum := 0
		for _, d := range recent {
			sum += d
		}
		want := 0.0
		if len(recent) > 0 {
			want = float64(sum) / float64(len(recent))
		}
		if v11, v12 := tr.Features(Row{Origin: "AAA"}); v11 != want || v12 != want {
			t.Fatalf("got %v, %v, want the mean of the last %d: %v", v11, v12, len(recent), want)
		}
		if got := tr.Depth("AAA"); got != len(recent) {
			t.Fatalf("depth %d, want %d", got, len(recent))
		}
	})
}

func TestUnseenOrigin(t *testing.T) {
	tr := NewTransformer(FaultFeed)
	v11, v12 := tr.Features(Row{Origin: "LAX"})
	if v11 != 0 || v12 != 0 || tr.Depth("LAX") != 0 {
		t.Errorf("got %v, %v of depth %d, want zeros", v11, v12, tr.Depth("LAX"))
	}
	shallow := slices.Repeat([]Row{{Origin: "LAX", Delay: 90, Distance: 10}}, MinDepth+1)
	for i, o := range Replay(shallow, FaultNone) {
		if want := i >= MinDepth; o.Scored != want || o.Row != i {
			t.Errorf("row %d: got %+v, want scored %v", i, o, want)
		}
	}
}

func TestScore(t *testing.T) {
	for _, tt := range []struct {
		delay      int
		prediction float64
		want       Score
	}{
		{10, 10, Score{0, false}},
		{40, 10, Score{30, false}}, // exactly 30 minutes is not late
		{-30, 0.5, Score{30.5, true}},
		{60, Predict(25), Score{35, true}},
	} {
		if got := ScoreOf(Row{Delay: tt.delay}, tt.prediction); got != tt.want {
			t.Errorf("delay %d, prediction %v: got %v, want %v", tt.delay, tt.prediction, got, tt.want)
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	rows := Load()
	b.ReportAllocs()
	for b.Loop() {
		Replay(rows, FaultFeed)
	}
}
