package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/httpapi"
	"sluice.dev/sluice/internal/store"
)

// keys are the server's secrets, made once and kept in the store.
type keys struct {
	signer, verifier string
	pin              []slp.PinKey
}

func (k keys) pins(string) []slp.PinKey { return k.pin }

// secret is one that all servers on the same store can compute and nobody else: by it they know each other.
func (k keys) secret(purpose string) string {
	sum := sha256.Sum256([]byte(purpose + "\n" + k.signer))
	return httpapi.TokenPrefix + hex.EncodeToString(sum[:])
}

// loadKeys reads the keys; those of a store that has none are made by whoever leads.
func loadKeys(ctx context.Context, s store.Store) (keys, error) {
	k, err := readKeys(ctx, s)
	if errors.Is(err, store.ErrNotFound) {
		return makeKeys(ctx, s)
	}
	return k, err
}

type storedKeys struct {
	Signer   string       `json:"signer"`
	Verifier string       `json:"verifier"`
	Pins     []slp.PinKey `json:"pins"`
}

func readKeys(ctx context.Context, s store.Store) (keys, error) {
	raw, err := s.Meta(ctx, "keys")
	if err != nil {
		return keys{}, fmt.Errorf("read keys: %w", err)
	}
	var stored storedKeys
	if err := json.Unmarshal(raw, &stored); err != nil {
		return keys{}, fmt.Errorf("read keys: %w", err)
	}
	return keys{stored.Signer, stored.Verifier, stored.Pins}, nil
}

func makeKeys(ctx context.Context, s store.Store) (keys, error) {
	var stored storedKeys
	var err error
	if stored.Signer, stored.Verifier, err = newSigner(); err != nil {
		return keys{}, err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never errs
	stored.Pins = []slp.PinKey{{ID: "1", Key: secret}}
	raw, err := json.Marshal(stored)
	if err != nil {
		return keys{}, err
	}
	fail.At(fail.KeysDrawn)
	if err := s.PutMeta(ctx, "keys", raw); err != nil {
		return keys{}, fmt.Errorf("store keys: %w", err)
	}
	fail.At(fail.KeysStored)
	return keys{stored.Signer, stored.Verifier, stored.Pins}, nil
}

// Sign implements push.HeadSigner.
func (k keys) Sign(env string, epoch uint64, head slp.Head) string {
	signed, err := audit.SignEnvHead(audit.EnvHead{Env: env, Epoch: epoch, Rev: head.Rev, Digest: head.Digest}, k.signer)
	if err != nil {
		return "" // members then hold no proof of it; nothing else depends on it
	}
	return signed
}

// Open implements push.HeadSigner.
func (k keys) Open(env, signed string) (epoch uint64, head slp.Head, ok bool) {
	h, err := audit.OpenEnvHead(signed, k.verifier)
	return h.Epoch, slp.Head{Rev: h.Rev, Digest: h.Digest}, err == nil && h.Env == env
}
