package sluice

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// fake is a small server of the contract. Tests change it under its lock through its methods.
type fake struct {
	t *testing.T

	mu       sync.Mutex
	epoch    uint64
	scopes   map[string]fakeScope
	head     uint64
	floors   map[string]uint64
	granting map[string]time.Duration
	unwind   map[string]string
	known    map[string]bool
	silent   bool // the stream says nothing
	refuse   map[string]problemOf
	watchers map[chan slp.Event]struct{}
	kick     chan struct{}
	pinKeys  []slp.PinKey
	lag      bool // the stream carries no deltas

	hellos   []slp.Hello
	renews   []slp.Renew
	acked    map[string]uint64 // "boot scope stage" -> revision
	prepared map[string]slp.Prepared
	bye      []string
	reports  []slp.EvidenceRequest
	accepted map[string]uint64
	events   uint64
	digests  map[string]string // by scope and revision
	told     time.Time         // when the last change was broadcast
}

type fakeScope struct {
	rev     uint64
	objects map[string]json.RawMessage
	leased  bool
	ttl     time.Duration
}

type problemOf struct {
	status int
	code   string
	times  int // 0 means always
	retry  int
}

func newFake(t *testing.T) *fake {
	return &fake{
		t: t, epoch: 1, head: 1, scopes: map[string]fakeScope{"base": {rev: 1}, "overlay": {rev: 1}}, floors: map[string]uint64{},
		granting: map[string]time.Duration{}, unwind: map[string]string{}, known: map[string]bool{}, refuse: map[string]problemOf{},
		watchers: map[chan slp.Event]struct{}{}, kick: make(chan struct{}), acked: map[string]uint64{}, prepared: map[string]slp.Prepared{},
		accepted: map[string]uint64{}, digests: map[string]string{}, pinKeys: []slp.PinKey{{ID: "1", Key: []byte("0123456789abcdef")}},
	}
}

func obj(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func digestOf(objects map[string]json.RawMessage) string {
	d, err := slp.ScopeDigest(objects)
	if err != nil {
		panic(err)
	}
	return d
}

// snapshot returns the wire form of what stands. The lock is held.
func (s *fake) snapshot() slp.Snapshot {
	out := slp.Snapshot{Env: "test", Head: slp.Head{Rev: s.head}, Scopes: map[string]slp.ScopeMeta{}, Objects: map[string]json.RawMessage{}}
	for name, sc := range s.scopes {
		key := fmt.Sprint(name, " ", sc.rev)
		if s.digests[key] == "" {
			s.digests[key] = digestOf(sc.objects)
		}
		out.Scopes[name] = slp.ScopeMeta{Rev: sc.rev, Digest: s.digests[key], Leased: sc.leased, TTLMs: sc.ttl.Milliseconds()}
		for path, raw := range sc.objects {
			out.Objects[name+"/"+path] = raw
		}
	}
	var err error
	if out.Head.Digest, err = slp.EnvDigest(out.Scopes); err != nil {
		panic(err)
	}
	return out
}

func (s *fake) event(kind string) slp.Event {
	e := slp.Event{Kind: kind, Epoch: s.epoch, Head: s.snapshot().Head, Committed: map[string]uint64{}, Floors: maps.Clone(s.floors), Unwind: maps.Clone(s.unwind)}
	for name, sc := range s.scopes {
		if sc.leased {
			e.Committed[name] = sc.rev
		}
	}
	return e
}

func (s *fake) broadcast(e slp.Event) {
	for w := range s.watchers {
		select {
		case w <- e:
		default:
			s.t.Error("a watcher's queue is full")
		}
	}
}

// change publishes a new revision and broadcasts it.
func (s *fake) change(kind string, f func()) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	prev := s.snapshot()
	s.head++
	f()
	next := s.snapshot()
	e := s.event(kind)
	if !s.lag {
		d := &slp.Delta{Base: prev.Head.Digest, Scopes: next.Scopes, Upsert: map[string]json.RawMessage{}}
		for path, raw := range next.Objects {
			if string(prev.Objects[path]) != string(raw) {
				d.Upsert[path] = raw
			}
		}
		for path := range prev.Objects {
			if _, ok := next.Objects[path]; !ok {
				d.Delete = append(d.Delete, path)
			}
		}
		e.Delta = d
	}
	s.told = time.Now()
	s.broadcast(e)
	return s.head
}

// put writes a scope whole.
func (s *fake) put(scope string, objects map[string]json.RawMessage) uint64 {
	return s.change(slp.EventCommit, func() {
		sc := s.scopes[scope]
		sc.rev, sc.objects = s.head, objects
		s.scopes[scope] = sc
	})
}

const theRollout = "r1"

