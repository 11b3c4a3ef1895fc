package flag

import "encoding/json"

// Reasons of a Result, in order of precedence. OpenFeatureReason maps them to OpenFeature's.
const (
	ReasonKilled    = "KILLED"       // the kill switch decided: Off
	ReasonDisabled  = "DISABLED"     // the flag is disabled: no value
	ReasonExcluded  = "EXCLUDED"     // an exclusion keeps the unit on the stable variant; RuleName is its id
	ReasonException = "EXCEPTION"    // an exception matched; RuleName is its id
	ReasonRule      = "RULE"         // a rule matched; RuleName is its name
	ReasonTargeting = "TARGETING"    // the targeting expression named the variant
	ReasonRollout   = "ROLLOUT"      // the open rollout decided: stable or candidate
	ReasonDefault   = "DEFAULT"      // nothing else decided
	ReasonLapsed    = "LEASE_LAPSED" // the candidate was due, but there is no lease for it: stable
	ReasonError     = "ERROR"        // ErrCode says what; the default variant is served if there is one
)

// Error codes of a Result and of CheckType. They are OpenFeature's.
const (
	ErrFlagNotFound        = "FLAG_NOT_FOUND"
	ErrTargetingKeyMissing = "TARGETING_KEY_MISSING" // the rollout's unit is not in the context, or not a text
	ErrInvalidContext      = "INVALID_CONTEXT"       // the context exceeds its limits
	ErrTypeMismatch        = "TYPE_MISMATCH"
	ErrGeneral             = "GENERAL" // the targeting has no result for this context, or one that names no variant
)

// OpenFeatureReason returns the reason in OpenFeature's words: DISABLED for a kill, TARGETING_MATCH for exclusions,
// exceptions, rules and targeting, SPLIT for the rollout, STALE for a lapsed lease (the value is safe, but not the one that was
// decided), DEFAULT and ERROR as they are; UNKNOWN for anything else.
func OpenFeatureReason(reason string) string {
	switch reason {
	case ReasonKilled, ReasonDisabled:
		return "DISABLED"
	case ReasonExcluded, ReasonException, ReasonRule, ReasonTargeting:
		return "TARGETING_MATCH"
	case ReasonRollout:
		return "SPLIT"
	case ReasonLapsed:
		return "STALE"
	case ReasonDefault, ReasonError:
		return reason
	}
	return "UNKNOWN"
}

// Result is the answer of one evaluation, with everything that evidence needs to count it.
type Result struct {
	Variant  *Variant // nil when there is no such flag, and where the caller's code has the default
	Reason   string
	RuleName string // rule or exception that decided
	Cohort   string // cohort of the open rollout to which the unit belongs
	Rollout  string // the flag's open rollout, whatever decided
	Scope    string // the flag's scope
	ErrCode  string // set when Reason is ReasonError
	Revision uint64 // of the scope

	// Exposure is the cohort's. Assigned is the arm into which the unit was randomised, Served the one it got: they differ
	// only when the lease had lapsed. Both are ArmNone when something else than the randomisation decided.
	Exposure         Exposure
	Assigned, Served Arm
	Closed           bool  // the cohort is left out of the comparison
	UnitBucket       uint8 // of the rollout's unit if the rollout decided, else of the targeting key
}

// Eval evaluates the flag for a context. leased says whether the flag's scope holds a valid lease at this very moment; it
// matters only while a rollout is open (RolloutID). Without lease a unit that is due the candidate, by randomisation or by
// an exception, gets the stable variant. A rule that serves the candidate variant needs no lease: it was there before the
// rollout and a rollback leaves it there.
//
// The first of these decides: kill switch, exclusion, exception (in order of id), rule (in order), targeting, rollout,
// default; a disabled flag has no value whatever the others say but the kill switch. The
// unit is asked for only when the rollout decides. Eval allocates nothing, keeps nothing and is safe for concurrent use;
// a nil ctx is an empty one.
func (h *Handle) Eval(ctx *Context, leased bool) (r Result) {
	switch {
	case h == nil:
		r.Reason, r.ErrCode = ReasonError, ErrFlagNotFound
	case ctx == nil:
		decided, _ := h.decide(&noContext, leased)
		r = *decided
	case ctx.invalid && h.off == nil:
		r = h.failure(ErrInvalidContext)
	case h.plain:
		r = h.fallback
		r.UnitBucket = ctx.bucket
	default:
		decided, bucket := h.decide(ctx, leased)
		r = *decided
		r.UnitBucket = bucket
	}
	return r
}

// noContext stands for a nil one. Nothing writes to it.
var noContext Context

// EvalPinned is Eval for a request whose arm was decided at an earlier hop: if the rollout decides, the unit is on that
// arm and is not bucketed again, so one request cannot see both arms. Kill switch, exclusions, exceptions and rules of
// this snapshot still come first, and the candidate still needs a lease. ArmNone stands for "in no cohort". The unit need
// not be in ctx; the cohort is the first that matches ctx, and "" with exposure 0 when none does.
func (h *Handle) EvalPinned(ctx *Context, arm Arm, leased bool) (r Result) {
	if h == nil || h.rollout == nil || ctx != nil && ctx.invalid {
		return h.Eval(ctx, leased)
	}
	if ctx == nil {
		ctx = &noContext
	}
	decided, bucket := h.first(ctx, leased), ctx.bucket
	if decided == nil {
		decided, bucket = h.rollout.pinned(ctx, arm, leased)
	}
	r = *decided
	r.UnitBucket = bucket
	return r
}

