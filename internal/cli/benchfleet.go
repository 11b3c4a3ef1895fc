package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/rollout"
)

// fleetResult is what a large fleet costs and how fast it follows.
type fleetResult struct {
	barrierResult
	Push       spread  `json:"push"`       // from asking for the rollback to each member hearing of it
	Reconnect  spread  `json:"reconnect"`  // from the server's return to each member's first grant of it
	Silent     int     `json:"silent"`     // members that answered nothing in the last round
	SilentMs   float64 `json:"silentMs"`   // decision to proof in that round
	BoundMs    float64 `json:"boundMs"`    // Y + W: what it may take at most, with one look of the controller
	StreamKB   float64 `json:"streamKB"`   // resident memory per member, both ends of its stream where both are here
	EmptyRSSMB float64 `json:"emptyRSSMB"` // before the members joined
}

func benchFleetCmd(g *globals) *cobra.Command {
	var o barrierOptions
	cmd := &cobra.Command{
		Use: "fleet", Short: "A large fleet: push, proof, reconnection after a restart, silent members", Args: cobra.NoArgs,
		Long: "A real server on a temporary database and simulated members in this process. It measures how soon every member hears of a\n" +
			"rollback, how long the proof takes, how long all need to come back after the server was restarted, and a rollback in which some\n" +
			"members answer nothing, against the bound Y + W. With --loopback members hold two file descriptors each.",
		Example: "  sluice bench fleet --components 10000\n  sluice bench fleet --components 5000 --loopback -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.members < 2 || o.rounds < 1 || o.silent < 0 || o.silent >= o.members {
				return exit(exitUsage, "error: --components %d --rounds %d --silent %d: want at least 2 members, 1 round and some that answer", o.members, o.rounds, o.silent)
			}
			r, err := benchWholeFleet(cmd.Context(), o)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return g.json(r)
			}
			g.printf("members               %d, %s, joined in %.0f ms\npush                  %s\ndecision to proof     %s\n", r.Members, r.Transport, r.JoinMs, r.Push, r.DecisionToProof)
			g.printf("reconnect and renew   %s\n%d silent members      proof in %.0f ms, bound %.0f ms\n", r.Reconnect, r.Silent, r.SilentMs, r.BoundMs)
			g.printf("per member            %.1f KB resident, %.0f us CPU a round, server and members together\n", r.StreamKB, r.CPUPerMemberUs)
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.members, "components", 10000, "how many members")
	f.IntVar(&o.rounds, "rounds", 5, "how many rollbacks")
	f.IntVar(&o.silent, "silent", 10, "members that answer nothing in the last round")
	f.BoolVar(&o.loopback, "loopback", false, "members speak HTTP over loopback")
	f.DurationVar(&o.ttl, "lease", 10*time.Second, "lease length of the rollouts")
	return cmd
}

// bigFleet is a server that can be restarted under its members.
type bigFleet struct {
	cfg     app.Config
	app     *app.App
	admin   string
	handler atomic.Pointer[http.Handler] // of the server that runs
	members []*simMember
	heard   atomic.Pointer[sync.Map] // instance -> when it heard of the revoke that is measured
}

// ServeHTTP hands on to the server of the moment; there may be none.
func (b *bigFleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := b.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

func (b *bigFleet) start(ctx context.Context) error {
	a, err := app.Start(ctx, b.cfg)
	if err != nil {
		return err
	}
	b.app = a
	b.cfg.Listen = strings.TrimPrefix(a.URL(), "http://") // it comes back where it was
	if secret := a.AdminToken(); secret != "" {
		b.admin = secret
	}
	h := a.Handler()
	b.handler.Store(&h)
	return nil
}

func (b *bigFleet) stop(ctx context.Context) error {
	b.handler.Store(nil)
	return b.app.Stop(context.WithoutCancel(ctx))
}

func benchWholeFleet(ctx context.Context, o barrierOptions) (r fleetResult, err error) {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory: nothing is lost
	b := &bigFleet{cfg: app.Config{DataDir: dir, Listen: "127.0.0.1:0", Version: Version()}}
	if err := b.start(ctx); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.stop(ctx)) }()
	mctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() { stop(); wg.Wait() }()
	r.barrierResult = barrierResult{Members: o.members, Transport: "in-process", Cores: runtime.NumCPU()}
	if o.loopback {
		r.Transport = "loopback HTTP"
	}
	r.EmptyRSSMB = rssMB()
	began := time.Now()
	if b.members, err = benchFleet(mctx, &wg, b.app, b, o, b.hears); err != nil {
		return r, err
	}
	r.JoinMs = float64(time.Since(began).Milliseconds())
	return r, b.rounds(ctx, &r, o)
}

