// Package slp holds the Sluice lease protocol (SLP-1) as values: the message types of the wire, their codecs, and the
// client's half of the protocol as a pure machine, (state, event) -> (state, effects). The Go SDK, the local agent, the
// feature gateway and the simulator all drive the same machine; the server's half is package fleet.
//
// Words: a scope is one consistency group of an environment's configuration; a revision number belongs to the
// environment and only grows; a floor is the lowest revision of a scope that may still be served; a boot is one life of
// one process (an instance may have several boots one after another, never two retired into one).
package slp

import (
	"encoding/json"

	"sluice.dev/sdk/evidence"
)

// Head names an environment revision and its digest.
type Head struct {
	Rev    uint64 `json:"rev"`
	Digest string `json:"digest"`
}

// ScopeMeta is what a snapshot says of one scope besides its objects.
type ScopeMeta struct {
	Rev    uint64 `json:"rev"`              // number of the last environment revision that changed the scope
	Digest string `json:"digest"`           // serving-significant digest of the scope's objects
	Leased bool   `json:"leased,omitempty"` // exposed arms of this scope need a live lease
	TTLMs  int64  `json:"ttlMs,omitempty"`  // lease length granted for it, milliseconds
}

// Snapshot is an environment's whole configuration at one revision. Objects are keyed "<scope>/<kind>/<name>".
type Snapshot struct {
	Env     string                     `json:"env"`
	Head    Head                       `json:"head"`
	Scopes  map[string]ScopeMeta       `json:"scopes"`
	Objects map[string]json.RawMessage `json:"objects"`
}

// Delta turns the snapshot whose head digest is Base into the one named by the event that carries it.
type Delta struct {
	Base   string                     `json:"base"`
	Scopes map[string]ScopeMeta       `json:"scopes"` // complete: scopes that are absent are gone
	Upsert map[string]json.RawMessage `json:"upsert,omitempty"`
	Delete []string                   `json:"delete,omitempty"`
}

// Event kinds of the watch stream.
const (
	EventState   = "state"
	EventPrepare = "prepare"
	EventCommit  = "commit"
	EventRevoke  = "revoke"
	EventPing    = "ping"
)

// Event is one message of the watch stream. Every event carries the level-triggered part (Epoch to Unwind), so any one
// event, in any order, brings a receiver up to date; Delta and Prepare only save a fetch.
type Event struct {
	Kind      string            `json:"-"`
	ID        string            `json:"-"` // "<epoch>.<n>"
	Epoch     uint64            `json:"epoch"`
	Head      Head              `json:"head"`
	Committed map[string]uint64 `json:"committed,omitempty"` // leased scopes: committed revision
	Floors    map[string]uint64 `json:"floors,omitempty"`    // scopes with a floor
	Unwind    map[string]string `json:"unwind,omitempty"`    // scope -> member class that may unwind now (contract 2, second clock)
	Sig       string            `json:"sig,omitempty"`       // head as the server signed it; kept, and shown at the next Hello
	Delta     *Delta            `json:"delta,omitempty"`
	Prepare   *Prepare          `json:"prepare,omitempty"`
}

// Prepare asks a member to load a scope's next content in shadow. It is named by digest: the revision number is given at commit.
type Prepare struct {
	Scope   string                     `json:"scope"`
	Digest  string                     `json:"digest"`
	Objects map[string]json.RawMessage `json:"objects"` // whole scope, keyed "<kind>/<name>"
}

// Prepared reports a scope content that is loaded and would be served on commit, or a typed refusal.
type Prepared struct {
	Scope  string  `json:"scope"`
	Digest string  `json:"digest"`
	Reject *Reject `json:"reject,omitempty"`
}

// Reject says why a prepared content cannot be served.
type Reject struct {
	Code  string `json:"code"`
	Limit string `json:"limit,omitempty"`
	Got   string `json:"got,omitempty"`
}

// Caps are a member's declared limits.
type Caps struct {
	MaxBytes   int64  `json:"maxBytes,omitempty"`
	MaxObjects int    `json:"maxObjects,omitempty"`
	Impl       string `json:"impl,omitempty"`     // implementation and version, e.g. "go-sdk/0.1"
	Cache      string `json:"cache,omitempty"`    // "durable" or "none": whether floors survive a restart
	SettleMs   int64  `json:"settleMs,omitempty"` // longest time after which a loaded revision may still fail
	Guard      string `json:"guard,omitempty"`    // what speaks for the member: GuardLease, GuardFence or GuardNone
}

// Guards: what a rollback can be proven by.
const (
	GuardLease = ""      // its acknowledgement, or the end of its lease
	GuardFence = "fence" // the floor at its resource, acknowledged once it is durable; no clock speaks for it
	GuardNone  = "none"  // nothing: it is listed as unproven and holds nothing up
)

