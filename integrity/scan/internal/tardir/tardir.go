// Package tardir reads the headers of a tar archive: v7, ustar, GNU and PAX,
// with the three ways to write sparse files. Where readers disagree it follows
// Python's tarfile, which is what loads models, and says so of the member. It
// skips content, follows nothing, and bounds names and extended headers by
// [MaxText].
package tardir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// ErrNotTar is wrapped when the first block is no tar header.
var ErrNotTar = errors.New("not a tar archive")

// ErrMalformed is wrapped when a later header cannot be read.
var ErrMalformed = errors.New("malformed tar archive")

// BlockSize is the unit of the format.
const BlockSize = 512

// MaxText bounds one long name, and what extended headers say of one member, in
// bytes.
const MaxText = 1 << 20

// maxChain bounds the extended headers before one member; Python gives up at
// about as many.
const maxChain = 1000

// A Member is one entry.
type Member struct {
	Name   string // as an extraction uses it: extended headers applied
	Header string // as another reader may take it from the plain header
	Link   string // target of a link
	Hard   bool   // a hard link
	Mode   fs.FileMode
	Size   int64 // of the content, with its holes
	At     int64 // of the plain header
	DataAt int64
	Stored int64 // bytes of the archive from DataAt on that hold the content

	Sparse bool    // content has holes
	Pieces []Piece // of sparse content, in order
	Broken string  // why sparse content cannot be put together, or ""

	Odd string // what other readers take differently, or ""
}

// A Piece is a range of sparse content: Len bytes at Off are at At in the
// archive.
type Piece struct{ Off, Len, At int64 }

// IsTar reports whether a block has a valid header: a size, and the right
// checksum.
func IsTar(block []byte) bool {
	if len(block) < BlockSize {
		return false
	}
	want, _, ok := number(block[148:156])
	if !ok {
		return false
	}
	if _, _, ok := number(block[124:136]); !ok {
		return false
	}
	unsigned, signed := checksums(block[:BlockSize])
	return want == unsigned || want == signed
}

// A reader is the state of one [Read].
type reader struct {
	r      io.ReaderAt
	size   int64
	global records
	before []extended // headers that the next member has, in order
	text   int64      // bytes that they hold
	maps   int64      // bytes of sparse maps parsed
}

// Read yields the members in order until the end marker or the end of the file,
// and returns the offset behind the last block that it understood. It stops at
// the first error of yield and returns it.
func Read(r io.ReaderAt, size int64, yield func(Member) error) (end int64, err error) {
	d := &reader{r: r, size: size}
	var block [BlockSize]byte
	first := true
	other := int64(0) // where readers go on that skip what Python does not
	for off := int64(0); ; {
		if off == size {
			return off, nil // no end marker: old writers leave it out
		}
		if size-off < BlockSize {
			return off, fmt.Errorf("offset %d: header is cut: %w", off, ErrMalformed)
		}
		if err := readFull(r, block[:], off); err != nil {
			return off, err
		}
		if !first && bytes.Count(block[:], []byte{0}) == BlockSize && other <= off {
			return trailer(r, size, off+BlockSize)
		}
		if !IsTar(block[:]) {
			switch {
			case first:
				return 0, fmt.Errorf("offset 0: %w", ErrNotTar)
			case other > off:
				off, other = other, 0
				continue
			}
			return off, fmt.Errorf("offset %d: no header: %w", off, ErrMalformed)
		}
		first, other = false, 0
		h := parse(block[:], off)
		if h.size > size-h.dataAt && extends(h.kind) {
			return off, fmt.Errorf("offset %d: extended header of %d bytes reaches beyond the file: %w", off, h.size, ErrMalformed)
		}
		if extends(h.kind) {
			if err := d.extend(h); err != nil {
				return off, err
			}
			off = min(h.dataAt+blocks(h.size), size)
			continue
		}
		m, next, err := d.member(h, block[:])
		if err != nil {
			return off, err
		}
		d.before, d.text = nil, 0
		if err := yield(m); err != nil {
			return off, err
		}
		if next < 0 {
			return min(m.DataAt+m.Stored, size), fmt.Errorf("offset %d: a member reaches beyond the file: %w", off, ErrMalformed)
		}
		if skipped := h.dataAt + blocks(h.size); skipped > next && skipped < size {
			other = skipped
		}
		off = next
	}
}

