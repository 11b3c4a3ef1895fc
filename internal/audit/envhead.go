package audit

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// EnvHead is what a leader vouches for to the members of an environment: the newest revision and in which term it stood.
type EnvHead struct {
	Env    string
	Epoch  uint64
	Rev    uint64
	Digest string
}

// envHeadPrefix begins the text of every signed head of an environment; no head of a log begins so.
const envHeadPrefix = "sluice.dev/head/"

func (h EnvHead) text() string {
	return fmt.Sprintf("%s%s\n%d\n%d\n%s\n", envHeadPrefix, h.Env, h.Epoch, h.Rev, h.Digest)
}

// SignEnvHead signs the head of an environment with the log's signing key. Members keep the newest one they were given, so
// that they can prove what a server has forgotten.
func SignEnvHead(h EnvHead, signerKey string) (string, error) {
	if strings.ContainsAny(h.Env+h.Digest, "\n") {
		return "", fmt.Errorf("head of environment %q with digest %q: a line end in it", h.Env, h.Digest)
	}
	s, err := note.NewSigner(signerKey)
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err) // note's error does not contain the key
	}
	signed, err := note.Sign(&note.Note{Text: h.text()}, s)
	if err != nil {
		return "", fmt.Errorf("sign revision %d of %s: %w", h.Rev, h.Env, err)
	}
	return string(signed), nil
}

// OpenEnvHead checks a signed head against the verifier key and returns it. It accepts exactly what SignEnvHead writes.
func OpenEnvHead(signed, verifierKey string) (EnvHead, error) {
	if len(signed) > maxHeadBytes {
		return EnvHead{}, fmt.Errorf("signed head has %d bytes, at most %d are allowed", len(signed), maxHeadBytes)
	}
	v, _, err := parseKey(verifierKey)
	if err != nil {
		return EnvHead{}, err
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		return EnvHead{}, fmt.Errorf("signed head: %w", err)
	}
	if err := onlySignature(signed, n); err != nil {
		return EnvHead{}, fmt.Errorf("signed head: %w", err)
	}
	return parseEnvHead(n.Text)
}

func parseEnvHead(text string) (EnvHead, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 {
		return EnvHead{}, fmt.Errorf("signed head has %d lines, want environment, epoch, revision and digest", len(lines)-1)
	}
	h := EnvHead{Digest: lines[3]}
	env, ok := strings.CutPrefix(lines[0], envHeadPrefix)
	if !ok {
		return EnvHead{}, fmt.Errorf("signed head begins with %q, want %s<environment>", lines[0], envHeadPrefix)
	}
	h.Env = env
	var err error
	if h.Epoch, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return EnvHead{}, fmt.Errorf("epoch of a signed head: %w", err)
	}
	if h.Rev, err = strconv.ParseUint(lines[2], 10, 64); err != nil {
		return EnvHead{}, fmt.Errorf("revision of a signed head: %w", err)
	}
	if h.text() != text {
		return EnvHead{}, fmt.Errorf("signed head of %s is not written as it was signed", env)
	}
	return h, nil
}
