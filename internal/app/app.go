// Package app wires the parts into one server: store, controller, fleet, REST. Tests and the demo start the same App.
//
// A server that owns its store leads for as long as it runs. Servers that share a PostgreSQL database elect one that leads;
// the others hold watch streams themselves and forward everything else to it.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/httpapi"
	"sluice.dev/sluice/internal/lead"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/store"
)

// DefaultEnv is the environment of a server that is told of none.
const DefaultEnv = "production"

// DefaultListen is the one port.
const DefaultListen = "127.0.0.1:7070"

// Config says what to start.
type Config struct {
	DataDir string // directory of the SQLite store; "" keeps everything in memory and forgets it
	DB      string // URL of a PostgreSQL database that several servers share, instead of DataDir
	Listen  string // "" means DefaultListen; port 0 takes a free one
	Socket  string // path of a unix socket whose callers are admins; "" means sluice.sock in DataDir, if there is one
	// Advertise is where the other servers reach this one, e.g. http://10.0.0.1:7070; "" means the address it listens on.
	Advertise string
	Span      time.Duration // of the leader's lease among servers that share a database; 0 means lead.DefaultSpan
	Envs      []string      // nil means DefaultEnv
	Version   string
	Log       *slog.Logger  // nil discards
	Tick      time.Duration // of the controller; 0 means its default

	// Anonymous is what callers of OFREP and flagd may do without a token: policy.Client (evaluate) or policy.Component
	// (read flag configurations too); "" refuses them.
	Anonymous policy.Role
	// EvaluateRate bounds the OFREP requests of one caller per second; 0 means no limit.
	EvaluateRate int
}

// ErrFollows is the answer to what only the leading server can do.
var ErrFollows = errors.New("this server does not lead")

// App is a running server.
type App struct {
	cfg    Config
	store  store.Store
	http   *http.Server
	ln     net.Listener
	socket net.Listener // nil if there is none
	wg     sync.WaitGroup

	role     atomic.Pointer[role]
	settled  chan struct{} // closed when the first role is there
	election func()        // ends it and waits; nil for a server that owns its store
	follower *following    // owned by the election
	admin    atomic.Pointer[string]
	failed   error // why this server could not lead at its start; written before settled is closed
}

// role is what the server answers with at the moment.
type role struct {
	http.Handler
	leading *leading // nil while another server leads, or none
}

// Start opens the store, recovers the engine and serves. It returns when the port answers; a server that shares its store
// may then be leading or following.
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
	if !slices.Contains([]policy.Role{"", policy.Client, policy.Component}, cfg.Anonymous) {
		return nil, fmt.Errorf("callers without a token cannot have role %q: use %s or %s", cfg.Anonymous, policy.Client, policy.Component)
	}
	a := &App{cfg: cfg, settled: make(chan struct{})}
	a.role.Store(&role{Handler: http.HandlerFunc(nobodyLeads)})
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
	if a.store, err = openStore(ctx, a.cfg); err != nil {
		return err
	}
	if a.socket, err = a.listenLocal(ctx); err != nil {
		return err
	}
	if a.cfg.DB != "" {
		return a.elect(ctx)
	}
	l, err := a.begin(ctx, nil)
	if err != nil {
		return err
	}
	a.role.Store(&role{l.handler, l})
	a.serve()
	return nil
}

