package hdf5

import (
	"math/bits"
)

// localHeap returns the names of a group.
func (w *walker) localHeap(at int64) ([]byte, error) {
	h, err := w.read(at, int64(8+2*w.l+w.o))
	if err != nil {
		return nil, err
	}
	if string(h[:4]) != "HEAP" {
		return nil, malformed(at, "no local heap")
	}
	c := w.cursor(h[8:])
	size := c.length()
	c.length()
	data := c.address()
	if fresh, err := w.once(at); err != nil {
		return nil, err
	} else if !fresh {
		return w.read(data, size)
	}
	w.v.Claim(at, int64(len(h)))
	return w.block(data, size)
}

// symbolTable walks a group of the old kind.
func (w *walker) symbolTable(tree, heap int64, path string) error {
	if w.seen[tree] {
		return nil
	}
	names, err := w.localHeap(heap)
	if err != nil {
		return err
	}
	return w.btree(tree, 0, int64(w.l), 64, func(node int64, _ []byte) error {
		if fresh, err := w.once(node); err != nil || !fresh {
			return err
		}
		h, err := w.read(node, 8)
		if err != nil {
			return err
		}
		if string(h[:4]) != "SNOD" {
			return malformed(node, "no symbol table node")
		}
		n, size := int64(le.Uint16(h[6:])), int64(2*w.o+24)
		b, err := w.block(node, 8+n*size)
		if err != nil {
			return err
		}
		for i := range n {
			at := node + 8 + i*size
			c := w.cursor(b[8+i*size:])
			off := int64(c.uint(w.o) &^ (1 << 63))
			target, cache := c.address(), c.uint(4)
			c.take(4)
			name, ok := indexed(names, off)
			if !ok {
				return malformed(at, "the name of a link")
			}
			if cache == 2 {
				value, ok := indexed(names, int64(c.uint(4)))
				if !ok {
					return malformed(at, "the value of a soft link")
				}
				w.v.Link(w.join(path, name), Soft, value, "", at)
				continue
			}
			w.follow(target, w.join(path, name))
		}
		return nil
	})
}

// btree walks a tree of version 1 down to what its leaves point at.
func (w *walker) btree(at int64, kind byte, key int64, depth int, leaf func(at int64, key []byte) error) error {
	if fresh, err := w.once(at); err != nil || !fresh {
		return err
	}
	h, err := w.read(at, int64(8+2*w.o))
	if err != nil {
		return err
	}
	if string(h[:4]) != "TREE" || h[4] != kind || depth == 0 {
		return malformed(at, "no node of a tree")
	}
	level, n := h[5], int64(le.Uint16(h[6:]))
	b, err := w.block(at, int64(len(h))+n*(key+int64(w.o))+key)
	if err != nil {
		return err
	}
	c := w.cursor(b[len(h):])
	for range n {
		k := c.take(int(key))
		child := c.address()
		if c.short || child < 0 {
			return malformed(at, "a child without address")
		}
		err := error(nil)
		if level == 0 {
			err = leaf(child, k)
		} else {
			err = w.btree(child, kind, key, depth-1, leaf)
		}
		if err = w.soft(child, err); err != nil {
			return err
		}
	}
	return nil
}

// chunks claims the chunks of a dataset. Each key of its tree is the size of the
// chunk, its filters, and an offset for each dimension.
func (w *walker) chunks(at, rank int64) error {
	if at < 0 {
		return nil
	}
	return w.btree(at, 1, 8+8*rank, 64, func(chunk int64, key []byte) error {
		n := int64(le.Uint32(key))
		if chunk > w.size || n > w.size-chunk {
			return malformed(chunk, "a chunk of %d bytes beyond the end", n)
		}
		w.v.Claim(chunk, n)
		return nil
	})
}

// global returns an object of a global heap.
func (w *walker) global(at int64, index uint16) ([]byte, error) {
	heap, ok := w.heaps[at]
	if !ok {
		var err error
		if heap, err = w.globalHeap(at); err != nil {
			return nil, err
		}
		w.heaps[at] = heap
	}
	obj, ok := heap[index]
	if !ok {
		return nil, malformed(at, "object %d of a global heap", index)
	}
	return obj, nil
}

func (w *walker) globalHeap(at int64) (map[uint16][]byte, error) {
	if err := w.v.Spend(); err != nil {
		return nil, err
	}
	h, err := w.read(at, int64(8+w.l))
	if err != nil {
		return nil, err
	}
	if string(h[:4]) != "GCOL" {
		return nil, malformed(at, "no global heap")
	}
	c := w.cursor(h[8:])
	size := c.length()
	if w.held += int(min(size, MaxBlock)); w.held > 2*MaxBlock {
		clear(w.heaps) // they are read again when they are needed again
		w.held = int(min(size, MaxBlock))
	}
	b, err := w.read(at, size)
	if err != nil {
		return nil, err
	}
	if !w.seen[at] {
		w.seen[at] = true
		w.v.Claim(at, size)
	}
	heap := make(map[uint16][]byte)
	c = w.cursor(b[min(len(h), len(b)):])
	for len(c.b) >= 8+w.l {
		index := uint16(c.uint(2))
		c.take(6)
		n := c.length()
		if index == 0 {
			break // the rest is free
		}
		if n > int64(len(c.b)) {
			return nil, malformed(at, "an object of %d bytes in a global heap", n)
		}
		heap[index] = c.take(int(n))
		c.take(min(int(-n&7), len(c.b)))
	}
	return heap, nil
}

