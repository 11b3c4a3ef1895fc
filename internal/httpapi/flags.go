package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/revision"
)

// FlagRow is one flag with where it lives.
type FlagRow struct {
	Key   string          `json:"key"`
	Scope string          `json:"scope" doc:"base, or the open rollout that holds it"`
	Flag  json.RawMessage `json:"flag"`
	Kill  bool            `json:"killed"`
}

func (a *API) flags() {
	huma.Register(a.huma, op("list-flags", http.MethodGet, "/v1/flags", "List flags", "flags"), a.listFlags)
	huma.Register(a.huma, op("get-flag", http.MethodGet, "/v1/flags/{key}", "Show a flag, now or at a revision", "flags"), a.getFlag)
	huma.Register(a.huma, op("put-flag", http.MethodPut, "/v1/flags/{key}", "Create or replace a flag", "flags"), a.putFlag)
	huma.Register(a.huma, op("delete-flag", http.MethodDelete, "/v1/flags/{key}", "Delete a flag", "flags"), a.deleteFlag)
	huma.Register(a.huma, op("kill-flag", http.MethodPost, "/v1/flags/{key}/kill", "Switch a flag off for everybody", "flags"), a.killFlag(true))
	huma.Register(a.huma, op("revive-flag", http.MethodPost, "/v1/flags/{key}/revive", "Take a kill switch back", "flags"), a.killFlag(false))
	huma.Register(a.huma, op("evaluate-flag", http.MethodPost, "/v1/flags/{key}/evaluate", "Evaluate a flag and say why", "flags"), a.evaluate)
}

// EnvParam names the environment of a request.
type EnvParam struct {
	Env string `query:"env" maxLength:"128" doc:"environment; the default one when absent"`
}

func (a *API) envName(in EnvParam) string {
	if in.Env == "" {
		return a.cfg.DefaultEnv
	}
	return in.Env
}

func (a *API) environment(ctx context.Context, name string, rev uint64) (env revision.Env, err error) {
	if rev != 0 {
		return control.LoadEnv(ctx, a.cfg.Store, name, rev)
	}
	if rerr := a.cfg.Controller.Read(ctx, func(e *engine.Engine) { env, err = e.Environment(name) }); rerr != nil {
		return env, rerr
	}
	return env, err
}

type flagsOutput struct {
	Body struct {
		Revision uint64    `json:"revision"`
		Digest   string    `json:"digest"`
		Flags    []FlagRow `json:"flags"`
	}
}

func (a *API) listFlags(ctx context.Context, in *EnvParam) (*flagsOutput, error) {
	env, err := a.environment(ctx, a.envName(*in), 0)
	if err != nil {
		return nil, a.fail(err)
	}
	out := &flagsOutput{}
	out.Body.Revision, out.Body.Digest, out.Body.Flags = env.Number, env.Digest, []FlagRow{}
	for _, line := range revision.Diff(revision.New(env.Name), env) {
		if key, ok := strings.CutPrefix(line.Path, "flag/"); ok {
			out.Body.Flags = append(out.Body.Flags, row(env, key, line.Scope, line.New))
		}
	}
	return out, nil
}

func row(env revision.Env, key, scope string, raw json.RawMessage) FlagRow {
	_, killed := env.Scopes[revision.Overlay].Objects["kill/"+key]
	return FlagRow{Key: key, Scope: scope, Flag: raw, Kill: killed}
}

type flagInput struct {
	EnvParam
	Key string `path:"key" maxLength:"128"`
	At  uint64 `query:"at" doc:"revision; the head when absent"`
}

type flagOutput struct {
	Body struct {
		FlagRow
		Revision uint64 `json:"revision"`
	}
}

func (a *API) getFlag(ctx context.Context, in *flagInput) (*flagOutput, error) {
	env, err := a.environment(ctx, a.envName(in.EnvParam), in.At)
	if err != nil {
		return nil, a.fail(err)
	}
	scope, raw, ok := env.Find("flag/" + in.Key)
	if !ok {
		return nil, problem(http.StatusNotFound, "flag.unknown", "list them with: sluice flag get", "flag %q does not exist in %s", in.Key, env.Name)
	}
	out := &flagOutput{}
	out.Body.FlagRow, out.Body.Revision = row(env, in.Key, scope, raw), env.Number
	return out, nil
}

