package audit

import (
	"bytes"
	"strings"
	"testing"
)

func TestSignedHeadGolden(t *testing.T) {
	signed, verifier := sign(t, logOf(t, 5).head(t))
	golden(t, "testdata/head.txt", append([]byte(verifier+"\n"), signed...))
}

func TestOpenHeadReturnsWhatWasSigned(t *testing.T) {
	for _, n := range []int{0, 1, 5} {
		want := logOf(t, n).head(t)
		signed, verifier := sign(t, want)
		got, name, err := OpenHead(signed, verifier)
		if err != nil || got != want || name != "test" {
			t.Errorf("got %v %q %v, want %v of log test", got, name, err, want)
		}
	}
}

func TestOpenHeadDetectsEveryFlippedByte(t *testing.T) {
	signed, verifier := sign(t, logOf(t, 5).head(t))
	for i := range signed {
		for bit := range 8 {
			bad := bytes.Clone(signed)
			bad[i] ^= 1 << bit
			if h, _, err := OpenHead(bad, verifier); err == nil {
				t.Fatalf("byte %d bit %d: accepted %q as %v", i, bit, bad, h)
			}
		}
	}
}

func TestOpenHeadRefuses(t *testing.T) {
	head := logOf(t, 2).head(t)
	signed, verifier := sign(t, head)
	_, other, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{8}, 64)), "test")
	if err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := len(signed) - len("X=\n") // holds two bits that decoding ignores
	spare := string(signed[:last]) + alphabet[strings.IndexByte(alphabet, signed[last])+1:][:1] + "=\n"
	for _, tt := range []struct{ name, signed, key, want string }{
		{"spare bits of the signature", spare, verifier, "illegal base64"},
		{"another key", string(signed), other, "no verifiable signatures"},
		{"a broken key", string(signed), verifier[:20], "verifier key"},
		{"two signatures", string(signed) + strings.SplitAfter(string(signed), "\n\n")[1], verifier, ""},
		{"too long", string(signed) + strings.Repeat("x", maxHeadBytes), verifier, "at most 4096"},
		{"nothing", "", verifier, "malformed"},
	} {
		if _, _, err := OpenHead([]byte(tt.signed), tt.key); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestSignHeadRefuses(t *testing.T) {
	signer, _ := keys(t)
	head := EmptyHead()
	for _, tt := range []struct {
		name, log, key string
		head           TreeHead
	}{
		{"another log's key", "prod", signer, head},
		{"no key", "test", "PRIVATE+KEY+x", head},
		{"a name with a line end", "a\nb", signer, head},
		{"no name", "", signer, head},
		{"no root", "test", signer, TreeHead{Size: 1, Root: "x"}},
	} {
		if b, err := SignHead(tt.head, tt.log, tt.key); err == nil {
			t.Errorf("%s: signed %q", tt.name, b)
		} else if strings.Contains(err.Error(), signer) {
			t.Errorf("%s: the error shows the secret key", tt.name)
		}
	}
}

func FuzzOpenHead(f *testing.F) {
	signed, verifier := sign(f, logOf(f, 5).head(f))
	f.Add(signed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := OpenHead(b, verifier); err == nil && !bytes.Equal(b, signed) {
			t.Fatalf("accepted %q", b)
		}
	})
}
