package slp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"sluice.dev/sdk/internal/mutant"
)

// Limits of a Client.
const (
	minTTL      = 100 * time.Millisecond
	maxTTL      = 60 * time.Second // a longer grant counts as this
	idleRenew   = 5 * time.Second  // between renewals when nothing is leased
	minRenew    = 100 * time.Millisecond
	maxSent     = 16  // renewals whose answers are still taken
	maxEnded    = 256 // floors kept of scopes that are gone
	maxEarly    = 0.2
	maxPrepared = 64 // scopes with a prepared content
)

// ClientConfig says who the member is. Instance, Boot, Component and Class are required.
type ClientConfig struct {
	Instance  string
	Boot      string // 128 random bits of this process, 32 hex digits
	Component string
	Class     string
	Caps      Caps          // Cache "durable" makes acks of static scopes wait for CacheWritten
	W         time.Duration // bound on the time one request may keep using a decision
	// EarlyLapse ends every lease early by this share of its length, 0 to 0.2, so that the lapses of a fleet that lost its
	// server are spread. Early is always safe.
	EarlyLapse float64
	Rand       *rand.Rand // for waiting times only; owned by the Client
}

// Client is one boot's half of SLP-1. It is changed in place and belongs to one goroutine. Step is the only way in: it
// takes a reading of the monotonic clock and one Input and returns what is to be done. It does no I/O and reads no clock.
//
// What it keeps (protocol L1, L2, contract 2):
//   - The time of a Renew is stored before the Renew is handed out, and its lease counts from there: late, repeated and
//     reordered Grants are harmless. A retry keeps its number and time. Grants of other boots, unknown numbers and older
//     epochs are ignored.
//   - Floors never fall, and a Grant's floors and leases come into force in one Swap.
//   - A scope whose floor is above the revision held serves its baseline; other scopes are not touched.
//   - `activated` is acknowledged only for what a Swap has put in force and whose floors are known; `drained` when no open
//     request holds an older decision and, for a revoked scope on a store or writer, when its class may unwind and has.
//   - Any event or Grant that names a higher head leads to that head, by delta or by a fetch.
type Client struct {
	cfg   ClientConfig
	now   Mono
	out   []Effect
	phase phase
	epoch uint64

	active  *Snapshot // in force
	loading *Snapshot // handed out with Load
	queued  *Snapshot // to be loaded next
	want    Head      // highest head heard of
	signed  signedHead

	floors   map[string]uint64
	floorsAt uint64 // highest head whose floors are known
	leaseEnd map[string]Mono
	ttl      map[string]time.Duration // as granted last
	pinKeys  []PinKey
	clock    ServerClock
	dirty    bool // the view differs from the one in force

	n          uint64
	sent       map[uint64]Mono // ts[n], stored before the send
	retry      uint64          // renewal to be repeated, 0 if none
	granted    uint64          // highest n answered
	renewDue   Mono            // when TimerRenew runs out
	backingOff bool            // it is a wait after a failure
	needLease  bool            // an open scope changed and holds no lease
	helloOut   bool            // a Hello is on its way
	watching   bool
	fetching   bool
	fetchHold  uint64 // no fetch for heads up to this one before TimerFetch

	prepared map[string]Prepared
	shadow   map[string]string   // scope -> digest being loaded in shadow
	pending  map[string]*waiting // prepares that came before their base

	drained map[string]uint64
	ackedAt map[ackKey]ackMark
	told    report // last one handed out
	durable map[string]uint64
	cacheOK bool
	cached  cacheMark

	unwindDue map[string]uint64 // scope -> revision that is still to be unwound
	unwinding map[string]bool   // the hook is running
	unwindAt  map[string]Mono   // not before
	turn      map[string]int    // highest class that may unwind
	activeAt  map[string]Mono   // when the scope's revision came into force

	helloWait, renewWait, fetchWait, watchWait, ackWait, unwindWait backoff
}

type phase uint8

const (
	idle    phase = iota // before Start
	joining              // Hello is due or on its way
	joined
	leaving // no leases any more
	gone
)

type waiting struct {
	prepare *Prepare
	head    uint64
}

