// Package flatbuf walks flat buffers in place: tables, vectors and strings by
// slot, over an [io.ReaderAt], without a schema compiled by somebody else and
// without trusting one offset of the file.
//
// References in a flat buffer only lead forward, so there are no cycles, but
// many references may lead to one table and so make a small file look huge.
// The number of tables that one [Buffer] hands out is therefore bounded by what
// a file of that size can hold when none of them is shared. Reads go through a
// cache of [Pages] pages of [PageSize] bytes; that, and what [Buffer.Used]
// returns, is all the memory a walk takes.
//
// A [Buffer] keeps its first error. After it every accessor returns zero
// values and every vector is empty, so that a walker checks [Buffer.Err] once,
// at its end.
package flatbuf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrMalformed is wrapped by errors about the encoding.
var ErrMalformed = errors.New("malformed flat buffer")

// Bounds of one walk.
const (
	PageSize = 4 << 10
	Pages    = 64
	MaxDepth = 64      // tables within tables
	maxUsed  = 1 << 18 // ranges that are remembered
	padding  = 16      // bytes between two ranges that hold nothing but alignment
)

var le = binary.LittleEndian

// A Buffer is one flat buffer. It is not safe for concurrent use.
type Buffer struct {
	r     io.ReaderAt
	size  int64
	err   error
	left  int64 // tables that may still be handed out
	pages [Pages]page
	used  []Range
}

type page struct {
	data []byte // empty when nothing was read
	at   int64
}

// A Range is a part of the file.
type Range struct{ Off, Len int64 }

// End is the offset behind the range.
func (r Range) End() int64 { return r.Off + r.Len }

// New makes a buffer of what r holds within size.
func New(r io.ReaderAt, size int64) *Buffer {
	return &Buffer{r: r, size: size, left: 64 + size/4}
}

// Err is the first error that any accessor met.
func (b *Buffer) Err() error { return b.err }

// Fail makes err the buffer's error, unless it has one.
func (b *Buffer) Fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *Buffer) malformed(off int64, format string, args ...any) {
	b.Fail(fmt.Errorf("offset %d: %s: %w", off, fmt.Sprintf(format, args...), ErrMalformed))
}

// inside reports whether n bytes lie at off, and fails the buffer otherwise.
func (b *Buffer) inside(off, n int64, what string) bool {
	if b.err != nil {
		return false
	}
	if off < 0 || n < 0 || off > b.size || n > b.size-off {
		b.malformed(off, "%s of %d bytes, the file has %d", what, n, b.size)
		return false
	}
	return true
}

// read copies what lies at off into p.
func (b *Buffer) read(p []byte, off int64, what string) bool {
	if !b.inside(off, int64(len(p)), what) {
		return false
	}
	for len(p) > 0 {
		pg := b.page(off / PageSize)
		if pg == nil {
			return false
		}
		n := copy(p, pg[off%PageSize:])
		p, off = p[n:], off+int64(n)
	}
	return true
}

