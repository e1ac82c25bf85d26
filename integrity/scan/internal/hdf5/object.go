package hdf5

import (
	"bytes"
	"fmt"
)

// Types of messages that say where something is or what it is called.
const (
	msgLinkInfo      = 0x02
	msgDatatype      = 0x03
	msgLink          = 0x06
	msgExternal      = 0x07
	msgLayout        = 0x08
	msgFilters       = 0x0b
	msgAttribute     = 0x0c
	msgContinuation  = 0x10
	msgSymbolTable   = 0x11
	msgAttributeInfo = 0x15
)

// follow puts an object on the list of those to be walked.
func (w *walker) follow(at int64, path string) {
	if at < 0 || w.seen[at] {
		return
	}
	if w.paths += len(path) + 32; w.paths > MaxBlock {
		path = ""
	}
	w.todo = append(w.todo, object{at, path})
}

// object reads one object header.
func (w *walker) object(o object) error {
	if fresh, err := w.once(o.at); err != nil || !fresh {
		return err
	}
	head, err := w.read(o.at, min(48, w.size-o.at))
	if err != nil {
		return err
	}
	h := &header{w: w, path: o.path}
	if len(head) >= 16 && head[0] == 1 {
		size := int64(le.Uint32(head[8:]))
		b, err := w.block(o.at, 16+size)
		if err != nil {
			return err
		}
		return h.messages(b[16:], o.at+16)
	}
	start, size, err := w.chunk0(head, o.at)
	if err != nil {
		return err
	}
	h.v2, h.ordered = true, head[5]&4 != 0
	b, err := w.block(o.at, start+size+4)
	if err != nil {
		return err
	}
	return h.messages(b[start:start+size], o.at+start)
}

// A header is an object whose messages are being read.
type header struct {
	w       *walker
	path    string
	v2      bool
	ordered bool // messages carry the order of their creation
	blocks  int
}

// maxBlocks bounds the continuations of one header.
const maxBlocks = 4096

func (h *header) messages(b []byte, at int64) error {
	for len(b) >= 4 {
		var kind, size int
		var flags byte
		n := 4
		if h.v2 {
			if h.ordered {
				n = 6
			}
			kind, size, flags = int(b[0]), int(le.Uint16(b[1:])), b[3]
		} else {
			n = 8
			if len(b) < n {
				break
			}
			kind, size, flags = int(le.Uint16(b)), int(le.Uint16(b[2:])), b[4]
		}
		if n+size > len(b) {
			if h.v2 && kind == 0 {
				break // a gap at the end
			}
			return malformed(at, "a message of %d bytes with %d left", size, len(b))
		}
		body := b[n : n+size]
		if err := h.w.soft(at, h.message(kind, flags, body, at+int64(n))); err != nil {
			return err
		}
		b, at = b[n+size:], at+int64(n+size)
	}
	return nil
}

func (h *header) message(kind int, flags byte, b []byte, at int64) error {
	w := h.w
	c := w.cursor(b)
	if flags&2 != 0 {
		switch kind {
		case msgLink, msgExternal, msgLayout, msgAttribute, msgFilters:
			return malformed(at, "a message of type %#x that is kept elsewhere", kind)
		}
		return nil
	}
	switch kind {
	case msgContinuation:
		return h.more(c.address(), c.length(), at)
	case msgSymbolTable:
		tree, heap := c.address(), c.address()
		return w.symbolTable(tree, heap, h.path)
	case msgLinkInfo, msgAttributeInfo:
		c.take(1)
		f := c.uint(1)
		if f&1 != 0 {
			c.take(map[int]int{msgLinkInfo: 8, msgAttributeInfo: 2}[kind])
		}
		heap, tree := c.address(), c.address()
		if heap < 0 || tree < 0 {
			return nil
		}
		return w.dense(heap, tree, func(b []byte, at int64) error {
			if kind == msgLinkInfo {
				return h.link(b, at)
			}
			return h.attribute(b, at)
		})
	case msgLink:
		return h.link(b, at)
	case msgAttribute:
		return h.attribute(b, at)
	case msgExternal:
		return h.external(c, at)
	case msgLayout:
		return h.layout(c, at)
	case msgFilters:
		return h.filters(c, at)
	}
	return nil
}

