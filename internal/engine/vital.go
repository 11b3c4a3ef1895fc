package engine

import (
	"slices"

	"sluice.dev/sluice/internal/rollout"
)

// vital are the records of taking something back, from the decision to the proof.
var vital = []string{
	"env.off", kindOf(rollout.Rollback), kindOf(rollout.Revoked), kindOf(rollout.Proven), kindOf(rollout.Unwound), kindOf(rollout.Verified),
	kindOf(rollout.Overdue), kindOf(rollout.PauseIt),
}

func kindOf(k rollout.Kind) string { return "rollout." + string(k) }

// Vital reports whether the output takes exposure back, or is part of proving that it is off: such an output is stored even
// where the disk has room for nothing else.
func (o *Output) Vital() bool {
	if len(o.Stop) > 0 {
		return true
	}
	for _, r := range o.Records {
		if slices.Contains(vital, r.Kind) {
			return true
		}
	}
	return false
}
