package httpapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sluice.dev/sluice/internal/engine"
)

// Bounds of what one caller can write into the log by asking for what it may not reach.
const (
	denialEvery = time.Minute // between two records of the same caller and action
	denialKeys  = 1024        // callers and actions that are told apart
)

// Sparing passes on the first denial of a caller and action, and then at most one a minute, which says how many went before
// it unrecorded. A client that is set up with the wrong role asks again a thousand times a second, and each record costs the
// log a write to the disk. Refused acts on rollouts and flags do not come this way: each of them is recorded.
func Sparing(next func(context.Context, engine.Denied)) func(context.Context, engine.Denied) {
	type key struct{ actor, action string }
	type note struct {
		at      time.Time
		skipped int
	}
	var mu sync.Mutex
	notes := map[key]note{}
	due := func(k key) (skipped int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		n, known := notes[k]
		if known && time.Since(n.at) < denialEvery {
			n.skipped++
			notes[k] = n
			return 0, false
		}
		if len(notes) >= denialKeys {
			clear(notes) // some denials are recorded early then, none is lost
		}
		notes[k] = note{at: time.Now()}
		return n.skipped, true
	}
	return func(ctx context.Context, d engine.Denied) {
		skipped, ok := due(key{d.Actor, d.Action})
		if !ok {
			return
		}
		if skipped > 0 {
			d.Reason = fmt.Sprintf("%s (and %d times since the last record)", d.Reason, skipped)
		}
		next(ctx, d)
	}
}
