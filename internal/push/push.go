package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"sync"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/fleet"
)

// Controller is what push needs of package control.
type Controller interface {
	Do(ctx context.Context, ev engine.Event) error
}

// Config says how to serve the fleet. Env is required.
type Config struct {
	// Env names the environment of a request that has already been authenticated.
	Env func(*http.Request) string
	// PinKeys returns the keys that sign request pins of an environment, the current one first.
	PinKeys func(env string) []slp.PinKey
	Now     func() time.Time // the controller's clock, because leases and horizon are compared; nil means time.Now
	// Heads signs what members are told of the head and reads it back; nil signs nothing, and then no amnesia can be proven.
	Heads HeadSigner
	Log   *slog.Logger // nil discards
}

// HeadSigner vouches for heads of environments.
type HeadSigner interface {
	// Sign returns the head as members keep it, "" if it cannot be signed.
	Sign(env string, epoch uint64, head slp.Head) string
	// Open returns what a signed head says, !ok unless this server's key has signed it for the environment.
	Open(env, signed string) (epoch uint64, head slp.Head, ok bool)
}

// Server answers the fleet. It is the grant path that control publishes to.
type Server struct {
	cfg  Config
	ctl  Controller
	done chan struct{}
	wg   sync.WaitGroup

	mu   sync.RWMutex
	envs map[string]*environment
}

type environment struct {
	name   string
	grants *grants
	hub    *hub
	acks   chan engine.Acked

	mu       sync.Mutex
	head     slp.Head // of snapshot
	snapshot json.RawMessage
	shown    shown
}

// maxAcks bounds what waits for the engine; when it is full the member is asked to repeat.
const maxAcks = 16384

// New returns a server without a controller; Run connects it.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Server{cfg: cfg, done: make(chan struct{}), envs: map[string]*environment{}}
}

// Run connects the controller; requests before it are answered 503.
func (s *Server) Run(ctl Controller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctl = ctl
	for _, e := range s.envs {
		s.start(e)
	}
}

// Close ends all streams and waits for what was handed on.
func (s *Server) Close() {
	close(s.done)
	s.wg.Wait()
}

func (s *Server) environment(name string) *environment {
	s.mu.RLock()
	e := s.envs[name]
	s.mu.RUnlock()
	if e != nil {
		return e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.envs[name]; e != nil {
		return e
	}
	e = &environment{name: name, grants: newGrants(), hub: newHub(), acks: make(chan engine.Acked, maxAcks)}
	s.envs[name] = e
	if s.ctl != nil {
		s.start(e)
	}
	return e
}

func (s *Server) start(e *environment) { s.wg.Go(func() { s.handOn(e) }) }

func (s *Server) env(r *http.Request) *environment { return s.environment(s.cfg.Env(r)) }

// Stop implements control.Grants.
func (s *Server) Stop(env, scope string) { s.environment(env).grants.stop(scope) }

// Publish implements control.Grants.
func (s *Server) Publish(v engine.View) {
	g := s.environment(v.Env).grants
	if old := g.current(); old.Head == v.Head && old.Epoch == v.Epoch {
		v.Event.Sig = old.Event.Sig
	} else if s.cfg.Heads != nil {
		v.Event.Sig = s.cfg.Heads.Sign(v.Env, v.Epoch, v.Head)
	}
	g.publish(v)
}

// Broadcast implements control.Grants.
func (s *Server) Broadcast(env string, e slp.Event) {
	here := s.environment(env)
	if v := here.grants.current(); v.Head == e.Head {
		e.Sig = v.Event.Sig
	}
	here.hub.broadcast(e)
}

// Seen implements control.Grants.
func (s *Server) Seen() map[string][]engine.Seen {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[string][]engine.Seen, len(s.envs))
	for name, e := range s.envs {
		out[name] = e.grants.seen(s.cfg.Now().Add(-fleet.Forget))
	}
	return out
}

// handOn gives the engine what members said, many at a time, so that a barrier over thousands is looked at once.
func (s *Server) handOn(e *environment) {
	for {
		select {
		case <-s.done:
			return
		case a := <-e.acks:
			list := []engine.Acked{a}
			for more := true; more && len(list) < maxAcks; {
				select {
				case a := <-e.acks:
					list = append(list, a)
				default:
					more = false
				}
			}
			fail.At(fail.AcksHanded)
			if err := s.ctl.Do(context.Background(), engine.Acks{Env: e.name, List: list}); err != nil {
				s.cfg.Log.Warn("acks", "env", e.name, "err", err)
			}
			fail.At(fail.AcksDone)
		}
	}
}

