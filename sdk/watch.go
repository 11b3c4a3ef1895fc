package sluice

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"sluice.dev/sdk/slp"
)

// minQuiet is how long the stream may say nothing: the longest lease, at least this. The server pings every third of it.
const minQuiet = 10 * time.Second

var errQuiet = errors.New("nothing was heard on the watch stream")

// watch opens the stream after a wait and reads it until it ends.
func (c *Client) watch(after time.Duration) {
	if !c.sleep(after) {
		return
	}
	err := c.readWatch()
	c.setConnected(false)
	if c.ctx.Err() != nil {
		return
	}
	c.counts.reconnects.Add(1)
	c.failed("watch", err)
	c.post(slp.WatchLost{Failure: failureOf(err)})
}

func (c *Client) readWatch() (err error) {
	base := c.servers.current()
	defer func() { c.failedAt(base, err) }()
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(c.quietTime(), func() { cancel(errQuiet) })
	defer quiet.Stop()
	req, err := c.request(ctx, base, http.MethodGet, "/v1/watch", nil)
	if err != nil {
		return err
	}
	q := req.URL.Query()
	q.Set("instance", c.cfg.Instance)
	q.Set("boot", c.boot)
	req.URL.RawQuery = q.Encode()
	req.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.watch.Do(req)
	if err != nil {
		return cmpCause(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return problem(resp)
	}
	c.setConnected(true)
	err = readEvents(resp.Body, func() { c.heard(); quiet.Reset(c.quietTime()) }, func(e slp.Event) { c.post(slp.WatchEvent{Event: e}) })
	return cmpCause(ctx, err)
}

// cmpCause prefers the reason for which the stream was given up.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errQuiet) {
		return cause
	}
	return err
}

// quietTime is the longest silence that the stream may keep.
func (c *Client) quietTime() time.Duration {
	d := minQuiet
	if s := c.view.Load().Snapshot; s != nil {
		for _, meta := range s.Scopes {
			d = max(d, time.Duration(meta.TTLMs)*time.Millisecond)
		}
	}
	return d
}

// readEvents reads server-sent events until the stream ends. alive is called for every line, comments too. An event that
// cannot be decoded ends the stream: the next one begins with the whole state. It returns io.ErrUnexpectedEOF at the end.
func readEvents(r io.Reader, alive func(), event func(slp.Event)) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var kind, id string
	var data []byte
	for {
		line, err := readLine(br, slp.MaxEventBytes+64)
		if err != nil {
			return err
		}
		alive()
		if len(line) == 0 {
			if len(data) > 0 {
				e, err := slp.DecodeEvent(kind, id, data)
				if err != nil {
					return err
				}
				event(e)
			}
			kind, data = "", nil
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			kind = string(value)
		case "id":
			id = string(value)
		case "data":
			if len(data) > 0 {
				data = append(data, '\n')
			}
			if len(data)+len(value) > slp.MaxEventBytes {
				return fmt.Errorf("watch event of more than %d bytes", slp.MaxEventBytes)
			}
			data = append(data, value...)
		}
	}
}

// readLine reads one line without its end (LF or CR LF), of at most limit bytes. What it returns is the caller's until the
// next call.
func readLine(br *bufio.Reader, limit int) ([]byte, error) {
	var whole []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(whole)+len(part) > limit {
			return nil, fmt.Errorf("line of more than %d bytes on the watch stream", limit)
		}
		if err == nil && whole == nil {
			return trimEnd(part), nil
		}
		whole = append(whole, part...)
		switch {
		case err == nil:
			return trimEnd(whole), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}
