// Package sluice is the Go client of the Sluice rollout control plane. A component uses it to evaluate feature flags in its
// own process, to report what became of its requests, and to take part in rollouts that can be taken back provably. It
// needs nothing but the standard library.
//
// # Use
//
//	client, err := sluice.New(ctx, sluice.Config{URL: url, Token: token, Component: "checkout"})
//	if err != nil { ... }
//	defer client.Close(ctx)
//	spend := client.Flag("spend7d")                            // once; the handle follows every change
//
//	ctx, req := client.Begin(ctx, accountID, flag.Str("region", "eu"))
//	version := spend.String(ctx, "v14")                        // local: no network, no allocation
//	req.Observe("score", score)                                // counts for every open rollout evaluated so far
//	req.End(err)                                               // exactly once; later calls do nothing
//
// Evaluation never blocks and never fails: without configuration, with a value of another type, or after a panic in a rule
// it returns the default given. Flag.Detail says why.
//
// # What the client promises
//
// Leases. The candidate of an open rollout is served only while a lease of seconds is held, checked against the monotonic
// clock at each evaluation. If the server is lost, the network cut or the process frozen, the lease ends and the baseline
// is served. Settled values need no lease and stay what they were, for ever, also across restarts if Config.CacheDir is set.
//
// Requests. Within one request (Begin to End) all evaluations use the configuration that the request met first, so that it
// sees one state of the world; a rollback is stronger than that. Across processes the decision travels: Inject writes it
// into a request's baggage, BeginHTTP honours it, and no later hop decides again.
//
// Acknowledgements. The client tells the server when a revision is in force here (activated), and when no open request
// holds an older decision (drained). End requests: an open one delays the proof by up to Config.DrainBound.
//
// Evidence. While a rollout is open, the client counts outcomes by second, arm and declared segment, and sends the counts
// once a second. Raw requests, units and attributes never leave the process, only counts and the values of attributes that
// the rollout declared as segments or sources.
//
// # Cost
//
// Settled flags are read through one atomic pointer. Only flags with an open rollout pay for a reading of the clock and a
// lock of the request. The client runs a handful of goroutines and keeps four connections: watch, control (hello, renew,
// snapshots), acknowledgements, evidence. See BenchmarkSettled and its neighbours.
package sluice
