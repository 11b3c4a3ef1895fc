package push

import (
	"encoding/json"
	"errors"
	"net/http"

	"sluice.dev/sdk/evidence"
)

// Problem is a refused request of a member: an RFC 9457 body with a stable code.
type Problem struct {
	Code string
	Text string
	Fix  string
}

func (p *Problem) Error() string { return p.Text }

func (s *Server) refuse(w http.ResponseWriter, status int, err error) {
	body := map[string]any{"type": "about:blank", "status": status, "title": http.StatusText(status), "detail": err.Error(), "code": "unavailable"}
	var p *Problem
	var ev *evidence.Error
	switch {
	case errors.As(err, &p):
		body["code"], body["fix"] = p.Code, p.Fix
	case errors.As(err, &ev):
		body["code"], body["field"] = ev.Code, ev.Field
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader is gone: nothing to do
}

func (s *Server) busy(w http.ResponseWriter) {
	s.refuse(w, http.StatusServiceUnavailable, &Problem{Code: "busy", Text: "too many answers are waiting", Fix: "repeat after the time in Retry-After"})
}

// decode reads a bounded JSON body and answers for itself when it cannot.
func (s *Server) decode(w http.ResponseWriter, r *http.Request, limit int64, v any) bool {
	if s.ctl == nil {
		s.refuse(w, http.StatusServiceUnavailable, &Problem{Code: "not_leader", Text: "this server does not lead yet", Fix: "repeat after the time in Retry-After"})
		return false
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(v)
	if err == nil {
		return true
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		s.refuse(w, http.StatusRequestEntityTooLarge, &Problem{Code: "body.size", Text: "the body is larger than allowed", Fix: "send less at once"})
		return false
	}
	s.refuse(w, http.StatusBadRequest, &Problem{Code: "json.invalid", Text: "the body is not the JSON expected: " + err.Error(), Fix: "see /openapi.json"})
	return false
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the reader is gone: nothing to do
}
