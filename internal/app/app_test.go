package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

// server starts an App in memory (dir "") or on a directory and returns a client with an admin token.
func server(t *testing.T, dir string) (*app.App, *client.Client) {
	t.Helper()
	ctx := context.Background()
	a, err := app.Start(ctx, app.Config{DataDir: dir, Listen: "127.0.0.1:0", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	token := a.AdminToken()
	if token == "" {
		if token, err = a.Token(ctx, "again", policy.Admin, ""); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(a.URL(), token)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

const flagYAML = `apiVersion: sluice/v1
kind: Flag
metadata: {name: spend7d}
spec:
  type: string
  variants: {v14: v14, v15: v15}
  default: v14
`

func apply(t *testing.T, c *client.Client, source string) error {
	t.Helper()
	return c.Post(context.Background(), "/v1/apply", map[string]any{"source": source, "file": "f.yaml"}, nil)
}

func TestFlagLife(t *testing.T) {
	_, c := server(t, "")
	ctx := context.Background()
	if err := apply(t, c, flagYAML); err != nil {
		t.Fatal(err)
	}
	var ev struct{ Variant, Reason string }
	eval := func() string {
		t.Helper()
		if err := c.Post(ctx, "/v1/flags/spend7d/evaluate", map[string]any{"targetingKey": "u1"}, &ev); err != nil {
			t.Fatal(err)
		}
		return ev.Variant + " " + ev.Reason
	}
	if got, want := eval(), "v14 DEFAULT"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := c.Post(ctx, "/v1/flags/spend7d/kill", map[string]any{"reason": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := eval(), "v14 KILLED"; got != want {
		t.Errorf("after kill: got %q, want %q", got, want)
	}
	if err := c.Post(ctx, "/v1/flags/spend7d/revive", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := eval(), "v14 DEFAULT"; got != want {
		t.Errorf("after revive: got %q, want %q", got, want)
	}
}

// TestBadInput: a coded answer that names what is wrong and what to do, and a log that has not grown.
func TestBadInput(t *testing.T) {
	_, c := server(t, "")
	if err := apply(t, c, flagYAML); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, method, path string
		body               any
		status             int
		code               string
	}{
		{"spec is no YAML", "POST", "/v1/apply", map[string]any{"source": "kind: [", "file": "x"}, 422, "spec.kind"},
		{"alias bomb", "POST", "/v1/apply", map[string]any{"source": "kind: Rollout\na: &a [1]\nb: *a\n"}, 422, "spec.invalid"},
		{"flag without variants", "POST", "/v1/apply", map[string]any{"source": "apiVersion: sluice/v1\nkind: Flag\nmetadata: {name: x}\nspec: {type: string, default: a}\n"}, 422, "spec.invalid"},
		{"unknown kind", "POST", "/v1/apply", map[string]any{"source": "apiVersion: sluice/v1\nkind: Scenario\n"}, 422, "spec.invalid"},
		{"unknown field", "POST", "/v1/apply", map[string]any{"source": "x", "sauce": 1}, 422, "request.invalid"},
		{"not JSON", "POST", "/v1/apply", []byte("{"), 400, "request.invalid"},
		{"no body", "POST", "/v1/apply", nil, 400, "request.invalid"},
		{"unknown rollout", "GET", "/v1/rollouts/none", nil, 404, "rollout.unknown"},
		{"act on unknown rollout", "POST", "/v1/rollouts/none/rollback", map[string]any{}, 404, "rollout.unknown"},
		{"unknown flag", "GET", "/v1/flags/none", nil, 404, "flag.unknown"},
		{"unknown env", "GET", "/v1/flags?env=none", nil, 404, "env.unknown"},
		{"bad flag body", "PUT", "/v1/flags/x", map[string]any{"key": "x"}, 422, "config.invalid"},
		{"flag with rollout", "PUT", "/v1/flags/spend7d", map[string]any{"key": "spend7d", "type": "string", "default": "a", "variants": map[string]string{"a": "a", "b": "b"},
			"rollout": map[string]any{"id": "r", "stable": "a", "candidate": "b", "salt": "s", "cohorts": []any{}}}, 422, "flag.rollout"},
		{"kill an unknown flag twice removed", "POST", "/v1/flags/none/revive", map[string]any{}, 404, "object.unknown"},
		{"token with unknown role", "POST", "/v1/tokens", map[string]any{"name": "x", "role": "root"}, 422, "request.invalid"},
		{"audit limit", "GET", "/v1/audit?limit=-1", nil, 422, "request.invalid"},
		{"reason too long", "POST", "/v1/rollouts/none/pause", map[string]any{"reason": strings.Repeat("x", 1001)}, 422, "request.invalid"},
	}
	var before, after struct{ Size uint64 }
	ctx := context.Background()
	if err := c.Get(ctx, "/v1/audit/head", &before); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := c.Do(ctx, tt.method, tt.path, tt.body, nil)
			p, ok := err.(*client.Problem)
			if !ok {
				t.Fatalf("got %v, want a problem with code %s", err, tt.code)
			}
			if p.Status != tt.status || p.Code != tt.code || p.Detail == "" {
				t.Errorf("got %d %s %q, want %d %s", p.Status, p.Code, p.Detail, tt.status, tt.code)
			}
		})
	}
	if err := c.Get(ctx, "/v1/audit/head", &after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("the log grew from %d to %d records by refused requests", before.Size, after.Size)
	}
}

func TestTokens(t *testing.T) {
	a, admin := server(t, "")
	ctx := context.Background()
	viewer := as(t, a, policy.Viewer)
	component := as(t, a, policy.Component)
	for _, tt := range []struct {
		name   string
		c      *client.Client
		method string
		path   string
		status int
	}{
		{"viewer reads", viewer, "GET", "/v1/flags", 0},
		{"viewer cannot kill", viewer, "POST", "/v1/flags/x/kill", 403},
		{"viewer cannot see tokens", viewer, "GET", "/v1/tokens", 403},
		{"component cannot read the log", component, "GET", "/v1/audit", 403},
		{"component reads its snapshot", component, "GET", "/v1/snapshot", 0},
		{"admin sees tokens", admin, "GET", "/v1/tokens", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body any
			if tt.method == "POST" {
				body = map[string]any{}
			}
			err := tt.c.Do(ctx, tt.method, tt.path, body, nil)
			status := 0
			if p, ok := err.(*client.Problem); ok {
				status = p.Status
			} else if err != nil {
				t.Fatal(err)
			}
			if status != tt.status {
				t.Errorf("got %d (%v), want %d", status, err, tt.status)
			}
		})
	}
	var log struct {
		Records []struct{ Kind, Actor string }
	}
	if err := admin.Get(ctx, "/v1/audit?kind=denied", &log); err != nil {
		t.Fatal(err)
	}
	if len(log.Records) != 3 || log.Records[0].Actor != "token:viewer" || log.Records[2].Actor != "token:component" {
		t.Errorf("denials in the log: got %+v, want the viewer's two and the component's", log.Records)
	}
	none, err := client.New(a.URL(), "slc_wrong")
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := none.Get(ctx, "/v1/flags", nil).(*client.Problem); !ok || p.Status != http.StatusUnauthorized {
		t.Errorf("wrong token: got %v, want 401", p)
	}
}

func as(t *testing.T, a *app.App, role policy.Role) *client.Client {
	t.Helper()
	secret, err := a.Token(context.Background(), string(role), role, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(a.URL(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRestartKeepsEverything: flags, log and tokens are there again; a second process on the directory is refused.
func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	first, err := app.Start(ctx, app.Config{DataDir: dir, Listen: "127.0.0.1:0", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	token := first.AdminToken()
	c, err := client.New(first.URL(), token)
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(t, c, flagYAML); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Start(ctx, app.Config{DataDir: dir, Listen: "127.0.0.1:0"}); err == nil {
		t.Error("a second server opened the same directory")
	}
	var before json.RawMessage
	if err := c.Get(ctx, "/v1/flags", &before); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	second, _ := server(t, dir)
	if second.AdminToken() != "" {
		t.Error("a second admin token was made")
	}
	c, err = client.New(second.URL(), token)
	if err != nil {
		t.Fatal(err)
	}
	var after json.RawMessage
	if err := c.Get(ctx, "/v1/flags", &after); err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Errorf("flags changed over a restart:\n%s\n%s", before, after)
	}
	var v struct{ Records uint64 }
	if err := c.Get(ctx, "/v1/audit/verify", &v); err != nil || v.Records == 0 {
		t.Errorf("verify: %d records, %v", v.Records, err)
	}
}
