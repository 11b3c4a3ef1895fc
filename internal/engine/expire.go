package engine

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sluice/internal/revision"
)

// deadline is when the next exception of one revision of an environment ends.
type deadline struct {
	rev uint64    // the revision that was looked at
	at  time.Time // zero when nothing ends, or when it could not be ended
}

// expire takes out the exceptions whose time is over, as edits of the engine's own. An exception of a flag with an open
// rollout lies in the rollout's scope, which goes back byte for byte; it ends when that scope has been merged back.
func (e *Engine) expire(o *Output) {
	for _, name := range slices.Sorted(maps.Keys(e.envs)) {
		env := e.envs[name]
		if env.expiry.rev != env.rev.Number {
			env.expiry = deadline{env.rev.Number, nextExpiry(env.rev)}
		}
		if env.expiry.at.IsZero() || env.expiry.at.After(e.now) || env.lost != nil {
			continue
		}
		due := exceptionsUntil(env.rev, e.now)
		if err := (Edit{Env: name, Delete: due, Actor: "engine", Reason: "expired"}).apply(e, o); err != nil {
			env.expiry.at = time.Time{} // the configuration does not bear it: until the next revision there is no use in trying again
		}
	}
}

// nextExpiry is the earliest end of an exception, zero when none ends.
func nextExpiry(rev revision.Env) time.Time {
	var next time.Time
	for _, x := range exceptions(rev) {
		if at, ok := x.ends(); ok && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// exceptionsUntil lists the paths of exceptions that have ended at now.
func exceptionsUntil(rev revision.Env, now time.Time) []string {
	var due []string
	for _, x := range exceptions(rev) {
		if at, ok := x.ends(); ok && !at.After(now) {
			due = append(due, x.path)
		}
	}
	return due
}

type exception struct {
	path string
	flag.Exception
}

func (x exception) ends() (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, x.Expires)
	return at, err == nil
}

// exceptions reads the exceptions of the base scope, by path.
func exceptions(rev revision.Env) []exception {
	objects := rev.Scopes[revision.Base].Objects
	var out []exception
	for _, path := range slices.Sorted(maps.Keys(objects)) {
		if !strings.HasPrefix(path, "exception/") {
			continue
		}
		x := exception{path: path}
		if json.Unmarshal(objects[path], &x.Exception) == nil { // what is stored has been checked
			out = append(out, x)
		}
	}
	return out
}
