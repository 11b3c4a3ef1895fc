package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/store"
)

// TokenPrefix starts every token, so that secret scanners can find one that leaked.
const TokenPrefix = "slc_"

// NewToken draws a token of 256 random bits; only its hash is kept.
func NewToken(name string, role policy.Role, env string, now time.Time) (secret string, t store.Token) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never errs
	secret = TokenPrefix + hex.EncodeToString(b[:])
	hash := sha256.Sum256([]byte(secret))
	return secret, store.Token{ID: hex.EncodeToString(hash[:6]), Name: name, Role: string(role), Env: env, Hash: hash, Created: now.UTC()}
}

// Tokens authenticates bearer tokens against the store. It keeps a copy that Reload refreshes after each change.
type Tokens struct {
	store store.Store

	sessions *Sessions

	mu      sync.RWMutex
	byID    map[[32]byte]store.Token
	trusted map[[32]byte]policy.Actor
}

// LoadTokens reads the tokens in force.
func LoadTokens(ctx context.Context, s store.Store) (*Tokens, error) {
	t := &Tokens{store: s, sessions: NewSessions(time.Now)}
	return t, t.Reload(ctx)
}

// Trust takes a secret that is no stored token for an actor, e.g. one that servers which share a store know each other by.
func (t *Tokens) Trust(secret string, actor policy.Actor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trusted == nil {
		t.trusted = map[[32]byte]policy.Actor{}
	}
	t.trusted[sha256.Sum256([]byte(secret))] = actor
}

// Reload reads the tokens again.
func (t *Tokens) Reload(ctx context.Context) error {
	list, err := t.store.Tokens(ctx)
	if err != nil {
		return err
	}
	byID := make(map[[32]byte]store.Token, len(list))
	for _, tok := range list {
		if tok.Revoked.IsZero() {
			byID[tok.Hash] = tok
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID = byID
	return nil
}

func (t *Tokens) actor(secret string) (policy.Actor, bool) {
	hash := sha256.Sum256([]byte(secret))
	t.mu.RLock()
	tok, ok := t.byID[hash]
	trusted, known := t.trusted[hash]
	t.mu.RUnlock()
	if known {
		return trusted, true
	}
	if !ok || subtle.ConstantTimeCompare(tok.Hash[:], hash[:]) != 1 {
		return policy.Actor{}, false
	}
	return policy.Actor{Name: "token:" + tok.Name, Role: policy.Role(tok.Role), Env: tok.Env}, true
}

type actorKey struct{}

type localKey struct{}

// LocalSocket marks the requests of a connection that came through the server's own unix socket. Whoever can open that
// owns the server's data: they are an admin without a token.
func LocalSocket(ctx context.Context) context.Context {
	return context.WithValue(ctx, localKey{}, true)
}

// IsLocal reports whether a request came through the unix socket.
func IsLocal(r *http.Request) bool { return r.Context().Value(localKey{}) != nil }

// localActor is who the unix socket's callers are.
var localActor = policy.Actor{Name: "socket:local", Role: policy.Admin}

// ActorOf returns the authenticated caller of a request.
func ActorOf(ctx context.Context) policy.Actor {
	a, _ := ctx.Value(actorKey{}).(policy.Actor)
	return a
}

// open paths need no token.
func open(path string) bool {
	if snapshotPath(path) {
		return false
	}
	return path == "/healthz" || path == "/openapi.json" || path == "/openapi.yaml" || path == "/v1/version" || !strings.HasPrefix(path, "/v1/")
}

// fleetPaths are the members' side of the protocol.
var fleetPaths = []string{"/v1/hello", "/v1/renew", "/v1/ack", "/v1/evidence", "/v1/watch", "/v1/snapshot"}

// Authenticate puts the caller into the context of each request, answers 401 without one, and lets members reach
// nothing but their own routes.
// What a caller may not reach goes into the log by way of denied.
func Authenticate(t *Tokens, foreign Foreign, denied func(context.Context, engine.Denied), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		act, isForeign := foreign.action(r.URL.Path)
		if act == "" && (isForeign || open(r.URL.Path)) {
			next.ServeHTTP(w, r)
			return
		}
		actor, ok := policy.Actor{}, false
		if isForeign {
			actor, ok = foreign.caller(t, r)
		} else {
			actor, ok = t.caller(r)
			act = ownAction(r.URL.Path)
		}
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeProblem(w, problem(http.StatusUnauthorized, "token.invalid", "send a valid token: Authorization: Bearer slc_...", "no valid token"))
			return
		}
		if d := policy.Decide(actor, act, ""); !d.Allow {
			denied(r.Context(), engine.Denied{Action: string(act), Actor: actor.Name, Reason: d.Reason})
			writeProblem(w, problem(http.StatusForbidden, "denied", "use a token with another role", "%s", d.Reason))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, actor)))
	})
}

func ownAction(path string) policy.Action {
	if slices.Contains(fleetPaths, path) {
		return policy.Fleet
	}
	return policy.Read
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the reader is gone: nothing to do
}

// Env names the environment of a member's request: the token's, else ?env=, else the default.
func Env(r *http.Request, fallback string) string {
	if e := ActorOf(r.Context()).Env; e != "" {
		return e
	}
	if r.URL.RawQuery == "" {
		return fallback
	}
	if e := r.URL.Query().Get("env"); e != "" {
		return e
	}
	return fallback
}

// allow asks policy and puts a denial into the log.
func (a *API) allow(ctx context.Context, act policy.Action, env, subject string) (policy.Actor, error) {
	actor := ActorOf(ctx)
	d := policy.Decide(actor, act, env)
	if d.Allow {
		return actor, nil
	}
	if err := a.cfg.Controller.Do(ctx, engine.Denied{Rollout: subject, Action: string(act), Actor: actor.Name, Reason: d.Reason}); err != nil {
		a.cfg.Log.Error("record denial", "err", err)
	}
	return actor, problem(http.StatusForbidden, "denied", "use a token with another role", "%s", d.Reason)
}
