// Package hdf5 walks the structure of HDF5 files (format specification 3.0,
// superblocks 0 to 3): groups, links, the attributes of every object, and where
// the data of datasets is. It reads no data and undoes no filter.
//
// Each object and each node of a tree is read once, however often it is
// referred to, so that a walk ends; the caller is asked before each of them.
// Nothing is allocated from a claimed size above [MaxBlock]. Checksums are not
// verified: what the library would refuse is looked at all the same. Where the
// index of chunked data is none of the old kind, the places of the chunks are
// not known.
package hdf5

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Signature starts the superblock, which lies at 0, 512, 1024, 2048 and so on.
const Signature = "\x89HDF\r\n\x1a\n"

// MaxBlock bounds what is read at once: a chunk of an object header, a node, a
// heap, the text of an attribute.
const MaxBlock = 16 << 20

// ErrMalformed is wrapped for structures that break the format.
var ErrMalformed = errors.New("malformed HDF5")

// A LinkKind is how a link finds its object.
type LinkKind uint8

// Links that lead elsewhere; hard links are followed.
const (
	Soft     LinkKind = 1
	External LinkKind = 64
)

// A Visitor is told what the walk meets. Every field must be set. Paths are of
// objects in the file; of several paths to one object, the first.
type Visitor struct {
	Spend     func() error                                  // before each object and node
	Claim     func(off, n int64)                            // bytes of the structure or of data
	Attribute func(object, name string, off int64, v Value) // with a text value or another
	Link      func(path string, kind LinkKind, target, file string, off int64)
	Storage   func(path, file string, off int64) // data kept in another file
	Virtual   func(path, file string, off int64) // data mapped from a dataset of a file, "." for this one
	Filter    func(path string, id int, off int64)
	Gap       func(reason string, off int64) // a part that was not understood
}

// A Value is what an attribute holds. Texts are its strings, all of them or
// none; Kind says what it is.
type Value struct {
	Texts []string
	Kind  string // "text", "number" or "other"
}

// Info is what the superblock says.
type Info struct {
	Version int
	Base    int64 // offset of the superblock
	End     int64 // of the file by its own account
	Whole   bool  // there is data whose place was not read
}

// A walker is one walk. The first error of a read ends it; faults of one
// structure are gaps.
type walker struct {
	r     io.ReaderAt
	size  int64
	base  int64 // what addresses count from
	o, l  int   // bytes of an address and of a length
	v     Visitor
	seen  map[int64]bool    // headers and nodes
	types map[int64][8]byte // of objects that are types
	heaps map[int64]map[uint16][]byte
	held  int // bytes in heaps
	todo  []object
	paths int // bytes in todo
	all   bool
}

type object struct {
	at   int64
	path string
}

// maxPath is how much of a path is kept, from its end.
const maxPath = 512

// Read walks a file whose superblock is at off.
func Read(r io.ReaderAt, size, off int64, v Visitor) (Info, error) {
	w := &walker{r: r, size: size, base: off, v: v, seen: make(map[int64]bool), types: make(map[int64][8]byte), heaps: make(map[int64]map[uint16][]byte)}
	info, root, err := w.superblock(off)
	if err != nil {
		return info, err
	}
	w.todo = append(w.todo, object{root, ""})
	for len(w.todo) > 0 && err == nil {
		o := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		err = w.soft(o.at, w.object(o))
	}
	info.Whole = w.all
	return info, err
}

// soft turns the fault of one structure into a gap and lets through what ends
// the walk.
func (w *walker) soft(at int64, err error) error {
	if errors.Is(err, ErrMalformed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		w.v.Gap(err.Error(), min(max(at, 0), w.size))
		return nil
	}
	return err
}

func malformed(at int64, format string, args ...any) error {
	return fmt.Errorf("offset %d: %s: %w", at, fmt.Sprintf(format, args...), ErrMalformed)
}

// once reports whether a structure has not been read before, and asks for it.
func (w *walker) once(at int64) (bool, error) {
	if w.seen[at] {
		return false, nil
	}
	w.seen[at] = true
	return true, w.v.Spend()
}

