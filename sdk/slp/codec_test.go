package slp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestDigestsAreTheServers compares with digests that the server's package revision computed.
func TestDigestsAreTheServers(t *testing.T) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	scopes := map[string]map[string]json.RawMessage{
		"base": {
			"flag/a":    raw(`{"key":"a","n":1.50,"meta":{"owner":"x"},"t":"<é&>"}`),
			"segment/s": raw(`{"b":2,"a":[1,true,null]}`),
		},
		"overlay": {},
		"r1":      {"flag/z": raw(`{"z":{"meta":1}}`)},
	}
	want := map[string]string{
		"base":    "sha256:20c7dbe673ea96d03e50fbe55285ab979da98313405b3f4aa928c3ee56598ae9",
		"overlay": "sha256:b7afde2e100942d350dc3811dbff667d04225c2d7f837e1faae2736f8dd9be78",
		"r1":      "sha256:82e190c67f0d5d4bd6bdb6a6537d624b2d2f5fab00c14a0b6c8d24cbbd4a189c",
	}
	s := Snapshot{Head: Head{Rev: 1, Digest: "sha256:7f98eb8b4f79fa50f9cc3be69d7434acd7acf1a46f6218ea281f295157dd88ee"}, Scopes: map[string]ScopeMeta{}, Objects: map[string]json.RawMessage{}}
	for name, objects := range scopes {
		got, err := ScopeDigest(objects)
		if err != nil || got != want[name] {
			t.Errorf("scope %s: digest %s, %v; want %s", name, got, err, want[name])
		}
		s.Scopes[name] = ScopeMeta{Digest: got}
		for path, o := range objects {
			s.Objects[name+"/"+path] = o
		}
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
	// The same over the wire, where the encoder writes < and & as escapes.
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if err := back.Verify(); err != nil {
		t.Error(err)
	}
	back.Objects["base/flag/a"] = raw(`{"key":"a","n":1.5,"meta":{"owner":"y"},"t":"<é&>"}`)
	if err := back.Verify(); err != nil {
		t.Errorf("meta changes the serving digest: %v", err)
	}
	back.Objects["base/flag/a"] = raw(`{"key":"a","n":1.51,"t":"<é&>"}`)
	if back.Verify() == nil {
		t.Error("another content has the same digest")
	}
}

func TestCacheRoundTrip(t *testing.T) {
	s := toySnapshot(7, 5, true)
	in := &Cache{Format: CacheFormat, Snapshot: &s, Floors: map[string]uint64{"r": 4}, Seen: 9, Unwind: map[string]uint64{"r": 4}}
	b, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := DecodeCache(b)
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Fatalf("got %+v, %v; want %+v", out, err, in)
	}
	for _, bad := range []string{"", "{}", `{"format":2}`, strings.Replace(string(b), `"exposed":true`, `"exposed":false`, 1), string(b[:len(b)-3])} {
		if _, err := DecodeCache([]byte(bad)); err == nil {
			t.Errorf("accepted %.60q", bad)
		}
	}
}

type pinVector struct {
	Key     string `json:"key"` // text
	Rev     uint64 `json:"rev"`
	Scope   string `json:"scope"`
	Digest8 string `json:"digest8"`
	Arm     string `json:"arm"`
	Pin     string `json:"pin"`
}

// TestPinVectors holds the wire form against testdata/pins.json, which clients in other languages read too.
func TestPinVectors(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "pins.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []pinVector
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 4 {
		t.Fatalf("%d vectors", len(vectors))
	}
	other := PinKey{ID: "0", Key: []byte("another key, 16+ bytes")}
	for _, v := range vectors {
		p, key := Pin{v.Rev, v.Scope, v.Digest8, v.Arm}, PinKey{ID: "1", Key: []byte(v.Key)}
		if got := p.Sign(key); got != v.Pin {
			t.Errorf("%+v: pin %s, want %s", p, got, v.Pin)
		}
		if got, err := VerifyPin(v.Pin, []PinKey{other, key}); err != nil || got != p {
			t.Errorf("%s: %+v, %v", v.Pin, got, err)
		}
		if _, err := VerifyPin(v.Pin, []PinKey{other}); err == nil {
			t.Errorf("%s: verified by another key", v.Pin)
		}
	}
}

