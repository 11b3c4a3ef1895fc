package slp

import (
	"encoding/json"
	"fmt"
)

// MaxEventBytes bounds the data of one watch event.
const MaxEventBytes = 64 << 20

// DecodeEvent reads one server-sent event. Fields it does not know are ignored, kinds it does not know are kept: the
// level-triggered part is what counts. Out-of-range numbers are refused.
func DecodeEvent(kind, id string, data []byte) (Event, error) {
	if len(data) > MaxEventBytes {
		return Event{}, fmt.Errorf("watch event of %d bytes, at most %d are read", len(data), MaxEventBytes)
	}
	var e Event
	if err := json.Unmarshal(data, &e); err != nil {
		return Event{}, fmt.Errorf("watch event %s: %w", kind, err)
	}
	e.Kind, e.ID = kind, id
	if e.Head.Rev >= maxRev || e.Epoch >= maxRev {
		return Event{}, fmt.Errorf("watch event %s: revision %d of epoch %d is out of range", kind, e.Head.Rev, e.Epoch)
	}
	for _, m := range []map[string]uint64{e.Committed, e.Floors} {
		if err := checkRevs(m, e.Head.Rev); err != nil {
			return Event{}, fmt.Errorf("watch event %s: %w", kind, err)
		}
	}
	if len(e.Unwind) > MaxScopes {
		return Event{}, fmt.Errorf("watch event %s: %d scopes unwind", kind, len(e.Unwind))
	}
	return e, nil
}

// checkRevs: a scope's revision or floor never lies above the head that it is told with.
func checkRevs(m map[string]uint64, head uint64) error {
	if len(m) > MaxScopes {
		return fmt.Errorf("%d scopes, at most %d are allowed", len(m), MaxScopes)
	}
	for scope, rev := range m {
		if rev > head {
			return fmt.Errorf("scope %.64q stands at %d, the head at %d", scope, rev, head)
		}
	}
	return nil
}

// Check refuses a Grant that no server of ours sends: floors above the head, numbers out of range.
func (g *Grant) Check() error {
	if g.Head.Rev >= maxRev || g.Epoch >= maxRev {
		return fmt.Errorf("grant %d: revision %d of epoch %d is out of range", g.N, g.Head.Rev, g.Epoch)
	}
	if len(g.Leases) > MaxScopes {
		return fmt.Errorf("grant %d: %d leases, at most %d are allowed", g.N, len(g.Leases), MaxScopes)
	}
	if err := checkRevs(g.Floors, g.Head.Rev); err != nil {
		return fmt.Errorf("grant %d: %w", g.N, err)
	}
	return nil
}
