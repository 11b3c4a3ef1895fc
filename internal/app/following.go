package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/httpapi"
	"sluice.dev/sluice/internal/push"
	"sluice.dev/sluice/internal/store"
)

// What servers on one store prove to each other: that a stream is for a follower's watchers, and that a request came
// through a follower's unix socket.
const (
	peerFleet = "follower's stream"
	peerLocal = "follower's socket"
)

// forwardedBy marks a request that another server has forwarded; it is not forwarded again.
const forwardedBy = "Sluice-Forwarded-By"

// following is what a server has while another one leads.
type following struct {
	app    *App
	keys   keys
	tokens *httpapi.Tokens
	relay  *push.Relay
	client *http.Transport
	peer   atomic.Pointer[peer]
	read   time.Time // when the tokens were last read; owned by the election
}

// peer is the leader as a follower knows it. Its context ends when another one leads.
type peer struct {
	row    store.Leader
	url    *url.URL
	ctx    context.Context
	cancel context.CancelFunc
}

// tokensEvery is how old a follower's knowledge of revoked tokens may be.
const tokensEvery = time.Second

// follow takes note of who leads. It is called again and again by the election.
func (a *App) follow(ctx context.Context, row store.Leader) {
	if a.follower == nil {
		f, err := a.newFollowing(ctx)
		if err != nil {
			a.cfg.Log.Warn("follow", "leader", row.Name, "err", err) // the leader of an empty store makes the keys: again in a moment
			return
		}
		a.follower = f
		a.role.Store(&role{Handler: f})
	}
	a.follower.see(ctx, row)
}

func (a *App) newFollowing(ctx context.Context) (*following, error) {
	k, err := readKeys(ctx, a.store)
	if err != nil {
		return nil, err
	}
	tokens, err := httpapi.LoadTokens(ctx, a.store)
	if err != nil {
		return nil, err
	}
	f := &following{app: a, keys: k, tokens: tokens, read: time.Now()}
	f.client = http.DefaultTransport.(*http.Transport).Clone()
	f.client.DialContext = (&net.Dialer{Timeout: time.Second}).DialContext
	f.client.MaxIdleConnsPerHost = 64
	f.relay = push.NewRelay(f.openStream, a.cfg.Log)
	return f, nil
}

func (a *App) stopFollowing() {
	f := a.follower
	if f == nil {
		return
	}
	a.follower = nil
	if p := f.peer.Load(); p != nil {
		p.cancel()
	}
	f.relay.Close()
	f.client.CloseIdleConnections()
}

func (f *following) see(ctx context.Context, row store.Leader) {
	old := f.peer.Load()
	if old == nil || old.row.Name != row.Name || old.row.Address != row.Address {
		f.turnTo(row, old)
	}
	if time.Since(f.read) >= tokensEvery {
		if err := f.tokens.Reload(ctx); err != nil {
			f.app.cfg.Log.Warn("read tokens", "err", err)
		}
		f.read = time.Now()
	}
}

func (f *following) turnTo(row store.Leader, old *peer) {
	u, err := url.Parse(row.Address)
	if err != nil {
		f.app.cfg.Log.Error("the leader's address", "leader", row.Name, "address", row.Address, "err", err)
		return
	}
	p := &peer{row: row, url: u}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	f.peer.Store(p)
	if old != nil {
		old.cancel() // what still waits for the earlier leader will not hear from it
	}
	f.app.cfg.Log.Warn("following", "leader", row.Name, "address", row.Address, "epoch", row.Epoch)
}

// ServeHTTP holds watch streams here and forwards the rest.
func (f *following) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(forwardedBy) != "" { // it took us for the leader, whom we do not know better
		nobodyLeads(w, r)
		return
	}
	if r.URL.Path == "/v1/watch" && r.Method == http.MethodGet {
		httpapi.Authenticate(f.tokens, httpapi.Foreign{}, f.denied, http.HandlerFunc(f.watch)).ServeHTTP(w, r)
		return
	}
	f.forward(w, r)
}

func (f *following) watch(w http.ResponseWriter, r *http.Request) {
	f.relay.Watch(w, r, f.app.envOf(r))
}

// denied: only the leader writes the log; a stream that was refused here had no effect.
func (f *following) denied(_ context.Context, d engine.Denied) {
	f.app.cfg.Log.Warn("denied", "action", d.Action, "actor", d.Actor, "reason", d.Reason)
}

// openStream opens the stream of an environment's events at the leader.
func (f *following) openStream(ctx context.Context, env string) (io.ReadCloser, error) {
	p := f.peer.Load()
	if p == nil {
		return nil, errors.New("no leader is known")
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(p.ctx, cancel)
	release := func() { stop(); cancel() }
	u := p.url.JoinPath("/v1/watch")
	u.RawQuery = url.Values{"env": {env}, "instance": {f.app.name()}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		release()
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+f.keys.secret(peerFleet))
	req.Header.Set(forwardedBy, f.app.name())
	resp, err := f.client.RoundTrip(req)
	if err != nil {
		release()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		release()
		return nil, errors.Join(fmt.Errorf("the leader answers %s", resp.Status), resp.Body.Close())
	}
	return stream{resp.Body, release}, nil
}

// stream is a body that frees what it was opened with.
type stream struct {
	io.ReadCloser
	release func()
}

func (s stream) Close() error {
	err := s.ReadCloser.Close()
	s.release()
	return err
}

// forward hands the request to the leader. Whether a write that got no answer has happened is not known; the caller
// repeats it, as after any lost answer.
func (f *following) forward(w http.ResponseWriter, r *http.Request) {
	p := f.peer.Load()
	if p == nil || p.row.Name == f.app.name() {
		nobodyLeads(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	local := httpapi.IsLocal(r) && r.Header.Get("Authorization") == ""
	proxy := httputil.ReverseProxy{
		Transport: f.client, FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(p.url)
			pr.Out.Host = pr.In.Host // the browser's origin is ours
			pr.SetXForwarded()
			pr.Out.Header.Set(forwardedBy, f.app.name())
			if local {
				pr.Out.Header.Set("Authorization", "Bearer "+f.keys.secret(peerLocal))
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			f.app.cfg.Log.Warn("forward", "leader", p.row.Name, "path", r.URL.Path, "err", err)
			httpapi.NotLeader(w, p.row)
		},
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}
