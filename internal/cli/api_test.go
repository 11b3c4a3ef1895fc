package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

// apiServer is a server in memory whose description names a fixed version.
func apiServer(t *testing.T) *app.App {
	t.Helper()
	a, err := app.Start(context.Background(), app.Config{Listen: "127.0.0.1:0", Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a
}

func fetchText(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", url, resp.StatusCode, err)
	}
	return b
}

// TestOpenAPIFileIsFresh: api/openapi.yaml is what the server says of itself; -update writes it.
func TestOpenAPIFileIsFresh(t *testing.T) {
	got := fetchText(t, apiServer(t).URL()+"/openapi.yaml")
	path := filepath.Join("..", "..", "api", "openapi.yaml")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("api/openapi.yaml is not what the server describes; see the difference with: go test ./internal/cli -run OpenAPI -update && git diff api")
	}
}

// operation is one of the description's.
type operation struct{ Method, Path, ID string }

func operations(t *testing.T, a *app.App) []operation {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(fetchText(t, a.URL()+"/openapi.json"), &doc); err != nil {
		t.Fatal(err)
	}
	var out []operation
	for path, methods := range doc.Paths {
		for method, op := range methods {
			out = append(out, operation{strings.ToUpper(method), path, op.OperationID})
		}
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// reading are operations that send a body and change nothing.
var reading = []string{"lint", "evaluate-flag"}

// bodies are valid ones of operations for which an empty object is not.
var bodies = map[string]any{
	"apply":        map[string]any{"source": quickSpec("denied", "1s")},
	"note":         map[string]any{"reason": "x"},
	"create-token": map[string]any{"name": "x", "role": "viewer"},
	"put-flag":     json.RawMessage(`{"key":"spend7d","type":"string","variants":{"v14":"v14","v15":"v15"},"default":"v15"}`),
}

// TestEveryMutatingRouteAsksPolicy: whoever may only read is refused by each operation that changes something, the refusal
// stands in the log, and nothing has changed.
func TestEveryMutatingRouteAsksPolicy(t *testing.T) {
	a := apiServer(t)
	ctx := context.Background()
	admin, err := client.New(a.URL(), a.AdminToken())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"flag.yaml", "slow.yaml"} {
		if err := admin.Post(ctx, "/v1/apply", map[string]any{"source": commonFiles[file]}, nil); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := a.Token(ctx, "onlooker", policy.Viewer, "")
	if err != nil {
		t.Fatal(err)
	}
	viewer, err := client.New(a.URL(), secret)
	if err != nil {
		t.Fatal(err)
	}
	before := everything(t, admin)
	fill := strings.NewReplacer("{name}", "slow", "{key}", "spend7d", "{env}", "production", "{id}", "000000000000")
	tested := 0
	for _, op := range operations(t, a) {
		if op.Method == http.MethodGet || slices.Contains(reading, op.ID) {
			continue
		}
		tested++
		t.Run(op.ID, func(t *testing.T) {
			was := denials(t, admin)
			var body any = map[string]any{}
			if b, ok := bodies[op.ID]; ok {
				body = b
			}
			if op.Method == http.MethodDelete {
				body = nil
			}
			err := viewer.Do(ctx, op.Method, fill.Replace(op.Path), body, nil)
			p, ok := err.(*client.Problem)
			if !ok || p.Status != http.StatusForbidden || p.Code != "denied" || p.Detail == "" {
				t.Fatalf("%s %s as a viewer: got %v, want 403 denied", op.Method, op.Path, err)
			}
			if now := denials(t, admin); len(now) != len(was)+1 || now[len(now)-1] != "token:onlooker" {
				t.Errorf("the refusal is not in the log: %v", now)
			}
		})
	}
	if tested < 10 {
		t.Errorf("only %d operations were tested", tested)
	}
	if after := everything(t, admin); after != before {
		t.Errorf("refused requests changed something:\nbefore %s\nafter  %s", before, after)
	}
}

// TestFleetRoutesRefuseOthers: the members' routes take a component's token and no other.
func TestFleetRoutesRefuseOthers(t *testing.T) {
	a := apiServer(t)
	for _, role := range policy.Roles {
		secret, err := a.Token(context.Background(), string(role), role, "")
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(a.URL(), secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/v1/hello", "/v1/renew", "/v1/ack", "/v1/evidence"} {
			err := c.Post(context.Background(), path, map[string]any{}, nil)
			p, _ := err.(*client.Problem)
			refused := p != nil && p.Status == http.StatusForbidden
			if may := policy.Decide(policy.Actor{Role: role}, policy.Fleet, "").Allow; refused == may {
				t.Errorf("%s as %s: got %v; the role may: %v", path, role, err, may)
			}
		}
	}
}

// everything is the configuration, the rollouts' phases and the tokens, as JSON.
func everything(t *testing.T, c *client.Client) string {
	t.Helper()
	var b strings.Builder
	var rollouts struct {
		Rollouts []struct{ Name, Phase string }
	}
	if err := c.Get(context.Background(), "/v1/rollouts", &rollouts); err != nil {
		t.Fatal(err)
	}
	for _, r := range rollouts.Rollouts {
		b.WriteString(r.Name + " " + r.Phase + "\n")
	}
	for _, path := range []string{"/v1/flags", "/v1/tokens"} {
		raw, err := c.Raw(context.Background(), "GET", path, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(raw)
	}
	return b.String()
}

// denials are the actors of the log's refusals, oldest first.
func denials(t *testing.T, c *client.Client) []string {
	t.Helper()
	var log struct{ Records []struct{ Actor string } }
	if err := c.Get(context.Background(), "/v1/audit?kind=denied&limit=500", &log); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range log.Records {
		out = append(out, r.Actor)
	}
	return out
}
