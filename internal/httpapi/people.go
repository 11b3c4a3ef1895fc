package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/store"
)

func (a *API) people() {
	huma.Register(a.huma, op("components", http.MethodGet, "/v1/components", "List components and what they serve", "components"), a.components)
	huma.Register(a.huma, op("audit-log", http.MethodGet, "/v1/audit", "Read the record log", "audit"), a.auditLog)
	huma.Register(a.huma, op("audit-head", http.MethodGet, "/v1/audit/head", "Head of the transparency log", "audit"), a.auditHead)
	huma.Register(a.huma, op("audit-verify", http.MethodGet, "/v1/audit/verify", "Recompute the whole log", "audit"), a.auditVerify)
	huma.Register(a.huma, op("create-token", http.MethodPost, "/v1/tokens", "Create a token", "tokens"), a.createToken)
	huma.Register(a.huma, op("list-tokens", http.MethodGet, "/v1/tokens", "List tokens", "tokens"), a.listTokens)
	huma.Register(a.huma, op("revoke-token", http.MethodDelete, "/v1/tokens/{id}", "Revoke a token", "tokens"), a.revokeToken)
	huma.Register(a.huma, op("version", http.MethodGet, "/v1/version", "Version of the server", "server"), a.version)
}

type componentsOutput struct {
	Body struct {
		Components []engine.Component `json:"components"`
		Clients    []ForeignClient    `json:"clients" doc:"callers of OFREP and flagd, which hold no lease"`
	}
}

// ForeignClient is a caller of a protocol that is not ours, and what can be said about what it serves.
type ForeignClient struct {
	Class    string    `json:"class" doc:"ofrep-single, ofrep-bulk, flagd-rpc or flagd-sync"`
	Caller   string    `json:"caller" doc:"the token, or anonymous"`
	Host     string    `json:"host" doc:"address it asks from"`
	Revision uint64    `json:"revision" doc:"of the environment, of its last answer"`
	Delivery string    `json:"delivery" enum:"proven,pending,unproven"`
	Why      string    `json:"why" doc:"what that means, in words"`
	Seen     time.Time `json:"seen"`
	Requests uint64    `json:"requests"`
}

func (a *API) components(ctx context.Context, in *EnvParam) (*componentsOutput, error) {
	out := &componentsOutput{}
	var err error
	if rerr := a.cfg.Controller.Read(ctx, func(e *engine.Engine) { out.Body.Components, err = e.Components(a.envName(*in)) }); rerr != nil {
		return nil, a.fail(rerr)
	}
	out.Body.Clients = []ForeignClient{}
	if a.cfg.Clients != nil {
		out.Body.Clients = append(out.Body.Clients, a.cfg.Clients(a.envName(*in))...)
	}
	return out, a.fail(err)
}

type auditInput struct {
	After   uint64 `query:"after" doc:"sequence to continue from"`
	Rollout string `query:"rollout" maxLength:"128"`
	Kind    string `query:"kind" maxLength:"128"`
	Limit   int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}
type auditOutput struct {
	Body struct {
		Records []audit.Record `json:"records"`
		Next    uint64         `json:"next,omitempty" doc:"pass as after; absent at the end"`
	}
}

func (a *API) auditLog(ctx context.Context, in *auditInput) (*auditOutput, error) {
	recs, err := a.cfg.Store.Records(ctx, store.Query{After: in.After, Rollout: in.Rollout, Kind: in.Kind, Limit: in.Limit})
	if err != nil {
		return nil, a.fail(err)
	}
	out := &auditOutput{}
	out.Body.Records = recs
	if out.Body.Records == nil {
		out.Body.Records = []audit.Record{}
	}
	if len(recs) == in.Limit {
		out.Body.Next = recs[len(recs)-1].Seq
	}
	return out, nil
}

type headOutput struct{ Body audit.TreeHead }

func (a *API) auditHead(ctx context.Context, _ *struct{}) (*headOutput, error) {
	h, err := a.cfg.Store.TreeHead(ctx)
	return &headOutput{Body: h}, a.fail(err)
}

type verifyOutput struct {
	Body struct {
		Records uint64 `json:"records"`
	}
}