// trailer skips the zero blocks that pad an archive.
func trailer(r io.ReaderAt, size, off int64) (int64, error) {
	var block [BlockSize]byte
	for off < size {
		p := block[:min(BlockSize, size-off)]
		if err := readFull(r, p, off); err != nil {
			return off, err
		}
		if bytes.Count(p, []byte{0}) != len(p) {
			return off, nil
		}
		off += int64(len(p))
	}
	return off, nil
}

// blocks rounds up to whole blocks.
func blocks(n int64) int64 { return (n + BlockSize - 1) / BlockSize * BlockSize }

// extends reports the kinds of headers that belong to the next member.
func extends(kind byte) bool { return strings.IndexByte("xgXLK", kind) >= 0 }

// stores reports the kinds whose content follows the header. Python takes the
// size of other kinds it knows for a mistake.
func stores(kind byte, dir bool) bool { return !dir && strings.IndexByte("123456", kind) < 0 }

// member puts together what headers say of one member, in Python's order: the
// global ones, then those before it from the last to the first. next is where
// the header behind it is, -1 when the content reaches beyond the file.
func (d *reader) member(h plain, block []byte) (m Member, next int64, err error) {
	m = Member{Name: h.name, Header: h.other, Link: h.link, At: h.at, DataAt: h.dataAt, Size: h.size, Odd: h.odd}
	stored := h.size
	content := stores(h.kind, h.dir)
	m.Hard, m.Mode = h.kind == '1', h.mode()
	if h.kind == 'S' {
		if stored, err = d.oldSparse(&m, block, stored); err != nil {
			return m, 0, err
		}
	}
	at := m.DataAt // of stored content
	next = at
	if content {
		next += blocks(stored)
	}
	if h.size > 0 && !content && h.kind != '1' {
		m.odd("a member without content states %d bytes, which some readers skip", h.size)
	}
	d.apply(&m, d.global, true)
	var named naming
	for i := len(d.before) - 1; i >= 0; i-- {
		e := d.before[i]
		switch e.kind {
		case 'L', 'K':
			named.text(&m, e.kind, e.text)
			continue
		}
		if err := d.sparse(&m, e); err != nil {
			return m, 0, err
		}
		if e.kind == 'g' {
			continue
		}
		was := m
		named.note(&m, d.apply(&m, e.merged, false), &was)
		if v, has := e.merged.get("size"); has {
			if size, _, _ := pyInt(v, 10); size != h.size && size < 1<<33 && h.kind != 'S' {
				m.odd("the size is %d in the plain header and %d in the extended one", h.size, size)
			}
			if next = m.DataAt; content {
				next += blocks(m.Size)
			}
			stored = m.Size
		}
		if e.odd != "" {
			m.odd("%s", e.odd)
		}
	}
	if m.Size < 0 || stored < 0 {
		return m, 0, fmt.Errorf("offset %d: member of a negative size: %w", h.at, ErrMalformed)
	}
	if next = min(next, d.size); content && stored > d.size-m.DataAt {
		next = -1
	}
	m.finish(content, stored, d.size)
	if strings.HasSuffix(m.Name, "/") && h.kind == '0' && m.Size == 0 {
		m.Mode = fs.ModeDir
	}
	return m, next, nil
}

// finish settles which bytes of the archive the content is.
func (m *Member) finish(content bool, stored, size int64) {
	if !content {
		m.Size, m.Stored, m.Sparse, m.Pieces = 0, 0, false, nil
		return
	}
	m.Stored = max(min(stored, size-m.DataAt), 0)
	if m.Sparse {
		m.place(size)
		return
	}
	m.Size = min(m.Size, size-m.DataAt)
	m.Stored = max(m.Stored, m.Size)
}

// odd keeps the first disagreement.
func (m *Member) odd(format string, args ...any) {
	if m.Odd == "" {
		m.Odd = fmt.Sprintf(format, args...)
	}
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
