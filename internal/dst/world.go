// Package dst plays random lives of a whole installation in one thread under virtual time, and looks after each step at
// what Sluice promises. The control loop, the engine, the fleet, the memory store, the SDK's protocol machine, evaluator and
// evidence are the production code; processes, clocks, network and disk are made of values and one seed.
//
// The world may lose, delay, repeat and reorder every message, cut any direction of any link, stop and kill processes at any
// write, let a write fail before or after it has happened, let clocks run at any rate within rho or stop, put the
// controller's wall clock wrong, and let members lie. What must hold all the same is in oracle.go; docs/verification.md says
// which guarantee is looked at where.
package dst

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"sluice.dev/sluice/internal/vtime"
)

// genesis of every world: a fixed moment, so that equal seeds give equal lives.
var genesis = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

const env = "production"

// world is everything there is in one life.
type world struct {
	*vtime.Kernel
	seed   uint64
	rng    *rand.Rand
	mood   mood
	disk   *disk
	srv    *server
	procs  []*proc
	liars  []*liar
	people *people
	oracle *oracle

	calm   bool // no faults any more
	faults map[string]int
	trace  trace
	broken string // the first violation
}

// Run lives one seed to its end.
func Run(seed uint64, log func(line string)) Result {
	w := &world{
		Kernel: &vtime.Kernel{Now: genesis}, seed: seed, rng: rand.New(rand.NewPCG(seed, 0xd57)),
		faults: map[string]int{}, trace: trace{hash: fnv.New64a(), log: log},
	}
	w.mood = drawMood(w.rng)
	w.oracle = newOracle(w)
	w.disk = newDisk(w)
	w.people = newPeople(w)
	w.srv = newServer(w)
	w.srv.start()
	w.people.settle()
	for i := range w.mood.members {
		w.procs = append(w.procs, newProc(w, i))
	}
	for range w.mood.liars {
		w.liars = append(w.liars, newLiar(w))
	}
	w.people.act()
	w.After(w.upTo(w.mood.every), w.misfortune)
	w.Run(genesis.Add(w.mood.chaos), w.over)
	w.settle()
	return w.result()
}

func (w *world) over() bool { return w.broken != "" }

// violated notes the first violation; later ones may follow from it.
func (w *world) violated(rule, format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf("%s at %s: ", rule, w.since()) + fmt.Sprintf(format, args...)
		w.logf("VIOLATION %s", w.broken)
	}
}

func (w *world) since() time.Duration { return w.Now.Sub(genesis) }

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

// about draws an exponentially distributed time with the mean, at most eight times it.
func (w *world) about(mean time.Duration) time.Duration {
	return min(time.Duration(w.rng.ExpFloat64()*float64(mean)), 8*mean)
}

func (w *world) fault(kind string) { w.faults[kind]++ }

func (w *world) logf(format string, args ...any) { w.trace.add(w.since(), format, args...) }

// settle ends all faults, takes back what is open, and lets the world come to rest: then everything must be where it belongs.
func (w *world) settle() {
	if w.over() {
		return
	}
	w.logf("calm")
	w.calm = true
	w.srv.heal()
	for _, p := range w.procs {
		p.heal()
	}
	limit := w.Now.Add(w.mood.patience())
	w.Run(limit, func() bool { return w.over() || w.people.finished() })
	if w.over() {
		return
	}
	if !w.people.finished() {
		w.violated("liveness", "after %s of calm: %s", w.mood.patience(), w.people.unfinished())
		return
	}
	w.Run(w.Now.Add(rest), w.over) // members reach the last head
	if !w.over() {
		w.oracle.end()
	}
}

// rest is how long members have to reach the head once everything is quiet: longer than their slowest retry twice.
const rest = 75 * time.Second

func (w *world) result() Result {
	return Result{
		Seed: w.seed, Trace: fmt.Sprintf("%016x", w.trace.hash.Sum64()), Lived: w.since(), Faults: w.faults,
		Seen: w.oracle.seen, Violation: w.broken,
	}
}
