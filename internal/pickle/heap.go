package pickle

import (
	"math"
	"slices"
)

// A value is an abstract value of the machine in 16 bytes, so that a stack or
// a memo of a million is a plain slice that the collector need not look into.
//
//	Int, Bool, Float   at: the number; n: 1 when it stands in the file instead,
//	                   at then being the offset of its bytes and n their count+1
//	Str, Bytes         at: offset of the bytes, n: how many (saturated)
//	containers         n: node, or noNode when the heap was full
//	GlobalRef          n: index of the global, at: override+1, see machine.override
//	Object             at: index of the call or -1, n: index+1 of the class's global
type value struct {
	at  int64
	n   uint32
	typ Type
	enc encoding
}

const (
	noNode = math.MaxUint32

	// present marks a memo entry as set; it is kept in value.enc.
	present encoding = 0x80

	// Items kept of one container: all of the first few, then only those that
	// could matter, because they are no plain data.
	keepPlain = 64
	keepLive  = 512
)

// A node is a container.
type node struct {
	items      int64 // added, kept or not
	head, tail uint32
	kept       uint32
}

type cell struct {
	value value
	next  uint32 // index+1
}

// push appends v. It doubles a full slice, where append would copy a large one
// four times on its way to twice its size.
func push[T any](s []T, v T) []T {
	if len(s) == cap(s) {
		s = grown(s)
	}
	return append(s, v)
}

func grown[T any](s []T) []T { return slices.Grow(s, max(len(s), 64)) }

// A heap holds the containers of a stream and what is kept of their items.
// When it is full, new containers are opaque: their items are unknown.
type heap struct {
	nodes []node
	cells []cell
	max   int
	full  bool
}

func (h *heap) reset() { h.nodes, h.cells = h.nodes[:0], h.cells[:0] }

func (h *heap) container(t Type) value {
	if len(h.nodes) >= h.max {
		h.full = true
		return value{typ: t, n: noNode}
	}
	if len(h.nodes) == cap(h.nodes) {
		h.nodes = grown(h.nodes)
	}
	h.nodes = append(h.nodes, node{})
	return value{typ: t, n: uint32(len(h.nodes) - 1)}
}

// add appends an item to c.
func (h *heap) add(c, v value) {
	if c.n == noNode {
		return
	}
	n := &h.nodes[c.n]
	n.items++
	if n.kept < keepPlain || n.kept < keepLive && !v.plain() {
		h.keep(n, v)
	}
}

// pair appends a key and its value to c; both are kept, or neither.
func (h *heap) pair(c, key, v value) {
	if c.n == noNode {
		return
	}
	n := &h.nodes[c.n]
	n.items += 2
	if n.kept < keepPlain || n.kept < keepLive && !(key.plain() && v.plain()) {
		h.keep(n, key)
		h.keep(n, v)
	}
}

func (h *heap) keep(n *node, v value) {
	if len(h.cells) >= h.max {
		h.full = true
		return
	}
	if len(h.cells) == cap(h.cells) {
		h.cells = grown(h.cells)
	}
	h.cells = append(h.cells, cell{value: v})
	ref := uint32(len(h.cells))
	if n.tail == 0 {
		n.head = ref
	} else {
		h.cells[n.tail-1].next = ref
	}
	n.tail = ref
	n.kept++
}

// plain reports whether v is data that cannot run.
func (v value) plain() bool {
	switch v.typ {
	case None, Bool, Int, Float, Str, Bytes:
		return true
	}
	return false
}

// each calls f for the kept items of c until it returns false.
func (h *heap) each(c value, f func(value) bool) {
	if c.n == noNode {
		return
	}
	for ref := h.nodes[c.n].head; ref != 0; ref = h.cells[ref-1].next {
		if !f(h.cells[ref-1].value) {
			return
		}
	}
}

// at returns the k-th kept item of c.
func (h *heap) at(c value, k int) (v value, ok bool) {
	h.each(c, func(item value) bool {
		if k == 0 {
			v, ok = item, true
		}
		k--
		return k >= 0
	})
	return v, ok
}

func (h *heap) len(c value) int64 {
	if c.n == noNode {
		return math.MaxInt32
	}
	return h.nodes[c.n].items
}

// A memo maps keys to values. Picklers number from 0, so it is a slice with a
// map for whatever lies far beyond its end.
type memo struct {
	dense  []value
	sparse map[int64]value
	odd    map[string]value // keys that are no int64
	n      int              // keys set
}

func (m *memo) reset() {
	clear(m.dense)
	m.dense, m.sparse, m.odd, m.n = m.dense[:0], nil, nil, 0
}

func (m *memo) get(k int64) (value, bool) {
	if uint64(k) < uint64(len(m.dense)) {
		v := m.dense[k]
		if v.enc&present != 0 {
			v.enc &^= present
			return v, true
		}
	}
	v, ok := m.sparse[k]
	return v, ok
}

// put sets k, unless that would be more than max entries, and reports whether
// k was set before.
func (m *memo) put(k int64, v value, max int) (again, full bool) {
	const gap = 64
	if k >= 0 && k < int64(len(m.dense))+gap && k < int64(max) {
		for int64(len(m.dense)) <= k {
			m.dense = push(m.dense, value{})
		}
		again = m.dense[k].enc&present != 0
		if _, ok := m.sparse[k]; ok {
			again = true
			delete(m.sparse, k)
		} else if !again {
			m.n++
		}
		v.enc |= present
		m.dense[k] = v
		return again, false
	}
	if _, ok := m.sparse[k]; ok {
		m.sparse[k] = v
		return true, false
	}
	if m.n >= max {
		return false, true
	}
	if m.sparse == nil {
		m.sparse = make(map[int64]value)
	}
	m.sparse[k] = v
	m.n++
	return false, false
}

func (m *memo) getOdd(k string) (value, bool) { v, ok := m.odd[k]; return v, ok }

func (m *memo) putOdd(k string, v value, max int) (again, full bool) {
	if _, again = m.odd[k]; !again {
		if m.n >= max {
			return false, true
		}
		m.n++
	}
	if m.odd == nil {
		m.odd = make(map[string]value)
	}
	m.odd[k] = v
	return again, false
}
