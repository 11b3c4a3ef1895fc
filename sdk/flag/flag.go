// Package flag holds feature flags as values: variants, segments, typed rules, exceptions, kill switches and progressive
// exposure. A configuration is parsed and compiled once into an immutable Snapshot; evaluation allocates nothing and gives
// a reason. The SDK, the server, the agent, the gateway and the simulator evaluate with this very code.
package flag

import "encoding/json"

// Exposure is a share of units in parts of 100,000 (1 % = 1,000). Raising it never moves a unit back to baseline.
type Exposure uint32

// Full exposes every unit.
const Full Exposure = 100_000

// Arm says which side of a comparison a unit is on.
type Arm uint8

// Arms. ArmNone: the flag has no open rollout or the unit is outside its cohorts.
const (
	ArmNone Arm = iota
	ArmBaseline
	ArmExposed
)

// Type is the type of a flag's values.
type Type string

// Flag types (OFREP's).
const (
	Bool   Type = "boolean"
	String Type = "string"
	Int    Type = "integer"
	Float  Type = "float"
	Object Type = "object"
)

// Flag is one feature flag as it stands in the configuration: object "flag/<key>".
type Flag struct {
	Key      string                     `json:"key"`
	Type     Type                       `json:"type"`
	Variants map[string]json.RawMessage `json:"variants"`
	Default  string                     `json:"default"`            // variant served when nothing else decides; "" is the default in the caller's code
	Off      string                     `json:"off,omitempty"`      // variant served when killed; "" means Default
	Disabled bool                       `json:"disabled,omitempty"` // nothing is served: the caller's code decides (flagd's state DISABLED)
	Rules    []Rule                     `json:"rules,omitempty"`

	// Targeting is flagd's: a JsonLogic expression that names a variant, or null where it does not decide. It is asked after
	// the rules.
	Targeting json.RawMessage `json:"targeting,omitempty"`

	Rollout *Rollout        `json:"rollout,omitempty"` // the open rollout, if any
	Meta    json.RawMessage `json:"meta,omitempty"`    // owner, description: not part of the serving digest
}

// Rule serves a variant to the units that match; the first matching rule decides.
type Rule struct {
	Name  string    `json:"name,omitempty"`
	Match Condition `json:"match"`
	Serve string    `json:"serve"`
}

// Rollout is the open rollout of a flag. Units are assigned to the first cohort that matches them; a unit in no cohort
// gets Stable. A unit's arm is exposed when its bucket lies below the cohort's exposure.
type Rollout struct {
	ID        string           `json:"id"`
	Stable    string           `json:"stable"`
	Candidate string           `json:"candidate"`
	Unit      string           `json:"unit,omitempty"` // attribute that is bucketed; "" means the targeting key
	Salt      string           `json:"salt"`
	Cohorts   []CohortExposure `json:"cohorts"`
}

// CohortExposure is the exposure of one cohort. Match nil matches everybody. Closed cohorts were exposed in an earlier
// stage: they stay exposed but are left out of the comparison.
type CohortExposure struct {
	Cohort   string     `json:"cohort"`
	Match    *Condition `json:"match,omitempty"`
	Exposure Exposure   `json:"exposure"`
	Closed   bool       `json:"closed,omitempty"`
}

// Segment is a named condition: object "segment/<name>".
type Segment struct {
	Name  string    `json:"name"`
	Match Condition `json:"match"`
}

// Exception serves one variant to the units that match, whatever rules and rollout say: object "exception/<id>".
type Exception struct {
	ID         string    `json:"id"`
	Flag       string    `json:"flag"`
	Match      Condition `json:"match"`
	Serve      string    `json:"serve"`
	Reason     string    `json:"reason"`
	ApprovedBy string    `json:"approvedBy"`
	Expires    string    `json:"expires,omitempty"` // RFC 3339; the server takes it out then, or when an open rollout of the flag has ended
}

// Kill switches a flag to its Off variant for everybody: object "kill/<flag key>" (overlay scope).
type Kill struct {
	Flag   string `json:"flag"`
	Reason string `json:"reason,omitempty"`
}

// Exclusion keeps the units that match on the stable variant of any rollout of the flag: object "exclude/<id>" (overlay
// scope). Serve is set by the server when a rollout completes while the exclusion is in force: from then on these units
// keep that variant, promotion included.
type Exclusion struct {
	ID    string    `json:"id"`
	Flag  string    `json:"flag"`
	Match Condition `json:"match"`
	Serve string    `json:"serve,omitempty"`
}

// Condition is a typed rule: exactly one of its fields is set.
type Condition struct {
	All     []Condition `json:"all,omitempty"`
	Any     []Condition `json:"any,omitempty"`
	Not     *Condition  `json:"not,omitempty"`
	Segment string      `json:"segment,omitempty"`
	Attr    *Compare    `json:"attr,omitempty"`
	Always  bool        `json:"always,omitempty"`
}

// Compare tests one attribute. There is no coercion between types: a comparison across types is false.
type Compare struct {
	Name   string          `json:"name"`
	Op     string          `json:"op"`              // eq ne in not-in lt le gt ge starts-with ends-with contains exists semver-eq semver-lt semver-le semver-gt semver-ge
	Value  json.RawMessage `json:"value,omitempty"` // string, number or boolean
	Values []string        `json:"values,omitempty"`
}

// Judged says what of a rollout's requests is measured: object "judge/<rollout>".
type Judged struct {
	Rollout  string          `json:"rollout"`
	Segments []string        `json:"segments,omitempty"` // attributes whose values get cells of their own
	Sources  []string        `json:"sources,omitempty"`
	Metrics  json.RawMessage `json:"metrics"` // map name -> evidence.Metric
}
