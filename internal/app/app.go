// Package app wires the parts into one server: store, controller, fleet, REST. Tests and the demo start the same App.
package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/httpapi"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/push"
	"sluice.dev/sluice/internal/store"
	"sluice.dev/sluice/internal/webui"
)

// DefaultEnv is the environment of a server that is told of none.
const DefaultEnv = "production"

// DefaultListen is the one port.
const DefaultListen = "127.0.0.1:7070"

// Config says what to start.
type Config struct {
	DataDir string   // "" keeps everything in memory and forgets it
	Listen  string   // "" means DefaultListen; port 0 takes a free one
	Envs    []string // nil means DefaultEnv
	Version string
	Log     *slog.Logger  // nil discards
	Tick    time.Duration // of the controller; 0 means its default
}

// App is a running server.
type App struct {
	cfg    Config
	store  store.Store
	ctl    *control.Controller
	push   *push.Server
	tokens *httpapi.Tokens
	api    *httpapi.API
	keys   keys
	http   *http.Server
	ln     net.Listener
	wg     sync.WaitGroup
	admin  string
}

// Start opens the store, recovers the engine and serves. It returns when the port answers.
func Start(ctx context.Context, cfg Config) (*App, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if len(cfg.Envs) == 0 {
		cfg.Envs = []string{DefaultEnv}
	}
	a := &App{cfg: cfg}
	if err := a.start(ctx); err != nil {
		return nil, errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
	}
	return a, nil
}

func (a *App) start(ctx context.Context) error {
	var err error
	if a.ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Listen); err != nil {
		return fmt.Errorf("listen on %s: %w (choose another port with --listen)", a.cfg.Listen, err)
	}
	if a.store, err = openStore(ctx, a.cfg.DataDir); err != nil {
		return err
	}
	if a.keys, err = loadKeys(ctx, a.store); err != nil {
		return err
	}
	a.push = push.New(push.Config{Env: a.envOf, PinKeys: a.keys.pins, Log: a.cfg.Log})
	if a.ctl, err = control.Start(ctx, control.Config{Store: a.store, Grants: a.push, Version: a.cfg.Version, Log: a.cfg.Log, Tick: a.cfg.Tick}); err != nil {
		return err
	}
	a.push.Run(a.ctl)
	for _, env := range a.cfg.Envs {
		if err := a.ctl.Do(ctx, engine.CreateEnv{Name: env, Actor: "engine"}); err != nil {
			return fmt.Errorf("create environment %s: %w", env, err)
		}
	}
	if err := a.firstToken(ctx); err != nil {
		return err
	}
	a.serve()
	return nil
}

func openStore(ctx context.Context, dir string) (store.Store, error) {
	if dir == "" {
		return store.NewMemory(), nil
	}
	s, err := store.OpenSQLite(ctx, dir)
	if err != nil {
		return nil, err // not s: a nil pointer in an interface is not nil
	}
	return s, nil
}

func (a *App) envOf(r *http.Request) string { return httpapi.Env(r, a.cfg.Envs[0]) }

// firstToken makes the admin token of a store that has none. It is shown once.
func (a *App) firstToken(ctx context.Context) error {
	list, err := a.store.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	if len(list) == 0 {
		secret, t := httpapi.NewToken("admin", policy.Admin, "", time.Now())
		if err := a.store.PutToken(ctx, t); err != nil {
			return fmt.Errorf("store the admin token: %w", err)
		}
		a.admin = secret
	}
	a.tokens, err = httpapi.LoadTokens(ctx, a.store)
	return err
}

// Handler limits.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
)

