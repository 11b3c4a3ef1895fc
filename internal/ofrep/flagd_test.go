package ofrep

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	evaluation "sluice.dev/sluice/api/flagd/evaluation/v2"
	flagsync "sluice.dev/sluice/api/flagd/sync/v1"
)

// grpcServer serves flagd's services over HTTP/2 without TLS, as the one port does.
func grpcServer(t *testing.T, cfg Config) (*fixture, *http.Client) {
	t.Helper()
	f := &fixture{}
	cfg.Env = func(r *http.Request) string {
		switch bound, asked := r.Header.Get("X-Test-Bound"), r.URL.Query().Get("env"); {
		case bound != "":
			return bound
		case asked != "":
			return asked
		}
		return "production"
	}
	cfg.Caller = func(r *http.Request) string { return r.Header.Get("X-Test-Caller") }
	f.Server = New(cfg)
	f.lease.Store(true)
	mux := http.NewServeMux()
	f.RegisterFlagd(mux)
	srv := httptest.NewUnstartedServer(mux)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv.Config.Protocols = &protocols
	srv.Start()
	f.url = srv.URL
	t.Cleanup(func() { f.Close(); srv.Close() })
	return f, &http.Client{Transport: &http.Transport{Protocols: &protocols}}
}

func rpc[Q, A any](f *fixture, c *http.Client, path string, q *Q, headers ...string) (*A, error) {
	r := connect.NewRequest(q)
	for i := 0; i < len(headers); i += 2 {
		r.Header().Set(headers[i], headers[i+1])
	}
	a, err := connect.NewClient[Q, A](c, f.url+path, connect.WithGRPC()).CallUnary(context.Background(), r)
	if err != nil {
		return nil, err
	}
	return a.Msg, nil
}

