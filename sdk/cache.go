package sluice

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sluice.dev/sdk/slp"
)

// maxCache bounds what is read back, bytes.
const maxCache = 512 << 20

// diskCache is the file that holds the last configuration and the floors.
type diskCache struct{ dir, path string }

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
func (d *diskCache) write(k *slp.Cache) (err error) {
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