func (h *header) more(at, size, from int64) error {
	if h.blocks++; h.blocks > maxBlocks {
		return malformed(from, "more than %d continuations", maxBlocks)
	}
	if fresh, err := h.w.once(at); err != nil || !fresh {
		return err
	}
	b, err := h.w.block(at, size)
	if err != nil {
		return err
	}
	if h.v2 {
		if len(b) < 8 || string(b[:4]) != "OCHK" {
			return malformed(at, "no continuation of an object header")
		}
		return h.messages(b[4:len(b)-4], at+4)
	}
	return h.messages(b, at)
}

func (h *header) link(b []byte, at int64) error {
	w := h.w
	c := w.cursor(b)
	version, flags := c.uint(1), c.uint(1)
	kind := uint64(0)
	if flags&8 != 0 {
		kind = c.uint(1)
	}
	if flags&4 != 0 {
		c.take(8)
	}
	if flags&16 != 0 {
		c.take(1)
	}
	n := c.uint(1 << (flags & 3))
	name := string(c.take(int(min(n, MaxBlock))))
	if c.short || version != 1 {
		return malformed(at, "a link")
	}
	path := w.join(h.path, name)
	switch kind {
	case 0:
		w.follow(c.address(), path)
	case uint64(Soft):
		w.v.Link(path, Soft, string(c.take(int(c.uint(2)))), "", at)
	case uint64(External):
		v := w.cursor(c.take(int(c.uint(2))))
		v.take(1)
		file := v.name()
		w.v.Link(path, External, v.name(), file, at)
	default:
		w.v.Gap(fmt.Sprintf("a link of type %d, which programs define for themselves", kind), at)
	}
	if c.short {
		return malformed(at, "a link")
	}
	return nil
}

// external reads which other files the data of a dataset is in.
func (h *header) external(c *cursor, at int64) error {
	c.take(4)
	c.take(2)
	used := c.uint(2)
	heap, err := h.w.localHeap(c.address())
	if err != nil {
		return err
	}
	for range used {
		off := c.length()
		c.length()
		c.length()
		if c.short {
			return malformed(at, "a list of external files")
		}
		name, ok := indexed(heap, off)
		if !ok {
			return malformed(at, "the name of an external file")
		}
		h.w.v.Storage(h.path, name, at)
	}
	return nil
}

func (h *header) filters(c *cursor, at int64) error {
	version, n := c.uint(1), c.uint(1)
	if version == 1 {
		c.take(6)
	}
	for range n {
		id := c.uint(2)
		name := uint64(0)
		if version == 1 || id >= 256 {
			name = c.uint(2)
		}
		c.take(2)
		values := c.uint(2)
		if version == 1 {
			name = (name + 7) &^ 7
			if values%2 != 0 {
				values++
			}
		}
		c.take(int(name))
		c.take(int(4 * values))
		if c.short {
			return malformed(at, "a list of filters")
		}
		h.w.v.Filter(h.path, int(id), at)
	}
	return nil
}

// layout reads where the data of a dataset is, to claim it.
func (h *header) layout(c *cursor, at int64) error {
	w := h.w
	version := c.uint(1)
	if version < 3 {
		rank := c.uint(1)
		class := c.uint(1)
		c.take(5)
		switch class {
		case 1:
			w.all = true // the size is that of type and space
		case 2:
			return w.chunks(c.address(), int64(rank))
		}
		return nil
	}
	switch class := c.uint(1); class {
	case 0:
	case 1:
		data, n := c.address(), c.length()
		if data < 0 || n == 0 {
			return nil
		}
		if data > w.size || n > w.size-data {
			return malformed(at, "data at %d+%d of %d bytes", data, n, w.size)
		}
		w.v.Claim(data, n)
	case 2:
		if version > 3 {
			w.all = true // one of five more kinds of index
			return nil
		}
		rank := c.uint(1)
		return w.chunks(c.address(), int64(rank))
	case 3:
		return h.virtual(c.address(), uint16(c.uint(4)), at)
	default:
		return malformed(at, "a layout of class %d", class)
	}
	return nil
}