func openStore(ctx context.Context, cfg Config) (store.Store, error) {
	switch {
	case cfg.DB != "":
		s, err := store.OpenPostgres(ctx, cfg.DB)
		if err != nil {
			return nil, err // not s: a nil pointer in an interface is not nil
		}
		return s, nil
	case cfg.DataDir == "":
		return store.NewMemory(), nil
	}
	s, err := store.OpenSQLite(ctx, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// elect takes part in the election for as long as the server runs, and waits for the first role.
func (a *App) elect(ctx context.Context) error {
	a.serve()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	a.election = func() { stop(); <-done }
	first := sync.OnceFunc(func() { close(a.settled) })
	cfg := lead.Config{Store: a.store, Name: a.name(), Address: a.address(), Span: a.cfg.Span, Log: a.cfg.Log}
	go func() {
		defer close(done)
		lead.Run(running, cfg, func(l store.Leader) { a.follow(running, l); first() }, func(t *lead.Term) (func(), error) {
			end, err := a.become(running, t)
			a.failed = err
			first()
			return end, err
		})
	}()
	select {
	case <-a.settled:
		return a.failed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// become begins to lead and returns how to end it.
func (a *App) become(ctx context.Context, t *lead.Term) (end func(), err error) {
	l, err := a.begin(ctx, t)
	if err != nil {
		return nil, err
	}
	a.role.Store(&role{l.handler, l})
	a.stopFollowing()
	return func() {
		a.role.Store(&role{Handler: http.HandlerFunc(nobodyLeads)})
		l.stop()
	}, nil
}

// Handler limits.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
)

func (a *App) serve() {
	fail.At(fail.Serving)
	guard := http.NewCrossOriginProtection()
	guard.AddInsecureBypassPattern("/ofrep/") // takes no cookies
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC
	a.http = &http.Server{
		Protocols:         &protocols,
		Handler:           guard.Handler(a.foreign().Cross(http.HandlerFunc(a.answer))),
		ConnContext:       markLocal,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	for _, ln := range []net.Listener{a.ln, a.socket} {
		if ln == nil {
			continue
		}
		a.wg.Go(func() {
			if err := a.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				a.cfg.Log.Error("serve", "err", err)
			}
		})
	}
}

func (a *App) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" && r.Method == http.MethodGet {
		_, _ = w.Write([]byte("ok\n")) // the reader is gone: nothing to do
		return
	}
	a.role.Load().ServeHTTP(w, r)
}

func (a *App) envOf(r *http.Request) string { return httpapi.Env(r, a.cfg.Envs[0]) }

// URL is where the server answers.
func (a *App) URL() string { return "http://" + a.ln.Addr().String() }

// address is where other servers reach this one.
func (a *App) address() string {
	if a.cfg.Advertise != "" {
		return a.cfg.Advertise
	}
	return a.URL()
}

// Leads reports whether this server leads at the moment.
func (a *App) Leads() bool {
	l := a.role.Load().leading
	return l != nil && l.leads()
}

// OneTimeLogin returns an address that signs one browser in as an admin, once, within a quarter of an hour. It is for the
// terminal of whoever started the server, who holds its data anyway. It is "" while another server leads.
func (a *App) OneTimeLogin() string {
	l := a.role.Load().leading
	if l == nil {
		return ""
	}
	return a.URL() + "/login?token=" + l.tokens.Sessions().OneTime(policy.Actor{Name: "session:terminal", Role: policy.Admin})
}

// Handler answers what the port answers, authentication included; measurements call it without sockets.
func (a *App) Handler() http.Handler { return a.http.Handler }

// AdminToken is the secret of the admin token, "" unless this server made it.
func (a *App) AdminToken() string {
	if s := a.admin.Load(); s != nil {
		return *s
	}
	return ""
}

// Controller gives tests and the demo the engine's inbox; nil while another server leads.
func (a *App) Controller() *control.Controller {
	if l := a.role.Load().leading; l != nil {
		return l.ctl
	}
	return nil
}

// Token makes a token, as POST /v1/tokens does. It returns ErrFollows while another server leads.
func (a *App) Token(ctx context.Context, name string, role policy.Role, env string) (string, error) {
	l := a.role.Load().leading
	if l == nil {
		return "", ErrFollows
	}
	secret, t := httpapi.NewToken(name, role, env, time.Now())
	if err := a.store.PutToken(ctx, t); err != nil {
		return "", fmt.Errorf("store token %s: %w", name, err)
	}
	return secret, l.tokens.Reload(ctx)
}

// Stop ends serving, then leading or following, then closes the store. It is safe on a half-started App.
func (a *App) Stop(ctx context.Context) error {
	var errs []error
	if l := a.role.Load().leading; l != nil {
		l.endStreams() // so that Shutdown need not wait for them
	}
	if a.election != nil {
		a.election()
	}
	a.stopFollowing()
	if a.http != nil {
		sctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := a.http.Shutdown(sctx); err != nil {
			errs = append(errs, a.http.Close())
		}
	} else {
		for _, ln := range []net.Listener{a.ln, a.socket} {
			if ln != nil {
				errs = append(errs, ln.Close())
			}
		}
	}
	a.wg.Wait()
	if l := a.role.Load().leading; l != nil {
		l.stop()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
