// Package policy decides who may do what. It is pure: one Decide stands in front of every mutating verb, answers with a
// reason, and is logged when it denies. This version knows roles; approvals, calendars, budgets and grants come later
// through the same door.
//
// Rolling back is a role check in memory and nothing else: no vote, freeze, budget or expression can refuse it (D10).
package policy

import (
	"fmt"
	"slices"
)

// Role is what a token may do.
type Role string

// Roles.
const (
	Admin     Role = "admin"     // everything
	Operator  Role = "operator"  // rollouts and flags
	OnCall    Role = "oncall"    // pause, resume and roll back
	Viewer    Role = "viewer"    // read
	Component Role = "component" // the fleet's side: hello, renew, ack, evidence, watch; and evaluating
	Client    Role = "client"    // evaluate flags and nothing else: for browsers and foreign SDKs, which never see rules
)

// Roles lists every role.
var Roles = []Role{Admin, Operator, OnCall, Viewer, Component, Client}

// Action is one verb of the product.
type Action string

// Actions.
const (
	Read     Action = "read"
	Apply    Action = "apply"
	Promote  Action = "promote"
	Pause    Action = "pause"
	Resume   Action = "resume"
	Rollback Action = "rollback"
	Cancel   Action = "cancel"
	EditFlag Action = "flag.edit"
	KillFlag Action = "flag.kill"
	Tokens   Action = "tokens"
	Fleet    Action = "fleet"
	Evaluate Action = "flag.evaluate"
	Recover  Action = "recover" // go on from a store that has forgotten something
)

var allowed = map[Role][]Action{
	Admin:     {Read, Apply, Promote, Pause, Resume, Rollback, Cancel, EditFlag, KillFlag, Tokens, Fleet, Evaluate, Recover},
	Operator:  {Read, Apply, Promote, Pause, Resume, Rollback, Cancel, EditFlag, KillFlag, Evaluate},
	OnCall:    {Read, Pause, Resume, Rollback, KillFlag, Evaluate},
	Viewer:    {Read, Evaluate},
	Component: {Fleet, Evaluate},
	Client:    {Evaluate},
}

// Actor is an authenticated caller.
type Actor struct {
	Name string `json:"name"` // "token:<name>"
	Role Role   `json:"role"`
	Env  string `json:"env,omitempty"` // environment it is bound to; "" means every one
}

// Decision is the answer, with its reason in words.
type Decision struct {
	Allow  bool
	Reason string
}

// Decide says whether the actor may do the action in the environment ("" where the action has none).
func Decide(a Actor, act Action, env string) Decision {
	if a.Env != "" && env != "" && a.Env != env {
		return Decision{Reason: fmt.Sprintf("%s is bound to environment %q, this is %q", a.Name, a.Env, env)}
	}
	if !slices.Contains(allowed[a.Role], act) {
		return Decision{Reason: fmt.Sprintf("role %q may not %s; it takes one of %v", a.Role, act, holders(act))}
	}
	return Decision{Allow: true, Reason: fmt.Sprintf("role %q may %s", a.Role, act)}
}

func holders(act Action) []Role {
	var out []Role
	for _, r := range Roles {
		if slices.Contains(allowed[r], act) {
			out = append(out, r)
		}
	}
	return out
}
