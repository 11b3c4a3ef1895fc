package fence

import (
	"encoding/json"
	"errors"
	"net/http"
)

// maxCheck bounds the body of a check, bytes.
const maxCheck = 64 << 10

// Handler answers checks of neighbours that are not written in Go: a POST of {"stamps": [{"scope", "revision"}]} gets 204
// when all may pass, 409 with the refusal otherwise. Whoever gets no answer must not pass.
func (f *Floors) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			problem(w, http.StatusMethodNotAllowed, "method", "send the stamps by POST", nil)
			return
		}
		var q struct {
			Stamps []Stamp `json:"stamps"`
		}
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCheck)).Decode(&q)
		if err != nil || len(q.Stamps) == 0 {
			problem(w, http.StatusBadRequest, "stamps", `want {"stamps": [{"scope": "...", "revision": 7}]}`, nil)
			return
		}
		var refused *Refused
		if err := f.Admit(q.Stamps...); errors.As(err, &refused) {
			problem(w, http.StatusConflict, "fenced", err.Error(), refused)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func problem(w http.ResponseWriter, status int, code, detail string, refused *Refused) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the reader is gone: nothing to do
		"type": "about:blank", "status": status, "title": http.StatusText(status), "code": code, "detail": detail, "refused": refused,
	})
}
