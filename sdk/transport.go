package sluice

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sluice.dev/sdk/slp"
)

// Limits of one exchange.
const (
	helloTimeout    = 10 * time.Second
	renewTimeout    = 3 * time.Second
	snapshotTimeout = 30 * time.Second
	pingAfter       = 2 * time.Second // of silence on an HTTP/2 connection
	maxAnswer       = 256 << 20       // bytes of one answer, which may hold a whole configuration
	maxProblem      = 16 << 10
)

// clients are the HTTP clients of the four kinds of traffic. They share no connection, so that none waits for another.
type clients struct{ watch, control, ack, evidence *http.Client }

func newClients(given *http.Client) clients {
	one := func() *http.Client {
		c := &http.Client{CheckRedirect: noRedirect}
		rt := http.DefaultTransport
		if given != nil {
			c.Jar = given.Jar
			if given.Transport != nil {
				rt = given.Transport
			}
		}
		if t, ok := rt.(*http.Transport); ok {
			t = t.Clone()
			t.MaxIdleConnsPerHost = 2
			if t.HTTP2 == nil { // a dead HTTP/2 connection is noticed within a lease or so, not within TCP's patience
				t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter}
			}
			rt = t
		}
		c.Transport = rt
		return c
	}
	return clients{watch: one(), control: one(), ack: one(), evidence: one()}
}

// noRedirect: a redirected POST would lose its body or carry the token elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (k clients) close() {
	for _, c := range []*http.Client{k.watch, k.control, k.ack, k.evidence} {
		c.CloseIdleConnections()
	}
}

// failure is an answer that is not a success.
type failure struct {
	slp.Failure
	Detail string
}

func (f *failure) Error() string {
	s := strconv.Itoa(f.Status) + " " + http.StatusText(f.Status)
	if f.Code != "" {
		s += " (" + f.Code + ")"
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// failureOf is what the protocol machine is told of an error: nothing but a status if there was an answer.
func failureOf(err error) slp.Failure {
	if f, ok := err.(*failure); ok {
		return f.Failure
	}
	return slp.Failure{}
}

func (c *Client) request(ctx context.Context, base *url.URL, method, path string, body any) (*http.Request, error) {
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", path, err)
		}
		rd = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path).String(), rd)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "sluice-go/"+Version)
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	return req, nil
}

// call does one exchange and decodes the answer into out. The error is a *failure if there was an answer.
func (c *Client) call(ctx context.Context, hc *http.Client, method, path string, timeout time.Duration, body, out any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	base := c.servers.current()
	defer func() { c.failedAt(base, err) }()
	req, err := c.request(ctx, base, method, path, body)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err // it names method and address
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return problem(resp)
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxProblem)) // so that the connection is used again
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("%s %s: the answer is larger than %d bytes", method, path, maxAnswer)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: decode the answer: %w", method, path, err)
	}
	return nil
}

// problem reads what a refusal says of itself (RFC 9457).
func problem(resp *http.Response) *failure {
	f := &failure{Failure: slp.Failure{Status: resp.StatusCode}}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // what can be read is enough
	var p struct{ Code, Detail, Title string }
	if json.Unmarshal(b, &p) == nil {
		f.Code, f.Detail = p.Code, p.Detail
		if f.Detail == "" {
			f.Detail = p.Title
		}
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		f.RetryAfter = time.Duration(min(s, 3600)) * time.Second
	}
	return f
}
