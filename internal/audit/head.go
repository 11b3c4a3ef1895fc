package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// originPrefix begins the origin line of every log of ours; the log's name follows.
const originPrefix = "sluice.dev/log/"

// maxHeadBytes bounds a signed head; a real one has about 250 bytes.
const maxHeadBytes = 4096

// Origin returns the origin line of the log with the name, which is also the name of its signing key. A name has 1 to 64
// of the characters a-z, 0-9, '.', '_' and '-'.
func Origin(name string) (string, error) {
	if len(name) == 0 || len(name) > 64 {
		return "", fmt.Errorf("log name %q has %d characters, want 1 to 64", name, len(name))
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("._-", c) {
			return "", fmt.Errorf("log name %q contains %q; allowed are a-z 0-9 . _ -", name, c)
		}
	}
	return originPrefix + name, nil
}

// NewKey makes an Ed25519 key pair for the log with the name, in the encodings of package note: the signer's is secret,
// the verifier's is published. random must be a cryptographic source (crypto/rand.Reader outside tests).
func NewKey(random io.Reader, name string) (signer, verifier string, err error) {
	origin, err := Origin(name)
	if err != nil {
		return "", "", err
	}
	signer, verifier, err = note.GenerateKey(random, origin)
	if err != nil {
		return "", "", fmt.Errorf("key of log %s: %w", name, err)
	}
	return signer, verifier, nil
}

// SignHead signs the head of the log with the name: a note whose text is the three lines origin, size and root (the
// checkpoint form that witnesses of transparency logs read), with one Ed25519 signature by signerKey.
func SignHead(head TreeHead, name, signerKey string) ([]byte, error) {
	origin, err := Origin(name)
	if err != nil {
		return nil, err
	}
	if _, err := head.hash(); err != nil {
		return nil, err
	}
	s, err := note.NewSigner(signerKey)
	if err != nil {
		return nil, fmt.Errorf("signing key of log %s: %w", name, err) // note's error does not contain the key
	}
	if s.Name() != origin {
		return nil, fmt.Errorf("signing key is of %q, the log is %q", s.Name(), origin)
	}
	signed, err := note.Sign(&note.Note{Text: headText(origin, head)}, s)
	if err != nil {
		return nil, fmt.Errorf("sign head of log %s at size %d: %w", name, head.Size, err)
	}
	return signed, nil
}

// OpenHead checks a signed head against the verifier key and returns it with the name of the log. It accepts exactly the
// bytes that SignHead writes: one signature, by this key, nothing after it.
func OpenHead(signed []byte, verifierKey string) (TreeHead, string, error) {
	if len(signed) > maxHeadBytes {
		return TreeHead{}, "", fmt.Errorf("signed head has %d bytes, at most %d are allowed", len(signed), maxHeadBytes)
	}
	v, name, err := parseKey(verifierKey)
	if err != nil {
		return TreeHead{}, "", err
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return TreeHead{}, "", fmt.Errorf("signed head of log %s: %w", name, err)
	}
	if err := onlySignature(string(signed), n); err != nil {
		return TreeHead{}, "", fmt.Errorf("signed head of log %s: %w", name, err)
	}
	head, err := parseHead(n.Text, v.Name())
	if err != nil {
		return TreeHead{}, "", fmt.Errorf("signed head of log %s: %w", name, err)
	}
	return head, name, nil
}

// parseKey reads a verifier key of one of our logs and returns the log's name. Of the spellings that package note accepts
// (hex digits of either case, spare bits of the base64) only the one it writes passes: keys are compared as strings.
func parseKey(key string) (note.Verifier, string, error) {
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, "", fmt.Errorf("verifier key %q: %w", key, err)
	}
	name, ok := strings.CutPrefix(v.Name(), originPrefix)
	if _, err := Origin(name); !ok || err != nil {
		return nil, "", fmt.Errorf("verifier key is of %q, want %s<name>", v.Name(), originPrefix)
	}
	rest, ok := strings.CutPrefix(key, fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash()))
	if _, err := base64.StdEncoding.Strict().DecodeString(rest); !ok || err != nil {
		return nil, "", fmt.Errorf("verifier key %q is not written as it was made", key)
	}
	return v, name, nil
}

// onlySignature refuses what note.Open is lenient about: further signatures, and spare bits of the base64.
func onlySignature(signed string, n *note.Note) error {
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return fmt.Errorf("%d signatures, want 1", len(n.Sigs)+len(n.UnverifiedSigs))
	}
	sig := n.Sigs[0]
	if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	if signed != n.Text+"\n— "+sig.Name+" "+sig.Base64+"\n" {
		return errors.New("the signature line is not as it was written")
	}
	return nil
}

func headText(origin string, head TreeHead) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, head.Size, head.Root)
}

func parseHead(text, origin string) (TreeHead, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return TreeHead{}, fmt.Errorf("%d lines, want origin, size and root", len(lines)-1)
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil {
		return TreeHead{}, fmt.Errorf("size: %w", err)
	}
	head := TreeHead{Size: size, Root: lines[2]}
	if _, err := head.hash(); err != nil {
		return TreeHead{}, err
	}
	if text != headText(origin, head) {
		return TreeHead{}, fmt.Errorf("text %q is not that of a head of %s", text, origin)
	}
	return head, nil
}
