package flights

import (
	"strconv"
	"time"

	"sluice.dev/sdk/flag"
)

const (
	// RowsPerSecond is the speed of the replay. 90 days pass in 36 seconds; Sluice itself runs in real time.
	RowsPerSecond = 555
	// RequestsPerFlight: one when the flight departs, one when it has arrived and is scored.
	RequestsPerFlight = 2
)

// Stage is one step of exposure and the rows that flow while it lasts.
type Stage struct {
	Name     string
	Shadow   bool          // everything runs and nobody is exposed
	Exposure flag.Exposure // share of the flights
	Holdback flag.Exposure // of them, the share kept on v11, so that there is something to compare with
	From, To int           // rows From <= i < To
}

// Served returns the share of flights that get v12.
func (s Stage) Served() flag.Exposure { return s.Exposure - s.Holdback }

// Bake returns the time in which the stage's rows flow.
func (s Stage) Bake() time.Duration { return Offset(s.To) - Offset(s.From) }

// Schedule returns the stages of the demonstration in order; together they hold all 20,000 rows. The fault begins 1,000
// rows after the third step of exposure: the two before are too small to show anything about one feed (three and five
// exposed flights from LAX), and the last is reached without a fault only.
func Schedule() []Stage {
	return []Stage{
		{Name: "shadow", Shadow: true, From: 0, To: 2_000},
		{Name: "canary", Exposure: 5_000, From: 2_000, To: 3_500},
		{Name: "early", Exposure: 10_000, From: 3_500, To: 5_000},
		{Name: "quarter", Exposure: 25_000, From: 5_000, To: 17_000},
		{Name: "full", Exposure: flag.Full, Holdback: 5_000, From: 17_000, To: 20_000},
	}
}

// Offset returns when a row is due, counted from the first row.
func Offset(row int) time.Duration { return time.Duration(row) * time.Second / RowsPerSecond }

// Due returns how many rows are due after a time: rows 0 to Due-1. Due(Offset(i)) is i+1; nothing is due before 0.
func Due(after time.Duration) int {
	if after < 0 {
		return 0
	}
	n := int(after/time.Second)*RowsPerSecond + int(after%time.Second*RowsPerSecond/time.Second)
	for Offset(n) <= after { // Offset rounds down, so one or two more may be due
		n++
	}
	return n
}

// UnitID names the unit of a row: "flight-<seed>-<row>". Another seed gives another random split of the same flights.
func UnitID(seed int64, row int) string {
	return "flight-" + strconv.FormatInt(seed, 10) + "-" + strconv.Itoa(row)
}
