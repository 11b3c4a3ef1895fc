// Package sluiceof is an OpenFeature provider over the Sluice client.
//
//	provider := sluiceof.New(client)
//	err := openfeature.SetProviderAndWait(provider)
//
// With a context of Client.Begin an evaluation belongs to that request and counts as its evidence, unless the evaluation
// context names another targeting key; Track observes its value in that request. Without a request the answer is the same,
// but nothing tells how the work went.
//
// The OpenFeature SDK itself costs about 1.5 µs and ten allocations an evaluation; where that matters, use the client's own
// handles, which cost a hundredth.
package sluiceof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/open-feature/go-sdk/openfeature"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/flag"
)

// Provider answers from a client. All methods may be called at the same time. It does not close the client.
type Provider struct {
	client *sluice.Client
	flags  handles
	events chan openfeature.Event
	quit   chan struct{}
	watch  sync.Once
	end    sync.Once
	wg     sync.WaitGroup
}

var (
	_ openfeature.FeatureProvider = (*Provider)(nil)
	_ openfeature.StateHandler    = (*Provider)(nil)
	_ openfeature.EventHandler    = (*Provider)(nil)
	_ openfeature.Tracker         = (*Provider)(nil)
)

// New returns a provider over a client, which stays the caller's.
func New(client *sluice.Client) *Provider {
	p := &Provider{client: client, events: make(chan openfeature.Event, 16), quit: make(chan struct{})}
	p.flags.byKey.Store(&map[string]*sluice.Flag{})
	return p
}

// Metadata names the provider.
func (p *Provider) Metadata() openfeature.Metadata { return openfeature.Metadata{Name: "sluice"} }

// Hooks returns none: the client's own Hook is told of every evaluation.
func (p *Provider) Hooks() []openfeature.Hook { return nil }

// BooleanEvaluation resolves a truth value.
func (p *Provider) BooleanEvaluation(ctx context.Context, key string, def bool, flat openfeature.FlattenedContext) openfeature.BoolResolutionDetail {
	v, d := p.resolve(ctx, key, flag.Bool, flat)
	if v != nil {
		def = v.Bool
	}
	return openfeature.BoolResolutionDetail{Value: def, ProviderResolutionDetail: d}
}

// StringEvaluation resolves a text.
func (p *Provider) StringEvaluation(ctx context.Context, key string, def string, flat openfeature.FlattenedContext) openfeature.StringResolutionDetail {
	v, d := p.resolve(ctx, key, flag.String, flat)
	if v != nil {
		def = v.String
	}
	return openfeature.StringResolutionDetail{Value: def, ProviderResolutionDetail: d}
}

// FloatEvaluation resolves a number. An integer flag is a type mismatch: nothing is coerced.
func (p *Provider) FloatEvaluation(ctx context.Context, key string, def float64, flat openfeature.FlattenedContext) openfeature.FloatResolutionDetail {
	v, d := p.resolve(ctx, key, flag.Float, flat)
	if v != nil {
		def = v.Float
	}
	return openfeature.FloatResolutionDetail{Value: def, ProviderResolutionDetail: d}
}

// IntEvaluation resolves an integer.
func (p *Provider) IntEvaluation(ctx context.Context, key string, def int64, flat openfeature.FlattenedContext) openfeature.IntResolutionDetail {
	v, d := p.resolve(ctx, key, flag.Int, flat)
	if v != nil {
		def = v.Int
	}
	return openfeature.IntResolutionDetail{Value: def, ProviderResolutionDetail: d}
}

// ObjectEvaluation resolves an object or a list, decoded anew at each call.
func (p *Provider) ObjectEvaluation(ctx context.Context, key string, def any, flat openfeature.FlattenedContext) openfeature.InterfaceResolutionDetail {
	v, d := p.resolve(ctx, key, flag.Object, flat)
	if v != nil {
		var value any
		if err := json.Unmarshal(v.Raw, &value); err != nil {
			return openfeature.InterfaceResolutionDetail{Value: def, ProviderResolutionDetail: openfeature.ProviderResolutionDetail{
				Reason: openfeature.ErrorReason, ResolutionError: openfeature.NewParseErrorResolutionError(err.Error()),
			}}
		}
		def = value
	}
	return openfeature.InterfaceResolutionDetail{Value: def, ProviderResolutionDetail: d}
}

