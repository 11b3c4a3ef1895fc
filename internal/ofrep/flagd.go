package ofrep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sdk/flag"
	evaluation "sluice.dev/sluice/api/flagd/evaluation/v2"
)

// Prefixes of flagd's services: evaluation, whose two versions share their messages, and sync, which hands out the flags
// themselves.
const (
	EvaluationV1 = "/flagd.evaluation.v1.Service/"
	EvaluationV2 = "/flagd.evaluation.v2.Service/"
	FlagdSync    = "/flagd.sync.v1.FlagSyncService/"
)

// RegisterFlagd adds flagd's services, over gRPC, gRPC-Web and Connect. gRPC needs a server that speaks HTTP/2.
func (s *Server) RegisterFlagd(mux *http.ServeMux) {
	handle := func(path string, h http.Handler) { mux.Handle("POST "+path, s.withPeer(h)) }
	for _, prefix := range []string{EvaluationV1, EvaluationV2} {
		handle(prefix+"ResolveBoolean", unary(prefix+"ResolveBoolean", s.resolveBoolean))
		handle(prefix+"ResolveString", unary(prefix+"ResolveString", s.resolveString))
		handle(prefix+"ResolveFloat", unary(prefix+"ResolveFloat", s.resolveFloat))
		handle(prefix+"ResolveInt", unary(prefix+"ResolveInt", s.resolveInt))
		handle(prefix+"ResolveObject", unary(prefix+"ResolveObject", s.resolveObject))
		handle(prefix+"ResolveAll", unary(prefix+"ResolveAll", s.resolveAll))
		handle(prefix+"EventStream", connect.NewServerStreamHandler(prefix+"EventStream", s.eventStream, readLimit))
	}
	handle(FlagdSync+"SyncFlags", connect.NewServerStreamHandler(FlagdSync+"SyncFlags", s.syncFlags, readLimit))
	handle(FlagdSync+"FetchAllFlags", unary(FlagdSync+"FetchAllFlags", s.fetchAllFlags))
	handle(FlagdSync+"GetMetadata", unary(FlagdSync+"GetMetadata", s.getMetadata))
}

var readLimit = connect.WithReadMaxBytes(MaxBody)

func unary[Q, A any](path string, f func(context.Context, *Q) (*A, error)) http.Handler {
	return connect.NewUnaryHandler(path, func(ctx context.Context, q *connect.Request[Q]) (*connect.Response[A], error) {
		a, err := f(ctx, q.Msg)
		if err != nil {
			return nil, err
		}
		return connect.NewResponse(a), nil
	}, readLimit)
}

// peer is who calls.
type peer struct {
	request *http.Request
	caller  string
	env     string // that the caller's token and selector name
	wrong   string // what is wrong with the selector
}

type peerKey struct{}

// withPeer puts the caller into the context. The selector Flagd-Selector: flagSetId=NAME chooses an environment as ?env=
// does elsewhere; a token that is bound to another one does not get it.
func (s *Server) withPeer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, s.peerOf(r, r.Header.Get("Flagd-Selector")))))
	})
}

func (s *Server) peerOf(r *http.Request, selector string) peer {
	p := peer{request: r, caller: s.cfg.Caller(r)}
	name, isSet := strings.CutPrefix(selector, "flagSetId=")
	if selector == "" || name == "" && isSet {
		p.env = s.cfg.Env(r)
		return p
	}
	if !isSet {
		p.wrong = fmt.Sprintf("selector %.128q is not flagSetId=ENVIRONMENT", selector)
		return p
	}
	asked := r.Clone(r.Context())
	asked.URL.RawQuery = "env=" + url.QueryEscape(name)
	if p.env = s.cfg.Env(asked); p.env != name {
		p.wrong = fmt.Sprintf("this token is bound to environment %q", p.env)
	}
	return p
}

