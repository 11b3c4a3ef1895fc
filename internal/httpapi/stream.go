package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/store"
)

// Limits of the stream of changes.
const (
	streamEvery   = 250 * time.Millisecond // how often changes are looked for: at most four events a second and rollout
	streamPing    = 4 * time.Second        // a reader that hears nothing for 10 s calls its data stale
	streamQueue   = 256                    // frames that wait for one slow reader; then its stream ends and it resumes
	streamReplay  = 5000                   // records replayed for Last-Event-ID; further back the reader reads /v1/audit
	streamTimeout = 10 * time.Second       // of one write
	streamLife    = 10 * time.Minute       // then the reader comes back and is asked again who it is
)

// RecordEvent tells that a record was written.
type RecordEvent struct {
	Seq     uint64    `json:"seq"`
	Kind    string    `json:"kind"`
	Rollout string    `json:"rollout,omitempty"`
	Actor   string    `json:"actor"`
	At      time.Time `json:"at"`
}

// RolloutEvent tells how a rollout stands. It is sent when any of it changes, the numbers of the verdicts included.
type RolloutEvent struct {
	RolloutRow
	Second   int64  `json:"second"`
	Version  uint64 `json:"version"`
	Verdicts string `json:"verdicts" doc:"changes when a verdict or its numbers do"`
}

// Stream is the one source of changes for all browsers: it looks for them while somebody listens, encodes each once and
// hands it to every reader. Records carry their sequence as the event's id, so a reader resumes without a gap.
type Stream struct {
	ctl   Controller
	store store.Store

	done chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	mu      sync.Mutex
	readers map[*reader]struct{}
	running bool
}

type frame struct {
	seq  uint64 // of a record; 0 for other events
	data []byte
}

type reader struct {
	queue chan frame
	lost  chan struct{} // closed when the reader was too slow
}

// NewStream returns a stream over the controller's rollouts and the store's records. Close ends it.
func NewStream(ctl Controller, st store.Store) *Stream {
	return &Stream{ctl: ctl, store: st, done: make(chan struct{}), readers: map[*reader]struct{}{}}
}

// Close ends all readers' streams and waits for the watching.
func (s *Stream) Close() {
	s.once.Do(func() { close(s.done) })
	s.wg.Wait()
}

func (s *Stream) join() *reader {
	r := &reader{queue: make(chan frame, streamQueue), lost: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[r] = struct{}{}
	if !s.running {
		s.running = true
		s.wg.Go(s.watch)
	}
	return r
}

func (s *Stream) leave(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.readers, r)
}

// tell hands a frame to every reader and never waits for one.
func (s *Stream) tell(f frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.readers {
		select {
		case r.queue <- f:
		default:
			delete(s.readers, r)
			close(r.lost)
		}
	}
}

// idle reports that nobody listens, and ends the watching.
func (s *Stream) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.readers) > 0 {
		return false
	}
	s.running = false
	return true
}

// watch looks for changes until nobody listens any more.
func (s *Stream) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	last := map[string]string{}
	seq := uint64(0)
	if h, err := s.store.TreeHead(ctx); err == nil {
		seq = h.Size
	}
	for first := true; ; first = false {
		if !first {
			select {
			case <-s.done:
				return
			case <-tick.C:
			}
			if s.idle() {
				return
			}
		}
		seq = s.look(ctx, seq, last)
	}
}

// look tells what changed since the record seq and since last, which it brings up to date.
func (s *Stream) look(ctx context.Context, seq uint64, last map[string]string) uint64 {
	rows, head, err := s.rows(ctx)
	if err != nil {
		return seq // stopping: the readers' streams end by themselves
	}
	if head > seq {
		recs, err := s.store.Records(ctx, store.Query{After: seq, Limit: streamReplay})
		if err != nil {
			return seq
		}
		for _, r := range recs {
			s.tell(recordFrame(r))
			seq = r.Seq
		}
	}
	for _, row := range rows {
		f := rolloutFrame(row)
		if text := string(f.data); last[row.Name] != text {
			last[row.Name] = text
			s.tell(f)
		}
	}
	return seq
}

