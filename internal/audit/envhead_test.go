package audit

import (
	"testing"
)

func TestEnvHead(t *testing.T) {
	signer, verifier := keys(t)
	_, other := newTestKey(t, "test", 9)
	h := EnvHead{Env: "production", Epoch: 3, Rev: 41, Digest: "sha256:00ff"}
	signed, err := SignEnvHead(h, signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenEnvHead(signed, verifier); err != nil || got != h {
		t.Fatalf("got %+v, %v; want %+v", got, err, h)
	}
	if _, err := OpenEnvHead(signed, other); err == nil {
		t.Error("another key's head passed")
	}
	for at := range len(signed) {
		b := []byte(signed)
		b[at] ^= 1
		if got, err := OpenEnvHead(string(b), verifier); err == nil {
			t.Errorf("flipped byte %d passes as %+v", at, got)
		}
	}
	log, err := SignHead(logOf(t, 3).head(t), "test", signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenEnvHead(string(log), verifier); err == nil {
		t.Error("the head of a log passes as that of an environment")
	}
	if _, err := SignEnvHead(EnvHead{Env: "a\nb"}, signer); err == nil {
		t.Error("a name with a line end was signed")
	}
	if _, err := OpenEnvHead("", verifier); err == nil {
		t.Error("nothing passes as a head")
	}
}
