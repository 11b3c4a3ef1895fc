package app

import (
	"encoding/json"
	"fmt"
	"net/http"

	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/httpapi"
	"sluice.dev/sluice/internal/ofrep"
	"sluice.dev/sluice/internal/policy"
	"sluice.dev/sluice/internal/push"
)

// foreignRoutes are the protocols that are not ours, with what a caller must be allowed to do.
var foreignRoutes = []httpapi.ForeignRoute{
	{Prefix: ofrep.StreamPath}, // its address is the secret
	{Prefix: "/ofrep/", Action: policy.Evaluate},
	{Prefix: ofrep.EvaluationV1, Action: policy.Evaluate},
	{Prefix: ofrep.EvaluationV2, Action: policy.Evaluate},
	{Prefix: ofrep.FlagdSync, Action: policy.Fleet}, // hands out the rules themselves
}

// callerOf names who asks: the token, or the address of a caller without one.
func callerOf(r *http.Request) string { return httpapi.ActorOf(r.Context()).Name }

// grants is the grant path of members and of clients that hold no lease. A revoke reaches the latter first: it costs
// nothing and needs nobody's acknowledgement.
type grants struct {
	*push.Server
	foreign *ofrep.Server
}

// Stop implements control.Grants.
func (g grants) Stop(env, scope string) {
	g.foreign.Stop(env, scope)
	g.Server.Stop(env, scope)
}

// Publish implements control.Grants.
func (g grants) Publish(v engine.View) {
	g.foreign.Publish(v.Env, foreignState(v))
	g.Server.Publish(v)
}

// foreignState is a view as the foreign protocols need it. A candidate may be served while the view would lease its scope.
func foreignState(v engine.View) ofrep.State {
	revs := make(map[string]uint64, len(v.Config.Scopes))
	for name, s := range v.Config.Scopes {
		revs[name] = s.Rev
	}
	return ofrep.State{
		Rev: v.Head.Rev, Digest: v.Head.Digest, ScopeRev: revs,
		Objects: func() map[string]json.RawMessage { return v.Config.Objects() },
		Leased:  func(scope string) bool { return v.Leases[scope] > 0 },
	}
}

func (a *App) foreign() httpapi.Foreign {
	return httpapi.Foreign{Routes: foreignRoutes, Anonymous: a.cfg.Anonymous}
}

// foreignClients lists who asked an environment without a lease, and what that proves.
func (l *leading) foreignClients(env string) []httpapi.ForeignClient {
	head := l.ofrep.Revision(env)
	list := l.ofrep.Clients(env)
	out := make([]httpapi.ForeignClient, len(list))
	for i, c := range list {
		f := httpapi.ForeignClient{Class: c.Class, Caller: c.Caller, Host: c.Host, Revision: c.Revision, Seen: c.Seen.UTC(), Requests: c.Requests}
		f.Delivery, f.Why = delivery(c, head)
		out[i] = f
	}
	return out
}

// delivery says honestly what is known of a client: nothing here is an acknowledgement.
func delivery(c ofrep.Client, head uint64) (class, why string) {
	switch {
	case c.Class == ofrep.ClassSingle || c.Class == ofrep.ClassRPC:
		return "proven", "each evaluation is made by this server at the head; a candidate is never kept"
	case c.Class == ofrep.ClassBulk && c.Revision >= head:
		return "proven", fmt.Sprintf("it fetched the head, revision %d", c.Revision)
	case c.Class == ofrep.ClassBulk:
		return "pending", fmt.Sprintf("it may serve revision %d until it fetches again; the head is %d", c.Revision, head)
	}
	return "unproven", fmt.Sprintf("revision %d was sent, without any candidate; the protocol has no acknowledgement", c.Revision)
}
