package ofrep

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	evaluation "sluice.dev/sluice/api/flagd/evaluation/v2"
	flagsync "sluice.dev/sluice/api/flagd/sync/v1"
)

// now is the time that targeting may ask for, in seconds.
func now() int64 { return time.Now().Unix() }

// syncFlags sends the configuration at once and again after each change. It is encoded once for all who receive it.
func (s *Server) syncFlags(ctx context.Context, q *connect.Request[flagsync.SyncFlagsRequest], out *connect.ServerStream[flagsync.SyncFlagsResponse]) error {
	p, env, err := s.environmentOf(ctx, q.Msg.Selector)
	if err != nil {
		return err
	}
	sent := ""
	return s.each(ctx, env, func(st *state, c *compiled) error {
		text, err := c.flagd()
		if err != nil || text == sent {
			return err
		}
		sent = text
		s.clients.saw(ClassSync, env.name, p.caller, p.request, st.Rev)
		return out.Send(&flagsync.SyncFlagsResponse{FlagConfiguration: text, SyncContext: syncContext(st)})
	})
}

// syncContext is what flagd's provider adds to every evaluation context.
func syncContext(st *state) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"sluice.environment": structpb.NewStringValue(st.env.name), "sluice.revision": structpb.NewNumberValue(float64(st.Rev)),
	}}
}

// each calls f with the state in force and with each later one, until the caller or the server ends. States that a slow
// caller misses are left out.
func (s *Server) each(ctx context.Context, env *environment, f func(*state, *compiled) error) error {
	changed := env.watch()
	defer env.leave(changed)
	for {
		st := env.current()
		if err := f(st, st.config()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return connect.NewError(connect.CodeUnavailable, errors.New("the server stops"))
		case <-changed:
		}
	}
}

func (s *Server) fetchAllFlags(ctx context.Context, q *flagsync.FetchAllFlagsRequest) (*flagsync.FetchAllFlagsResponse, error) {
	p, env, err := s.environmentOf(ctx, q.Selector)
	if err != nil {
		return nil, err
	}
	st := env.current()
	text, err := st.config().flagd()
	if err != nil {
		return nil, err
	}
	s.clients.saw(ClassSync, env.name, p.caller, p.request, st.Rev)
	return &flagsync.FetchAllFlagsResponse{FlagConfiguration: text}, nil
}

func (s *Server) getMetadata(ctx context.Context, _ *flagsync.GetMetadataRequest) (*flagsync.GetMetadataResponse, error) {
	_, env, err := s.environmentOf(ctx, "")
	if err != nil {
		return nil, err
	}
	return &flagsync.GetMetadataResponse{Metadata: syncContext(env.current())}, nil
}

// eventStream tells a remote provider which of the values that it may have cached are no longer good.
func (s *Server) eventStream(ctx context.Context, _ *connect.Request[evaluation.EventStreamRequest], out *connect.ServerStream[evaluation.EventStreamResponse]) error {
	_, env, err := s.environmentOf(ctx, "")
	if err != nil {
		return err
	}
	var last *compiled
	return s.each(ctx, env, func(_ *state, c *compiled) error {
		e := &evaluation.EventStreamResponse{Type: "provider_ready"}
		if last != nil {
			e.Type, e.Data = "configuration_change", changes(last, c)
		}
		last = c
		return out.Send(e)
	})
}

// changes names the flags that may answer differently.
func changes(old, next *compiled) *structpb.Struct {
	flags := map[string]*structpb.Value{}
	for _, key := range changedFlags(old, next) {
		flags[key] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"type": structpb.NewStringValue("update"), "source": structpb.NewStringValue("sluice"), "flagKey": structpb.NewStringValue(key),
		}})
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{"flags": structpb.NewStructValue(&structpb.Struct{Fields: flags})}}
}

// changedFlags compares two configurations: a flag has changed when it, its kill switch or what names it has, and every
// flag has when a segment has. The same configuration again means that candidates were withdrawn or given back.
func changedFlags(old, next *compiled) []string {
	keys := map[string]bool{}
	if old == next {
		for _, h := range next.open {
			keys[h.Key] = true
		}
		return slices.Sorted(maps.Keys(keys))
	}
	all := maps.Clone(next.objects)
	maps.Copy(all, old.objects)
	for path := range all {
		if old.objects[path] == next.objects[path] {
			continue
		}
		kind, name, _ := strings.Cut(path, "/")
		switch kind {
		case "flag", "kill":
			keys[name] = true
		case "exception":
			keys[old.cfg.Exceptions[name].Flag], keys[next.cfg.Exceptions[name].Flag] = true, true
		case "exclude":
			keys[old.cfg.Exclusions[name].Flag], keys[next.cfg.Exclusions[name].Flag] = true, true
		case "segment":
			for key := range next.cfg.Flags {
				keys[key] = true
			}
		}
	}
	delete(keys, "")
	return slices.Sorted(maps.Keys(keys))
}
