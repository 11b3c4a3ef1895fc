package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxLeafBytes bounds one record in canonical form. A larger one is refused by Leaf and by ParseLeaf.
const MaxLeafBytes = 4 << 20

// ErrNotCanonical says that bytes decode to a record but are not the bytes Leaf gives for it.
var ErrNotCanonical = errors.New("not the canonical form of the record")

// Leaf returns the canonical bytes of r, which are both the leaf of the tree and the form in which stores keep it:
// compact JSON of the fields in the order of the type, the time in UTC, no escapes that JSON does not demand. Event and
// State enter as given, without white space; their own key order is the writer's business (callers write them canonically).
//
// Leaf is injective over what a Record means: two records share a leaf only if they are equal in every field.
// It refuses strings that are not UTF-8, Event or State that is not one JSON value, and more than MaxLeafBytes.
func Leaf(r Record) ([]byte, error) {
	for _, f := range []struct{ name, value string }{
		{"kind", r.Kind}, {"env", r.Env}, {"rollout", r.Rollout}, {"actor", r.Actor}, {"reason", r.Reason}, {"engine", r.Engine},
		{"event", string(r.Event)}, {"state", string(r.State)},
	} {
		// Otherwise the encoder would put U+FFFD for each bad byte, and two different records would share one leaf.
		if !utf8.ValidString(f.value) {
			return nil, fmt.Errorf("record %d: %s is not valid UTF-8", r.Seq, f.name)
		}
	}
	r.At = r.At.UTC()
	b, err := encode(r)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", r.Seq, err)
	}
	if len(b) > MaxLeafBytes {
		return nil, fmt.Errorf("record %d: %d bytes, at most %d are allowed", r.Seq, len(b), MaxLeafBytes)
	}
	return b, nil
}

// ParseLeaf is the inverse of Leaf. It returns ErrNotCanonical (wrapped) for bytes that Leaf would not have written, so a
// stored record cannot be altered in spelling only.
func ParseLeaf(leaf []byte) (Record, error) {
	if len(leaf) > MaxLeafBytes {
		return Record{}, fmt.Errorf("leaf has %d bytes, at most %d are allowed", len(leaf), MaxLeafBytes)
	}
	var r Record
	if err := decodeStrict(leaf, &r); err != nil {
		return Record{}, err
	}
	again, err := Leaf(r)
	if err != nil {
		return Record{}, err
	}
	if !bytes.Equal(again, leaf) {
		return Record{}, fmt.Errorf("record %d, byte %d: %w", r.Seq, firstDifference(leaf, again), ErrNotCanonical)
	}
	return r, nil
}

// Clone returns a copy of r that shares no memory with it.
func (r Record) Clone() Record {
	r.Event, r.State = bytes.Clone(r.Event), bytes.Clone(r.State)
	return r
}

// LeafHash is the hash of a leaf's canonical bytes, SHA-256 of a zero byte and the leaf (RFC 6962, section 2.1).
func LeafHash(leaf []byte) [32]byte { return tlog.RecordHash(leaf) }

// encode writes v as compact JSON without HTML escapes and without a line end.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// decodeStrict reads exactly one JSON value without unknown fields. Errors carry the byte offset where there is one.
func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return offsetError(err, dec.InputOffset())
	}
	end := dec.InputOffset()
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("byte %d: something follows the JSON value", end)
	}
	return nil
}

// offsetError puts the byte offset in front of a decoding error.
func offsetError(err error, at int64) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var when *time.ParseError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &kind):
		at = kind.Offset
	case errors.As(err, &when):
		return fmt.Errorf("time %q: %w", when.Value, err)
	}
	return fmt.Errorf("byte %d: %w", at, err)
}

// firstDifference returns the first offset at which a and b differ; that is the shorter length if one begins the other.
func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