func (a *App) serve() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	a.push.Register(mux)
	a.api = httpapi.New(mux, httpapi.Config{
		Controller: a.ctl, Store: a.store, Prover: a, Tokens: a.tokens, Version: a.cfg.Version, DefaultEnv: a.cfg.Envs[0], Log: a.cfg.Log,
	})
	mux.Handle("/", a.api.Snapshots(webui.Handler()))
	guard := http.NewCrossOriginProtection()
	a.http = &http.Server{
		Handler:           guard.Handler(httpapi.Authenticate(a.tokens, a.denied, mux)),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	a.wg.Go(func() {
		if err := a.http.Serve(a.ln); !errors.Is(err, http.ErrServerClosed) {
			a.cfg.Log.Error("serve", "err", err)
		}
	})
}

// denied puts a refused request into the log.
func (a *App) denied(ctx context.Context, d engine.Denied) {
	if err := a.ctl.Do(ctx, d); err != nil {
		a.cfg.Log.Error("record denial", "err", err)
	}
}

// URL is where the server answers.
func (a *App) URL() string { return "http://" + a.ln.Addr().String() }

// OneTimeLogin returns an address that signs one browser in as an admin, once, within a quarter of an hour. It is for the
// terminal of whoever started the server, who holds its data anyway.
func (a *App) OneTimeLogin() string {
	return a.URL() + "/login?token=" + a.tokens.Sessions().OneTime(policy.Actor{Name: "session:terminal", Role: policy.Admin})
}

// Handler answers what the port answers, authentication included; measurements call it without sockets.
func (a *App) Handler() http.Handler { return a.http.Handler }

// AdminToken is the secret of the admin token, "" unless this start made it.
func (a *App) AdminToken() string { return a.admin }

// Controller gives tests and the demo the engine's inbox.
func (a *App) Controller() *control.Controller { return a.ctl }

// Token makes a token, as POST /v1/tokens does.
func (a *App) Token(ctx context.Context, name string, role policy.Role, env string) (string, error) {
	secret, t := httpapi.NewToken(name, role, env, time.Now())
	if err := a.store.PutToken(ctx, t); err != nil {
		return "", fmt.Errorf("store token %s: %w", name, err)
	}
	return secret, a.tokens.Reload(ctx)
}

// Stop ends serving, then the controller, then closes the store. It is safe on a half-started App.
func (a *App) Stop(ctx context.Context) error {
	var errs []error
	if a.push != nil {
		a.push.Close() // ends held streams, so that Shutdown need not wait for them
	}
	if a.api != nil {
		a.api.Close()
	}
	if a.http != nil {
		sctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := a.http.Shutdown(sctx); err != nil {
			errs = append(errs, a.http.Close())
		}
	} else if a.ln != nil {
		errs = append(errs, a.ln.Close())
	}
	a.wg.Wait()
	if a.ctl != nil {
		a.ctl.Stop()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}

// keys are the server's secrets, made once and kept in the store.
type keys struct {
	signer, verifier string
	pin              []slp.PinKey
}

func (k keys) pins(string) []slp.PinKey { return k.pin }

func loadKeys(ctx context.Context, s store.Store) (keys, error) {
	var k keys
	raw, err := s.Meta(ctx, "keys")
	var stored struct {
		Signer   string       `json:"signer"`
		Verifier string       `json:"verifier"`
		Pins     []slp.PinKey `json:"pins"`
	}
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, &stored); err != nil {
			return k, fmt.Errorf("read keys: %w", err)
		}
		return keys{stored.Signer, stored.Verifier, stored.Pins}, nil
	case !errors.Is(err, store.ErrNotFound):
		return k, fmt.Errorf("read keys: %w", err)
	}
	if stored.Signer, stored.Verifier, err = newSigner(); err != nil {
		return k, err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never errs
	stored.Pins = []slp.PinKey{{ID: "1", Key: secret}}
	if raw, err = json.Marshal(stored); err != nil {
		return k, err
	}
	if err := s.PutMeta(ctx, "keys", raw); err != nil {
		return k, fmt.Errorf("store keys: %w", err)
	}
	return keys{stored.Signer, stored.Verifier, stored.Pins}, nil
}
