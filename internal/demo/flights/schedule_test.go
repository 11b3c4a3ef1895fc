package flights

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sdk/flag"
)

func TestParseFault(t *testing.T) {
	for _, f := range []Fault{FaultNone, FaultFeed, FaultLatency} {
		if got, err := ParseFault(f.String()); err != nil || got != f {
			t.Errorf("%s: got %v, %v", f, got, err)
		}
	}
	for _, tt := range []struct{ in, want string }{
		{"", `unknown fault "": use none, feed, latency`},
		{"lax", `unknown fault "lax": use none, feed, latency`},
		{" Feed", `unknown fault " Feed": did you mean "feed"?`},
	} {
		if _, err := ParseFault(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("%q: got %v, want %s", tt.in, err, tt.want)
		}
	}
	if got := Fault(9).String(); got != "fault(9)" {
		t.Errorf("an unknown fault is called %q", got)
	}
}

func TestFaultBeginsAtItsRow(t *testing.T) {
	for _, tt := range []struct {
		fault Fault
		row   int
		want  bool
	}{
		{FaultNone, FaultRow, false},
		{FaultFeed, FaultRow - 1, false},
		{FaultFeed, FaultRow, true},
		{FaultLatency, FaultRow, true},
	} {
		if got := tt.fault.ActiveAt(tt.row); got != tt.want {
			t.Errorf("%s at row %d: got %v, want %v", tt.fault, tt.row, got, tt.want)
		}
	}
}

func TestFaultIsDescribedWithItsSize(t *testing.T) {
	for f, want := range map[Fault]string{
		FaultNone:    "none: v12 equals v11",
		FaultFeed:    "v12 adds 0.04 minutes per mile to each delay in the LAX feed",
		FaultLatency: "every read of v12 from the feature store takes 1.5 times as long",
	} {
		if got := f.Describe(); got != want {
			t.Errorf("%s: got %q, want %q", f, got, want)
		}
	}
}

func TestScheduleCoversAllRowsWithRisingExposure(t *testing.T) {
	next, served := 0, flag.Exposure(0)
	for i, s := range Schedule() {
		if s.From != next || s.To <= s.From {
			t.Errorf("stage %s has rows %d to %d, want from %d", s.Name, s.From, s.To, next)
		}
		if s.Shadow != (s.Exposure == 0) || i > 0 && s.Served() <= served {
			t.Errorf("stage %s serves %d after %d", s.Name, s.Served(), served)
		}
		if s.Served() >= flag.Full {
			t.Errorf("stage %s leaves no baseline", s.Name)
		}
		next, served = s.To, s.Served()
	}
	if rows := len(Load()); next != rows {
		t.Errorf("the schedule ends at row %d of %d", next, rows)
	}
	if s := Schedule()[3]; s.Exposure != 25_000 || FaultRow < s.From || FaultRow >= s.To {
		t.Errorf("the fault begins outside of the 25 %% stage %+v", s)
	}
}

func TestReplayTakes36Seconds(t *testing.T) {
	total := time.Duration(0)
	for _, s := range Schedule() {
		total += s.Bake()
	}
	if total != Offset(20_000) || total.Round(time.Second) != 36*time.Second {
		t.Errorf("the stages take %v, want %v, about 36s", total, Offset(20_000))
	}
}

func TestDueIsTheInverseOfOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.IntRange(0, 1<<40/RowsPerSecond).Draw(t, "row")
		if got := Due(Offset(row)); got != row+1 {
			t.Fatalf("due at the time of row %d: %d", row, got)
		}
		if got := Due(Offset(row) - 1); got != row {
			t.Fatalf("due just before row %d: %d", row, got)
		}
	})
}

func TestUnitIDs(t *testing.T) {
	if got := UnitID(-3, 17); got != "flight--3-17" {
		t.Errorf("got %s", got)
	}
	// Seeds split independently: of the flights exposed at 25 % under one seed, a quarter is exposed under another.
	both, one := 0, 0
	for i := range 20_000 {
		if flag.Exposed(flag.Bucket(UnitID(1, i), "salt"), 25_000) {
			one++
			if flag.Exposed(flag.Bucket(UnitID(2, i), "salt"), 25_000) {
				both++
			}
		}
	}
	if one < 4_750 || one > 5_250 || both < one/4-150 || both > one/4+150 { // four standard deviations
		t.Errorf("seed 1 exposes %d of 20,000, %d of them under seed 2 as well; want about 5,000 and 1,250", one, both)
	}
}
