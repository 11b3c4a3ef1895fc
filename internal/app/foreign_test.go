package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/policy"
)

// call sends a request with headers as name, value pairs and returns the answer with its body.
func call(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(raw)
}

const (
	evaluateOne = "/ofrep/v1/evaluate/flags/spend7d"
	evaluateAll = "/ofrep/v1/evaluate/flags"
	unit        = `{"context":{"targetingKey":"u1"}}`
)

// TestForeignTokens: who may evaluate over OFREP, with which header, and what a client's token is good for.
func TestForeignTokens(t *testing.T) {
	a, c := server(t, "")
	if err := apply(t, c, flagYAML); err != nil {
		t.Fatal(err)
	}
	token := func(role policy.Role) string {
		s, err := a.Token(context.Background(), "t-"+string(role), role, "")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, role := range policy.Roles {
		secret := token(role)
		for _, header := range [][2]string{{"Authorization", "Bearer " + secret}, {"X-API-Key", secret}} {
			if resp, body := call(t, "POST", a.URL()+evaluateOne, unit, header[0], header[1]); resp.StatusCode != 200 || !strings.Contains(body, `"value":"v14"`) {
				t.Errorf("%s with %s: %d %s", role, header[0], resp.StatusCode, body)
			}
		}
	}
	for name, headers := range map[string][]string{
		"none": {}, "wrong": {"Authorization", "Bearer slc_00"}, "session": {"Cookie", "sluice=x"}, "wrong key": {"X-API-Key", "x"},
	} {
		if resp, _ := call(t, "POST", a.URL()+evaluateOne, unit, headers...); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("token %s: %d", name, resp.StatusCode)
		}
	}
	for _, path := range []string{"/v1/flags", "/v1/snapshot", "/v1/audit"} {
		if resp, _ := call(t, "GET", a.URL()+path, "", "Authorization", "Bearer "+token(policy.Client)); resp.StatusCode != http.StatusForbidden {
			t.Errorf("a client's token opens %s: %d", path, resp.StatusCode)
		}
	}
	if resp, _ := call(t, "GET", a.URL()+"/v1/flags", "", "X-API-Key", token(policy.Admin)); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("X-API-Key opens our own routes: %d", resp.StatusCode)
	}
}

// TestForeignReadsItsWrites: an edit that was acknowledged is what the next evaluation answers, in its own environment only.
func TestForeignReadsItsWrites(t *testing.T) {
	a, c := server(t, "")
	if err := apply(t, c, flagYAML); err != nil {
		t.Fatal(err)
	}
	auth := []string{"Authorization", "Bearer " + a.AdminToken()}
	_, _ = call(t, "POST", a.URL()+"/v1/flags/spend7d/kill", `{"reason":"test"}`, append(auth, "Content-Type", "application/json")...)
	if _, body := call(t, "POST", a.URL()+evaluateOne, unit, auth...); !strings.Contains(body, `"reason":"DISABLED"`) {
		t.Errorf("after the kill: %s", body)
	}
	resp, _ := call(t, "POST", a.URL()+evaluateAll, unit, auth...)
	if resp, body := call(t, "POST", a.URL()+evaluateAll, unit, append(auth, "If-None-Match", resp.Header.Get("ETag"))...); resp.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("same again: %d %q", resp.StatusCode, body)
	}
	if resp, body := call(t, "POST", a.URL()+evaluateOne+"?env=nosuch", unit, auth...); resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown environment: %d %s", resp.StatusCode, body)
	}
}

// TestForeignOrigins: pages of other origins may evaluate with a token and read the answer, tag and refusal; nothing else
// of ours opens to them.
func TestForeignOrigins(t *testing.T) {
	a, c := server(t, "")
	if err := apply(t, c, flagYAML); err != nil {
		t.Fatal(err)
	}
	cross := []string{"Origin", "https://shop.example", "Sec-Fetch-Site", "cross-site"}
	resp, _ := call(t, "OPTIONS", a.URL()+evaluateAll, "", append(cross, "Access-Control-Request-Method", "POST")...)
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "If-None-Match") {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = call(t, "POST", a.URL()+evaluateAll, unit, append(cross, "Authorization", "Bearer "+a.AdminToken())...)
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("evaluation: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := call(t, "POST", a.URL()+evaluateAll, unit, cross...); resp.StatusCode != 401 || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("without token: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := call(t, "POST", a.URL()+"/v1/flags/spend7d/kill", "{}", append(cross, "Authorization", "Bearer "+a.AdminToken())...); resp.StatusCode != 403 {
		t.Errorf("our own routes: %d", resp.StatusCode)
	}
}

// TestAnonymous: without tokens one may do what the server was told and no more, and no other origin may.
func TestAnonymous(t *testing.T) {
	a, err := app.Start(t.Context(), app.Config{Listen: "127.0.0.1:0", Version: "test", Anonymous: policy.Client})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop(context.Background()) }()
	if resp, body := call(t, "POST", a.URL()+evaluateAll, unit, "Origin", "https://evil.example"); resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %s %v", resp.StatusCode, body, resp.Header)
	}
	if resp, _ := call(t, "GET", a.URL()+"/v1/flags", ""); resp.StatusCode != 401 {
		t.Errorf("our own routes: %d", resp.StatusCode)
	}
	if _, err := app.Start(t.Context(), app.Config{Listen: "127.0.0.1:0", Anonymous: policy.Admin}); err == nil {
		t.Error("everybody became an admin")
	}
}

// TestForeignRateLimit: the limit that the server was told reaches the client as 429 with Retry-After.
func TestForeignRateLimit(t *testing.T) {
	a, err := app.Start(t.Context(), app.Config{Listen: "127.0.0.1:0", Version: "test", Anonymous: policy.Client, EvaluateRate: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop(context.Background()) }()
	for range 50 {
		if resp, body := call(t, "POST", a.URL()+evaluateAll, unit); resp.StatusCode == http.StatusTooManyRequests {
			if resp.Header.Get("Retry-After") == "" || !json.Valid([]byte(body)) {
				t.Errorf("%v %s", resp.Header, body)
			}
			return
		}
	}
	t.Error("50 requests at 2 per second were all answered")
}
