package dst

import (
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

// Summary is what many seeds came to.
type Summary struct {
	From       uint64         `json:"from"`
	Seeds      int            `json:"seeds"`
	Lived      time.Duration  `json:"-"`
	Years      float64        `json:"simulatedYears"`
	Faults     int            `json:"faults"`
	ByKind     map[string]int `json:"faultsByKind"`
	Seen       Seen           `json:"seen"`
	Trace      string         `json:"trace"` // digest of all traces: equal seeds of equal code give the same
	Violations []Violation    `json:"violations"`
}

// Violation is a seed in which something did not hold, and how to see it again.
type Violation struct {
	Seed    uint64 `json:"seed"`
	Text    string `json:"text"`
	Command string `json:"command"`
}

// Many lives the seeds from, from+1, ... on several threads, each seed on one. It begins no new seed after until; the zero
// time means all of them. The summary does not depend on the number of threads.
func Many(from uint64, seeds, workers int, until time.Time) Summary {
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		results = make([]Result, seeds)
		next    int
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= seeds || !until.IsZero() && time.Now().After(until) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range max(workers, 1) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				results[i] = Run(from+uint64(i), nil)
			}
		})
	}
	wg.Wait()
	return summarize(from, results[:next])
}

func summarize(from uint64, results []Result) Summary {
	s := Summary{From: from, Seeds: len(results), ByKind: map[string]int{}, Violations: []Violation{}}
	h := fnv.New64a()
	for _, r := range results {
		s.Lived += r.Lived
		s.Seen = s.Seen.Add(r.Seen)
		for kind, n := range r.Faults {
			s.ByKind[kind] += n
			s.Faults += n
		}
		h.Write([]byte(r.Trace))
		if r.Violation != "" {
			s.Violations = append(s.Violations, Violation{r.Seed, r.Violation, fmt.Sprintf("go run ./cmd/sluice bench sim --from %d --seeds 1 --trace", r.Seed)})
		}
	}
	s.Years, s.Trace = s.Lived.Hours()/24/365.25, fmt.Sprintf("%016x", h.Sum64())
	return s
}
