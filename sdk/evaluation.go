package sluice

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sdk/flag"
)

// Evaluation is one answer with what telemetry wants to know of it.
type Evaluation struct {
	Key  string
	Unit string // targeting key of the request, "" when there is none
	Env  string // environment
	flag.Result
	Age   time.Duration // how long ago the server was heard last (Client.Age)
	Stale bool          // Client.Ready would say ErrStale
}

// Hook is told of every evaluation. Evaluated is called in the goroutine that evaluates, after the decision: it should be
// quick; a panic in it is recovered and counted. Evaluations with a hook cost a reading of the clock more.
type Hook interface {
	Evaluated(ctx context.Context, e Evaluation)
}

// HookFunc is a function as a Hook.
type HookFunc func(ctx context.Context, e Evaluation)

// Evaluated calls the function.
func (f HookFunc) Evaluated(ctx context.Context, e Evaluation) { f(ctx, e) }

// Attribute is a telemetry attribute: Value is a string, a bool or an int64.
type Attribute struct {
	Key   string
	Value any
}

// EventName is the name of the event whose attributes Evaluation.Attributes returns (OpenTelemetry semantic conventions
// 1.44).
const EventName = "feature_flag.evaluation"

// Attributes returns the attributes of the event EventName, in a fixed order, and ours after them.
func (e *Evaluation) Attributes() []Attribute {
	list := []Attribute{{"feature_flag.key", e.Key}, {"feature_flag.provider.name", "sluice"}}
	add := func(key, value string) {
		if value != "" {
			list = append(list, Attribute{key, value})
		}
	}
	if e.Variant != nil {
		add("feature_flag.result.variant", e.Variant.Name)
	}
	add("feature_flag.result.reason", strings.ToLower(flag.OpenFeatureReason(e.Reason)))
	add("feature_flag.context.id", e.Unit)
	add("feature_flag.set.id", e.Env)
	if e.Revision > 0 {
		add("feature_flag.version", strconv.FormatUint(e.Revision, 10))
	}
	add("error.type", strings.ToLower(e.ErrCode))
	add("sluice.rollout", e.Rollout)
	add("sluice.cohort", e.Cohort)
	add("sluice.arm", armName(e.Served))
	list = append(list, Attribute{"sluice.age_ms", e.Age.Milliseconds()})
	if e.Stale {
		list = append(list, Attribute{"sluice.stale", true})
	}
	return list
}

func armName(a flag.Arm) string {
	switch a {
	case flag.ArmBaseline:
		return "baseline"
	case flag.ArmExposed:
		return "exposed"
	}
	return ""
}

// SpanAttributes returns what the request in ctx was decided to be, for its span: sluice.rollout, sluice.revision and
// sluice.arm of the open rollouts that were evaluated so far. Of several the values are joined by commas, in one order for
// all. Without a request or a rollout it returns nil. Pinned requests are told as pinned.
func SpanAttributes(ctx context.Context) []Attribute {
	q, _ := ctx.Value(requestKey{}).(*Request)
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var rollouts, revisions, arms []string
	for i := range q.decisions {
		d := &q.decisions[i]
		if arm := armName(d.result.Served); arm != "" && !slices.Contains(rollouts, d.result.Rollout) {
			if d.fell {
				arm = armName(flag.ArmBaseline)
			}
			rollouts, revisions, arms = append(rollouts, d.result.Rollout), append(revisions, strconv.FormatUint(d.rev, 10)), append(arms, arm)
		}
	}
	if rollouts == nil {
		return nil
	}
	return []Attribute{{"sluice.rollout", strings.Join(rollouts, ",")}, {"sluice.revision", strings.Join(revisions, ",")}, {"sluice.arm", strings.Join(arms, ",")}}
}

// Evaluate returns the whole answer for the request in ctx, with its age.
func (f *Flag) Evaluate(ctx context.Context) Evaluation {
	e := Evaluation{Key: f.key}
	q := f.client.requestOf(ctx)
	if q != nil {
		e.Unit = q.unit.TargetingKey()
	}
	f.eval(ctx, &e.Result)
	f.client.tell(ctx, &e)
	return e
}

// Settled returns the answer that everybody gets now, whoever asks; ok is false while something but the default may decide,
// and where a hook wants to be told. It spares the building of a context for For.
func (f *Flag) Settled() (r flag.Result, ok bool) {
	b := f.now()
	if b.settled == nil || f.client.cfg.Hook != nil {
		return r, false
	}
	return b.handle.Eval(nil, false), true
}

// For returns the answer for a unit outside any request, e.g. where another library brings the context. Nothing says what
// comes of it, so it is no evidence, and a revoke waits for the drain bound. ctx is for the hook only.
func (f *Flag) For(ctx context.Context, unit *flag.Context) (r flag.Result) {
	f.loose(&r, unit)
	if f.client.cfg.Hook != nil {
		e := Evaluation{Key: f.key, Unit: unit.TargetingKey(), Result: r}
		f.client.tell(ctx, &e)
	}
	return r
}

// tell completes an evaluation and hands it to the hook.
func (c *Client) tell(ctx context.Context, e *Evaluation) {
	e.Env, e.Age = c.current.Load().wire.Env, c.Age()
	e.Stale = e.Age > c.shortestLease() && c.Ready() != nil
	if c.cfg.Hook == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil && c.counts.panics.Add(1) == 1 {
			c.cfg.Logf("sluice: panic in the hook: %v", p)
		}
	}()
	c.cfg.Hook.Evaluated(ctx, *e)
}

// Current returns the request of this client in ctx, nil when there is none.
func (c *Client) Current(ctx context.Context) *Request { return c.requestOf(ctx) }

// Unit returns the unit that the request was begun for.
func (q *Request) Unit() string { return q.unit.TargetingKey() }