// Register adds the routes. Authentication, limits on rates and logging are the caller's.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/hello", s.hello)
	mux.HandleFunc("POST /v1/renew", s.renew)
	mux.HandleFunc("POST /v1/ack", s.ack)
	mux.HandleFunc("POST /v1/evidence", s.evidence)
	mux.HandleFunc("GET /v1/watch", s.watch)
	mux.HandleFunc("GET /v1/snapshot", s.snapshot)
}

// Body limits, bytes.
const (
	maxHello    = 64 << 10
	maxRenew    = 256 << 10
	maxEvidence = 4 << 20
)

var (
	bootForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)
)

func (s *Server) hello(w http.ResponseWriter, r *http.Request) {
	env := s.env(r)
	var q slp.Hello
	if !s.decode(w, r, maxHello, &q) {
		return
	}
	if err := checkHello(q); err != nil {
		s.refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if v := env.grants.current(); q.Seen.Rev > v.Head.Rev {
		s.refuse(w, http.StatusConflict, s.forgotten(ctx, env, q, v.Head))
		return
	}
	if err := s.ctl.Do(ctx, engine.Join{Env: env.name, Hello: q}); err != nil {
		s.refuse(w, http.StatusServiceUnavailable, err)
		return
	}
	fail.At(fail.HelloStored)
	env.grants.join(q.Boot)
	fail.At(fail.HelloJoined)
	v := env.grants.current()
	answer := struct {
		Epoch     uint64          `json:"epoch"`
		Snapshot  json.RawMessage `json:"snapshot"`
		PinKeys   []slp.PinKey    `json:"pinKeys,omitempty"`
		Sig       string          `json:"sig,omitempty"`
		ServerNow int64           `json:"serverNow"`
	}{v.Epoch, env.encoded(v), nil, v.Event.Sig, s.cfg.Now().UnixMicro()}
	if s.cfg.PinKeys != nil {
		answer.PinKeys = s.cfg.PinKeys(env.name)
	}
	reply(w, answer)
	fail.At(fail.HelloAnswered)
}

// forgotten answers a member that has seen more than this server knows: with a head that our own key signed that is
// amnesia and holds the environment; without one only that member stays out.
func (s *Server) forgotten(ctx context.Context, env *environment, q slp.Hello, head slp.Head) *Problem {
	p := &Problem{Code: "head.unsigned", Text: fmt.Sprintf("instance %s claims to have seen revision %d, the head here is %d, and shows no signed head above it",
		q.Instance, q.Seen.Rev, head.Rev), Fix: "clear its cache folder if it once belonged to another server"}
	var ev engine.Event = engine.Claimed{Env: env.name, Hello: q}
	if s.cfg.Heads != nil {
		if epoch, seen, ok := s.cfg.Heads.Open(env.name, q.Seen.Signed); ok && seen.Rev > head.Rev {
			p = &Problem{Code: "amnesia", Text: fmt.Sprintf("instance %s has seen revision %d, the head here is %d", q.Instance, seen.Rev, head.Rev),
				Fix: "this server was restored from an old backup: bring back the newest store, or run sluice recover --adopt"}
			ev = engine.Forgotten{Env: env.name, Lost: engine.Lost{Instance: q.Instance, Epoch: epoch, Rev: seen.Rev, Digest: seen.Digest}}
		}
	}
	if err := s.ctl.Do(ctx, ev); err != nil {
		s.cfg.Log.Error("hello", "env", env.name, "instance", q.Instance, "err", err)
	}
	return p
}

func checkHello(q slp.Hello) error {
	switch {
	case !nameForm.MatchString(q.Instance):
		return &Problem{Code: "hello.instance", Text: fmt.Sprintf("instance %q is no name", q.Instance), Fix: "letters, digits, . _ : -, at most 128"}
	case !nameForm.MatchString(q.Component):
		return &Problem{Code: "hello.component", Text: fmt.Sprintf("component %q is no name", q.Component), Fix: "letters, digits, . _ : -, at most 128"}
	case !bootForm.MatchString(q.Boot):
		return &Problem{Code: "hello.boot", Text: "boot is not 32 hex digits", Fix: "draw 128 random bits at each process start"}
	case q.WMs < 0 || q.WMs > 600_000:
		return &Problem{Code: "hello.w", Text: fmt.Sprintf("w is %d ms", q.WMs), Fix: "0 to 600000"}
	}
	switch q.Caps.Guard {
	case slp.GuardLease, slp.GuardFence, slp.GuardNone:
	default:
		return &Problem{Code: "hello.guard", Text: fmt.Sprintf("guard %q is unknown", q.Caps.Guard), Fix: "leave it out, or fence or none"}
	}
	switch q.Class {
	case slp.ClassReader, slp.ClassRouter, slp.ClassHost, slp.ClassStore, slp.ClassWriter:
		return nil
	}
	return &Problem{Code: "hello.class", Text: fmt.Sprintf("class %q is unknown", q.Class), Fix: "reader, router, host, store or writer"}
}

// encoded returns the snapshot of the view's head; it is encoded once per head.
func (e *environment) encoded(v engine.View) json.RawMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.head == v.Head && e.snapshot != nil {
		return e.snapshot
	}
	b, err := json.Marshal(engine.Snapshot(v.Config))
	if err != nil {
		panic("push: snapshot has no JSON: " + err.Error()) // canonical objects only
	}
	e.head, e.snapshot = v.Head, b
	return b
}

