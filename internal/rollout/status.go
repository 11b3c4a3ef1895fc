package rollout

import (
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
)

// Status is what there is to see of one rollout. Everything in it is a value or immutable.
type Status struct {
	State   State                  `json:"state"`
	Plan    *plan.Plan             `json:"plan"`
	Report  judge.Report           `json:"report"`            // of the last judged second
	Arming  *fleet.Arming          `json:"arming,omitempty"`  // while the stage arms: who is missing
	Barrier *fleet.Proof           `json:"barrier,omitempty"` // exposure off
	Unwind  map[string]fleet.Proof `json:"unwind,omitempty"`  // member class -> proof
	Undoing *fleet.Proof           `json:"undoing,omitempty"` // who has acknowledged the undo after completion
	Second  int64                  `json:"second"`            // last judged second of request start, unix
}
