package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sluice/internal/demo/flights"
)

// Names of the four components, which are also those of the bundle.
const (
	Transformer = "transformer"
	Store       = "feature-store"
	Host        = "model-host"
	Consumer    = "consumer"
)

// FlagKey is the flag that chooses the feature's version.
const FlagKey = "origin-delay"

// ComponentConfig is what a component process gets, as JSON on its standard input; the input's end is its order to stop.
type ComponentConfig struct {
	Name   string `json:"name"`
	Server string `json:"server"`
	Token  string `json:"token"`
	Seed   int64  `json:"seed"`
	Fault  string `json:"fault"`
	Dir    string `json:"dir"`   // for its own files
	Store  string `json:"store"` // address of the feature store, for those that call it
	Host   string `json:"host"`
	Next   string `json:"next"` // consumer, for the transformer
}

// ready is what a component prints once it answers.
type ready struct {
	Addr string `json:"addr"`
}

// component is one process of the pipeline.
type component struct {
	cfg   ComponentConfig
	fault flights.Fault
	sdk   *sluice.Client
	flag  *sluice.Flag
	rows  []flights.Row
	http  *http.Client
}

// drainBound bounds how long one request of the demo keeps using a decision.
const drainBound = 250 * time.Millisecond

// RunComponent runs one component until in ends or ctx does.
func RunComponent(ctx context.Context, in io.Reader, out io.Writer) error {
	dec := json.NewDecoder(in)
	var cfg ComponentConfig
	if err := dec.Decode(&cfg); err != nil {
		return fmt.Errorf("configuration on standard input: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the parent closes our input when it ends, however it ends
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	fault, err := flights.ParseFault(cfg.Fault)
	if err != nil {
		return err
	}
	c := &component{cfg: cfg, fault: fault, rows: flights.Load(), http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	classes := map[string]string{Transformer: "writer", Store: "store", Host: "host", Consumer: "reader"}
	handlers := map[string]func(context.Context) (http.Handler, func(context.Context, string) error, error){
		Transformer: c.transformer, Store: c.store, Host: c.host, Consumer: c.consumer,
	}
	build, ok := handlers[cfg.Name]
	if !ok {
		return fmt.Errorf("component %q is not one of the demo's", cfg.Name)
	}
	handler, unwind, err := build(ctx)
	if err != nil {
		return err
	}
	c.sdk, err = sluice.New(ctx, sluice.Config{
		URL: cfg.Server, Token: cfg.Token, Instance: cfg.Name + "-1", Component: cfg.Name, Class: classes[cfg.Name],
		DrainBound: drainBound, OnUnwind: unwind,
	})
	if err != nil {
		return fmt.Errorf("%s: join the fleet: %w", cfg.Name, err)
	}
	c.flag = c.sdk.Flag(FlagKey)
	return errors.Join(c.serve(ctx, handler, out), c.close())
}

func (c *component) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.sdk.Close(ctx)
}

func (c *component) serve(ctx context.Context, h http.Handler, out io.Writer) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("%s: listen: %w", c.cfg.Name, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	if err := json.NewEncoder(out).Encode(ready{Addr: ln.Addr().String()}); err != nil {
		return fmt.Errorf("%s: tell the address: %w", c.cfg.Name, err)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		sctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(sctx) // what is open after a second is cut
		return nil
	}
}

// fetch sends one request within the demo and decodes the answer.
func (c *component) fetch(ctx context.Context, method, url string, body, out any) error {
	var rd io.Reader
	if body != nil {
		pr, pw := io.Pipe()
		go func() { pw.CloseWithError(json.NewEncoder(pw).Encode(body)) }()
		rd = pr
	}
	req, err := http.NewRequestWithContext(ctx, method, url, rd)
	if err != nil {
		return err
	}
	sluice.Inject(ctx, req.Header)
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, msg)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (c *component) log(format string, args ...any) {
	fmt.Fprintf(os.Stderr, c.cfg.Name+": "+format+"\n", args...)
}
