package sluice

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"sluice.dev/sdk/slp"
)

// maxCache bounds what is read back, bytes.
const maxCache = 512 << 20

// diskCache is the file that holds the last configuration and the floors. Several processes of one name may share it: what
// one of them has made durable, and acknowledged, another one never takes back.
type diskCache struct {
	dir, path string
	wrote     os.FileInfo // the file as this process left it
	held      *slp.Cache  // what is in it
}

// openCache prepares the folder and tries to write in it.
func openCache(cfg *Config) (*diskCache, error) {
	sum := sha256.Sum256([]byte(cfg.URL + "\n" + cfg.Component + "\n" + cfg.Instance))
	d := &diskCache{dir: cfg.CacheDir, path: filepath.Join(cfg.CacheDir, "sluice-"+hex.EncodeToString(sum[:6])+".json")}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	f, err := os.CreateTemp(d.dir, ".probe-*")
	if err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	return d, errors.Join(f.Close(), os.Remove(f.Name()))
}

// read returns what the last process left, nil if there is nothing. A file that cannot be understood is an error: then the
// process starts as if there were none.
func (d *diskCache) read() (*slp.Cache, error) {
	info, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	if info.Size() > maxCache {
		return nil, fmt.Errorf("read the cache: %s has %d bytes, at most %d are read", d.path, info.Size(), maxCache)
	}
	b, err := os.ReadFile(d.path)
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	return slp.DecodeCache(b)
}

// write makes the content durable: whole or not at all, also if the power fails.
func (d *diskCache) write(k *slp.Cache) error {
	unlock, err := lockDir(d.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if d.foreign() {
		if d.held, err = d.read(); err != nil {
			d.held = nil // what cannot be understood is replaced
		}
	}
	if d.held != nil {
		k = mergeCaches(k, d.held)
	}
	if err := d.replace(k); err != nil {
		return err
	}
	d.held = k
	d.wrote, err = os.Stat(d.path)
	return err
}

// foreign says whether another process has written since this one did.
func (d *diskCache) foreign() bool {
	now, err := os.Stat(d.path)
	return err == nil && (d.wrote == nil || !os.SameFile(now, d.wrote) || !now.ModTime().Equal(d.wrote.ModTime()))
}

// mergeCaches returns the newer snapshot of the two, and the higher of all floors and heads.
func mergeCaches(k, other *slp.Cache) *slp.Cache {
	m := *k
	m.Floors = maps.Clone(k.Floors)
	if m.Floors == nil {
		m.Floors = map[string]uint64{}
	}
	for scope, f := range other.Floors {
		m.Floors[scope] = max(m.Floors[scope], f)
	}
	m.Seen = max(k.Seen, other.Seen)
	if other.Snapshot != nil && (k.Snapshot == nil || other.Snapshot.Head.Rev > k.Snapshot.Head.Rev) {
		m.Snapshot = other.Snapshot
	}
	return &m
}

func (d *diskCache) replace(k *slp.Cache) (err error) {
	b, err := k.Encode()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(d.dir, ".sluice-*")
	if err != nil {
		return fmt.Errorf("write the cache: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the write's error says more
		}
	}()
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the cache: %w", err)
	}
	if err = os.Rename(f.Name(), d.path); err != nil {
		return fmt.Errorf("write the cache: %w", err)
	}
	return syncDir(d.dir)
}

// cacheWriter writes what it is handed; a newer content replaces an older one that has not been begun.
func (c *Client) cacheWriter() {
	for {
		select {
		case <-c.done:
			return
		case k := <-c.cacheBox:
			err := c.disk.write(k)
			if err != nil {
				c.failed("cache", err)
			}
			c.post(slp.CacheWritten{Cache: k, Failed: err != nil})
		}
	}
}

func (c *Client) writeCache(k *slp.Cache) {
	for {
		select {
		case c.cacheBox <- k:
			return
		default:
		}
		select {
		case <-c.cacheBox:
		default:
		}
	}
}
