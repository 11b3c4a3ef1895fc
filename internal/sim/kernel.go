// Package sim runs a whole world in one thread under virtual time: the production engine, the SDK's protocol machine, the
// evaluator and the evidence codec, with members, network and traffic made of values and one seed. The same seed gives the
// same story, byte for byte.
package sim

import (
	"container/heap"
	"time"
)

// kernel is the clock and the agenda: what is due next happens next; equal times keep the order they were asked for.
type kernel struct {
	now    time.Time
	n      uint64
	agenda agenda
}

type entry struct {
	at time.Time
	n  uint64
	do func()
}

type agenda []entry

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].n < a[j].n
	}
	return a[i].at.Before(a[j].at)
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(entry)) }
func (a *agenda) Pop() any {
	old := *a
	e := old[len(old)-1]
	*a = old[:len(old)-1]
	return e
}

// after puts do on the agenda, d from now.
func (k *kernel) after(d time.Duration, do func()) {
	k.n++
	heap.Push(&k.agenda, entry{k.now.Add(max(d, 0)), k.n, do})
}

// every repeats do until it says stop.
func (k *kernel) every(d time.Duration, do func() (stop bool)) {
	k.after(d, func() {
		if !do() {
			k.every(d, do)
		}
	})
}

// run works through the agenda until done says so or nothing is left or limit has passed; it reports whether done did.
func (k *kernel) run(limit time.Time, done func() bool) bool {
	for k.agenda.Len() > 0 {
		e := heap.Pop(&k.agenda).(entry)
		if e.at.After(limit) {
			return false
		}
		k.now = e.at
		e.do()
		if done() {
			return true
		}
	}
	return false
}
