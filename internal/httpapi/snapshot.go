package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/report"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
)

// MeBody is the caller.
type MeBody struct {
	policy.Actor
	May        []policy.Action `json:"may"`
	DefaultEnv string          `json:"defaultEnv" doc:"environment of requests that name none"`
	Version    string          `json:"version" doc:"of the server"`
}

type meOutput struct{ Body MeBody }

func (a *API) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	b := MeBody{Actor: ActorOf(ctx), May: []policy.Action{}, DefaultEnv: a.cfg.DefaultEnv, Version: a.cfg.Version}
	for _, act := range []policy.Action{policy.Apply, policy.Promote, policy.Pause, policy.Resume, policy.Rollback, policy.Cancel, policy.EditFlag, policy.KillFlag, policy.Tokens} {
		if policy.Decide(b.Actor, act, "").Allow {
			b.May = append(b.May, act)
		}
	}
	return &meOutput{Body: b}, nil
}

type noteInput struct {
	NameParam
	Body ActBody
}

// note puts a person's words about a rollout into the log. Acting never waits for them: a rollback is explained afterwards.
func (a *API) note(ctx context.Context, in *noteInput) (*emptyOutput, error) {
	st, err := a.status(ctx, in.Name)
	if err != nil {
		return nil, a.fail(err)
	}
	actor, err := a.allow(ctx, policy.Rollback, st.State.Env, in.Name)
	if err != nil {
		return nil, err
	}
	if in.Body.Reason == "" {
		return nil, problem(http.StatusUnprocessableEntity, "reason.empty", "write the reason into body.reason", "there is no reason to note")
	}
	facts := map[string]string{"rollout": in.Name, "reason": in.Body.Reason}
	return &emptyOutput{}, a.fail(a.cfg.Controller.Do(ctx, engine.Note{Kind: "rollout.note", Env: st.State.Env, Actor: actor.Name, Facts: facts}))
}

// snapshotPath reports whether a page address asks for the text or the data of a rollout instead of the application.
func snapshotPath(path string) bool {
	return strings.HasPrefix(path, "/r/") && (strings.HasSuffix(path, ".md") || strings.HasSuffix(path, ".json")) && strings.Count(path, "/") == 2
}

// Snapshots answers /r/NAME.md and /r/NAME.json, which need no scripts to be read, and leaves everything else to next.
func (a *API) Snapshots(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !snapshotPath(r.URL.Path) || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
			next.ServeHTTP(w, r)
			return
		}
		name, text := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/r/"), ".md")
		name = strings.TrimSuffix(name, ".json")
		st, err := a.status(r.Context(), name)
		if err != nil {
			a.refuse(w, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !text {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(mustJSON(view(st))) // the reader is gone: nothing to do
			return
		}
		recs, err := a.cfg.Store.Records(r.Context(), store.Query{Rollout: name, Limit: 500})
		if err != nil {
			a.refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
		var b strings.Builder
		writeStatus(&b, st)
		fmt.Fprintf(&b, "\n## Records\n\n| record | at | what | who | reason |\n|---|---|---|---|---|\n")
		for _, rec := range recs {
			fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", rec.Seq, rec.At.UTC().Format("2006-01-02T15:04:05.000Z"), rec.Kind, cell(rec.Actor), cell(rec.Reason))
		}
		_, _ = w.Write([]byte(b.String())) // the reader is gone: nothing to do
	})
}

func (a *API) refuse(w http.ResponseWriter, err error) {
	if p, ok := a.fail(err).(*Problem); ok {
		writeProblem(w, p)
	}
}

func writeStatus(b *strings.Builder, st rollout.Status) {
	fmt.Fprintf(b, "# %s\n\n%s\n\n", st.State.Name, report.State(st))
	fmt.Fprintf(b, "- state: %s\n- exposed: %s\n- plan: `%s`\n- owner: %s\n", report.Where(st.State), report.Percent(st.State.Exposure), st.State.Plan, st.Plan.Owner)
	if st.State.DigestBefore != "" {
		fmt.Fprintf(b, "- digest before: `%s`\n", st.State.DigestBefore)
	}
	if st.State.DigestAfter != "" {
		fmt.Fprintf(b, "- digest after: `%s`\n", st.State.DigestAfter)
	}
	fmt.Fprintf(b, "\n## Guardrails\n\n| verdict | why |\n|---|---|\n")
	for _, v := range st.Report.Verdicts {
		if v.Dim == "total" || v.Result == judge.Fail {
			fmt.Fprintf(b, "| %s | %s |\n", report.Mark(v.Result), cell(judge.Sentence(v)))
		}
	}
	if st.Barrier == nil {
		return
	}
	fmt.Fprintf(b, "\n## Rollback\n\n| component | instance | proven by | at |\n|---|---|---|---|\n")
	lines := st.Barrier.Lines
	for _, class := range []string{"store", "writer"} {
		lines = append(lines[:len(lines):len(lines)], st.Unwind[class].Lines...)
	}
	for _, l := range lines {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", cell(l.Component), cell(l.Instance), l.How, report.Clock(l.At))
	}
}

// cell makes a text safe inside a table of Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ", "<", "&lt;").Replace(s)
}
