// Package peers measures flag evaluation beside other engines, in one run: LaunchDarkly, GrowthBook and Statsig with their
// own local evaluation and without events, and the OpenFeature SDK with its no-op provider and with ours.
//
// Every engine holds 100 flags. Static is a boolean that is on for everybody. Rule is on for country FR only, and there for
// half of the units. The context (a key of 24 bytes, four attributes) is built once, outside the measurement.
package peers

// What is evaluated, and for whom.
const (
	flags     = 100
	keyStatic = "flag-static-042"
	keyRule   = "flag-rule-042"
	unit      = "user-0000000000000000042"
	attribute = "country"
	country   = "FR"
	email     = "someone@example.org"
)
