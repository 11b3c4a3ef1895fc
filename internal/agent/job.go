package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/flag"
)

// JobConfig says how to run a batch job under a lease. URL, Component, Flags and Command are required.
type JobConfig struct {
	URL, Token string
	Component  string
	Instance   string
	CacheDir   string
	Unit       string   // whom or what the job is for: the batch, the partition
	Flags      []string // decided when the job starts, and kept
	Command    []string
	// Commit makes the job's work visible. It is begun after Command has ended well, only while every lease that the job was
	// decided under is held, and killed when one ends: a job that lost its lease leaves nothing behind. nil: Command does it.
	Commit []string
	Drain  time.Duration // between the revoke, which the state file tells, and SIGTERM; 0 means 2 s
	Grace  time.Duration // between SIGTERM and SIGKILL; 0 means 10 s
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Log    *slog.Logger
}

// ErrRevoked says that a lease ended before the job's work was committed. What it did must not be used.
var ErrRevoked = errors.New("the lease that the job was decided under has ended")

// States of a job, as its state file tells them.
const (
	JobHeld     = "held"     // every lease is held
	JobDraining = "draining" // one has ended: finish the piece of work at hand, commit nothing
	JobDone     = "done"     // committed
	JobRevoked  = "revoked"  // ended without a commit
)

// JobState is what the state file holds: the decisions, and whether they still stand.
type JobState struct {
	State    string               `json:"state"`
	Revision uint64               `json:"revision"`
	Unit     string               `json:"unit,omitempty"`
	Baggage  string               `json:"baggage,omitempty"` // pins for the services that the job calls
	Flags    map[string]JobChoice `json:"flags"`
}

// JobChoice is what a flag was decided to be.
type JobChoice struct {
	Value    json.RawMessage `json:"value"`
	Variant  string          `json:"variant"`
	Reason   string          `json:"reason"`
	Arm      string          `json:"arm,omitempty"`
	Revision uint64          `json:"revision"`
}

const lookEvery = 50 * time.Millisecond

// job is one that runs.
type job struct {
	cfg   JobConfig
	sdk   *sluice.Client
	flags []*sluice.Flag
	ctx   context.Context // carries the request
	dir   string
	state JobState
}

// RunJob runs the command under a lease and returns its exit code. The decisions are in the environment (SLUICE_REVISION,
// SLUICE_BAGGAGE, SLUICE_FLAG_<KEY>, SLUICE_STATE) and in the file that SLUICE_STATE names. When a lease ends, by a
// rollback, a lost server or a stopped process, the file says draining; after Drain the command is sent SIGTERM, after Grace
// SIGKILL, and the error is ErrRevoked. The server counts the rollback as drained here only when the command has ended.
//
// ctx ending stops the command in the same way. A non-zero exit code of command or commit is returned without error.
func RunJob(ctx context.Context, cfg JobConfig) (exitCode int, err error) {
	if cfg.Drain == 0 {
		cfg.Drain = 2 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	j := &job{cfg: cfg}
	if err := j.join(ctx); err != nil {
		return 0, err
	}
	defer j.leave()
	reqCtx, req := j.sdk.Begin(ctx, cfg.Unit)
	j.ctx = reqCtx
	if err := j.decide(); err != nil {
		req.End(err)
		return 0, err
	}
	exitCode, err = j.run()
	if err == nil && exitCode != 0 {
		req.End(fmt.Errorf("exit code %d", exitCode))
	} else {
		req.End(err)
	}
	return exitCode, err
}

func (j *job) join(ctx context.Context) (err error) {
	if j.dir, err = os.MkdirTemp("", "sluice-job-"); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	j.sdk, err = sluice.New(ctx, sluice.Config{
		URL: j.cfg.URL, Token: j.cfg.Token, Component: j.cfg.Component, Instance: j.cfg.Instance, CacheDir: j.cfg.CacheDir,
		DrainBound: j.cfg.Drain + j.cfg.Grace + time.Second, Class: sluice.ClassReader,
		Logf: func(format string, args ...any) { j.cfg.Log.Warn(fmt.Sprintf(format, args...)) },
	})
	if err != nil {
		return errors.Join(err, os.RemoveAll(j.dir))
	}
	return nil
}

func (j *job) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := j.sdk.Close(ctx); err != nil {
		j.cfg.Log.Warn("leave", "err", err)
	}
	if err := os.RemoveAll(j.dir); err != nil {
		j.cfg.Log.Warn("remove the state", "err", err)
	}
}

// firstLease is how long a job waits for its first lease: without one a candidate is never begun.
const firstLease = 3 * time.Second

