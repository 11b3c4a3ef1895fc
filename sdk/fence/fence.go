// Package fence keeps a resource (a gateway, a store, a sink) from serving or taking anything of a revision that was taken
// back, whatever the clocks of its clients do. A lease speaks for a client whose clock runs; where a clock can stand still
// (a paused machine, a job that wakes after an hour), only the resource itself can refuse, and this is how.
//
// A floor is the lowest revision of a scope that is still admitted. Floors only grow. Work carries stamps (sluice.Stamp):
// Admit refuses those below the floor. A sink that commits in a database checks again in its own transaction (SQL), so that
// nothing can slip in between the check and the commit.
//
//	floors, err := fence.Open("/var/lib/gateway/floors.json")
//	client, err := sluice.New(ctx, sluice.Config{..., Class: sluice.ClassRouter, Fence: floors})
//	if err := floors.Admit(fence.Stamp{Scope: s.Scope, Revision: s.Revision}); err != nil { refuse }
package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// Stamp names what a piece of work was made with.
type Stamp struct {
	Scope    string `json:"scope"`
	Revision uint64 `json:"revision"`
}

// Refused is the answer to a stamp below the floor. Repeating it cannot help: the work must be done again.
type Refused struct {
	Stamp
	Floor uint64 `json:"floor"`
}

func (r *Refused) Error() string {
	return fmt.Sprintf("revision %d of scope %s was taken back: the floor is %d", r.Revision, r.Scope, r.Floor)
}

// Floors holds the floors of one resource. All methods may be called at the same time.
type Floors struct {
	path string // "" keeps nothing

	mu     sync.RWMutex
	floors map[string]uint64
	owed   bool // the file is behind
}

// New returns floors that live as long as the process: right for a resource that serves nothing before it has heard from
// the server. Others use Open.
func New() *Floors { return &Floors{floors: map[string]uint64{}} }

// Open returns floors that are kept in a file, which is made when it is not there. A file that cannot be understood is an
// error: a fence that has forgotten its floors must not open.
func Open(path string) (*Floors, error) {
	f := New()
	f.path = path
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, f.save(f.floors)
	case err != nil:
		return nil, fmt.Errorf("open fence: %w", err)
	}
	if err := json.Unmarshal(b, &f.floors); err != nil {
		return nil, fmt.Errorf("open fence %s: %w", path, err)
	}
	if f.floors == nil {
		return nil, fmt.Errorf("open fence %s: it holds no floors", path)
	}
	return f, nil
}

// Raise takes higher floors and leaves the others as they are. When it returns nil they are durable, and no Admit that
// begins later lets anything below them pass; when it does not, they hold in this process all the same.
func (f *Floors) Raise(floors map[string]uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for scope, rev := range floors {
		if rev > f.floors[scope] {
			f.floors[scope], f.owed = rev, true
		}
	}
	if !f.owed {
		return nil
	}
	if err := f.save(f.floors); err != nil {
		return err
	}
	f.owed = false
	return nil
}

// Admit returns nil when every stamp is at or above its floor, else *Refused for the first that is not.
func (f *Floors) Admit(stamps ...Stamp) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, s := range stamps {
		if floor := f.floors[s.Scope]; s.Revision < floor {
			return &Refused{Stamp: s, Floor: floor}
		}
	}
	return nil
}

// All returns a copy of the floors.
func (f *Floors) All() map[string]uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return maps.Clone(f.floors)
}

// save writes the file whole or not at all, also if the power fails.
func (f *Floors) save(floors map[string]uint64) (err error) {
	if f.path == "" {
		return nil
	}
	b, err := json.Marshal(floors)
	if err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), ".fence-*")
	if err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the write's error says more
		}
	}()
	if _, err = tmp.Write(b); err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	if err = os.Rename(tmp.Name(), f.path); err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	return syncDir(filepath.Dir(f.path))
}

// syncDir makes a rename durable. Where folders cannot be opened there is nothing to do.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	return errors.Join(d.Sync(), d.Close())
}
