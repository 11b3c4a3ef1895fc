package flag

import (
	"errors"
	"strings"
)

// Error is one thing wrong with a configuration. Parsing and validating report all of them, joined: Errors lists them.
type Error struct {
	Path string // where: "<scope>/<kind>/<name>" and the field in it, e.g. "base/flag/eta: rules[3].match.attr.op"
	Code string // stable id, one of the Code constants
	Text string // what is wrong, with the value
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Text + " (" + e.Code + ")"
	}
	return e.Path + ": " + e.Text + " (" + e.Code + ")"
}

// Codes of Error. They are part of the contract: texts may change, codes do not.
const (
	CodeJSONSyntax   = "json.syntax"        // not JSON, or something after it
	CodeJSONKey      = "json.duplicate_key" // a key twice in one object
	CodeJSONDepth    = "json.depth"         // nested deeper than 64
	CodeJSONNumber   = "number.range"       // not a finite double, or an integer that a double would round
	CodeUTF8         = "utf8.invalid"       // invalid UTF-8 or half a surrogate pair
	CodeFieldUnknown = "field.unknown"      // a field the format does not have
	CodeFieldType    = "field.type"         // a field of another JSON type
	CodePath         = "path.form"          // an object's path is not "<scope>/<kind>/<name>"
	CodeName         = "name.charset"       // not a slug: [a-z0-9][a-z0-9._-]{0,127}; keys and variants of flags may have capitals
	CodeNameMismatch = "name.mismatch"      // an object names something else than its path
	CodeNameCase     = "name.case"          // two flags whose keys differ in nothing but case
	CodeDuplicate    = "object.duplicate"   // one object in two scopes
	CodeText         = "text.form"          // a text that is too long or has control characters

	CodeFlagType    = "flag.type"         // unknown value type
	CodeVariants    = "flag.variants"     // no variants
	CodeVariantType = "variant.type"      // a value of another type than the flag's
	CodeRefVariant  = "ref.variant"       // default, off, serve, stable or candidate names no variant
	CodeRefSegment  = "ref.segment"       // a condition names no segment
	CodeRefFlag     = "ref.flag"          // an exception names no flag
	CodeRefCycle    = "ref.cycle"         // segments refer to each other in a circle
	CodeSameArms    = "rollout.same"      // stable and candidate are one variant
	CodeCandidate   = "rollout.candidate" // default or off would serve the candidate without a lease
	CodeSalt        = "rollout.salt"      // no salt, or one longer than 256 bytes
	CodeRollout     = "rollout.duplicate" // one rollout id on two flags
	CodeCohort      = "cohort.duplicate"  // one cohort name twice in a rollout
	CodeExposure    = "exposure.range"    // more than Full
	CodeExpires     = "exception.expires" // not an RFC 3339 time
	CodeMetrics     = "judge.metrics"     // metrics is not an object

	CodeTargeting = "targeting.form" // JsonLogic that is malformed, or has an operator or a form that is not supported
	CodeCondition = "cond.form"      // a condition without a field, or with several
	CodeAttrName  = "attr.name"      // attribute name is empty, too long or not printable
	CodeAttrOp    = "attr.op"        // unknown operator
	CodeAttrValue = "attr.value"     // operand is missing, superfluous or of a type the operator does not compare
	CodeSemver    = "semver.parse"   // operand is not a semantic version (2.0.0)

	CodeContext     = "context.form" // an evaluation context is no object, or its targetingKey no string
	CodeContextSize = "context.size" // an evaluation context beyond the limits of Context

	CodeLimitFlags    = "limit.flags"
	CodeLimitRules    = "limit.rules"
	CodeLimitVariants = "limit.variants"
	CodeLimitValues   = "limit.values"
	CodeLimitDepth    = "limit.depth"
	CodeLimitCost     = "limit.cost"
	CodeLimitSize     = "limit.size"
)

// Errors returns the parts of a joined error that this package returned, in order; nil for nil. An error of another
// origin is returned as one Error without path and code.
func Errors(err error) []*Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return []*Error{e}
	}
	var list []*Error
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, part := range j.Unwrap() {
			list = append(list, Errors(part)...)
		}
		return list
	}
	var e *Error
	if errors.As(err, &e) {
		return []*Error{e}
	}
	return []*Error{{Text: err.Error()}}
}

// maxErrors bounds a report: a broken file of ten thousand flags is broken after a hundred lines as well.
const maxErrors = 100

// report collects errors in order.
type report struct{ list []*Error }

func (r *report) add(path, code, text string) {
	if len(r.list) < maxErrors {
		r.list = append(r.list, &Error{Path: path, Code: code, Text: text})
	}
}

func (r *report) err() error {
	parts := make([]error, len(r.list))
	for i, e := range r.list {
		parts[i] = e
	}
	return errors.Join(parts...)
}

// short quotes a value for a message and cuts it to a readable length.
func short(s string) string {
	const limit = 80
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return quote(s)
}
