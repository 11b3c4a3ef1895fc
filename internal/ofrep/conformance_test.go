package ofrep

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sdk/flag"
)

// TestSingle: every type, reason and error of single evaluation, byte for byte.
func TestSingle(t *testing.T) {
	f := serve(t, Config{})
	f.publish(7, "sha256:a", objects())
	for _, tt := range []struct {
		name, key, body string
		status          int
		want            string
	}{
		{"static", "plain", `{"context":{}}`, 200, `{"key":"plain","reason":"STATIC","variant":"on","value":true,"metadata":{"revision":3}}`},
		{"default of a flag with rules", "greet", `{"context":{"country":"DE"}}`, 200, `{"key":"greet","reason":"DEFAULT","variant":"hi","value":"hi <b>é</b>","metadata":{"revision":3}}`},
		{"rule", "greet", `{"context":{"country":"FR"}}`, 200, `{"key":"greet","reason":"TARGETING_MATCH","variant":"ho","value":"ho","metadata":{"revision":3,"rule":"french"}}`},
		{"no coercion", "greet", `{"context":{"country":["FR"]}}`, 200, `{"key":"greet","reason":"DEFAULT","variant":"hi","value":"hi <b>é</b>","metadata":{"revision":3}}`},
		{"integer", "limit", `{"context":{}}`, 200, `{"key":"limit","reason":"STATIC","variant":"low","value":-9007199254740991,"metadata":{"revision":3}}`},
		{"float", "ratio", `{"context":{}}`, 200, `{"key":"ratio","reason":"STATIC","variant":"b","value":1e-7,"metadata":{"revision":3}}`},
		{"object", "shape", `{"context":{}}`, 200, `{"key":"shape","reason":"STATIC","variant":"a","value":{"a":"x","z":[1,null]},"metadata":{"revision":3}}`},
		{"killed", "killed", `{"context":{}}`, 200, `{"key":"killed","reason":"DISABLED","variant":"off","value":false,"metadata":{"revision":3}}`},
		{"the code's default", "mine", `{"context":{}}`, 200, `{"key":"mine","reason":"DEFAULT","metadata":{"revision":3}}`},
		{"disabled", "asleep", `{"context":{}}`, 200, `{"key":"asleep","reason":"DISABLED","metadata":{"revision":3}}`},
		{"split", "eta", `{"context":{"targetingKey":"u","any":[1,{"x":null}]}}`, 200, `{"key":"eta","reason":"SPLIT","variant":"v12","value":"twelve","metadata":{"revision":5,"rollout":"eta","cohort":"all","arm":"exposed"}}`},
		{"no targeting key", "eta", `{"context":{}}`, 400, `{"key":"eta","errorCode":"TARGETING_KEY_MISSING","errorDetails":"the flag is being rolled out over a unit that the context does not have"}`},
		{"empty targeting key", "eta", `{"context":{"targetingKey":""}}`, 400, `{"key":"eta","errorCode":"TARGETING_KEY_MISSING","errorDetails":"the flag is being rolled out over a unit that the context does not have"}`},
		{"unknown flag", "nosuch", `{"context":{}}`, 404, `{"key":"nosuch","errorCode":"FLAG_NOT_FOUND","errorDetails":"there is no flag \"nosuch\""}`},
		{"a key like a prototype", "__proto__", `{"context":{}}`, 404, `{"key":"__proto__","errorCode":"FLAG_NOT_FOUND","errorDetails":"there is no flag \"__proto__\""}`},
		{"no JSON", "plain", `{`, 400, `{"key":"plain","errorCode":"PARSE_ERROR","errorDetails":"json at byte 1: unexpected end (json.syntax)"}`},
		{"infinite", "plain", `{"context":{"a":1e309}}`, 400, `{"key":"plain","errorCode":"PARSE_ERROR","errorDetails":"json at byte 21: the number that ends here is beyond a double (number.range)"}`},
		{"no context", "plain", `{}`, 400, `{"key":"plain","errorCode":"INVALID_CONTEXT","errorDetails":"json at byte 2: the member context is missing (context.form)"}`},
		{"context no object", "plain", `{"context":7}`, 400, `{"key":"plain","errorCode":"INVALID_CONTEXT","errorDetails":"json at byte 11: the context must be an object (context.form)"}`},
		{"too deep", "plain", `{"context":{"a":` + strings.Repeat("[", 1000), 400, `{"key":"plain","errorCode":"INVALID_CONTEXT","errorDetails":"json at byte 78: nested deeper than 64 (json.depth)"}`},
		{"too large", "plain", `{"context":{"a":"` + strings.Repeat("x", MaxBody) + `"}}`, 400, `{"key":"plain","errorCode":"INVALID_CONTEXT","errorDetails":"http: request body too large"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := f.ask(t, one+tt.key, tt.body)
			if a.status != tt.status || a.body != tt.want {
				t.Errorf("got %d %s\nwant %d %s", a.status, a.body, tt.status, tt.want)
			}
			if ct := a.header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("content type %q", ct)
			}
		})
	}
}

// TestFailSafe: without a lease, and from the moment of Stop on, nobody gets the candidate; Publish gives it back.
func TestFailSafe(t *testing.T) {
	f := serve(t, Config{})
	f.publish(7, "sha256:a", objects())
	variant := func() string {
		var a struct{ Variant, Reason string }
		if err := json.Unmarshal([]byte(f.ask(t, one+"eta", `{"context":{"targetingKey":"u"}}`).body), &a); err != nil {
			t.Fatal(err)
		}
		return a.Variant + " " + a.Reason
	}
	if got := variant(); got != "v12 SPLIT" {
		t.Errorf("leased: %s", got)
	}
	f.lease.Store(false)
	if got := variant(); got != "v11 UNKNOWN" {
		t.Errorf("lapsed: %s", got)
	}
	f.lease.Store(true)
	f.Stop("production", "eta")
	if got := variant(); got != "v11 UNKNOWN" {
		t.Errorf("stopped: %s", got)
	}
	f.publish(7, "sha256:a", objects())
	if got := variant(); got != "v12 SPLIT" {
		t.Errorf("published again: %s", got)
	}
}

// TestBulk: every flag in the order of the keys, failures among them, what belongs to the set, and the stream.
func TestBulk(t *testing.T) {
	f := serve(t, Config{Key: []byte("k")})
	f.publish(7, "sha256:a", objects())
	a := f.ask(t, all, `{"context":{"country":"FR"}}`)
	const want = `{"flags":[` +
		`{"key":"asleep","reason":"DISABLED"},` +
		`{"key":"eta","errorCode":"TARGETING_KEY_MISSING","errorDetails":"the flag is being rolled out over a unit that the context does not have"},` +
		`{"key":"greet","reason":"TARGETING_MATCH","variant":"ho","value":"ho","metadata":{"rule":"french"}},` +
		`{"key":"killed","reason":"DISABLED","variant":"off","value":false},` +
		`{"key":"limit","reason":"STATIC","variant":"low","value":-9007199254740991},` +
		`{"key":"mine","reason":"DEFAULT"},` +
		`{"key":"plain","reason":"STATIC","variant":"on","value":true},` +
		`{"key":"ratio","reason":"STATIC","variant":"b","value":1e-7},` +
		`{"key":"shape","reason":"STATIC","variant":"a","value":{"a":"x","z":[1,null]}}` +
		`],"metadata":{"environment":"production","revision":7,"digest":"sha256:a"},` +
		`"eventStreams":[{"type":"sse","endpoint":{"requestUri":"/ofrep/v1/stream?env=production\u0026key=`
	if a.status != 200 || !strings.HasPrefix(a.body, want) || !strings.HasSuffix(a.body, `"},"inactivityDelaySec":120}]}`) {
		t.Errorf("got %d %s\nwant %s", a.status, a.body, want)
	}
	if tag := a.header.Get("ETag"); !strings.HasPrefix(tag, `"7.`) || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("tag %s, content type %s", tag, a.header.Get("Content-Type"))
	}
	for _, tt := range []struct {
		body   string
		status int
		want   string
	}{
		{`[`, 400, `{"errorCode":"INVALID_CONTEXT","errorDetails":"json at byte 0: the body must be an object with the member context (context.form)"}`},
		{`{"context":{"a":}}`, 400, `{"errorCode":"PARSE_ERROR","errorDetails":"json at byte 16: not a value (json.syntax)"}`},
		{`{}`, 400, `{"errorCode":"INVALID_CONTEXT","errorDetails":"json at byte 2: the member context is missing (context.form)"}`},
	} {
		if a := f.ask(t, all, tt.body); a.status != tt.status || a.body != tt.want || a.header.Get("ETag") != "" {
			t.Errorf("%s: got %d %s (tag %q)\nwant %d %s", tt.body, a.status, a.body, a.header.Get("ETag"), tt.status, tt.want)
		}
	}
}

// TestEntityTag: the tag changes with whatever the answer depends on and with nothing else, and a match costs no evaluation.
func TestEntityTag(t *testing.T) {
	f := serve(t, Config{})
	f.publish(7, "sha256:a", objects())
	const body = `{"context":{"targetingKey":"u"}}`
	tag := func(body string, headers ...string) answer { t.Helper(); return f.ask(t, all, body, headers...) }
	first := tag(body)
	etag := first.header.Get("ETag")
	for _, header := range []string{etag, "W/" + etag, `"x", ` + etag, `"x",W/` + etag + ` , "y"`} {
		if a := tag(body, "If-None-Match", header); a.status != 304 || a.body != "" || a.header.Get("ETag") != etag {
			t.Errorf("If-None-Match %s: %d %q, tag %s", header, a.status, a.body, a.header.Get("ETag"))
		}
	}
	if a := tag(body, "If-None-Match", `"x"`, "If-None-Match", etag); a.status != 304 {
		t.Errorf("two header lines: %d", a.status)
	}
	for _, header := range []string{"*", `"x"`, strings.Trim(etag, `"`), ""} {
		if a := tag(body, "If-None-Match", header); a.status != 200 || a.body != first.body {
			t.Errorf("If-None-Match %s: %d", header, a.status)
		}
	}
	if a := tag(`{"context":{"targetingKey":"v"}}`, "If-None-Match", etag); a.status != 200 {
		t.Errorf("another context: %d", a.status)
	}
	f.publish(7, "sha256:a", objects())
	if a := tag(body, "If-None-Match", etag); a.status != 304 {
		t.Errorf("published again unchanged: %d", a.status)
	}
	f.Stop("production", "eta")
	if a := tag(body, "If-None-Match", etag); a.status != 200 || !strings.Contains(a.body, `"v11"`) {
		t.Errorf("the candidate was withdrawn: %d %s", a.status, a.body)
	}
	f.publish(8, "sha256:b", objects())
	if a := tag(body, "If-None-Match", etag); a.status != 200 || !strings.HasPrefix(a.header.Get("ETag"), `"8.`) {
		t.Errorf("a new revision: %d %s", a.status, a.header.Get("ETag"))
	}
}

// TestHints: a refetch that names a newer configuration is not answered from an older one.
func TestHints(t *testing.T) {
	f := serve(t, Config{})
	f.publish(7, "sha256:a", objects())
	const body = `{"context":{}}`
	for query, want := range map[string]int{
		"?flagConfigEtag=7.00112233&flagConfigLastModified=1": 200, "?flagConfigEtag=6.x": 200, "?flagConfigEtag=nonsense": 200, "?flagConfigEtag=8.x": 503,
	} {
		if a := f.ask(t, all+query, body); a.status != want || want == 503 && a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %d, Retry-After %q, want %d", query, a.status, a.header.Get("Retry-After"), want)
		}
	}
	if a := f.ask(t, all+"?env=nosuch", body); a.status != 404 || !strings.Contains(a.body, `environment \"nosuch\"`) {
		t.Errorf("unknown environment: %d %s", a.status, a.body)
	}
}

func TestMethods(t *testing.T) {
	f := serve(t, Config{})
	f.publish(7, "sha256:a", objects())
	for _, path := range []string{all, one + "plain"} {
		resp, err := http.Get(f.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "POST" {
			t.Errorf("GET %s: %d, Allow %q", path, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
}

// TestRateLimit: a caller that asks too often is told when to come back; others are not held up by it.
func TestRateLimit(t *testing.T) {
	f := serve(t, Config{Rate: 3})
	f.publish(7, "sha256:a", objects())
	refused := 0
	for range 50 {
		a := f.ask(t, one+"plain", `{"context":{}}`, "X-Test-Caller", "greedy")
		if a.status == 200 {
			continue
		}
		refused++
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		if a.status != http.StatusTooManyRequests || err != nil || wait < 1 || !strings.Contains(a.body, `"errorCode":"GENERAL"`) {
			t.Fatalf("%d, Retry-After %q, %s", a.status, a.header.Get("Retry-After"), a.body)
		}
	}
	if refused == 0 {
		t.Error("50 requests at 3 per second were all answered")
	}
	if a := f.ask(t, all, `{"context":{}}`, "X-Test-Caller", "modest"); a.status != 200 {
		t.Errorf("another caller: %d", a.status)
	}
}

// TestNotYetPublished: an environment that nobody has published is not made by asking for it.
func TestNotYetPublished(t *testing.T) {
	f := serve(t, Config{})
	if a := f.ask(t, all, `{"context":{}}`); a.status != 404 {
		t.Errorf("got %d, want 404", a.status)
	}
	if len(f.envs) != 0 {
		t.Errorf("a request made %d environments", len(f.envs))
	}
}

// TestBrokenConfigurationChangesNothing: what does not compile leaves the last good values in force.
func TestBrokenConfigurationChangesNothing(t *testing.T) {
	f := serve(t, Config{})
	broken := map[string]json.RawMessage{"base/flag/plain": json.RawMessage(`{"key":"plain"}`)}
	f.publish(1, "sha256:broken", broken)
	if a := f.ask(t, one+"plain", `{"context":{}}`); a.status != 503 {
		t.Errorf("nothing ever compiled: %d, want 503", a.status)
	}
	f.publish(7, "sha256:a", objects())
	want := f.ask(t, one+"plain", `{"context":{}}`).body
	f.publish(8, "sha256:broken", broken)
	if a := f.ask(t, one+"plain", `{"context":{}}`); a.body != want {
		t.Errorf("got %d %s, want %s", a.status, a.body, want)
	}
}

// events opens the stream that a bulk answer names and reads what it says.
func events(t *testing.T, f *fixture, headers ...string) (next func() map[string]string) {
	t.Helper()
	var a struct {
		EventStreams []struct{ Endpoint struct{ RequestURI string } }
	}
	if err := json.Unmarshal([]byte(f.ask(t, all, `{"context":{}}`).body), &a); err != nil || len(a.EventStreams) != 1 {
		t.Fatalf("%v, streams %v", err, a.EventStreams)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+a.EventStreams[0].Endpoint.RequestURI, nil)
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
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	sc := bufio.NewScanner(resp.Body)
	return func() map[string]string {
		t.Helper()
		e := map[string]string{}
		for sc.Scan() {
			if sc.Text() == "" && len(e) > 0 {
				return e
			}
			if name, value, ok := strings.Cut(sc.Text(), ": "); ok {
				e[name] = value
			}
		}
		t.Fatalf("the stream ended: %v", sc.Err())
		return nil
	}
}

// TestStream: a hint at once, one after each change; a client that comes back with the state it has gets none.
func TestStream(t *testing.T) {
	f := serve(t, Config{Key: []byte("secret")})
	f.publish(7, "sha256:a", objects())
	next := events(t, f)
	e := next()
	var data struct {
		Type, Etag   string
		LastModified int64
	}
	if err := json.Unmarshal([]byte(e["data"]), &data); err != nil || e["event"] != "message" || e["id"] != data.Etag || !strings.HasPrefix(data.Etag, "7.") || data.Type != "refetchEvaluation" || data.LastModified == 0 {
		t.Errorf("%v: %v", err, e)
	}
	f.publish(8, "sha256:b", objects())
	if e := next(); !strings.HasPrefix(e["id"], "8.") {
		t.Errorf("after a change: %v", e)
	}
	back := events(t, f, "Last-Event-ID", f.known("production").current().tag)
	if e := back(); e[""] != "connected" {
		t.Errorf("nothing had changed: %v", e)
	}
	f.publish(9, "sha256:c", objects())
	if e := back(); !strings.HasPrefix(e["id"], "9.") {
		t.Errorf("after a change: %v", e)
	}
}

// TestStreamNeedsItsAddress: the key of one environment opens no other.
func TestStreamNeedsItsAddress(t *testing.T) {
	f := serve(t, Config{Key: []byte("secret")})
	f.publish(7, "sha256:a", objects())
	f.Publish("staging", f.state(1, "sha256:a", objects()))
	for query, want := range map[string]int{
		"": 401, "?env=production": 401, "?env=production&key=00": 401, "?env=staging&key=" + f.streamKey("production"): 401,
		"?env=nosuch&key=" + f.streamKey("nosuch"): 404,
	} {
		resp, err := http.Get(f.url + StreamPath + query)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", query, resp.StatusCode, want)
		}
	}
}

// TestOneSnapshotPerAnswer (H32): while revisions change, no bulk answer mixes two.
func TestOneSnapshotPerAnswer(t *testing.T) {
	f := serve(t, Config{})
	at := func(rev uint64) map[string]json.RawMessage {
		o := map[string]json.RawMessage{}
		for _, key := range []string{"a", "b", "c"} {
			o["base/flag/"+key] = json.RawMessage(`{"key":"` + key + `","type":"integer","variants":{"v":` + strconv.FormatUint(rev, 10) + `},"default":"v"}`)
		}
		return o
	}
	f.publish(1, "sha256:1", at(1))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				var a struct {
					Flags    []struct{ Value uint64 }
					Metadata struct{ Revision uint64 }
				}
				if err := json.Unmarshal([]byte(f.ask(t, all, `{"context":{}}`).body), &a); err != nil {
					t.Error(err)
					return
				}
				for _, v := range a.Flags {
					if v.Value != a.Metadata.Revision {
						t.Errorf("revision %d holds value %d", a.Metadata.Revision, v.Value)
						return
					}
				}
			}
		})
	}
	for rev := uint64(2); rev < 40; rev++ {
		f.publish(rev, "sha256:"+strconv.FormatUint(rev, 10), at(rev))
	}
	wg.Wait()
}

// TestClients: who asks is listed by class, with the revision it was given, and a matching tag counts as having it.
func TestClients(t *testing.T) {
	f := serve(t, Config{})
	f.publish(7, "sha256:a", objects())
	f.ask(t, one+"plain", `{"context":{}}`, "X-Test-Caller", "token:a")
	tag := f.ask(t, all, `{"context":{}}`, "X-Test-Caller", "token:b").header.Get("ETag")
	f.ask(t, all, `{"context":{}}`, "X-Test-Caller", "token:b", "If-None-Match", tag)
	list := f.Clients("production")
	if len(list) != 2 || list[0].Class != ClassBulk || list[0].Caller != "token:b" || list[0].Requests != 2 || list[0].Revision != 7 ||
		list[1].Class != ClassSingle || list[1].Caller != "token:a" || list[1].Host != "127.0.0.1" {
		t.Errorf("got %+v", list)
	}
	if other := f.Clients("staging"); len(other) != 0 {
		t.Errorf("another environment: %+v", other)
	}
}

// TestReasonsAreOFREPs: whatever the evaluator says becomes one of the reasons that validators know.
func TestReasonsAreOFREPs(t *testing.T) {
	known := []string{"STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN", "DEFAULT"}
	h := &flag.Handle{}
	for _, reason := range []string{flag.ReasonKilled, flag.ReasonExcluded, flag.ReasonException, flag.ReasonRule, flag.ReasonRollout, flag.ReasonDefault, flag.ReasonLapsed, "new"} {
		if got := reasonOf(h, flag.Result{Reason: reason}); !slices.Contains(known, got) {
			t.Errorf("%s becomes %s", reason, got)
		}
	}
}

// FuzzBulk: any body, key and tag gets an answer that is JSON of the protocol and never a panic.
func FuzzBulk(f *testing.F) {
	f.Add([]byte(`{"context":{"targetingKey":"u"}}`), "plain", `W/"x"`)
	f.Add([]byte(`{"context":{"country":"FR","x":[{}]}}`), "greet\x00\"", `"a","b`)
	s := New(Config{})
	f.Cleanup(s.Close)
	s.Publish("production", State{Rev: 1, Digest: "d", Objects: objects})
	st := s.known("production").current()
	f.Fuzz(func(t *testing.T, body []byte, key, tags string) {
		etag := st.etag(body)
		if matches([]string{tags}, etag) && !strings.Contains(tags, etag) {
			t.Fatal("a tag matched that is not there")
		}
		ctx, err := flag.ParseRequest(body)
		out := appendFailure(nil, key, bodyCode(err), "x")
		if err == nil {
			out = appendBulk(request{state: st, conf: st.config(), body: body}, ctx)
		}
		if !json.Valid(out) {
			t.Fatalf("the answer is no JSON: %s", out)
		}
	})
}
