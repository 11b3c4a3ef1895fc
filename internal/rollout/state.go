// Package rollout is the state machine of one rollout. Step takes the plan, the state and one event and returns the next
// state and what to do about it; it never acts itself. Live rollouts, simulations, rehearsals and replays call this Step.
//
// Advance and rollback share nothing here: a rollback is accepted in every phase in which something is exposed, asks no
// gate, and no event that arrives later can bring the rollout forward again.
package rollout

import (
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/judge"
)

// Phase is where a rollout stands. The list is closed.
type Phase string

// Phases (rollout-wide), in the order of a quiet life; the rest stand beside it.
const (
	Draft              Phase = "Draft"
	Validated          Phase = "Validated"
	Proving            Phase = "Proving"
	AwaitingApproval   Phase = "AwaitingApproval"
	Scheduled          Phase = "Scheduled"
	Progressing        Phase = "Progressing"
	Promoting          Phase = "Promoting"
	Soaking            Phase = "Soaking"
	Completed          Phase = "Completed"
	Paused             Phase = "Paused"
	RollingBack        Phase = "RollingBack"
	RolledBack         Phase = "RolledBack"
	RollbackIncomplete Phase = "RollbackIncomplete"
	Rejected           Phase = "Rejected"
	Cancelled          Phase = "Cancelled"
	Expired            Phase = "Expired"
	Superseded         Phase = "Superseded"
)

// Phases lists every phase in documentation order.
var Phases = []Phase{
	Draft, Validated, Proving, AwaitingApproval, Scheduled, Progressing, Promoting, Soaking, Completed, Paused,
	RollingBack, RolledBack, RollbackIncomplete, Rejected, Cancelled, Expired, Superseded,
}

// Terminal reports whether nothing can happen to the rollout any more.
func (p Phase) Terminal() bool {
	switch p {
	case Completed, RolledBack, Rejected, Cancelled, Expired, Superseded:
		return true
	}
	return false
}

// Sub is the part of a phase. Progressing has the first five, RollingBack the next four, Completed the last.
type Sub string

// Sub-phases. Paused keeps the sub-phase it was taken from, RollbackIncomplete the one that overran.
const (
	Arming    Sub = "Arming"    // every member loads the next content in shadow
	Exposing  Sub = "Exposing"  // committed; members switch
	Baking    Sub = "Baking"    // observed time passes
	Deciding  Sub = "Deciding"  // bake over, verdict not yet a pass
	Gate      Sub = "Gate"      // passed; gates of the next stage
	Revoking  Sub = "Revoking"  // exposure is being taken back
	Safe      Sub = "Safe"      // proven: no live leased component serves the candidate
	Unwinding Sub = "Unwinding" // stores and writers go back
	Verifying Sub = "Verifying" // the scope's digest is compared
	Undoing   Sub = "Undoing"   // the stable variant is back; members acknowledge it, none of them under a lease
)

// Pause says why a rollout is paused.
type Pause string

// Pause reasons. The list is closed; this version raises Breach, Inconclusive, NoData, ProviderError, ComponentLost,
// Refused and Operator.
const (
	PauseBreach        Pause = "Breach"
	PauseInconclusive  Pause = "Inconclusive"
	PauseNoData        Pause = "NoData"
	PauseProviderError Pause = "ProviderError"
	PauseBudget        Pause = "Budget"
	PauseCapacity      Pause = "Capacity"
	PauseFreeze        Pause = "Freeze"
	PauseCheckIn       Pause = "CheckIn"
	PauseDispute       Pause = "Dispute"
	PauseComponentLost Pause = "ComponentLost"
	PauseRefused       Pause = "Refused" // a member could not load the next content
	PauseOperator      Pause = "Operator"
)

// Cause says why a rollout was taken back or paused.
type Cause struct {
	Trigger  string         `json:"trigger"`           // "guardrail:rollback", "operator", "component-lost"
	Verdict  *judge.Verdict `json:"verdict,omitempty"` // of the lane that decided
	Overall  *judge.Verdict `json:"overall,omitempty"` // of the same guardrail over everything, where a slice decided
	Sentence string         `json:"sentence"`
}

// State is everything a rollout is. It is stored whole with each record.
type State struct {
	Name         string        `json:"name"`
	Env          string        `json:"env"`
	Plan         string        `json:"plan"` // digest of the plan it runs
	Author       string        `json:"author"`
	Phase        Phase         `json:"phase"`
	Sub          Sub           `json:"sub,omitempty"`
	Pause        Pause         `json:"pause,omitempty"`
	Stage        int           `json:"stage"`           // index into the plan's stages; -1 before the first
	Exposure     flag.Exposure `json:"exposure"`        // decided for the current stage's cohort; 0 from the rollback on
	Revision     uint64        `json:"revision"`        // revision of the scope that is committed; 0 before the first
	Floor        uint64        `json:"floor,omitempty"` // lowest revision that may be served, set by the rollback
	DigestBefore string        `json:"digestBefore,omitempty"`
	DigestAfter  string        `json:"digestAfter,omitempty"` // of RolledBack
	Armed        string        `json:"armed,omitempty"`       // digest of the content being armed
	Since        time.Time     `json:"since"`                 // phase or sub-phase entered
	StageSince   time.Time     `json:"stageSince"`            // current stage committed
	Baked        time.Duration `json:"baked"`                 // observed time in the current stage
	Result       judge.Result  `json:"result,omitempty"`      // of the stage so far
	Powered      bool          `json:"powered,omitempty"`
	PowerIn      string        `json:"powerIn,omitempty"` // cohort for which a powered pass has been reached
	Clean        bool          `json:"clean,omitempty"`   // no breach so far, both arms seen (judge.Report.Clean)
	Cause        *Cause        `json:"cause,omitempty"`
	Proof        string        `json:"proof,omitempty"` // digest of the barrier's proof
	Started      time.Time     `json:"started"`
	Decided      time.Time     `json:"decided"`   // rollback decided
	RevokedAt    time.Time     `json:"revokedAt"` // revoke durable and shown to the grant path; the horizon counts from here
	SafeAt       time.Time     `json:"safeAt"`
	UnwoundAt    time.Time     `json:"unwoundAt"`
	Ended        time.Time     `json:"ended"`
	UndoRev      uint64        `json:"undoRev,omitempty"` // revision that put the stable variant back after completion
	UndoneAt     time.Time     `json:"undoneAt,omitzero"` // every member has acknowledged it
	Version      uint64        `json:"version"`           // +1 with every accepted event
}

// Exposed reports whether some unit may be on the candidate by decision: the rollback must then be proven. A commit that
// is under way counts, because nobody knows yet whether it has happened.
func (s State) Exposed() bool {
	committing := s.Sub == Exposing && s.Armed != ""
	return (s.Revision != 0 || committing) && s.Floor == 0 && !s.Phase.Terminal()
}

// Back reports whether the rollout is being taken back.
func (s State) Back() bool { return s.Phase == RollingBack || s.Phase == RollbackIncomplete }

// Judged reports whether guardrails act in this state: in every exposed phase, Paused included (I16).
func (s State) Judged() bool { return s.Exposed() && s.Phase != Promoting }
