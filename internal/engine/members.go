package engine

import (
	"errors"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/mutant"
	"sluice.dev/sluice/internal/rollout"
)

// Seen is what the grant path knows of one boot.
type Seen = fleet.Seen

func (env *environment) note(seen []Seen) {
	for _, s := range seen {
		m, ok := env.fleet.Members[s.Boot]
		if !ok {
			continue
		}
		if s.Renewed.After(m.Renewed) {
			m.Renewed, m.Told = s.Renewed, s.Told
		}
		for scope, at := range s.Granted {
			if at.After(m.Granted[scope]) {
				m.Granted[scope] = at
			}
		}
	}
}

// Join is a Hello: the boot is stored before it can get its first lease.
type Join struct {
	Env   string
	Hello slp.Hello
}

func (j Join) apply(e *Engine, o *Output) error {
	env, err := e.env(j.Env)
	if err != nil {
		return err
	}
	_, known := env.fleet.Members[j.Hello.Boot]
	m := env.fleet.Join(j.Hello, e.now)
	m.Renewed = e.now // it is alive now; a Hello grants no lease
	env.admit(m)
	if known {
		return nil
	}
	o.Members = append(o.Members, MemberChange{Env: j.Env, Member: m})
	for _, name := range e.names() {
		r := e.runs[name]
		if r.plan.Environment != j.Env || r.state.Phase.Terminal() {
			continue
		}
		r.intake.Expect(m.Boot, m.Instance, e.now.Unix())
		if env.fleet.Replaces(m) {
			r.count(m.Component).fresh++
		}
		if r.state.Sub == rollout.Arming {
			if err := e.arm(o, env, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Acked carries acknowledgements, prepared contents and a Bye of one boot.
type Acked struct {
	Boot     string
	Acks     []slp.Ack
	Prepared []slp.Prepared
	Active   map[string]uint64
	Bye      bool
}

// Acks is what boots of one environment said since the last look. An answer that cannot be ours (an unknown boot, a
// revision above the head) is left out and named in the error; the others count.
type Acks struct {
	Env  string
	List []Acked
}

func (a Acks) apply(e *Engine, o *Output) error {
	env, err := e.env(a.Env)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range a.List {
		errs = append(errs, e.acked(env, l))
	}
	for _, name := range e.names() {
		r := e.runs[name]
		if r.plan.Environment != a.Env {
			continue
		}
		if r.state.Phase.Terminal() {
			errs = append(errs, e.undone(o, r))
			continue
		}
		if env.lost != nil && !r.state.Back() {
			continue
		}
		for _, l := range a.List {
			if l.Bye {
				r.intake.Lapsed(l.Boot, e.now.Unix())
			}
		}
		errs = append(errs, e.barriers(o, r))
	}
	return errors.Join(errs...)
}

func (e *Engine) acked(env *environment, a Acked) error {
	m, ok := env.fleet.Members[a.Boot]
	if !ok {
		return refusal("boot.unknown", "say Hello again", "boot %q is not a member of %q", a.Boot, env.rev.Name)
	}
	m.Renewed = e.now
	for _, ack := range a.Acks {
		if ack.Rev > env.rev.Number {
			return refusal("ack.future", "this is a bug of the client", "boot %q acknowledges revision %d, the head is %d", a.Boot, ack.Rev, env.rev.Number)
		}
		m.Acknowledge(ack, e.now)
	}
	for _, p := range a.Prepared {
		m.Prepared[p.Scope] = p
	}
	for scope, rev := range a.Active {
		m.Active[scope] = rev
	}
	if a.Bye && m.Bye.IsZero() {
		m.Bye = e.now
	}
	return nil
}

// commitPatience bounds how long a stage waits for members to switch: one that lags does not hold it, because it serves
// the baseline or the stage before until it has caught up, and is left out of the comparison.
const commitPatience = 10 * time.Second

// barriers looks at everything that members' answers or time can complete, and feeds what follows.
func (e *Engine) barriers(o *Output, r *run) error {
	env, err := e.env(r.plan.Environment)
	if err != nil {
		return err
	}
	s := r.state
	switch {
	case s.Phase == rollout.Progressing && s.Sub == rollout.Arming:
		return e.armed(o, env, r)
	case s.Phase == rollout.Progressing && s.Sub == rollout.Exposing:
		ready, _ := env.fleet.Activated(r.plan.Name, s.Revision, r.plan.Rollback.LeaseTTL, e.now)
		if ready || e.now.Sub(s.Since) >= commitPatience {
			return e.feed(o, r, rollout.Event{Kind: rollout.Activated, Actor: "engine"})
		}
	case s.Sub == rollout.Revoking && s.Floor == 0: // the revoke is not shown yet; the deadline runs all the same (I32)
		return e.overdue(o, r)
	case s.Sub == rollout.Revoking:
		return e.exposureOff(o, env, r)
	case s.Sub == rollout.Unwinding:
		return e.unwound(o, env, r)
	}
	return nil
}

// arming asks the fleet who holds the current stage's content; digest names the content.
func (e *Engine) arming(env *environment, r *run) (a fleet.Arming, digest string, err error) {
	p, err := e.prepare(env, r)
	if err != nil {
		return a, "", err
	}
	var components []string
	for _, m := range r.plan.Bundle {
		components = append(components, m.Component)
	}
	share := fleet.PreparedLater
	if r.state.Exposure == 0 {
		share = fleet.PreparedCanary
	}
	return env.fleet.Arm(r.plan.Name, p.Digest, r.plan.Rollback.LeaseTTL, components, share, e.now), p.Digest, nil
}

func (e *Engine) armed(o *Output, env *environment, r *run) error {
	a, digest, err := e.arming(env, r)
	if err != nil {
		return err
	}
	switch {
	case a.Refusal != nil:
		return e.feed(o, r, rollout.Event{Kind: rollout.Refused, Actor: "engine", Member: a.Member,
			Code: a.Refusal.Reject.Code + " (limit " + a.Refusal.Reject.Limit + ", got " + a.Refusal.Reject.Got + ")"})
	case a.Ready:
		// After the patience a stage goes on when some live member holds the content; the others serve the baseline.
		return e.feed(o, r, rollout.Event{Kind: rollout.Armed, Actor: "engine", Digest: digest})
	}
	return nil
}

// revokeOf is what the barriers of a rollback wait for. After a restart or failover the full wait begins again, because
// an earlier leader may have granted a lease just before it ended (L5).
func (r *run) revokeOf(env *environment) fleet.Revoke {
	at := r.state.RevokedAt
	if env.fleet.Started.After(at) {
		at = env.fleet.Started
	}
	return fleet.Revoke{
		Scope: r.plan.Name, Floor: r.state.Floor, Y: fleet.Y(r.plan.Rollback.LeaseTTL), At: at, Drain: r.plan.Rollback.Drain,
	}
}

func (e *Engine) exposureOff(o *Output, env *environment, r *run) error {
	p := env.fleet.Barrier(r.revokeOf(env), fleet.Exposed, e.now)
	r.proof = &p
	if p.Complete {
		a := artifactOf("barrier", p)
		o.Artifacts = append(o.Artifacts, a)
		return e.feed(o, r, rollout.Event{Kind: rollout.Proven, Actor: "engine", Digest: a.Digest})
	}
	return e.overdue(o, r)
}

func (e *Engine) unwound(o *Output, env *environment, r *run) error {
	for _, class := range fleet.UnwindOrder {
		p := env.fleet.Unwound(r.revokeOf(env), class, e.now)
		was := r.unwind[class].Complete
		r.unwind[class] = p
		if !p.Complete {
			return e.overdue(o, r)
		}
		if !was { // the next class may go back now
			o.Effects = append(o.Effects, Effect{Kind: Broadcast, Env: env.rev.Name, Event: slp.Event{Kind: slp.EventState}})
		}
	}
	a := artifactOf("unwind", r.unwind)
	o.Artifacts = append(o.Artifacts, a)
	return e.feed(o, r, rollout.Event{Kind: rollout.Unwound, Actor: "engine", Digest: a.Digest})
}

func (e *Engine) overdue(o *Output, r *run) error {
	if mutant.Is(mutant.NoDeadline) {
		return nil
	}
	return e.feed(o, r, rollout.Event{Kind: rollout.Overdue, Actor: "engine"})
}

// unwindClass is the class that may go back now, "" while none may.
func (r *run) unwindClass() string {
	if mutant.Is(mutant.UnwindEarly) && r.state.Sub == rollout.Revoking {
		return slp.ClassStore
	}
	if r.state.Sub != rollout.Unwinding {
		return ""
	}
	for _, class := range fleet.UnwindOrder {
		if !r.unwind[class].Complete && !mutant.Is(mutant.WritersFirst) {
			return class
		}
	}
	return fleet.UnwindOrder[len(fleet.UnwindOrder)-1]
}

// Reported is evidence of one boot.
type Reported struct {
	Env     string
	Request slp.EvidenceRequest
	Answer  *slp.EvidenceAnswer // filled in
}

func (v Reported) apply(e *Engine, o *Output) error {
	env, err := e.env(v.Env)
	if err != nil {
		return err
	}
	q := v.Request
	if _, ok := env.fleet.Members[q.Boot]; !ok {
		return refusal("boot.unknown", "say Hello again", "boot %q is not a member of %q", q.Boot, v.Env)
	}
	for _, name := range e.names() {
		r := e.runs[name]
		if r.plan.Environment != v.Env || r.state.Phase.Terminal() {
			continue
		}
		// A rollout that opened later has seen fewer messages, but all that could hold something of it.
		accepted, _ := r.intake.Add(q.Instance, q.Boot, q.Seq, q.Through, q.Lost, blocksOf(q, name))
		v.Answer.Accepted = max(v.Answer.Accepted, accepted)
	}
	if v.Answer.Accepted == 0 {
		v.Answer.Accepted = q.Seq // no rollout is open: nothing to keep
	}
	v.Answer.ServerNow = e.now.UnixMicro()
	return nil
}