// decide evaluates the flags once, for the whole job.
func (j *job) decide() error {
	j.awaitLeases()
	j.state = JobState{State: JobHeld, Unit: j.cfg.Unit, Flags: map[string]JobChoice{}}
	if s := j.sdk.Snapshot(); s != nil {
		j.state.Revision = s.Head.Rev
	}
	for _, key := range j.cfg.Flags {
		f := j.sdk.Flag(key)
		r := f.Detail(j.ctx)
		if r.Variant == nil {
			return fmt.Errorf("job: flag %s has no value: %s %s", key, r.Reason, r.ErrCode)
		}
		j.flags = append(j.flags, f)
		j.state.Flags[key] = JobChoice{Value: r.Variant.Raw, Variant: r.Variant.Name, Reason: r.Reason, Arm: armName(r.Served), Revision: r.Revision}
	}
	h := http.Header{}
	sluice.Inject(j.ctx, h)
	j.state.Baggage = h.Get("Baggage")
	return j.write()
}

// awaitLeases waits for the first grant of every leased scope, for at most firstLease: what has none serves its baseline.
func (j *job) awaitLeases() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(firstLease); time.Now().Before(deadline) && j.ctx.Err() == nil; <-tick.C {
		waiting := false
		for _, left := range j.sdk.Status().Leases {
			waiting = waiting || left == 0
		}
		if !waiting {
			return
		}
	}
}

func armName(a flag.Arm) string {
	switch a {
	case flag.ArmBaseline:
		return "baseline"
	case flag.ArmExposed:
		return "exposed"
	}
	return ""
}

// stands says whether every decision is still what it was: an exposed one falls when its lease ends.
func (j *job) stands() bool {
	for i, key := range j.cfg.Flags {
		if r := j.flags[i].Detail(j.ctx); r.Variant == nil || r.Variant.Name != j.state.Flags[key].Variant {
			return false
		}
	}
	return true
}

// write replaces the state file whole.
func (j *job) write() error {
	b, err := json.MarshalIndent(&j.state, "", "  ")
	if err != nil {
		return fmt.Errorf("job: encode the state: %w", err)
	}
	tmp := j.path() + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	if err := os.Rename(tmp, j.path()); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	return nil
}

func (j *job) path() string { return filepath.Join(j.dir, "state.json") }

func (j *job) turn(state string) {
	j.state.State = state
	if err := j.write(); err != nil {
		j.cfg.Log.Error("state", "err", err)
	}
}

// run runs the command, then the commit.
func (j *job) run() (int, error) {
	code, err := j.watch(j.cfg.Command, j.cfg.Drain)
	if err != nil || code != 0 || j.cfg.Commit == nil {
		return code, err
	}
	if !j.stands() {
		j.turn(JobRevoked)
		return 0, ErrRevoked
	}
	code, err = j.watch(j.cfg.Commit, -1)
	if err == nil && code == 0 {
		j.turn(JobDone)
	}
	return code, err
}

// watch runs a command to its end, or to that of a decision: then it is given drain to finish and is stopped; a negative
// drain kills it at once.
func (j *job) watch(argv []string, drain time.Duration) (int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), j.environ()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = j.cfg.In, j.cfg.Out, j.cfg.Err
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("job: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return j.outcome(cmd, err)
		case <-j.ctx.Done():
			j.stop(cmd, ended, 0)
			return 0, j.ctx.Err()
		case <-tick.C:
			if j.stands() {
				continue
			}
			j.turn(JobDraining)
			j.stop(cmd, ended, drain)
			j.turn(JobRevoked)
			return 0, ErrRevoked
		}
	}
}

// outcome is what a command's end means: if a decision fell at the same time the work does not count.
func (j *job) outcome(cmd *exec.Cmd, err error) (int, error) {
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return 0, fmt.Errorf("job: %w", err)
	}
	if !j.stands() {
		j.turn(JobRevoked)
		return 0, ErrRevoked
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	return 1, nil // ended by a signal that was not ours
}

// stop lets the command drain, asks it to end, and kills it.
func (j *job) stop(cmd *exec.Cmd, ended <-chan error, drain time.Duration) {
	wait := func(d time.Duration) bool {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ended:
			return true
		case <-t.C:
			return false
		}
	}
	if drain >= 0 && (wait(drain) || terminate(cmd) == nil && wait(j.cfg.Grace)) {
		return
	}
	_ = kill(cmd) // it has ended: nothing to do
	<-ended
}

// environ tells the command what was decided.
func (j *job) environ() []string {
	list := []string{
		"SLUICE_REVISION=" + strconv.FormatUint(j.state.Revision, 10), "SLUICE_STATE=" + j.path(), "SLUICE_BAGGAGE=" + j.state.Baggage, "SLUICE_UNIT=" + j.cfg.Unit,
	}
	for _, key := range j.cfg.Flags {
		value := string(j.state.Flags[key].Value)
		var text string
		if json.Unmarshal(j.state.Flags[key].Value, &text) == nil {
			value = text
		}
		list = append(list, envName(key)+"="+value)
	}
	return list
}

// envName is the variable that holds a flag's value.
func envName(key string) string {
	return "SLUICE_FLAG_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}
