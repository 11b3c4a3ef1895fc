package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/store"
)

// hands is a clock that tests turn.
type hands struct{ t time.Time }

func (h *hands) now() time.Time { return h.t }

func TestOneTimeCodeWorksOnce(t *testing.T) {
	clock := &hands{time.Unix(1e9, 0)}
	s := NewSessions(clock.now)
	code := s.OneTime(policy.Actor{Name: "session:terminal", Role: policy.Admin})
	secret, ok := s.exchange(code)
	if !ok || len(secret) != 64 || secret == code {
		t.Fatalf("first exchange: %q, %v", secret, ok)
	}
	if _, ok := s.exchange(code); ok {
		t.Error("the code worked a second time")
	}
	if a, _, ok := s.actor(secret); !ok || a.Role != policy.Admin {
		t.Errorf("session stands for %+v, %v", a, ok)
	}
	late := s.OneTime(policy.Actor{})
	clock.t = clock.t.Add(loginLife + time.Second)
	if _, ok := s.exchange(late); ok {
		t.Error("an old code worked")
	}
}

func TestSessionsEnd(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, tt := range []struct {
		name string
		uses []time.Duration // since the start
		want bool            // at the last use
	}{
		{"used in time", []time.Duration{sessionIdle}, true},
		{"idle too long", []time.Duration{sessionIdle + 1}, false},
		{"kept alive by use", []time.Duration{20 * time.Minute, 40 * time.Minute, 60 * time.Minute}, true},
		{"in all too long, though used", func() (d []time.Duration) {
			for at := time.Duration(0); at <= sessionLife; at += 20 * time.Minute {
				d = append(d, at)
			}
			return append(d, sessionLife+time.Second)
		}(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := &hands{start}
			s := NewSessions(clock.now)
			secret := s.open(policy.Actor{Name: "x"}, "")
			ok := false
			for _, d := range tt.uses {
				clock.t = start.Add(d)
				_, _, ok = s.actor(secret)
			}
			if ok != tt.want {
				t.Errorf("got %v, want %v", ok, tt.want)
			}
		})
	}
}

func TestTooManySessionsEndTheIdlest(t *testing.T) {
	clock := &hands{time.Unix(1e9, 0)}
	s := NewSessions(clock.now)
	first := s.open(policy.Actor{}, "")
	var last string
	for range maxSessions {
		clock.t = clock.t.Add(time.Millisecond)
		last = s.open(policy.Actor{}, "")
	}
	if _, _, ok := s.actor(first); ok {
		t.Error("the idlest session is still there")
	}
	if _, _, ok := s.actor(last); !ok {
		t.Error("the newest session is gone")
	}
	if len(s.byHash) > maxSessions {
		t.Errorf("%d sessions are kept, at most %d are allowed", len(s.byHash), maxSessions)
	}
}

// TestBrowserSignsIn goes through the routes: token to cookie, cookie to caller, revoked token, other site, sign-out.
func TestBrowserSignsIn(t *testing.T) {
	ctx := context.Background()
	mem := store.NewMemory()
	secret, tok := NewToken("own", policy.Operator, "", time.Now())
	if err := mem.PutToken(ctx, tok); err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(ctx, mem)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	a := New(mux, Config{Controller: newFake(t, mem), Store: mem, Tokens: tokens, Version: "test", DefaultEnv: "production"})
	t.Cleanup(a.Close)
	h := Authenticate(tokens, Foreign{}, func(context.Context, engine.Denied) {}, mux)
	do := func(method, path, body string, headers map[string]string, cookies ...*http.Cookie) *http.Response {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		for k, v := range headers {
			r.Header.Set(k, v)
		}
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	if got := do("POST", "/login", url.Values{"token": {"slc_wrong"}}.Encode(), form).StatusCode; got != 401 {
		t.Errorf("a wrong token: status %d, want 401", got)
	}
	res := do("POST", "/login", url.Values{"token": {secret}}.Encode(), form)
	if res.StatusCode != 204 || len(res.Cookies()) != 1 {
		t.Fatalf("status %d, cookies %v", res.StatusCode, res.Cookies())
	}
	c := res.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Value == secret {
		t.Errorf("cookie %+v", c)
	}
	me := func(h map[string]string) int { return do("GET", "/v1/me", "", h, c).StatusCode }
	if got := me(map[string]string{"Sec-Fetch-Site": "same-origin"}); got != 200 {
		t.Errorf("same origin: status %d, want 200", got)
	}
	if got := me(map[string]string{"Sec-Fetch-Site": "cross-site"}); got != 401 {
		t.Errorf("another site: status %d, want 401", got)
	}
	tok.Revoked = time.Now()
	if err := mem.PutToken(ctx, tok); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if got := me(nil); got != 401 {
		t.Errorf("after the token was revoked: status %d, want 401", got)
	}
	if got := do("POST", "/logout", "", nil, c); got.StatusCode != 204 || got.Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign-out: status %d, cookies %v", got.StatusCode, got.Cookies())
	}
	if _, _, ok := tokens.Sessions().actor(c.Value); ok {
		t.Error("the session outlived the sign-out")
	}
}

func TestSnapshotPathsNeedACaller(t *testing.T) {
	for path, want := range map[string]bool{
		"/r/x.md": true, "/r/x.json": true, "/r/x": false, "/r/x/rollback": false, "/r/a/b.md": false, "/x.md": false, "/assets/a.json": false,
	} {
		if got := !open(path); got != want {
			t.Errorf("%s: a caller is needed: %v, want %v", path, got, want)
		}
	}
}
