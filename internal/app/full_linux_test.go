package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

// serveOnSmallDisk is a server process whose data lie in a small file system of its own. Each SIGUSR1 fills it to the last
// byte, or empties it again.
func serveOnSmallDisk() {
	dir := os.Getenv("SLUICE_TEST_DIR")
	if err := errors.Join(syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), syscall.Mount("none", dir, "tmpfs", 0, "size=24m,mode=0700")); err != nil {
		fmt.Println("mount:", err)
		os.Exit(1)
	}
	a, err := app.Start(context.Background(), app.Config{DataDir: dir, Listen: "127.0.0.1:0", Version: "test", Tick: 50 * time.Millisecond})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(a.URL(), a.AdminToken())
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	ballast := filepath.Join(dir, "ballast")
	for full := true; ; full = !full {
		<-asked
		if full {
			err = fill(ballast)
		} else {
			err = os.Remove(ballast)
		}
		fmt.Println("done", err)
	}
}

func fill(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return err
		}
	}
	return nil
}

// S26 with a real process: the disk fills in the middle of a rollout. Flags cannot be edited any more and the answer says why;
// the rollback is decided, and proven although a member does not answer; with space again all goes on.
func TestDiskFillsMidRollout(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SLUICE_TEST_ROLE=small-disk", "SLUICE_TEST_DIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("SKIPPED: no file systems of our own here: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is ours and still runs
		_ = cmd.Wait()
	})
	said := bufio.NewReader(out)
	line, err := said.ReadString('\n')
	if strings.HasPrefix(line, "mount:") {
		t.Skipf("SKIPPED: this machine does not let us mount a file system: %s", line)
	}
	url, admin, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok {
		t.Fatalf("%q %v", line, err)
	}
	fillsMidRollout(t, url, admin, func() {
		if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if line, err := said.ReadString('\n'); err != nil || line != "done <nil>\n" {
			t.Fatalf("%q %v", line, err)
		}
	})
	go func() { _, _ = io.Copy(io.Discard, said) }()
}

func fillsMidRollout(t *testing.T, url, admin string, toggle func()) {
	ctx := context.Background()
	c, err := client.New(url, admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{crashFlag, settledFlag} {
		if err := apply(t, c, src); err != nil {
			t.Fatal(err)
		}
	}
	var token struct{ Secret string }
	if err := c.Post(ctx, "/v1/tokens", map[string]any{"name": "shop", "role": policy.Component}, &token); err != nil {
		t.Fatal(err)
	}
	shop := openShop(t, url, token.Secret, "shop-1")
	lines, member := frozenMember(t, url, token.Secret)
	if err := apply(t, c, longBake); err != nil {
		t.Fatal(err)
	}
	awaitExposure(t, shop)
	waitFor(t, lines, "exposed")
	toggle()
	if err := member.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	edit := strings.Replace(crashFlag, "name: price", "name: other", 1)
	awaitFull(t, func() error { return apply(t, c, edit) })
	if err := c.Post(ctx, "/v1/rollouts/price-v2/rollback", map[string]any{"reason": "test"}, nil); err != nil {
		t.Fatalf("rollback on a full disk: %v", err)
	}
	if st := settled(t, c); st.Barrier.Counts.Total < 1 || st.Barrier.Counts.Lapsed < 1 || st.Barrier.Counts.Unproven != 0 || st.State.DigestAfter != st.State.DigestBefore {
		t.Errorf("proof %+v", st.Barrier.Counts)
	}
	toggle()
	until(t, "an edit is taken again", func() bool { return apply(t, c, edit) == nil })
	var verified struct{ Records uint64 }
	if err := c.Get(ctx, "/v1/audit/verify", &verified); err != nil || verified.Records == 0 {
		t.Errorf("the log: %d records, %v", verified.Records, err)
	}
}

// awaitFull repeats what needs space until there is none: what the database had spare goes first.
func awaitFull(t *testing.T, write func() error) {
	t.Helper()
	until(t, "the disk is full for the server too", func() bool {
		err := write()
		var p *client.Problem
		if err != nil && (!errors.As(err, &p) || p.Code != "store.full" || p.Status != 507 || !strings.Contains(p.Fix, "free space")) {
			t.Fatalf("an edit on a full disk: %v", err)
		}
		return err != nil
	})
}
