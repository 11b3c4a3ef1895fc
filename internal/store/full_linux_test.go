package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sluice.dev/sluice/internal/audit"
	"sluice.dev/sluice/internal/store"
)

// S26: on a disk that is really full a rollback is still written, evidence is not, and nothing is there by half. The disk is
// a small file system in memory that only the child process sees.
func TestFullDisk(t *testing.T) {
	cmd := child(t, "full", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.Output()
	if strings.Contains(string(out), "mount: ") || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("SKIPPED: this machine does not let us mount a file system: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// fillDisk runs in the child.
func fillDisk(dir string) error {
	// Without this the mount would be seen outside where mounts are shared.
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=20m,mode=0700"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	ctx := context.Background()
	s, err := store.OpenSQLite(ctx, dir)
	if err != nil {
		return err
	}
	epoch, err := s.Lead(ctx)
	if err != nil {
		return err
	}
	seconds, err := fillWith(func(i int) store.Batch {
		return store.Batch{Epoch: epoch, Evidence: []store.Evidence{{Rollout: "r", Second: int64(i), Digest: "d", Body: make([]byte, 20_000)}}}
	}, s)
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "reserve")); err != nil {
		return fmt.Errorf("evidence has used the reserve: %w", err)
	}
	refused := store.Batch{Epoch: epoch, Records: []audit.Record{crashRecord(1)}}
	if _, err := s.Append(ctx, refused); !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("a record that takes nothing back: %w", err)
	}
	records, err := fillWith(func(i int) store.Batch {
		return store.Batch{Epoch: epoch, Vital: true, Records: []audit.Record{crashRecord(uint64(i) + 1)}}
	}, s)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "reserve")); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("records have not used the reserve: %w", err)
	}
	if err := s.PutMeta(ctx, "k", nil); !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("a value written into what is kept for rollbacks: %w", err)
	}
	fmt.Printf("full after %d seconds of evidence; then %d records fitted into the reserve\n", seconds, records)
	if seconds < 50 || records < 200 {
		return errors.New("too few")
	}
	if err := readable(ctx, s, seconds, records); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = store.OpenSQLite(ctx, dir); err != nil {
		return fmt.Errorf("open on a full disk: %w", err)
	}
	defer func() { _ = s.Close() }()
	return readable(ctx, s, seconds, records)
}

// fillWith appends batches until the disk is full and returns how many were.
func fillWith(batch func(int) store.Batch, s store.Store) (int, error) {
	for i := range 100_000 {
		if _, err := s.Append(context.Background(), batch(i)); err != nil {
			if errors.Is(err, store.ErrFull) {
				return i, nil
			}
			return i, err
		}
	}
	return 0, errors.New("the disk does not fill")
}

func readable(ctx context.Context, s store.Store, seconds, records int) error {
	head, err := store.Verify(ctx, s)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if head.Size != uint64(records) {
		return fmt.Errorf("%d records, %d were acknowledged", head.Size, records)
	}
	all, err := s.EvidenceAfter(ctx, "r", -1, 5000)
	if err != nil || len(all) != seconds {
		return fmt.Errorf("%d seconds, %d were acknowledged: %w", len(all), seconds, err)
	}
	return nil
}
