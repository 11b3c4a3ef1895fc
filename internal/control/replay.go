package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
)

// Replayed says how a rollout's stored evidence was judged again.
type Replayed struct {
	Rollout   string   `json:"rollout"`
	Seconds   int      `json:"seconds"`   // judged again
	Decisions int      `json:"decisions"` // records whose report was compared, bit for bit
	Hard      int      `json:"hard"`      // records of hard trips on evidence that had not closed; kept as artifacts, not replayed
	Differs   []uint64 `json:"differs"`   // records whose report came out otherwise
	State     string   `json:"state"`     // digest of the judge's state in the end
	Stored    string   `json:"stored"`    // digest of the state in the last checkpoint, where it is of the same second
}

// Same reports whether everything came out as it was decided.
func (r Replayed) Same() bool { return len(r.Differs) == 0 && (r.Stored == "" || r.Stored == r.State) }

// Replay judges a rollout's stored seconds again from the beginning and compares each report that decided something with
// the one in the log.
func Replay(ctx context.Context, s store.Store, name string) (Replayed, error) {
	run, err := loadRun(ctx, s, name)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay rollout %s: %w", name, err)
	}
	rows, err := readEvidence(ctx, s, name, 0)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay rollout %s: %w", name, err)
	}
	stored, late, err := storedJudge(run.Checkpoint, rows)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay rollout %s: %w", name, err)
	}
	reports, state := judgeAgain(run.Plan, rows, late)
	out := Replayed{Rollout: name, Seconds: len(rows), State: state.Digest(), Stored: stored, Differs: []uint64{}}
	bySecond := make(map[int64]judge.Report, len(rows))
	for i, row := range rows {
		bySecond[row.At] = reports[i]
	}
	return out, compareRecords(ctx, s, &out, bySecond)
}

// judgeAgain judges the rows; late comes after them.
func judgeAgain(p *plan.Plan, rows []engine.Evidence, late []judge.Event) ([]judge.Report, *judge.State) {
	secs := make([]evidence.Second, len(rows))
	var events []judge.Event
	for i, row := range rows {
		secs[i], events = row.Second, append(events, row.Events...)
	}
	return judge.Replay(p.Judge, p.Metrics, secs, append(events, late...))
}

// storedJudge is the digest of the checkpoint's judge, with what it had heard after its second, if the checkpoint is of the
// last stored second.
func storedJudge(checkpoint []byte, rows []engine.Evidence) (digest string, late []judge.Event, err error) {
	second, state, late, err := engine.CheckpointJudge(checkpoint)
	if err != nil || len(rows) == 0 || second != rows[len(rows)-1].At {
		return "", nil, err
	}
	return state.Digest(), late, nil
}

func compareRecords(ctx context.Context, s store.Store, out *Replayed, bySecond map[int64]judge.Report) error {
	for after := uint64(0); ; {
		page, err := s.Records(ctx, store.Query{After: after, Rollout: out.Rollout, Kind: "rollout." + string(rollout.Judged), Limit: 500})
		if err != nil {
			return fmt.Errorf("read records: %w", err)
		}
		for _, rec := range page {
			after = rec.Seq
			var ev rollout.Event
			if err := json.Unmarshal(rec.Event, &ev); err != nil {
				return fmt.Errorf("event of record %d: %w", rec.Seq, err)
			}
			if ev.Second == 0 || ev.Report == nil {
				out.Hard++
				continue
			}
			out.Decisions++
			again := bySecond[ev.Second]
			again.Verdicts = nil
			if !sameJSON(again, *ev.Report) {
				out.Differs = append(out.Differs, rec.Seq)
			}
		}
		if len(page) < 500 {
			return nil
		}
	}
}

func sameJSON(a, b judge.Report) bool {
	ja, erra := json.Marshal(a)
	jb, errb := json.Marshal(b)
	return erra == nil && errb == nil && bytes.Equal(ja, jb)
}

// Recording is a stored rollout that has ended, with all its evidence.
type Recording struct {
	Name    string
	Plan    *plan.Plan
	State   rollout.State
	Seconds []evidence.Second
	Events  []judge.Event
}

// Recordings reads every rollout that has ended and still has its evidence, by name.
func Recordings(ctx context.Context, s store.Store) ([]Recording, error) {
	names, err := s.Rollouts(ctx)
	if err != nil {
		return nil, fmt.Errorf("list rollouts: %w", err)
	}
	var out []Recording
	for _, name := range names {
		run, err := loadRun(ctx, s, name)
		if err != nil {
			return nil, fmt.Errorf("rollout %s: %w", name, err)
		}
		state, err := engine.CheckpointState(run.Checkpoint)
		if err != nil {
			return nil, fmt.Errorf("rollout %s: %w", name, err)
		}
		rows, err := readEvidence(ctx, s, name, 0)
		if err != nil {
			return nil, fmt.Errorf("rollout %s: %w", name, err)
		}
		if !state.Phase.Terminal() || len(rows) == 0 {
			continue
		}
		rec := Recording{Name: name, Plan: run.Plan, State: state}
		for _, row := range rows {
			rec.Seconds, rec.Events = append(rec.Seconds, row.Second), append(rec.Events, row.Events...)
		}
		out = append(out, rec)
	}
	return out, nil
}
