package judge

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"sluice.dev/sdk/evidence"
)

// stateFormat is the layout of a stored State; a state of another layout is refused, never guessed at.
const stateFormat = 1

// Bounds of a State.
const (
	maxLanes   = 512  // per guardrail, the total included
	maxDigests = 3600 // seconds whose digest is remembered
)

// State is everything that judging one rollout remembers. Its fields are exported for its stored form and digest only;
// nothing but this package writes them. Equal states are equal bytes.
type State struct {
	Format int `json:"format"`
	scope
	Live    bool                       `json:"live"`  // evidence of the stage's own exposure has been seen
	At      int64                      `json:"at"`    // last second stepped
	Clock   int64                      `json:"clock"` // seconds judged, gaps left out
	Metrics map[string]evidence.Metric `json:"metrics"`
	Rails   []*rail                    `json:"rails"`
	Digests []secondDigest             `json:"digests,omitempty"` // of the judged seconds that verdicts may name
	Pruned  int64                      `json:"pruned,omitempty"`  // last second whose digest is forgotten

	Chain      chain                  `json:"chain,omitzero"`
	Entries    []entry                `json:"entries,omitempty"` // of stages, for computing a lane again
	Alarm      *alarm                 `json:"alarm,omitempty"`
	Recheck    int64                  `json:"recheck,omitempty"` // clock before which a refuted alarm is not examined again
	Silence    *silenceWatch          `json:"silence,omitempty"`
	Srm        [2]srmCount            `json:"srm"`            // by assigned arm
	Late       map[string]*lateWatch  `json:"late,omitempty"` // by metric
	Components map[string]*bootsWatch `json:"components,omitempty"`

	canonical []byte // of the second being judged, not part of the state
	stored    Stored // not part of the state: see Remember
}

// scope says which evidence a stage compares.
type scope struct {
	Stage    int    `json:"stage"` // -1 before the first Enter
	Exposure uint32 `json:"exposure"`
	Cohort   string `json:"cohort,omitempty"`
}

// entry is the beginning of a stage.
type entry struct {
	After int64 `json:"after"` // last second judged before it
	scope
}

// maxEntries bounds the remembered stage entries; a rollout that was taken back and forth more often keeps its newest.
const maxEntries = 256

// rail is the memory of one guardrail, in the order of the configuration.
type rail struct {
	Name     string      `json:"name"`
	Lanes    []*lane     `json:"lanes"` // total first, then by dimension and value
	Overflow uint64      `json:"overflow,omitempty"`
	Arms     [2]armWatch `json:"arms"`
	Hard     *hardWatch  `json:"hard,omitempty"`
	Always   *alwaysRail `json:"always,omitempty"`
	Fault    string      `json:"fault,omitempty"` // what the provider of the data last answered, "" when it works
}

type secondDigest struct {
	At     int64  `json:"at"`
	Digest string `json:"digest"`
}

// New returns the state of a rollout that has not begun. cfg and metrics are the plan's and never change; metrics is kept.
func New(cfg Config, metrics map[string]evidence.Metric) *State {
	s := &State{Format: stateFormat, scope: scope{Stage: -1}, Metrics: metrics}
	for i := range cfg.Guardrails {
		g := &cfg.Guardrails[i]
		r := &rail{Name: g.Name, Lanes: []*lane{newLane(g, evidence.DimTotal, "", 0)}}
		if g.Hard != nil {
			r.Hard = &hardWatch{}
		}
		if g.Test == AlwaysValid {
			r.Always = &alwaysRail{}
			r.begin(cfg, g)
		}
		s.Rails = append(s.Rails, r)
	}
	return s
}

