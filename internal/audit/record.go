// Package audit makes the record log provable: each record is a leaf of a Merkle tree in the form of RFC 6962 / Go's
// checksum database (golang.org/x/mod/sumdb/tlog). It is pure; the store keeps the hashes, this package computes and checks them.
package audit

import (
	"encoding/json"
	"time"
)

// Record is one entry of the log: what happened, to what, by whom, why, and the whole state after it.
// A record never changes. Its leaf hash covers the canonical JSON of all fields.
type Record struct {
	Seq     uint64          `json:"seq"`  // 1, 2, 3, ... over the whole store
	At      time.Time       `json:"at"`   // UTC, never earlier than the record before
	Kind    string          `json:"kind"` // event that was applied, e.g. "verdict", "advance", "flag.edit", "denied"
	Env     string          `json:"env,omitempty"`
	Rollout string          `json:"rollout,omitempty"`
	Actor   string          `json:"actor"` // "user:<name>", "token:<name>", "engine", "component:<name>"
	Reason  string          `json:"reason,omitempty"`
	Engine  string          `json:"engine"` // version of the code that decided
	Epoch   uint64          `json:"epoch"`
	Rev     uint64          `json:"rev,omitempty"`   // environment revision published by it
	Event   json.RawMessage `json:"event,omitempty"` // the event as it was applied
	State   json.RawMessage `json:"state,omitempty"` // rollout.State after it, or what else the kind says
}

// TreeHead is the root of the log at a size.
type TreeHead struct {
	Size uint64 `json:"size"`
	Root string `json:"root"` // base64, as tlog.Hash prints it
}

// HashReader reads stored tree hashes by tlog index.
type HashReader interface {
	ReadHashes(indexes []int64) ([][32]byte, error)
}
