package stat

import (
	"encoding/json"
	"math"
	"slices"
)

// twister is MT19937 as Python has it. Source: Matsumoto & Nishimura, 1998.
type twister struct {
	state [624]uint32
	at    int
}

// newTwister seeds with one number.
func newTwister(seed uint32) *twister {
	t := &twister{at: 624}
	t.state[0] = seed
	for i := 1; i < 624; i++ {
		t.state[i] = 1812433253*(t.state[i-1]^t.state[i-1]>>30) + uint32(i)
	}
	return t
}

// pythonTwister seeds with an array of one word, as Python does.
func pythonTwister(seed uint32) *twister {
	t := newTwister(19650218)
	i := 1
	for range 624 {
		t.state[i] = (t.state[i] ^ (t.state[i-1]^t.state[i-1]>>30)*1664525) + seed
		if i++; i == 624 {
			t.state[0], i = t.state[623], 1
		}
	}
	for range 623 {
		t.state[i] = (t.state[i] ^ (t.state[i-1]^t.state[i-1]>>30)*1566083941) - uint32(i)
		if i++; i == 624 {
			t.state[0], i = t.state[623], 1
		}
	}
	t.state[0] = 1 << 31
	return t
}

func (t *twister) next() uint32 {
	if t.at == 624 {
		for i := range 624 {
			y := t.state[i]&(1<<31) | t.state[(i+1)%624]&(1<<31-1)
			t.state[i] = t.state[(i+397)%624] ^ y>>1 ^ -(y&1)&0x9908b0df
		}
		t.at = 0
	}
	y := t.state[t.at]
	t.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// float is in [0, 1) with 53 bits.
func (t *twister) float() float64 {
	a, b := t.next()>>5, t.next()>>6
	return (float64(a)*67108864 + float64(b)) / 9007199254740992
}

// below is Python's _randbelow.
func (t *twister) below(n int) int {
	bits := 0
	for n>>bits > 0 {
		bits++
	}
	for {
		if r := int(t.next() >> (32 - bits)); r < n {
			return r
		}
	}
}

// sample is Python's random.sample(range(n), k) for small k, by a pool.
func (t *twister) sample(n, k int) []int {
	pool := make([]int, n)
	for i := range pool {
		pool[i] = i
	}
	out := make([]int, k)
	for i := range out {
		j := t.below(n - i)
		out[i] = pool[j]
		pool[j] = pool[n-i-1]
	}
	return out
}

// checkRiver: the stream of the documentation's examples, 1,000 values of 0 and 1 and then 1,000 of 4 to 7.
func checkRiver(c *checker, raw json.RawMessage) {
	var k struct {
		PH struct {
			Min                     int `json:"min_instances"`
			Delta, Threshold, Alpha float64
			riverFound
		} `json:"page_hinkley"`
		ADWIN struct {
			Delta float64
			riverFound
		}
		KSWIN struct {
			Alpha        float64
			Seed         uint32
			Window, Stat int
			riverFound
		}
	}
	c.read(raw, &k)
	rng := pythonTwister(12345)
	var stream []float64
	for range 1000 {
		stream = append(stream, math.Floor(rng.float()*2))
	}
	for range 1000 {
		stream = append(stream, 4+math.Floor(rng.float()*4))
	}
	k.PH.check(c, "Page-Hinkley", stream, pageHinkley(k.PH.Min, k.PH.Delta, k.PH.Threshold, k.PH.Alpha))
	k.ADWIN.check(c, "ADWIN", stream, adwin(k.ADWIN.Delta))
	k.KSWIN.check(c, "KSWIN", stream, kswin(k.KSWIN.Alpha, k.KSWIN.Window, k.KSWIN.Stat, k.KSWIN.Seed))
}

type riverFound struct {
	Index int     `json:"detect_index"`
	Value float64 `json:"value"`
}

func (f riverFound) check(c *checker, name string, stream []float64, alarms func(x float64) bool) {
	for i, x := range stream {
		if alarms(x) {
			c.near(name+" index", float64(i), float64(f.Index), 0)
			c.near(name+" value", x, f.Value, 0)
			return
		}
	}
	c.t.Errorf("%s: %s found nothing", c.at, name)
}

func pageHinkley(least int, delta, threshold, alpha float64) func(x float64) bool {
	n, mean, sum := 1.0, 0.0, 0.0
	return func(x float64) bool {
		mean += (x - mean) / n
		sum = max(0, alpha*sum+x-mean-delta)
		n++
		return int(n) >= least && sum >= threshold
	}
}

// kswin compares the last values of a window with as many drawn from the rest of it.
func kswin(alpha float64, size, last int, seed uint32) func(x float64) bool {
	rng := pythonTwister(seed)
	var window []float64
	return func(x float64) bool {
		if window = append(window, x); len(window) > size {
			window = window[1:]
		}
		if len(window) < size {
			return false
		}
		var drawn []float64
		for _, i := range rng.sample(size-last, last) {
			drawn = append(drawn, window[i])
		}
		d, err := KS(drawn, window[size-last:], Rule{Alpha: alpha, Effect: 0.1})
		return err == nil && d.P <= alpha && d.Value > 0.1
	}
}

// adwinBucket holds a power of two of values.
type adwinBucket struct{ n, sum, squares float64 }

func (b adwinBucket) plus(o adwinBucket) adwinBucket {
	between := 0.0
	if b.n > 0 && o.n > 0 {
		d := b.sum/b.n - o.sum/o.n
		between = b.n * o.n * d * d / (b.n + o.n)
	}
	return adwinBucket{b.n + o.n, b.sum + o.sum, b.squares + o.squares + between}
}

// adwin keeps buckets, oldest first, at most five of a size; every 32 values it looks for a cut between two of them at which
// the means differ. Source: Bifet & Gavaldà, 2007, with the variance of Babcock et al., as river has it.
func adwin(delta float64) func(x float64) bool {
	var buckets []adwinBucket
	n := 0
	return func(x float64) bool {
		buckets = append(buckets, adwinBucket{n: 1, sum: x})
		for size := 1.0; ; size *= 2 {
			first := slices.IndexFunc(buckets, func(b adwinBucket) bool { return b.n == size })
			count := 0
			for _, b := range buckets {
				if b.n == size {
					count++
				}
			}
			if count <= 5 {
				break
			}
			merged := buckets[first].plus(buckets[first+1])
			buckets = slices.Replace(buckets, first, first+2, merged)
		}
		n++
		return n%32 == 0 && n > 10 && adwinCut(buckets, delta)
	}
}

func adwinCut(buckets []adwinBucket, delta float64) bool {
	var all adwinBucket
	for _, b := range buckets {
		all = all.plus(b)
	}
	confidence := math.Log(2 * math.Log(all.n) / delta)
	var old adwinBucket
	for _, b := range buckets[:len(buckets)-1] {
		old = old.plus(b)
		n0, n1 := old.n, all.n-old.n
		if n0 < 5 || n1 < 5 {
			continue
		}
		m := 1/(n0-4) + 1/(n1-4)
		epsilon := math.Sqrt(2*m*all.squares/all.n*confidence) + 2.0/3*confidence*m
		if math.Abs(old.sum/n0-(all.sum-old.sum)/n1) > epsilon {
			return true
		}
	}
	return false
}