// signedHead is the newest head that came with a signature. It is opaque here: only servers read it.
type signedHead struct {
	rev  uint64
	text string
}

// maxSigned bounds a signed head, bytes.
const maxSigned = 4096

type ackKey struct{ scope, stage string }

type ackMark struct {
	rev uint64
	at  int64
}

type cacheMark struct {
	head, seen     uint64
	signed         string
	floors, unwind map[string]uint64
}

// NewClient returns a Client that waits for Start. It panics if Rand is missing.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Rand == nil {
		panic("slp: ClientConfig.Rand is nil")
	}
	cfg.EarlyLapse = min(max(cfg.EarlyLapse, 0), maxEarly)
	return &Client{
		cfg: cfg, cacheOK: cfg.Caps.Cache == "durable",
		floors: map[string]uint64{}, leaseEnd: map[string]Mono{}, ttl: map[string]time.Duration{}, sent: map[uint64]Mono{},
		prepared: map[string]Prepared{}, shadow: map[string]string{}, pending: map[string]*waiting{},
		drained: map[string]uint64{}, ackedAt: map[ackKey]ackMark{}, durable: map[string]uint64{},
		unwindDue: map[string]uint64{}, unwinding: map[string]bool{}, unwindAt: map[string]Mono{}, turn: map[string]int{},
		activeAt: map[string]Mono{},
	}
}

// Step takes one input and returns the effects, in order. now must not be before that of the last Step; an earlier one
// counts as the last. The returned slice is the caller's.
func (c *Client) Step(now Mono, in Input) []Effect {
	c.now, c.out = max(c.now, now), nil
	if c.phase == gone {
		return nil
	}
	c.take(in)
	if c.phase != gone {
		c.catchUp()
		c.unwind()
		if c.needLease && c.phase == joined {
			c.renew()
		}
		c.hasten()
	}
	c.finish()
	return c.out
}

func (c *Client) take(in Input) {
	switch in := in.(type) {
	case Start:
		c.start(in.Cache)
	case HelloAnswered:
		c.helloAnswered(in.Sent, &in.Answer)
	case HelloFailed:
		c.helloFailed(in.Failure)
	case WatchEvent:
		c.event(&in.Event)
	case WatchLost:
		c.watchLost(in.Failure)
	case Tick:
		c.tick(in.Timer)
	case GrantReceived:
		c.grant(&in.Grant)
	case RenewFailed:
		c.renewFailed(in.N, in.Failure)
	case AckFailed:
		c.schedule(TimerAck, c.ackWait.next(c.cfg.Rand, in.RetryAfter))
	case SnapshotFetched:
		c.fetching = false
		c.offer(&in.Snapshot)
	case FetchFailed:
		c.fetching = false
		c.fetchLater(in.RetryAfter)
	case Loaded:
		c.loaded(in.Head, in.Err)
	case ShadowLoaded:
		c.shadowLoaded(in.Prepared)
	case RequestsDrained:
		c.drained[in.Scope] = max(c.drained[in.Scope], in.Rev)
	case Unwound:
		c.hookReturned(in)
	case CacheWritten:
		c.cacheWritten(in)
	case ClockJumped:
		c.clockJumped()
	case BootUnknown:
		c.bootUnknown()
	case Leave:
		c.leave(leaving)
	case Bye:
		c.leave(gone)
	}
}

func (c *Client) emit(e Effect) { c.out = append(c.out, e) }

func (c *Client) notice(code, format string, args ...any) {
	c.emit(Notice{Code: code, Text: fmt.Sprintf(format, args...)})
}

func (c *Client) schedule(t Timer, after time.Duration) { c.emit(Schedule{Timer: t, After: after}) }

// finish puts the new view in force before anything else is done, then reports what has become true.
func (c *Client) finish() {
	if c.dirty {
		c.dirty = false
		c.out = slices.Insert(c.out, 0, Effect(Swap{View: c.view()}))
	}
	c.writeCache()
	c.tell()
}

func (c *Client) view() *View {
	return &View{
		Epoch: c.epoch, Snapshot: c.active, Want: c.want, Floors: maps.Clone(c.floors), LeaseEnd: maps.Clone(c.leaseEnd),
		PinKeys: c.pinKeys, Clock: c.clock,
	}
}

