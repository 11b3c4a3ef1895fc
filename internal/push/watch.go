package push

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fail"
)

// hub fans the events of one environment out to its watchers. An event is encoded once.
type hub struct {
	mu       sync.Mutex
	n        uint64
	watchers map[*watcher]struct{}
}

// watcher is one held stream. A slow one loses its queue and gets one state event instead: every event is
// level-triggered, so nothing is missed.
type watcher struct {
	mu      sync.Mutex
	queue   [][]byte
	resync  bool
	arrived chan struct{}
}

// maxQueue bounds what waits for one slow reader.
const maxQueue = 32

func newHub() *hub { return &hub{watchers: map[*watcher]struct{}{}} }

func (h *hub) join() *watcher {
	w := &watcher{arrived: make(chan struct{}, 1), resync: true}
	w.arrived <- struct{}{}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	return w
}

func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// broadcast queues an event for every watcher and never waits for one.
func (h *hub) broadcast(e slp.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	h.queue(encode(e, h.n))
}

// queue gives every watcher a frame. The lock is held.
func (h *hub) queue(frame []byte) {
	for w := range h.watchers {
		w.push(frame)
	}
}

func (w *watcher) push(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) >= maxQueue {
		w.queue, w.resync = nil, true
	}
	w.queue = append(w.queue, frame)
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

func (w *watcher) take() (frames [][]byte, resync bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames, resync = w.queue, w.resync
	w.queue, w.resync = nil, false
	return frames, resync
}

// encode returns one server-sent event. JSON has no raw line ends, so one data line holds it.
func encode(e slp.Event, n uint64) []byte {
	body, err := json.Marshal(e)
	if err != nil {
		panic("push: event has no JSON: " + err.Error()) // our own types
	}
	return fmt.Appendf(nil, "id: %d.%d\nevent: %s\ndata: %s\n\n", e.Epoch, n, e.Kind, body)
}

// pingEvery is how often a quiet stream shows that it lives: a third of the shortest lease, at most 5 s.
func pingEvery(leases map[string]time.Duration) time.Duration {
	every := 5 * time.Second
	for _, ttl := range leases {
		every = min(every, ttl/3)
	}
	return every
}

// watch holds GET /v1/watch?instance=&boot=.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	env := s.env(r)
	hold(w, r, s.done, env.hub, func() [][]byte { return env.shownNow().states }, func() (time.Duration, []byte) {
		s := env.shownNow()
		return s.every, s.ping
	})
}

// hold streams a hub's events to one watcher until it leaves or done is closed. now gives what brings it up to date, at the
// start and after it has lost its queue; ping gives what a quiet stream says, and after how long.
func hold(w http.ResponseWriter, r *http.Request, done <-chan struct{}, h *hub, now func() [][]byte, ping func() (time.Duration, []byte)) {
	rc := http.NewResponseController(w)
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-cache, no-transform")
	head.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	fail.At(fail.WatchJoined)
	me := h.join()
	defer h.leave(me)
	for {
		every, _ := ping()
		quiet := time.NewTimer(every)
		var frames [][]byte
		select {
		case <-r.Context().Done():
			quiet.Stop()
			return
		case <-done:
			quiet.Stop()
			return
		case <-me.arrived:
			quiet.Stop()
			queued, resync := me.take()
			if resync {
				frames = now()
			}
			frames = append(frames, queued...)
		case <-quiet.C:
			_, frame := ping()
			frames = [][]byte{frame}
		}
		for _, f := range frames {
			if !write(w, rc, f) {
				return
			}
			fail.At(fail.WatchSent)
		}
	}
}

// shown is a view as streams send it.
type shown struct {
	n      uint64 // of the view
	states [][]byte
	ping   []byte
	every  time.Duration // between pings
}

// shownNow encodes each view once: after a restart all streams begin at once, and every event makes all of them look.
func (e *environment) shownNow() shown {
	v, n := e.grants.shown()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shown.n != n || e.shown.ping == nil {
		e.shown = shown{n: n, states: slices.Clip(states(v)), every: pingEvery(v.Leases)}
		v.Event.Kind = slp.EventPing
		e.shown.ping = encode(v.Event, 0)
	}
	return e.shown
}

// states is what brings a stream up to date that has just begun, or has lost its queue: the state, and every content that
// is being armed, which no other event repeats.
func states(v engine.View) [][]byte {
	e := v.Event
	e.Kind = slp.EventState
	frames := [][]byte{encode(e, 0)}
	for _, p := range v.Prepares {
		e.Kind, e.Prepare = slp.EventPrepare, p
		frames = append(frames, encode(e, 0))
	}
	return frames
}

// writeTimeout bounds one write to one reader; the stream itself has no end.
const writeTimeout = 10 * time.Second

func write(w http.ResponseWriter, rc *http.ResponseController, frame []byte) bool {
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has deadlines
	if _, err := w.Write(frame); err != nil {
		return false
	}
	return rc.Flush() == nil
}
