package dst

import "time"

// link is the network between one member and the controller.
type link struct {
	w        *world
	up, down time.Time // requests are lost before up, answers and events before down
}

// to carries a message to the controller, from one to the member.
func (l *link) to(run func()) { l.carry(&l.up, run) }

func (l *link) from(run func()) { l.carry(&l.down, run) }

// carry delivers a message after a while: perhaps never, perhaps twice, perhaps long after later ones.
func (l *link) carry(cut *time.Time, run func()) {
	w := l.w
	if w.calm {
		w.After(w.upTo(w.mood.delay), run)
		return
	}
	if w.Now.Before(*cut) {
		w.fault("message cut off")
		return
	}
	if w.chance(w.mood.loss) {
		w.fault("message lost")
		return
	}
	w.After(l.delay(), run)
	if w.chance(w.mood.repeat) {
		w.fault("message repeated")
		w.After(l.delay(), run)
	}
}

func (l *link) delay() time.Duration {
	w := l.w
	if w.chance(w.mood.slow) {
		w.fault("message delayed")
		return w.upTo(w.mood.late)
	}
	return w.upTo(w.mood.delay)
}

// exchange sends a request; serve answers at the controller through answer. After a second without an answer the sender
// gives up, and an answer that comes later still arrives: the network may repeat it.
func (l *link) exchange(serve func(answer func(func())), lost func()) {
	answered := false
	l.to(func() {
		serve(func(run func()) {
			l.from(func() {
				answered = true
				run()
			})
		})
	})
	l.w.After(time.Second, func() {
		if !answered {
			lost()
		}
	})
}
