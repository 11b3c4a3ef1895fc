package rollout

import (
	"sluice.dev/sluice/internal/plan"
)

// startRollback is accepted in every phase in which something may be exposed; with nothing exposed it cancels, and on a
// rollout that is over it changes nothing. It asks nobody.
func startRollback(s State, e Event) (State, []Effect, error) {
	switch {
	case s.Phase.Terminal():
		if s.Phase == Completed {
			return s, nil, refuse(s, e, "phase", "it is completed and holds no leases any more; undo it instead")
		}
		return s, nil, nil
	case !s.Exposed():
		return cancel(s, e)
	}
	cause := causeOf(e)
	if e.Report == nil {
		cause = &Cause{Trigger: "operator", Sentence: asked(e)}
	}
	s.Phase, s.Sub, s.Pause = RollingBack, Revoking, ""
	s.Cause, s.Decided, s.Exposure, s.Armed = cause, e.At.UTC(), 0, ""
	return s, []Effect{{Kind: DoRevoke}}, nil
}

// stepBack handles RollingBack and RollbackIncomplete: only proof leads on, and nothing leads forward.
func stepBack(p *plan.Plan, s State, e Event) (State, []Effect, error) {
	switch {
	case e.Kind == Rollback || e.Kind == Cancel:
		return s, nil, nil
	case e.Kind == Revoked && s.Sub == Revoking && s.Floor == 0:
		s.Revision, s.Floor, s.RevokedAt = e.Revision, e.Revision, e.At.UTC()
		return s, nil, nil
	case e.Kind == Proven && s.Sub == Revoking && s.Floor != 0:
		// Safe is the moment; unwinding begins in the same instant.
		s.Phase, s.Sub, s.SafeAt, s.Proof = RollingBack, Unwinding, e.At.UTC(), e.Digest
		return s, []Effect{{Kind: DoUnwind}}, nil
	case e.Kind == Unwound && s.Sub == Unwinding:
		s.Phase, s.Sub, s.UnwoundAt = RollingBack, Verifying, e.At.UTC()
		return s, []Effect{{Kind: DoVerify}}, nil
	case e.Kind == Verified && s.Sub == Verifying:
		return verified(s, e)
	case e.Kind == Overdue && s.Phase == RollingBack && s.overdue(p, e):
		s.Phase = RollbackIncomplete
		return s, nil, nil
	}
	return ignore(s, e)
}

func verified(s State, e Event) (State, []Effect, error) {
	s.DigestAfter = e.Digest
	if e.Digest != s.DigestBefore {
		s.Phase = RollbackIncomplete
		return s, nil, nil
	}
	s.Phase, s.Sub = RolledBack, ""
	return s, []Effect{{Kind: DoRestore}}, nil
}

// overdue: exposure must be off within completeWithin of the decision, the rest within unwindWithin.
func (s State) overdue(p *plan.Plan, e Event) bool {
	if s.Sub == Revoking {
		return e.At.Sub(s.Decided) >= p.Rollback.CompleteWithin
	}
	return e.At.Sub(s.Decided) >= p.Rollback.UnwindWithin
}

// fromCompleted handles what may follow a completion: an undo. Nothing is leased any more, so acknowledgements alone end it
// and it is never called a rollback.
func fromCompleted(s State, e Event) (State, []Effect, error) {
	switch {
	case e.Kind == Undo && s.Sub == "" && s.UndoneAt.IsZero():
		s.Sub = Undoing
		return s, []Effect{{Kind: DoUndo}}, nil
	case e.Kind == Undo:
		return s, nil, nil
	case e.Kind == Reverted && s.Sub == Undoing && s.UndoRev == 0:
		s.UndoRev = e.Revision
		return s, nil, nil
	case e.Kind == Undone && s.Sub == Undoing && s.UndoRev != 0:
		s.Sub, s.UndoneAt = "", e.At.UTC()
		return s, nil, nil
	}
	return ignore(s, e)
}
