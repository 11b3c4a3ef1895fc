package engine

import (
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
)

// boots counts what one component's instances did since the last judged second.
type boots struct {
	lapsed, fresh int
	live          map[string]bool // boots that were live when last looked at
}

func (r *run) count(component string) *boots {
	b := r.boots[component]
	if b == nil {
		b = &boots{live: map[string]bool{}}
		r.boots[component] = b
	}
	return b
}

// lost reports whether the boot has just stopped renewing without a Bye. Only a boot that renewed under this leadership
// can be lost: while the controller was away nobody could renew.
func (r *run) lost(m *fleet.Member, now time.Time) bool {
	b := r.count(m.Component)
	live := m.Live(r.plan.Rollback.LeaseTTL, now)
	was := b.live[m.Boot]
	if live {
		b.live[m.Boot] = true
	} else {
		delete(b.live, m.Boot)
	}
	return was && !live && m.Bye.IsZero()
}

// pastSpan is how far back the usual rate of losses is looked up.
const pastSpan = time.Hour

// notePast tells the judge how often each component's instances were lost in the hour before the rollout.
func (e *Engine) notePast(env *environment, r *run) {
	past := env.fleet.PastOf(e.now.Add(-pastSpan), e.now, r.plan.Rollback.LeaseTTL)
	for _, name := range slices.Sorted(maps.Keys(past)) {
		r.note(judge.Event{Past: &judge.PastNote{Component: name, Seconds: past[name].Seconds, Losses: past[name].Losses}})
	}
}

// noteBoots tells the judge what each component's instances did in the second.
func (e *Engine) noteBoots(r *run, sec evidence.Second) {
	since := int64(-1)
	if r.state.Exposure > 0 && sec.At >= r.state.StageSince.Unix() {
		since = sec.At - r.state.StageSince.Unix()
	}
	for _, name := range slices.Sorted(maps.Keys(r.boots)) {
		b := r.boots[name]
		r.note(judge.Event{Boot: &judge.BootNote{
			At: sec.At, Component: name, Instances: len(b.live) + b.lapsed, Lapsed: b.lapsed, Fresh: b.fresh,
			SinceCommit: since, ControllerAway: sec.Gap,
		}})
		b.lapsed, b.fresh = 0, 0
	}
}
