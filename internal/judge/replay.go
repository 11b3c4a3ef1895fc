package judge

import (
	"iter"
	"slices"

	"sluice.dev/sdk/evidence"
)

// Event is what reached the judge between two seconds. At most one field beside After is set.
type Event struct {
	After    int64          `json:"after"` // last second stepped before it; 0 before the first
	Enter    *Entered       `json:"enter,omitempty"`
	Late     []LateCount    `json:"late,omitempty"`
	Boot     *BootNote      `json:"boot,omitempty"`
	Past     *PastNote      `json:"past,omitempty"`
	Provider *ProviderFault `json:"provider,omitempty"`
}

// Entered are the arguments of Enter.
type Entered struct {
	Stage    int    `json:"stage"`
	Exposure uint32 `json:"exposure"`
	Cohort   string `json:"cohort"`
}

// ProviderFault are the arguments of Provider.
type ProviderFault struct {
	Guardrail string `json:"guardrail"`
	Fault     string `json:"fault"`
}

// Apply lets the event act on the state.
func (e Event) Apply(s *State) {
	if e.Enter != nil {
		Enter(s, e.Enter.Stage, e.Enter.Exposure, e.Enter.Cohort)
	}
	NoteLate(s, e.Late)
	if e.Boot != nil {
		NoteBoot(s, *e.Boot)
	}
	if e.Past != nil {
		NotePast(s, *e.Past)
	}
	if e.Provider != nil {
		Provider(s, e.Provider.Guardrail, e.Provider.Fault)
	}
}

// Replay judges stored seconds again from the beginning: one report per second, and the state in the end. Events must be in
// their order; those after the last second are applied too. Reports and state have the bits of the live ones when those ran
// with Remember.
func Replay(cfg Config, metrics map[string]evidence.Metric, secs []evidence.Second, events []Event) ([]Report, *State) {
	s := New(cfg, metrics)
	Remember(s, Kept(secs))
	reports := make([]Report, 0, len(secs))
	for i := range secs {
		for len(events) > 0 && events[0].After < secs[i].At {
			events[0].Apply(s)
			events = events[1:]
		}
		reports = append(reports, Step(cfg, s, secs[i]))
	}
	for _, e := range events {
		e.Apply(s)
	}
	return reports, s
}

// Kept serves Remember from seconds in ascending order.
func Kept(secs []evidence.Second) Stored {
	return func(from, to int64) iter.Seq[evidence.Second] {
		return func(yield func(evidence.Second) bool) {
			i, _ := slices.BinarySearchFunc(secs, from, func(s evidence.Second, at int64) int { return int(min(max(s.At-at, -1), 1)) })
			for ; i < len(secs) && secs[i].At <= to; i++ {
				if !yield(secs[i]) {
					return
				}
			}
		}
	}
}