// dense calls back for each message that a heap keeps because there are many.
func (w *walker) dense(heap, tree int64, each func(b []byte, at int64) error) error {
	f, err := w.fractalHeap(heap)
	if err != nil || f == nil {
		return err
	}
	return w.btree2(tree, func(kind byte, record []byte) error {
		id := record
		switch kind {
		case 5: // a hash, then the id
			id = record[min(4, len(record)):]
		case 8: // the id, then flags, order and hash
		default:
			return malformed(tree, "a tree of type %d", kind)
		}
		if len(id) < f.id {
			return malformed(tree, "a record of %d bytes", len(record))
		}
		b, at, err := f.object(id[:f.id])
		if err != nil {
			return err
		}
		return each(b, at)
	})
}

// btree2 walks the records of a tree of version 2.
func (w *walker) btree2(at int64, record func(kind byte, b []byte) error) error {
	if fresh, err := w.once(at); err != nil || !fresh {
		return err
	}
	h, err := w.block(at, int64(16+w.o+2+w.l+4))
	if err != nil {
		return err
	}
	if string(h[:4]) != "BTHD" {
		return malformed(at, "no tree of version 2")
	}
	t := tree2{w: w, kind: h[5], node: int64(le.Uint32(h[6:])), record: int(le.Uint16(h[10:])), each: record}
	depth := int(le.Uint16(h[12:]))
	c := w.cursor(h[16:])
	root, n := c.address(), int(c.uint(2))
	if root < 0 {
		return nil
	}
	if t.record == 0 || depth > 32 || t.node < 16 || t.node > MaxBlock {
		return malformed(at, "records of %d bytes in nodes of %d, %d deep", t.record, t.node, depth)
	}
	// The sizes of the counts in a node follow from what its children can hold.
	most := (t.node - 10) / int64(t.record)
	t.count = encoded(uint64(max(most, 1)))
	cum := uint64(most)
	t.total = []int{0}
	for range depth {
		ptr := int64(w.o + t.count + t.total[len(t.total)-1])
		most := uint64(max((t.node-10-ptr)/(int64(t.record)+ptr), 0))
		if hi, _ := bits.Mul64(most+1, cum); hi > 0 {
			return malformed(at, "a tree %d deep", depth)
		}
		cum = (most+1)*cum + most
		t.total = append(t.total, encoded(max(cum, 1)))
	}
	return t.walk(root, n, depth)
}

type tree2 struct {
	w      *walker
	kind   byte
	node   int64
	record int
	count  int   // bytes of the number of a child's records
	total  []int // bytes of the number of all below, by depth
	each   func(kind byte, b []byte) error
}

func (t *tree2) walk(at int64, n, depth int) error {
	w := t.w
	if fresh, err := w.once(at); err != nil || !fresh {
		return err
	}
	b, err := w.block(at, t.node)
	if err != nil {
		return err
	}
	sig := "BTLF"
	if depth > 0 {
		sig = "BTIN"
	}
	if string(b[:4]) != sig || n*t.record > len(b)-6 {
		return malformed(at, "no node of a tree of version 2")
	}
	for i := range n {
		r := b[6+i*t.record:]
		if err := w.soft(at, t.each(t.kind, r[:t.record])); err != nil {
			return err
		}
	}
	if depth == 0 {
		return nil
	}
	c := w.cursor(b[6+n*t.record:])
	for range n + 1 {
		child, m := c.address(), int(c.uint(t.count))
		if depth > 1 {
			c.uint(t.total[depth-1])
		}
		if c.short {
			return malformed(at, "a node of a tree of version 2")
		}
		if err := w.soft(child, t.walk(child, m, depth-1)); err != nil {
			return err
		}
	}
	return nil
}

// A fractalHeap keeps messages in blocks whose sizes double row by row.
type fractalHeap struct {
	w      *walker
	id     int // bytes of an id
	offset int // of which the offset takes
	length int
	width  int64
	start  int64 // size of the blocks of the first two rows
	direct int   // rows of blocks that hold data
	root   int64
	rows   int // of the root, 0 when that is such a block
	huge   int64
	large  map[uint64][2]int64
}

