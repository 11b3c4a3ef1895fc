// Package demo is the pipeline that everybody meets first: 20,000 real flights flow through four real components
// (transformer, feature store on SQLite, model host, consumer), each a process of its own with the SDK, while a new
// version of a feature is rolled out. Data are replayed fast; Sluice runs in real time and all latencies are measured.
package demo

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/demo/flights"
)

// Rollout is the name of the demo's rollout.
const Rollout = "flights-delay-v12"

//go:embed flights.yaml
var spec []byte

//go:embed flag.yaml
var flagSpec []byte

// Spec returns the rollout's specification; examples/flights.yaml is the same text.
func Spec() []byte { return spec }

// FlagSpec returns the flag's specification.
func FlagSpec() []byte { return flagSpec }

// Fault is what goes wrong in the demo.
type Fault = flights.Fault

// FaultNone is a comparison of equals.
const FaultNone = flights.FaultNone

// ParseFault reads "none", "feed" or "latency"; the error lists them.
func ParseFault(s string) (Fault, error) { return flights.ParseFault(s) }

// Config says how to run the demo. The server is up already.
type Config struct {
	Client    *client.Client // with a token that may do everything
	Server    string         // its address, for the components
	Token     string         // of role component
	Command   []string       // starts a component process; its configuration comes on standard input
	Dir       string         // for files of the components and the proof
	Seed      int64
	Fault     Fault
	Tell      func(format string, args ...any) // one line of the story
	ErrOutput io.Writer                        // of the component processes
	Deadline  time.Duration                    // 0 means 60 s
}

// Result is what the demo proves, in one object.
type Result struct {
	Outcome           string     `json:"outcome"`
	Stage             string     `json:"stage"`
	Exposure          float64    `json:"exposure"` // percent exposed when it was decided
	DecidedBy         string     `json:"decidedBy"`
	Culprit           *Culprit   `json:"culprit,omitempty"`
	Why               string     `json:"why"`
	OverallEffect     *Effect    `json:"overallEffect,omitempty"` // of the deciding guardrail over all flights
	SegmentEffect     *Effect    `json:"segmentEffect,omitempty"` // of the slice that decided
	Components        Components `json:"components"`
	DigestBefore      string     `json:"digestBefore"`
	DigestAfter       string     `json:"digestAfter"`
	DecisionToProofMs float64    `json:"decisionToProofMs"`
	UnwindMs          float64    `json:"unwindMs"`
	MixedStateMs      float64    `json:"mixedStateMs"`
	Proof             string     `json:"proof"`
	DataFile          DataFile   `json:"dataFile"`
	Seed              int64      `json:"seed"`
	Fault             string     `json:"fault"`
	Injected          string     `json:"injected"` // what the fault is, beside what was measured
	WallMs            float64    `json:"wallMs"`
}

// Culprit is the slice that decided.
type Culprit struct {
	Attribute string `json:"attribute"`
	Value     string `json:"value"`
}

// Effect is a measured difference of the arms with the interval that belongs to the deciding rule. Lower and Upper are
// absent where the evidence rejects nothing yet.
type Effect struct {
	Guardrail string   `json:"guardrail"`
	Baseline  float64  `json:"baseline"`
	Exposed   float64  `json:"exposed"`
	Effect    float64  `json:"effect"`
	Lower     *float64 `json:"lower,omitempty"`
	Upper     *float64 `json:"upper,omitempty"`
	Limit     float64  `json:"limit"`
	Scale     string   `json:"scale"`
	NBaseline uint64   `json:"nBaseline"`
	NExposed  uint64   `json:"nExposed"`
}

// Components counts how instances were proven.
type Components struct {
	Total    int `json:"total"`
	Acked    int `json:"acked"`
	Lapsed   int `json:"lapsed"`
	Fenced   int `json:"fenced"`
	Unproven int `json:"unproven"`
}

// DataFile says what was replayed.
type DataFile struct {
	Name   string `json:"name"`
	Rows   int    `json:"rows"`
	SHA256 string `json:"sha256"`
}

