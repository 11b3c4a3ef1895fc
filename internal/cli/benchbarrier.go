package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

// barrierOptions are the flags of `sluice bench barrier`.
type barrierOptions struct {
	members, rounds int
	silent          int // fleet only
	loopback        bool
	ttl             time.Duration
}

// barrierResult is what rolling back with many members took.
type barrierResult struct {
	Members         int     `json:"members"`
	Transport       string  `json:"transport"` // "in-process" or "loopback HTTP"
	DecisionToProof spread  `json:"decisionToProof"`
	Unwound         spread  `json:"decisionToUnwound"`
	Acked           int     `json:"acked"`  // over all rounds
	Lapsed          int     `json:"lapsed"` // over all rounds
	JoinMs          float64 `json:"joinMs"` // all members' Hellos
	RSSMB           float64 `json:"rssMB"`  // of this process: server and members together
	CPUPerMemberUs  float64 `json:"cpuPerMemberUs"`
	Cores           int     `json:"cores"`
}

func benchBarrierCmd(g *globals) *cobra.Command {
	var o barrierOptions
	cmd := &cobra.Command{
		Use: "barrier", Short: "From the decision to roll back to the proof, with many simulated members", Args: cobra.NoArgs,
		Long: "A real server on a temporary database and simulated members that answer at once, all in this process. Each round\n" +
			"starts a rollout, rolls it back and reads the two times from the log: decided, and proven that no member serves the\n" +
			"candidate. Members answer through the server's handlers directly, or over HTTP with --loopback.",
		Example: "  sluice bench barrier --members 1000\n  sluice bench barrier --members 1000 --loopback --rounds 20 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.members < 1 || o.rounds < 1 {
				return exit(exitUsage, "error: --members %d --rounds %d: want at least 1", o.members, o.rounds)
			}
			r, err := benchBarrier(cmd.Context(), o)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(r)
			}
			g.printf("members               %d, %s\ndecision to proof     %s\ndecision to unwound   %s\n", r.Members, r.Transport, r.DecisionToProof, r.Unwound)
			g.printf("proven by             %d acknowledged, %d by lease end, over %d rounds\n", r.Acked, r.Lapsed, o.rounds)
			g.printf("joining all           %.0f ms\nRSS                   %.0f MB, server and members together\nCPU per member        %.0f us a round, server and members together\n", r.JoinMs, r.RSSMB, r.CPUPerMemberUs)
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.members, "members", 1000, "how many members")
	f.IntVar(&o.rounds, "rounds", 10, "how many rollbacks")
	f.BoolVar(&o.loopback, "loopback", false, "members speak HTTP over loopback")
	f.DurationVar(&o.ttl, "lease", 10*time.Second, "lease length of the rollouts")
	return cmd
}

func benchBarrier(ctx context.Context, o barrierOptions) (r barrierResult, err error) {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory: nothing is lost
	a, err := app.Start(ctx, app.Config{DataDir: dir, Listen: "127.0.0.1:0", Version: Version()})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.Stop(context.WithoutCancel(ctx))) }()
	c, err := client.New(a.URL(), a.AdminToken())
	if err != nil {
		return r, err
	}
	mctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() { stop(); wg.Wait() }()
	r = barrierResult{Members: o.members, Transport: "in-process", Cores: runtime.NumCPU()}
	if o.loopback {
		r.Transport = "loopback HTTP"
	}
	began := time.Now()
	if _, err := benchFleet(mctx, &wg, a, a.Handler(), o, nil); err != nil {
		return r, err
	}
	r.JoinMs = float64(time.Since(began).Milliseconds())
	return r, r.measure(ctx, c, o, nil)
}

// simW is the drain bound of simulated members.
const simW = 100 * time.Millisecond

