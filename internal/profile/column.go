package profile

import (
	"math"
	"strconv"
)

// column is what is kept of one column while rows come in.
type column struct {
	name     string
	kinds    [List + 1]uint64 // how many values of each kind
	nan, inf uint64
	number   moments         // of numbers, times and lengths of lists; finite ones
	nums     sample[float64] // finite
	texts    sample[string]  // texts and booleans, cut to maxText
	values   *tally
}

// maxText is how much of a text is kept, in bytes. Longer ones are cut and closed with their hash, so they stay apart.
const maxText = 48

func (c *column) add(v Cell, hash uint64) {
	c.kinds[v.Kind]++
	switch v.Kind {
	case Text:
		if at := c.texts.take(); at != nil {
			*at = cut(v.Text, hash)
		}
	case Bool:
		if at := c.texts.take(); at != nil {
			*at = strconv.FormatBool(v.Int != 0)
		}
	default:
		if !c.finite(v.number()) {
			return // NaN and the infinities are counted, not values
		}
	}
	c.values.add(hash)
}

// finite takes a number, and reports whether it is one.
func (c *column) finite(x float64) bool {
	switch {
	case math.IsNaN(x):
		c.nan++
		return false
	case math.IsInf(x, 0):
		c.inf++
		return false
	}
	c.number.add(x)
	if at := c.nums.take(); at != nil {
		*at = x
	}
	return true
}

// number is a cell as a number: the length of a list, the seconds of a time.
func (c Cell) number() float64 {
	if c.Kind == Float || c.Kind == Time {
		return c.Num
	}
	return float64(c.Int)
}

func cut(text []byte, hash uint64) string {
	if len(text) <= maxText {
		return string(text)
	}
	return string(text[:maxText-20]) + "…#" + strconv.FormatUint(hash, 16)
}

// moments are count, mean, spread and extremes, updated one value at a time. Source: Welford, Technometrics 4 (1962).
type moments struct {
	n              uint64
	mean, squares  float64
	least, highest float64
}

func (m *moments) add(x float64) {
	if m.n == 0 {
		m.least, m.highest = x, x
	}
	m.n++
	m.least, m.highest = min(m.least, x), max(m.highest, x)
	d := x - m.mean
	m.mean += d / float64(m.n)
	m.squares += d * (x - m.mean)
}

// sd is the standard deviation; 0 for fewer than two values.
func (m *moments) sd() float64 {
	if m.n < 2 {
		return 0
	}
	return math.Sqrt(m.squares / float64(m.n-1))
}
