package stat

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Group-sequential bounds: z-scores at planned looks that together spend a level no faster than level*t^2, t being the share
// of the final sample seen. They are the most powerful choice where the horizon is known and looks are few, and void beyond
// the horizon. Source: Lan & DeMets, Biometrika 70 (1983), as in R's ldbounds and Spotify's confidence.

const (
	farBound   = 8    // bounds are cut off here
	leastSpent = 1e-7 // a smaller part of the level is not spent but lost, as the sources do it
)

// SpendingBounds returns the bounds at ascending shares t of the final sample, for a level spent on one side; give half of it
// for two. Each look integrates the law of the process over the paths that have not crossed yet.
func SpendingBounds(t []float64, level float64) []float64 {
	bounds := make([]float64, len(t))
	var path pathLaw
	spent := 0.0
	for i, at := range t {
		sd := math.Sqrt(at)
		pe := float64(level * float64(at*at))
		if i == 0 {
			bounds[0] = min(mathext.NormalQuantile(1-pe), farBound)
			spent = normalTail(bounds[0])
			if bounds[0] < farBound {
				spent = pe
			}
			path = startPath(sd, bounds[0])
			continue
		}
		step := at - t[i-1]
		if step <= 1e-5 {
			bounds[i] = bounds[i-1]
			continue
		}
		bounds[i] = path.bound(pe-spent, sd, math.Sqrt(step))
		spent = pe
		path = path.next(sd, bounds[i], math.Sqrt(step))
	}
	return bounds
}

// pathLaw is the density, on an even grid, of a Brownian path that has not crossed a bound yet.
type pathLaw struct {
	lo, width float64
	density   []float64
}

// gridSteps is how many points of the grid there are to a standard deviation of a step. The trapezoid rule on a smooth
// density is right to six digits with it.
const gridSteps = 12

func gridOf(sd, bound, step float64) (lo, width float64, points int) {
	lo, hi := float64(-farBound*sd), float64(bound*sd)
	n := math.Ceil((hi - lo) / step * gridSteps)
	return lo, (hi - lo) / n, int(n) + 1
}

func startPath(sd, bound float64) pathLaw {
	lo, width, n := gridOf(sd, bound, sd)
	p := pathLaw{lo: lo, width: width, density: make([]float64, n)}
	for k := range p.density {
		p.density[k] = normalDensity(p.at(k)/sd) / sd
	}
	return p
}

func (p *pathLaw) at(k int) float64 { return p.lo + float64(float64(k)*p.width) }

func normalDensity(z float64) float64 { return exp(-float64(z*z)/2) / math.Sqrt(2*math.Pi) }

// integral is the trapezoid rule for density times f.
func (p *pathLaw) integral(from, to int, f func(k int) float64) float64 {
	sum := 0.0
	for k := from; k < to; k++ {
		w := p.width
		if k == 0 || k == len(p.density)-1 {
			w /= 2
		}
		sum += float64(float64(w*p.density[k]) * f(k))
	}
	return sum
}

// bound is the z-score that the path crosses in its next step with a given probability.
func (p *pathLaw) bound(probability, sd, step float64) float64 {
	if probability < leastSpent {
		return farBound
	}
	lo, hi := 0.0, float64(farBound)
	for range 50 {
		mid := (lo + hi) / 2
		crossed := p.integral(0, len(p.density), func(k int) float64 { return normalTail((float64(mid*sd) - p.at(k)) / step) })
		if crossed > probability {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// next is the law one step later, below a new bound.
func (p *pathLaw) next(sd, bound, step float64) pathLaw {
	lo, width, n := gridOf(sd, bound, step)
	out := pathLaw{lo: lo, width: width, density: make([]float64, n)}
	reach := float64(8 * step) // beyond it a step has probability 1e-15
	for k := range out.density {
		x := out.at(k)
		from := max(int((x-reach-p.lo)/p.width), 0)
		to := min(int((x+reach-p.lo)/p.width)+2, len(p.density))
		out.density[k] = p.integral(from, to, func(j int) float64 { return normalDensity((x-p.at(j))/step) / step })
	}
	return out
}