type putFlagInput struct {
	EnvParam
	Key     string          `path:"key" maxLength:"128"`
	IfMatch uint64          `query:"ifRevision" doc:"apply only to this revision"`
	Reason  string          `query:"reason" maxLength:"1000"`
	Body    json.RawMessage `doc:"the flag as JSON"`
}

func (a *API) putFlag(ctx context.Context, in *putFlagInput) (*flagOutput, error) {
	return a.edit(ctx, a.envName(in.EnvParam), in.Key, policy.EditFlag, engine.Edit{
		Put: map[string]json.RawMessage{"flag/" + in.Key: in.Body}, IfHead: in.IfMatch, Reason: in.Reason})
}

func (a *API) edit(ctx context.Context, env, key string, act policy.Action, e engine.Edit) (*flagOutput, error) {
	actor, err := a.allow(ctx, act, env, key)
	if err != nil {
		return nil, err
	}
	e.Env, e.Actor = env, actor.Name
	if err := a.cfg.Controller.Do(ctx, e); err != nil {
		return nil, a.fail(err)
	}
	return a.getFlag(ctx, &flagInput{EnvParam: EnvParam{Env: env}, Key: key})
}

type emptyOutput struct{}

func (a *API) deleteFlag(ctx context.Context, in *flagInput) (*emptyOutput, error) {
	env := a.envName(in.EnvParam)
	actor, err := a.allow(ctx, policy.EditFlag, env, in.Key)
	if err != nil {
		return nil, err
	}
	err = a.cfg.Controller.Do(ctx, engine.Edit{Env: env, Delete: []string{"flag/" + in.Key}, Actor: actor.Name})
	return &emptyOutput{}, a.fail(err)
}

type killInput struct {
	EnvParam
	Key  string `path:"key" maxLength:"128"`
	Body ActBody
}

func (a *API) killFlag(kill bool) func(context.Context, *killInput) (*flagOutput, error) {
	return func(ctx context.Context, in *killInput) (*flagOutput, error) {
		path := "kill/" + in.Key
		e := engine.Edit{Reason: in.Body.Reason}
		if kill {
			raw, err := flag.Canonical(flag.Kill{Flag: in.Key, Reason: in.Body.Reason})
			if err != nil {
				return nil, a.fail(err)
			}
			e.Put = map[string]json.RawMessage{path: raw}
		} else {
			e.Delete = []string{path}
		}
		return a.edit(ctx, a.envName(in.EnvParam), in.Key, policy.KillFlag, e)
	}
}

// applyFlag handles kind Flag of POST /v1/apply.
func (a *API) applyFlag(ctx context.Context, b ApplyBody) (*applyOutput, error) {
	spec, findings := plan.ParseFlag(b.File, []byte(b.Source))
	if spec == nil {
		return nil, specProblem(findings)
	}
	env := a.envName(EnvParam{Env: spec.Environment})
	actor, err := a.allow(ctx, policy.EditFlag, env, spec.Flag.Key)
	if err != nil {
		return nil, err
	}
	e, err := engine.Seed(env, actor.Name, spec.Flag)
	if err != nil {
		return nil, a.fail(err)
	}
	out := &applyOutput{Body: Applied{Kind: "Flag", Name: spec.Flag.Key, Findings: orEmpty(findings), Changed: !b.DryRun}}
	if b.DryRun {
		return out, nil
	}
	e.Reason = b.Reason
	return out, a.fail(a.cfg.Controller.Do(ctx, e))
}

