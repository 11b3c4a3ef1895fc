package sluiceof

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/flag"
	"sluice.dev/sdk/slp"
)

// lookEvery is how often the client is looked at for changes to tell.
const lookEvery = 200 * time.Millisecond

// Init begins to tell changes. It fails when the client has no configuration yet (Config.Offline): the provider is ready
// once one is there, and says so.
func (p *Provider) Init(openfeature.EvaluationContext) error {
	p.watch.Do(func() { p.wg.Go(p.look) })
	if err := p.client.Ready(); errors.Is(err, sluice.ErrNoConfiguration) {
		return &openfeature.ProviderInitError{ErrorCode: openfeature.ProviderNotReadyCode, Message: err.Error()}
	}
	return nil
}

// Shutdown stops telling changes. The client goes on.
func (p *Provider) Shutdown() {
	p.end.Do(func() { close(p.quit) })
	p.wg.Wait()
}

// EventChannel carries PROVIDER_CONFIGURATION_CHANGED with the keys that changed, PROVIDER_STALE when the server has not
// been heard for longer than a lease, and PROVIDER_READY after that.
func (p *Provider) EventChannel() <-chan openfeature.Event { return p.events }

func (p *Provider) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	known, unready := p.client.Snapshot(), p.client.Ready()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		now, err := p.client.Snapshot(), p.client.Ready()
		if now != known {
			p.emit(openfeature.ProviderConfigChange, openfeature.ProviderEventDetails{FlagChanges: changed(known, now)})
		}
		switch {
		case (err == nil) == (unready == nil):
		case err == nil:
			p.emit(openfeature.ProviderReady, openfeature.ProviderEventDetails{Message: "the server is heard again"})
		default:
			p.emit(openfeature.ProviderStale, openfeature.ProviderEventDetails{Message: err.Error()})
		}
		known, unready = now, err
	}
}

func (p *Provider) emit(kind openfeature.EventType, d openfeature.ProviderEventDetails) {
	select {
	case p.events <- openfeature.Event{ProviderName: "sluice", EventType: kind, ProviderEventDetails: d}:
	case <-p.quit:
	}
}

// changed lists the keys of the flags whose own object differs between two snapshots. A segment or an exception that
// changed names none: then the list is empty, which means that any flag may have.
func changed(old, now *slp.Snapshot) []string {
	if old == nil || now == nil {
		return nil
	}
	var keys []string
	for path, raw := range now.Objects {
		if string(old.Objects[path]) != string(raw) {
			keys = append(keys, path)
		}
	}
	for path := range old.Objects {
		if _, ok := now.Objects[path]; !ok {
			keys = append(keys, path)
		}
	}
	for i, path := range keys {
		parts := strings.SplitN(path, "/", 3)
		if len(parts) != 3 || parts[1] != flag.KindFlag {
			return nil
		}
		keys[i] = parts[2]
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
