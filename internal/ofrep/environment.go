package ofrep

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// environment is the state in force of one environment, and who waits for the next one.
type environment struct {
	name string
	uri  string // of its event stream
	now  atomic.Pointer[state]
	last atomic.Pointer[compiled] // what compiled last: serves in place of one that does not

	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

// state is one State with its compiled configuration. It is immutable but for the compilation, which happens once.
type state struct {
	State
	tag     string          // names what answers depend on besides the request
	stopped map[string]bool // scopes whose candidates were withdrawn
	since   time.Time
	made    func() (*compiled, error) // sync.OnceValues
	env     *environment
}

func (e *environment) current() *state { return e.now.Load() }

// compile waits until the configuration is compiled.
func (s *state) compile() error {
	_, err := s.made()
	return err
}

// config returns what to evaluate: the state's own configuration or, where that does not compile, the last one that did;
// nil when none has.
func (s *state) config() *compiled {
	if c, err := s.made(); err == nil {
		return c
	}
	return s.env.last.Load()
}

// leased says whether a flag of the scope may serve its candidate now.
func (s *state) leased(scope string) bool {
	return !s.stopped[scope] && s.Leased != nil && s.Leased(scope)
}

// publish replaces the state and reports whether there is something new to compile.
func (e *environment) publish(st State) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.now.Load()
	next := &state{State: st, since: time.Now(), env: e}
	same := old != nil && old.Rev == st.Rev && old.Digest == st.Digest
	if same {
		next.made, next.tag, next.since = old.made, old.tag, old.since
	} else {
		next.made = sync.OnceValues(func() (*compiled, error) { return e.compile(st) })
		next.tag = tagOf(e.name, st)
	}
	e.now.Store(next)
	if !same || len(old.stopped) > 0 {
		e.wake()
	}
	return !same
}

func (e *environment) compile(st State) (*compiled, error) {
	c, err := compile(e.name, st)
	if err == nil {
		e.last.Store(c)
	}
	return c, err
}

// stop replaces the state by one that serves no candidate of the scope.
func (e *environment) stop(scope string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.now.Load()
	if old == nil {
		return
	}
	next := *old
	next.stopped = maps.Clone(old.stopped)
	if next.stopped == nil {
		next.stopped = map[string]bool{}
	}
	next.stopped[scope] = true
	e.now.Store(&next)
}

// tagOf names a configuration: its revision, readable, and a hash of what it is.
func tagOf(env string, st State) string {
	sum := sha256.Sum256([]byte(env + "\n" + st.Digest))
	return strconv.FormatUint(st.Rev, 10) + "." + hex.EncodeToString(sum[:6])
}

// etag names the answer to a request: the configuration, which candidates may be served at this moment, and the request's
// very bytes. Two requests that differ only in spacing have different tags, which costs them one evaluation.
func (s *state) etag(body []byte) string {
	h := sha256.New()
	h.Write([]byte(s.tag))
	for _, f := range s.config().open {
		if s.leased(f.Scope) {
			h.Write([]byte{1})
		} else {
			h.Write([]byte{0})
		}
	}
	if s.config().snap.Timed() {
		h.Write(strconv.AppendInt(nil, now(), 10)) // good for this second
	}
	h.Write(body)
	var sum [sha256.Size]byte
	return `"` + s.tag + "-" + hex.EncodeToString(h.Sum(sum[:0])[:12]) + `"`
}

func (e *environment) watch() chan struct{} {
	c := make(chan struct{}, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers[c] = struct{}{}
	return c
}

func (e *environment) leave(c chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.watchers, c)
}

// wake tells every watcher, without waiting for one: several changes that a slow one misses are one to it. e.mu is held.
func (e *environment) wake() {
	for c := range e.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
