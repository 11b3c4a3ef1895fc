package app_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

// TestRestoredBackupIsHeldUntilItIsAdopted (S20): a server that came back from an old backup meets a member that holds a
// newer head signed by its own key. It writes and grants nothing, still takes rollbacks, and goes on above everything seen
// once it is adopted. A member that claims the same without a signature is only kept out itself.
func TestRestoredBackupIsHeldUntilItIsAdopted(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	live, backup, cache := filepath.Join(root, "live"), filepath.Join(root, "backup"), filepath.Join(root, "cache")
	listen := "127.0.0.1:0"
	var admin, component string
	start := func() (*app.App, *client.Client) {
		t.Helper()
		a, err := app.Start(ctx, app.Config{DataDir: live, Listen: listen, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		listen = strings.TrimPrefix(a.URL(), "http://")
		if secret := a.AdminToken(); secret != "" {
			admin = secret
		}
		if component == "" {
			if component, err = a.Token(ctx, "shop", policy.Component, ""); err != nil {
				t.Fatal(err)
			}
		}
		c, err := client.New(a.URL(), admin)
		if err != nil {
			t.Fatal(err)
		}
		return a, c
	}
	stop := func(a *app.App) {
		t.Helper()
		if err := a.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	join := func(dir string) *sluice.Client {
		t.Helper()
		m, err := sluice.New(ctx, sluice.Config{URL: "http://" + listen, Token: component, Component: "shop", Instance: "shop-1", CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, c := start()
	if err := apply(t, c, flagYAML); err != nil {
		t.Fatal(err)
	}
	stop(a)
	copyDir(t, backup, live)
	a, c = start()
	for i := range 3 {
		if err := apply(t, c, strings.ReplaceAll(flagYAML, "spend7d", fmt.Sprintf("later%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	m := join(cache)
	seen := m.Status().Head.Rev
	if err := m.Close(ctx); err != nil {
		t.Fatal(err)
	}
	stop(a)
	if err := os.RemoveAll(live); err != nil {
		t.Fatal(err)
	}
	copyDir(t, live, backup)

	a, c = start()
	defer func() { stop(a) }()
	fleet, err := client.New(a.URL(), component)
	if err != nil {
		t.Fatal(err)
	}
	liar := slp.Hello{Instance: "liar", Boot: strings.Repeat("ab", 16), Component: "shop", Class: slp.ClassReader, Seen: slp.Seen{Rev: 1 << 40}}
	if p, ok := fleet.Post(ctx, "/v1/hello", liar, nil).(*client.Problem); !ok || p.Status != 409 || p.Code != "head.unsigned" {
		t.Fatalf("an unsigned claim is answered %+v", p)
	}
	if err := apply(t, c, strings.ReplaceAll(flagYAML, "spend7d", "after-the-liar")); err != nil {
		t.Errorf("one liar holds everybody: %v", err)
	}
	var list struct {
		Components []struct{ Instance, Status string }
	}
	if err := c.Get(ctx, "/v1/components", &list); err != nil || len(list.Components) == 0 || list.Components[len(list.Components)-1].Status != "quarantined" {
		t.Errorf("components %+v, %v; want the liar in quarantine", list.Components, err)
	}

	m = join(cache) // it starts from its cache, because the server refuses it
	held := func() bool {
		var env struct{ Amnesia *struct{ Rev uint64 } }
		return c.Get(ctx, "/v1/environments/production", &env) == nil && env.Amnesia != nil && env.Amnesia.Rev == seen
	}
	for deadline := time.Now().Add(time.Minute); !held(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no amnesia although a member has proven it")
		}
	}
	if p, ok := apply(t, c, strings.ReplaceAll(flagYAML, "spend7d", "more")).(*client.Problem); !ok || p.Status != 409 || p.Code != "amnesia" || !strings.Contains(p.Fix, "recover --adopt") {
		t.Errorf("a write in amnesia is answered %+v", p)
	}
	if err := c.Post(ctx, "/v1/environments/production/off", map[string]any{}, nil); err != nil {
		t.Errorf("taking back is refused in amnesia: %v", err)
	}
	if err := m.Close(ctx); err == nil {
		t.Log("the refused member could say goodbye")
	}
	var env struct {
		Revision uint64
		Amnesia  *struct{ Rev uint64 }
	}
	if err := c.Post(ctx, "/v1/environments/production/adopt", map[string]any{"reason": "the newer store is lost"}, &env); err != nil {
		t.Fatal(err)
	}
	if env.Revision <= seen || env.Amnesia != nil {
		t.Errorf("adopted at %+v, want a number above %d", env, seen)
	}
	m = join(cache)
	defer func() { _ = m.Close(ctx) }()
	if head := m.Status().Head.Rev; head < env.Revision {
		t.Errorf("the member stands at %d, adopted was %d", head, env.Revision)
	}
	if err := apply(t, c, strings.ReplaceAll(flagYAML, "spend7d", "more")); err != nil {
		t.Errorf("after the adoption: %v", err)
	}
}

// copyDir copies a data directory with the permissions that a server wants of it.
func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
