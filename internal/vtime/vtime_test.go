package vtime

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// story collects what happened when, in milliseconds since the zero time.
func story(k *Kernel, told *[]string) func(name string) func() {
	return func(name string) func() {
		return func() { *told = append(*told, fmt.Sprint(k.Now.Sub(time.Time{}).Milliseconds(), name)) }
	}
}

// TestOrder: earlier first, equal times as asked for, and what is past counts as now.
func TestOrder(t *testing.T) {
	var k Kernel
	var told []string
	say := story(&k, &told)
	k.After(2*time.Millisecond, say("c"))
	k.After(time.Millisecond, func() { say("a")(); k.After(-time.Hour, say("b")) })
	k.After(2*time.Millisecond, say("d"))
	if k.Run(time.Time{}.Add(time.Second), func() bool { return false }) {
		t.Error("an empty agenda is not done")
	}
	if want := []string{"1a", "1b", "2c", "2d"}; !slices.Equal(told, want) {
		t.Errorf("got %v, want %v", told, want)
	}
}

// TestRunEnds: by done, by the limit, and what is left happens later.
func TestRunEnds(t *testing.T) {
	var k Kernel
	var told []string
	say := story(&k, &told)
	n := 0
	k.Every(time.Millisecond, func() bool { n++; say("tick")(); return n == 5 })
	if !k.Run(time.Time{}.Add(time.Second), func() bool { return n == 2 }) {
		t.Error("done was not noticed")
	}
	if k.Run(time.Time{}.Add(4*time.Millisecond), func() bool { return false }) {
		t.Error("done without being so")
	}
	if want := []string{"1tick", "2tick", "3tick", "4tick"}; !slices.Equal(told, want) {
		t.Errorf("got %v, want %v", told, want)
	}
	k.Pass(time.Minute)
	if n != 5 {
		t.Errorf("ticked %d times, want 5", n)
	}
}

// TestPass: something that takes time lets the rest of the world go on, and time never runs backwards.
func TestPass(t *testing.T) {
	var k Kernel
	var told []string
	say := story(&k, &told)
	k.After(time.Millisecond, func() { say("begins")(); k.Pass(10 * time.Millisecond); say("ends")() })
	k.After(5*time.Millisecond, say("meanwhile"))
	k.After(20*time.Millisecond, say("later"))
	k.Pass(20 * time.Millisecond)
	if want := []string{"1begins", "5meanwhile", "11ends", "20later"}; !slices.Equal(told, want) {
		t.Errorf("got %v, want %v", told, want)
	}
	if got := k.Now.Sub(time.Time{}); got != 20*time.Millisecond {
		t.Errorf("it is %s, want 20ms", got)
	}
}