// environmentOf returns the caller's environment. selector is the deprecated one of a message; the header comes first.
func (s *Server) environmentOf(ctx context.Context, selector string) (peer, *environment, error) {
	p, _ := ctx.Value(peerKey{}).(peer)
	if selector != "" && p.request.Header.Get("Flagd-Selector") == "" {
		p = s.peerOf(p.request, selector)
	}
	if p.wrong != "" {
		return p, nil, connect.NewError(connect.CodeInvalidArgument, errors.New(p.wrong))
	}
	env := s.known(p.env)
	if env == nil {
		return p, nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("environment %.128q does not exist here", p.env))
	}
	if env.current().config() == nil {
		return p, nil, connect.NewError(connect.CodeUnavailable, errors.New("this server has no configuration yet"))
	}
	return p, env, nil
}

// asked is an evaluation's request with what it is answered from.
type asked struct {
	request
	ctx *flag.Context
}

// begin does what comes before evaluating.
func (s *Server) begin(ctx context.Context, attributes *structpb.Struct) (q asked, err error) {
	p, env, err := s.environmentOf(ctx, "")
	if err != nil {
		return q, err
	}
	if wait := s.limits.take(p.caller); wait > 0 {
		return q, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("more than %d requests per second; come back in %d s", s.cfg.Rate, wait))
	}
	q.state = env.current()
	q.conf = q.state.config()
	raw := []byte("{}")
	if attributes != nil {
		if raw, err = attributes.MarshalJSON(); err != nil {
			return q, connect.NewError(connect.CodeInvalidArgument, errors.New("the context has a number that is not finite"))
		}
	}
	if q.ctx, err = flag.ParseContext(raw); err != nil {
		return q, connect.NewError(connect.CodeInvalidArgument, err)
	}
	q.ctx.At(now())
	s.clients.saw(ClassRPC, p.env, p.caller, p.request, q.state.Rev)
	return q, nil
}

// resolve evaluates one flag. read takes the value and says whether it is of the type asked for; it is not called where the
// caller's code has the default.
func (s *Server) resolve(ctx context.Context, key string, attributes *structpb.Struct, read func(*flag.Variant) bool) (reason string, variant *string, metadata *structpb.Struct, err error) {
	q, err := s.begin(ctx, attributes)
	if err != nil {
		return "", nil, nil, err
	}
	h := q.conf.snap.Flag(key)
	res := q.eval(h, q.ctx)
	switch {
	case res.ErrCode == flag.ErrFlagNotFound:
		return "", nil, nil, connect.NewError(connect.CodeNotFound, errors.New(errorText(res, key)))
	case res.ErrCode == flag.ErrGeneral:
		return "", nil, nil, connect.NewError(connect.CodeInternal, errors.New(errorText(res, key)))
	case res.Reason == flag.ReasonError:
		return "", nil, nil, connect.NewError(connect.CodeInvalidArgument, errors.New(res.ErrCode+": "+errorText(res, key)))
	}
	if res.Variant != nil {
		if !read(res.Variant) {
			return "", nil, nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("TYPE_MISMATCH: flag %s is of type %s", h.Key, h.Type))
		}
		variant = &res.Variant.Name
	}
	return reasonOf(h, res), variant, metadataOf(res), nil
}

func metadataOf(res flag.Result) *structpb.Struct {
	fields := map[string]*structpb.Value{"revision": structpb.NewNumberValue(float64(res.Revision))}
	for name, value := range map[string]string{"rollout": res.Rollout, "cohort": res.Cohort, "rule": res.RuleName} {
		if value != "" {
			fields[name] = structpb.NewStringValue(value)
		}
	}
	return &structpb.Struct{Fields: fields}
}

func (s *Server) resolveBoolean(ctx context.Context, q *evaluation.ResolveBooleanRequest) (*evaluation.ResolveBooleanResponse, error) {
	a := &evaluation.ResolveBooleanResponse{}
	var err error
	a.Reason, a.Variant, a.Metadata, err = s.resolve(ctx, q.FlagKey, q.Context, func(v *flag.Variant) bool {
		a.Value = &v.Bool
		return v.Type == flag.Bool
	})
	return a, err
}

