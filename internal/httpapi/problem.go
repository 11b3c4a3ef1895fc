package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
)

// Problem is every error answer: RFC 9457 with a stable code and what to do.
type Problem struct {
	Type     string         `json:"type"`
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Detail   string         `json:"detail" doc:"what happened, with the value"`
	Code     string         `json:"code" doc:"stable, for programs"`
	Fix      string         `json:"fix,omitempty" doc:"what to do"`
	Leader   string         `json:"leader,omitempty" doc:"with not_leader: where the leading server answers, if it is known"`
	Errors   []Detail       `json:"errors,omitempty"`
	Findings []plan.Finding `json:"findings,omitempty" doc:"of a spec, with line and column"`
}

// Detail is one invalid field.
type Detail struct {
	Location string `json:"location" doc:"e.g. body.reason"`
	Message  string `json:"message"`
	Value    any    `json:"value,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func problem(status int, code, fix, detail string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Fix: fix, Detail: fmt.Sprintf(detail, args...)}
}

// newProblem is how huma reports what it refuses itself: bodies that do not fit the description.
func newProblem(status int, msg string, errs ...error) huma.StatusError {
	p := problem(status, "request.invalid", "see /openapi.json for what fits", "%s", msg)
	switch status {
	case http.StatusNotFound:
		p.Code = "route.unknown"
	case http.StatusRequestEntityTooLarge:
		p.Code = "body.size"
	case http.StatusUnsupportedMediaType:
		p.Code, p.Fix = "body.type", "send application/json"
	case http.StatusInternalServerError:
		p.Code, p.Fix = "internal", "see the server's log"
	}
	for _, err := range errs {
		if err == nil {
			continue
		}
		d := Detail{Message: err.Error()}
		var ed huma.ErrorDetailer
		if errors.As(err, &ed) {
			h := ed.ErrorDetail()
			d = Detail{Location: h.Location, Message: h.Message, Value: h.Value}
		}
		p.Errors = append(p.Errors, d)
	}
	return p
}

// conflicts are engine refusals that the caller can do nothing about in the request itself.
var statusOf = map[string]int{
	"scope.open": 409, "rollout.exists": 409, "rollout.name_used": 409, "rollout.flag_busy": 409, "rollout.component_busy": 409,
	"flag.retired": 409, "revision.stale": 412, "object.unknown": 404, "phase": 409, "breach": 409, "exists": 409, "undo.changed": 409, "amnesia": 409, "amnesia.none": 409,
}

// fail turns any error of the layers below into an answer. It is the only place that does.
func (a *API) fail(err error) error {
	var p *Problem
	var er *engine.Refusal
	var rr *rollout.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return p
	case errors.As(err, &er):
		status, ok := statusOf[er.Code]
		if !ok {
			status = http.StatusUnprocessableEntity
		}
		return problem(status, er.Code, er.Fix, "%s", er.Text)
	case errors.As(err, &rr):
		status, ok := statusOf[rr.Code]
		if !ok {
			status = http.StatusUnprocessableEntity
		}
		return problem(status, rr.Code, "", "%s", rr.Error())
	case errors.Is(err, engine.ErrUnknownRollout):
		return problem(http.StatusNotFound, "rollout.unknown", "list them with: sluice get rollouts", "%v", err)
	case errors.Is(err, engine.ErrUnknownEnv):
		return problem(http.StatusNotFound, "env.unknown", "environments are made by the server's --env flag", "%v", err)
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, "not_found", "", "%v", err)
	case errors.Is(err, store.ErrFull):
		return problem(http.StatusInsufficientStorage, "store.full", "free space on the disk of the server's data; rolling back and pausing work meanwhile", "%v", err)
	case errors.Is(err, control.ErrStopped), errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrFenced):
		return problem(http.StatusServiceUnavailable, "unavailable", "repeat in a second", "%v", err)
	}
	a.cfg.Log.Error("request", "err", err)
	return problem(http.StatusInternalServerError, "internal", "see the server's log", "%v", err)
}

// NotLeader answers that this server cannot: another one leads, at the address in row if it is known, or none at the moment.
func NotLeader(w http.ResponseWriter, row store.Leader) {
	p := problem(http.StatusServiceUnavailable, "not_leader", "repeat after the time in Retry-After", "no server leads at the moment")
	if row.Address != "" {
		p.Detail, p.Leader = "the server that leads does not answer: "+row.Address, row.Address
	}
	w.Header().Set("Retry-After", "1")
	writeProblem(w, p)
}
