package app

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/httpapi"
	"sluice.dev/sluice/internal/lead"
	"sluice.dev/sluice/internal/ofrep"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/push"
	"sluice.dev/sluice/internal/store"
	"sluice.dev/sluice/internal/webui"
)

// leading is what only a server that decides and grants has.
type leading struct {
	app     *App
	term    *lead.Term // nil for a server that owns its store
	keys    keys
	push    *push.Server
	ofrep   *ofrep.Server
	ctl     *control.Controller
	tokens  *httpapi.Tokens
	api     *httpapi.API
	handler http.Handler
	ending  sync.Once
}

// begin recovers the engine and makes everything that answers for the leader. After an error nothing of it runs.
func (a *App) begin(ctx context.Context, t *lead.Term) (*leading, error) {
	l := &leading{app: a, term: t}
	if err := l.begin(ctx); err != nil {
		l.stop()
		return nil, err
	}
	return l, nil
}

func (l *leading) begin(ctx context.Context) error {
	a := l.app
	clock := control.NewClock(nil)
	cfg := control.Config{Store: a.store, Version: a.cfg.Version, Log: a.cfg.Log, Tick: a.cfg.Tick, Clock: clock}
	if l.term != nil {
		cfg.Lead = l.term.Take
	}
	var err error
	if l.keys, err = loadKeys(ctx, a.store); err != nil {
		return err
	}
	l.push = push.New(push.Config{Env: a.envOf, PinKeys: l.keys.pins, Heads: l.keys, Now: clock.Now, Log: a.cfg.Log})
	l.ofrep = ofrep.New(ofrep.Config{Env: a.envOf, Caller: callerOf, Key: l.keys.pin[0].Key, Rate: a.cfg.EvaluateRate, Log: a.cfg.Log})
	cfg.Grants = grants{l.push, l.ofrep}
	if l.ctl, err = control.Start(ctx, cfg); err != nil {
		return err
	}
	l.push.Run(l.ctl)
	for _, env := range a.cfg.Envs {
		if err := l.ctl.Do(ctx, engine.CreateEnv{Name: env, Actor: "engine"}); err != nil {
			return fmt.Errorf("create environment %s: %w", env, err)
		}
		fail.At(fail.EnvMade)
	}
	if err := l.loadTokens(ctx); err != nil {
		return err
	}
	l.routes()
	return nil
}

// loadTokens reads the tokens, and makes the admin token of a store that has none. It is shown once.
func (l *leading) loadTokens(ctx context.Context) error {
	s := l.app.store
	list, err := s.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	if len(list) == 0 {
		secret, t := httpapi.NewToken("admin", policy.Admin, "", time.Now())
		fail.At(fail.TokenDrawn)
		if err := s.PutToken(ctx, t); err != nil {
			return fmt.Errorf("store the admin token: %w", err)
		}
		fail.At(fail.TokenStored)
		l.app.admin.Store(&secret)
	}
	if l.tokens, err = httpapi.LoadTokens(ctx, s); err != nil {
		return err
	}
	l.tokens.Trust(l.keys.secret(peerFleet), policy.Actor{Name: "server:follower", Role: policy.Component})
	l.tokens.Trust(l.keys.secret(peerLocal), policy.Actor{Name: "socket:follower", Role: policy.Admin})
	return nil
}

func (l *leading) routes() {
	a := l.app
	mux := http.NewServeMux()
	l.push.Register(mux)
	l.ofrep.Register(mux)
	l.ofrep.RegisterFlagd(mux)
	l.api = httpapi.New(mux, httpapi.Config{
		Controller: l.ctl, Store: a.store, Prover: l, Tokens: l.tokens, Version: a.cfg.Version, DefaultEnv: a.cfg.Envs[0], Log: a.cfg.Log,
		Clients: l.foreignClients,
	})
	mux.Handle("/", l.api.Snapshots(webui.Handler()))
	l.handler = l.whileLeading(httpapi.Authenticate(l.tokens, a.foreign(), httpapi.Sparing(l.denied), mux))
}

// whileLeading answers only under the leader's lease: a server that was frozen may have been followed by another one, and
// what it knows may be old. The request has arrived before the look at the clock, so a lease that it is granted was asked
// for while this server led.
func (l *leading) whileLeading(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.leads() {
			nobodyLeads(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (l *leading) leads() bool { return l.term == nil || l.term.Leads() }

// denied puts a refused request into the log.
func (l *leading) denied(ctx context.Context, d engine.Denied) {
	if err := l.ctl.Do(ctx, d); err != nil {
		l.app.cfg.Log.Error("record denial", "err", err)
	}
}

func (l *leading) endStreams() {
	l.ending.Do(func() {
		if l.push != nil {
			l.push.Close()
		}
		if l.ofrep != nil {
			l.ofrep.Close()
		}
		if l.api != nil {
			l.api.Close()
		}
	})
}

// stop ends granting and deciding and waits for it. It is safe on a half-begun one.
func (l *leading) stop() {
	l.endStreams()
	if l.ctl != nil {
		l.ctl.Stop()
	}
}

// nobodyLeads is the answer while no leader is known.
func nobodyLeads(w http.ResponseWriter, _ *http.Request) {
	httpapi.NotLeader(w, store.Leader{})
}