// Enter begins a stage: looks at earlier evidence end, so that no stage passes on what another showed; what was learned
// of the baseline and of the exposed arm's last seconds (for hard trips) stays. Looks of the stage begin with the first
// second that holds evidence of its exposure. Before the first Enter evidence of every stratum is compared.
func Enter(s *State, stage int, exposure uint32, cohort string) {
	moved := s.Cohort != "" && s.Cohort != cohort
	s.scope, s.Live = scope{stage, exposure, cohort}, false
	s.Entries = append(s.Entries, entry{s.At, s.scope})
	if n := len(s.Entries) - maxEntries; n > 0 {
		s.Entries = slices.Delete(s.Entries, 0, n)
	}
	for _, r := range s.Rails {
		r.Arms = [2]armWatch{}
		if moved {
			r.changeCohort()
		}
		for _, l := range r.Lanes {
			if e := l.rule(); e != nil {
				e.enter()
			}
		}
	}
}

// Provider notes what the provider of a guardrail's data last answered: an error's text, or "" when it works. While it
// errs the guardrail's verdict is Error: never a pass, and no rollback unless OnError says so. An unknown guardrail is
// ignored.
func Provider(s *State, guardrail, fault string) {
	for _, r := range s.Rails {
		if r.Name == guardrail {
			r.Fault = fault
		}
	}
}

// MarshalState returns the stored form of the state: canonical, equal states are equal bytes.
func MarshalState(s *State) ([]byte, error) { return json.Marshal(s) }

// UnmarshalState returns the state that MarshalState stored.
func UnmarshalState(b []byte) (*State, error) {
	s := new(State)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, err
	}
	return s, nil
}

// UnmarshalJSON replaces the state by the stored one and refuses what this version did not write.
func (s *State) UnmarshalJSON(b []byte) error {
	type plain State
	var n plain
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("decode judge state: %w", err)
	}
	if n.Format != stateFormat {
		return fmt.Errorf("decode judge state: format %d, this version reads %d", n.Format, stateFormat)
	}
	for i, r := range n.Rails {
		if r == nil || len(r.Lanes) == 0 || slices.Contains(r.Lanes, nil) {
			return fmt.Errorf("decode judge state: guardrail %d has no lanes", i)
		}
		if slices.ContainsFunc(r.Lanes, func(l *lane) bool { return (l.Always != nil) != (r.Always != nil) }) {
			return fmt.Errorf("decode judge state: guardrail %d mixes rules", i)
		}
	}
	if err := n.Silence.check(); err != nil {
		return fmt.Errorf("decode judge state: %w", err)
	}
	for metric, w := range n.Late {
		if w == nil || (w.Lanes[0] == nil) != (w.Lanes[1] == nil) {
			return fmt.Errorf("decode judge state: the watch for late observations of %q is not whole", metric)
		}
	}
	for name, w := range n.Components {
		if w == nil || (w.Open != 0 && len(w.Past) == 0) {
			return fmt.Errorf("decode judge state: the watch of component %q is not whole", name)
		}
	}
	*s = State(n)
	return nil
}

// Digest identifies the state: "sha256:" and the hash of its stored form.
func (s *State) Digest() string {
	b, err := MarshalState(s)
	if err != nil {
		panic("judge: state has no JSON: " + err.Error()) // only a float that is no number could do that, and none is kept
	}
	return digestOf("sluice-judge-state-v1", b)
}

func digestOf(tag string, b []byte) string {
	h := sha256.New()
	h.Write([]byte(tag))
	h.Write([]byte{0})
	h.Write(b)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// WindowDigest identifies the evidence of the closed seconds from..to, both included: what Verdict.Evidence holds for
// its window. Seconds outside and gaps are left out.
func WindowDigest(secs []evidence.Second, from, to int64) string {
	var list []secondDigest
	for _, sec := range secs {
		if !sec.Gap {
			list = append(list, secondDigest{sec.At, evidence.SecondDigest(&sec)})
		}
	}
	return windowDigest(list, from, to)
}

// windowDigest hashes one line "<second> <digest>" for each of the seconds.
func windowDigest(list []secondDigest, from, to int64) string {
	var b []byte
	for _, d := range list {
		if from <= d.At && d.At <= to {
			b = fmt.Appendf(b, "%d %s\n", d.At, d.Digest)
		}
	}
	return digestOf("sluice-window-v1", b)
}
