package judge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
)

// intakeState is the stored form of an Intake: equal intakes are equal bytes.
type intakeState struct {
	SettleMs int64         `json:"settleMs"`
	Next     int64         `json:"next"`
	Now      int64         `json:"now"`
	Started  bool          `json:"started"`
	Boots    []*boot       `json:"boots,omitempty"`
	Seconds  []secondState `json:"seconds,omitempty"`
	Gaps     []span        `json:"gaps,omitempty"`
	Heads    []head        `json:"heads,omitempty"`
	Late     []LateCount   `json:"late,omitempty"`
	Lost     uint64        `json:"lost,omitempty"`
	Refused  uint64        `json:"refused,omitempty"`
}

type secondState struct {
	At     int64                 `json:"at"`
	Blocks []evidence.Block      `json:"blocks,omitempty"`
	Open   []map[string]openMark `json:"open,omitempty"` // of each block, by boot
	On     []string              `json:"on,omitempty"`
	Off    []string              `json:"off,omitempty"`
}

// MarshalJSON returns everything the intake holds, for a checkpoint.
func (in *Intake) MarshalJSON() ([]byte, error) {
	st := intakeState{
		SettleMs: in.settle.Milliseconds(), Next: in.next, Now: in.now, Started: in.started, Gaps: in.gaps, Heads: in.heads,
		Late: in.Late(), Lost: in.lost, Refused: in.refused,
		Boots: slices.SortedFunc(maps.Values(in.boots), func(a, b *boot) int { return cmp.Compare(a.Boot, b.Boot) }),
	}
	for _, at := range slices.Sorted(maps.Keys(in.seconds)) {
		s := in.seconds[at]
		out := secondState{At: at, Blocks: s.blocks(true), On: slices.Sorted(maps.Keys(s.on)), Off: slices.Sorted(maps.Keys(s.off))}
		for i := range out.Blocks {
			out.Open = append(out.Open, s.open[out.Blocks[i].Key()])
		}
		st.Seconds = append(st.Seconds, out)
	}
	return json.Marshal(st)
}

// UnmarshalJSON replaces the intake by the stored one.
func (in *Intake) UnmarshalJSON(b []byte) error {
	var st intakeState
	if err := json.Unmarshal(b, &st); err != nil {
		return fmt.Errorf("decode intake: %w", err)
	}
	n := NewIntake(time.Duration(st.SettleMs) * time.Millisecond)
	n.next, n.now, n.started, n.gaps, n.heads, n.lost, n.refused = st.Next, st.Now, st.Started, st.Gaps, st.Heads, st.Lost, st.Refused
	for _, b := range st.Boots {
		if b != nil {
			n.boots[b.Boot] = b
		}
	}
	for _, c := range st.Late {
		n.late[lateKey{c.Metric, c.Arm}] = c
	}
	for _, sec := range st.Seconds {
		if len(sec.Open) != len(sec.Blocks) {
			return fmt.Errorf("decode intake: second %d has %d blocks and the open requests of %d", sec.At, len(sec.Blocks), len(sec.Open))
		}
		n.seconds[sec.At] = restoreSecond(sec)
	}
	*in = *n
	return nil
}

func restoreSecond(st secondState) *openSecond {
	s := newOpenSecond(st.At)
	for i := range st.Blocks {
		b := st.Blocks[i].Clone()
		key := b.Key()
		s.open[key], s.instances[key], b.Open = st.Open[i], map[string]*evidence.Cell{}, 0
		if st.Open[i] == nil {
			s.open[key] = map[string]openMark{}
		}
		b.Cells = slices.DeleteFunc(b.Cells, func(c evidence.Cell) bool {
			if c.Dim == evidence.DimInstance {
				s.instances[key][c.Value] = &c
				return true
			}
			s.values[cellKey{c.Dim, c.Value}] = true
			return false
		})
		s.merged = append(s.merged, b)
	}
	for _, name := range st.On {
		s.on[name] = true
	}
	for _, name := range st.Off {
		s.off[name] = true
	}
	return s
}
