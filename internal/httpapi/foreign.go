package httpapi

import (
	"net/http"
	"strings"

	"sluice.dev/sluice/internal/policy"
)

// Foreign says who may use the routes of protocols that are not ours (OFREP, flagd). They take a token as
// "Authorization: Bearer" or "X-API-Key", never a browser's session, so that pages of other origins may call them.
type Foreign struct {
	// Routes are prefixes of paths with what a caller must be allowed to do; the first that fits counts.
	Routes []ForeignRoute
	// Anonymous is the role of callers that send no token; "" refuses them.
	Anonymous policy.Role
}

// ForeignRoute is a prefix of paths; with Action "" anybody may use them.
type ForeignRoute struct {
	Prefix string
	Action policy.Action
}

// action returns what a path asks for, and whether it is foreign at all.
func (f Foreign) action(path string) (act policy.Action, ok bool) {
	for _, r := range f.Routes {
		if strings.HasPrefix(path, r.Prefix) {
			return r.Action, true
		}
	}
	return "", false
}

func (f Foreign) caller(t *Tokens, r *http.Request) (policy.Actor, bool) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		secret = r.Header.Get("X-API-Key")
	}
	if secret != "" {
		return t.actor(secret)
	}
	return policy.Actor{Name: "anonymous", Role: f.Anonymous}, f.Anonymous != ""
}

// Cross wraps foreign routes for pages of other origins: it answers preflight requests and lets them read the answers.
// A page must know a token to get anywhere, so every origin is welcome; without tokens (Anonymous) none is, because then
// any page that a person happens to visit could ask.
func (f Foreign) Cross(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := f.action(r.URL.Path); !ok || f.Anonymous != "" || r.Header.Get("Origin") == "" {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "ETag, Retry-After")
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	})
}
