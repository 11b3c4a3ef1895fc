package ofrep

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// StreamPath is the event stream. Browsers open it without headers: its address, which only bulk answers carry, is the
// secret, and it says nothing but that there is something to fetch.
const StreamPath = "/ofrep/v1/stream"

// pingEvery is how often a quiet stream shows that it lives; writeTimeout bounds one write to one reader.
const (
	pingEvery    = 15 * time.Second
	writeTimeout = 10 * time.Second
)

// streamURI is the address of an environment's stream. It does not change, so that clients keep their connection.
func (s *Server) streamURI(env string) string {
	u := StreamPath + "?env=" + url.QueryEscape(env)
	if len(s.cfg.Key) > 0 {
		u += "&key=" + s.streamKey(env)
	}
	return u
}

func (s *Server) streamKey(env string) string {
	mac := hmac.New(sha256.New, s.cfg.Key)
	mac.Write([]byte("ofrep-stream/1\n" + env))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// stream holds one event stream: a hint at once, unless Last-Event-ID says that the client has this very state, and one
// after each change. Changes that a slow reader misses are one to it.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("env")
	if len(s.cfg.Key) > 0 && !hmac.Equal([]byte(r.URL.Query().Get("key")), []byte(s.streamKey(name))) {
		s.fail(w, http.StatusUnauthorized, "", codeGeneral, "open the address that a bulk answer carries in eventStreams")
		return
	}
	env := s.known(name)
	if env == nil {
		s.fail(w, http.StatusNotFound, "", codeGeneral, fmt.Sprintf("environment %.128q does not exist here", name))
		return
	}
	changed := env.watch()
	defer env.leave(changed)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	frame := []byte(": connected\n\n")
	if st := env.current(); r.Header.Get("Last-Event-ID") != st.tag {
		frame = hint(st)
	}
	s.hold(w, r, env, changed, frame)
}

func (s *Server) hold(w http.ResponseWriter, r *http.Request, env *environment, changed chan struct{}, frame []byte) {
	rc := http.NewResponseController(w)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has deadlines
		if _, err := w.Write(frame); err != nil || rc.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		case <-changed:
			frame = hint(env.current())
		case <-ping.C:
			frame = []byte(": ping\n\n")
		}
	}
}

// hint tells a client to fetch again, and which configuration it should find then.
func hint(st *state) []byte {
	return fmt.Appendf(nil, "id: %s\nevent: message\ndata: {\"type\":\"refetchEvaluation\",\"etag\":\"%s\",\"lastModified\":%d}\n\n", st.tag, st.tag, st.since.Unix())
}