// Run plays the story and returns what it proved. All processes it started have ended when it returns.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Deadline == 0 {
		cfg.Deadline = 60 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Deadline)
	defer cancel()
	start := time.Now()
	if err := apply(ctx, cfg.Client, "flag.yaml", flagSpec); err != nil {
		return Result{}, err
	}
	fleet := &processes{cfg: cfg}
	defer fleet.stop()
	if err := fleet.start(ctx); err != nil {
		return Result{}, err
	}
	cfg.Tell("four components joined: transformer, feature-store, model-host, consumer")
	if err := fleet.replay(ctx); err != nil {
		return Result{}, err
	}
	cfg.Tell("replaying %d flights at %d a second (data fast, Sluice in real time); injected: %s", len(flights.Load()), flights.RowsPerSecond, cfg.Fault.Describe())
	if err := apply(ctx, cfg.Client, "flights.yaml", spec); err != nil {
		return Result{}, err
	}
	v, err := follow(ctx, cfg)
	if err != nil {
		return Result{}, err
	}
	res, err := result(ctx, cfg, v)
	res.WallMs = ms(time.Since(start))
	return res, err
}

func apply(ctx context.Context, c *client.Client, file string, src []byte) error {
	if err := c.Post(ctx, "/v1/apply", map[string]any{"source": string(src), "file": file}, nil); err != nil {
		return fmt.Errorf("apply %s: %w", file, err)
	}
	return nil
}

// view is what the demo reads of a rollout.
type view struct {
	Phase    string  `json:"phase"`
	Where    string  `json:"where"`
	Stage    string  `json:"stage"`
	Exposure float64 `json:"exposure"`
	Sentence string  `json:"sentence"`
	Status   struct {
		State struct {
			DigestBefore, DigestAfter                    string
			Decided, RevokedAt, SafeAt, UnwoundAt, Ended time.Time
			Cause                                        *struct {
				Sentence string
				Verdict  *verdict
				Overall  *verdict
			}
		} `json:"state"`
		Barrier *struct {
			Components Components `json:"components"`
			Lines      []struct {
				How string    `json:"how"`
				At  time.Time `json:"at"`
			} `json:"lines"`
		} `json:"barrier"`
		Unwind map[string]struct {
			Components Components `json:"components"`
		} `json:"unwind"`
	} `json:"status"`
}

// verdict is what the demo reads of a lane.
type verdict struct {
	Effect
	Dim   string `json:"dim"`
	Value string `json:"value"`
}

var terminal = map[string]bool{"Completed": true, "RolledBack": true, "Cancelled": true}

func follow(ctx context.Context, cfg Config) (view, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last string
	exposure := 0.0
	for {
		var v view
		if err := cfg.Client.Get(ctx, "/v1/rollouts/"+Rollout, &v); err != nil {
			return v, err
		}
		if v.Exposure > 0 {
			exposure = v.Exposure
		}
		if key := v.Where + v.Stage; key != last {
			last = key
			cfg.Tell("%s", v.Sentence)
		}
		if terminal[v.Phase] || v.Phase == "Paused" {
			v.Exposure = exposure
			return v, nil
		}
		select {
		case <-ctx.Done():
			return v, fmt.Errorf("the story did not end in time, it stands at: %s: %w", v.Sentence, ctx.Err())
		case <-tick.C:
		}
	}
}

