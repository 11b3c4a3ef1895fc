package ofrep

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"sluice.dev/sdk/flag"
)

// MaxBody bounds the body of a request, bytes: the limits of a context and room for its JSON.
const MaxBody = 1 << 20

// Error codes of OFREP beside those of package flag.
const (
	codeParse   = "PARSE_ERROR"
	codeGeneral = flag.ErrGeneral
)

// request is what single and bulk evaluation have in common.
type request struct {
	env   string
	state *state
	conf  *compiled
	body  []byte
}

// accept does what comes before evaluating, and answers for itself when the request goes no further. key is "" for a
// bulk request.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, key string) (q request, ok bool) {
	if wait := s.limits.take(s.cfg.Caller(r)); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(wait))
		s.fail(w, http.StatusTooManyRequests, key, codeGeneral, fmt.Sprintf("more than %d requests per second; come back after the time in Retry-After", s.cfg.Rate))
		return q, false
	}
	name := s.cfg.Env(r)
	env := s.known(name)
	q.env = name
	if env == nil {
		s.fail(w, http.StatusNotFound, key, flag.ErrFlagNotFound, fmt.Sprintf("environment %q does not exist here", name))
		return q, false
	}
	q.state = env.current()
	if q.conf = q.state.config(); q.conf == nil || q.state.behind(r) {
		w.Header().Set("Retry-After", "1")
		s.fail(w, http.StatusServiceUnavailable, key, codeGeneral, "this server does not have the configuration asked for yet")
		return q, false
	}
	var err error
	if q.body, err = read(w, r); err != nil {
		s.fail(w, http.StatusBadRequest, key, bodyCode(err), err.Error())
		return q, false
	}
	return q, true
}

// behind says whether the request was caused by an event that named a newer configuration than this one.
func (s *state) behind(r *http.Request) bool {
	if r.URL.RawQuery == "" {
		return false
	}
	rev, _, _ := strings.Cut(r.URL.Query().Get("flagConfigEtag"), ".")
	want, err := strconv.ParseUint(rev, 10, 64)
	return err == nil && want > s.Rev
}

func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if n := r.ContentLength; n >= 0 && n <= MaxBody {
		body := make([]byte, n)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
}

// bodyCode says what kind of error a body that cannot be used is: no JSON, or JSON that is no context.
func bodyCode(err error) string {
	var e *flag.Error
	var size *http.MaxBytesError
	switch {
	case errors.As(err, &size):
		return flag.ErrInvalidContext
	case errors.As(err, &e) && (e.Code == flag.CodeContext || e.Code == flag.CodeContextSize || e.Code == flag.CodeJSONDepth):
		return flag.ErrInvalidContext
	}
	return codeParse
}

// fail answers with an OFREP error. The text names limits and positions, never what a context holds.
func (s *Server) fail(w http.ResponseWriter, status int, key, code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(appendFailure(nil, key, code, text)) // the reader is gone: nothing to do
}

// single answers POST /ofrep/v1/evaluate/flags/{key}.
func (s *Server) single(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	q, ok := s.accept(w, r, key)
	if !ok {
		return
	}
	ctx, err := flag.ParseRequest(q.body)
	if err != nil {
		s.fail(w, http.StatusBadRequest, key, bodyCode(err), err.Error())
		return
	}
	s.clients.saw(ClassSingle, q.env, s.cfg.Caller(r), r, q.state.Rev)
	ctx.At(now())
	h := q.conf.snap.Flag(key)
	res := q.eval(h, ctx)
	if status := statusOf(res); status != http.StatusOK {
		s.fail(w, status, key, res.ErrCode, errorText(res, key))
		return
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(appendSuccess(make([]byte, 0, 256), h, res, true)) // the reader is gone: nothing to do
}

var jsonType = []string{"application/json"}

// eval evaluates one flag and turns a panic into an error of that flag.
func (q request) eval(h *flag.Handle, ctx *flag.Context) (res flag.Result) {
	defer func() {
		if recover() != nil {
			res = flag.Result{Reason: flag.ReasonError, ErrCode: codeGeneral}
		}
	}()
	return h.Eval(ctx, h != nil && h.RolloutID != "" && q.state.leased(h.Scope))
}

func statusOf(res flag.Result) int {
	switch {
	case res.Reason != flag.ReasonError:
		return http.StatusOK
	case res.ErrCode == flag.ErrFlagNotFound:
		return http.StatusNotFound
	case res.ErrCode == codeGeneral:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

func errorText(res flag.Result, key string) string {
	switch res.ErrCode {
	case flag.ErrFlagNotFound:
		return fmt.Sprintf("there is no flag %.128q", key)
	case flag.ErrTargetingKeyMissing:
		return "the flag is being rolled out over a unit that the context does not have"
	}
	return "the flag could not be evaluated"
}

// bulk answers POST /ofrep/v1/evaluate/flags: every flag, in the order of the keys.
func (s *Server) bulk(w http.ResponseWriter, r *http.Request) {
	q, ok := s.accept(w, r, "")
	if !ok {
		return
	}
	tag := q.state.etag(q.body)
	w.Header()["Etag"] = []string{tag}
	if matches(r.Header["If-None-Match"], tag) {
		s.clients.saw(ClassBulk, q.env, s.cfg.Caller(r), r, q.state.Rev)
		w.WriteHeader(http.StatusNotModified) // these very bytes were parsed when the tag was made
		return
	}
	ctx, err := flag.ParseRequest(q.body)
	if err != nil {
		w.Header().Del("Etag")
		s.fail(w, http.StatusBadRequest, "", bodyCode(err), err.Error())
		return
	}
	s.clients.saw(ClassBulk, q.env, s.cfg.Caller(r), r, q.state.Rev)
	ctx.At(now())
	answer := appendBulk(q, ctx)
	w.Header()["Content-Type"] = jsonType
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(answer))} // else it would go in chunks
	_, _ = w.Write(answer)                                             // the reader is gone: nothing to do
}

// matches says whether a tag is in the lists of If-None-Match, compared weakly (RFC 9110, 13.1.2). "*" matches nothing:
// a client that holds no answer must get one.
func matches(lists []string, tag string) bool {
	for _, list := range lists {
		for one := range strings.SplitSeq(list, ",") {
			if strings.TrimPrefix(textproto.TrimString(one), "W/") == tag {
				return true
			}
		}
	}
	return false
}
