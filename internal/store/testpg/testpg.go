// Package testpg gives tests a real PostgreSQL of their own: a temporary cluster from the installed binaries, on a unix
// socket only, gone when the test binary ends. Where there are none, tests skip with a loud line, and fail when CI is set.
//
//	func TestMain(m *testing.M) { os.Exit(testpg.Main(m)) }
//	func TestX(t *testing.T)    { url := testpg.URL(t) } // an empty database of its own
package testpg

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// cluster is the one of this process; it is started by the first test that asks.
var cluster struct {
	once sync.Once
	dir  string
	stop func()
	err  error
	next atomic.Int64
}

// Main runs the tests and ends the cluster if one was started.
func Main(m *testing.M) int {
	defer Stop()
	return m.Run()
}

// Stop ends the cluster of this process. Main does it.
func Stop() {
	if cluster.stop != nil {
		cluster.stop()
	}
}

// URL returns the address of a new, empty database. It lives until the test binary ends.
func URL(t testing.TB) string {
	t.Helper()
	bin, ok := binaries()
	if !ok {
		if os.Getenv("CI") != "" {
			t.Fatal("no PostgreSQL here, and CI is set: apt-get install postgresql")
		}
		t.Skip("SKIPPED: no PostgreSQL here (apt-get install postgresql)")
	}
	cluster.once.Do(func() { cluster.err = start(bin) })
	if cluster.err != nil {
		t.Fatalf("temporary PostgreSQL: %v", cluster.err)
	}
	name := fmt.Sprintf("test%d_%d", os.Getpid(), cluster.next.Add(1))
	db, err := sql.Open("pgx", address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(context.Background(), "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		t.Fatalf("make database %s: %v", name, err)
	}
	return address(name)
}

func address(database string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&port=5432", database, cluster.dir)
}

// binaries is where initdb and postgres are: the newest of Debian's versions, else the PATH.
func binaries() (dir string, ok bool) {
	best := 0
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is right
	for _, d := range found {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(d))); err == nil && v > best {
			best, dir = v, d
		}
	}
	if best > 0 {
		return dir, true
	}
	p, err := exec.LookPath("initdb")
	return filepath.Dir(p), err == nil
}

// start makes the cluster and waits until it answers.
func start(bin string) error {
	dir, err := os.MkdirTemp("", "testpg")
	if err != nil {
		return err
	}
	cluster.dir, cluster.stop = dir, func() { _ = os.RemoveAll(dir) }
	if err := giveAway(dir); err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-A", "trust", "-U", "postgres", "--no-sync", "--locale=C", "-E", "UTF8", "-D", data)
	if out, err := as(initdb, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// Nothing here outlives the tests, so nothing needs to reach the disk.
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off",
		"-c", "full_page_writes=off", "-c", "shared_buffers=16MB", "-c", "max_connections=200", "-c", "autovacuum=off")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	server.Stdout, server.Stderr = log, log
	if err := run(as(server, dir)); err != nil {
		return err
	}
	cluster.stop = func() {
		_ = server.Process.Signal(os.Interrupt) // "fast" shutdown
		_, _ = server.Process.Wait()
		_ = log.Close()
		_ = os.RemoveAll(dir)
	}
	return await(filepath.Join(dir, "log"))
}

// run starts the server from a thread that lives as long as the process: the signal at our death is tied to the thread.
func run(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		pin()
		started <- cmd.Start()
		select {}
	}()
	return <-started
}

func await(log string) error {
	db, err := sql.Open("pgx", address("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for deadline := time.Now().Add(time.Minute); ; {
		if err = db.Ping(); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log) // best effort: for the message
			return fmt.Errorf("it does not answer: %w\n%s", err, text)
		}
		time.Sleep(20 * time.Millisecond) // another process gets ready; it has no event to wait for
	}
}