// read returns n bytes at an offset of the file.
func (w *walker) read(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at > w.size || n > w.size-at {
		return nil, malformed(at, "%d bytes beyond the end", n)
	}
	if n > MaxBlock {
		return nil, malformed(at, "a block of %d bytes; %d are read", n, MaxBlock)
	}
	b := make([]byte, n)
	if n == 0 {
		return b, nil
	}
	if _, err := w.r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// block is read with the claim that the structure is understood.
func (w *walker) block(at, n int64) ([]byte, error) {
	b, err := w.read(at, n)
	if err == nil {
		w.v.Claim(at, n)
	}
	return b, err
}

// A cursor reads fields of one block and remembers running over its end.
type cursor struct {
	b     []byte
	o, l  int
	base  int64
	short bool
}

func (w *walker) cursor(b []byte) *cursor { return &cursor{b: b, o: w.o, l: w.l, base: w.base} }

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.short, c.b = true, nil
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

// uint reads a little-endian integer of up to eight bytes.
func (c *cursor) uint(n int) uint64 {
	var v uint64
	for i, b := range c.take(n) {
		v |= uint64(b) << (8 * (i & 7))
	}
	return v
}

// length reads a length; what does not fit is as good as too long.
func (c *cursor) length() int64 { return int64(c.uint(c.l) &^ (1 << 63)) }

// address reads an address and returns an offset of the file, -1 for none.
func (c *cursor) address() int64 {
	v := c.uint(c.o)
	if v == 1<<(8*c.o)-1 || c.o == 8 && v == 1<<64-1 || v > 1<<62 || c.short {
		return -1
	}
	return c.base + int64(v)
}

// name reads a text that a NUL ends.
func (c *cursor) name() string {
	for i, b := range c.b {
		if b == 0 {
			s := string(c.b[:i])
			c.b = c.b[i+1:]
			return s
		}
	}
	c.short = true
	s := string(c.b)
	c.b = nil
	return s
}

func (w *walker) superblock(off int64) (info Info, root int64, err error) {
	info = Info{Base: off, End: w.size}
	b, err := w.read(off, min(128, w.size-off))
	if err != nil {
		return info, 0, err
	}
	if len(b) < 32 || string(b[:8]) != Signature {
		return info, 0, malformed(off, "no superblock")
	}
	info.Version = int(b[8])
	var c *cursor
	switch info.Version {
	case 0, 1:
		w.o, w.l = int(b[13]), int(b[14])
		c = w.cursor(b[24:])
		if info.Version == 1 {
			c.take(4)
		}
	case 2, 3:
		w.o, w.l = int(b[9]), int(b[10])
		c = w.cursor(b[12:])
	default:
		return info, 0, malformed(off, "superblock version %d", info.Version)
	}
	if (w.o != 2 && w.o != 4 && w.o != 8) || (w.l != 2 && w.l != 4 && w.l != 8) {
		return info, 0, malformed(off, "addresses of %d and lengths of %d bytes", w.o, w.l)
	}
	c.o, c.l, c.base = w.o, w.l, 0
	base := c.address()
	c.address() // free space, or the superblock's extension
	end := c.address()
	if info.Version < 2 {
		c.address() // driver
		c.uint(w.o) // name of the root
	}
	root = c.address()
	if info.Version >= 2 {
		c.take(4)
	} else {
		c.take(24)
	}
	if c.short || base < 0 || root < 0 {
		return info, 0, malformed(off, "a cut superblock")
	}
	// Addresses count from where the superblock was found, as the library takes
	// them when a block was put before the file afterwards.
	w.base = off
	if end >= 0 {
		if end += off - base; end < off {
			return info, 0, malformed(off, "the file says that it ends at %d", end)
		}
		info.End = end
		if end > w.size {
			w.v.Gap(fmt.Sprintf("the file says that it has %d bytes and has %d", end, w.size), 0)
		}
	}
	w.v.Claim(off, int64(len(b)-len(c.b)))
	return info, root + w.base, nil
}

// encoded is how many bytes the format takes for numbers up to n.
func encoded(n uint64) int { return max(bits.Len64(n)-1, 0)/8 + 1 }

// indexed is the text at an offset of a block.
func indexed(b []byte, off int64) (string, bool) {
	if off < 0 || off >= int64(len(b)) {
		return "", false
	}
	c := cursor{b: b[off:]}
	s := c.name()
	return s, !c.short
}

func (w *walker) join(dir, name string) string {
	p := dir + "/" + name
	if over := len(p) - maxPath; over > 0 {
		p = p[over:]
	}
	return p
}

var le = binary.LittleEndian