func TestForgedPins(t *testing.T) {
	key := PinKey{ID: "1", Key: []byte("0123456789abcdef")}
	good := Pin{Rev: 12, Scope: "spend.7d", Digest8: "0123abcd", Arm: PinBaseline}.Sign(key)
	for _, bad := range []string{
		"", ".", "1", strings.Replace(good, "baseline", "exposed", 1), strings.Replace(good, "1.12.", "1.13.", 1), strings.Replace(good, "1.12.", "1.012.", 1),
		strings.Replace(good, "1.12.", "2.12.", 1), strings.Replace(good, "spend", "other", 1), good + "0", good[:len(good)-1], strings.ToUpper(good),
		Pin{Rev: 1, Scope: "s", Digest8: "0123abcd", Arm: "both"}.Sign(key), Pin{Rev: 1, Scope: "", Digest8: "0123abcd", Arm: PinNone}.Sign(key),
		Pin{Rev: 1, Scope: "a b", Digest8: "0123abcd", Arm: PinNone}.Sign(key), Pin{Rev: 1 << 60, Scope: "s", Digest8: "0123abcd", Arm: PinNone}.Sign(key),
		Pin{Rev: 1, Scope: strings.Repeat("s", 300), Digest8: "0123abcd", Arm: PinNone}.Sign(key),
	} {
		if p, err := VerifyPin(bad, []PinKey{key}); err == nil {
			t.Errorf("accepted %q as %+v", bad, p)
		}
	}
	if _, err := VerifyPin(good, []PinKey{key}); err != nil {
		t.Error(err)
	}
}

func FuzzVerifyPin(f *testing.F) {
	key := PinKey{ID: "1", Key: []byte("0123456789abcdef")}
	f.Add(Pin{Rev: 12, Scope: "spend.7d", Digest8: "0123abcd", Arm: PinExposed}.Sign(key))
	f.Add("1.1.a.b.c.d.e.f")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := VerifyPin(s, []PinKey{key})
		if err == nil && p.Sign(key) != s {
			t.Fatalf("%q reads as %+v, which is written %q", s, p, p.Sign(key))
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add(`{"epoch":1,"head":{"rev":4,"digest":"sha256:00"},"floors":{"r":4},"delta":{"base":"x","upsert":{"r/flag/f":{"exposed":false}}}}`)
	f.Add(`{"epoch":1,"head":{"rev":3},"prepare":{"scope":"r","digest":"d","objects":{"flag/f":1}},"unwind":{"r":"store"}}`)
	s := toySnapshot(3, 3, true)
	f.Fuzz(func(t *testing.T, data string) {
		e, err := DecodeEvent(EventState, "1.2", []byte(data))
		if err != nil {
			return
		}
		m := newMember(t, nil)
		m.join(s)
		m.step(grantFor(m.renewal(), s.Head, 0, lease2s))
		m.run(WatchEvent{e})
		if m.view.Snapshot.Head.Rev < 3 || m.view.Held(toyScope, 3, m.now) && m.view.Floors[toyScope] > 3 {
			t.Fatalf("after %q the view is %+v", data, m.view)
		}
		if err := m.view.Snapshot.Verify(); err != nil {
			t.Fatalf("in force after %q: %v", data, err)
		}
	})
}

func FuzzDecodeCache(f *testing.F) {
	s := toySnapshot(7, 5, true)
	b, err := (&Cache{Format: CacheFormat, Snapshot: &s, Floors: map[string]uint64{"r": 4}, Seen: 9}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCache(b)
		if err != nil {
			return
		}
		m := newMember(t, func(c *ClientConfig) { c.Caps.Cache = "durable" })
		m.run(Start{Cache: c})
		if m.view.Held(toyScope, 1<<60, m.now) {
			t.Fatal("a lease came out of a cache")
		}
	})
}

func TestCheckEvidence(t *testing.T) {
	good := EvidenceRequest{Instance: "i", Boot: testBoot, Seq: 1, Through: 1700000000}
	if err := CheckEvidence(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*EvidenceRequest){
		"instance": func(q *EvidenceRequest) { q.Instance = "" },
		"boot":     func(q *EvidenceRequest) { q.Boot = "x" },
		"seq":      func(q *EvidenceRequest) { q.Seq = 0 },
		"through":  func(q *EvidenceRequest) { q.Through = -1 },
	} {
		q := good
		change(&q)
		if CheckEvidence(q) == nil {
			t.Errorf("%s is not checked", name)
		}
	}
}

func BenchmarkSignPin(b *testing.B) {
	key := PinKey{ID: "1", Key: []byte("0123456789abcdef0123456789abcdef")}
	p := Pin{Rev: 12, Scope: "flights-delay-v12", Digest8: "0123abcd", Arm: PinExposed}
	for b.Loop() {
		p.Sign(key)
	}
}
