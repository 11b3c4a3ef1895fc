package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/store"
)

// S20: a server on a restored backup knows less than its members. Those that have seen more are refused, the others join; its
// epoch lies above that of every leader from before.
func TestRestoredServerRefusesMembersThatKnowMore(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	a, c := server(t, filepath.Join(dir, "data"))
	token, err := a.Token(ctx, "shop", policy.Component, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(t, c, crashFlag); err != nil {
		t.Fatal(err)
	}
	before := hello(t, a, token, slp.Seen{Rev: 1})
	from, err := store.OpenSource(ctx, filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	if _, err := store.Backup(ctx, from, filepath.Join(dir, "backup")); err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // what the backup does not know
		if err := apply(t, c, strings.Replace(crashFlag, "name: price", fmt.Sprintf("name: later-%d", i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	ahead := hello(t, a, token, slp.Seen{Rev: 1})
	if _, err := store.RestoreDir(ctx, filepath.Join(dir, "backup"), filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	restored, _ := server(t, filepath.Join(dir, "again"))
	seen := slp.Seen{Rev: ahead.Snapshot.Head.Rev, Signed: ahead.Sig}
	if got := hello(t, restored, token, seen); got.Code != "amnesia" {
		t.Errorf("a member that has seen revision %d is answered %+v", seen.Rev, got)
	}
	after := hello(t, restored, token, slp.Seen{Rev: before.Snapshot.Head.Rev, Signed: before.Sig})
	if after.Code != "" || after.Snapshot.Head != before.Snapshot.Head || after.Epoch <= before.Epoch {
		t.Errorf("a member that has seen no more is answered %+v, before the restore %+v", after, before)
	}
}

type helloAnswer struct {
	Code     string
	Sig      string
	Epoch    uint64
	Snapshot struct{ Head slp.Head }
}

func hello(t *testing.T, a *app.App, token string, seen slp.Seen) (out helloAnswer) {
	t.Helper()
	body, err := json.Marshal(slp.Hello{Instance: "shop-1", Component: "shop", Class: slp.ClassReader, Boot: strings.Repeat("0", 31) + "1", Seen: seen})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, a.URL()+"/v1/hello", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