func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	env := s.env(r)
	reply(w, env.encoded(env.grants.current()))
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	now := s.cfg.Now() // receipt
	env := s.env(r)
	var q slp.Renew
	if !s.decode(w, r, maxRenew, &q) {
		return
	}
	if rev, ahead := aheadOf(q, env.grants.current().Head.Rev); ahead {
		s.refuse(w, http.StatusConflict, &Problem{Code: "amnesia", Text: fmt.Sprintf("boot %s uses revision %d, which is not known here", q.Boot, rev), Fix: "POST /v1/hello with what was seen"})
		return
	}
	grant, ok := env.grants.renew(q, now)
	if !ok {
		s.refuse(w, http.StatusGone, &Problem{Code: "boot_unknown", Text: "boot " + q.Boot + " has not said hello to this server", Fix: "POST /v1/hello"})
		return
	}
	s.said(env, engine.Acked{Boot: q.Boot, Acks: q.Acks, Prepared: q.Prepared, Active: q.Active})
	fail.At(fail.RenewGranted)
	reply(w, grant)
	fail.At(fail.RenewAnswered)
}

// aheadOf reports whether a boot uses, or is bound by, a revision above the head: it needs no lease from whoever does not
// know that revision.
func aheadOf(q slp.Renew, head uint64) (rev uint64, ahead bool) {
	for _, revs := range []map[string]uint64{q.Active, q.Floors} {
		for _, r := range revs {
			rev = max(rev, r)
		}
	}
	return rev, rev > head
}

// said hands on what a boot says when it is new. A full queue drops it: the member repeats it with its next Renew.
func (s *Server) said(env *environment, a engine.Acked) bool {
	if len(a.Acks) == 0 && len(a.Prepared) == 0 && !a.Bye {
		return true
	}
	key, err := json.Marshal(a)
	if err != nil || !env.grants.fresh(a.Boot, string(key)) {
		return err == nil
	}
	select {
	case env.acks <- a:
		env.grants.handed(a.Boot, string(key))
		fail.At(fail.SaidQueued)
		return true
	default:
		return false
	}
}

func (s *Server) ack(w http.ResponseWriter, r *http.Request) {
	env := s.env(r)
	var q slp.AckRequest
	if !s.decode(w, r, maxRenew, &q) {
		return
	}
	if !s.said(env, engine.Acked{Boot: q.Boot, Acks: q.Acks, Prepared: q.Prepared, Bye: q.Bye}) {
		s.busy(w)
		return
	}
	fail.At(fail.AckTaken)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) evidence(w http.ResponseWriter, r *http.Request) {
	env := s.env(r)
	var q slp.EvidenceRequest
	if !s.decode(w, r, maxEvidence, &q) {
		return
	}
	if err := slp.CheckEvidence(q); err != nil {
		s.refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	fail.At(fail.EvidenceTaken)
	var answer slp.EvidenceAnswer
	if err := s.ctl.Do(r.Context(), engine.Reported{Env: env.name, Request: q, Answer: &answer}); err != nil {
		var ref *engine.Refusal
		if errors.As(err, &ref) && ref.Code == "boot.unknown" {
			s.refuse(w, http.StatusGone, &Problem{Code: "boot_unknown", Text: ref.Text, Fix: ref.Fix})
			return
		}
		s.refuse(w, http.StatusServiceUnavailable, err)
		return
	}
	fail.At(fail.EvidenceHeard)
	reply(w, answer)
}