func (s *Stream) rows(ctx context.Context) (rows []RolloutEvent, head uint64, err error) {
	err = s.ctl.Read(ctx, func(e *engine.Engine) {
		head = e.Seq()
		for _, st := range e.Rollouts() {
			if full, err := e.Rollout(st.Name); err == nil {
				rows = append(rows, RolloutEvent{
					RolloutRow: view(full).RolloutRow, Second: full.Second, Version: st.Version, Verdicts: fingerprint(full.Report.Verdicts),
				})
			}
		}
	})
	return rows, head, err
}

// fingerprint changes when a verdict or one of its numbers does. It identifies nothing else.
func fingerprint(vs []judge.Verdict) string {
	h := fnv.New64a()
	for i := range vs {
		v := &vs[i]
		fmt.Fprintf(h, "%s %s %s %g %g %d %d\n", v.Guardrail, v.Value, v.Result, v.Baseline, v.Exposed, v.NBaseline, v.NExposed)
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

func recordFrame(r audit.Record) frame {
	body := mustJSON(RecordEvent{Seq: r.Seq, Kind: r.Kind, Rollout: r.Rollout, Actor: r.Actor, At: r.At})
	return frame{seq: r.Seq, data: fmt.Appendf(nil, "id: %d\nevent: record\ndata: %s\n\n", r.Seq, body)}
}

func rolloutFrame(e RolloutEvent) frame {
	return frame{data: fmt.Appendf(nil, "event: rollout\ndata: %s\n\n", mustJSON(e))}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("httpapi: event has no JSON: " + err.Error()) // our own types
	}
	return b
}

// ServeHTTP holds GET /v1/stream: first what was missed since Last-Event-ID, then how every rollout stands, then changes.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := sse{w: w, rc: http.NewResponseController(w)}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	me := s.join()
	defer s.leave(me)
	sent, ok := s.begin(r, &out)
	ping := time.NewTicker(streamPing)
	defer ping.Stop()
	end := time.NewTimer(streamLife)
	defer end.Stop()
	for ok {
		select {
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		case <-me.lost:
			return
		case <-ping.C:
			ok = out.write(pingFrame(time.Now()))
		case f := <-me.queue:
			if f.seq != 0 && f.seq <= sent {
				continue // replayed already
			}
			sent = max(sent, f.seq)
			ok = out.write(f.data)
		}
	}
}

func pingFrame(now time.Time) []byte {
	return fmt.Appendf(nil, "event: ping\ndata: {\"now\":%q}\n\n", now.UTC().Format(time.RFC3339Nano))
}

// begin sends what the reader missed and how everything stands. It returns the last record sent.
func (s *Stream) begin(r *http.Request, out *sse) (sent uint64, ok bool) {
	rows, head, err := s.rows(r.Context())
	if err != nil {
		return 0, false
	}
	after, resume := head, false
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after") // of a browser whose tab takes the stream over from another one
	}
	if id != "" {
		if n, err := strconv.ParseUint(id, 10, 64); err == nil && n <= head && head-n <= streamReplay {
			after, resume = n, true
		}
	}
	hello := fmt.Appendf(nil, "retry: 1000\nid: %d\nevent: hello\ndata: {\"seq\":%d,\"resumed\":%t,\"now\":%q}\n\n",
		after, head, resume, time.Now().UTC().Format(time.RFC3339Nano))
	if !out.write(hello) {
		return 0, false
	}
	sent = after
	if after < head {
		recs, err := s.store.Records(r.Context(), store.Query{After: after, Limit: streamReplay})
		if err != nil {
			return sent, false
		}
		for _, rec := range recs {
			if !out.write(recordFrame(rec).data) {
				return sent, false
			}
			sent = rec.Seq
		}
	}
	for _, row := range rows {
		if !out.write(rolloutFrame(row).data) {
			return sent, false
		}
	}
	return sent, true
}

type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (o *sse) write(b []byte) bool {
	_ = o.rc.SetWriteDeadline(time.Now().Add(streamTimeout)) // not every writer has deadlines
	if _, err := o.w.Write(b); err != nil {
		return false
	}
	return o.rc.Flush() == nil
}