// EvaluateBody is an evaluation context.
type EvaluateBody struct {
	TargetingKey string         `json:"targetingKey,omitempty"`
	Attributes   map[string]any `json:"attributes,omitempty" doc:"strings, numbers, booleans"`
	At           uint64         `json:"at,omitempty" doc:"revision; the head when absent"`
	AtTime       *time.Time     `json:"atTime,omitempty" doc:"the revision that was the head then, instead of at"`
	Why          bool           `json:"why,omitempty" doc:"list everything that may decide, in order"`
}

// Evaluated is the result with its reason.
type Evaluated struct {
	Key      string          `json:"key"`
	Variant  string          `json:"variant"`
	Value    json.RawMessage `json:"value"`
	Reason   string          `json:"reason"`
	Rule     string          `json:"rule,omitempty"`
	Arm      string          `json:"arm,omitempty" doc:"assigned arm of the open rollout"`
	Cohort   string          `json:"cohort,omitempty"`
	Revision uint64          `json:"revision"`
	Error    string          `json:"errorCode,omitempty"`
	Steps    []flag.Step     `json:"steps,omitempty" doc:"everything that may decide, in order of precedence"`
}

type evaluateInput struct {
	EnvParam
	Key  string `path:"key" maxLength:"128"`
	Body EvaluateBody
}
type evaluateOutput struct{ Body Evaluated }

func (a *API) evaluate(ctx context.Context, in *evaluateInput) (*evaluateOutput, error) {
	env, err := a.environmentThen(ctx, a.envName(in.EnvParam), in.Body)
	if err != nil {
		return nil, a.fail(err)
	}
	snap, err := env.Compile()
	if err != nil {
		return nil, a.fail(err)
	}
	h := snap.Flag(in.Key)
	if h == nil {
		return nil, problem(http.StatusNotFound, "flag.unknown", "list them with: sluice flag get", "flag %q does not exist in %s", in.Key, env.Name)
	}
	fctx, err := contextOf(in.Body)
	if err != nil {
		return nil, err
	}
	// The server answers as a member with a live lease would.
	r := h.Eval(fctx, true)
	out := Evaluated{Key: in.Key, Reason: r.Reason, Rule: r.RuleName, Cohort: r.Cohort, Revision: r.Revision, Error: r.ErrCode, Arm: armName(r.Assigned)}
	if r.Variant != nil {
		out.Variant, out.Value = r.Variant.Name, r.Variant.Raw
	}
	if in.Body.Why {
		out.Steps = h.Trace(fctx, true)
	}
	return &evaluateOutput{Body: out}, nil
}

// environmentThen returns the environment at the revision or the time that was asked for.
func (a *API) environmentThen(ctx context.Context, name string, b EvaluateBody) (revision.Env, error) {
	if b.AtTime == nil {
		return a.environment(ctx, name, b.At)
	}
	head, err := a.environment(ctx, name, 0)
	if err != nil {
		return head, err
	}
	later := sort.Search(int(head.Number), func(i int) bool { // the first revision after that time
		rev, rerr := a.cfg.Store.Revision(ctx, name, uint64(i)+1)
		err = errors.Join(err, rerr)
		return rerr != nil || rev.At.After(*b.AtTime)
	})
	switch {
	case err != nil:
		return head, err
	case later == 0:
		return head, problem(http.StatusNotFound, "revision.none", "ask for a later time", "environment %q has no revision at %s", name, b.AtTime.UTC().Format(time.RFC3339))
	}
	return a.environment(ctx, name, uint64(later))
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

// contextOf types the attributes of a JSON context; there is no coercion.
func contextOf(b EvaluateBody) (*flag.Context, error) {
	var attrs []flag.Attr
	for name, v := range b.Attributes {
		switch v := v.(type) {
		case string:
			attrs = append(attrs, flag.Str(name, v))
		case bool:
			attrs = append(attrs, flag.BoolAttr(name, v))
		case float64:
			attrs = append(attrs, flag.Num(name, v))
		default:
			return nil, problem(http.StatusUnprocessableEntity, "context.type", "send strings, numbers or booleans", "attribute %q has a value of another kind", name)
		}
	}
	return flag.NewContext(b.TargetingKey, attrs...), nil
}