// virtual reads which datasets of which files a dataset is made of.
func (h *header) virtual(heap int64, index uint16, at int64) error {
	if heap < 0 {
		return nil
	}
	b, err := h.w.global(heap, index)
	if err != nil {
		return err
	}
	c := h.w.cursor(b)
	version, n := c.uint(1), c.length()
	if version != 0 {
		h.w.v.Gap(fmt.Sprintf("a virtual dataset of version %d", version), at)
		return nil
	}
	for range n {
		file := c.name()
		c.name()
		if c.short {
			return malformed(at, "a virtual dataset")
		}
		h.w.v.Virtual(h.path, file, at)
		for range 2 { // of the source, then of the virtual dataset
			if !selection(c) {
				return malformed(at, "a selection of a virtual dataset")
			}
		}
	}
	return nil
}

// selection skips what part of a dataset is meant.
func selection(c *cursor) bool {
	kind, version := c.uint(4), c.uint(4)
	switch {
	case kind == 0 || kind == 3:
		c.take(8)
	case version == 1:
		c.take(4)
		c.take(int(c.uint(4)))
	case version == 2:
		c.take(1)
		c.take(int(c.uint(4)))
	case kind == 2 && version == 3:
		regular, size, rank := c.uint(1)&1 != 0, int(c.uint(1)), int(c.uint(4))
		if size > 8 || rank > 32 {
			return false
		}
		if regular {
			c.take(4 * rank * size)
			break
		}
		n := c.uint(size)
		if n > MaxBlock {
			return false
		}
		c.take(2 * rank * size * int(n))
	default:
		return false
	}
	return !c.short
}

// attribute reads the name and, when it is text, the value of an attribute.
func (h *header) attribute(b []byte, at int64) error {
	c := h.w.cursor(b)
	version, flags := c.uint(1), c.uint(1)
	nameLen, typeLen, spaceLen := int(c.uint(2)), int(c.uint(2)), int(c.uint(2))
	pad := func(n int) int { return n }
	switch version {
	case 1:
		flags = 0
		pad = func(n int) int { return (n + 7) &^ 7 }
	case 2:
	case 3:
		c.take(1)
	default:
		return malformed(at, "an attribute of version %d", version)
	}
	raw := c.take(pad(nameLen))
	typ, space := c.take(pad(typeLen)), c.take(pad(spaceLen))
	if c.short {
		return malformed(at, "an attribute")
	}
	name, ok := indexed(raw, 0)
	if !ok {
		name = string(raw)
	}
	v := Value{Kind: "other"}
	if flags&3 == 1 {
		named, err := h.w.named(typ, at)
		if err != nil {
			return err
		}
		typ, flags = named, 0
	}
	if flags&3 != 0 || typ == nil { // type or space in the heap of shared messages
		h.w.v.Attribute(h.path, name, at, v)
		return nil
	}
	n, ok := elements(h.w.cursor(space))
	if !ok || len(typ) < 8 {
		return malformed(at, "type or space of an attribute")
	}
	size := int64(le.Uint32(typ[4:]))
	switch class := typ[0] & 15; {
	case class == 0 || class == 1:
		v.Kind = "number"
	case class == 3:
		v.Kind = "text"
		if size > MaxBlock || n > MaxBlock || n*max(size, 1) > int64(len(c.b)) {
			return malformed(at, "an attribute of %d texts of %d bytes with %d left", n, size, len(c.b))
		}
		for range n {
			s, _, _ := bytes.Cut(c.take(int(size)), []byte{0})
			v.Texts = append(v.Texts, string(s))
		}
	case class == 9 && typ[1]&15 == 1:
		v.Kind = "text"
		if n > int64(len(c.b)) {
			return malformed(at, "an attribute of %d texts with %d bytes left", n, len(c.b))
		}
		total := 0
		for range n {
			length, heap, index := c.uint(4), c.address(), c.uint(4)
			if c.short {
				return malformed(at, "an attribute of %d texts", n)
			}
			if heap < 0 || length == 0 {
				v.Texts = append(v.Texts, "")
				continue
			}
			obj, err := h.w.global(heap, uint16(index))
			if err != nil {
				return err
			}
			s := string(obj[:min(uint64(len(obj)), length)])
			if total += len(s); total > MaxBlock {
				return malformed(at, "an attribute of more than %d bytes", MaxBlock)
			}
			v.Texts = append(v.Texts, s)
		}
	}
	h.w.v.Attribute(h.path, name, at, v)
	return nil
}

