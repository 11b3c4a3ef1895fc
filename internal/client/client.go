// Package client calls the REST API for the CLI. It knows routes and JSON, nothing of the server's types: what the API
// promises is api/openapi.yaml, and a caller decodes only what it needs.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client talks to one server.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// Problem is a coded error answer of the server.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Fix    string `json:"fix"`
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
	Findings json.RawMessage `json:"findings"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s [%s]", p.Detail, p.Code)
	for _, e := range p.Errors {
		fmt.Fprintf(&b, "\n  %s: %s", e.Location, e.Message)
	}
	if p.Fix != "" {
		fmt.Fprintf(&b, "\n  to mend it: %s", p.Fix)
	}
	return b.String()
}

// ErrUnreachable is the answer when no server listens there.
var ErrUnreachable = errors.New("server is not reachable")

// New returns a client of the server at base: http://host:port, or unix:///path/to/sluice.sock for the socket in the data
// directory of a server on this machine, which needs no token.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err == nil && u.Scheme == "unix" && u.Host == "" && u.Path != "" {
		return local(u.Path, token), nil
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("server URL %q: want http://host:port or unix:///path", base)
	}
	return &Client{base: u, token: token, http: &http.Client{Timeout: 60 * time.Second}}, nil
}

// local returns a client that reaches the server by a unix socket.
func local(path, token string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{
		base: &url.URL{Scheme: "http", Host: "localhost"}, token: token,
		http: &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DialContext: dial}},
	}
}

// URL returns the address of a path on the server.
func (c *Client) URL(path string) string { return strings.TrimSuffix(c.base.String(), "/") + path }

// Get decodes the answer to GET path into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Post sends body as JSON and decodes the answer into out, which may be nil.
func (c *Client) Post(ctx context.Context, path string, body, out any) error {
	return c.Do(ctx, http.MethodPost, path, body, out)
}

// maxAnswer bounds an answer, bytes.
const maxAnswer = 256 << 20

// Do sends one request. A problem answer is returned as *Problem, no answer as ErrUnreachable.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	raw, err := c.Raw(ctx, method, path, body)
	if err != nil || out == nil || len(raw) == 0 {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("answer of %s %s: %w", method, path, err)
	}
	return nil
}

// Raw is Do without decoding. A []byte body is sent as it is.
func (c *Client) Raw(ctx context.Context, method, path string, body any) ([]byte, error) {
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		rd = bytes.NewReader(b)
	default:
		enc, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("body of %s %s: %w", method, path, err)
		}
		rd = bytes.NewReader(enc)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL(path), rd)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if rd != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("answer of %s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return nil, problemOf(resp, raw)
	}
	return raw, nil
}

// Ping asks the server for nothing and returns the status and the date of its answer.
func (c *Client) Ping(ctx context.Context) (status int, date string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL("/healthz"), nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
	}
	return resp.StatusCode, resp.Header.Get("Date"), resp.Body.Close()
}

func problemOf(resp *http.Response, raw []byte) error {
	p := &Problem{Status: resp.StatusCode}
	if err := json.Unmarshal(raw, p); err != nil || p.Code == "" {
		p.Code, p.Detail = "http."+fmt.Sprint(resp.StatusCode), http.StatusText(resp.StatusCode)
	}
	return p
}