// Drawn returns the arm that the unit's hash gives at an exposure, whatever decided: what an assignment is checked against.
// It is ArmNone where there is no open rollout or no unit.
func (h *Handle) Drawn(ctx *Context, e Exposure) Arm {
	if h == nil || h.rollout == nil || ctx == nil {
		return ArmNone
	}
	hash, _, ok := h.rollout.unitOf(ctx)
	switch {
	case !ok:
		return ArmNone
	case Exposed(bucketOf(hash, h.rollout.saltHash), e):
		return ArmExposed
	}
	return ArmBaseline
}

// decide returns the prepared result, which is shared and must be copied, and the unit bucket.
func (h *Handle) decide(ctx *Context, leased bool) (*Result, uint8) {
	if r := h.first(ctx, leased); r != nil {
		return r, ctx.bucket
	}
	if h.rollout != nil {
		return h.rollout.decide(ctx, leased)
	}
	return &h.fallback, ctx.bucket
}

// first returns what comes before the rollout, nil when that does not decide.
func (h *Handle) first(ctx *Context, leased bool) *Result {
	if h.off != nil {
		return h.off
	}
	for i := range h.exclusions {
		if d := &h.exclusions[i]; d.match.match(ctx) {
			return &d.result
		}
	}
	for i := range h.exceptions {
		if d := &h.exceptions[i]; d.match.match(ctx) {
			if d.lapsed != nil && !leased {
				return d.lapsed
			}
			return &d.result
		}
	}
	for i := range h.rules {
		if d := &h.rules[i]; d.match.match(ctx) {
			return &d.result
		}
	}
	if h.targeting != nil {
		return h.targeting.decide(ctx)
	}
	return nil
}

func (r *rollout) decide(ctx *Context, leased bool) (*Result, uint8) {
	hash, bucket, ok := r.unitOf(ctx)
	if !ok {
		return &r.missing, bucket
	}
	c := r.cohortOf(ctx)
	if c == nil {
		return &r.outside, bucket
	}
	return c.result(Exposed(bucketOf(hash, r.saltHash), c.exposure), leased), bucket
}

func (r *rollout) pinned(ctx *Context, arm Arm, leased bool) (*Result, uint8) {
	_, bucket, _ := r.unitOf(ctx)
	if arm == ArmNone {
		return &r.outside, bucket
	}
	c := r.cohortOf(ctx)
	if c == nil {
		c = &r.unnamed
	}
	return c.result(arm == ArmExposed, leased), bucket
}

// unitOf returns the hash and the unit bucket of the rollout's unit; !ok when the context has none.
func (r *rollout) unitOf(ctx *Context) (hash uint64, bucket uint8, ok bool) {
	if r.unit == "" {
		return ctx.hash, ctx.bucket, ctx.key.str != ""
	}
	a := ctx.lookup(r.unit)
	if a == nil || a.kind != kindStr || a.str == "" {
		return 0, ctx.bucket, false
	}
	hash = xxhash64(a.str)
	return hash, unitBucketOf(hash), true
}

func (r *rollout) cohortOf(ctx *Context) *cohort {
	for i := range r.cohorts {
		if c := &r.cohorts[i]; c.match.match(ctx) {
			return c
		}
	}
	return nil
}

func (c *cohort) result(exposed, leased bool) *Result {
	switch {
	case !exposed:
		return &c.baseline
	case !leased:
		return &c.lapsed
	}
	return &c.exposed
}

// CheckType returns ErrTypeMismatch when the value is not of type t, ErrCode when there is no value, and else "".
func (r Result) CheckType(t Type) string {
	switch {
	case r.Variant == nil:
		return r.ErrCode
	case r.Variant.Type != t:
		return ErrTypeMismatch
	}
	return ""
}

// Bool returns the value, or def when there is none of this type (ErrTypeMismatch). There is no coercion.
func (r Result) Bool(def bool) bool {
	if r.Variant == nil || r.Variant.Type != Bool {
		return def
	}
	return r.Variant.Bool
}

// String returns the value, or def when there is none of this type.
func (r Result) String(def string) string {
	if r.Variant == nil || r.Variant.Type != String {
		return def
	}
	return r.Variant.String
}

// Int returns the value, or def when there is none of this type; a float flag has no integers.
func (r Result) Int(def int64) int64 {
	if r.Variant == nil || r.Variant.Type != Int {
		return def
	}
	return r.Variant.Int
}

// Float returns the value, or def when there is none of this type; an integer flag has no floats.
func (r Result) Float(def float64) float64 {
	if r.Variant == nil || r.Variant.Type != Float {
		return def
	}
	return r.Variant.Float
}

// Object returns the value's JSON, or def when there is none of this type. It must not be changed.
func (r Result) Object(def json.RawMessage) json.RawMessage {
	if r.Variant == nil || r.Variant.Type != Object {
		return def
	}
	return r.Variant.Raw
}
