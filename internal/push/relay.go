package push

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sdk/slp"
)

// Relay serves watch on a server that does not lead: one stream per environment comes from the leader and is handed on to
// all watchers here. While the leader changes the watchers are held and hear nothing; the next leader's state reaches all.
type Relay struct {
	open func(ctx context.Context, env string) (io.ReadCloser, error)
	log  *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	envs map[string]*relayed
}

// relayed is one environment's stream from the leader.
type relayed struct {
	hub *hub

	mu       sync.Mutex
	last     *slp.Event          // the newest state, nil before the first
	prepares map[string]prepared // by scope: contents that are being armed, which no other event repeats
}

type prepared struct {
	frame []byte
	after uint64 // committed revision of the scope when it came
}

// NewRelay returns a relay of the streams that open opens at the leader. Close ends it.
func NewRelay(open func(ctx context.Context, env string) (io.ReadCloser, error), log *slog.Logger) *Relay {
	ctx, cancel := context.WithCancel(context.Background())
	return &Relay{open: open, log: log, ctx: ctx, cancel: cancel, envs: map[string]*relayed{}}
}

// Close ends all streams and waits for those from the leader.
func (y *Relay) Close() {
	y.cancel()
	y.wg.Wait()
}

// relayQuiet is when a watcher of a relay would get a ping of our own: never, it gets the leader's.
const relayQuiet = 24 * time.Hour

// Watch holds GET /v1/watch of an authenticated member of env.
func (y *Relay) Watch(w http.ResponseWriter, r *http.Request, env string) {
	e := y.environment(env)
	hold(w, r, y.ctx.Done(), e.hub, e.states, func() (time.Duration, []byte) { return relayQuiet, []byte(":\n\n") })
}

func (y *Relay) environment(name string) *relayed {
	y.mu.Lock()
	defer y.mu.Unlock()
	e := y.envs[name]
	if e == nil {
		e = &relayed{hub: newHub(), prepares: map[string]prepared{}}
		y.envs[name] = e
		y.wg.Go(func() { y.pump(name, e) })
	}
	return e
}

// relayRetry is how long after the loss of the leader's stream it is opened again.
const relayRetry = 200 * time.Millisecond

func (y *Relay) pump(env string, e *relayed) {
	for y.ctx.Err() == nil {
		if err := y.follow(env, e); y.ctx.Err() == nil {
			y.log.Warn("stream from the leader", "env", env, "err", err)
		}
		select {
		case <-time.After(relayRetry):
		case <-y.ctx.Done():
		}
	}
}

func (y *Relay) follow(env string, e *relayed) error {
	body, err := y.open(y.ctx, env)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	in := bufio.NewReaderSize(body, 64<<10)
	for {
		frame, err := readFrame(in)
		if err != nil {
			return err
		}
		ev, err := decodeFrame(frame)
		if err != nil {
			return err
		}
		e.heard(ev, frame)
	}
}

// readFrame reads one server-sent event with its empty line.
func readFrame(in *bufio.Reader) ([]byte, error) {
	var frame []byte
	for {
		line, err := in.ReadSlice('\n')
		frame = append(frame, line...)
		switch {
		case len(frame) > slp.MaxEventBytes:
			return nil, fmt.Errorf("event of more than %d bytes", slp.MaxEventBytes)
		case err == bufio.ErrBufferFull:
		case err != nil:
			return nil, err
		case bytes.HasSuffix(frame, []byte("\n\n")):
			return frame, nil
		}
	}
}

func decodeFrame(frame []byte) (slp.Event, error) {
	var kind, id, data string
	for line := range strings.Lines(string(frame)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			data = value
		}
	}
	return slp.DecodeEvent(kind, id, []byte(data))
}

// heard keeps what later watchers need and hands the frame on to those that are here.
func (e *relayed) heard(ev slp.Event, frame []byte) {
	e.mu.Lock()
	switch {
	case ev.Kind == slp.EventPrepare && ev.Prepare != nil:
		e.prepares[ev.Prepare.Scope] = prepared{frame: frame, after: ev.Committed[ev.Prepare.Scope]}
	case ev.Kind == slp.EventState:
		clear(e.prepares) // the leader sends those that count after it
	}
	maps.DeleteFunc(e.prepares, func(scope string, p prepared) bool { return ev.Committed[scope] > p.after })
	state := ev
	state.Kind, state.Delta, state.Prepare = slp.EventState, nil, nil
	e.last = &state
	e.mu.Unlock()

	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	e.hub.queue(frame)
}

// states is what brings a watcher up to date; nothing before the leader has been heard.
func (e *relayed) states() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil {
		return nil
	}
	frames := [][]byte{encode(*e.last, 0)}
	for _, scope := range slices.Sorted(maps.Keys(e.prepares)) {
		frames = append(frames, e.prepares[scope].frame)
	}
	return frames
}