// Member classes. Readers, routers and hosts take part in the exposure-off barrier; stores and writers unwind after it,
// stores first.
const (
	ClassReader = "reader"
	ClassRouter = "router"
	ClassHost   = "host"
	ClassStore  = "store"
	ClassWriter = "writer"
)

// Hello opens a boot.
type Hello struct {
	Instance  string `json:"instance"`
	Boot      string `json:"boot"` // 128 random bits, hex
	Component string `json:"component"`
	Class     string `json:"class"`
	Caps      Caps   `json:"caps"`
	WMs       int64  `json:"w"` // bound on the time one request may keep using a decision, milliseconds
	Seen      Seen   `json:"seen"`
}

// Seen is the highest state the client has ever seen (it is durable on the client).
type Seen struct {
	Rev    uint64            `json:"rev"`
	Floors map[string]uint64 `json:"floors,omitempty"`
	Signed string            `json:"signedHead,omitempty"` // newest head that a server signed for this member
}

// HelloAnswer answers Hello.
type HelloAnswer struct {
	Epoch     uint64   `json:"epoch"`
	Snapshot  Snapshot `json:"snapshot"`
	PinKeys   []PinKey `json:"pinKeys,omitempty"` // current one first; two during rotation
	Sig       string   `json:"sig,omitempty"`     // head as the server signed it
	ServerNow int64    `json:"serverNow"`         // unix microseconds
}

// PinKey signs request pins of an environment.
type PinKey struct {
	ID  string `json:"id"`
	Key []byte `json:"key"`
}

// Ack stages.
const (
	StageActivated = "activated" // the pointer is swapped: no later evaluation uses an older revision
	StageDrained   = "drained"   // no open request holds an older decision; for stores and writers: unwound
)

// Ack says that a scope revision is in force on this boot.
type Ack struct {
	Scope string `json:"scope"`
	Rev   uint64 `json:"rev"`
	Stage string `json:"stage"`
	At    int64  `json:"at"` // unix microseconds, client's view of server time; informative only
}

// AckRequest is the body of POST /v1/ack.
type AckRequest struct {
	Instance string     `json:"instance"`
	Boot     string     `json:"boot"`
	Acks     []Ack      `json:"acks"`
	Prepared []Prepared `json:"prepared,omitempty"`
	Bye      bool       `json:"bye,omitempty"` // the boot stopped evaluating
}

// Renew asks for leases.
type Renew struct {
	Instance       string            `json:"instance"`
	Boot           string            `json:"boot"`
	N              uint64            `json:"n"`
	Active         map[string]uint64 `json:"active,omitempty"` // scope -> active revision
	Prepared       []Prepared        `json:"prepared,omitempty"`
	Floors         map[string]uint64 `json:"floors,omitempty"`
	OldestInflight map[string]uint64 `json:"oldestInflight,omitempty"`
	Crashes        uint64            `json:"crashes,omitempty"`
	Pins           *PinCounts        `json:"pins,omitempty"` // absent while there is nothing to count
	Acks           []Ack             `json:"acks,omitempty"`
}

// PinCounts counts, since the boot, the pins of incoming requests that could not be held.
type PinCounts struct {
	Missed  uint64 `json:"missed,omitempty"`  // the pinned content was not here
	Revoked uint64 `json:"revoked,omitempty"` // the pin lay below the scope's floor
	Forged  uint64 `json:"forged,omitempty"`  // no key of the environment had signed it
}

// Grant answers Renew. Leases run from the moment the client stored for (boot, n) before it sent the Renew.
type Grant struct {
	Boot      string            `json:"boot"`
	N         uint64            `json:"n"`
	Epoch     uint64            `json:"epoch"`
	Leases    map[string]int64  `json:"leases,omitempty"` // scope -> lease length, milliseconds
	Floors    map[string]uint64 `json:"floors,omitempty"`
	Head      Head              `json:"head"`
	Sig       string            `json:"sig,omitempty"` // head as the server signed it
	ServerNow int64             `json:"serverNow"`
}

// EvidenceRequest is the body of POST /v1/evidence.
type EvidenceRequest struct {
	Instance string           `json:"instance"`
	Boot     string           `json:"boot"`
	Seq      uint64           `json:"seq"`     // 1, 2, 3, ... per boot
	Through  int64            `json:"through"` // last second with no open request at or before it, all counted in seq <= this
	Lost     uint64           `json:"lost,omitempty"`
	Blocks   []evidence.Block `json:"blocks,omitempty"`
}

// EvidenceAnswer answers it: Accepted is the highest contiguous seq that is stored.
type EvidenceAnswer struct {
	Accepted  uint64 `json:"accepted"`
	ServerNow int64  `json:"serverNow"`
}
