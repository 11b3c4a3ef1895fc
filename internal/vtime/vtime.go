// Package vtime is virtual time in one thread: a clock that stands still while something happens, and an agenda. What is
// due next happens next; equal times keep the order in which they were asked for, so that equal inputs give equal stories.
package vtime

import (
	"container/heap"
	"time"
)

// Kernel is the clock and the agenda. The zero value stands at the zero time with nothing to do. It belongs to one
// goroutine.
type Kernel struct {
	Now    time.Time
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

// After puts do on the agenda, d from now; a negative d counts as 0.
func (k *Kernel) After(d time.Duration, do func()) {
	k.n++
	heap.Push(&k.agenda, entry{k.Now.Add(max(d, 0)), k.n, do})
}

// Every repeats do until it says stop, the first time d from now.
func (k *Kernel) Every(d time.Duration, do func() (stop bool)) {
	k.After(d, func() {
		if !do() {
			k.Every(d, do)
		}
	})
}

// Run works through the agenda until done says so or nothing is left or limit has passed; it reports whether done did.
func (k *Kernel) Run(limit time.Time, done func() bool) bool {
	for k.step(limit) {
		if done() {
			return true
		}
	}
	return false
}

// Pass lets d pass and everything happen that is due in it. It may be called by something on the agenda, which then takes
// that long while the rest of the world goes on.
func (k *Kernel) Pass(d time.Duration) {
	end := k.Now.Add(max(d, 0))
	for k.step(end) {
	}
	if k.Now.Before(end) {
		k.Now = end
	}
}

// step does what is due next, if it is due by limit.
func (k *Kernel) step(limit time.Time) bool {
	if k.agenda.Len() == 0 || k.agenda[0].at.After(limit) {
		return false
	}
	e := heap.Pop(&k.agenda).(entry)
	if e.at.After(k.Now) {
		k.Now = e.at
	}
	e.do()
	return true
}