func (b *Buffer) page(i int64) []byte {
	pg := &b.pages[i%Pages]
	if len(pg.data) > 0 && pg.at == i {
		return pg.data
	}
	n := min(PageSize, b.size-i*PageSize)
	if cap(pg.data) == 0 {
		pg.data = make([]byte, min(PageSize, b.size))
	}
	pg.data, pg.at = pg.data[:n], i
	m, err := b.r.ReadAt(pg.data, i*PageSize)
	if int64(m) < n {
		pg.data = pg.data[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.Fail(err)
		return nil
	}
	return pg.data
}

func (b *Buffer) u16(off int64, what string) uint16 {
	var p [2]byte
	b.read(p[:], off, what)
	return le.Uint16(p[:])
}

func (b *Buffer) u32(off int64, what string) uint32 {
	var p [4]byte
	b.read(p[:], off, what)
	return le.Uint32(p[:])
}

func (b *Buffer) u64(off int64, what string) uint64 {
	var p [8]byte
	b.read(p[:], off, what)
	return le.Uint64(p[:])
}

// use remembers that the walk met n bytes at off.
func (b *Buffer) use(off, n int64) {
	if b.err != nil || n == 0 {
		return
	}
	if last := len(b.used) - 1; last >= 0 && off >= b.used[last].Off && off <= b.used[last].End()+padding {
		b.used[last].Len = max(b.used[last].Len, off+n-b.used[last].Off)
		return
	}
	if len(b.used) < maxUsed {
		b.used = append(b.used, Range{off, n})
	}
}

// Use adds a range that belongs to the buffer although no accessor met it, such
// as data behind it that a table gives offset and size of. It fails the buffer
// when the range is not in the file.
func (b *Buffer) Use(off, n int64) {
	if b.inside(off, n, "data") {
		b.use(off, n)
	}
}

// Used returns the ranges that the walk met, sorted and without overlap. Gaps
// of a few bytes, which are alignment, count as used.
func (b *Buffer) Used() []Range {
	slices.SortFunc(b.used, func(x, y Range) int { return cmp.Compare(x.Off, y.Off) })
	out := b.used[:0]
	for _, r := range b.used {
		if last := len(out) - 1; last >= 0 && r.Off <= out[last].End()+padding {
			out[last].Len = max(out[last].Len, r.End()-out[last].Off)
			continue
		}
		out = append(out, r)
	}
	b.used = out
	return slices.Clone(out)
}

// Root is the table that the first four bytes refer to.
func (b *Buffer) Root() Table {
	off := int64(b.u32(0, "root reference"))
	b.use(0, min(8, b.size)) // with the identifier
	return b.table(off, 1)
}

// A Table is a record of fields by slot. The zero value has none.
type Table struct {
	b      *Buffer
	at     int64
	vtable int64
	slots  int   // of the vtable
	size   int64 // of the inline part
	depth  int
}

// Offset is where the table starts.
func (t Table) Offset() int64 { return t.at }

// IsZero reports a table that is not there.
func (t Table) IsZero() bool { return t.b == nil }

func (b *Buffer) table(at int64, depth int) Table {
	if b.err != nil {
		return Table{}
	}
	if depth > MaxDepth {
		b.malformed(at, "tables nest deeper than %d", MaxDepth)
		return Table{}
	}
	if b.left--; b.left < 0 {
		b.malformed(at, "more references to tables than the file can hold tables")
		return Table{}
	}
	vtable := at - int64(int32(b.u32(at, "table")))
	length, size := int64(b.u16(vtable, "vtable")), int64(b.u16(vtable+2, "vtable"))
	if b.err != nil {
		return Table{}
	}
	if length < 4 || length%2 != 0 || size < 4 {
		b.malformed(vtable, "vtable of %d bytes for a table of %d", length, size)
		return Table{}
	}
	if !b.inside(vtable, length, "vtable") || !b.inside(at, size, "table") {
		return Table{}
	}
	b.use(vtable, length)
	b.use(at, size)
	return Table{b: b, at: at, vtable: vtable, slots: int(length/2 - 2), size: size, depth: depth}
}

// field is where the value of a slot stands, or false when it has its default.
func (t Table) field(slot int, n int64) (int64, bool) {
	if t.b == nil || t.b.err != nil || slot >= t.slots {
		return 0, false
	}
	off := int64(t.b.u16(t.vtable+4+2*int64(slot), "vtable"))
	if off == 0 || t.b.err != nil {
		return 0, false
	}
	if off < 4 || off > t.size-n {
		t.b.malformed(t.at, "field %d lies at %d of a table of %d bytes", slot, off, t.size)
		return 0, false
	}
	return t.at + off, true
}

// Has reports whether a slot has a value of its own.
func (t Table) Has(slot int) bool {
	_, ok := t.field(slot, 1)
	return ok
}

// Uint8 is a field of one byte.
func (t Table) Uint8(slot int, def uint8) uint8 {
	off, ok := t.field(slot, 1)
	if !ok {
		return def
	}
	var p [1]byte
	t.b.read(p[:], off, "field")
	return p[0]
}

// Uint32 is a field of four bytes.
func (t Table) Uint32(slot int, def uint32) uint32 {
	if off, ok := t.field(slot, 4); ok {
		return t.b.u32(off, "field")
	}
	return def
}

// Int32 is a signed field of four bytes.
func (t Table) Int32(slot int, def int32) int32 { return int32(t.Uint32(slot, uint32(def))) }

// Uint64 is a field of eight bytes.
func (t Table) Uint64(slot int, def uint64) uint64 {
	if off, ok := t.field(slot, 8); ok {
		return t.b.u64(off, "field")
	}
	return def
}

// follow resolves the reference of a slot.
func (t Table) follow(slot int) (int64, bool) {
	off, ok := t.field(slot, 4)
	if !ok {
		return 0, false
	}
	return t.b.target(off)
}

// target is what the reference at off leads to, which is always behind it.
func (b *Buffer) target(off int64) (int64, bool) {
	to := int64(b.u32(off, "reference"))
	if b.err != nil {
		return 0, false
	}
	if to < 4 || to > b.size-off {
		b.malformed(off, "reference to %d bytes on, the file has %d", to, b.size)
		return 0, false
	}
	return off + to, true
}

// Table is the table that a slot refers to, or the zero value.
func (t Table) Table(slot int) Table {
	at, ok := t.follow(slot)
	if !ok {
		return Table{}
	}
	return t.b.table(at, t.depth+1)
}

// Text is the string that a slot refers to, cut to max bytes.
func (t Table) Text(slot int, max int64) string {
	at, ok := t.follow(slot)
	if !ok {
		return ""
	}
	return t.b.text(at, max)
}

func (b *Buffer) text(at, max int64) string {
	n := int64(b.u32(at, "string"))
	if !b.inside(at+4, n, "string") {
		return ""
	}
	b.use(at, min(n+5, b.size-at)) // with its zero byte
	p := make([]byte, min(n, max))
	b.read(p, at+4, "string")
	return string(p)
}

// Vector is the vector that a slot refers to, with elements of elem bytes. A
// vector of tables or strings has elements of 4 bytes.
func (t Table) Vector(slot int, elem int64) Vector {
	at, ok := t.follow(slot)
	if !ok {
		return Vector{}
	}
	n := int64(t.b.u32(at, "vector"))
	if !t.b.inside(at+4, n*elem, "vector") {
		return Vector{}
	}
	t.b.use(at, 4+n*elem)
	return Vector{b: t.b, at: at + 4, n: n, elem: elem, depth: t.depth}
}

// Blob is where the bytes lie that a slot refers to. They are not counted as
// used: what they are is for the caller to say.
func (t Table) Blob(slot int) Range {
	at, ok := t.follow(slot)
	if !ok {
		return Range{}
	}
	n := int64(t.b.u32(at, "vector"))
	if !t.b.inside(at+4, n, "vector") {
		return Range{}
	}
	t.b.use(at, 4)
	return Range{at + 4, n}
}

// A Vector is a list of elements of one size.
type Vector struct {
	b     *Buffer
	at    int64
	n     int64
	elem  int64
	depth int
}

// Len is the number of elements; 0 once the buffer has an error.
func (v Vector) Len() int64 {
	if v.b == nil || v.b.err != nil {
		return 0
	}
	return v.n
}

func (v Vector) element(i, n int64) (int64, bool) {
	if i < 0 || i >= v.Len() || n > v.elem {
		return 0, false
	}
	return v.at + i*v.elem, true
}

// Table is an element of a vector of tables, the zero value outside it.
func (v Vector) Table(i int64) Table {
	off, ok := v.element(i, 4)
	if !ok {
		return Table{}
	}
	at, ok := v.b.target(off)
	if !ok {
		return Table{}
	}
	return v.b.table(at, v.depth+1)
}

// Uint32 is an element of four bytes, 0 outside the vector.
func (v Vector) Uint32(i int64) uint32 {
	off, ok := v.element(i, 4)
	if !ok {
		return 0
	}
	return v.b.u32(off, "element")
}

// Int32 is a signed element of four bytes.
func (v Vector) Int32(i int64) int32 { return int32(v.Uint32(i)) }

// Uint64 is an element of eight bytes, 0 outside the vector.
func (v Vector) Uint64(i int64) uint64 {
	off, ok := v.element(i, 8)
	if !ok {
		return 0
	}
	return v.b.u64(off, "element")
}
