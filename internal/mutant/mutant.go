// Package mutant switches one rule of the server off, in builds with the tag "mutant" alone: the simulation has to notice each
// (make mutants, docs/verification.md). In every other build Is is a constant and nothing of this is left.
package mutant

// Name names the mutant that breaks one rule.
type Name string

// The mutants, by the rule they break.
const (
	GrantFirst      Name = "grant-first"      // contract 2: the first grant of a boot is remembered, not the last
	BootRetires     Name = "boot-retires"     // contract 2: a new boot of an instance retires the older ones
	StopNothing     Name = "stop-nothing"     // contract 2: grants go on while the revoke is written
	OldFloor        Name = "old-floor"        // L3: grants carry the floors of the first view
	AnyAck          Name = "any-ack"          // L4: an acknowledgement of any revision proves a member
	NoDrain         Name = "no-drain"         // L4: nobody waits for requests that are open
	NoRestartWait   Name = "no-restart-wait"  // L5: a new leadership forgets the leases of the one before
	ForgetEarly     Name = "forget-early"     // contract 2: a member is forgotten a second after it fell silent
	PrepareIgnored  Name = "prepare-ignored"  // P1: a refusal counts as prepared
	ActFirst        Name = "act-first"        // P2: effects come before the append
	WritersFirst    Name = "writers-first"    // P3: writers unwind beside the stores
	UnwindEarly     Name = "unwind-early"     // P3: stores unwind before exposure is off
	RollbackPutOff  Name = "rollback-put-off" // P5: a rollback waits for a prepare that is under way
	RestoreAll      Name = "restore-all"      // contract 1: a rollback restores the overlay too
	RestoreOther    Name = "restore-other"    // contract 1: a rollback publishes the stage again
	FloorsForgotten Name = "floors-forgotten" // G5: the next revision has no floors
	NoCheckpoint    Name = "no-checkpoint"    // I18: a decision is stored without the state after it
	NoEvidence      Name = "no-evidence"      // I15: what was judged is not stored
	NoDeadline      Name = "no-deadline"      // I32: nobody is told that a deadline has passed
	AwayIsSilence   Name = "away-is-silence"  // G13: the controller's own absence counts as its members' silence
	ClocksApart     Name = "clocks-apart"     // contract 2: the clock of a new life may be behind the log
)
