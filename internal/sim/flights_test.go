package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/demo/flights"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
)

// story is the demo's own specification with a seed and a fault.
func story(t *testing.T, seed int64, fault flights.Fault) Story {
	t.Helper()
	src, err := os.ReadFile("../../examples/flights.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, findings := plan.Parse("flights.yaml", src)
	if p == nil {
		t.Fatalf("the demo's specification has errors: %v", findings)
	}
	src, err = os.ReadFile("../demo/flag.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, findings := plan.ParseFlag("flag.yaml", src)
	if f == nil {
		t.Fatalf("the demo's flag has errors: %v", findings)
	}
	return Story{Seed: seed, Fault: fault, Plan: p, Flag: f.Flag}
}

func run(t *testing.T, s Story) Outcome {
	t.Helper()
	out, err := s.Run()
	if err != nil {
		t.Fatalf("seed %d fault %s: %v", s.Seed, s.Fault, err)
	}
	return out
}

// TestFeedFaultIsTakenBack: for every seed the bad feed is caught, named and taken back, with digests equal.
func TestFeedFaultIsTakenBack(t *testing.T) {
	for seed := int64(1); seed <= 20; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := run(t, story(t, seed, flights.FaultFeed)).Status
			if s.State.Phase != rollout.RolledBack {
				t.Fatalf("got %s (%+v), want RolledBack", s.State.Phase, s.State.Cause)
			}
			v := s.State.Cause.Verdict
			if v == nil || v.Value != "origin="+flights.FaultFeedOrigin {
				t.Errorf("culprit: got %+v, want origin=%s", v, flights.FaultFeedOrigin)
			}
			if s.State.DigestAfter != s.State.DigestBefore || s.State.DigestBefore == "" {
				t.Errorf("digest before %s, after %s", s.State.DigestBefore, s.State.DigestAfter)
			}
			if c := s.Barrier.Counts; c.Acked != 2 || c.Unproven != 0 || !s.Barrier.Complete {
				t.Errorf("exposure off: got %+v, want both readers acknowledged", c)
			}
			t.Logf("stage %s, decided %s after the fault, safe in %s", s.Plan.Stages[s.State.Stage].Name,
				s.State.Decided.Sub(epoch.Add(200*time.Millisecond+flights.Offset(flights.FaultRow))), s.State.SafeAt.Sub(s.State.Decided))
		})
	}
}

// TestNoFaultCompletes: equal versions are never rolled back.
func TestNoFaultCompletes(t *testing.T) {
	for seed := int64(1); seed <= 20; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			out := run(t, story(t, seed, flights.FaultNone))
			if out.Status.State.Phase != rollout.Completed {
				t.Fatalf("got %s (%+v), want Completed", out.Status.State.Phase, out.Status.State.Cause)
			}
			if f, ok := out.Config("origin-delay"); !ok || f.Default != "v12" || f.Rollout != nil {
				t.Errorf("flag after completion: %+v", f)
			}
		})
	}
}

// TestSameSeedSameStory: the same seed gives the same records, byte for byte.
func TestSameSeedSameStory(t *testing.T) {
	a, b := run(t, story(t, 3, flights.FaultFeed)), run(t, story(t, 3, flights.FaultFeed))
	ja, _ := json.Marshal(a.Records)
	jb, _ := json.Marshal(b.Records)
	if string(ja) != string(jb) || a.Took != b.Took {
		t.Errorf("two runs of one seed differ: %d and %d records, %s and %s", len(a.Records), len(b.Records), a.Took, b.Took)
	}
}

// TestFrozenComponentIsSafeByLapse: a process that stands still cannot answer; its lease ends, and the proof says so.
func TestFrozenComponentIsSafeByLapse(t *testing.T) {
	st := story(t, 1, flights.FaultFeed)
	st.Freeze = "consumer"
	s := run(t, st).Status
	if s.State.Phase != rollout.RolledBack {
		t.Fatalf("got %s, want RolledBack", s.State.Phase)
	}
	c := s.Barrier.Counts
	if c.Acked != 1 || c.Lapsed != 1 || c.Unproven != 0 {
		t.Errorf("got %+v, want one acknowledged and one by lease end", c)
	}
	took, y := s.State.SafeAt.Sub(s.State.Decided), fleet.Y(s.Plan.Rollback.LeaseTTL)
	if took < y-s.Plan.Rollback.LeaseTTL/5 || took > s.Plan.Rollback.CompleteWithin {
		t.Errorf("safe after %s: want at least the lease's end (%s less one renewal) and at most %s", took, y, s.Plan.Rollback.CompleteWithin)
	}
}

// TestOtherFlagsSurviveTheRollback: an edit of another flag stays, a flag killed meanwhile stays killed, and the rollout's
// own flag cannot be edited.
func TestOtherFlagsSurviveTheRollback(t *testing.T) {
	st := story(t, 2, flights.FaultFeed)
	other := flag.Flag{Key: "other", Type: flag.Bool, Default: "off", Variants: map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")}}
	st.At = 15 * time.Second
	var refused *engine.Refusal
	st.During = func(apply func(engine.Event) error) error {
		edit, err := engine.Seed(st.Plan.Environment, "test", other)
		if err != nil {
			return err
		}
		kill := engine.Edit{Env: st.Plan.Environment, Actor: "test", Put: map[string]json.RawMessage{"kill/other": json.RawMessage(`{"flag":"other"}`)}}
		own, err := engine.Seed(st.Plan.Environment, "test", st.Flag)
		if err != nil {
			return err
		}
		if err := apply(own); !errors.As(err, &refused) {
			return fmt.Errorf("edit of the held flag: got %v, want a refusal", err)
		}
		return errors.Join(apply(edit), apply(kill))
	}
	out := run(t, st)
	if out.Status.State.Phase != rollout.RolledBack {
		t.Fatalf("got %s, want RolledBack", out.Status.State.Phase)
	}
	if refused.Code != "scope.open" || !strings.Contains(refused.Text, st.Plan.Name) {
		t.Errorf("refusal: got %s %q, want scope.open naming the rollout", refused.Code, refused.Text)
	}
	if got, ok := out.Config("other"); !ok || !reflect.DeepEqual(got, other) {
		t.Errorf("other flag after the rollback: got %+v", got)
	}
	if got, ok := out.Config("origin-delay"); !ok || got.Default != "v11" || got.Rollout != nil {
		t.Errorf("own flag after the rollback: got %+v", got)
	}
	killed := false
	for _, r := range out.Records {
		killed = killed || (r.Kind == "config.edit" && strings.Contains(string(r.Event), "kill/other"))
	}
	if !killed {
		t.Error("the kill is not in the log")
	}
}