// rolloutObjects is the scope of a rollout of flag "model" from v1 to v2 at an exposure.
func rolloutObjects(exposure flag.Exposure) map[string]json.RawMessage {
	f := flag.Flag{
		Key: "model", Type: flag.String, Default: "v1", Variants: map[string]json.RawMessage{"v1": obj("one"), "v2": obj("two")},
		Rollout: &flag.Rollout{ID: theRollout, Stable: "v1", Candidate: "v2", Salt: "salt", Cohorts: []flag.CohortExposure{{Cohort: "all", Exposure: exposure}}},
	}
	return map[string]json.RawMessage{
		"flag/model": obj(f),
		"judge/" + theRollout: obj(flag.Judged{Rollout: theRollout, Segments: []string{"region"},
			Metrics: json.RawMessage(`{"latency":{"kind":"value","badAbove":0.5},"scored":{"kind":"proportion","once":true}}`)}),
	}
}

func settledObjects() map[string]json.RawMessage {
	return map[string]json.RawMessage{
		"flag/model": obj(flag.Flag{Key: "model", Type: flag.String, Default: "v1", Variants: map[string]json.RawMessage{"v1": obj("one"), "v2": obj("two")}}),
	}
}

func baseObjects() map[string]json.RawMessage {
	return map[string]json.RawMessage{
		"flag/on":    obj(flag.Flag{Key: "on", Type: flag.Bool, Default: "yes", Variants: map[string]json.RawMessage{"yes": obj(true), "no": obj(false)}}),
		"flag/limit": obj(flag.Flag{Key: "limit", Type: flag.Int, Default: "a", Variants: map[string]json.RawMessage{"a": obj(7)}}),
		"flag/rate":  obj(flag.Flag{Key: "rate", Type: flag.Float, Default: "a", Variants: map[string]json.RawMessage{"a": obj(0.5)}}),
		"flag/plan": obj(flag.Flag{Key: "plan", Type: flag.String, Default: "basic", Variants: map[string]json.RawMessage{"basic": obj("b"), "gold": obj("g")},
			Rules: []flag.Rule{{Name: "eu", Match: flag.Condition{Attr: &flag.Compare{Name: "region", Op: "eq", Value: obj("eu")}}, Serve: "gold"}}}),
	}
}

const ttl = 2 * time.Second

// open begins the rollout at an exposure with leases.
func (s *fake) open(exposure flag.Exposure) uint64 {
	return s.change(slp.EventCommit, func() {
		s.scopes[theRollout] = fakeScope{rev: s.head, objects: rolloutObjects(exposure), leased: true, ttl: ttl}
		s.granting[theRollout] = ttl
	})
}

// revoke takes the rollout back: no more grants, a floor, the settled content.
func (s *fake) revoke() uint64 {
	return s.change(slp.EventRevoke, func() {
		delete(s.granting, theRollout)
		s.scopes[theRollout] = fakeScope{rev: s.head, objects: settledObjects(), leased: true, ttl: ttl}
		s.floors[theRollout] = s.head
	})
}

func (s *fake) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *fake) ack(boot, scope, stage string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked[boot+" "+scope+" "+stage]
}

// cut ends all streams.
func (s *fake) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.kick)
	s.kick = make(chan struct{})
}

func (s *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.refused(w, r.URL.Path) {
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/hello":
		s.hello(w, r)
	case "POST /v1/renew":
		s.renew(w, r)
	case "POST /v1/ack":
		s.ackRequest(w, r)
	case "POST /v1/evidence":
		s.evidence(w, r)
	case "GET /v1/snapshot":
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, s.snapshot())
	case "GET /v1/watch":
		s.watch(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *fake) refused(w http.ResponseWriter, path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.refuse[path]
	if !ok {
		p, ok = s.refuse["*"]
	}
	if !ok {
		return false
	}
	if p.times > 0 {
		if p.times--; p.times == 0 {
			delete(s.refuse, path)
		} else {
			s.refuse[path] = p
		}
	}
	if p.retry > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(p.retry))
	}
	w.WriteHeader(p.status)
	answer(w, map[string]any{"code": p.code, "detail": "as the test wants"})
	return true
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (s *fake) decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		s.t.Errorf("%s: %v", r.URL.Path, err)
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	return true
}

func now() int64 { return time.Now().UnixMicro() }

func (s *fake) hello(w http.ResponseWriter, r *http.Request) {
	var q slp.Hello
	if !s.decode(w, r, &q) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hellos = append(s.hellos, q)
	if q.Seen.Rev > s.head {
		w.WriteHeader(http.StatusConflict)
		answer(w, map[string]string{"code": "amnesia"})
		return
	}
	s.known[q.Boot] = true
	answer(w, slp.HelloAnswer{Epoch: s.epoch, Snapshot: s.snapshot(), PinKeys: s.pinKeys, ServerNow: now()})
}

func (s *fake) renew(w http.ResponseWriter, r *http.Request) {
	var q slp.Renew
	if !s.decode(w, r, &q) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known[q.Boot] {
		w.WriteHeader(http.StatusGone)
		answer(w, map[string]string{"code": "boot_unknown"})
		return
	}
	s.renews = append(s.renews, q)
	s.take(slp.AckRequest{Boot: q.Boot, Acks: q.Acks, Prepared: q.Prepared})
	g := slp.Grant{Boot: q.Boot, N: q.N, Epoch: s.epoch, Floors: s.floors, Head: s.snapshot().Head, ServerNow: now(), Leases: map[string]int64{}}
	for scope, d := range s.granting {
		g.Leases[scope] = d.Milliseconds()
	}
	answer(w, g)
}

