package sluice

import (
	"encoding/json"
	"fmt"
	"time"

	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// Fixed returns a client of values that never change, for tests and for programs that run without a server: flag key ->
// value, a bool, a string, an int, an int64, a float64, or anything else that encodes to a JSON object or array. It starts
// no goroutine and talks to nobody; there is no rollout in it. It fails for keys and values that no flag can have.
func Fixed(values map[string]any) (*Client, error) {
	objects := make(map[string]json.RawMessage, len(values))
	for key, value := range values {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("sluice: fixed value of %s: %w", key, err)
		}
		kind := flag.Object
		switch value.(type) {
		case bool:
			kind = flag.Bool
		case string:
			kind = flag.String
		case int, int64:
			kind = flag.Int
		case float64:
			kind = flag.Float
		}
		object, err := json.Marshal(flag.Flag{Key: key, Type: kind, Variants: map[string]json.RawMessage{"fixed": raw}, Default: "fixed"})
		if err != nil {
			return nil, fmt.Errorf("sluice: fixed value of %s: %w", key, err)
		}
		objects["base/"+flag.KindFlag+"/"+key] = object
	}
	c := &Client{cfg: Config{Logf: func(string, ...any) {}}, fixed: true, boot: newBoot(), origin: time.Now().Add(-time.Second), done: make(chan struct{}), cells: cells{byID: map[string]*cell{}}}
	c.evidence = newEvidenceBook(c)
	c.current.Store(&snapshot{wire: &slp.Snapshot{}})
	c.residents.Store(new([]*resident))
	wire := &slp.Snapshot{Env: "fixed", Head: slp.Head{Rev: 1}, Scopes: map[string]slp.ScopeMeta{"base": {Rev: 1}}, Objects: objects}
	s, err := c.compileWhole(wire)
	if err != nil {
		return nil, fmt.Errorf("sluice: fixed values: %w", err)
	}
	c.current.Store(s)
	c.view.Store(&slp.View{Snapshot: wire, Want: wire.Head})
	return c, nil
}