func fields(t *testing.T, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFlagdResolve: every type and status of both versions.
func TestFlagdResolve(t *testing.T) {
	f, c := grpcServer(t, Config{})
	f.publish(7, "sha256:a", objects())
	for _, prefix := range []string{EvaluationV1, EvaluationV2} {
		b, err := rpc[evaluation.ResolveBooleanRequest, evaluation.ResolveBooleanResponse](f, c, prefix+"ResolveBoolean", &evaluation.ResolveBooleanRequest{FlagKey: "plain"})
		if err != nil || !b.GetValue() || b.Reason != "STATIC" || b.GetVariant() != "on" || b.Metadata.Fields["revision"].GetNumberValue() != 3 {
			t.Errorf("boolean: %v %v", b, err)
		}
		s, err := rpc[evaluation.ResolveStringRequest, evaluation.ResolveStringResponse](f, c, prefix+"ResolveString", &evaluation.ResolveStringRequest{FlagKey: "greet", Context: fields(t, map[string]any{"country": "FR"})})
		if err != nil || s.GetValue() != "ho" || s.Reason != "TARGETING_MATCH" {
			t.Errorf("string: %v %v", s, err)
		}
		n, err := rpc[evaluation.ResolveIntRequest, evaluation.ResolveIntResponse](f, c, prefix+"ResolveInt", &evaluation.ResolveIntRequest{FlagKey: "limit"})
		if err != nil || n.GetValue() != -9007199254740991 {
			t.Errorf("integer: %v %v", n, err)
		}
		for key, want := range map[string]float64{"ratio": 1e-7, "limit": -9007199254740991} {
			x, err := rpc[evaluation.ResolveFloatRequest, evaluation.ResolveFloatResponse](f, c, prefix+"ResolveFloat", &evaluation.ResolveFloatRequest{FlagKey: key})
			if err != nil || x.GetValue() != want {
				t.Errorf("float %s: %v %v", key, x, err)
			}
		}
		o, err := rpc[evaluation.ResolveObjectRequest, evaluation.ResolveObjectResponse](f, c, prefix+"ResolveObject", &evaluation.ResolveObjectRequest{FlagKey: "shape"})
		if err != nil || o.Value.Fields["a"].GetStringValue() != "x" {
			t.Errorf("object: %v %v", o, err)
		}
		all, err := rpc[evaluation.ResolveAllRequest, evaluation.ResolveAllResponse](f, c, prefix+"ResolveAll", &evaluation.ResolveAllRequest{})
		if err != nil || len(all.Flags) != 6 || all.Flags["killed"].Reason != "DISABLED" || all.Metadata.Fields["flagSetId"].GetStringValue() != "production" {
			t.Errorf("all: %v %v", all, err)
		}
	}
}

// TestFlagdStatus: what is wrong is said by the status that flagd's providers know.
func TestFlagdStatus(t *testing.T) {
	f, c := grpcServer(t, Config{})
	boolean := func(key string, ctx map[string]any, headers ...string) connect.Code {
		t.Helper()
		_, err := rpc[evaluation.ResolveBooleanRequest, evaluation.ResolveBooleanResponse](f, c, EvaluationV2+"ResolveBoolean", &evaluation.ResolveBooleanRequest{FlagKey: key, Context: fields(t, ctx)}, headers...)
		return connect.CodeOf(err)
	}
	if got := boolean("plain", nil); got != connect.CodeNotFound {
		t.Errorf("nothing published: %v", got)
	}
	o := objects()
	o["base/flag/odd"] = json.RawMessage(`{"key":"odd","type":"boolean","variants":{"on":true},"default":"on","targeting":{"<":[{"var":"a"},1]}}`)
	f.publish(7, "sha256:a", o)
	for _, tt := range []struct {
		name, key string
		ctx       map[string]any
		header    []string
		want      connect.Code
	}{
		{"unknown flag", "nosuch", nil, nil, connect.CodeNotFound},
		{"another type", "greet", nil, nil, connect.CodeInvalidArgument},
		{"no targeting key", "eta", nil, nil, connect.CodeInvalidArgument},
		{"targeting names no variant", "odd", map[string]any{"a": 0}, nil, connect.CodeInternal},
		{"context with a number as key", "plain", map[string]any{"targetingKey": 7}, nil, connect.CodeInvalidArgument},
		{"unknown environment", "plain", nil, []string{"Flagd-Selector", "flagSetId=nosuch"}, connect.CodeNotFound},
		{"selector of another kind", "plain", nil, []string{"Flagd-Selector", "source=x"}, connect.CodeInvalidArgument},
		{"selector beyond the token", "plain", nil, []string{"Flagd-Selector", "flagSetId=staging", "X-Test-Bound", "production"}, connect.CodeInvalidArgument},
	} {
		if got := boolean(tt.key, tt.ctx, tt.header...); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := boolean("plain", nil, "Flagd-Selector", "flagSetId="); got != 0 && got != connect.CodeUnknown {
		t.Errorf("an empty selector: %v", got)
	}
}

func TestFlagdRateLimit(t *testing.T) {
	f, c := grpcServer(t, Config{Rate: 2})
	f.publish(7, "sha256:a", objects())
	for range 50 {
		_, err := rpc[evaluation.ResolveBooleanRequest, evaluation.ResolveBooleanResponse](f, c, EvaluationV2+"ResolveBoolean", &evaluation.ResolveBooleanRequest{FlagKey: "plain"})
		if connect.CodeOf(err) == connect.CodeResourceExhausted {
			return
		}
	}
	t.Error("50 requests at 2 per second were all answered")
}

func open[Q, A any](t *testing.T, f *fixture, c *http.Client, path string, q *Q) func() *A {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := connect.NewClient[Q, A](c, f.url+path, connect.WithGRPC()).CallServerStream(ctx, connect.NewRequest(q))
	if err != nil {
		t.Fatal(err)
	}
	return func() *A {
		t.Helper()
		if !stream.Receive() {
			t.Fatalf("the stream ended: %v", stream.Err())
		}
		return stream.Msg()
	}
}

// TestFlagdSync: the whole set at once and after each change; no candidate of an open rollout in it; nothing is sent again
// when only leases have changed.
func TestFlagdSync(t *testing.T) {
	f, c := grpcServer(t, Config{})
	f.publish(7, "sha256:a", objects())
	next := open[flagsync.SyncFlagsRequest, flagsync.SyncFlagsResponse](t, f, c, FlagdSync+"SyncFlags", &flagsync.SyncFlagsRequest{})
	type set struct {
		Flags map[string]struct{ DefaultVariant, State string }
	}
	read := func() (s set) {
		t.Helper()
		m := next()
		if err := json.Unmarshal([]byte(m.FlagConfiguration), &s); err != nil {
			t.Fatal(err)
		}
		if m.SyncContext.Fields["sluice.environment"].GetStringValue() != "production" {
			t.Errorf("sync context %v", m.SyncContext)
		}
		return s
	}
	if s := read(); len(s.Flags) != 9 || s.Flags["eta"].DefaultVariant != "v11" || s.Flags["killed"].DefaultVariant != "off" {
		t.Errorf("first: %+v", s)
	}
	f.Stop("production", "eta")
	f.publish(7, "sha256:a", objects())
	o := objects()
	delete(o, "base/flag/plain")
	f.publish(8, "sha256:b", o)
	if s := read(); len(s.Flags) != 8 {
		t.Errorf("after a change: %+v", s)
	}
	all, err := rpc[flagsync.FetchAllFlagsRequest, flagsync.FetchAllFlagsResponse](f, c, FlagdSync+"FetchAllFlags", &flagsync.FetchAllFlagsRequest{})
	if err != nil || !json.Valid([]byte(all.FlagConfiguration)) {
		t.Errorf("fetch: %v", err)
	}
	meta, err := rpc[flagsync.GetMetadataRequest, flagsync.GetMetadataResponse](f, c, FlagdSync+"GetMetadata", &flagsync.GetMetadataRequest{})
	if err != nil || meta.Metadata.Fields["sluice.revision"].GetNumberValue() != 8 {
		t.Errorf("metadata: %v %v", meta, err)
	}
	if _, err := rpc[flagsync.FetchAllFlagsRequest, flagsync.FetchAllFlagsResponse](f, c, FlagdSync+"FetchAllFlags", &flagsync.FetchAllFlagsRequest{Selector: "source=x"}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("selector in the message: %v", err)
	}
}

// TestFlagdEvents: ready at once, then exactly the flags that may answer differently.
func TestFlagdEvents(t *testing.T) {
	f, c := grpcServer(t, Config{})
	f.publish(7, "sha256:a", objects())
	next := open[evaluation.EventStreamRequest, evaluation.EventStreamResponse](t, f, c, EvaluationV1+"EventStream", &evaluation.EventStreamRequest{})
	if e := next(); e.Type != "provider_ready" {
		t.Fatalf("first event %v", e)
	}
	changed := func() (keys []string) {
		t.Helper()
		e := next()
		if e.Type != "configuration_change" {
			t.Fatalf("event %v", e)
		}
		for key := range e.Data.Fields["flags"].GetStructValue().Fields {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		return keys
	}
	o := objects()
	delete(o, "overlay/kill/killed")
	o["base/flag/limit"] = json.RawMessage(`{"key":"limit","type":"integer","variants":{"low":1},"default":"low"}`)
	o["eta/exception/x"] = json.RawMessage(`{"id":"x","flag":"eta","match":{"always":true},"serve":"v11","reason":"r","approvedBy":"a"}`)
	f.publish(8, "sha256:b", o)
	if got := changed(); !slices.Equal(got, []string{"eta", "killed", "limit"}) {
		t.Errorf("changed %v", got)
	}
	f.Stop("production", "eta")
	f.publish(8, "sha256:b", o)
	if got := changed(); !slices.Equal(got, []string{"eta"}) {
		t.Errorf("candidates withdrawn and given back: %v", got)
	}
	o["base/segment/s"] = json.RawMessage(`{"name":"s","match":{"always":true}}`)
	f.publish(9, "sha256:c", o)
	if got := changed(); len(got) != 9 {
		t.Errorf("a segment changed: %v", got)
	}
}