func (s *fake) take(q slp.AckRequest) {
	for _, a := range q.Acks {
		k := q.Boot + " " + a.Scope + " " + a.Stage
		s.acked[k] = max(s.acked[k], a.Rev)
	}
	for _, p := range q.Prepared {
		s.prepared[q.Boot] = p
	}
	if q.Bye {
		s.bye = append(s.bye, q.Boot)
	}
}

func (s *fake) ackRequest(w http.ResponseWriter, r *http.Request) {
	var q slp.AckRequest
	if !s.decode(w, r, &q) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(q)
	w.WriteHeader(http.StatusNoContent)
}

func (s *fake) evidence(w http.ResponseWriter, r *http.Request) {
	var q slp.EvidenceRequest
	if !s.decode(w, r, &q) {
		return
	}
	if err := slp.CheckEvidence(q); err != nil {
		s.t.Errorf("evidence: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.Seq != s.accepted[q.Boot]+1 && q.Seq > s.accepted[q.Boot] {
		s.t.Errorf("evidence %d after %d", q.Seq, s.accepted[q.Boot])
	}
	if q.Seq > s.accepted[q.Boot] {
		s.accepted[q.Boot] = q.Seq
		s.reports = append(s.reports, q)
	}
	answer(w, slp.EvidenceAnswer{Accepted: s.accepted[q.Boot], ServerNow: now()})
}

func (s *fake) watch(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") || r.URL.Query().Get("boot") == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	ch := make(chan slp.Event, 64)
	s.mu.Lock()
	s.watchers[ch] = struct{}{}
	kick := s.kick
	ch <- s.event(slp.EventState)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, ch)
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	ping := time.NewTicker(3 * time.Second)
	defer ping.Stop()
	for {
		var e slp.Event
		select {
		case <-r.Context().Done():
			return
		case <-kick:
			return
		case e = <-ch:
		case <-ping.C:
			s.mu.Lock()
			e = s.event(slp.EventPing)
			s.mu.Unlock()
		}
		s.mu.Lock()
		silent := s.silent
		s.events++
		n := s.events
		s.mu.Unlock()
		if silent {
			continue
		}
		if _, err := fmt.Fprintf(w, "id: %d.%d\nevent: %s\ndata: %s\n\n", e.Epoch, n, e.Kind, obj(e)); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
}

// pipeNet is a network in memory, so that time in it is the bubble's.
type pipeNet struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex
	down bool
	all  []net.Conn
}

func newPipeNet() *pipeNet { return &pipeNet{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipeNet) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipeNet) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipeNet) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipeNet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: fmt.Errorf("the network is down")}
	}
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		p.mu.Lock()
		p.all = append(p.all, ours, theirs)
		p.mu.Unlock()
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cut breaks all connections and lets no new one through until up.
func (p *pipeNet) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.all {
		_ = c.Close()
	}
	p.all = nil
}

func (p *pipeNet) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// world is a fake server on a network in memory.
type world struct {
	*fake
	net *pipeNet
	srv *http.Server
}

func newWorld(t *testing.T) *world {
	w := &world{fake: newFake(t), net: newPipeNet()}
	w.scopes["base"] = fakeScope{rev: 1, objects: baseObjects()}
	w.srv = &http.Server{Handler: w.fake}
	go func() { _ = w.srv.Serve(w.net) }()
	t.Cleanup(func() { _ = w.srv.Close() })
	return w
}

// config is a component "shop" on the world's network.
func (w *world) config() Config {
	return Config{
		URL: "http://sluice.test", Token: "secret", Component: "shop", Instance: "shop-1", DrainBound: 500 * time.Millisecond,
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: w.net.dial}}, Logf: w.t.Logf,
	}
}

func (w *world) join(change func(*Config)) *Client {
	w.t.Helper()
	cfg := w.config()
	if change != nil {
		change(&cfg)
	}
	c, err := newClient(w.t.Context(), cfg, quietHooks())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// quietHooks: no early lapse, and a clock that agrees with the bubble's.
func quietHooks() hooks {
	return hooks{clock: func() time.Duration { return time.Duration(time.Now().UnixNano()) }, patience: patience}
}

func (w *world) leave(clients ...*Client) {
	w.t.Helper()
	for _, c := range clients {
		if err := c.Close(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
	_ = w.srv.Close()
}

// units returns units in each arm of the rollout at an exposure.
func units(exposure flag.Exposure, exposed bool, n int) []string {
	var out []string
	for i := 0; len(out) < n; i++ {
		u := fmt.Sprintf("unit-%d", i)
		if flag.Exposed(flag.Bucket(u, "salt"), exposure) == exposed {
			out = append(out, u)
		}
	}
	return out
}

func blocksWhere(reports []slp.EvidenceRequest, metric, arm string) (n, bad, open uint64) {
	for _, q := range reports {
		for _, b := range q.Blocks {
			if b.Metric == metric && b.Assigned == arm {
				n, bad = n+b.N, bad+b.Bad
				open = b.Open
			}
		}
	}
	return n, bad, open
}
