package sluicetest_test

import (
	"testing"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/sluicetest"
)

const spend = `apiVersion: sluice/v1
kind: Flag
metadata: {name: spend7d}
spec: {type: string, variants: {v14: v14, v15: v15}, default: v15, off: v14}
`

// TestAServiceSeesWhatTheServerDoes is how a service is tested against a kill switch.
func TestAServiceSeesWhatTheServerDoes(t *testing.T) {
	s := sluicetest.Start(t)
	s.Apply(spend)
	client := s.Client("checkout")
	serve := func() string {
		ctx, req := client.Begin(t.Context(), "account-7", flag.Str("region", "eu"))
		defer req.End(nil)
		return client.Flag("spend7d").String(ctx, "none")
	}
	if got := serve(); got != "v15" {
		t.Errorf("at the start %q", got)
	}
	s.Kill("spend7d")
	s.Settled(client)
	if got := serve(); got != "v14" {
		t.Errorf("killed: %q", got)
	}
	s.Revive("spend7d")
	s.Settled(client)
	if got := serve(); got != "v15" {
		t.Errorf("revived: %q", got)
	}
}
