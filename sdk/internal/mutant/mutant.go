// Package mutant switches one rule of the client's half of the protocol off, in builds with the tag "mutant" alone: the simulation has to notice each
// (make mutants, docs/verification.md). In every other build Is is a constant and nothing of this is left.
package mutant

// Name names the mutant that breaks one rule.
type Name string

// The mutants, by the rule they break.
const (
	FromReceipt     Name = "from-receipt"      // L1: the lease is counted from the receipt of the grant
	FloorFalls      Name = "floor-falls"       // L1: the floor is that of the latest message
	AnyBoot         Name = "any-boot"          // L1: grants of other boots are taken
	RetryRenews     Name = "retry-renews"      // L1: a retry stores its time again
	AnyEpoch        Name = "any-epoch"         // L6: messages of older leaders are taken
	HeldForever     Name = "held-forever"      // L2: the clock is not looked at when a flag is evaluated
	SleepKeeps      Name = "sleep-keeps"       // L2: a clock that stood still ends nothing
	AckEarly        Name = "ack-early"         // L4: the acknowledgement comes before the swap
	AckBeforeFloors Name = "ack-before-floors" // L4: a fetched snapshot is acknowledged before its floors are known
	DrainedAtOnce   Name = "drained-at-once"   // L4: drained is acknowledged with activated
	UnwindUnasked   Name = "unwind-unasked"    // P3: a store or writer unwinds when it likes
)
