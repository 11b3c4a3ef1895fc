package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"sluice.dev/sdk/slp"
)

// errStatus is an answer other than success.
type errStatus struct {
	Status int
	Body   string
}

func (e *errStatus) Error() string { return fmt.Sprintf("status %d: %.200s", e.Status, e.Body) }

// directWire calls the server's handler in this process: what is measured over it is the server and the engine, no sockets.
type directWire struct {
	handler http.Handler
	token   string
	frames  *frameCache
}

func newDirectWire(h http.Handler, token string) *directWire {
	return &directWire{handler: h, token: token, frames: &frameCache{}}
}

func (w *directWire) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://in-process"+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	return r, nil
}

func (w *directWire) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := w.request(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	var a answer
	w.handler.ServeHTTP(&a, r)
	if a.status >= 300 {
		return &errStatus{a.status, a.body.String()}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.body.Bytes(), out)
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func (w *directWire) watch(ctx context.Context, path string, see func(slp.Event)) error {
	r, err := w.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	s := &stream{frames: w.frames, see: see}
	w.handler.ServeHTTP(s, r)
	if s.status >= 300 {
		return &errStatus{s.status, ""}
	}
	return nil
}

// stream is the reader's end of a held stream: the server writes one whole event at a time.
type stream struct {
	answer
	frames *frameCache
	see    func(slp.Event)
}

func (s *stream) Flush() {}

func (s *stream) Write(b []byte) (int, error) {
	if s.status >= 300 {
		return len(b), nil
	}
	e, err := s.frames.decode(b)
	if err != nil {
		return 0, err
	}
	s.see(e)
	return len(b), nil
}

// frameCache decodes an event that thousands of readers in one process get once. Receivers do not change events.
type frameCache struct {
	mu    sync.RWMutex
	frame []byte
	event slp.Event
}

func (c *frameCache) decode(frame []byte) (slp.Event, error) {
	c.mu.RLock()
	e, same := c.event, bytes.Equal(c.frame, frame)
	c.mu.RUnlock()
	if same {
		return e, nil
	}
	e, err := decodeFrame(frame)
	if err != nil {
		return e, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frame, c.event = bytes.Clone(frame), e
	return e, nil
}

// decodeFrame reads one server-sent event.
func decodeFrame(frame []byte) (slp.Event, error) {
	var e slp.Event
	for line := range bytes.Lines(frame) {
		name, value, _ := strings.Cut(strings.TrimRight(string(line), "\n"), ": ")
		switch name {
		case "id":
			e.ID = value
		case "event":
			e.Kind = value
		case "data":
			kind, id := e.Kind, e.ID
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return e, fmt.Errorf("event %s: %w", id, err)
			}
			e.Kind, e.ID = kind, id
		}
	}
	return e, nil
}

// httpWire sends over HTTP.
type httpWire struct {
	base, token string
	http        *http.Client
	frames      *frameCache
}

// newHTTPWire returns a wire for many members of one process.
func newHTTPWire(base, token string) *httpWire {
	t := &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 256, DisableCompression: true}
	return &httpWire{base: base, token: token, http: &http.Client{Transport: t}, frames: &frameCache{}}
}

func (w *httpWire) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, w.base+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := w.http.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		text, rerr := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, errors.Join(&errStatus{resp.StatusCode, string(text)}, rerr, resp.Body.Close())
	}
	return resp, nil
}

func (w *httpWire) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	resp, err := w.do(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || out == nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

func (w *httpWire) watch(ctx context.Context, path string, see func(slp.Event)) error {
	resp, err := w.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	rd := bufio.NewReader(resp.Body)
	var frame []byte
	for {
		line, err := rd.ReadBytes('\n')
		if err != nil {
			return err
		}
		frame = append(frame, line...)
		if len(line) > 1 {
			continue
		}
		e, err := w.frames.decode(frame)
		if err != nil {
			return err
		}
		see(e)
		frame = frame[:0]
	}
}
