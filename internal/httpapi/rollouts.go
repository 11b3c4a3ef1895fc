package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/report"
	"sluice.dev/sluice/internal/rollout"
)

// RolloutRow is a rollout in a list.
type RolloutRow struct {
	Name     string    `json:"name"`
	Env      string    `json:"env"`
	Phase    string    `json:"phase"`
	Where    string    `json:"where" doc:"phase and sub-phase or pause reason, in words"`
	Stage    string    `json:"stage"`
	Exposure float64   `json:"exposure" doc:"percent of the stage's cohort"`
	Started  time.Time `json:"started"`
	Sentence string    `json:"sentence"`
}

// RolloutView is everything there is to see of one rollout.
type RolloutView struct {
	RolloutRow
	Status rollout.Status `json:"status"`
}

func view(st rollout.Status) RolloutView {
	return RolloutView{Status: st, RolloutRow: RolloutRow{
		Name: st.State.Name, Env: st.State.Env, Phase: string(st.State.Phase), Where: report.Where(st.State),
		Stage: report.StageName(st.Plan, st.State), Exposure: float64(st.State.Exposure) / 1000,
		Started: st.State.Started, Sentence: report.State(st),
	}}
}

// NameParam is the name in a path. It is exported because huma reads exported embedded structs only.
type NameParam struct {
	Name string `path:"name" maxLength:"128"`
}

