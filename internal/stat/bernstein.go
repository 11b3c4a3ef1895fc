package stat

import "math"

// Bernstein is the confidence sequence of the mean of values in [0, 1] by predictable bets on their variance: it adapts to a
// small variance and holds at all times, for any law.
// Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B 86 (2024).
type Bernstein struct {
	Level   float64 // of both sides together
	n       float64
	sum     float64
	squares float64 // around the running mean, with one value of variance 1/4 before all
	sides   [2]bernsteinSide
}

// bernsteinSide is the lower end for x, and for 1-x.
type bernsteinSide struct{ bets, weighted, spent float64 }

const boldest = 0.5 // a bet stakes at most this

// Step takes a value in [0, 1] and returns the interval.
func (b *Bernstein) Step(x float64) Range {
	l := -ln(float64(b.Level / 2))
	variance := (0.25 + b.squares) / (b.n + 1)
	mean := 0.0
	if b.n > 0 {
		mean = b.sum / b.n
	}
	b.n++
	bet := min(boldest, math.Sqrt(float64(2*l)/float64(float64(b.n*ln(1+b.n))*variance)))
	mirrored := 0.0
	if b.n > 1 {
		mirrored = 1 - mean
	}
	b.sides[0].add(x, mean, bet)
	b.sides[1].add(1-x, mirrored, bet)
	b.sum += x
	away := x - (0.5+b.sum)/(b.n+1)
	b.squares += float64(away * away)
	return Range{b.sides[0].lower(l), 1 - b.sides[1].lower(l)}
}

func (s *bernsteinSide) add(x, mean, bet float64) {
	s.bets += bet
	s.weighted += float64(bet * x)
	s.spent += float64(float64((x-mean)*(x-mean)) * (-ln(1-bet) - bet))
}

func (s *bernsteinSide) lower(l float64) float64 {
	return max(0, (s.weighted-l-s.spent)/s.bets)
}
