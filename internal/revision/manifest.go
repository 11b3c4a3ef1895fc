package revision

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"sluice.dev/sdk/flag"
)

// tagManifest is the tag of a manifest's own digest.
const tagManifest = "sluice-manifest-v1"

// stored is the form of a manifest. Sum covers what no other digest does: numbers, floors, lease lengths and times.
type stored struct {
	Env json.RawMessage `json:"env"`
	Sum string          `json:"sum"`
}

// Manifest returns the stored form of the environment: canonical JSON without the objects, which are kept once each as
// artifacts under their scope's full digest, and a digest of itself.
func (e Env) Manifest() ([]byte, error) {
	b, err := flag.Canonical(e)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s revision %d: %w", e.Name, e.Number, err)
	}
	return flag.Canonical(stored{Env: b, Sum: flag.Digest(tagManifest, b)})
}

// Blob is the stored form of one scope's content, under its full digest.
func (s Scope) Blob() (digest string, body []byte, err error) {
	body, err = flag.Canonical(map[string]json.RawMessage(s.Objects.Clone()))
	return s.Full, body, err
}

// Load rebuilds an environment from its manifest; content returns the blob of a full digest. The manifest's digest, each
// scope's and the environment's are computed again and compared, so damaged storage is noticed here, with the scope's name.
func Load(manifest []byte, content func(full string) ([]byte, error)) (Env, error) {
	e, err := unseal(manifest)
	if err != nil {
		return Env{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(e.Scopes)) {
		s := e.Scopes[name]
		if err := s.load(content); err != nil {
			return Env{}, fmt.Errorf("content of scope %s of %s revision %d: %w", name, e.Name, e.Number, err)
		}
		e.Scopes[name] = s
	}
	if d := e.digest(); d != e.Digest {
		return Env{}, fmt.Errorf("revision %d of %s has digest %s, its manifest says %s: the store is damaged", e.Number, e.Name, d, e.Digest)
	}
	return e, nil
}

// unseal checks a manifest's own digest and decodes it.
func unseal(manifest []byte) (Env, error) {
	var (
		st stored
		e  Env
	)
	if err := json.Unmarshal(manifest, &st); err != nil {
		return Env{}, fmt.Errorf("manifest: %w", err)
	}
	again, err := flag.Canonical(st)
	if err != nil {
		return Env{}, fmt.Errorf("manifest: %w", err)
	}
	if sum := flag.Digest(tagManifest, st.Env); sum != st.Sum || string(again) != string(manifest) {
		return Env{}, fmt.Errorf("manifest has digest %s, it says %s: the store is damaged", sum, st.Sum)
	}
	if err := json.Unmarshal(st.Env, &e); err != nil {
		return Env{}, fmt.Errorf("manifest: %w", err)
	}
	if e.Floors == nil {
		e.Floors = map[string]uint64{}
	}
	return e, nil
}

// load fills in the objects from the blob of the scope's full digest.
func (s *Scope) load(content func(full string) ([]byte, error)) error {
	body, err := content(s.Full)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.Full, err)
	}
	if got := flag.ContentDigest(body); got != s.Full {
		return fmt.Errorf("it has digest %s, the revision says %s: the store is damaged", got, s.Full)
	}
	s.Objects = Objects{}
	if err := json.Unmarshal(body, &s.Objects); err != nil {
		return fmt.Errorf("decode %s: %w", s.Full, err)
	}
	serving, _, err := s.Objects.Digests()
	if err != nil {
		return err
	}
	if serving != s.Digest {
		return fmt.Errorf("it has serving digest %s, the revision says %s: the store is damaged", serving, s.Digest)
	}
	return nil
}
