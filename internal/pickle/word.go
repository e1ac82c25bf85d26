package pickle

import (
	"encoding/binary"
	"math"
)

// A value is an abstract value of the machine in one word, so that a stack, a
// memo and a heap of millions are plain memory that the collector need not look
// into. From the lowest bit: 4 of the type, 3 of the encoding, 1 for the memo,
// and 56 for
//
//	Bool, Int          the number; Int has the encoding inline then
//	Int, Float         else, as Str and Bytes: the literal in the file
//	Str, Bytes         16 of the length and 40 of the offset; with a length of
//	                   longLiteral the offset is an index of machine.longs
//	containers         node, or noNode when the heap was full
//	GlobalRef          26 of the global's index, 30 of override+1, see machine.overrides
//	Object             28 of the call's index+1 or 0, 28 of the class's global+1 or 0
//
// What stands in the file is read again when it is wanted, which is seldom.
type value uint64

const (
	unknown value = 0 // the zero value

	longLiteral = 1<<16 - 1
	maxOffset   = 1 << 40
	noNode      = math.MaxUint32

	// present marks a memo entry as set.
	present value = 1 << 7
)

// A long is a literal whose place does not fit in a word.
type long struct {
	at int64
	n  uint32 // saturated
}

func (v value) typ() Type     { return Type(v & 15) }
func (v value) enc() encoding { return encoding(v >> 4 & 7) }

// plain reports whether v is data that cannot run.
func (v value) plain() bool { return v.typ()-None <= Bytes-None }

// node is the node of a container.
func (v value) node() uint32 { return uint32(v >> 8) }

func container(t Type, node uint32) value { return value(t) | value(node)<<8 }

func (v value) as(t Type) value { return v&^15 | value(t) }

func globalRef(global, override int) value {
	return value(GlobalRef) | value(global)<<8 | value(override)<<34
}

func (v value) global() int   { return int(v >> 8 & (1<<26 - 1)) }
func (v value) override() int { return int(v >> 34) }

func object(call, class int) value {
	return value(Object) | value(call+1)<<8 | value(class+1)<<36
}

func (v value) call() int  { return int(v>>8&(1<<28-1)) - 1 }
func (v value) class() int { return int(v>>36) - 1 }

func boolean(b bool) value {
	if b {
		return value(Bool) | 1<<8
	}
	return value(Bool)
}

// small is the Int x, which 56 bits must hold.
func small(x int64) value { return value(Int) | value(inline)<<4 | value(x)<<8 }

// holds reports whether 56 bits hold x.
func holds(x int64) bool { return x<<8>>8 == x }

// literal is a literal of n bytes at off. It is unknown when there are too many
// long ones, which takes a file of terabytes.
func (m *machine) literal(t Type, e encoding, off int64, n uint64) value {
	if n < longLiteral && off < maxOffset {
		return short(t, e, off, n)
	}
	if len(m.longs) >= m.lim.Memo {
		m.heap.full = true
		return unknown
	}
	m.longs = append(m.longs, long{off, uint32(min(n, math.MaxUint32))})
	return short(t, e, int64(len(m.longs)-1), longLiteral)
}

func short(t Type, e encoding, off int64, n uint64) value {
	return value(t) | value(e)<<4 | value(n)<<8 | value(off)<<24
}

// span is where the bytes of a literal stand, and how many they are.
func (m *machine) span(v value) (off, n int64) {
	off, n = int64(v>>24), int64(v>>8&longLiteral)
	if n == longLiteral {
		l := m.longs[off]
		return l.at, int64(l.n)
	}
	return off, n
}

// integer is the value of an Int, when 64 bits hold it.
func (m *machine) integer(v value) (x int64, ok bool) {
	if v.enc() == inline {
		return int64(v) >> 8, true
	}
	off, n := m.span(v)
	if v.enc() == raw {
		return littleEndian(m.in.bytes(off, min(n, 8), &m.scratch)), n <= 8
	}
	if n > maxNumber {
		return 0, false
	}
	num := parseInt(m.in.bytes(off, n, &m.scratch), true)
	return num.value, num.ok && num.text == ""
}

// littleEndian is the two's complement of at most 8 bytes.
func littleEndian(b []byte) int64 {
	var x uint64
	for i, c := range b {
		x |= uint64(c) << (8 * i)
	}
	if unused := 64 - 8*len(b); len(b) > 0 {
		return int64(x<<unused) >> unused
	}
	return 0
}

// float is the bits of a Float that stands in the file as 8 bytes.
func (m *machine) float(v value) (bits uint64, ok bool) {
	if v.enc() != raw {
		return 0, false
	}
	off, _ := m.span(v)
	var b [8]byte
	copy(b[:], m.in.bytes(off, 8, &m.scratch))
	return binary.BigEndian.Uint64(b[:]), true
}