// hears notes when a member hears that exposure is off.
func (b *bigFleet) hears(instance string, s simScope) {
	if heard := b.heard.Load(); heard != nil && s.Exposure == 0 {
		heard.Store(instance, time.Now())
	}
}

func (b *bigFleet) rounds(ctx context.Context, r *fleetResult, o barrierOptions) error {
	c, err := client.New(b.app.URL(), b.admin)
	if err != nil {
		return err
	}
	var push []time.Duration
	before := func() func() {
		heard := &sync.Map{}
		asked := time.Now()
		b.heard.Store(heard)
		return func() {
			heard.Range(func(_, at any) bool { push = append(push, at.(time.Time).Sub(asked)); return true })
			b.heard.Store(nil)
		}
	}
	if err := r.measure(ctx, c, o, before); err != nil {
		return err
	}
	r.Push = spreadOf(push)
	runtime.GC()
	r.RSSMB = rssMB()
	r.StreamKB = 1000 * (r.RSSMB - r.EmptyRSSMB) / float64(o.members)
	if err := b.reconnect(ctx, c, r, o); err != nil {
		return err
	}
	return b.silent(ctx, c, r, o)
}

// reconnect restarts the server while a rollout is exposed and waits until each member has a grant of the new one.
func (b *bigFleet) reconnect(ctx context.Context, c *client.Client, r *fleetResult, o barrierOptions) error {
	if err := expose(ctx, c, "bench-restart", o.rounds+1, o.ttl); err != nil {
		return err
	}
	if err := b.stop(ctx); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	back := time.Now()
	var took []time.Duration
	for _, m := range b.members {
		for m.grantedAfter(back).IsZero() {
			if time.Since(back) > time.Minute {
				return fmt.Errorf("%s has not come back within a minute", m.hello.Instance)
			}
			simPause(ctx, 5*time.Millisecond)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		took = append(took, m.grantedAfter(back).Sub(back))
	}
	r.Reconnect = spreadOf(took)
	_, err := takeBack(ctx, c, fmt.Sprintf("bench-%d", o.rounds+1))
	return err
}

// silent rolls back while some members answer nothing: then only the end of their leases proves them.
func (b *bigFleet) silent(ctx context.Context, c *client.Client, r *fleetResult, o barrierOptions) error {
	if o.silent == 0 {
		return nil
	}
	if err := expose(ctx, c, "bench-silent", o.rounds+2, o.ttl); err != nil {
		return err
	}
	for _, m := range b.members[:o.silent] {
		m.freeze(true)
	}
	v, err := takeBack(ctx, c, fmt.Sprintf("bench-%d", o.rounds+2))
	if err != nil {
		return err
	}
	s := v.Status.State
	r.Silent, r.SilentMs = o.silent, float64(s.SafeAt.Sub(s.Decided).Milliseconds())
	r.BoundMs = float64((fleet.Y(o.ttl) + simW + 200*time.Millisecond).Milliseconds())
	return nil
}

// takeBack rolls one rollout back and waits for its end.
func takeBack(ctx context.Context, c *client.Client, name string) (rolloutView, error) {
	if err := c.Post(ctx, "/v1/rollouts/"+name+"/rollback", map[string]any{"reason": "bench"}, nil); err != nil {
		return rolloutView{}, err
	}
	return reach(ctx, c, name, func(v rolloutView) bool { return v.Phase.Terminal() })
}

// expose applies the bench's i-th rollout and waits until its canary bakes.
func expose(ctx context.Context, c *client.Client, what string, i int, ttl time.Duration) error {
	err := c.Post(ctx, "/v1/apply", map[string]any{"source": benchSpec(i, ttl)}, nil)
	var p *client.Problem
	if errors.As(err, &p) && p.Findings != nil {
		return fmt.Errorf("spec of %s with leases of %s: %s", what, ttl, p.Findings)
	}
	if err != nil {
		return err
	}
	_, err = reach(ctx, c, fmt.Sprintf("bench-%d", i), func(v rolloutView) bool { return v.Status.State.Sub == rollout.Baking })
	return err
}
