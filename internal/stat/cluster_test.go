package stat

import (
	"math"
	"math/rand/v2"

	"sluice.dev/sdk/evidence"
)

// clusters is a population of units whose requests are alike: each unit has a rate and a log-value of its own, a fixed arm
// and a fixed bucket. It is where counting requests as independent goes wrong.
type clusters struct {
	cfg   clusterConfig
	hosts []float64 // factor on the rate
	rng   *rand.Rand
	all   []unit
	cum   []float64 // activity, summed up
}

type clusterConfig struct {
	units  int
	share  float64
	perSec float64
	icc    float64 // share of the variance between units
	rate   float64
	rateT  float64 // factor on the exposed arm's rate; 0 means 1
	values bool
	zipf   bool    // activity of the i-th unit is 1/i
	heavy  float64 // share of all requests that one unit makes; 0: none
	hosts  int     // instances of different quality, each serving both arms; 0: all alike
}

type unit struct {
	hash   float64 // exposed while it lies below the share: sticky under a ramp
	bucket int
	rate   float64
	level  float64
}

func newClusters(rng *rand.Rand, cfg clusterConfig) *clusters {
	c := &clusters{cfg: cfg, rng: rng}
	sum := 0.0
	for i := range cfg.units {
		u := unit{hash: rng.Float64(), bucket: rng.IntN(unitBuckets), rate: betaRate(rng, cfg.rate, cfg.icc),
			level: math.Sqrt(cfg.icc) * rng.NormFloat64()}
		act := 1.0
		if cfg.zipf {
			act = 1 / float64(i+1)
		}
		sum += act
		c.all = append(c.all, u)
		c.cum = append(c.cum, sum)
	}
	if cfg.heavy > 0 {
		sum += sum * cfg.heavy / (1 - cfg.heavy)
		// The heavy unit is its own kind: much worse or much better than the others, in either arm.
		c.all = append(c.all, unit{hash: rng.Float64(), bucket: rng.IntN(unitBuckets), rate: cfg.rate * []float64{0.1, 5}[rng.IntN(2)],
			level: []float64{-1, 1}[rng.IntN(2)]})
		c.cum = append(c.cum, sum)
	}
	for range cfg.hosts {
		c.hosts = append(c.hosts, math.Exp(0.4*rng.NormFloat64()))
	}
	return c
}

// betaRate draws a rate with mean p and intra-class correlation icc: Beta(p(1-icc)/icc, (1-p)(1-icc)/icc).
func betaRate(rng *rand.Rand, p, icc float64) float64 {
	if icc <= 0 {
		return p
	}
	k := (1 - icc) / icc
	a, b := gamma(rng, p*k), gamma(rng, (1-p)*k)
	if a+b == 0 {
		return p
	}
	return a / (a + b)
}

// gamma draws Gamma(a, 1) by Marsaglia and Tsang, with the usual boost below 1.
func gamma(rng *rand.Rand, a float64) float64 {
	if a < 1 {
		return gamma(rng, a+1) * math.Pow(rng.Float64(), 1/a)
	}
	d := a - 1.0/3
	for {
		x := rng.NormFloat64()
		v := math.Pow(1+x/math.Sqrt(9*d), 3)
		if v > 0 && math.Log(rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

func (c *clusters) second(at int64) Block { return c.block(at, c.cfg.perSec, 1) }

// block draws the requests of a block; factor multiplies every unit's rate and, for values, its values: what moves both
// arms alike.
func (c *clusters) block(at int64, mean, factor float64) Block {
	var t, k armBuilder
	if c.cfg.values {
		t.hist, t.byUnit, k.hist = evidence.NewHist(5), true, evidence.NewHist(5)
	}
	within := math.Sqrt(1 - c.cfg.icc)
	for range poisson(c.rng, mean) {
		x := c.rng.Float64() * c.cum[len(c.cum)-1]
		i := 0
		for lo, hi := 0, len(c.cum)-1; lo < hi; {
			mid := (lo + hi) / 2
			if c.cum[mid] < x {
				lo = mid + 1
			} else {
				hi = mid
			}
			i = lo
		}
		u := &c.all[i]
		rate, arm := u.rate*factor, &k
		if u.hash < c.cfg.share {
			arm = &t
			if c.cfg.rateT > 0 {
				rate *= c.cfg.rateT
			}
		}
		if len(c.hosts) > 0 {
			rate *= c.hosts[c.rng.IntN(len(c.hosts))]
		}
		v := 0.0
		if c.cfg.values {
			v = 20 * factor * math.Exp(0.8*(u.level+within*c.rng.NormFloat64()))
		}
		arm.add(u.bucket, c.rng.Float64() < rate, v)
	}
	return Block{Second: at, Strata: []Stratum{{Exposed: t.build(), Baseline: k.build(), Share: c.cfg.share}}}
}
