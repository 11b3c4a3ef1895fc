package plan

import (
	"fmt"
	"slices"
	"time"

	"sluice.dev/sluice/internal/judge"
)

// Defaults and limits of the way back.
const (
	defaultLease    = 10 * time.Second
	minLease        = 2 * time.Second
	maxLease        = 60 * time.Second
	defaultAck      = 2 * time.Second
	defaultDrain    = 2 * time.Second
	defaultComplete = 15 * time.Second
	defaultUnwind   = 10 * time.Minute
)

// horizon is the longest time from a revoke until every lease of length ttl given before it has ended, on clocks whose
// rates differ by at most 1 % and tick in 100 ms: ttl*(1+rho)/(1-rho) + 2 granules, rounded up.
func horizon(ttl time.Duration) time.Duration {
	const granule = 100 * time.Millisecond
	return (ttl*101+98)/99 + 2*granule
}

func (c *compiler) rollback(spec *value) {
	v := spec.get("rollback")
	signal := v.get("signal")
	back := Rollback{
		On:       c.causes(v),
		LeaseTTL: durOr(signal.get("leaseTTL"), defaultLease), AckDeadline: durOr(signal.get("ackDeadline"), defaultAck),
		UnwindWithin: durOr(signal.get("unwindWithin"), defaultUnwind), Drain: durOr(v.get("downstream", "drain"), defaultDrain),
	}
	need := horizon(back.LeaseTTL) + back.Drain
	rounded := (need + time.Second - 1).Truncate(time.Second)
	back.CompleteWithin = durOr(signal.get("completeWithin"), max(defaultComplete, rounded))
	c.plan.Rollback = back
	c.clocks(v, need)
}

func durOr(v *value, fallback time.Duration) time.Duration {
	if v.ok {
		return v.dur
	}
	return fallback
}

// clocks checks the durations of the way back against each other.
func (c *compiler) clocks(v *value, need time.Duration) {
	signal, back := v.get("signal"), c.plan.Rollback
	ttl, ack, complete, unwind, drain := signal.get("leaseTTL"), signal.get("ackDeadline"), signal.get("completeWithin"), signal.get("unwindWithin"), v.get("downstream", "drain")
	fine := c.within(ttl, minLease, maxLease)
	fine = c.within(drain, time.Millisecond, 10*time.Minute) && fine
	fine = c.within(complete, time.Second, 24*time.Hour) && fine
	c.within(unwind, time.Second, 7*24*time.Hour)
	c.within(ack, 10*time.Millisecond, time.Hour)
	if complete.ok && fine && complete.dur < need {
		c.fail(complete, "rollback.deadline", fmt.Sprintf("%s is shorter than the %s that a silent member's lease (%s) and drain (%s) may need", quote(complete.text),
			formatDuration(need.Round(time.Millisecond)), formatDuration(back.LeaseTTL), formatDuration(back.Drain)),
			"write at least "+formatDuration((need+100*time.Millisecond-1).Truncate(100*time.Millisecond))+", or shorten leaseTTL or drain")
	}
	if ack.ok && back.AckDeadline > back.CompleteWithin {
		c.fail(ack, "rollback.deadline", fmt.Sprintf("ackDeadline %s is longer than completeWithin %s", quote(ack.text), formatDuration(back.CompleteWithin)), "write a shorter one")
	}
	if unwind.ok && back.UnwindWithin < back.CompleteWithin {
		c.fail(unwind, "rollback.deadline", fmt.Sprintf("unwindWithin %s is shorter than completeWithin %s", quote(unwind.text), formatDuration(back.CompleteWithin)), "stores and writers go back after exposure is off; write a longer one")
	}
}

// causes returns what takes the rollout back. A person always may.
func (c *compiler) causes(v *value) []string {
	on := v.get("on")
	if !on.given {
		return []string{causeGuardrail, causeLost, causeOperator}
	}
	out := c.distinct(on, "")
	if !on.ok {
		return out
	}
	if !slices.Contains(out, causeOperator) {
		out = append(out, causeOperator)
		c.at(on, SevNote, "rollback.on", "an operator can always take a rollout back; operator is added", "add operator")
	}
	acts := slices.ContainsFunc(c.plan.Judge.Guardrails, func(g judge.Guardrail) bool { return g.OnBreach == judge.ActRollback })
	if acts && !slices.Contains(out, causeGuardrail) {
		c.fail(on, "rollback.on", "a guardrail says onBreach: rollback, but guardrail:rollback is not listed", "add "+causeGuardrail+", or let guardrails pause")
	}
	return out
}

// references checks names that lead from one section to another.
func (c *compiler) references(spec *value) {
	for _, v := range spec.get("hypothesis", "expect").list {
		m := v.get("metric")
		_, known := c.plan.Metrics[m.text]
		if m.ok && !known && !c.guards[m.text] {
			c.fail(m, "ref.unknown", "there is no metric or guardrail "+quote(m.text), "declare it under spec.metrics")
		}
	}
	modes := spec.get("docs", "failureModes")
	for _, v := range modes.list {
		c.guarded(v)
	}
	if len(modes.list) == 0 && !modes.given {
		c.at(spec, SevWarning, "docs.failure_modes", "no failure mode is written down", "add docs.failureModes: how could this go wrong, and which guardrail would notice?")
	}
}

// guarded checks that a failure mode would be noticed.
func (c *compiler) guarded(mode *value) {
	guards := mode.get("guards")
	if mode.ok && (guards.blank() || guards.ok && len(guards.list) == 0) {
		c.fail(orElse(guards, mode), "docs.guards", fmt.Sprintf("no guardrail would notice failure mode %s", quote(mode.get("id").text)), "list at least one guardrail under guards")
	}
	names := make([]string, 0, len(c.guards))
	for name := range c.guards {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, g := range guards.list {
		if !g.ok || c.guards[g.text] {
			continue
		}
		fix := "name a guardrail of this specification"
		if n := nearest(g.text, names); n != "" {
			fix = "did you mean " + n + "?"
		}
		c.fail(g, "ref.unknown", "there is no guardrail "+quote(g.text), fix)
	}
}