// start

func (c *Client) start(cache *Cache) {
	if c.phase != idle {
		return
	}
	if cache != nil {
		for scope, f := range cache.Floors {
			c.floors[scope] = max(c.floors[scope], f)
		}
		maps.Copy(c.unwindDue, cache.Unwind)
		c.hear(Head{Rev: cache.Seen})
		c.keep(cache.SignedRev, cache.Signed)
		if cache.Snapshot != nil {
			c.hear(cache.Snapshot.Head)
			c.loading = cache.Snapshot
			c.noteDurable(cache)
			c.emit(Load{Snapshot: cache.Snapshot})
		}
	}
	c.dirty = true
	c.hello()
}

func (c *Client) hello() {
	c.phase = joining
	if c.helloOut {
		return
	}
	c.helloOut = true
	caps := c.cfg.Caps
	if !c.cacheOK {
		caps.Cache = "none"
	}
	c.emit(SendHello{Hello: Hello{
		Instance: c.cfg.Instance, Boot: c.cfg.Boot, Component: c.cfg.Component, Class: c.cfg.Class, Caps: caps,
		WMs: c.cfg.W.Milliseconds(), Seen: Seen{Rev: c.want.Rev, Floors: maps.Clone(c.floors), Signed: c.signed.text},
	}})
}

func (c *Client) helloAnswered(sent Mono, a *HelloAnswer) {
	c.helloOut = false
	if c.phase != joining {
		return
	}
	if c.stale(a.Epoch) {
		c.schedule(TimerHello, c.helloWait.next(c.cfg.Rand, 0))
		return
	}
	if a.Snapshot.Head.Rev < c.want.Rev {
		c.notice(NoticeAmnesia, "the server stands at revision %d, this member has seen %d", a.Snapshot.Head.Rev, c.want.Rev)
		c.schedule(TimerHello, c.helloWait.next(c.cfg.Rand, 0))
		return
	}
	c.phase = joined
	c.helloWait.reset()
	c.renewWait.reset()
	c.clock.Observe(sent, c.now, a.ServerNow)
	c.pinKeys, c.dirty = a.PinKeys, true
	c.keep(a.Snapshot.Head.Rev, a.Sig)
	c.offer(&a.Snapshot)
	if !c.watching {
		c.watching = true
		c.emit(OpenWatch{})
	}
	c.renew()
}

func (c *Client) helloFailed(f Failure) {
	c.helloOut = false
	if c.phase != joining {
		return
	}
	wait := c.helloWait.next(c.cfg.Rand, f.RetryAfter)
	if f.Status == statusAmnesia {
		c.notice(NoticeAmnesia, "the server refuses this member: it knows less than revision %d, which was seen here", c.want.Rev)
	}
	if f.Status >= 400 && f.Status < 500 && f.Status != 408 && f.Status != 429 {
		wait = max(wait, slowRetry/2+time.Duration(c.cfg.Rand.Int64N(int64(slowRetry/2))))
	}
	c.schedule(TimerHello, wait)
}

// bootUnknown: the server forgot this boot (or another one leads that never knew it). The boot stays the same life.
func (c *Client) bootUnknown() {
	if c.phase == joined {
		c.hello()
	}
}

// stale notes the epoch of a message and reports whether it comes from an older leader than one heard of.
func (c *Client) stale(epoch uint64) bool {
	if epoch < c.epoch && !mutant.Is(mutant.AnyEpoch) {
		c.notice(NoticeEpoch, "a message of epoch %d, the leader is that of %d", epoch, c.epoch)
		return true
	}
	c.epoch = max(c.epoch, epoch)
	return false
}

// watch

func (c *Client) event(e *Event) {
	if c.phase != joined && c.phase != joining {
		return
	}
	c.watchWait.reset()
	if c.stale(e.Epoch) {
		return
	}
	c.raise(e.Floors, e.Head.Rev)
	c.hear(e.Head)
	c.keep(e.Head.Rev, e.Sig)
	for scope, class := range e.Unwind {
		c.turn[scope] = max(c.turn[scope], unwindTurn(class))
	}
	c.delta(e)
	if e.Prepare != nil {
		c.prepare(e.Prepare, e.Head.Rev)
	}
}

