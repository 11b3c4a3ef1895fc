package flights

import (
	"fmt"
	"strings"
)

// Fault is what goes wrong with the candidate during the demonstration. The zero value is FaultNone.
type Fault uint8

// Faults. All begin with row FaultRow and touch version v12 alone; without one, v12 equals v11 bit for bit.
const (
	// FaultNone is a comparison of equals: whatever fires is a false alarm.
	FaultNone Fault = iota
	// FaultFeed leaks a distance into the delays of one feed: v12 averages delay + Distance/LeakMilesPerMinute for
	// every flight from FaultFeedOrigin.
	FaultFeed
	// FaultLatency makes every read of the feature store for v12 take ReadStretch times as long as it takes. The
	// feature store does that; the features stay right.
	FaultLatency
)

// Sizes of the faults. The row and the size were chosen for these flights so that the overall error stays near its limit
// while that of one feed doubles; they are not drawn at random.
const (
	FaultRow           = 6_000 // first row with the fault: 2001-01-27 20:19
	FaultFeedOrigin    = "LAX"
	LeakMilesPerMinute = 25 // a leak of 0.04 minutes per mile
	ReadStretch        = 1.5
)

var faultNames = [...]string{FaultNone: "none", FaultFeed: "feed", FaultLatency: "latency"}

// String returns the name that ParseFault reads.
func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return fmt.Sprintf("fault(%d)", uint8(f))
}

// ParseFault reads "none", "feed" or "latency". The error lists them and wraps nothing.
func ParseFault(s string) (Fault, error) {
	for f, name := range faultNames {
		if s == name {
			return Fault(f), nil
		}
	}
	if near := strings.ToLower(strings.TrimSpace(s)); near != s {
		if f, err := ParseFault(near); err == nil {
			return 0, fmt.Errorf("unknown fault %q: did you mean %q?", s, f)
		}
	}
	return 0, fmt.Errorf("unknown fault %q: use %s", s, strings.Join(faultNames[:], ", "))
}

// ActiveAt says whether the fault is in force when row is processed.
func (f Fault) ActiveAt(row int) bool { return f != FaultNone && row >= FaultRow }

// Describe says in words what the fault does, for the screen.
func (f Fault) Describe() string {
	switch f {
	case FaultFeed:
		return fmt.Sprintf("v12 adds %.2f minutes per mile to each delay in the %s feed", 1.0/LeakMilesPerMinute, FaultFeedOrigin)
	case FaultLatency:
		return fmt.Sprintf("every read of v12 from the feature store takes %g times as long", ReadStretch)
	default:
		return "none: v12 equals v11"
	}
}
