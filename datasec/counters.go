package datasec

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// counters is a table of 2^order saturating counters, in pages that exist once
// something in them was counted. Saturation keeps addition commutative and
// associative.
type counters struct {
	order int
	pages [][]uint32
}

const pageOrder = 10

func newCounters(order int) counters {
	return counters{order, make([][]uint32, 1<<(order-pageOrder))}
}

// slot is the place of a hash: its upper bits, which [mix] made as good as any.
func (c *counters) slot(h uint64) uint32 { return uint32(h >> (64 - c.order)) }

func (c *counters) at(slot uint32) uint32 {
	if p := c.pages[slot>>pageOrder]; p != nil {
		return p[slot&(1<<pageOrder-1)]
	}
	return 0
}

func (c *counters) add(slot, n uint32) {
	p := &c.pages[slot>>pageOrder]
	if *p == nil {
		*p = make([]uint32, 1<<pageOrder)
	}
	v := &(*p)[slot&(1<<pageOrder-1)]
	sum, carry := bits.Add32(*v, n, 0)
	if carry != 0 {
		sum = math.MaxUint32
	}
	*v = sum
}

// each calls f for every counter above zero, in order.
func (c *counters) each(f func(slot, n uint32)) {
	for i, p := range c.pages {
		for j, n := range p {
			if n != 0 {
				f(uint32(i)<<pageOrder|uint32(j), n)
			}
		}
	}
}

func (c *counters) merge(d *counters) { d.each(c.add) }

func (c *counters) append(b []byte) []byte {
	used := uint64(0)
	c.each(func(uint32, uint32) { used++ })
	b = binary.AppendUvarint(b, used)
	next := uint32(0)
	c.each(func(slot, n uint32) {
		b = binary.AppendUvarint(b, uint64(slot-next))
		b = binary.AppendUvarint(b, uint64(n))
		next = slot + 1
	})
	return b
}

func (c *counters) read(r *stateReader) {
	next := uint64(0)
	for range r.count(2) {
		gap, n := r.uint(), r.uint()
		if gap >= 1<<c.order-next || n == 0 || n > math.MaxUint32 {
			r.fail("counter out of range")
		}
		if r.err != nil {
			return
		}
		c.add(uint32(next+gap), uint32(n))
		next += gap + 1
	}
}

// logTable holds binary logarithms of 1 to its length in units of 2^-16,
// computed in integers: floating-point logarithms differ between machines, and
// here they decide a bit.
type logTable []int32

func newLogTable(n int) logTable {
	t := make(logTable, n)
	for i := range t {
		t[i] = int32(log2(uint64(i + 1)))
	}
	return t
}

func (t logTable) of(x uint32) int64 {
	if x >= 1 && int64(x) <= int64(len(t)) {
		return int64(t[x-1])
	}
	return log2(uint64(x))
}

// log2 is the binary logarithm of x > 0 in units of 2^-16, rounded down, by
// repeated squaring of the mantissa.
func log2(x uint64) int64 {
	n := bits.Len64(x) - 1
	m := x << (63 - n) // mantissa in [1, 2), 63 bits behind the point
	result := int64(n)
	for range 16 {
		result <<= 1
		hi, lo := bits.Mul64(m, m) // 126 bits behind the point
		if hi>>63 == 1 {
			result++
			m = hi
		} else {
			m = hi<<1 | lo>>63
		}
	}
	return result
}