// ApplyBody is a spec as text.
type ApplyBody struct {
	Source string `json:"source" doc:"the YAML text: kind Rollout or Flag" maxLength:"1048576"`
	File   string `json:"file,omitempty" doc:"name used in findings" maxLength:"512"`
	DryRun bool   `json:"dryRun,omitempty" doc:"say what would happen, change nothing"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// Applied is the answer to an apply.
type Applied struct {
	Kind     string         `json:"kind"`
	Name     string         `json:"name"`
	Digest   string         `json:"digest,omitempty"`
	Changed  bool           `json:"changed"`
	Findings []plan.Finding `json:"findings" doc:"warnings and notes"`
}

// ActBody is a person's reason.
type ActBody struct {
	Reason string `json:"reason,omitempty" maxLength:"1000"`
	Full   bool   `json:"full,omitempty" doc:"promote: straight to the last stage"`
}

func (a *API) rollouts() {
	huma.Register(a.huma, op("list-rollouts", http.MethodGet, "/v1/rollouts", "List rollouts", "rollouts"), a.listRollouts)
	huma.Register(a.huma, op("get-rollout", http.MethodGet, "/v1/rollouts/{name}", "Show one rollout", "rollouts"), a.getRollout)
	huma.Register(a.huma, op("apply", http.MethodPost, "/v1/apply", "Submit a Rollout or a Flag", "rollouts"), a.apply)
	huma.Register(a.huma, op("lint", http.MethodPost, "/v1/lint", "Check a Rollout spec", "rollouts"), a.lint)
	huma.Register(a.huma, op("why", http.MethodGet, "/v1/rollouts/{name}/why", "Why the rollout stands where it stands", "rollouts"), a.why)
	huma.Register(a.huma, op("slices", http.MethodGet, "/v1/rollouts/{name}/slices", "Worst segments and sources by evidence", "rollouts"), a.slices)
	huma.Register(a.huma, op("replay", http.MethodGet, "/v1/rollouts/{name}/replay", "Judge the stored evidence again and compare", "rollouts"), a.replay)
	huma.Register(a.huma, op("proof", http.MethodGet, "/v1/rollouts/{name}/proof", "Proof document for offline checking", "rollouts"), a.proof)
	for verb, kind := range map[string]rollout.Kind{
		"promote": rollout.Promote, "pause": rollout.PauseIt, "resume": rollout.Resume, "rollback": rollout.Rollback, "cancel": rollout.Cancel,
		"undo": rollout.Undo,
	} {
		huma.Register(a.huma, op(verb, http.MethodPost, "/v1/rollouts/{name}/"+verb, "Act: "+verb, "rollouts"), a.act(kind, actionOf(kind)))
	}
	huma.Register(a.huma, op("get-environment", http.MethodGet, "/v1/environments/{env}", "Show an environment", "environments"), a.getEnvironment)
	huma.Register(a.huma, op("adopt", http.MethodPost, "/v1/environments/{env}/adopt", "Go on from a store that has forgotten something", "environments"), a.adopt)
	huma.Register(a.huma, op("all-off", http.MethodPost, "/v1/environments/{env}/off", "Take everything exposed in an environment back, now", "environments"), a.allOff)
}

// actionOf is what policy calls an act. An undo is asked of whoever may roll back.
func actionOf(kind rollout.Kind) policy.Action {
	if kind == rollout.Undo {
		return policy.Rollback
	}
	return policy.Action(kind)
}

type allOffInput struct {
	Env  string `path:"env" maxLength:"128"`
	Body ActBody
}

// allOff needs no more than a rollback does.
func (a *API) allOff(ctx context.Context, in *allOffInput) (*listOutput, error) {
	actor, err := a.allow(ctx, policy.Rollback, in.Env, "environment "+in.Env)
	if err != nil {
		return nil, err
	}
	out := &listOutput{}
	out.Body.Rollouts = []RolloutRow{}
	var open []string
	err = a.cfg.Controller.Read(ctx, func(e *engine.Engine) {
		for _, s := range e.Rollouts() {
			if s.Env == in.Env && !s.Phase.Terminal() {
				open = append(open, s.Name)
			}
		}
	})
	if err != nil {
		return nil, a.fail(err)
	}
	if err := a.cfg.Controller.Do(ctx, engine.AllOff{Env: in.Env, Actor: actor.Name, Reason: in.Body.Reason}); err != nil {
		return nil, a.fail(err)
	}
	for _, name := range open {
		st, err := a.status(ctx, name)
		if err != nil {
			return nil, a.fail(err)
		}
		out.Body.Rollouts = append(out.Body.Rollouts, view(st).RolloutRow)
	}
	return out, nil
}

type listOutput struct {
	Body struct {
		Rollouts []RolloutRow `json:"rollouts"`
	}
}

func (a *API) listRollouts(ctx context.Context, _ *struct{}) (*listOutput, error) {
	out := &listOutput{}
	out.Body.Rollouts = []RolloutRow{}
	err := a.cfg.Controller.Read(ctx, func(e *engine.Engine) {
		for _, s := range e.Rollouts() {
			if st, err := e.Rollout(s.Name); err == nil {
				out.Body.Rollouts = append(out.Body.Rollouts, view(st).RolloutRow)
			}
		}
	})
	return out, a.fail(err)
}

func (a *API) status(ctx context.Context, name string) (st rollout.Status, err error) {
	if rerr := a.cfg.Controller.Read(ctx, func(e *engine.Engine) { st, err = e.Rollout(name) }); rerr != nil {
		return st, rerr
	}
	return st, err
}

type rolloutOutput struct {
	Body RolloutView
}

func (a *API) getRollout(ctx context.Context, in *NameParam) (*rolloutOutput, error) {
	st, err := a.status(ctx, in.Name)
	if err != nil {
		return nil, a.fail(err)
	}
	return &rolloutOutput{Body: view(st)}, nil
}

type applyInput struct{ Body ApplyBody }
type applyOutput struct{ Body Applied }

func (a *API) apply(ctx context.Context, in *applyInput) (*applyOutput, error) {
	kind, err := plan.KindOf([]byte(in.Body.Source))
	if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, "spec.kind", "start the file with apiVersion and kind", "%v", err)
	}
	if kind == "Flag" {
		return a.applyFlag(ctx, in.Body)
	}
	p, findings := plan.Parse(in.Body.File, []byte(in.Body.Source))
	if p == nil {
		return nil, specProblem(findings)
	}
	actor, err := a.allow(ctx, policy.Apply, p.Environment, p.Name)
	if err != nil {
		return nil, err
	}
	out := &applyOutput{Body: Applied{Kind: kind, Name: p.Name, Digest: p.Digest, Findings: orEmpty(findings)}}
	if in.Body.DryRun {
		var cerr error
		if err := a.cfg.Controller.Read(ctx, func(e *engine.Engine) { cerr = e.Check(p) }); err != nil {
			return nil, a.fail(err)
		}
		return out, a.fail(cerr)
	}
	if err := a.cfg.Controller.Do(ctx, engine.Apply{Plan: p, Actor: actor.Name, Reason: in.Body.Reason}); err != nil {
		return nil, a.fail(err)
	}
	out.Body.Changed = true
	return out, nil
}

func specProblem(findings []plan.Finding) *Problem {
	errs := 0
	for _, f := range findings {
		if f.Severity == plan.SevError {
			errs++
		}
	}
	p := problem(http.StatusUnprocessableEntity, "spec.invalid", "mend each finding", "the spec has %d errors", errs)
	p.Findings = findings
	return p
}

func orEmpty(f []plan.Finding) []plan.Finding {
	if f == nil {
		return []plan.Finding{}
	}
	return f
}

type lintOutput struct {
	Body struct {
		OK       bool           `json:"ok"`
		Digest   string         `json:"digest,omitempty"`
		Findings []plan.Finding `json:"findings"`
	}
}

func (a *API) lint(_ context.Context, in *applyInput) (*lintOutput, error) {
	p, findings := plan.Parse(in.Body.File, []byte(in.Body.Source))
	out := &lintOutput{}
	out.Body.OK, out.Body.Findings = p != nil, orEmpty(findings)
	if p != nil {
		out.Body.Digest = p.Digest
	}
	return out, nil
}

type actInput struct {
	NameParam
	Body ActBody
}

func (a *API) act(kind rollout.Kind, action policy.Action) func(context.Context, *actInput) (*rolloutOutput, error) {
	return func(ctx context.Context, in *actInput) (*rolloutOutput, error) {
		st, err := a.status(ctx, in.Name)
		if err != nil {
			return nil, a.fail(err)
		}
		actor, err := a.allow(ctx, action, st.State.Env, in.Name)
		if err != nil {
			return nil, err
		}
		ev := engine.Command{Rollout: in.Name, Kind: kind, Full: in.Body.Full, Actor: actor.Name, Reason: in.Body.Reason}
		if err := a.cfg.Controller.Do(ctx, ev); err != nil {
			return nil, a.fail(err)
		}
		return a.getRollout(ctx, &NameParam{Name: in.Name})
	}
}

// WhyBody explains where a rollout stands.
type WhyBody struct {
	Sentence string          `json:"sentence"`
	Cause    *rollout.Cause  `json:"cause,omitempty"`
	Verdicts []judge.Verdict `json:"verdicts" doc:"of the last judged second, one per lane"`
	Basis    string          `json:"basis,omitempty" doc:"what the decision rests on: rule, window, age of the data, digest of the evidence"`
	Lines    []string        `json:"lines" doc:"the verdicts in words"`
}

type whyOutput struct{ Body WhyBody }

func (a *API) why(ctx context.Context, in *NameParam) (*whyOutput, error) {
	st, err := a.status(ctx, in.Name)
	if err != nil {
		return nil, a.fail(err)
	}
	out := &whyOutput{Body: WhyBody{Sentence: report.State(st), Cause: st.State.Cause, Basis: report.Basis(st.State), Verdicts: []judge.Verdict{}, Lines: []string{}}}
	for _, v := range st.Report.Verdicts {
		out.Body.Verdicts = append(out.Body.Verdicts, v)
		out.Body.Lines = append(out.Body.Lines, report.Mark(v.Result)+"  "+judge.Sentence(v))
	}
	return out, nil
}

type rawOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) proof(ctx context.Context, in *NameParam) (*rawOutput, error) {
	if _, err := a.status(ctx, in.Name); err != nil {
		return nil, a.fail(err)
	}
	doc, err := a.cfg.Prover.Proof(ctx, in.Name)
	if err != nil {
		return nil, a.fail(err)
	}
	return &rawOutput{ContentType: "application/json", Body: doc}, nil
}

// SlicesBody ranks what may be to blame.
type SlicesBody struct {
	Slices []judge.Slice `json:"slices" doc:"strongest evidence of harm first; identical slices are one"`
	Lines  []string      `json:"lines" doc:"the slices in words"`

	Responses []judge.Response `json:"responses" doc:"each guardrail's effect against exposure, with a forecast of the next stage"`
}

type slicesOutput struct{ Body SlicesBody }

func (a *API) slices(ctx context.Context, in *NameParam) (*slicesOutput, error) {
	out := &slicesOutput{Body: SlicesBody{Slices: []judge.Slice{}, Lines: []string{}}}
	var list []judge.Slice
	var err error
	responses := func() []judge.Response { return nil }
	rerr := a.cfg.Controller.Read(ctx, func(e *engine.Engine) {
		list, err = e.Slices(in.Name)
		responses = e.Responses(in.Name)
	})
	if rerr != nil {
		return nil, a.fail(rerr)
	}
	out.Body.Responses = responses()
	for _, s := range list {
		out.Body.Slices = append(out.Body.Slices, s)
		out.Body.Lines = append(out.Body.Lines, judge.Sentence(s.Verdict))
	}
	return out, a.fail(err)
}

type replayOutput struct{ Body control.Replayed }

func (a *API) replay(ctx context.Context, in *NameParam) (*replayOutput, error) {
	if _, err := a.status(ctx, in.Name); err != nil {
		return nil, a.fail(err)
	}
	r, err := control.Replay(ctx, a.cfg.Store, in.Name)
	return &replayOutput{Body: r}, a.fail(err)
}