func (s *Server) resolveString(ctx context.Context, q *evaluation.ResolveStringRequest) (*evaluation.ResolveStringResponse, error) {
	a := &evaluation.ResolveStringResponse{}
	var err error
	a.Reason, a.Variant, a.Metadata, err = s.resolve(ctx, q.FlagKey, q.Context, func(v *flag.Variant) bool {
		a.Value = &v.String
		return v.Type == flag.String
	})
	return a, err
}

// resolveFloat answers for integer flags too: flagd's clients have one type of number.
func (s *Server) resolveFloat(ctx context.Context, q *evaluation.ResolveFloatRequest) (*evaluation.ResolveFloatResponse, error) {
	a := &evaluation.ResolveFloatResponse{}
	var err error
	a.Reason, a.Variant, a.Metadata, err = s.resolve(ctx, q.FlagKey, q.Context, func(v *flag.Variant) bool {
		f := v.Float
		if v.Type == flag.Int {
			f = float64(v.Int)
		}
		a.Value = &f
		return v.Type == flag.Float || v.Type == flag.Int
	})
	return a, err
}

func (s *Server) resolveInt(ctx context.Context, q *evaluation.ResolveIntRequest) (*evaluation.ResolveIntResponse, error) {
	a := &evaluation.ResolveIntResponse{}
	var err error
	a.Reason, a.Variant, a.Metadata, err = s.resolve(ctx, q.FlagKey, q.Context, func(v *flag.Variant) bool {
		a.Value = &v.Int
		return v.Type == flag.Int
	})
	return a, err
}

func (s *Server) resolveObject(ctx context.Context, q *evaluation.ResolveObjectRequest) (*evaluation.ResolveObjectResponse, error) {
	a := &evaluation.ResolveObjectResponse{}
	var err error
	a.Reason, a.Variant, a.Metadata, err = s.resolve(ctx, q.FlagKey, q.Context, func(v *flag.Variant) bool {
		a.Value = objectOf(v)
		return a.Value != nil
	})
	return a, err
}

// objectOf returns an object's value; nil for anything else, arrays too, which the protocol has no message for.
func objectOf(v *flag.Variant) *structpb.Struct {
	var m map[string]any
	if v.Type != flag.Object || json.Unmarshal(v.Raw, &m) != nil {
		return nil
	}
	st, err := structpb.NewStruct(m)
	if err != nil {
		return nil
	}
	return st
}

// resolveAll answers for every flag that has a value.
func (s *Server) resolveAll(ctx context.Context, q *evaluation.ResolveAllRequest) (*evaluation.ResolveAllResponse, error) {
	a := &evaluation.ResolveAllResponse{Flags: map[string]*evaluation.AnyFlag{}}
	e, err := s.begin(ctx, q.Context)
	if err != nil {
		return nil, err
	}
	for _, h := range e.conf.snap.Handles() {
		res := e.eval(h, e.ctx)
		if res.Variant == nil || res.Reason == flag.ReasonError {
			continue
		}
		f := &evaluation.AnyFlag{Reason: reasonOf(h, res), Variant: res.Variant.Name, Metadata: metadataOf(res)}
		if setValue(f, res.Variant) {
			a.Flags[h.Key] = f
		}
	}
	a.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{"flagSetId": structpb.NewStringValue(e.state.env.name), "revision": structpb.NewNumberValue(float64(e.state.Rev))}}
	return a, nil
}

func setValue(f *evaluation.AnyFlag, v *flag.Variant) bool {
	switch v.Type {
	case flag.Bool:
		f.Value = &evaluation.AnyFlag_BoolValue{BoolValue: v.Bool}
	case flag.String:
		f.Value = &evaluation.AnyFlag_StringValue{StringValue: v.String}
	case flag.Int:
		f.Value = &evaluation.AnyFlag_DoubleValue{DoubleValue: float64(v.Int)}
	case flag.Float:
		f.Value = &evaluation.AnyFlag_DoubleValue{DoubleValue: v.Float}
	default:
		st := objectOf(v)
		f.Value = &evaluation.AnyFlag_ObjectValue{ObjectValue: st}
		return st != nil
	}
	return true
}
