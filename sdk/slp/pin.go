package slp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// PinMember is the baggage key under which a request's pins travel, one list member per scope.
const PinMember = "slc"

// MaxPins bounds the pins of one request.
const MaxPins = 4

// Arms of a pin.
const (
	PinBaseline = "baseline"
	PinExposed  = "exposed"
	PinLapsed   = "lapsed" // assigned to the exposed arm, served the baseline because the first hop had no lease
	PinNone     = "none"   // in no cohort of the rollout
)

// Pin is a request's decision about one scope, made where the request entered and carried to every later hop, which does
// not decide again. On the wire it is "1.<rev>.<scope>.<digest8>.<arm>.<mac>": digest8 is the first 8 hex digits of the
// scope's serving digest, mac the first 8 bytes, in hex, of HMAC-SHA256 over everything before the last dot.
type Pin struct {
	Rev     uint64
	Scope   string
	Digest8 string
	Arm     string
}

// Digest8 returns the part of a digest "sha256:<hex>" that a pin carries, "" if it is none.
func Digest8(digest string) string {
	hexPart, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hexPart) < 8 {
		return ""
	}
	return hexPart[:8]
}

// Sign returns the pin's wire form. The scope must be a name ([a-z0-9._-]); keys have at least 16 bytes.
func (p Pin) Sign(key PinKey) string {
	body := "1." + strconv.FormatUint(p.Rev, 10) + "." + p.Scope + "." + p.Digest8 + "." + p.Arm
	return body + "." + mac(key, body)
}

func mac(key PinKey, body string) string {
	h := hmac.New(sha256.New, key.Key)
	h.Write([]byte(body))
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0])[:8])
}

// maxPin bounds the wire form, bytes.
const maxPin = 256

// VerifyPin reads a pin and checks it against the keys, of which there are two while they are rotated. Scope names may
// contain dots; all other parts cannot, so the text has one meaning.
func VerifyPin(text string, keys []PinKey) (Pin, error) {
	if len(text) > maxPin {
		return Pin{}, fmt.Errorf("pin of %d bytes, at most %d are read", len(text), maxPin)
	}
	parts := strings.Split(text, ".")
	n := len(parts)
	if n < 6 || parts[0] != "1" {
		return Pin{}, fmt.Errorf("pin %.40q is not of version 1", text)
	}
	p := Pin{Scope: strings.Join(parts[2:n-3], "."), Digest8: parts[n-3], Arm: parts[n-2]}
	var err error
	if p.Rev, err = strconv.ParseUint(parts[1], 10, 53); err != nil || parts[1] != strconv.FormatUint(p.Rev, 10) {
		return Pin{}, fmt.Errorf("pin %.40q: %q is no revision", text, parts[1])
	}
	if !scopeName(p.Scope) || !isHex(p.Digest8, 8) || !isHex(parts[n-1], 16) {
		return Pin{}, fmt.Errorf("pin %.40q is malformed", text)
	}
	switch p.Arm {
	case PinBaseline, PinExposed, PinLapsed, PinNone:
	default:
		return Pin{}, fmt.Errorf("pin %.40q: unknown arm %q", text, p.Arm)
	}
	body, sum := text[:len(text)-17], parts[n-1]
	for _, k := range keys {
		if hmac.Equal([]byte(mac(k, body)), []byte(sum)) {
			return p, nil
		}
	}
	return Pin{}, fmt.Errorf("pin of scope %s is not signed by a key of this environment", p.Scope)
}

func scopeName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if !(b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || i > 0 && (b == '.' || b == '_' || b == '-')) {
			return false
		}
	}
	return true
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range n {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
