// Package httpapi is the REST face of Sluice on its one port: typed operations with an OpenAPI 3.1 description, coded
// problem answers (RFC 9457), token authentication and limits. Handlers are thin: they ask policy, hand an event to
// control or read from it, and turn errors into status codes in one place.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/store"
)

// Controller is what the API needs of package control.
type Controller interface {
	Do(ctx context.Context, ev engine.Event) error
	Read(ctx context.Context, f func(*engine.Engine)) error
}

// Prover makes and checks proof documents (package app wires it to store and keys).
type Prover interface {
	// Proof returns the proof document of a rollout's records.
	Proof(ctx context.Context, rollout string) ([]byte, error)
	// Verify recomputes the whole log and returns the number of records, or names the first bad leaf.
	Verify(ctx context.Context) (records uint64, err error)
}

// Config says what to serve. All fields but Log and Clients are required.
type Config struct {
	Controller Controller
	Store      store.Store
	Prover     Prover
	Tokens     *Tokens
	Version    string
	DefaultEnv string // environment of requests that name none
	// Clients lists the callers of foreign protocols in an environment; nil means that there are none.
	Clients func(env string) []ForeignClient
	Log     *slog.Logger
}

// API serves the operations.
type API struct {
	cfg    Config
	huma   huma.API
	stream *Stream
	series seriesCache
}

// New registers the operations on mux and returns the API. Wrap the mux with Authenticate.
func New(mux *http.ServeMux, cfg Config) *API {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ownErrors()
	hc := huma.DefaultConfig("Sluice", cfg.Version)
	hc.DocsPath = "" // its renderer loads scripts from outside
	hc.SchemasPath = ""
	hc.CreateHooks = nil // no $schema links in answers
	hc.Info.Description = "Progressive, proven rollouts of ML features."
	hc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	hc.Security = []map[string][]string{{"token": {}}}
	a := &API{cfg: cfg, huma: humago.New(mux, hc)}
	a.rollouts()
	a.flags()
	a.exchange()
	a.people()
	a.history()
	a.stream = NewStream(cfg.Controller, cfg.Store)
	mux.Handle("GET /v1/stream", a.stream)
	a.signIn(mux)
	return a
}

// ownErrors makes our problems huma's errors. That is package-wide in huma, and a server that comes to lead again makes a
// second API while requests to the first may be under way.
var ownErrors = sync.OnceFunc(func() { huma.NewError = newProblem })

// Close ends the streams of changes, so that a server can shut down.
func (a *API) Close() { a.stream.Close() }

// OpenAPI returns the description as YAML; api/openapi.yaml is its snapshot.
func (a *API) OpenAPI() ([]byte, error) { return a.huma.OpenAPI().YAML() }

// op describes an operation.
func op(id, method, path, summary string, tags ...string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Tags: tags, MaxBodyBytes: 2 << 20}
}