// elements is how many values a dataspace has.
func elements(c *cursor) (int64, bool) {
	version, rank := c.uint(1), int(c.uint(1))
	c.take(1)
	switch version {
	case 1:
		c.take(5)
	case 2:
		if c.uint(1) == 2 {
			return 0, !c.short
		}
	default:
		return 0, false
	}
	n := int64(1)
	for range rank {
		d := c.length()
		if d > 0 && n > (1<<40)/d {
			return 0, false
		}
		n *= d
	}
	return n, !c.short
}

// named returns the start of a type that is an object of its own: its class and
// size. It is nil for a type in the heap of shared messages.
func (w *walker) named(shared []byte, from int64) ([]byte, error) {
	c := w.cursor(shared)
	version, kind := c.uint(1), c.uint(1)
	switch {
	case version == 1:
		c.take(6)
	case version == 3 && kind != 2:
		return nil, nil
	}
	at := c.address()
	if c.short || at < 0 {
		return nil, malformed(from, "a type of another object")
	}
	if typ, known := w.types[at]; known {
		return typ[:], nil
	}
	if err := w.v.Spend(); err != nil {
		return nil, err
	}
	b, v2, ordered, err := w.firstMessages(at)
	if err != nil {
		return nil, err
	}
	head := 8
	switch {
	case ordered:
		head = 6
	case v2:
		head = 4
	}
	for len(b) >= head {
		var kind, size int
		var flags byte
		if v2 {
			kind, size, flags = int(b[0]), int(le.Uint16(b[1:])), b[3]
		} else {
			kind, size, flags = int(le.Uint16(b)), int(le.Uint16(b[2:])), b[4]
		}
		if b = b[head:]; size > len(b) {
			break
		}
		if kind == msgDatatype && flags&2 == 0 && size >= 8 {
			typ := [8]byte(b)
			w.types[at] = typ
			return typ[:], nil
		}
		b = b[size:]
	}
	return nil, malformed(at, "an object that is no type")
}

// firstMessages returns the messages of an object header up to its first
// continuation.
func (w *walker) firstMessages(at int64) (b []byte, v2, ordered bool, err error) {
	head, err := w.read(at, min(48, w.size-max(at, 0)))
	if err != nil {
		return nil, false, false, err
	}
	if len(head) >= 16 && head[0] == 1 {
		b, err := w.read(at, 16+int64(le.Uint32(head[8:])))
		if err != nil {
			return nil, false, false, err
		}
		return b[16:], false, false, nil
	}
	start, size, err := w.chunk0(head, at)
	if err != nil {
		return nil, false, false, err
	}
	b, err = w.read(at, start+size)
	if err != nil {
		return nil, false, false, err
	}
	return b[start:], true, head[5]&4 != 0, nil
}

// chunk0 tells where the messages of a header of version 2 are in it.
func (w *walker) chunk0(head []byte, at int64) (start, size int64, err error) {
	if len(head) < 8 || string(head[:4]) != "OHDR" || head[4] != 2 {
		return 0, 0, malformed(at, "no object header")
	}
	c := w.cursor(head[6:])
	if head[5]&0x20 != 0 {
		c.take(16)
	}
	if head[5]&0x10 != 0 {
		c.take(4)
	}
	size = int64(c.uint(1 << (head[5] & 3)))
	start = int64(len(head) - len(c.b))
	if c.short || size < 0 || size > MaxBlock {
		return 0, 0, malformed(at, "an object header of %d bytes", size)
	}
	return start, size, nil
}
