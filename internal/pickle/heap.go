package pickle

import "math"

const (
	// Items kept of one container: all of the first few, then only those that
	// could matter, because they are no plain data.
	keepPlain = 64
	keepLive  = 512
)

// A node is a container: first cells from head, then runs of cells behind a
// header each. A header holds the length of its run and the cell of the next
// header; the last leads back to the first.
type node struct {
	head, tail  uint32 // tail is the header of the last run, or 0
	items       uint32 // added, kept or not; saturated
	kept, first uint16
}

// A heap holds the containers of a stream and what is kept of their items.
// When it is full, new containers are opaque: their items are unknown.
type heap struct {
	nodes pages[node]
	cells pages[value]
	max   int // words; a node has two, a cell one
	full  bool
}

func (h *heap) reset() {
	h.nodes.reset()
	h.cells.reset()
}

func (h *heap) used() int { return 2*h.nodes.n + h.cells.n }

func (h *heap) container(t Type) value {
	if h.used()+2 > h.max {
		h.full = true
		return container(t, noNode)
	}
	made, at := h.nodes.take(1)
	made[0] = node{}
	return container(t, at)
}

// of makes a container of items.
func (h *heap) of(t Type, items []value) value {
	c := h.container(t)
	h.add(c, items)
	return c
}

// add appends items to c.
func (h *heap) add(c value, items []value) {
	if c.node() == noNode {
		return
	}
	n := h.nodes.at(c.node())
	n.items = uint32(min(uint64(n.items)+uint64(len(items)), math.MaxUint32))
	if room := max(keepPlain-int(n.kept), 0); room > 0 {
		some := min(room, len(items))
		h.keep(n, items[:some])
		items = items[some:]
	}
	for i := 0; i < len(items) && n.kept < keepLive; i++ {
		if !items[i].plain() {
			h.keep(n, items[i:i+1])
		}
	}
}

// pairs appends keys and their values to c; both are kept, or neither. There
// is an even number of items.
func (h *heap) pairs(c value, items []value) {
	if c.node() == noNode {
		return
	}
	n := h.nodes.at(c.node())
	n.items = uint32(min(uint64(n.items)+uint64(len(items)), math.MaxUint32))
	if room := max(keepPlain-int(n.kept), 0); room > 0 {
		some := min((room+1)&^1, len(items))
		h.keep(n, items[:some])
		items = items[some:]
	}
	for ; len(items) > 1 && n.kept < keepLive; items = items[2:] {
		if !items[0].plain() || !items[1].plain() {
			h.keep(n, items[:2])
		}
	}
}

// keep appends items to n: to its last run where that is the last of all, else
// as another.
func (h *heap) keep(n *node, items []value) {
	if len(items) == 0 {
		return
	}
	if h.used()+len(items)+1 > h.max {
		h.full = true
		return
	}
	n.kept += uint16(len(items))
	if n.first == 0 {
		var run []value
		run, n.head = h.cells.take(len(items))
		copy(run, items)
		n.first = uint16(len(items))
		return
	}
	end := n.head + uint32(n.first)
	if n.tail != 0 {
		end = n.tail + 1 + runLength(*h.cells.at(n.tail))
	}
	if int(end) == h.cells.n && h.cells.room() >= len(items) {
		run, _ := h.cells.take(len(items))
		copy(run, items)
		if n.tail != 0 {
			*h.cells.at(n.tail) += header(0, uint32(len(items)))
		} else {
			n.first += uint16(len(items))
		}
		return
	}
	run, at := h.cells.take(len(items) + 1)
	copy(run[1:], items)
	next := at
	if n.tail != 0 {
		last := h.cells.at(n.tail)
		next, *last = runNext(*last), header(at, runLength(*last))
	}
	run[0] = header(next, uint32(len(items)))
	n.tail = at
}

func header(next, length uint32) value { return value(next)<<32 | value(length) }
func runLength(h value) uint32         { return uint32(h) }
func runNext(h value) uint32           { return uint32(h >> 32) }

// each calls f for the kept items of c until it returns false.
func (h *heap) each(c value, f func(value) bool) {
	if c.node() == noNode {
		return
	}
	n := *h.nodes.at(c.node())
	if n.first == 0 {
		return
	}
	for _, v := range h.cells.slice(n.head, int(n.first)) {
		if !f(v) {
			return
		}
	}
	if n.tail == 0 {
		return
	}
	for at := runNext(*h.cells.at(n.tail)); ; {
		run := *h.cells.at(at)
		for _, v := range h.cells.slice(at+1, int(runLength(run))) {
			if !f(v) {
				return
			}
		}
		if at == n.tail {
			return
		}
		at = runNext(run)
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

// len is how many items were added to c.
func (h *heap) len(c value) int64 {
	if c.node() == noNode {
		return math.MaxInt32
	}
	return int64(h.nodes.at(c.node()).items)
}

// kept is how many items each calls its function for.
func (h *heap) kept(c value) int {
	if c.node() == noNode {
		return 0
	}
	return int(h.nodes.at(c.node()).kept)
}
