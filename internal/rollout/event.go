package rollout

import (
	"fmt"
	"time"

	"sluice.dev/sluice/internal/judge"
)

// Kind names an event. The list is closed: what happens to a rollout is one of these.
type Kind string

// Events by people.
const (
	Submit   Kind = "submit"
	Promote  Kind = "promote"
	PauseIt  Kind = "pause"
	Resume   Kind = "resume"
	Rollback Kind = "rollback"
	Cancel   Kind = "cancel"
	Undo     Kind = "undo" // after completion: an ordinary change back, by acknowledgements alone
)

// Events by the engine and the fleet.
const (
	Open      Kind = "open"      // the rollout's scope exists; its digest before the start is known
	Armed     Kind = "armed"     // enough members hold the next content
	Refused   Kind = "refused"   // a member cannot hold it
	Committed Kind = "committed" // the stage's revision is durable
	Activated Kind = "activated" // members switched, or their time to do so is over
	Judged    Kind = "judged"    // seconds of evidence were judged
	Revoked   Kind = "revoked"   // the revoke is durable and the grant path shows it
	Proven    Kind = "proven"    // exposure-off barrier complete
	Unwound   Kind = "unwound"   // stores and writers went back
	Verified  Kind = "verified"  // scope digest compared
	Overdue   Kind = "overdue"   // a rollback deadline passed
	Closed    Kind = "closed"    // the scope is merged back; the candidate is the stable variant now
	Reverted  Kind = "reverted"  // the undo's revision is durable
	Undone    Kind = "undone"    // every member has acknowledged it
)

// Kinds lists every event in documentation order.
var Kinds = []Kind{
	Submit, Open, Armed, Refused, Committed, Activated, Judged, Promote, PauseIt, Resume, Rollback,
	Revoked, Proven, Unwound, Verified, Overdue, Closed, Cancel, Undo, Reverted, Undone,
}

// Event is one thing that happened. Fields beyond Kind, At and Actor belong to the kinds named beside them.
type Event struct {
	Kind     Kind          `json:"kind"`
	At       time.Time     `json:"at"`
	Actor    string        `json:"actor"`
	Reason   string        `json:"reason,omitempty"`
	Full     bool          `json:"full,omitempty"`     // promote: straight to the last stage
	Revision uint64        `json:"revision,omitempty"` // open, committed, revoked, reverted
	Digest   string        `json:"digest,omitempty"`   // open: before; armed: content; proven: proof; verified: after
	Report   *judge.Report `json:"report,omitempty"`   // judged
	Second   int64         `json:"second,omitempty"`   // judged: the stored second it was judged after; 0 for a hard trip on what had not closed
	Observed time.Duration `json:"observed,omitempty"` // judged: fresh time seen from the arms that should have data
	Member   string        `json:"member,omitempty"`   // refused
	Code     string        `json:"code,omitempty"`     // refused
}

// EffectKind names what is to be done after the record is durable.
type EffectKind string

// Effects. Each is idempotent: doing it again after a crash changes nothing.
const (
	DoOpen    EffectKind = "open"    // move the flag into a scope of its own
	DoArm     EffectKind = "arm"     // prepare stage Stage
	DoCommit  EffectKind = "commit"  // publish stage Stage
	DoRevoke  EffectKind = "revoke"  // publish the scope as it was, raise its floor
	DoUnwind  EffectKind = "unwind"  // let stores, then writers, go back
	DoVerify  EffectKind = "verify"  // compare digests
	DoRestore EffectKind = "restore" // merge the scope back as it was
	DoFinish  EffectKind = "finish"  // merge the scope back with the candidate as default
	DoUndo    EffectKind = "undo"    // put the flag and the pins of a completed rollout back in base
)

// Effect is one thing to do.
type Effect struct {
	Kind  EffectKind `json:"kind"`
	Stage int        `json:"stage,omitempty"`
}

// Refusal is the answer to an event that the state does not accept. Nothing changed.
type Refusal struct {
	Code  string // "phase", "reason.required", "breach", "inconclusive.hold"
	Event Kind
	Phase Phase
	Text  string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s of a rollout that is %s: %s", r.Event, r.Phase, r.Text)
}
