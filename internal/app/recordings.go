package app

import (
	"context"

	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
	"sluice.dev/sluice/internal/tune"
)

// Recordings reads the rollouts of a store that have ended one way or the other: completed ones did no harm, those that were
// rolled back did. Others are left out.
func Recordings(ctx context.Context, s store.Store) ([]tune.Recorded, error) {
	list, err := control.Recordings(ctx, s)
	if err != nil {
		return nil, err
	}
	var out []tune.Recorded
	for _, r := range list {
		if r.State.Phase == rollout.Completed || r.State.Phase == rollout.RolledBack {
			out = append(out, tune.Recorded{Name: r.Name, Plan: r.Plan, Seconds: r.Seconds, Events: r.Events, Harm: r.State.Phase == rollout.RolledBack})
		}
	}
	return out, nil
}