// Track observes the details' value as a metric of the request in ctx; without a request it does nothing.
func (p *Provider) Track(ctx context.Context, name string, _ openfeature.EvaluationContext, details openfeature.TrackingEventDetails) {
	p.client.Current(ctx).Observe(name, details.Value())
}

// resolve returns the variant, nil where the code's default stands: after an error, and where the flag has no value.
func (p *Provider) resolve(ctx context.Context, key string, kind flag.Type, flat openfeature.FlattenedContext) (*flag.Variant, openfeature.ProviderResolutionDetail) {
	r := p.eval(ctx, p.flags.of(p.client, key), flat)
	if r.Reason == flag.ReasonError || r.Variant != nil && r.Variant.Type != kind {
		return nil, p.failure(key, kind, r)
	}
	d := openfeature.ProviderResolutionDetail{Reason: openfeature.Reason(flag.OpenFeatureReason(r.Reason))}
	if r.Variant != nil {
		d.Variant = r.Variant.Name
	}
	if r.Rollout != "" {
		d.FlagMetadata = metadata(r)
	}
	return r.Variant, d
}

// eval evaluates within the request in ctx unless flat is about another unit.
func (p *Provider) eval(ctx context.Context, f *sluice.Flag, flat openfeature.FlattenedContext) flag.Result {
	unit, _ := flat[openfeature.TargetingKey].(string)
	if q := p.client.Current(ctx); q != nil && (unit == "" || unit == q.Unit()) {
		return f.Detail(ctx)
	}
	if r, ok := f.Settled(); ok {
		return r
	}
	u := units.Get().(*unitContext)
	u.reset(unit, flat)
	r := f.For(ctx, &u.context)
	units.Put(u)
	return r
}

// metadata says under what an open rollout answered. The OpenFeature SDK copies it, which is why settled flags have none.
func metadata(r flag.Result) openfeature.FlagMetadata {
	m := openfeature.FlagMetadata{"version": int64(r.Revision), "sluice.rollout": r.Rollout, "sluice.reason": r.Reason}
	if r.Cohort != "" {
		m["sluice.cohort"] = r.Cohort
	}
	switch r.Served {
	case flag.ArmBaseline:
		m["sluice.arm"] = "baseline"
	case flag.ArmExposed:
		m["sluice.arm"] = "exposed"
	}
	return m
}

func (p *Provider) failure(key string, kind flag.Type, r flag.Result) openfeature.ProviderResolutionDetail {
	d := openfeature.ProviderResolutionDetail{Reason: openfeature.ErrorReason}
	switch {
	case r.Reason != flag.ReasonError:
		d.ResolutionError = openfeature.NewTypeMismatchResolutionError(fmt.Sprintf("flag %s is of type %s, not %s", key, r.Variant.Type, kind))
	case r.ErrCode == flag.ErrFlagNotFound && errors.Is(p.client.Ready(), sluice.ErrNoConfiguration):
		d.ResolutionError = openfeature.NewProviderNotReadyResolutionError("no configuration yet")
	case r.ErrCode == flag.ErrFlagNotFound:
		d.ResolutionError = openfeature.NewFlagNotFoundResolutionError(fmt.Sprintf("there is no flag %s", key))
	case r.ErrCode == flag.ErrTargetingKeyMissing:
		d.ResolutionError = openfeature.NewTargetingKeyMissingResolutionError(fmt.Sprintf("flag %s has a rollout over a unit that the context does not name", key))
	case r.ErrCode == flag.ErrInvalidContext:
		d.ResolutionError = openfeature.NewInvalidContextResolutionError("the context exceeds its limits")
	default:
		d.ResolutionError = openfeature.NewGeneralResolutionError(fmt.Sprintf("flag %s: %s", key, r.ErrCode))
	}
	return d
}

// handles keeps the client's handles by key. The map is copied when a key is new, so that reading it takes no lock and
// allocates nothing.
type handles struct {
	byKey atomic.Pointer[map[string]*sluice.Flag]
	grow  sync.Mutex
}

func (h *handles) of(c *sluice.Client, key string) *sluice.Flag {
	if f := (*h.byKey.Load())[key]; f != nil {
		return f
	}
	f := c.Flag(key)
	h.grow.Lock()
	defer h.grow.Unlock()
	grown := maps.Clone(*h.byKey.Load())
	if len(grown) >= maxHandles { // keys that are made up, one after another
		return f
	}
	grown[key] = f
	h.byKey.Store(&grown)
	return f
}

// maxHandles is how many keys are kept.
const maxHandles = 20_000