func (c *Client) watchLost(f Failure) {
	if c.phase == leaving {
		return
	}
	c.emit(OpenWatch{After: c.watchWait.next(c.cfg.Rand, f.RetryAfter)})
}

func (c *Client) tick(t Timer) {
	switch t {
	case TimerHello:
		if c.phase == joining {
			c.hello()
		}
	case TimerRenew:
		if c.phase == joined {
			c.renew()
		}
	case TimerFetch:
		c.fetchHold = 0
	case TimerAck:
		c.told = report{}
	}
}

// hear notes a head. The highest number wins; two contents under one number are a fault of the server.
func (c *Client) hear(h Head) {
	switch {
	case h.Rev > c.want.Rev:
		c.want = h
	case h.Rev == c.want.Rev && c.want.Digest == "":
		c.want.Digest = h.Digest
	case h.Rev == c.want.Rev && h.Digest != "" && h.Digest != c.want.Digest:
		c.notice(NoticeDiverged, "revision %d has digest %.20s, heard before was %.20s", h.Rev, h.Digest, c.want.Digest)
	}
}

// keep remembers the newest signed head: with it this member can prove what a server has forgotten.
func (c *Client) keep(rev uint64, sig string) {
	if sig != "" && len(sig) <= maxSigned && rev > c.signed.rev {
		c.signed = signedHead{rev, sig}
	}
}

// raise merges floors that are complete as of head at. They never fall.
func (c *Client) raise(floors map[string]uint64, at uint64) {
	if mutant.Is(mutant.AckEarly) && c.active != nil && at > c.active.Head.Rev {
		return
	}
	for scope, f := range floors {
		if f > c.floors[scope] || mutant.Is(mutant.FloorFalls) && f < c.floors[scope] {
			c.floors[scope] = f
			c.dirty = true
			if c.unwinds() {
				c.unwindDue[scope] = max(c.unwindDue[scope], f)
			}
		}
	}
	if mutant.Is(mutant.FloorFalls) {
		for scope := range c.floors {
			if _, ok := floors[scope]; !ok {
				delete(c.floors, scope)
				c.dirty = true
			}
		}
	}
	c.floorsAt = max(c.floorsAt, at)
}

// leases

// renewEvery is a fifth of the shortest lease there is or may be, so that several renewals in a row can be lost.
func (c *Client) renewEvery() time.Duration {
	every := idleRenew
	shorter := func(ttl time.Duration) {
		if ttl > 0 {
			every = min(every, max(ttl/5, minRenew))
		}
	}
	if c.active != nil {
		for name, meta := range c.active.Scopes {
			if meta.Leased {
				shorter(time.Duration(meta.TTLMs) * time.Millisecond)
				shorter(c.ttl[name])
			}
		}
	}
	return every
}

func (c *Client) renew() {
	c.needLease = false
	every := c.renewEvery()
	n := c.retry
	ts, known := c.sent[n]
	c.retry = 0
	if n == 0 || !known || c.now-ts >= every {
		c.n++
		n = c.n
		c.sent[n] = c.now
		delete(c.sent, n-maxSent)
	} else if mutant.Is(mutant.RetryRenews) {
		c.sent[n] = c.now
	}
	r := c.report()
	c.told = r
	c.emit(SendRenew{Renew: Renew{
		Instance: c.cfg.Instance, Boot: c.cfg.Boot, N: n, Active: c.activeRevs(), Prepared: r.prepared, Floors: c.presentFloors(), Acks: r.acks,
	}})
	c.renewIn(every)
}

// renewIn sets the time of the next renewal, up to an eighth earlier so that a fleet does not renew in step.
func (c *Client) renewIn(every time.Duration) {
	after := every - time.Duration(c.cfg.Rand.Int64N(int64(every)/8+1))
	c.backingOff, c.renewDue = false, c.now+after
	c.schedule(TimerRenew, after)
}

