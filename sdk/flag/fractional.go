package flag

import (
	"math"
	"math/bits"
)

// maxWeight bounds the sum of the weights of one fractional.
const maxWeight = math.MaxInt32

// draw is a fractional whose buckets are fixed: where each ends, and what it gives.
type draw struct {
	by    *logic // nil for the flag's key and the targeting key
	total uint64
	ends  []uint64
	gives []logicValue
}

// fixedDraw prepares a fractional whose buckets are all literals of the right form; nil for any other.
func fixedDraw(n *logic) *draw {
	d := &draw{}
	args := n.args
	if len(args) > 0 && (args[0].op == opVar || args[0].op == opConcat || args[0].op == opLit && args[0].lit.kind == kindStr) {
		d.by, args = &args[0], args[1:]
	}
	for i := range args {
		if args[i].op != opLit {
			return nil
		}
	}
	list, valid, _ := new(logicRun).buckets(args, nil)
	for _, b := range list {
		d.total += uint64(min(b.weight, maxWeight+1))
		d.ends, d.gives = append(d.ends, d.total), append(d.gives, b.variant)
	}
	if !valid || d.total > maxWeight || len(list) == 0 {
		return nil
	}
	return d
}

// of returns what the bucket of a hash gives.
func (d *draw) of(hash uint32) logicValue {
	at := uint64(hash) * d.total >> 32
	for i, end := range d.ends {
		if end > at {
			return d.gives[i]
		}
	}
	return logicValue{}
}

// fixed evaluates a prepared fractional; !done when the first argument is no text, which makes it a bucket.
func (r *logicRun) fixed(d *draw) (v logicValue, done, ok bool) {
	if d.by == nil {
		if r.ctx.key.str == "" {
			return v, true, true
		}
		return d.of(murmur3(r.key, r.ctx.key.str)), true, true
	}
	by, ok := r.eval(d.by)
	if !ok || by.kind != kindStr {
		return v, !ok, ok
	}
	return d.of(murmur3(by.str, "")), true, true
}

// fractional is flagd's (version 2, of 2026): the murmur3 hash of the first argument, if that is a text, else of the flag's
// key and the targeting key together, times the sum of the weights, shifted right by 32, falls into one of the buckets
// [variant, weight]. null where flagd has no result: no targeting key, a bucket of another form, a weight that is not whole.
func (r *logicRun) fractional(n *logic) (v logicValue, ok bool) {
	if n.draw != nil {
		if v, done, ok := r.fixed(n.draw); done {
			return v, ok
		}
	}
	args := n.args
	if len(args) == 0 {
		return v, true
	}
	by := ""
	first, ok := r.bucketValue(&args[0])
	if !ok {
		return v, false
	}
	if first.kind == kindStr {
		by, args = first.str, args[1:]
	}
	var fixed [8]bucket
	list, valid, ok := r.buckets(args, fixed[:0])
	if !ok {
		return v, false
	}
	var hash uint32
	switch {
	case first.kind == kindStr:
		hash = murmur3(by, "")
	case r.ctx.key.str == "":
		return v, true
	default:
		hash = murmur3(r.key, r.ctx.key.str)
	}
	total := 0.0
	for i := range list {
		total += list[i].weight
	}
	if !valid || total > maxWeight {
		return v, true
	}
	at, sum := uint64(hash)*uint64(total)>>32, uint64(0)
	for i := range list {
		if sum += uint64(list[i].weight); sum > at {
			return list[i].variant, true
		}
	}
	return v, true
}

type bucket struct {
	variant logicValue
	weight  float64
}

// bucketValue evaluates the first argument unless it is a bucket itself, which buckets will.
func (r *logicRun) bucketValue(n *logic) (logicValue, bool) {
	if n.op == opArray {
		return logicValue{kind: kindList}, true
	}
	return r.eval(n)
}

// buckets evaluates them; !valid when one has not the form [variant] or [variant, weight].
func (r *logicRun) buckets(args []logic, list []bucket) (_ []bucket, valid, ok bool) {
	valid = true
	for i := range args {
		b := bucket{weight: 1}
		count := 0
		for j := range 2 {
			v, has, ok := r.part(&args[i], j)
			if !ok {
				return list, false, false
			}
			if !has {
				break
			}
			count++
			if j == 0 {
				b.variant = v
				valid = valid && !v.isObject()
				continue
			}
			valid = valid && v.kind == kindNum && v.num == math.Trunc(v.num) && !math.IsInf(v.num, 0)
			b.weight = max(0, v.num)
		}
		valid = valid && count > 0 && size(&args[i]) <= 2
		list = append(list, b)
	}
	return list, valid, true
}

// size is the number of elements of a bucket; 3, which no bucket has, for what is no array.
func size(n *logic) int {
	switch {
	case n.op == opArray:
		return len(n.args)
	case n.op == opLit && n.lit.items != nil:
		return len(*n.lit.items)
	}
	return 3
}

// part evaluates an element of a bucket.
func (r *logicRun) part(n *logic, i int) (v logicValue, has, ok bool) {
	switch {
	case n.op == opArray && i < len(n.args):
		v, ok = r.eval(&n.args[i])
		return v, true, ok
	case n.op == opLit && n.lit.items != nil && i < len(*n.lit.items):
		return (*n.lit.items)[i], true, true
	}
	return v, false, true
}

// murmur is MurmurHash3_x86_32 with seed 0 (Appleby), taken in pieces.
type murmur struct {
	h    uint32
	k    uint32 // the last n%4 bytes
	n, r uint32 // bytes taken, and eight times n%4
}

const murmur1, murmur2 = 0xcc9e2d51, 0x1b873593

// add takes the bytes of s.
func (m *murmur) add(s string) {
	m.n += uint32(len(s))
	for len(s) >= 4 {
		w := le32(s)
		s = s[4:]
		m.word(m.k | w<<m.r)
		m.k = uint32(uint64(w) >> (32 - m.r))
	}
	for i := range len(s) {
		m.k |= uint32(s[i]) << m.r
		if m.r += 8; m.r == 32 {
			m.word(m.k)
			m.k, m.r = 0, 0
		}
	}
}

func (m *murmur) word(k uint32) {
	m.h ^= bits.RotateLeft32(k*murmur1, 15) * murmur2
	m.h = bits.RotateLeft32(m.h, 13)*5 + 0xe6546b64
}

// sum returns the hash of what was taken. More may be added afterwards.
func (m murmur) sum() uint32 {
	h := m.h ^ bits.RotateLeft32(m.k*murmur1, 15)*murmur2 ^ m.n
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

// murmur3 is the hash of a followed by b.
func murmur3(a, b string) uint32 {
	var m murmur
	m.add(a)
	m.add(b)
	return m.sum()
}
