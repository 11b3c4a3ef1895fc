package fleet

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sluice.dev/sdk/slp"
)

// The model plays leases and one rollback in real time: clients that follow L1 and L2, clocks that run up to Rho wrong and
// are read in coarse steps, messages that are late, lost, repeated and out of order, boots that end, return or run twice,
// and a server that restarts. Whenever Barrier says complete, no client may be able to serve the revoked value any more,
// then and ever after (G1a). Each mutant breaks one rule and must be caught, so that the model is known to look.

var modelSeed = flag.Uint64("fleet.seed", 0, "run the lease model with this seed only")

// broken names a rule that a mutant of the model breaks.
type broken string

const (
	none         broken = ""
	horEarly     broken = "M_HOREARLY: the horizon counts from the decision"
	recvLate     broken = "M_RECVLATE: grants are noted after the horizon is read"
	recvNone     broken = "a boot without a recorded grant counts as never granted"
	waitFlat     broken = "Y leaves out the clock rates"
	waitRestart  broken = "a restart does not begin the wait again"
	newBoot      broken = "a new boot retires the older ones of its instance"
	grantOld     broken = "granting under the old floor goes on until the boot acknowledges"
	clientRecv   broken = "the client counts its lease from the receipt of the grant"
	clientFloor  broken = "the client takes a lower floor from a late grant"
	clientAck    broken = "the client acknowledges before it applies"
	clientNonce  broken = "the client takes grants of an earlier boot"
	firstReceipt broken = "the first receipt of a renewal is kept, not the last"
)

const (
	modelFloor = 7
	modelRuns  = 4000
	modelSteps = 160
)

// modelClock reads real time with a rate error, an offset and a granule.
type modelClock struct {
	rate    float64
	offset  time.Duration
	granule time.Duration
}

func (c modelClock) read(real time.Duration) time.Duration {
	return (c.offset + time.Duration(float64(real)*c.rate)).Truncate(c.granule)
}

// real returns the first real time at which the clock surely shows at least d.
func (c modelClock) real(d time.Duration) time.Duration {
	return time.Duration(float64(d-c.offset)/c.rate) + c.granule
}

// modelClient is one boot: L1 and L2.
type modelClient struct {
	boot, instance string
	clock          modelClock
	joined, dead   bool
	floor          uint64
	revoked        bool          // what it would serve while its lease holds is the revoked value
	lease          time.Duration // on its own clock
	sent           map[uint64]time.Duration
}

func (c *modelClient) serves(real time.Duration) bool {
	return c.joined && !c.dead && c.revoked && c.clock.read(real) < c.lease
}

type modelMessage struct {
	kind  string // renew, grant, revoke, ack, bye
	boot  string
	n     uint64
	floor uint64
	lease bool
}

type model struct {
	broken
	rng     *rand.Rand
	real    time.Duration
	ttl     time.Duration
	server  modelClock
	fleet   *Fleet
	granted map[string]time.Time // of the grant path
	clients []*modelClient
	wire    []modelMessage

	granting  bool
	decided   time.Time // zero until then
	committed bool
	revokedAt time.Time // zero until the floor is shown
	complete  bool
	story     []string
}

func (m *model) now() time.Time { return t0.Add(m.server.read(m.real)) }

func (m *model) note(format string, args ...any) {
	m.story = append(m.story, fmt.Sprintf("%8.3fs ", m.real.Seconds())+fmt.Sprintf(format, args...))
}

func (m *model) newClock() modelClock {
	rates := []float64{1 - Rho, 1, 1 + Rho}
	return modelClock{
		rate: rates[m.rng.IntN(3)], offset: time.Duration(m.rng.IntN(1000)) * time.Second,
		granule: []time.Duration{1, time.Millisecond, Granule}[m.rng.IntN(3)],
	}
}

func newModel(seed uint64, mu broken) *model {
	m := &model{broken: mu, rng: rand.New(rand.NewPCG(seed, 17)), granting: true, granted: map[string]time.Time{}}
	m.ttl = []time.Duration{2 * time.Second, 10 * time.Second, 60 * time.Second}[m.rng.IntN(3)]
	m.server = m.newClock()
	m.fleet = New(m.now())
	for i := range 1 + m.rng.IntN(3) {
		m.boot(fmt.Sprint("i", i))
	}
	return m
}

// boot starts a process; its Hello is answered at once with what is in force.
func (m *model) boot(instance string) {
	c := &modelClient{
		boot: fmt.Sprint("b", len(m.clients)), instance: instance, clock: m.newClock(), joined: true,
		revoked: !m.committed, sent: map[uint64]time.Duration{},
	}
	if m.committed {
		c.floor = modelFloor
	}
	m.clients = append(m.clients, c)
	m.fleet.Join(slp.Hello{Instance: instance, Boot: c.boot, Class: slp.ClassReader, WMs: int64(m.rng.IntN(2000))}, m.now())
	if m.broken == newBoot {
		for boot, old := range m.fleet.Members {
			if old.Instance == instance && boot != c.boot {
				delete(m.fleet.Members, boot)
			}
		}
	}
	m.note("%s: boot %s joins, clock %+v", instance, c.boot, c.clock)
}

