package stat

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sluice.dev/sdk/evidence"
)

type laneJSON struct {
	Config LaneConfig `json:"config"`
	State  laneState  `json:"state"`
}

// MarshalJSON writes configuration and state; equal lanes give equal bytes.
func (l *Lane) MarshalJSON() ([]byte, error) {
	return json.Marshal(laneJSON{l.cfg, l.st})
}

// UnmarshalJSON reads what MarshalJSON wrote and refuses anything whose parts do not belong together.
func (l *Lane) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var read laneJSON
	if err := dec.Decode(&read); err != nil {
		return fmt.Errorf("lane: %w", err)
	}
	fresh, err := NewLane(read.Config)
	if err != nil {
		return err
	}
	if err := fresh.adopt(&read.State); err != nil {
		return err
	}
	*l = *fresh
	return nil
}

// adopt takes over a state that has the form of the lane's own.
func (l *Lane) adopt(s *laneState) error {
	if len(s.Tests) != len(l.st.Tests) || len(s.Shares) != evidence.UnitBuckets || !(s.Phi >= 1) || s.Blocks < 0 ||
		s.Begun < 0 || s.Begun > l.cfg.stages() {
		return fmt.Errorf("lane: a state of %d tests, %d shares, phi %v does not fit its configuration", len(s.Tests), len(s.Shares), s.Phi)
	}
	for i := range s.Tests {
		if w := &s.Tests[i].Wealth; len(w.A) != len(l.weights) || len(w.R) != len(l.weights) {
			return fmt.Errorf("lane: test %d has %d bets, want %d", i, len(w.A), len(l.weights))
		}
	}
	for i := range s.Spread {
		if n := len(s.Spread[i].N); n != len(s.Spread[i].Y) || n != 0 && n != evidence.UnitBuckets {
			return fmt.Errorf("lane: spread over %d buckets", n)
		}
	}
	if l.cfg.values() && (s.Baseline == nil || s.Exposed == nil || s.Baseline.Scale != s.Scale || s.Exposed.Scale != s.Scale || s.Scale > l.st.Scale) {
		return fmt.Errorf("lane: histograms do not fit scale %d", s.Scale)
	}
	if d := s.Drift; d != nil && (len(d.Cuts) >= driftCells || len(d.Exposed) != len(d.Cuts)+2 || len(d.Baseline) != len(d.Exposed)) {
		return fmt.Errorf("lane: drift over %d cells with %d cuts", len(d.Exposed), len(d.Cuts))
	}
	l.st = *s
	l.plan = schedule{lnStart: lnZero, lnG: lnZero, notBegun: l.notBegun(), unstarted: 1}
	if s.Blocks > 0 {
		_, l.plan.unstarted = restartAt(s.Blocks-1, l.cfg.blocks())
	}
	for i := range l.st.Tests {
		l.logM[i] = l.st.Tests[i].Wealth.logM(l.weights, &l.plan)
	}
	return nil
}

// Clone returns a lane that goes its own way from here.
func (l *Lane) Clone() *Lane {
	data, err := json.Marshal(l)
	if err != nil {
		panic(fmt.Sprintf("stat: a lane does not become JSON: %v", err))
	}
	c := new(Lane)
	if err := json.Unmarshal(data, c); err != nil {
		panic(fmt.Sprintf("stat: a lane does not come back from JSON: %v", err))
	}
	return c
}