func result(ctx context.Context, cfg Config, v view) (Result, error) {
	s := v.Status.State
	r := Result{
		Outcome: v.Phase, Stage: v.Stage, Exposure: v.Exposure, Why: v.Sentence, DigestBefore: s.DigestBefore, DigestAfter: s.DigestAfter,
		Seed: cfg.Seed, Fault: cfg.Fault.String(), Injected: cfg.Fault.Describe(),
		DataFile: DataFile{Name: flights.RawFile + " of npm " + flights.Package, Rows: len(flights.Load()), SHA256: flights.RawSHA256},
	}
	if v.Phase == "RolledBack" {
		r.DecisionToProofMs, r.UnwindMs = ms(s.SafeAt.Sub(s.Decided)), ms(s.UnwoundAt.Sub(s.Decided))
		if s.Cause != nil {
			r.Why = s.Cause.Sentence
			if d := s.Cause.Verdict; d != nil {
				r.DecidedBy = d.Guardrail
				r.OverallEffect = &d.Effect
				if attr, val, ok := strings.Cut(d.Value, "="); ok {
					r.Culprit, r.SegmentEffect, r.OverallEffect = &Culprit{Attribute: attr, Value: val}, &d.Effect, nil
				}
				if o := s.Cause.Overall; o != nil {
					r.OverallEffect = &o.Effect
				}
			}
		}
		if b := v.Status.Barrier; b != nil {
			r.Components = b.Components
			for _, l := range b.Lines {
				r.MixedStateMs = max(r.MixedStateMs, ms(l.At.Sub(s.RevokedAt)))
			}
		}
		for _, u := range v.Status.Unwind {
			r.Components.add(u.Components)
		}
	}
	path, err := saveProof(ctx, cfg)
	r.Proof = path
	return r, err
}

func (c *Components) add(o Components) {
	c.Total += o.Total
	c.Acked += o.Acked
	c.Lapsed += o.Lapsed
	c.Fenced += o.Fenced
	c.Unproven += o.Unproven
}

func saveProof(ctx context.Context, cfg Config) (string, error) {
	doc, err := cfg.Client.Raw(ctx, "GET", "/v1/rollouts/"+Rollout+"/proof", nil)
	if err != nil {
		return "", fmt.Errorf("fetch the proof: %w", err)
	}
	path := filepath.Join(cfg.Dir, "proof.json")
	if err := os.WriteFile(path, doc, 0o644); err != nil {
		return "", fmt.Errorf("write the proof: %w", err)
	}
	return path, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// processes are the four component processes.
type processes struct {
	cfg   Config
	addrs map[string]string
	cmds  []*exec.Cmd
	stdin []io.Closer
}

// start runs the components from the store outwards, so that each is told where the one before answers.
func (p *processes) start(ctx context.Context) error {
	p.addrs = map[string]string{}
	for _, name := range []string{Store, Host, Consumer, Transformer} {
		if err := p.run(ctx, name); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
	}
	return nil
}

func (p *processes) run(ctx context.Context, name string) error {
	cmd := exec.CommandContext(ctx, p.cfg.Command[0], p.cfg.Command[1:]...)
	cmd.Stderr = p.cfg.ErrOutput
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmds, p.stdin = append(p.cmds, cmd), append(p.stdin, in)
	c := ComponentConfig{
		Name: name, Server: p.cfg.Server, Token: p.cfg.Token, Seed: p.cfg.Seed, Fault: p.cfg.Fault.String(), Dir: p.cfg.Dir,
		Store: p.addrs[Store], Host: p.addrs[Host], Next: p.addrs[Consumer],
	}
	if err := json.NewEncoder(in).Encode(c); err != nil {
		return fmt.Errorf("send its configuration: %w", err)
	}
	var r ready
	if err := json.NewDecoder(out).Decode(&r); err != nil {
		return fmt.Errorf("it ended before it was ready: %w", err)
	}
	p.addrs[name] = r.Addr
	return nil
}

// replay lets the transformer begin.
func (p *processes) replay(ctx context.Context) error {
	c, err := client.New("http://"+p.addrs[Transformer], "")
	if err != nil {
		return err
	}
	return c.Post(ctx, "/start", map[string]string{"next": p.addrs[Consumer]}, nil)
}

// stop ends the components from the source outwards, so that none calls one that is gone: it closes the input, which is the
// order to stop, and waits; what does not end in time is killed.
func (p *processes) stop() {
	for i := len(p.cmds) - 1; i >= 0; i-- {
		_ = p.stdin[i].Close() // it may have ended already
		cmd := p.cmds[i]
		kill := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			fmt.Fprintln(p.cfg.ErrOutput, "component:", err)
		}
		kill.Stop()
	}
}
