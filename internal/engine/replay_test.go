package engine

import (
	"encoding/json"
	"testing"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/rollout"
)

// TestStoredEvidenceReplays (I15): what is stored judges to the same bits, decision by decision and in the end.
func TestStoredEvidenceReplays(t *testing.T) {
	r := exposed(t)
	r.bad[evidence.ArmExposed] = 0.5
	r.until(rollout.RolledBack, "", time.Minute)
	var secs []evidence.Second
	var events []judge.Event
	for _, row := range r.disk.evidence[name] {
		secs, events = append(secs, row.Second), append(events, row.Events...)
	}
	run := r.e.runs[name]
	reports, state := judge.Replay(run.plan.Judge, run.plan.Metrics, secs, events)
	if got, want := state.Digest(), run.judge.Digest(); got != want {
		t.Errorf("state: got %s, want %s", got, want)
	}
	decided := 0
	for _, rec := range r.disk.records {
		if rec.Kind != "rollout."+string(rollout.Judged) {
			continue
		}
		var ev rollout.Event
		if err := json.Unmarshal(rec.Event, &ev); err != nil {
			t.Fatal(err)
		}
		for i, s := range secs {
			if s.At == ev.Second {
				decided++
				reports[i].Verdicts = nil
				got, want := string(mustJSON(reports[i])), string(mustJSON(ev.Report))
				if got != want {
					t.Errorf("record %d: replayed %s, decided %s", rec.Seq, got, want)
				}
			}
		}
	}
	if decided < 2 {
		t.Errorf("only %d decisions compared", decided)
	}
}
