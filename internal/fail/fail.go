// Package fail names the places at which a crash is tried out: before and after every write and every effect of store, control,
// push and app. In a server that nobody arms, a place costs one load of a pointer (about a nanosecond).
//
// Places are a table and not a build tag, so that what is tested is the program that runs.
package fail

import "sync/atomic"

// Point is a place in the code.
type Point uint8

// The points, in the order in which a new server comes by them.
const (
	OpenLocked       Point = iota // the data directory is ours; the database may not exist
	OpenFile                      // the database file has just been made, or was there
	OpenConnected                 // the first connection has written the journal mode
	MigrateVersion                // inside the transaction: the table of versions is there
	MigrateStep                   // inside the transaction: one step has run, its number is not written
	MigrateNumber                 // inside the transaction: its number is written
	MigrateCommit                 // before the commit of all steps
	Migrated                      // after it
	OpenHead                      // the head of the empty log is there, the lease row is not
	OpenRows                      // both are
	OpenChecked                   // before the reserve is made
	ReserveMade                   // the reserve file has its size
	KeysDrawn                     // the server's keys are drawn, not stored
	KeysStored                    // they are stored
	LeadEpoch                     // inside the transaction: the epoch is raised, the lease row is not
	LeadRow                       // inside the transaction: both are
	LeadDone                      // after the commit
	RecoverLed                    // the epoch is taken, nothing is loaded
	RecoverLoaded                 // everything is loaded, there is no engine
	RecoverBuilt                  // the engine is there, what it re-arms is not stored
	RecoverStored                 // it is stored, nobody is told
	RecoverShown                  // the grant path has its views
	Recovered                     // all effects are done again
	EnvMade                       // an environment was asked for
	TokenDrawn                    // the first token is drawn, not stored
	TokenStored                   // it is stored, nobody has seen it
	Serving                       // before the first request
	StepBegun                     // an event has arrived
	StepDecided                   // the engine has decided, nothing is stopped
	StepStopped                   // grants of what goes back have stopped, nothing is stored
	StepBatched                   // the batch is made
	TxBegun                       // a write transaction has begun
	TxFenced                      // the epoch is checked, under the row's lock
	AppendRecord                  // a record is inserted
	AppendHash                    // a tree hash is inserted
	AppendArtifact                // an artifact is inserted
	AppendRevision                // a revision is inserted
	AppendEvidence                // a second of evidence is inserted
	AppendCheckpoint              // a checkpoint is replaced
	AppendMember                  // a member is inserted
	AppendHead                    // the head is moved: the last statement
	TxCommit                      // before the commit
	TxDone                        // after it, before anybody knows
	StepStored                    // control knows, nobody is told
	StepPublished                 // the grant path shows the new view
	StepBroadcast                 // the members are told
	HorizonBegun                  // the floor is shown, the horizon is not read
	HorizonRead                   // it is read, not stored
	StepDone                      // all effects are done
	HelloStored                   // a member is stored, the grant path does not know it
	HelloJoined                   // the grant path knows it, it has no answer
	HelloAnswered                 // it has
	RenewGranted                  // a lease is granted and noted, the member does not know
	RenewAnswered                 // it does
	SaidQueued                    // an acknowledgement waits for the engine
	AckTaken                      // before the answer to it
	AcksHanded                    // acknowledgements are taken from the queue, the engine has none of them
	AcksDone                      // the engine has them
	EvidenceTaken                 // a report has arrived
	EvidenceHeard                 // the engine has it, the member has no answer
	WatchJoined                   // a stream is opened, nothing is written to it
	WatchSent                     // an event is written to it
	TokenWritten                  // inside the transaction: a token is inserted
	ClaimSeen                     // inside the transaction: the lease row is still as it was seen
	BeatDone                      // the lease is renewed, the leader does not know
	points
)

var names = [points]string{
	"open.locked", "open.file", "open.connected", "migrate.version", "migrate.step", "migrate.number", "migrate.commit", "migrated", "open.head", "open.rows",
	"open.checked", "reserve.made", "keys.drawn", "keys.stored", "lead.epoch", "lead.row", "lead.done", "recover.led", "recover.loaded", "recover.built",
	"recover.stored", "recover.shown", "recovered", "env.made", "token.drawn", "token.stored", "serving", "step.begun", "step.decided", "step.stopped",
	"step.batched", "tx.begun", "tx.fenced", "append.record", "append.hash", "append.artifact", "append.revision", "append.evidence", "append.checkpoint",
	"append.member", "append.head", "tx.commit", "tx.done", "step.stored", "step.published", "step.broadcast", "horizon.begun", "horizon.read", "step.done",
	"hello.stored", "hello.joined", "hello.answered", "renew.granted", "renew.answered", "said.queued", "ack.taken", "acks.handed", "acks.done",
	"evidence.taken", "evidence.heard", "watch.joined", "watch.sent", "token.written", "claim.seen", "beat.done",
}

func (p Point) String() string { return names[p] }

// All lists every point.
func All() []Point {
	all := make([]Point, points)
	for i := range all {
		all[i] = Point(i)
	}
	return all
}

// hook is set by tests alone.
var hook atomic.Pointer[func(Point)]

// Arm makes f run at every point from now on; nil ends it. f runs on the goroutine that comes by, also under locks.
func Arm(f func(Point)) {
	if f == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&f)
}

// At marks a place.
func At(p Point) {
	if f := hook.Load(); f != nil {
		(*f)(p)
	}
}
