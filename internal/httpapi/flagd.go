package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/policy"
)

// exchange registers reading and writing flags in flagd's format.
func (a *API) exchange() {
	huma.Register(a.huma, op("export-flags", http.MethodGet, "/v1/flags/export", "All flags as flagd's JSON", "flags"), a.exportFlags)
	huma.Register(a.huma, op("import-flags", http.MethodPost, "/v1/flags/import", "Create or replace flags from flagd's JSON, all or none", "flags"), a.importFlags)
}

type exportInput struct {
	EnvParam
	At uint64 `query:"at" doc:"revision; the head when absent"`
}

type exportOutput struct{ Body json.RawMessage }

func (a *API) exportFlags(ctx context.Context, in *exportInput) (*exportOutput, error) {
	env, err := a.environment(ctx, a.envName(in.EnvParam), in.At)
	if err != nil {
		return nil, a.fail(err)
	}
	cfg, err := flag.ParseObjects(env.Objects())
	if err != nil {
		return nil, a.fail(err)
	}
	raw, err := cfg.Flagd(env.Name)
	return &exportOutput{Body: raw}, a.fail(err)
}

type importInput struct {
	EnvParam
	DryRun bool            `query:"dryRun" doc:"only say what would change"`
	Reason string          `query:"reason" maxLength:"1000"`
	Body   json.RawMessage `doc:"flagd's JSON"`
}

// ImportRow is one flag of an import.
type ImportRow struct {
	Key    string `json:"key"`
	Change string `json:"change" enum:"created,replaced,unchanged"`
}

type importOutput struct {
	Body struct {
		Flags    []ImportRow `json:"flags"`
		Revision uint64      `json:"revision" doc:"of the environment afterwards"`
	}
}

// importFlags puts every flag of the file in one revision. Flags that the file does not name stay; a flag that an open
// rollout holds makes the whole import be refused.
func (a *API) importFlags(ctx context.Context, in *importInput) (*importOutput, error) {
	name := a.envName(in.EnvParam)
	actor, err := a.allow(ctx, policy.EditFlag, name, "import")
	if err != nil {
		return nil, err
	}
	flags, err := flag.ParseFlagd(in.Body)
	if err != nil {
		return nil, importProblem(err)
	}
	env, err := a.environment(ctx, name, 0)
	if err != nil {
		return nil, a.fail(err)
	}
	out := &importOutput{}
	e, err := engine.Seed(name, actor.Name, flags...)
	if err != nil {
		return nil, a.fail(err)
	}
	e.Reason, e.IfHead = in.Reason, env.Number
	for _, f := range flags {
		_, old, had := env.Find("flag/" + f.Key)
		row := ImportRow{Key: f.Key, Change: "created"}
		switch {
		case had && string(old) == string(e.Put["flag/"+f.Key]):
			row.Change = "unchanged"
			delete(e.Put, "flag/"+f.Key)
		case had:
			row.Change = "replaced"
		}
		out.Body.Flags = append(out.Body.Flags, row)
	}
	out.Body.Revision = env.Number
	if in.DryRun || len(e.Put) == 0 {
		return out, nil
	}
	if err := a.cfg.Controller.Do(ctx, e); err != nil {
		return nil, a.fail(err)
	}
	out.Body.Revision++
	return out, nil
}

// importProblem lists everything that has no counterpart here.
func importProblem(err error) *Problem {
	p := problem(http.StatusUnprocessableEntity, "flagd.invalid", "change what errors names and import again; nothing was imported", "the file cannot be imported as it is")
	for _, e := range flag.Errors(err) {
		p.Errors = append(p.Errors, Detail{Location: e.Path, Message: e.Text + " (" + e.Code + ")"})
	}
	return p
}
