package slp

import (
	"encoding/json"
	"fmt"
)

// CacheFormat is the version of the cache's form.
const CacheFormat = 1

// Cache is what a member keeps on disk: the last snapshot that was in force, floors, and the highest head it heard of.
// Never a lease: whoever starts holds none.
type Cache struct {
	Format    int               `json:"format"`
	Snapshot  *Snapshot         `json:"snapshot,omitempty"`
	Floors    map[string]uint64 `json:"floors,omitempty"`
	Seen      uint64            `json:"seen"`
	Signed    string            `json:"signedHead,omitempty"` // newest head that a server signed
	SignedRev uint64            `json:"signedRev,omitempty"`  // its revision
	Unwind    map[string]uint64 `json:"unwind,omitempty"`     // what a store or writer still has to take back
}

// Encode returns the cache's stored form.
func (c *Cache) Encode() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the cache of revision %d: %w", c.Seen, err)
	}
	return b, nil
}

// DecodeCache reads a stored cache and verifies every digest.
func DecodeCache(b []byte) (*Cache, error) {
	var c Cache
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("decode the cache: %w", err)
	}
	if c.Format != CacheFormat {
		return nil, fmt.Errorf("cache has format %d, understood is %d", c.Format, CacheFormat)
	}
	if c.Seen >= maxRev || c.SignedRev >= maxRev || len(c.Signed) > maxSigned {
		return nil, fmt.Errorf("cache: revision %d is out of range", c.Seen)
	}
	if c.Snapshot == nil {
		return &c, nil
	}
	if err := c.Snapshot.Verify(); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &c, nil
}
