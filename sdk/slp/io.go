package slp

import "time"

// Failure says how a request to the server failed. Status 0 means that there was no answer.
type Failure struct {
	Status     int
	Code       string        // of the problem body, e.g. "amnesia"
	RetryAfter time.Duration // asked for by the server; 0 if it did not
}

// Status codes with a meaning of their own in the protocol.
const (
	statusBootUnknown = 410 // the server does not know the boot: say Hello
	statusAmnesia     = 409 // the server knows less than this member has seen
)

// Input is something that happened to a Client.
type Input interface{ input() }

// The inputs of a Client.
type (
	// Start begins. Cache is what the last process left behind, checked with its own Verify; nil if there is nothing.
	Start struct{ Cache *Cache }
	// HelloAnswered answers SendHello; Sent is the clock just before the request went out.
	HelloAnswered struct {
		Sent   Mono
		Answer HelloAnswer
	}
	// HelloFailed answers SendHello.
	HelloFailed struct{ Failure }
	// WatchEvent is one event of the watch stream.
	WatchEvent struct{ Event Event }
	// WatchLost says that the stream ended or fell silent.
	WatchLost struct{ Failure }
	// Tick says that a timer set by Schedule has run out.
	Tick struct{ Timer Timer }
	// GrantReceived answers SendRenew.
	GrantReceived struct{ Grant Grant }
	// RenewFailed answers SendRenew.
	RenewFailed struct {
		N uint64
		Failure
	}
	// AckFailed answers SendAck when it did not arrive; success needs no answer.
	AckFailed struct{ Failure }
	// SnapshotFetched answers FetchSnapshot.
	SnapshotFetched struct{ Snapshot Snapshot }
	// FetchFailed answers FetchSnapshot.
	FetchFailed struct{ Failure }
	// Loaded answers Load. Err says why the snapshot cannot be served, "" if it can.
	Loaded struct {
		Head Head
		Err  string
	}
	// ShadowLoaded answers LoadShadow.
	ShadowLoaded struct{ Prepared Prepared }
	// RequestsDrained says that no open request holds a decision of the scope older than Rev.
	RequestsDrained struct {
		Scope string
		Rev   uint64
	}
	// Unwound answers RunUnwind.
	Unwound struct {
		Scope  string
		Rev    uint64
		Failed bool
	}
	// CacheWritten answers WriteCache.
	CacheWritten struct {
		Cache  *Cache
		Failed bool
	}
	// ClockJumped says that time passed which the monotonic clock did not count (suspend): all leases end.
	ClockJumped struct{}
	// BootUnknown says that the server answered 410 to another request than a Renew.
	BootUnknown struct{}
	// Leave ends all leases and renewals: the process is about to stop.
	Leave struct{}
	// Bye says that the boot has stopped evaluating.
	Bye struct{}
)

func (Start) input()           {}
func (HelloAnswered) input()   {}
func (HelloFailed) input()     {}
func (WatchEvent) input()      {}
func (WatchLost) input()       {}
func (Tick) input()            {}
func (GrantReceived) input()   {}
func (RenewFailed) input()     {}
func (AckFailed) input()       {}
func (SnapshotFetched) input() {}
func (FetchFailed) input()     {}
func (Loaded) input()          {}
func (ShadowLoaded) input()    {}
func (RequestsDrained) input() {}
func (Unwound) input()         {}
func (CacheWritten) input()    {}
func (ClockJumped) input()     {}
func (BootUnknown) input()     {}
func (Leave) input()           {}
func (Bye) input()             {}

// Timer names a timer. Setting one that runs replaces it.
type Timer string

// Timers.
const (
	TimerHello  Timer = "hello"
	TimerRenew  Timer = "renew"
	TimerFetch  Timer = "fetch"
	TimerAck    Timer = "ack"
	TimerUnwind Timer = "unwind"
)

// Effect is something a Client wants done. Effects of one Step are done in order; Swap is done before the next effect
// begins, the others are only begun.
type Effect interface{ effect() }

// The effects of a Client.
type (
	// SendHello posts to /v1/hello.
	SendHello struct{ Hello Hello }
	// SendRenew posts to /v1/renew. The sender fills in OldestInflight, Crashes and Pins.
	SendRenew struct{ Renew Renew }
	// SendAck posts to /v1/ack.
	SendAck struct{ Request AckRequest }
	// FetchSnapshot gets /v1/snapshot.
	FetchSnapshot struct{}
	// Load compiles a snapshot so that it can be served at once.
	Load struct{ Snapshot *Snapshot }
	// LoadShadow compiles the configuration as it would be with the prepared scope, and tries it out.
	LoadShadow struct {
		Scope, Digest string
		Snapshot      *Snapshot
	}
	// Swap puts a view in force, in one step for all evaluations that start later.
	Swap struct{ View *View }
	// WriteCache makes the content durable: write, fsync, rename, fsync of the folder. A newer one replaces an older one
	// that has not been begun.
	WriteCache struct{ Cache *Cache }
	// OpenWatch opens the watch stream after a wait.
	OpenWatch struct{ After time.Duration }
	// Schedule sets a timer.
	Schedule struct {
		Timer Timer
		After time.Duration
	}
	// RunUnwind asks a store or writer to take back what it did for the scope's candidate. It may be asked again.
	RunUnwind struct {
		Scope string
		Rev   uint64
	}
	// Notice is something people should know. Code is stable.
	Notice struct{ Code, Text string }
)

func (SendHello) effect()     {}
func (SendRenew) effect()     {}
func (SendAck) effect()       {}
func (FetchSnapshot) effect() {}
func (Load) effect()          {}
func (LoadShadow) effect()    {}
func (Swap) effect()          {}
func (WriteCache) effect()    {}
func (OpenWatch) effect()     {}
func (Schedule) effect()      {}
func (RunUnwind) effect()     {}
func (Notice) effect()        {}

// Codes of notices.
const (
	NoticeAmnesia  = "amnesia"   // the server knows less than this member has seen
	NoticeEpoch    = "epoch"     // a message of an older leader
	NoticeDigest   = "digest"    // content that is not what was announced
	NoticeDiverged = "diverged"  // one revision number, two contents
	NoticeRefused  = "refused"   // a snapshot that cannot be served
	NoticeClock    = "clock"     // the clock stood still: leases ended
	NoticeCache    = "cache"     // the cache cannot be written
	NoticeUnwind   = "unwind"    // the unwind hook did not succeed
	NoticeBelow    = "below"     // a snapshot below a floor
	NoticeTooLarge = "too-large" // more than this member declared to take
)