// hasten brings the next renewal forward when a shorter lease came up after it was set.
func (c *Client) hasten() {
	if every := c.renewEvery(); c.phase == joined && !c.backingOff && c.renewDue-c.now > every {
		c.renewIn(every)
	}
}

func (c *Client) grant(g *Grant) {
	if g.Boot != c.cfg.Boot && !mutant.Is(mutant.AnyBoot) {
		return
	}
	ts, known := c.sent[g.N]
	if !known || c.phase != joined && c.phase != joining || c.stale(g.Epoch) {
		return
	}
	c.raise(g.Floors, g.Head.Rev)
	c.hear(g.Head)
	c.keep(g.Head.Rev, g.Sig)
	c.clock.Observe(ts, c.now, g.ServerNow)
	if mutant.Is(mutant.FromReceipt) {
		ts = c.now
	}
	for scope, ms := range g.Leases {
		ttl := min(time.Duration(min(ms, maxTTL.Milliseconds()))*time.Millisecond, maxTTL)
		if ttl < minTTL {
			continue
		}
		c.ttl[scope] = ttl
		end := ts + ttl - time.Duration(c.cfg.EarlyLapse*float64(ttl))
		c.leaseEnd[scope] = max(c.leaseEnd[scope], end)
	}
	c.dirty = true
	c.renewWait.reset()
	c.granted = max(c.granted, g.N)
	if c.retry <= c.granted {
		c.retry = 0
	}
}

func (c *Client) renewFailed(n uint64, f Failure) {
	switch {
	case c.phase != joined || n <= c.granted:
	case f.Status == statusBootUnknown:
		c.hello()
	case f.Status == statusAmnesia:
		c.phase = joining
		c.notice(NoticeAmnesia, "the server refuses to renew: it knows less than revision %d, which was seen here", c.want.Rev)
		c.schedule(TimerHello, slowRetry/2+time.Duration(c.cfg.Rand.Int64N(int64(slowRetry/2))))
	default:
		c.retry = n
		wait := c.renewWait.next(c.cfg.Rand, f.RetryAfter)
		if f.RetryAfter == 0 { // within a third of the lease, so that it is back soon after the server is
			wait = min(wait, max(c.renewEvery()*5/3, 2*backoffBase))
		}
		c.backingOff, c.renewDue = true, c.now+wait
		c.schedule(TimerRenew, wait)
	}
}

// clockJumped: the leases ran out in time that this clock did not count, and answers to what was sent before would be
// counted from before the jump.
func (c *Client) clockJumped() {
	c.notice(NoticeClock, "the monotonic clock stood still: all leases end")
	if mutant.Is(mutant.SleepKeeps) {
		return
	}
	clear(c.leaseEnd)
	clear(c.sent)
	c.retry, c.dirty = 0, true
	if c.phase == joined {
		c.renew()
	}
}

func (c *Client) leave(p phase) {
	c.phase = p
	clear(c.leaseEnd)
	clear(c.sent)
	c.dirty = true
	if p == gone {
		c.emit(SendAck{Request: AckRequest{Instance: c.cfg.Instance, Boot: c.cfg.Boot, Acks: c.report().acks, Bye: true}})
	}
}

// activeRevs lists the scopes with their revisions in force.
func (c *Client) activeRevs() map[string]uint64 {
	if c.active == nil {
		return nil
	}
	revs := make(map[string]uint64, len(c.active.Scopes))
	for name, meta := range c.active.Scopes {
		revs[name] = meta.Rev
	}
	return revs
}

// presentFloors leaves out the floors of scopes that are gone: they can no longer be told apart from a high head.
func (c *Client) presentFloors() map[string]uint64 {
	floors := map[string]uint64{}
	for scope, f := range c.floors {
		if c.active == nil || c.has(scope) {
			floors[scope] = f
		}
	}
	return floors
}

func (c *Client) has(scope string) bool {
	if c.active == nil {
		return false
	}
	_, ok := c.active.Scopes[scope]
	return ok
}

// sortedScopes lists the scopes in force by name.
func (c *Client) sortedScopes() []string {
	return slices.Sorted(maps.Keys(c.active.Scopes))
}
