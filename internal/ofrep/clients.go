package ofrep

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Classes of clients, by how a rollback reaches them.
const (
	// ClassSingle asks for each evaluation: the answer is ours, so a revoke is proven by construction.
	ClassSingle = "ofrep-single"
	// ClassBulk keeps an answer until it fetches again; its next request or matching tag says what it has.
	ClassBulk = "ofrep-bulk"
	// ClassRPC asks for each evaluation over flagd's protocol, as ClassSingle; it may keep settled values until it is told.
	ClassRPC = "flagd-rpc"
	// ClassSync evaluates by itself what it was sent; its protocol has no acknowledgement, so nothing is proven of it.
	ClassSync = "flagd-sync"
)

// Client is one foreign client: who asks, from where, in which way. It is known by what it sends, not by a lease.
type Client struct {
	Class    string
	Env      string
	Caller   string
	Host     string    // address without port
	Revision uint64    // of the environment, of the last answer
	Seen     time.Time // of the last request
	Requests uint64
}

type clientKey struct{ class, env, caller, host string }

type seen struct{ revision, unixMilli, requests atomic.Uint64 }

// clients remembers who asked lately, at most maxClients of them.
type clients struct {
	byKey sync.Map // clientKey -> *seen
	n     atomic.Int64
}

const maxClients = 10_000

// saw notes an answer.
func (c *clients) saw(class, env, caller string, r *http.Request, rev uint64) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	k := clientKey{class, env, caller, host}
	v, ok := c.byKey.Load(k)
	if !ok {
		if c.n.Load() >= maxClients {
			return
		}
		if v, ok = c.byKey.LoadOrStore(k, new(seen)); !ok {
			c.n.Add(1)
		}
	}
	s := v.(*seen)
	s.revision.Store(rev)
	s.unixMilli.Store(uint64(time.Now().UnixMilli()))
	s.requests.Add(1)
}

// Clients lists who asked an environment within the last Forget, sorted. Older ones are forgotten.
func (s *Server) Clients(env string) []Client {
	now := time.Now()
	var list []Client
	s.clients.byKey.Range(func(key, value any) bool {
		k, v := key.(clientKey), value.(*seen)
		at := time.UnixMilli(int64(v.unixMilli.Load()))
		if now.Sub(at) > Forget {
			if _, was := s.clients.byKey.LoadAndDelete(k); was {
				s.clients.n.Add(-1)
			}
			return true
		}
		if k.env == env {
			list = append(list, Client{Class: k.class, Env: k.env, Caller: k.caller, Host: k.host, Revision: v.revision.Load(), Seen: at, Requests: v.requests.Load()})
		}
		return true
	})
	slices.SortFunc(list, func(a, b Client) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Host, b.Host))
	})
	return list
}

// Forget is how long a foreign client stays listed after its last request.
const Forget = 24 * time.Hour
