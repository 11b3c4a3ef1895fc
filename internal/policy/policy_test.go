package policy

import (
	"fmt"
	"strings"
	"testing"
)

// table is who may do what: one row per action, one column per role, in the order of Roles.
var table = []struct {
	act                                                Action
	admin, operator, oncall, viewer, component, client bool
}{
	{Read, true, true, true, true, false, false},
	{Apply, true, true, false, false, false, false},
	{Promote, true, true, false, false, false, false},
	{Pause, true, true, true, false, false, false},
	{Resume, true, true, true, false, false, false},
	{Rollback, true, true, true, false, false, false},
	{Cancel, true, true, false, false, false, false},
	{EditFlag, true, true, false, false, false, false},
	{KillFlag, true, true, true, false, false, false},
	{Tokens, true, false, false, false, false, false},
	{Fleet, true, false, false, false, true, false},
	{Evaluate, true, true, true, true, true, true},
	{Recover, true, false, false, false, false, false},
}

func TestRolesAndActions(t *testing.T) {
	seen := map[Action]bool{}
	for _, row := range table {
		seen[row.act] = true
		for role, want := range map[Role]bool{Admin: row.admin, Operator: row.operator, OnCall: row.oncall, Viewer: row.viewer, Component: row.component, Client: row.client} {
			d := Decide(Actor{Name: "token:x", Role: role}, row.act, "production")
			if d.Allow != want {
				t.Errorf("role %s, action %s: allowed %v, want %v", role, row.act, d.Allow, want)
			}
			if d.Reason == "" || !strings.Contains(d.Reason, string(role)) || !strings.Contains(d.Reason, string(row.act)) {
				t.Errorf("role %s, action %s: reason %q does not say what it is about", role, row.act, d.Reason)
			}
		}
	}
	for role, acts := range allowed {
		for _, a := range acts {
			if !seen[a] {
				t.Errorf("role %s may %s, which is not in the table", role, a)
			}
		}
	}
	if len(Roles) != len(allowed) {
		t.Errorf("%d roles are listed, %d have actions", len(Roles), len(allowed))
	}
}

// TestRollbackNeedsNoMoreThanARole (D10): whoever may apply, promote or pause may take back.
func TestRollbackNeedsNoMoreThanARole(t *testing.T) {
	for _, role := range Roles {
		forward := false
		for _, act := range []Action{Apply, Promote, Pause, Resume} {
			forward = forward || Decide(Actor{Role: role}, act, "production").Allow
		}
		if forward && !Decide(Actor{Role: role}, Rollback, "production").Allow {
			t.Errorf("role %s may lead a rollout forward and not back", role)
		}
	}
}

func TestEnvironmentBinding(t *testing.T) {
	tests := []struct {
		bound, env string
		allow      bool
	}{
		{"", "production", true},
		{"", "", true},
		{"production", "production", true},
		{"production", "staging", false},
		{"production", "Production", false},
		{"production", "", true}, // the action has no environment
	}
	for _, tt := range tests {
		for _, role := range []Role{Admin, OnCall} {
			d := Decide(Actor{Name: "token:x", Role: role, Env: tt.bound}, Rollback, tt.env)
			if d.Allow != tt.allow {
				t.Errorf("%s bound to %q, environment %q: allowed %v, want %v", role, tt.bound, tt.env, d.Allow, tt.allow)
			}
			if !d.Allow && (!strings.Contains(d.Reason, tt.bound) || !strings.Contains(d.Reason, fmt.Sprintf("%q", tt.env))) {
				t.Errorf("reason %q names neither environment", d.Reason)
			}
		}
	}
	if Decide(Actor{Name: "token:x", Role: Viewer, Env: "production"}, Rollback, "production").Allow {
		t.Error("the right environment made up for the wrong role")
	}
}

func TestUnknownIsDenied(t *testing.T) {
	for _, a := range []Actor{{}, {Role: "root"}, {Role: "Admin"}} {
		for _, row := range table {
			if Decide(a, row.act, "").Allow {
				t.Errorf("role %q may %s", a.Role, row.act)
			}
		}
	}
	for _, role := range Roles {
		if Decide(Actor{Role: role}, "delete.everything", "").Allow {
			t.Errorf("role %s may do what does not exist", role)
		}
	}
}

func TestReasonNamesWhoMay(t *testing.T) {
	d := Decide(Actor{Name: "token:x", Role: Viewer}, Rollback, "production")
	if want := `role "viewer" may not rollback; it takes one of [admin operator oncall]`; d.Reason != want {
		t.Errorf("got %q, want %q", d.Reason, want)
	}
}
