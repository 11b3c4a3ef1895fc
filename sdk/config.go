package sluice

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"sluice.dev/sdk/slp"
)

// Version of this client, as it stands in the server's list of components.
const Version = "0.1.0"

// Classes of components. Readers, routers and hosts must stop serving a candidate before a rollback counts as safe; stores
// and writers go back after that, stores first.
const (
	ClassReader = slp.ClassReader
	ClassRouter = slp.ClassRouter
	ClassHost   = slp.ClassHost
	ClassStore  = slp.ClassStore
	ClassWriter = slp.ClassWriter
)

// Config says how to join. URL and Component are required; every zero value means what its field says.
type Config struct {
	// URL of the server, e.g. "https://sluice.example:8443". A path in it is kept as a prefix.
	URL string
	// Alternatives are further addresses of the same installation: servers that share a database. One that does not answer,
	// or answers that no server leads, is left for the next. Empty for a single server, or one name in front of them all.
	Alternatives []string
	// Token authenticates the component and names its environment. It is sent as a bearer token and never logged.
	Token string
	// Component is what the process is in the pipeline, e.g. "checkout": a name of letters, digits and . _ : -.
	Component string
	// Instance tells processes of one component apart; the same form. "" means the host's name. Two processes under one
	// name are still told apart by their boot id, but people see one instance.
	Instance string
	// Class is one of the Class constants; "" means ClassReader.
	Class string
	// CacheDir is where the last configuration and the floors are kept, so that a restart without server serves the last
	// settled values. It is created if need be; use one per environment. "" keeps nothing. A folder that cannot be written
	// is logged and declared to the server.
	CacheDir string
	// DrainBound is the longest time for which one request may use what it was told (W): how long the server waits for
	// requests that this process cannot speak for. 0 means 2 s; at most 10 minutes.
	DrainBound time.Duration
	// Offline lets New return without server and cache; every flag serves its default until the server is there.
	Offline bool
	// OnUnwind is called on stores and writers when a rollout's scope was rolled back and it is this class's turn to take
	// back what it did for the candidate. Its return is the acknowledgement; an error is retried. It may be called again for
	// the same scope, also after a restart, so it must be idempotent. ctx ends with Close. nil means nothing to do.
	OnUnwind func(ctx context.Context, scope string) error
	// Hook is told of every evaluation; nil costs nothing.
	Hook Hook
	// OnSwap is called when a configuration has come into force, before that is acknowledged: once it returns, no
	// evaluation of the caller's own (see Client.Leased) may use an older one. It must be quick and must not call Close.
	OnSwap func(s *slp.Snapshot)
	// Fence makes this process the guard of a resource: floors are raised in it, durably, before they are acknowledged, and
	// nothing but that acknowledgement counts for it (package fence). While Raise does not succeed it is repeated, nothing
	// is acknowledged and no rollback counts as safe. nil means that a lease speaks for the process.
	Fence interface {
		Raise(floors map[string]uint64) error
	}
	// HTTPClient is used for all requests; its Timeout is ignored, because the watch stream has no end. nil means a client
	// with the settings of http.DefaultTransport. An *http.Transport in it is cloned, so that the streams do not share
	// connections.
	HTTPClient *http.Client
	// MaxBytes and MaxObjects bound the configuration that this process takes; 0 means no bound of its own. A rollout whose
	// content does not fit is refused before it starts.
	MaxBytes   int64
	MaxObjects int
	// Logf receives rare messages for people: lost connections, refused configurations. nil drops them. It is called from
	// several goroutines and never with secrets.
	Logf func(format string, args ...any)
}

const (
	defaultDrain = 2 * time.Second
	maxDrain     = 10 * time.Minute
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// complete fills in defaults and refuses what cannot work; errors name the field.
func (c *Config) complete() (*servers, error) {
	base, err := c.servers()
	if err != nil {
		return nil, err
	}
	if c.Instance == "" {
		c.Instance = hostInstance()
	}
	if c.Class == "" {
		c.Class = ClassReader
	}
	if c.DrainBound == 0 {
		c.DrainBound = defaultDrain
	}
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	switch c.Class {
	case ClassReader, ClassRouter, ClassHost, ClassStore, ClassWriter:
	default:
		return nil, fmt.Errorf("sluice: Config.Class %q is not reader, router, host, store or writer", c.Class)
	}
	switch {
	case !nameForm.MatchString(c.Component):
		return nil, fmt.Errorf("sluice: Config.Component %q is no name (%s)", c.Component, nameForm)
	case !nameForm.MatchString(c.Instance):
		return nil, fmt.Errorf("sluice: Config.Instance %q is no name (%s)", c.Instance, nameForm)
	case c.DrainBound < 0 || c.DrainBound > maxDrain:
		return nil, fmt.Errorf("sluice: Config.DrainBound %s is not within 0 and %s", c.DrainBound, maxDrain)
	case c.MaxBytes < 0 || c.MaxObjects < 0:
		return nil, fmt.Errorf("sluice: Config.MaxBytes %d and MaxObjects %d must not be negative", c.MaxBytes, c.MaxObjects)
	}
	return base, nil
}

func (c *Config) servers() (*servers, error) {
	s := &servers{}
	for i, address := range append([]string{c.URL}, c.Alternatives...) {
		field := "URL"
		if i > 0 {
			field = fmt.Sprintf("Alternatives[%d]", i-1)
		}
		u, err := url.Parse(address)
		if err != nil {
			return nil, fmt.Errorf("sluice: Config.%s: %w", field, err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("sluice: Config.%s %q is not an http or https address", field, address)
		}
		s.list = append(s.list, u)
	}
	return s, nil
}

// hostInstance turns the host's name into an instance name.
func hostInstance() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	host = strings.Map(func(r rune) rune {
		if r < 0x80 && nameForm.MatchString("a"+string(r)) {
			return r
		}
		return '-'
	}, host)
	host = strings.TrimLeft(host, "._:-")
	if host == "" {
		return "instance"
	}
	return host[:min(len(host), 128)]
}