// benchFleet joins the members and lets them run. A quarter of a per cent of them are stores, so that unwinding happens.
// hears, if set, is told of each revision that comes into force at a member.
func benchFleet(ctx context.Context, wg *sync.WaitGroup, a *app.App, h http.Handler, o barrierOptions, hears func(string, simScope)) ([]*simMember, error) {
	token, err := a.Token(ctx, "bench", policy.Component, "")
	if err != nil {
		return nil, err
	}
	var wire simWire = newDirectWire(h, token)
	if o.loopback {
		wire = newHTTPWire(a.URL(), token)
	}
	const atOnce = 64
	var mu sync.Mutex
	var first error
	gate := make(chan struct{}, atOnce)
	var joined sync.WaitGroup
	members := make([]*simMember, 0, o.members)
	for i := range o.members {
		class, component := slp.ClassReader, "reader"
		if i%400 == 3 {
			class, component = slp.ClassStore, "store"
		}
		m := newSimMember(wire, component, fmt.Sprintf("%s-%d", component, i), class, simW)
		if hears != nil {
			m.onCommit = func(s simScope) { hears(m.hello.Instance, s) }
		}
		members = append(members, m)
		gate <- struct{}{}
		joined.Go(func() {
			defer func() { <-gate }()
			if err := m.join(ctx); err != nil {
				mu.Lock()
				first = errors.Join(first, err)
				mu.Unlock()
				return
			}
			wg.Go(func() { m.run(ctx) })
		})
	}
	joined.Wait()
	return members, first
}

const benchFlag = `apiVersion: sluice/v1
kind: Flag
metadata: {name: bench}
spec: {type: string, variants: {v14: v14, v15: v15}, default: v14}
`

func benchSpec(i int, ttl time.Duration) string {
	return fmt.Sprintf(`apiVersion: sluice/v1
kind: Rollout
metadata: {name: bench-%d}
spec:
  environment: production
  hypothesis: {statement: "rolling back is fast"}
  ownership: {owner: "user:bench"}
  change: {flag: {key: bench, stable: v14, candidate: v15}}
  guardrails: [{name: errors, signal: "sdk:errors", test: {kind: threshold, worseBy: 10pp}}]
  stages: [{name: canary, exposure: 5%%, bake: 1h}, {name: full, exposure: 100%%, holdback: 5%%, bake: 1h}]
  rollback: {signal: {leaseTTL: %s, completeWithin: 3m, unwindWithin: 10m}, downstream: {drain: 100ms}}
`, i, ttl)
}

// measure runs the rounds; before, if set, is called just before each rollback is asked for, and what it returns after its end.
func (r *barrierResult) measure(ctx context.Context, c *client.Client, o barrierOptions, before func() func()) error {
	if err := c.Post(ctx, "/v1/apply", map[string]any{"source": benchFlag}, nil); err != nil {
		return err
	}
	var proof, unwound []time.Duration
	var cpu time.Duration
	for i := range o.rounds {
		if err := expose(ctx, c, "the bench's rollout", i+1, o.ttl); err != nil {
			return err
		}
		after := func() {}
		if before != nil {
			after = before()
		}
		used := cpuTime()
		v, err := takeBack(ctx, c, fmt.Sprintf("bench-%d", i+1))
		if err != nil {
			return err
		}
		cpu += cpuTime() - used
		after()
		s := v.Status.State
		proof, unwound = append(proof, s.SafeAt.Sub(s.Decided)), append(unwound, s.UnwoundAt.Sub(s.Decided))
		r.Acked += v.Status.Barrier.Counts.Acked
		r.Lapsed += v.Status.Barrier.Counts.Lapsed
	}
	r.DecisionToProof, r.Unwound = spreadOf(proof), spreadOf(unwound)
	r.CPUPerMemberUs = float64(cpu.Microseconds()) / float64(o.rounds*o.members)
	r.RSSMB = rssMB()
	return nil
}

// reach polls a rollout until it stands as wanted.
func reach(ctx context.Context, c *client.Client, name string, there func(rolloutView) bool) (rolloutView, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var last rolloutView
	err := followEvery(ctx, c, name, 20*time.Millisecond, func(v rolloutView) bool { last = v; return there(v) })
	if err != nil {
		return last, fmt.Errorf("rollout %s, which stands at %s (%s): %w", name, last.Where, last.Sentence, err)
	}
	return last, nil
}
