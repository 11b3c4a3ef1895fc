package dst

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
)

// flagKeys are the flags of the world; any of them may have a rollout.
var flagKeys = []string{"f0", "f1", "f2"}

const unwindWithin = 30 * time.Second

// people start rollouts, interfere with them, edit and kill flags, and repeat what they asked for.
type people struct {
	w     *world
	plans map[string]*plan.Plan
	bad   map[string]bool // rollouts whose candidate is harmful
}

func newPeople(w *world) *people {
	return &people{w: w, plans: map[string]*plan.Plan{}, bad: map[string]bool{}}
}

func (h *people) harmful(rollout string) bool { return h.bad[rollout] }

// settle makes the environment and its flags, before anything can go wrong.
func (h *people) settle() {
	h.w.calm = true
	h.ask(engine.CreateEnv{Name: env, Actor: "user:ann"}, nil)
	var flags []flag.Flag
	for _, key := range flagKeys {
		flags = append(flags, boolFlag(key, "off"))
	}
	seed, err := engine.Seed(env, "user:ann", flags...)
	if err != nil {
		panic("dst: " + err.Error()) // our own flags
	}
	h.ask(seed, nil)
	h.w.calm = false
}

func boolFlag(key, def string) flag.Flag {
	return flag.Flag{Key: key, Type: flag.Bool, Default: def, Variants: map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")}}
}

// ask gives the controller an event; then is told whether it was accepted. The answer may be lost.
func (h *people) ask(ev engine.Event, then func(error)) {
	srv := h.w.srv
	srv.receive(func() {
		srv.do(ev, func(err error) {
			h.w.logf("people ask %T: %v", ev, err)
			if then != nil && !errors.Is(err, errDown) && !errors.Is(err, errDisk) {
				then(err)
			}
		})
	})
}

// act does something now and then.
func (h *people) act() {
	w := h.w
	w.After(w.about(w.mood.between), func() {
		if w.over() {
			return
		}
		if w.calm {
			h.takeBack()
		} else {
			h.interfere()
		}
		h.act()
	})
}

func (h *people) interfere() {
	w := h.w
	open := h.open()
	switch x := w.rng.Float64(); {
	case len(open) < 2 && x < 0.6:
		h.begin()
	case x < 0.3 && len(open) > 0:
		h.command(open[w.rng.IntN(len(open))])
	case x < 0.45:
		h.edit()
	case x < 0.5:
		h.overlay()
	case x < 0.55 && len(h.plans) > 0: // an old request arrives again
		names := sorted(h.plans)
		h.ask(engine.Apply{Plan: h.plans[names[w.rng.IntN(len(names))]], Actor: "user:ann"}, nil)
	}
}

// open lists the rollouts that are not over, as far as the log says.
func (h *people) open() []string {
	return slices.DeleteFunc(sorted(h.w.oracle.runs), func(n string) bool { return h.w.oracle.runs[n].state.Phase.Terminal() })
}

// begin starts a rollout of a flag; a flag or a component that is taken makes a refusal.
func (h *people) begin() {
	w := h.w
	key := flagKeys[w.rng.IntN(len(flagKeys))]
	p := h.plan(fmt.Sprintf("r%d", len(h.plans)+1), key, w.oracle.defaultOf(key))
	h.plans[p.Name] = p
	h.bad[p.Name] = w.chance(w.mood.harm)
	w.logf("plan %s of %s, harmful %v", p.Name, key, h.bad[p.Name])
	h.ask(engine.Apply{Plan: p, Actor: "user:ann", Reason: "ship it"}, func(err error) { w.oracle.applied(p, err) })
}

func (h *people) command(name string) {
	w := h.w
	c := engine.Command{Rollout: name, Actor: "user:bo", Reason: "because", Full: w.chance(0.2)}
	c.Kind = []rollout.Kind{rollout.Promote, rollout.Promote, rollout.PauseIt, rollout.Resume, rollout.Resume, rollout.Rollback, rollout.Cancel}[w.rng.IntN(7)]
	for range 1 + w.rng.IntN(2) { // the answer was lost, or somebody else had the same idea
		h.ask(c, func(err error) { w.oracle.commanded(c, err) })
	}
}

func (h *people) edit() {
	w := h.w
	key := flagKeys[w.rng.IntN(len(flagKeys))]
	e, err := engine.Seed(env, "user:cy", boolFlag(key, []string{"on", "off"}[w.rng.IntN(2)]))
	if err != nil {
		panic("dst: " + err.Error())
	}
	h.ask(e, nil)
}

// overlay kills a flag, revives it, or excludes units.
func (h *people) overlay() {
	w := h.w
	key := flagKeys[w.rng.IntN(len(flagKeys))]
	e := engine.Edit{Env: env, Actor: "user:cy", Reason: "drill"}
	switch w.rng.IntN(3) {
	case 0:
		e.Put = map[string]json.RawMessage{"kill/" + key: json.RawMessage(`{"flag":"` + key + `"}`)}
	case 1:
		e.Delete = []string{"kill/" + key}
	default:
		body := fmt.Sprintf(`{"id":"x-%s","flag":%q,"match":{"attr":{"name":"unit","op":"eq","value":"unit-%d"}}}`, key, key, w.rng.IntN(4096))
		e.Put = map[string]json.RawMessage{"exclude/x-" + key: json.RawMessage(body)}
	}
	h.ask(e, nil)
}

// takeBack rolls back what is still open once the world is calm.
func (h *people) takeBack() {
	for _, name := range h.open() {
		h.ask(engine.Command{Rollout: name, Kind: rollout.Rollback, Actor: "user:bo", Reason: "enough"}, nil)
	}
}

func (h *people) finished() bool { return h.w.srv.up && !h.w.srv.busy && len(h.open()) == 0 }

func (h *people) unfinished() string {
	var out string
	for _, name := range h.open() {
		s := h.w.oracle.runs[name].state
		out += fmt.Sprintf("%s is %s/%s in stage %d, revision %d, floor %d, %s; ", name, s.Phase, s.Sub, s.Stage, s.Revision, s.Floor, h.waitingFor(name))
	}
	return out
}

// waitingFor names the members that a rollback waits for.
func (h *people) waitingFor(name string) string {
	if !h.w.srv.readable() {
		return "the controller is not there"
	}
	st, err := h.w.srv.ctl.Engine().Rollout(name)
	if err != nil {
		return err.Error()
	}
	proofs := []fleet.Proof{st.Unwind[slp.ClassStore], st.Unwind[slp.ClassWriter]}
	if st.Barrier != nil {
		proofs = append(proofs, *st.Barrier)
	}
	out := "waiting for"
	for _, p := range proofs {
		for _, l := range p.Lines {
			if l.How == fleet.Waiting {
				out += fmt.Sprintf(" %s (%.6s)", l.Instance, l.Boot)
			}
		}
	}
	return out
}

// plan is a short rollout of the flag away from what it serves. A look of its guardrail is two seconds.
func (h *people) plan(name, key, stable string) *plan.Plan {
	w := h.w
	candidate := map[string]string{"on": "off", "off": "on"}[stable]
	p := &plan.Plan{
		Name: name, Environment: env, Owner: "user:ann", Unit: "unit", Salt: name,
		Flag:    plan.FlagChange{Key: key, Stable: stable, Candidate: candidate},
		Cohorts: []plan.Cohort{{Name: "general"}},
		Metrics: map[string]evidence.Metric{evidence.MetricError: {Kind: evidence.KindProportion}},
		Judge: judge.Config{Rollout: name, Alpha: 0.01, PowerFrom: 0.25, Guardrails: []judge.Guardrail{{
			Name: "errors", Role: "guardrail", Metric: evidence.MetricError, Class: judge.ClassE, Stat: "proportion", Test: judge.Threshold,
			WorseBy: judge.Margin{Absolute: 0.2}, Window: 2 * time.Second, MinN: 10, Blips: judge.Blips{Allow: 0, Of: 1},
			OnBreach: judge.ActRollback, OnNoData: judge.ActPause, OnError: judge.ActPause, NoDataAfter: 20 * time.Second,
		}}},
		Rollback: plan.Rollback{
			On: []string{"guardrail:rollback", "component-lost", "operator"}, LeaseTTL: w.mood.ttl,
			CompleteWithin: w.mood.ttl*3/2 + w.mood.drain + 2*time.Second, UnwindWithin: unwindWithin,
		},
	}
	if w.chance(0.5) {
		p.Bundle = []plan.Member{{Component: "checkout", Artifact: "flags:" + key, From: w.oracle.pinned("checkout"), To: flag.ContentDigest([]byte(name))}}
	}
	if w.chance(0.4) {
		p.Stages = append(p.Stages, plan.Stage{Name: "shadow", Mode: "shadow", Cohort: "general", Bake: time.Second})
	}
	p.Stages = append(p.Stages,
		plan.Stage{Name: "canary", Cohort: "general", Exposure: flag.Full / 5, Bake: 2 * time.Second},
		plan.Stage{Name: "half", Cohort: "general", Exposure: flag.Full / 2, Bake: 2 * time.Second},
		plan.Stage{Name: "full", Cohort: "general", Exposure: flag.Full, Holdback: flag.Full / 10, Bake: 2 * time.Second})
	body, err := p.Body()
	if err != nil {
		panic("dst: " + err.Error())
	}
	p.Digest = flag.ContentDigest(body)
	return p
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