func (w *walker) fractalHeap(at int64) (*fractalHeap, error) {
	if err := w.v.Spend(); err != nil {
		return nil, err
	}
	h, err := w.block(at, int64(26+12*w.l+3*w.o))
	if err != nil {
		return nil, err
	}
	if string(h[:4]) != "FRHP" {
		return nil, malformed(at, "no fractal heap")
	}
	c := w.cursor(h[5:])
	f := &fractalHeap{w: w, id: int(c.uint(2))}
	filters := c.uint(2)
	c.take(1)
	biggest := c.uint(4)
	c.length()
	f.huge = c.address()
	c.length()
	c.address()
	for range 8 {
		c.length()
	}
	f.width, f.start = int64(c.uint(2)), c.length()
	maxDirect := c.length()
	heapBits := int(c.uint(2))
	c.take(2)
	f.root, f.rows = c.address(), int(c.uint(2))
	switch {
	case filters != 0:
		w.v.Gap("messages that are compressed", at)
		return nil, nil
	case c.short || f.width < 1 || f.start < 1 || f.start&(f.start-1) != 0 || maxDirect < f.start || maxDirect&(maxDirect-1) != 0 ||
		heapBits > 64 || f.rows > 64 || f.id < 2:
		return nil, malformed(at, "a fractal heap")
	}
	f.offset = (heapBits + 7) / 8
	f.length = min((log2(maxDirect)+7)/8, encoded(max(biggest, 1)))
	f.direct = log2(maxDirect) - log2(f.start) + 2
	return f, nil
}

func log2(n int64) int { return max(bits.Len64(uint64(n))-1, 0) }

// object returns what an id stands for, and where it is.
func (f *fractalHeap) object(id []byte) ([]byte, int64, error) {
	w := f.w
	c := w.cursor(id[1:])
	switch id[0] >> 4 & 3 {
	case 0:
		off, n := int64(c.uint(f.offset)), int64(c.uint(f.length))
		if c.short || off < 0 {
			return nil, 0, malformed(f.root, "an id")
		}
		at, err := f.find(f.root, off, f.rows, 0)
		if err != nil {
			return nil, 0, err
		}
		b, err := w.block(at, n)
		return b, at, err
	case 1:
		return f.hugeObject(c)
	case 2:
		return c.take(min(int(id[0]&15)+1, len(c.b))), f.root, nil
	}
	return nil, 0, malformed(f.root, "an id of type %d", id[0]>>4)
}

// find leads from an offset in the heap to one in the file.
func (f *fractalHeap) find(block, off int64, rows, depth int) (int64, error) {
	w := f.w
	if rows == 0 {
		return block + off, nil // offsets count the header of the block
	}
	if depth > 16 || block < 0 {
		return 0, malformed(block, "a fractal heap %d deep", depth)
	}
	h, err := w.read(block, 5)
	if err != nil {
		return 0, err
	}
	if string(h[:4]) != "FHIB" {
		return 0, malformed(block, "no block of a fractal heap")
	}
	size := f.start
	entry := block + int64(5+w.o+f.offset)
	if !w.seen[block] {
		w.seen[block] = true
		if n := int64(5+w.o+f.offset) + int64(rows)*f.width*int64(w.o) + 4; n <= w.size-block {
			w.v.Claim(block, n)
		}
	}
	for row := range rows {
		if row > 1 {
			if size > 1<<60 {
				break
			}
			size *= 2
		}
		if f.width > 1<<62/size {
			break
		}
		if span := f.width * size; off >= span {
			off -= span
			entry += f.width * int64(w.o)
			continue
		}
		b, err := w.read(entry+off/size*int64(w.o), int64(w.o))
		if err != nil {
			return 0, err
		}
		child := w.cursor(b).address()
		if child < 0 {
			return 0, malformed(block, "an id of nothing")
		}
		if row < f.direct {
			return child + off%size, nil
		}
		return f.find(child, off%size, log2(size)-log2(f.start*f.width)+1, depth+1)
	}
	return 0, malformed(block, "an id beyond the heap")
}

// hugeObject finds what is too large for the blocks through a tree of its own.
func (f *fractalHeap) hugeObject(c *cursor) ([]byte, int64, error) {
	w := f.w
	if f.id-1 >= w.o+w.l {
		at, n := c.address(), c.length()
		b, err := w.block(at, n)
		return b, at, err
	}
	if f.large == nil {
		f.large = make(map[uint64][2]int64)
		err := w.btree2(f.huge, func(kind byte, b []byte) error {
			if kind != 1 {
				return malformed(f.huge, "a tree of type %d", kind)
			}
			r := w.cursor(b)
			at, n := r.address(), r.length()
			f.large[r.uint(w.l)] = [2]int64{at, n}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	x, ok := f.large[c.uint(min(len(c.b), 8))]
	if !ok {
		return nil, 0, malformed(f.huge, "an object that is not listed")
	}
	b, err := w.block(x[0], x[1])
	return b, x[0], err
}
