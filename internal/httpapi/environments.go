package httpapi

import (
	"context"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/policy"
)

// EnvironmentView is one environment as people see it.
type EnvironmentView struct {
	Name     string       `json:"name"`
	Revision uint64       `json:"revision"`
	Digest   string       `json:"digest"`
	Amnesia  *engine.Lost `json:"amnesia,omitempty" doc:"what a member has proven to be forgotten here: nothing is granted or written until it is adopted"`
}

type environmentInput struct {
	Env string `path:"env" maxLength:"128"`
}

type environmentOutput struct{ Body EnvironmentView }

func (a *API) getEnvironment(ctx context.Context, in *environmentInput) (*environmentOutput, error) {
	env, err := a.environment(ctx, in.Env, 0)
	if err != nil {
		return nil, a.fail(err)
	}
	out := &environmentOutput{Body: EnvironmentView{Name: env.Name, Revision: env.Number, Digest: env.Digest}}
	err = a.cfg.Controller.Read(ctx, func(e *engine.Engine) { out.Body.Amnesia = e.Amnesia(in.Env) })
	return out, a.fail(err)
}

func (a *API) adopt(ctx context.Context, in *allOffInput) (*environmentOutput, error) {
	actor, err := a.allow(ctx, policy.Recover, in.Env, "environment "+in.Env)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Controller.Do(ctx, engine.Adopt{Env: in.Env, Actor: actor.Name, Reason: in.Body.Reason}); err != nil {
		return nil, a.fail(err)
	}
	return a.getEnvironment(ctx, &environmentInput{Env: in.Env})
}
