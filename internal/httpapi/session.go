package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/policy"
)

// SessionCookie is the name of the browser's cookie. Its value is 256 random bits; only their hash is kept, in memory.
const SessionCookie = "sluice_session"

// Limits of sessions and one-time logins.
const (
	sessionIdle  = 30 * time.Minute // without a request
	sessionLife  = 12 * time.Hour   // in all
	loginLife    = 15 * time.Minute // of a one-time code
	maxSessions  = 4096
	maxLogins    = 256
	secretLength = 32
)

// Sessions are the signed-in browsers. They are forgotten when the server stops.
type Sessions struct {
	now    func() time.Time
	mu     sync.Mutex
	byHash map[[32]byte]*session
	logins map[[32]byte]login
}

type session struct {
	actor   policy.Actor
	token   string // id of the API token it was made from: revoking the token ends it; "" for a one-time login
	started time.Time
	used    time.Time
}

type login struct {
	actor policy.Actor
	until time.Time
}

// NewSessions returns no sessions; now is the clock.
func NewSessions(now func() time.Time) *Sessions {
	return &Sessions{now: now, byHash: map[[32]byte]*session{}, logins: map[[32]byte]login{}}
}

// OneTime returns a code that signs one browser in as the actor, once, within 15 minutes.
func (s *Sessions) OneTime(actor policy.Actor) string {
	code, hash := newSecret()
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, l := range s.logins {
		if s.now().After(l.until) || len(s.logins) >= maxLogins {
			delete(s.logins, h)
		}
	}
	s.logins[hash] = login{actor: actor, until: s.now().Add(loginLife)}
	return code
}

// exchange uses a one-time code up and returns the secret of a new session.
func (s *Sessions) exchange(code string) (secret string, ok bool) {
	hash := sha256.Sum256([]byte(code))
	s.mu.Lock()
	l, ok := s.logins[hash]
	delete(s.logins, hash)
	expired := s.now().After(l.until)
	s.mu.Unlock()
	if !ok || expired {
		return "", false
	}
	return s.open(l.actor, ""), true
}

// open begins a session. When there are too many, the one that has been idle longest ends.
func (s *Sessions) open(actor policy.Actor, token string) (secret string) {
	secret, hash := newSecret()
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	s.byHash[hash] = &session{actor: actor, token: token, started: now, used: now}
	return secret
}

func (s *Sessions) sweep(now time.Time) {
	var oldest [32]byte
	var at time.Time
	for h, v := range s.byHash {
		if v.over(now) {
			delete(s.byHash, h)
		} else if at.IsZero() || v.used.Before(at) {
			oldest, at = h, v.used
		}
	}
	if len(s.byHash) >= maxSessions {
		delete(s.byHash, oldest)
	}
}

func (v *session) over(now time.Time) bool {
	return now.Sub(v.used) > sessionIdle || now.Sub(v.started) > sessionLife
}

// actor returns who a session's secret stands for, and the token it hangs on.
func (s *Sessions) actor(secret string) (a policy.Actor, token string, ok bool) {
	hash, now := sha256.Sum256([]byte(secret)), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.byHash[hash]
	if !ok {
		return a, "", false
	}
	if v.over(now) {
		delete(s.byHash, hash)
		return a, "", false
	}
	v.used = now
	return v.actor, v.token, true
}

func (s *Sessions) end(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byHash, sha256.Sum256([]byte(secret)))
}

func newSecret() (secret string, hash [32]byte) {
	var b [secretLength]byte
	_, _ = rand.Read(b[:]) // never errs
	secret = hex.EncodeToString(b[:])
	return secret, sha256.Sum256([]byte(secret))
}

// caller finds the actor of a request: by bearer token, else by its coming through our unix socket, else by the session cookie of a same-origin request.
func (t *Tokens) caller(r *http.Request) (policy.Actor, bool) {
	if secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return t.actor(secret)
	}
	if IsLocal(r) {
		return localActor, true
	}
	c, err := r.Cookie(SessionCookie)
	if err != nil {
		return policy.Actor{}, false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // "" is a client older than fetch metadata; SameSite=Strict and the Origin check remain
	default:
		return policy.Actor{}, false
	}
	a, id, ok := t.sessions.actor(c.Value)
	if !ok || (id != "" && !t.inForce(id)) {
		return policy.Actor{}, false
	}
	return a, true
}

func (t *Tokens) inForce(id string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, tok := range t.byID {
		if tok.ID == id {
			return true
		}
	}
	return false
}

// Sessions returns the browsers that are signed in.
func (t *Tokens) Sessions() *Sessions { return t.sessions }

// signIn registers the three routes of a browser's session. Only the exchange of a one-time code changes something by GET:
// it must work from a link in a terminal, and the code works once.
func (a *API) signIn(mux *http.ServeMux) {
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		code := r.URL.Query().Get("token")
		if code == "" {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		secret, ok := a.cfg.Tokens.sessions.exchange(code)
		if !ok {
			http.Redirect(w, r, "/?login=used", http.StatusSeeOther)
			return
		}
		a.setCookie(w, r, secret, int(sessionLife/time.Second))
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4096)
		token := strings.TrimSpace(r.PostFormValue("token"))
		actor, ok := a.cfg.Tokens.actor(token)
		if !ok {
			writeProblem(w, problem(http.StatusUnauthorized, "token.invalid", "paste a valid token: slc_...", "this token is not valid"))
			return
		}
		a.setCookie(w, r, a.cfg.Tokens.sessions.open(actor, a.cfg.Tokens.id(token)), int(sessionLife/time.Second))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie(SessionCookie); err == nil {
			a.cfg.Tokens.sessions.end(c.Value)
		}
		a.setCookie(w, r, "", -1)
		w.WriteHeader(http.StatusNoContent)
	})
}

func (a *API) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the code stands in the address
	http.SetCookie(w, &http.Cookie{
		Name: SessionCookie, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

func (t *Tokens) id(secret string) string {
	hash := sha256.Sum256([]byte(secret))
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[hash].ID
}