func (a *API) auditVerify(ctx context.Context, _ *struct{}) (*verifyOutput, error) {
	n, err := a.cfg.Prover.Verify(ctx)
	if err != nil {
		return nil, problem(http.StatusConflict, "audit.damaged", "keep the data directory as it is and compare with a backup", "%v", err)
	}
	out := &verifyOutput{}
	out.Body.Records = n
	return out, nil
}

// TokenRow is a token without its secret.
type TokenRow struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	Env     string     `json:"env,omitempty"`
	Created time.Time  `json:"created"`
	Revoked *time.Time `json:"revoked,omitempty"`
}

type createTokenInput struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"64" pattern:"^[a-z0-9][a-z0-9._-]*$"`
		Role string `json:"role" enum:"admin,operator,oncall,viewer,component,client"`
		Env  string `json:"env,omitempty" maxLength:"128"`
	}
}
type createTokenOutput struct {
	Body struct {
		TokenRow
		Secret string `json:"secret" doc:"shown once"`
	}
}

func (a *API) createToken(ctx context.Context, in *createTokenInput) (*createTokenOutput, error) {
	if _, err := a.allow(ctx, policy.Tokens, in.Body.Env, in.Body.Name); err != nil {
		return nil, err
	}
	secret, t := NewToken(in.Body.Name, policy.Role(in.Body.Role), in.Body.Env, time.Now())
	if err := a.putToken(ctx, t, "token.create"); err != nil {
		return nil, err
	}
	out := &createTokenOutput{}
	out.Body.TokenRow, out.Body.Secret = tokenRow(t), secret
	return out, nil
}

func (a *API) putToken(ctx context.Context, t store.Token, kind string) error {
	if err := a.cfg.Store.PutToken(ctx, t); err != nil {
		return a.fail(err)
	}
	if err := a.cfg.Tokens.Reload(ctx); err != nil {
		return a.fail(err)
	}
	actor := ActorOf(ctx)
	return a.fail(a.cfg.Controller.Do(ctx, engine.Note{Kind: kind, Env: t.Env, Actor: actor.Name, Facts: map[string]string{"id": t.ID, "name": t.Name, "role": t.Role}}))
}

func tokenRow(t store.Token) TokenRow {
	r := TokenRow{ID: t.ID, Name: t.Name, Role: t.Role, Env: t.Env, Created: t.Created}
	if !t.Revoked.IsZero() {
		r.Revoked = &t.Revoked
	}
	return r
}

type tokensOutput struct {
	Body struct {
		Tokens []TokenRow `json:"tokens"`
	}
}

func (a *API) listTokens(ctx context.Context, _ *struct{}) (*tokensOutput, error) {
	if _, err := a.allow(ctx, policy.Tokens, "", "tokens"); err != nil {
		return nil, err
	}
	list, err := a.cfg.Store.Tokens(ctx)
	if err != nil {
		return nil, a.fail(err)
	}
	out := &tokensOutput{}
	out.Body.Tokens = []TokenRow{}
	for _, t := range list {
		out.Body.Tokens = append(out.Body.Tokens, tokenRow(t))
	}
	return out, nil
}

type tokenInput struct {
	ID string `path:"id" maxLength:"64"`
}

func (a *API) revokeToken(ctx context.Context, in *tokenInput) (*emptyOutput, error) {
	if _, err := a.allow(ctx, policy.Tokens, "", in.ID); err != nil {
		return nil, err
	}
	list, err := a.cfg.Store.Tokens(ctx)
	if err != nil {
		return nil, a.fail(err)
	}
	for _, t := range list {
		if t.ID == in.ID {
			t.Revoked = time.Now().UTC()
			return &emptyOutput{}, a.putToken(ctx, t, "token.revoke")
		}
	}
	return nil, problem(http.StatusNotFound, "token.unknown", "list them with: sluice token list", "no token has id %q", in.ID)
}

type versionOutput struct {
	Body struct {
		Version string `json:"version"`
	}
}

func (a *API) version(context.Context, *struct{}) (*versionOutput, error) {
	out := &versionOutput{}
	out.Body.Version = a.cfg.Version
	return out, nil
}