func (m *model) client(boot string) *modelClient {
	for _, c := range m.clients {
		if c.boot == boot {
			return c
		}
	}
	panic("no client " + boot)
}

// step does one thing.
func (m *model) step() {
	c := m.clients[m.rng.IntN(len(m.clients))]
	switch k := m.rng.IntN(100); {
	case k < 20:
		m.real += time.Duration(m.rng.ExpFloat64() * 0.2 * float64(m.ttl))
	case k < 40:
		if !c.dead {
			n := uint64(len(c.sent) + 1)
			c.sent[n] = c.clock.read(m.real)
			m.wire = append(m.wire, modelMessage{kind: "renew", boot: c.boot, n: n})
			m.note("%s sends renew %d", c.boot, n)
		}
	case k < 78:
		m.deliver()
	case k < 80:
		if len(m.wire) > 0 {
			i := m.rng.IntN(len(m.wire))
			m.wire = append(m.wire[:i], m.wire[i+1:]...)
		}
	case k < 82:
		m.life(c)
	case k < 83:
		m.restart()
	case k < 90:
		m.rollback()
	case k < 92:
		if m.committed && !c.dead {
			m.wire = append(m.wire, modelMessage{kind: "revoke", boot: c.boot, floor: modelFloor})
		}
	default:
		m.look()
	}
}

func (m *model) life(c *modelClient) {
	switch m.rng.IntN(4) {
	case 0: // a second process under the same name
		m.boot(c.instance)
	case 1: // a crash, and a new process that may get what was meant for the old one
		c.dead = true
		m.boot(c.instance)
		if n := m.clients[len(m.clients)-1]; m.broken == clientNonce && !m.committed {
			n.lease, n.sent = n.clock.read(m.real)+m.ttl, c.sent
		}
	case 2:
		c.dead = true
		m.wire = append(m.wire, modelMessage{kind: "bye", boot: c.boot})
		m.note("%s ends", c.boot)
	}
}

// deliver takes any message that is under way; one in five stays, to come again.
func (m *model) deliver() {
	if len(m.wire) == 0 {
		return
	}
	i := m.rng.IntN(len(m.wire))
	if m.rng.IntN(2) == 0 {
		i = len(m.wire) - 1 // the newest one more often, or nothing would ever be quick
	}
	msg := m.wire[i]
	if m.rng.IntN(5) != 0 {
		m.wire = append(m.wire[:i], m.wire[i+1:]...)
	}
	m.note("%+v arrives", msg)
	switch msg.kind {
	case "renew":
		m.renew(msg)
	case "grant", "revoke":
		m.client(msg.boot).take(m, msg)
	case "ack":
		if b := m.fleet.Members[msg.boot]; b != nil {
			b.Acknowledge(slp.Ack{Scope: scope, Rev: msg.floor, Stage: slp.StageActivated}, m.now())
			b.Acknowledge(slp.Ack{Scope: scope, Rev: msg.floor, Stage: slp.StageDrained}, m.now())
		}
	case "bye":
		if b := m.fleet.Members[msg.boot]; b != nil && b.Bye.IsZero() {
			b.Bye = m.now()
		}
	}
}

// renew is the grant path: the receipt is written before the answer is made. Once the floor is shown, granting may go
// on, because a client raises its floor in the same swap that extends its lease.
func (m *model) renew(msg modelMessage) {
	if m.fleet.Members[msg.boot] == nil {
		return
	}
	shown := !m.revokedAt.IsZero()
	old := m.granting && !m.committed
	if m.broken == grantOld && m.fleet.Members[msg.boot].Acked[scope] == nil {
		old = true
	}
	answer := modelMessage{kind: "grant", boot: msg.boot, n: msg.n, lease: old || shown}
	if m.committed && !old {
		answer.floor = modelFloor
	}
	if answer.lease {
		if _, ok := m.granted[msg.boot]; !ok || m.broken != firstReceipt {
			m.granted[msg.boot] = m.now()
		}
	}
	m.wire = append(m.wire, answer)
}

// take is L1.
func (c *modelClient) take(m *model, msg modelMessage) {
	if c.dead {
		return
	}
	if msg.floor > c.floor || (m.broken == clientFloor && msg.kind == "grant" && msg.lease) {
		c.floor = msg.floor
	}
	was := c.revoked
	c.revoked = c.floor < modelFloor
	if m.broken == clientAck && msg.floor == modelFloor && was && m.rng.IntN(2) == 0 {
		c.floor, c.revoked = 0, true
	}
	if sent, ok := c.sent[msg.n]; msg.kind == "grant" && msg.lease && ok {
		if m.broken == clientRecv {
			sent = c.clock.read(m.real)
		}
		c.lease = max(c.lease, sent+m.ttl)
	}
	if msg.floor == modelFloor {
		m.wire = append(m.wire, modelMessage{kind: "ack", boot: c.boot, floor: modelFloor})
	}
}

