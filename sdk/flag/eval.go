package flag

import "encoding/json"

// Reasons of a Result, in order of precedence. OpenFeatureReason maps them to OpenFeature's.
const (
	ReasonKilled    = "KILLED"       // the kill switch decided: Off
	ReasonExcluded  = "EXCLUDED"     // an exclusion keeps the unit on the rollout's stable variant
	ReasonException = "EXCEPTION"    // an exception matched; RuleName is its id
	ReasonRule      = "RULE"         // a rule matched; RuleName is its name
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
)

// OpenFeatureReason returns the reason in OpenFeature's words: DISABLED for a kill, TARGETING_MATCH for exclusions,
// exceptions and rules, SPLIT for the rollout, STALE for a lapsed lease (the value is safe, but not the one that was
// decided), DEFAULT and ERROR as they are; UNKNOWN for anything else.
func OpenFeatureReason(reason string) string {
	switch reason {
	case ReasonKilled:
		return "DISABLED"
	case ReasonExcluded, ReasonException, ReasonRule:
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
	Variant  *Variant // nil only when there is no such flag
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
// The first of these decides: kill switch, exclusion, exception (in order of id), rule (in order), rollout, default. The
// unit is asked for only when the rollout decides. Eval allocates nothing, keeps nothing and is safe for concurrent use;
// a nil ctx is an empty one.
func (h *Handle) Eval(ctx *Context, leased bool) Result {
	if h == nil {
		return Result{Reason: ReasonError, ErrCode: ErrFlagNotFound}
	}
	if ctx == nil {
		ctx = &Context{}
	}
	if h.plain && !ctx.invalid {
		r := h.fallback
		r.UnitBucket = ctx.bucket
		return r
	}
	decided, bucket := h.decide(ctx, leased)
	r := *decided
	r.UnitBucket = bucket
	return r
}

// decide returns the prepared result, which is shared and must be copied, and the unit bucket.
func (h *Handle) decide(ctx *Context, leased bool) (*Result, uint8) {
	switch {
	case h.Killed:
		return &h.off, ctx.bucket
	case ctx.invalid:
		return &h.invalid, ctx.bucket
	}
	for i := range h.exclusions {
		if h.exclusions[i].match(ctx) {
			return &h.excluded, ctx.bucket
		}
	}
	for i := range h.exceptions {
		if d := &h.exceptions[i]; d.match.match(ctx) {
			if d.lapsed != nil && !leased {
				return d.lapsed, ctx.bucket
			}
			return &d.result, ctx.bucket
		}
	}
	for i := range h.rules {
		if d := &h.rules[i]; d.match.match(ctx) {
			return &d.result, ctx.bucket
		}
	}
	if h.rollout != nil {
		return h.rollout.decide(ctx, leased)
	}
	return &h.fallback, ctx.bucket
}

func (r *rollout) decide(ctx *Context, leased bool) (*Result, uint8) {
	hash, ok := ctx.hash, ctx.key.str != ""
	bucket := ctx.bucket
	if r.unit != "" {
		a := ctx.lookup(r.unit)
		if ok = a != nil && a.kind == kindStr && a.str != ""; ok {
			hash = xxhash64(a.str)
			bucket = unitBucketOf(hash)
		}
	}
	if !ok {
		return &r.missing, bucket
	}
	for i := range r.cohorts {
		c := &r.cohorts[i]
		switch {
		case !c.match.match(ctx):
		case !Exposed(bucketOf(hash, r.saltHash), c.exposure):
			return &c.baseline, bucket
		case !leased:
			return &c.lapsed, bucket
		default:
			return &c.exposed, bucket
		}
	}
	return &r.outside, bucket
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
