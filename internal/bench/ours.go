package bench

import (
	"iter"
	"time"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/judge"
)

// ours is the product's judge: judge.Step over closed seconds, where evidence comes late through judge.Intake, with the stored
// seconds at hand for the check of an alarm.
type ours struct {
	family *family
	cfg    judge.Config
	state  *judge.State
	intake *judge.Intake
	seq    uint64
	kept   []evidence.Second // what the intake closed
	held   []evidence.Second // made and not yet sent in full
	at     int
	failed float64
	level  float64
	lowest float64
}

func newOurs(f *family, seed uint64, seconds int) *ours {
	o := &ours{family: f, cfg: f.guardrails(seconds), at: -1, level: never, lowest: contenders[ourEvidence].levels[0]}
	kinds := map[string]evidence.Metric{}
	for i := range f.metrics {
		kinds[f.metrics[i].name] = f.metrics[i].kind()
	}
	o.state = judge.New(o.cfg, kinds)
	if f.delivery != deliverAtOnce {
		o.intake = judge.NewIntake(settle)
		o.intake.Expect("a", "a", epoch)
		o.intake.Expect("b", "b", epoch)
		judge.Remember(o.state, o.closed)
		return o
	}
	judge.Remember(o.state, func(from, to int64) iter.Seq[evidence.Second] { return again(f, seed, seconds, from, to) })
	return o
}

// again makes the seconds of a stream once more: cheaper than keeping all of them for an alarm that hardly ever comes.
func again(f *family, seed uint64, seconds int, from, to int64) iter.Seq[evidence.Second] {
	return func(yield func(evidence.Second) bool) {
		w := newWorld(f, seed, seconds)
		for at := range seconds {
			sec := w.tick(at).made
			if sec.At > to || sec.At >= from && !yield(sec) {
				return
			}
		}
	}
}

func (o *ours) closed(from, to int64) iter.Seq[evidence.Second] {
	return func(yield func(evidence.Second) bool) {
		for _, sec := range o.kept {
			if sec.At >= from && sec.At <= to && !yield(sec) {
				return
			}
		}
	}
}

// advance judges what a second of the clock brings, once.
func (o *ours) advance(t *tick) {
	if t.at == o.at {
		return
	}
	o.at = t.at
	if t.begun {
		judge.Enter(o.state, t.stage, o.family.exposureOf(t.stage), cohortName)
	}
	secs := []evidence.Second{t.made}
	if o.intake != nil {
		secs = o.through(t)
		judge.NoteLate(o.state, o.intake.Late())
		o.kept = append(o.kept, secs...)
	}
	for _, sec := range secs {
		if judge.Step(o.cfg, o.state, sec).Action == judge.ActRollback {
			o.failed = 1
		}
	}
	logE, without := judge.Evidence(o.cfg, o.state, o.lowest)
	o.level = min(logE, without)
}

// through sends the second through an intake with two members, the way its family's evidence travels.
func (o *ours) through(t *tick) []evidence.Second {
	o.seq++
	o.held = append(o.held, t.made)
	sec := t.made
	switch o.family.delivery {
	case deliverByOutcome:
		now, later := outcomes(o.held, sec.At)
		o.intake.Add("a", "a", o.seq, sec.At-lagSeconds, 0, append(now, later...))
		o.intake.Add("b", "b", o.seq, sec.At, 0, nil)
	case deliverLag:
		o.intake.Add("a", "a", o.seq, sec.At, 0, ofArm(&sec, evidence.ArmBaseline))
		o.intake.Add("b", "b", o.seq, sec.At-lagSeconds, 0, o.exposedOf(sec.At-lagSeconds))
	case deliverLate:
		o.intake.Add("a", "a", o.seq, sec.At, 0, ofArm(&sec, evidence.ArmBaseline))
		send := o.exposedOf(sec.At - lateSeconds)
		if !t.late {
			send = append(send, ofArm(&sec, evidence.ArmExposed)...)
			o.held = o.held[:len(o.held)-1]
		}
		o.intake.Add("b", "b", o.seq, sec.At-lateSeconds, 0, send)
	}
	return o.intake.Close(time.Unix(sec.At+1, 0).UTC())
}

// exposedOf takes a held second's blocks of the exposed arm out.
func (o *ours) exposedOf(at int64) []evidence.Block {
	if len(o.held) == 0 || o.held[0].At > at {
		return nil
	}
	sec := o.held[0]
	o.held = o.held[1:]
	return ofArm(&sec, evidence.ArmExposed)
}

func ofArm(sec *evidence.Second, arm string) (out []evidence.Block) {
	for _, b := range sec.Blocks {
		if b.Assigned == arm {
			out = append(out, b)
		}
	}
	return out
}

// outcomes returns the bad ones of the newest second, whose good ones are still open, and the good ones that end now.
func outcomes(held []evidence.Second, at int64) (now, later []evidence.Block) {
	for i := range held {
		switch held[i].At {
		case at:
			for _, b := range held[i].Blocks {
				part := split(b, true)
				part.Open = b.N - b.Bad
				now = append(now, part)
			}
		case at - lagSeconds:
			for _, b := range held[i].Blocks {
				later = append(later, split(b, false))
			}
		}
	}
	return now, later
}

// split keeps the bad observations of a block of a proportion, or the good ones.
func split(b evidence.Block, bad bool) evidence.Block {
	take := func(n, y uint64) (uint64, uint64) {
		if bad {
			return y, y
		}
		return n - y, 0
	}
	b.N, b.Bad = take(b.N, b.Bad)
	cells := b.Cells
	b.Cells = nil
	for _, c := range cells {
		buckets := c.Buckets
		c.Buckets = nil
		c.N, c.Bad = take(c.N, c.Bad)
		for _, u := range buckets {
			if u.N, u.Bad = take(u.N, u.Bad); u.N > 0 {
				c.Buckets = append(c.Buckets, u)
			}
		}
		if c.N > 0 {
			b.Cells = append(b.Cells, c)
		}
	}
	return b
}

// ourDecision is 1 once judge.Step asks for a rollback: the product as it is.
type ourDecision struct{ *ours }

func (o *ourDecision) look(t *tick) float64 { o.advance(t); return o.failed }

// ourLevel is the log evidence that holds without any one unit bucket: the product with another alpha, without the second
// computation of an alarm.
type ourLevel struct{ *ours }

func (o *ourLevel) look(t *tick) float64 { o.advance(t); return o.level }