// rollback goes one step further: it is decided, granting stops, the revoke is durable, the floor is shown and the
// horizon read.
func (m *model) rollback() {
	switch {
	case m.decided.IsZero():
		m.decided = m.now()
		m.note("decided")
	case m.granting:
		m.granting = false
		m.note("granting stops")
	case !m.committed:
		m.committed = true
		m.note("revoke is durable")
	case m.revokedAt.IsZero():
		if m.broken != recvLate {
			m.learn()
		}
		m.revokedAt = m.now()
		if m.broken == horEarly {
			m.revokedAt = m.decided
		}
		m.note("floor is shown, horizon read")
	}
}

// learn is what the engine is told of the grant path.
func (m *model) learn() {
	for boot, at := range m.granted {
		if b := m.fleet.Members[boot]; b != nil && at.After(b.Granted[scope]) {
			b.Granted[scope] = at
		}
	}
}

// restart loses all that is not durable: grants, acks and, before the commit, the rollback.
func (m *model) restart() {
	next := New(m.now())
	for _, b := range m.fleet.Sorted() {
		c := *b
		bye := c.Bye
		next.Add(&c)
		c.Bye = bye
	}
	if m.broken == waitRestart {
		next.Started = m.fleet.Started
	}
	m.fleet, m.granted = next, map[string]time.Time{}
	if !m.committed {
		m.granting, m.decided = true, time.Time{}
	}
	m.note("server restarts")
}

// look asks the barrier, mostly at the very moment at which it may turn.
func (m *model) look() {
	if m.revokedAt.IsZero() || m.complete {
		return
	}
	r := Revoke{Scope: scope, Floor: modelFloor, Y: Y(m.ttl), At: m.revokedAt}
	if m.fleet.Started.After(r.At) && m.broken != waitRestart {
		r.At = m.fleet.Started
	}
	if m.broken == waitFlat {
		r.Y = m.ttl + 2*Granule
	}
	if m.broken == recvNone {
		for boot, b := range m.fleet.Members {
			if b.Granted[scope].IsZero() {
				delete(m.fleet.Members, boot)
			}
		}
	}
	p := m.fleet.Barrier(r, Exposed, m.now())
	if !p.Next.IsZero() && m.rng.IntN(2) == 0 {
		m.real = max(m.real, m.server.real(p.Next.Sub(t0)))
		p = m.fleet.Barrier(r, Exposed, m.now())
	}
	if m.complete = p.Complete; m.complete {
		m.note("complete: %+v", p.Lines)
	}
}

// violated names a client that could serve the revoked value after completion.
func (m *model) violated() string {
	for _, c := range m.clients {
		if m.complete && c.serves(m.real) {
			return c.boot
		}
	}
	return ""
}

// runModel returns what went wrong, "" if nothing did, and whether the rollback was completed.
func runModel(seed uint64, mu broken) (wrong string, complete bool) {
	m := newModel(seed, mu)
	for range modelSteps {
		m.step()
		if boot := m.violated(); boot != "" {
			m.note("%s can serve the revoked value", boot)
			for _, line := range m.story {
				wrong += "\n" + line
			}
			return wrong, true
		}
	}
	return "", m.complete
}

// TestCompletionIsSound is G1a.
func TestCompletionIsSound(t *testing.T) {
	completed := 0
	first, last := uint64(1), uint64(modelRuns)
	if *modelSeed != 0 {
		first, last = *modelSeed, *modelSeed
	}
	if raceEnabled {
		last = min(last, first+200)
	}
	for seed := first; seed <= last; seed++ {
		wrong, complete := runModel(seed, none)
		if wrong != "" {
			t.Fatalf("seed %d, repeat with go test ./internal/fleet -run TestCompletionIsSound -fleet.seed=%d%s", seed, seed, wrong)
		}
		if complete {
			completed++
		}
	}
	if runs := int(last - first + 1); runs > 1 && completed < runs/4 {
		t.Errorf("only %d of %d runs complete: the model shows too little", completed, runs)
	}
}

func TestModelCatchesMutants(t *testing.T) {
	if raceEnabled {
		t.Skip("the model has no goroutines; its search is for the ordinary run")
	}
	for _, mu := range []broken{
		horEarly, recvLate, recvNone, waitFlat, waitRestart, newBoot, grantOld, clientRecv, clientFloor, clientAck, clientNonce, firstReceipt,
	} {
		t.Run(string(mu), func(t *testing.T) {
			for seed := uint64(1); seed <= modelRuns; seed++ {
				if wrong, _ := runModel(seed, mu); wrong != "" {
					return
				}
			}
			t.Errorf("%d runs did not notice", modelRuns)
		})
	}
}
