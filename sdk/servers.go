package sluice

import (
	"net/http"
	"net/url"
	"sync/atomic"
)

// servers are the addresses of one installation. All traffic goes to one of them until that one fails.
type servers struct {
	list []*url.URL
	at   atomic.Uint32
}

func (s *servers) current() *url.URL { return s.list[s.at.Load()] }

// leave goes on to the address after u, unless another request has done so already.
func (s *servers) leave(u *url.URL) {
	at := s.at.Load()
	if s.list[at] == u {
		s.at.CompareAndSwap(at, (at+1)%uint32(len(s.list)))
	}
}

// elsewhere reports whether another server may answer better than the one that gave err: it was not reached, or it is not
// the one that leads.
func elsewhere(err error) bool {
	f, answered := err.(*failure)
	return err != nil && (!answered || f.Status == http.StatusServiceUnavailable || f.Status == http.StatusBadGateway || f.Status == http.StatusGatewayTimeout)
}

// failedAt takes note of the outcome of an exchange with the server at u.
func (c *Client) failedAt(u *url.URL, err error) {
	if elsewhere(err) && c.ctx.Err() == nil {
		c.servers.leave(u)
	}
}
